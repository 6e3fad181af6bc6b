//! What a datastore has routes to: blocks, borrowed addresses and tunnel addresses; never pools, nor what a node itself has.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::Index;
use crate::calico::{Block, ClusterState, Node, RouteSource};
use crate::fields::FieldRef;

/// A destination and the node that has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) destination: IpNet,
    pub(super) node: &'a Arc<str>,
    /// What made it a candidate.
    pub(super) at: &'a FieldRef,
}

/// Every destination of a cluster that may be one.
pub(super) fn destinations(cluster: &ClusterState, source: RouteSource) -> Vec<IpNet> {
    match source {
        RouteSource::CalicoIpam => {
            let blocks = cluster.blocks().values().flat_map(of_block);
            let tunnels = cluster.nodes().values().flat_map(tunnel_addresses).map(IpNet::from);
            blocks.chain(tunnels).collect()
        }
        RouteSource::WorkloadIps => {
            let endpoints = cluster.endpoints().values();
            endpoints.flat_map(|e| e.addresses.iter().copied().map(IpNet::from)).collect()
        }
    }
}

/// A block and the addresses in it that may be destinations of their own.
pub(super) fn of_block(block: &Block) -> impl Iterator<Item = IpNet> {
    let single = |(address, allocation): (&IpAddr, &crate::calico::Allocation)| {
        let borrowed = allocation.node.is_some() && allocation.node != block.affinity;
        borrowed.then(|| IpNet::from(*address))
    };
    std::iter::once(block.cidr).chain(block.allocations.iter().filter_map(single))
}

/// The addresses of a node's tunnel devices.
pub(super) fn tunnel_addresses(node: &Node) -> impl Iterator<Item = IpAddr> {
    let ipip = node.ipip_tunnel.map(IpAddr::V4);
    ipip.into_iter().chain(node.vxlan_tunnel.iter().flatten().copied())
}

/// Who has a destination, if it is one. A block goes to the node that it is affine to; a single address to the node that uses
/// it, unless that node's block covers it. A node's own address is never a workload's.
///
/// Source: Calico felix/calc/l3_route_resolver.go, routesFromBlock, OnResourceUpdate, flush.
pub(super) fn candidate<'a>(
    cluster: &'a ClusterState,
    index: &'a Index,
    source: RouteSource,
    destination: IpNet,
) -> Option<Candidate<'a>> {
    let single = destination.prefix_len() == destination.max_prefix_len();
    if single && index.hosts.contains(&destination.addr()) {
        return None;
    }
    let found = |node, at| Candidate { destination, node, at };
    if source == RouteSource::WorkloadIps {
        let name = index.endpoints.by_address.get(&destination.addr()).filter(|_| single)?;
        return cluster.endpoints().get(name).map(|e| found(&e.node, &e.at));
    }
    let whole = cluster.blocks().get(&destination);
    if let Some((node, block)) = whole.and_then(|block| Some((block.affinity.as_ref()?, block))) {
        return Some(found(node, &block.at));
    }
    let address = single.then(|| destination.addr())?;
    let block = index.block_with(cluster, address);
    let affine = block.and_then(|block| block.affinity.as_ref());
    let tunnel = index.tunnels.get(&address).and_then(|name| cluster.nodes().get(name));
    if let Some(node) = tunnel {
        return (affine != Some(&node.name)).then(|| found(&node.name, &node.at));
    }
    let allocation = block?.allocations.get(&address)?;
    let node = allocation.node.as_ref().filter(|node| affine != Some(node))?;
    Some(found(node, &allocation.at))
}
