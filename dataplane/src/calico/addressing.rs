//! Who asks for addresses: tunnels, then workloads. How they are found is [`super::ipam`]'s affair.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::inventory::Inventory;
use super::ipam::Ipam;
use super::ippool::Assignment;
use super::reading::{DUPLICATE, below, not_modelled};
use super::{Endpoint, IpPool, Node, Selector, WorkloadRequest};
use crate::encap::Encap;
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
        for (address, _, field) in stated_tunnels(node) {
            let holder = (format!("a tunnel of node {}", node.name), node.field(field));
            refusals.extend(address.and_then(|a| take(&mut holders, a.into(), holder)));
        }
    }
    for allocations in inventory.blocks.values().map(|b| &b.block.allocations) {
        let tunnels = allocations.iter().filter(|(_, a)| a.handle.contains(TUNNEL_ADDR));
        for (address, allocation) in tunnels {
            let holder = || (format!("{:?}", &*allocation.handle), allocation.at.clone());
            holders.entry(*address).or_insert_with(holder);
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
        let holder = (format!("workload {}", workload.name), below(&workload.origin, "ip"));
        refusals.extend(workload.address.and_then(|address| take(&mut holders, address, holder)));
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

/// The tunnel addresses that a Node states, each with its encapsulation and its field.
fn stated_tunnels(node: &Node) -> [(Option<Ipv4Addr>, Encap, &'static str); 2] {
    [
        (node.ipip_tunnel, Encap::Ipip, "spec.bgp.ipv4IPIPTunnelAddr"),
        (stated_v4(node.vxlan_tunnel.v4), Encap::Vxlan, "spec.ipv4VXLANTunnelAddr"),
    ]
}

fn stated_v4(address: Option<IpAddr>) -> Option<Ipv4Addr> {
    match address? {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
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
    if workload.address.is_some_and(|address| address.is_ipv6()) {
        refusals.push(not_modelled(field("ip"), "an IPv6 workload"));
    }
    if let (Some(address), Some((_, Some(pool)))) = (workload.address, pool)
        && !pool.cidr.contains(&address)
    {
        refusals.push(
            Refusal::new("K-VALUE", field("ip"), format!("{address} is not in pool {}", pool.name))
                .help(format!("choose an address in {}, or remove `pool`", pool.cidr))
                .related(pool.field("spec.cidr"), "the pool's range"),
        );
    }
}

fn unknown<'a>(field: FieldRef, what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Refusal {
    let refusal = Refusal::new("K-UNKNOWN", field, format!("there is no {what} {name:?}"));
    match suggestion(name, known.clone()) {
        Some(near) => refusal.help(format!("did you mean `{near}`?")),
        None => refusal.help(format!("known: {}", known.collect::<Vec<_>>().join(", "))),
    }
}

/// Gives each node one address for each encapsulation that has an eligible pool. An address that the Node states is kept, as
/// is one that a manifest's block holds for it.
///
/// Source: Calico node/pkg/allocateip/allocateip.go, reconcileTunnelAddrs.
pub(super) fn assign_tunnels(ipam: &mut Ipam<'_>, pools: &Pools, nodes: &mut Nodes, refusals: &mut Vec<Refusal>) {
    for node in nodes.values() {
        for (address, encapsulation, field) in stated_tunnels(node) {
            if let Some(address) = address {
                let handle = tunnel_handle(encapsulation, &node.name);
                ipam.record(address.into(), &node.name, handle, &node.field(field));
            }
        }
    }
    for node in nodes.values_mut() {
        if node.ipip_tunnel.is_none() {
            node.ipip_tunnel = assign_tunnel(ipam, pools, node, Encap::Ipip, refusals);
        }
        if node.vxlan_tunnel.v4.is_none() {
            node.vxlan_tunnel.v4 = assign_tunnel(ipam, pools, node, Encap::Vxlan, refusals).map(IpAddr::V4);
        }
    }
}

/// What stands between the encapsulation and the node in the handle of a tunnel address.
const TUNNEL_ADDR: &str = "-tunnel-addr-";

fn tunnel_handle(encapsulation: Encap, node: &str) -> Arc<str> {
    format!("{encapsulation}{TUNNEL_ADDR}{node}").into()
}

fn assign_tunnel(
    ipam: &mut Ipam<'_>,
    pools: &Pools,
    node: &Node,
    encapsulation: Encap,
    refusals: &mut Vec<Refusal>,
) -> Option<Ipv4Addr> {
    let eligible: Vec<&IpPool> = pools
        .values()
        .filter(|pool| pool.encapsulation() == encapsulation && pool.allowed_uses.tunnel && allocates(pool, node))
        .collect();
    let first = eligible.first()?;
    let handle = tunnel_handle(encapsulation, &node.name);
    let held = ipam
        .held(&handle)
        .filter(|address| eligible.iter().any(|pool| pool.cidr.contains(address)));
    let address = held.or_else(|| ipam.assign(&eligible, &node.name, handle, &node.at));
    match address {
        Some(IpAddr::V4(address)) => Some(address),
        Some(IpAddr::V6(_)) => None,
        None => {
            let message = format!("no address is left for the {encapsulation} tunnel of node {}", node.name);
            refusals.push(full(message, first));
            None
        }
    }
}

/// Whether a node may take addresses from a pool.
fn allocates(pool: &IpPool, node: &Node) -> bool {
    !pool.disabled && pool.node_selector.matches(&node.labels)
}

fn full(message: String, pool: &IpPool) -> Refusal {
    Refusal::new("K-POOL-FULL", pool.field("spec.cidr"), message)
        .why(format!("every address of {} is taken", pool.cidr))
        .help("make the pool larger, or add one")
}

/// The workload with its address: the stated one, or one from the named pool, or one from any pool for workloads.
pub(super) fn endpoint(
    ipam: &mut Ipam<'_>,
    pools: &Pools,
    nodes: &Nodes,
    workload: WorkloadRequest,
    refusals: &mut Vec<Refusal>,
) -> Option<Endpoint> {
    let WorkloadRequest {
        name,
        node,
        address,
        pool,
        origin,
    } = workload;
    let address = match address {
        Some(address) => Some(address),
        None => {
            let named = pool.as_ref().and_then(|name| pools.get(name));
            let eligible = eligible_for_workloads(pools, named, nodes.get(&node));
            match eligible.first() {
                Some(first) => {
                    let address = ipam.assign(&eligible, &node, name.clone(), &origin);
                    if address.is_none() {
                        refusals.push(full(format!("no address is left for workload {name}"), first));
                    }
                    address
                }
                None => {
                    refusals.push(no_pool(&name, named, &origin));
                    None
                }
            }
        }
    };
    Some(Endpoint {
        name,
        node,
        addresses: vec![address?],
        at: origin,
    })
}

/// A named pool must be enabled, but is asked neither for its selectors nor for its assignment mode. Namespaces and their
/// labels are not known here: of the selectors for them only `all()` selects.
///
/// Source: Calico libcalico-go/lib/ipam/ipam.go, determinePools.
fn eligible_for_workloads<'p>(pools: &'p Pools, named: Option<&'p IpPool>, node: Option<&Node>) -> Vec<&'p IpPool> {
    match named {
        Some(pool) => Vec::from_iter((!pool.disabled).then_some(pool)),
        None => pools
            .values()
            .filter(|pool| node.is_some_and(|node| allocates(pool, node)) && pool.allowed_uses.workload)
            .filter(|pool| {
                pool.assignment == Assignment::Automatic && pool.namespace_selector.as_ref().is_none_or(Selector::is_all)
            })
            .collect(),
    }
}

fn no_pool(workload: &str, named: Option<&IpPool>, origin: &FieldRef) -> Refusal {
    match named {
        Some(pool) => Refusal::new(
            "K-VALUE",
            below(origin, "pool"),
            format!("workload {workload} can have no address: pool {} is disabled", pool.name),
        )
        .why("a disabled pool hands out no new addresses")
        .help("state the workload's `ip`, or enable the pool")
        .related(pool.field("spec.disabled"), "it is disabled here"),
        None => Refusal::new(
            "K-VALUE",
            origin.clone(),
            format!("workload {workload} can have no address: no pool hands out addresses"),
        )
        .why("a pool must be enabled, assigned automatically, for workloads, and select the node")
        .help("add an IPPool, or state the workload's `ip`"),
    }
}
