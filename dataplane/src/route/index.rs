//! What is looked up in a datastore again and again, arranged once for all nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::bgp::{self, KernelFilter, Ribs};
use super::candidates::{candidate, destinations, tunnel_addresses};
use super::nat::NatSets;
use super::pools::Pools;
use super::vtep::vtep;
use super::{Services, Vtep};
use crate::calico::{Block, ClusterState, Node, RouteSource};
use crate::{Family, Fib, PerFamily};

/// A datastore's indices.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) pools: Pools,
    /// The nodes' own addresses, by any record.
    pub(super) hosts: BTreeSet<IpAddr>,
    /// The addresses that the same-subnet rule reads, and how many nodes have each.
    pub(super) recorded: BTreeMap<IpAddr, u32>,
    /// The nodes by the addresses of their tunnels.
    pub(super) tunnels: BTreeMap<IpAddr, Arc<str>>,
    /// The VXLAN tunnel ends of a family, in the order of their addresses.
    pub(super) ends: PerFamily<Arc<[Vtep]>>,
    /// The outer sources of these ends.
    pub(super) end_hosts: PerFamily<Arc<BTreeSet<IpAddr>>>,
    /// The addresses by which firewalls know the nodes.
    pub(super) all_hosts: PerFamily<Arc<BTreeSet<IpAddr>>>,
    pub(super) nat: PerFamily<NatSets>,
    pub(super) services: Arc<Services>,
    pub(super) endpoints: Endpoints,
    pub(super) kernel: KernelFilter,
    /// What BIRD learns, unless that is the same on every node.
    pub(super) ribs: Option<Ribs>,
    blocks: Fib<()>,
    blocks_of: BTreeMap<Arc<str>, BTreeSet<IpNet>>,
}

/// The workloads by node and by address.
#[derive(Clone, Debug, Default)]
pub(super) struct Endpoints {
    by_node: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    pub(super) by_address: BTreeMap<IpAddr, Arc<str>>,
}

impl Endpoints {
    fn of(cluster: &ClusterState) -> Endpoints {
        let mut endpoints = Endpoints::default();
        for endpoint in cluster.endpoints().values() {
            let here = endpoints.by_node.entry(endpoint.node.clone()).or_default();
            here.push(endpoint.name.clone());
            let addresses = endpoint.addresses.iter().map(|address| (*address, endpoint.name.clone()));
            endpoints.by_address.extend(addresses);
        }
        endpoints
    }

    /// The names of a node's workloads, in order.
    pub(super) fn on(&self, node: &str) -> impl Iterator<Item = &Arc<str>> {
        self.by_node.get(node).into_iter().flatten()
    }
}

impl Index {
    pub(super) fn of(cluster: &ClusterState) -> Index {
        let nodes = || cluster.nodes().values();
        let mut recorded = BTreeMap::new();
        for address in nodes()
            .flat_map(|node| Family::ALL.map(|family| node.resolver_address(family)))
            .flatten()
        {
            *recorded.entry(address.net.addr()).or_default() += 1;
        }
        let tunnels = nodes().flat_map(|node| tunnel_addresses(node).map(|address| (address, node.name.clone())));
        let ends = PerFamily::from_fn(|family| ends(cluster, family));
        let mut index = Index {
            pools: Pools::of(cluster),
            hosts: nodes().flat_map(Node::own_addresses).collect(),
            recorded,
            tunnels: tunnels.collect(),
            end_hosts: PerFamily::from_fn(|family| Arc::new(ends.get(family).iter().map(|end| end.node_address).collect())),
            ends,
            all_hosts: PerFamily::from_fn(|family| Arc::new(all_hosts(cluster, family))),
            nat: PerFamily::from_fn(|family| NatSets::of(cluster, family)),
            services: Arc::new(Services::of(cluster)),
            endpoints: Endpoints::of(cluster),
            kernel: KernelFilter::of(cluster),
            ribs: None,
            blocks: Fib::default(),
            blocks_of: BTreeMap::new(),
        };
        cluster.blocks().values().for_each(|block| index.add_block(block));
        index.learn(cluster);
        index
    }

    /// Lets BIRD learn anew, where not every node learns the same.
    fn learn(&mut self, cluster: &ClusterState) {
        if bgp::is_plain(cluster) {
            return;
        }
        self.ribs = Some(Ribs::of(cluster, &self.announced(cluster)));
    }

    /// What BIRD announces, each with its node.
    pub(super) fn announced(&self, cluster: &ClusterState) -> Vec<(IpNet, Arc<str>)> {
        let all = destinations(cluster, RouteSource::CalicoIpam).into_iter();
        let found = all.filter_map(|net| candidate(cluster, self, RouteSource::CalicoIpam, net));
        found.map(|found| (found.destination, found.node.clone())).collect()
    }

    fn add_block(&mut self, block: &Block) {
        self.blocks.insert(block.cidr, ());
        if let Some(node) = &block.affinity {
            self.blocks_of.entry(node.clone()).or_default().insert(block.cidr);
        }
    }

    /// Puts a block in the place of what was there.
    pub(super) fn replace_block(&mut self, cluster: &ClusterState, before: Option<&Block>, after: Option<&Block>) {
        if let Some(before) = before {
            self.blocks.remove(before.cidr);
            let node = before.affinity.as_ref();
            if let Some(blocks) = node.and_then(|node| self.blocks_of.get_mut(node)) {
                blocks.remove(&before.cidr);
            }
        }
        after.into_iter().for_each(|after| self.add_block(after));
        self.learn(cluster);
    }

    /// The block that holds an address.
    pub(super) fn block_with<'a>(&self, cluster: &'a ClusterState, address: IpAddr) -> Option<&'a Block> {
        let (range, ()) = self.blocks.lookup(address)?;
        cluster.blocks().get(&range)
    }

    /// The blocks that are affine to a node, in order.
    pub(super) fn blocks_of<'a>(&self, cluster: &'a ClusterState, node: &str) -> impl Iterator<Item = &'a Block> {
        let ranges = self.blocks_of.get(node).into_iter().flatten();
        ranges.filter_map(|range| cluster.blocks().get(range))
    }

    /// Whether a range that holds a node's own recorded address holds another node's too.
    pub(super) fn has_company(&self, subnet: IpNet, own: IpAddr) -> bool {
        let inside = self.recorded.range(subnet.network()..=subnet.broadcast());
        inside.into_iter().any(|(address, nodes)| *address != own || *nodes > 1)
    }
}

fn ends(cluster: &ClusterState, family: Family) -> Arc<[Vtep]> {
    let mut ends: Vec<_> = cluster.nodes().values().filter_map(|node| vtep(node, family)).collect();
    ends.sort_by_key(|end| end.address);
    ends.into()
}

fn all_hosts(cluster: &ClusterState, family: Family) -> BTreeSet<IpAddr> {
    let records = cluster
        .nodes()
        .values()
        .filter_map(|node| node.host_address(family, cluster.profile()));
    records.map(|record| record.net.addr()).collect()
}
