//! Addresses of tunnel devices: one for each kind of tunnel that has an eligible pool. How one is found is [`super::ipam`]'s
//! affair.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::addressing::{allocates, full};
use super::ipam::Ipam;
use super::{IpPool, Node};
use crate::Family;
use crate::encap::Encap;
use crate::fields::Refusal;

/// A kind of tunnel device: what it encapsulates in, and the family of its address.
#[derive(Clone, Copy)]
pub(super) struct Tunnel {
    encapsulation: Encap,
    family: Family,
    /// What its handle starts with.
    handle: &'static str,
    /// The field of Calico's Node that holds its address.
    field: &'static str,
}

/// What stands between the kind of tunnel and the node in the handle of a tunnel address.
pub(super) const TUNNEL_ADDR: &str = "-tunnel-addr-";

impl Tunnel {
    const ALL: [Tunnel; 3] = [
        Tunnel {
            encapsulation: Encap::Ipip,
            family: Family::V4,
            handle: "ipip",
            field: "spec.bgp.ipv4IPIPTunnelAddr",
        },
        Tunnel {
            encapsulation: Encap::Vxlan,
            family: Family::V4,
            handle: "vxlan",
            field: "spec.ipv4VXLANTunnelAddr",
        },
        Tunnel {
            encapsulation: Encap::Vxlan,
            family: Family::V6,
            handle: "vxlan-v6",
            field: "spec.ipv6VXLANTunnelAddr",
        },
    ];

    fn handle(self, node: &str) -> Arc<str> {
        format!("{}{TUNNEL_ADDR}{node}", self.handle).into()
    }

    fn address(self, node: &Node) -> Option<IpAddr> {
        match self.encapsulation {
            Encap::Ipip => node.ipip_tunnel.map(IpAddr::V4),
            Encap::Vxlan => *node.vxlan_tunnel.get(self.family),
            Encap::None => None,
        }
    }

    fn set(self, node: &mut Node, address: Option<IpAddr>) {
        match (self.encapsulation, address) {
            (Encap::Ipip, Some(IpAddr::V4(address))) => node.ipip_tunnel = Some(address),
            (Encap::Ipip, _) => node.ipip_tunnel = None,
            (Encap::Vxlan, _) => *node.vxlan_tunnel.get_mut(self.family) = address,
            (Encap::None, _) => {}
        }
    }
}

/// The tunnel addresses that a Node states, each with its field.
pub(super) fn stated(node: &Node) -> impl Iterator<Item = (Tunnel, IpAddr, &'static str)> {
    Tunnel::ALL
        .into_iter()
        .filter_map(|tunnel| Some((tunnel, tunnel.address(node)?, tunnel.field)))
}

/// Gives each node one address for each kind of tunnel that has an eligible pool; a node has none of the others.
///
/// Source: Calico node/pkg/allocateip/allocateip.go, reconcileTunnelAddrs.
pub(super) fn assign(
    ipam: &mut Ipam<'_>,
    pools: &BTreeMap<Arc<str>, IpPool>,
    nodes: &mut BTreeMap<Arc<str>, Node>,
    refusals: &mut Vec<Refusal>,
) {
    for node in nodes.values_mut() {
        for (tunnel, address, field) in stated(node).collect::<Vec<_>>() {
            let handle = tunnel.handle(&node.name);
            if tunnel.keeps(address, &handle, ipam, pools) {
                ipam.record(address, &node.name, handle, &node.field(field));
            } else {
                tunnel.set(node, None);
            }
        }
    }
    for node in nodes.values_mut() {
        for tunnel in Tunnel::ALL {
            if tunnel.address(node).is_none() {
                let address = assign_one(ipam, pools, node, tunnel, refusals);
                tunnel.set(node, address);
            }
        }
    }
}

impl Tunnel {
    /// Whether a node keeps an address that its record states: nobody else has it, and it is in no pool or in one for this kind
    /// of tunnel. An address in no pool, or in one that does not select the node, was written there by hand and is obeyed.
    ///
    /// Source: Calico node/pkg/allocateip/allocateip.go, ensureHostTunnelAddress; libcalico-go/lib/backend/k8s/resources/node.go.
    fn keeps(self, address: IpAddr, handle: &str, ipam: &Ipam<'_>, pools: &BTreeMap<Arc<str>, IpPool>) -> bool {
        let own = ipam.holder(address).is_none_or(|holder| holder == handle);
        let mut around = pools.values().filter(|pool| pool.cidr.contains(&address)).peekable();
        own && (around.peek().is_none() || around.any(|pool| self.suits(pool)))
    }

    /// Whether a pool is for this kind of tunnel, on whatever node.
    fn suits(self, pool: &IpPool) -> bool {
        pool.encapsulation() == self.encapsulation
            && Family::of_net(pool.cidr) == self.family
            && pool.allowed_uses.tunnel
            && pool.allocates()
    }
}

/// A new address; one that a manifest's block holds for the tunnel comes first.
fn assign_one(
    ipam: &mut Ipam<'_>,
    pools: &BTreeMap<Arc<str>, IpPool>,
    node: &Node,
    tunnel: Tunnel,
    refusals: &mut Vec<Refusal>,
) -> Option<IpAddr> {
    let eligible: Vec<&IpPool> = pools
        .values()
        .filter(|pool| tunnel.suits(pool) && allocates(pool, node))
        .collect();
    let handle = tunnel.handle(&node.name);
    let held = ipam.held(&handle);
    let fits = |address: &IpAddr| eligible.iter().any(|pool| pool.cidr.contains(address));
    if let Some(address) = held.filter(fits) {
        return Some(address);
    }
    if let Some(address) = held {
        ipam.release(address);
    }
    let first = eligible.first()?;
    let address = ipam.assign(&eligible, &node.name, handle, &node.at);
    if address.is_none() {
        let message = format!(
            "no address is left for the {} tunnel of node {}",
            tunnel.encapsulation, node.name
        );
        refusals.push(full(message, first));
    }
    address
}
