//! Workloads' addresses: who may ask for which. How they are found is [`super::ipam`]'s affair.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::inventory::Inventory;
use super::ipam::Ipam;
use super::ippool::Assignment;
use super::reading::{DUPLICATE, below, not_modelled};
use super::tunnels::{self, TUNNEL_ADDR};
use super::{Endpoint, IpPool, Node, Selector, WorkloadRequest, hostlocal};
use crate::Family;
use crate::fields::{FieldRef, Refusal, suggestion};

type Pools = BTreeMap<Arc<str>, IpPool>;
type Nodes = BTreeMap<Arc<str>, Node>;

/// Who has an address already: a description and a place.
type Holders = BTreeMap<IpAddr, (String, FieldRef)>;

/// Refuses workloads whose names, nodes, pools or stated addresses do not fit, and tunnels that state one address.
pub(super) fn check_workloads(workloads: &[WorkloadRequest], inventory: &Inventory, refusals: &mut Vec<Refusal>) {
    let mut names: BTreeMap<&str, &FieldRef> = BTreeMap::new();
    let mut holders = Holders::new();
    for node in inventory.nodes.values() {
        for (_, address, field) in tunnels::stated(node) {
            let holder = (format!("a tunnel of node {}", node.name), node.field(field));
            refusals.extend(take(&mut holders, address, holder));
        }
    }
    for allocations in inventory.blocks.values().map(|b| &b.block.allocations) {
        let tunnels = allocations.iter().filter(|(_, a)| a.handle.contains(TUNNEL_ADDR));
        for (address, allocation) in tunnels {
            let holder = || (format!("{:?}", &*allocation.handle), allocation.at.clone());
            holders.entry(*address).or_insert_with(holder);
        }
    }
    for endpoint in inventory.workloads.values() {
        for address in &endpoint.addresses {
            let holder = (format!("{} {}", endpoint.kind(), endpoint.name), endpoint.addresses_field());
            refusals.extend(take(&mut holders, *address, holder));
        }
    }
    for workload in workloads {
        check_references(workload, &inventory.pools, &inventory.nodes, refusals);
        if let Some(first) = names.insert(&workload.name, &workload.origin) {
            let message = format!("a second workload is named {:?}", &*workload.name);
            refusals.push(
                Refusal::new(DUPLICATE, workload.origin.clone(), message)
                    .help("rename one of them")
                    .related(first.clone(), "the first one"),
            );
        }
        for address in &workload.addresses {
            let holder = (format!("workload {}", workload.name), below(&workload.origin, "ip"));
            refusals.extend(take(&mut holders, *address, holder));
        }
    }
}

/// Notes who has an address, or refuses it if somebody has it already.
fn take(holders: &mut Holders, address: IpAddr, (who, at): (String, FieldRef)) -> Option<Refusal> {
    if let Some((first, field)) = holders.get(&address) {
        return Some(
            Refusal::new(DUPLICATE, at, format!("{who} cannot have {address}: it belongs to {first}"))
                .help("give each workload and each tunnel its own address")
                .related(field.clone(), "it is taken here"),
        );
    }
    holders.insert(address, (who, at));
    None
}

fn check_references(workload: &WorkloadRequest, pools: &Pools, nodes: &Nodes, refusals: &mut Vec<Refusal>) {
    let field = |key: &str| below(&workload.origin, key);
    if !nodes.contains_key(&workload.node) {
        let names = nodes.keys().map(|name| &**name);
        refusals.push(unknown(field("node"), "node", &workload.node, names));
    }
    let pool = workload.pool.as_ref().map(|name| (name, pools.get(name)));
    if let Some((name, None)) = pool {
        refusals.push(unknown(field("pool"), "pool", name, pools.keys().map(|name| &**name)));
    }
    for family in Family::ALL {
        if workload.addresses.iter().filter(|a| Family::of(**a) == family).count() > 1 {
            let message = format!("workload {} states two addresses of {family}", workload.name);
            refusals.push(
                Refusal::new("K-VALUE", field("ip"), message)
                    .why("a workload has at most one address of each family")
                    .help("remove one of them"),
            );
        }
    }
    if let Some((_, Some(pool))) = pool
        && let Some(address) = stated(workload, Family::of_net(pool.cidr))
        && !pool.cidr.contains(&address)
    {
        refusals.push(
            Refusal::new("K-VALUE", field("ip"), format!("{address} is not in pool {}", pool.name))
                .help(format!("choose an address in {}, or remove `pool`", pool.cidr))
                .related(pool.field("spec.cidr"), "the pool's range"),
        );
    }
}

/// The address of a family that a workload states.
fn stated(workload: &WorkloadRequest, family: Family) -> Option<IpAddr> {
    workload
        .addresses
        .iter()
        .copied()
        .find(|address| Family::of(*address) == family)
}

fn unknown<'a>(field: FieldRef, what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Refusal {
    let refusal = Refusal::new("K-UNKNOWN", field, format!("there is no {what} {name:?}"));
    match suggestion(name, known.clone()) {
        Some(near) => refusal.help(format!("did you mean `{near}`?")),
        None => refusal.help(format!("known: {}", known.collect::<Vec<_>>().join(", "))),
    }
}

/// Whether a node may take addresses from a pool.
pub(super) fn allocates(pool: &IpPool, node: &Node) -> bool {
    pool.allocates() && pool.node_selector.matches(&node.labels)
}

pub(super) fn full(message: String, pool: &IpPool) -> Refusal {
    Refusal::new("K-POOL-FULL", pool.field("spec.cidr"), message)
        .why(format!("every address of {} that the node may use is taken; a node has at most 20 blocks unless IPAMConfiguration says otherwise", pool.cidr))
        .help("make the pool or its blocks larger, add one, or raise `maxBlocksPerHost`")
}

/// The workload with an address of each family: the stated one, or one from the named pool, or one from any pool for
/// workloads, or one of its node's own range. A family without such a pool gives none, but one must.
pub(super) fn endpoint(
    ipam: &mut Ipam<'_>,
    pools: &Pools,
    nodes: &Nodes,
    workload: WorkloadRequest,
    host_local: bool,
    refusals: &mut Vec<Refusal>,
) -> Option<Endpoint> {
    let node = nodes.get(&workload.node)?;
    let before = refusals.len();
    let mut addresses = Vec::new();
    for family in Family::ALL {
        let (name, at) = (&workload.name, &workload.origin);
        addresses.extend(match stated(&workload, family) {
            Some(stated) => Some(stated),
            None if host_local => hostlocal::assign(ipam, node, family, name, at, refusals),
            None => from_pools(ipam, pools, &workload, node, family, refusals),
        });
    }
    if addresses.is_empty() && refusals.len() == before {
        refusals.push(match host_local {
            true => hostlocal::no_range(&workload, node),
            false => no_pool(&workload, named(&workload, pools), for_namespaces(pools, node)),
        });
    }
    (refusals.len() == before).then_some(Endpoint {
        name: workload.name,
        node: workload.node,
        addresses,
        interface: None,
        spoofable: Vec::new(),
        at: workload.origin,
    })
}

fn named<'p>(workload: &WorkloadRequest, pools: &'p Pools) -> Option<&'p IpPool> {
    pools.get(workload.pool.as_ref()?)
}

/// An address from the pools of a family that the workload may use; none if there is no such pool.
fn from_pools(
    ipam: &mut Ipam<'_>,
    pools: &Pools,
    workload: &WorkloadRequest,
    node: &Node,
    family: Family,
    refusals: &mut Vec<Refusal>,
) -> Option<IpAddr> {
    let eligible = eligible_for_workloads(pools, named(workload, pools), node, family);
    let first = eligible.first()?;
    let address = ipam.assign(&eligible, &workload.node, workload.name.clone(), &workload.origin);
    if address.is_none() {
        refusals.push(full(format!("no address is left for workload {}", workload.name), first));
    }
    address
}

/// A named pool must be enabled, but is asked neither for its selectors nor for its assignment mode. Workloads here have no
/// namespace: of the selectors for them only `all()` selects.
///
/// Source: Calico libcalico-go/lib/ipam/ipam.go, determinePools.
fn eligible_for_workloads<'p>(pools: &'p Pools, named: Option<&'p IpPool>, node: &Node, family: Family) -> Vec<&'p IpPool> {
    let candidates: Vec<&IpPool> = match named {
        Some(pool) => Vec::from_iter(pool.allocates().then_some(pool)),
        None => pools
            .values()
            .filter(|pool| allocates_unnamed(pool, node) && pool.namespace_selector.as_ref().is_none_or(Selector::is_all))
            .collect(),
    };
    candidates
        .into_iter()
        .filter(|pool| Family::of_net(pool.cidr) == family)
        .collect()
}

fn allocates_unnamed(pool: &IpPool, node: &Node) -> bool {
    allocates(pool, node) && pool.allowed_uses.workload && pool.assignment == Assignment::Automatic
}

/// A pool that would serve a node's workloads, were they of its namespaces.
fn for_namespaces<'p>(pools: &'p Pools, node: &Node) -> Option<&'p IpPool> {
    let mut candidates = pools.values().filter(|pool| allocates_unnamed(pool, node));
    candidates.find(|pool| pool.namespace_selector.is_some())
}

fn no_pool(workload: &WorkloadRequest, named: Option<&IpPool>, for_namespaces: Option<&IpPool>) -> Refusal {
    let WorkloadRequest { name, origin, .. } = workload;
    if let Some(pool) = named {
        return Refusal::new(
            "K-VALUE",
            below(origin, "pool"),
            format!(
                "workload {name} can have no address: pool {} {}",
                pool.name,
                pool.closed().unwrap_or_default()
            ),
        )
        .why("such a pool hands out no new addresses")
        .help("state the workload's `ip`, or name another pool")
        .related(pool.field("spec.disabled"), "the pool");
    }
    if let Some(pool) = for_namespaces {
        let what = format!("the namespace of workload {name}, which pool {} asks for,", pool.name);
        return not_modelled(origin.clone(), what)
            .help(format!("write `pool: {}`, or state the workload's `ip`", pool.name))
            .related(pool.field("spec.namespaceSelector"), "it is asked for here");
    }
    let message = format!("workload {name} can have no address: no pool hands out addresses");
    Refusal::new("K-VALUE", origin.clone(), message)
        .why("a pool must be enabled, assigned automatically, for workloads, and select the node")
        .help("add an IPPool, or state the workload's `ip`")
}
