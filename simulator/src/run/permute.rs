//! The objects of the datastore delivered in other orders than their own, through the tables that are kept up while it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use overlab_dataplane::calico::{Block, ClusterState, IpPool, Node};
use overlab_dataplane::route::{HostNetwork, NodeTables, Resolver};
use serde_json::{Value, json};

use crate::expectations::show_row;
use crate::rows::{self, Table};
use crate::scenario::{Loaded, Model, Order, Sources};

/// An object as it is from then on; none if it is gone.
#[derive(Clone)]
enum Change {
    Pool(Arc<str>, Option<IpPool>),
    Node(Arc<str>, Option<Node>),
    Block(IpNet, Option<Block>),
}

/// The entries of a map that others do not have, and with nothing those that only others have.
fn differing<'m, K: Ord + Clone, V: PartialEq + Clone>(
    others: &'m BTreeMap<K, V>,
    these: &'m BTreeMap<K, V>,
) -> impl Iterator<Item = (K, Option<V>)> + 'm {
    let gone = others
        .keys()
        .filter(|key| !these.contains_key(*key))
        .map(|key| (key.clone(), None));
    let new = these.iter().filter(|(key, value)| others.get(*key) != Some(*value));
    gone.chain(new.map(|(key, value)| (key.clone(), Some(value.clone()))))
}

impl Change {
    /// What makes the objects of one datastore those of another.
    fn between(before: &ClusterState, after: &ClusterState) -> Vec<Change> {
        let pools = differing(before.pools(), after.pools()).map(|(name, pool)| Change::Pool(name, pool));
        let nodes = differing(before.nodes(), after.nodes()).map(|(name, node)| Change::Node(name, node));
        let blocks = differing(before.blocks(), after.blocks()).map(|(range, block)| Change::Block(range, block));
        pools.chain(nodes).chain(blocks).collect()
    }

    fn apply(self, cluster: &mut ClusterState) {
        match self {
            Change::Pool(_, Some(pool)) => drop(cluster.set_pool(pool)),
            Change::Pool(name, None) => drop(cluster.remove_pool(&name)),
            Change::Node(_, Some(node)) => drop(cluster.set_node(node)),
            Change::Node(name, None) => drop(cluster.remove_node(&name)),
            Change::Block(_, Some(block)) => drop(cluster.set_block(block)),
            Change::Block(range, None) => drop(cluster.remove_block(range)),
        }
    }

    fn deliver(self, resolver: &mut Resolver) {
        match self {
            Change::Block(_, Some(block)) => resolver.set_block(block),
            Change::Block(range, None) => resolver.remove_block(range),
            Change::Pool(..) | Change::Node(..) => resolver.change(|cluster| self.apply(cluster)),
        }
    }
}

/// A row for each node: its name, and where its tables differ from those computed from the whole datastore at once.
pub(super) fn rows(order: Order, loaded: &Loaded) -> Vec<Value> {
    let model = &loaded.model;
    let hosts: Vec<_> = model.nodes.iter().map(|node| model.host_network(node)).collect();
    let mut pairs = pairs(order, model, &hosts);
    let differs = |host: &HostNetwork| {
        let differs = pairs
            .iter_mut()
            .find_map(|(expected, found)| difference(&expected.tables(host), &found.tables(host), &loaded.sources));
        json!({ "node": &*host.name, "differs": differs })
    };
    hosts.iter().map(differs).collect()
}

/// Datastores as they are to be, each with one that came about in the order. The end of a timeline is reached from nothing, and from
/// what was there at the start.
fn pairs(order: Order, model: &Model, hosts: &[HostNetwork]) -> Vec<(Resolver, Resolver)> {
    let last = model.versions.last().map_or(&model.cluster, |version| &version.cluster);
    let nothing = without_objects(last);
    let mut starts = vec![nothing.clone()];
    if !model.versions.is_empty() {
        let mut first = nothing.clone();
        let changes = Change::between(&nothing, &model.cluster).into_iter();
        changes.for_each(|change| change.apply(&mut first));
        starts.push(first);
    }
    let mut pairs = Vec::new();
    for start in starts {
        for steps in deliveries(order, Change::between(&start, last)) {
            pairs.push((Resolver::new(last.clone()), deliver(start.clone(), steps, hosts)));
        }
    }
    if let (Order::Reverse, Some(reversed)) = (order, &model.reversed) {
        pairs.push((Resolver::new(model.cluster.clone()), Resolver::new(reversed.clone())));
    }
    pairs
}

/// Settings, peerings and workloads alone.
fn without_objects(cluster: &ClusterState) -> ClusterState {
    let mut nothing = cluster.clone();
    cluster.pools().keys().for_each(|name| drop(nothing.remove_pool(name)));
    cluster.nodes().keys().for_each(|name| drop(nothing.remove_node(name)));
    cluster.blocks().keys().for_each(|range| drop(nothing.remove_block(*range)));
    nothing
}

/// The steps of every way in which an order can be meant; each step comes at once.
fn deliveries(order: Order, changes: Vec<Change>) -> Vec<Vec<Vec<Change>>> {
    let singly = |changes: Vec<Change>| changes.into_iter().map(|change| vec![change]).collect::<Vec<_>>();
    match order {
        Order::Squash => vec![vec![changes]],
        Order::Split => vec![singly(changes)],
        Order::Reverse => {
            let backwards: Vec<_> = changes.into_iter().rev().collect();
            // What a block needs is there first as well, so that blocks come one by one to tables that want nothing else.
            let mut blocks_last = backwards.clone();
            blocks_last.sort_by_key(|change| matches!(change, Change::Block(..)));
            vec![singly(backwards), singly(blocks_last)]
        }
    }
}

/// Delivers changes. In between one node after another is asked for its tables, so that what was computed has to be kept up.
fn deliver(start: ClusterState, steps: Vec<Vec<Change>>, hosts: &[HostNetwork]) -> Resolver {
    let mut resolver = Resolver::new(start);
    for (step, host) in steps.into_iter().zip(hosts.iter().cycle()) {
        resolver.tables(host);
        match <[Change; 1]>::try_from(step) {
            Ok([change]) => change.deliver(&mut resolver),
            Err(changes) => resolver.change(|cluster| changes.into_iter().for_each(|change| change.apply(cluster))),
        }
    }
    resolver
}

/// The first difference between two nodes' tables, row by row as they are printed.
fn difference(expected: &NodeTables, found: &NodeTables, sources: &Sources) -> Option<String> {
    Table::ALL.into_iter().find_map(|(name, table)| {
        let (expected, found) = (rows::of_node(table, expected, sources), rows::of_node(table, found, sources));
        let missing = expected.iter().find(|row| !found.contains(row));
        let missing = missing.map(|row| format!("without {}", show_row(row)));
        let more = found.iter().find(|row| !expected.contains(row));
        let more = more.map(|row| format!("with {}", show_row(row)));
        let order = || (expected != found).then(|| "in another order".to_owned());
        missing.or(more).or_else(order).map(|what| format!("{name} {what}"))
    })
}
