//! Host-local address management: a node's workloads have addresses of the ranges that Kubernetes gave it. No pool is asked, no
//! block claimed and no address borrowed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::ipam::{Ipam, addresses};
use super::reading::below;
use super::{Node, WorkloadRequest};
use crate::fields::{FieldRef, Refusal};
use crate::{Family, PerFamily};

type Nodes = BTreeMap<Arc<str>, Node>;

/// Makes each node's ranges its blocks, and gives it the tunnel addresses that it then has: one for IPIP, which follows from its
/// range, and none for VXLAN.
///
/// Source: Calico libcalico-go/lib/backend/k8s/resources/node.go, getIPIPTunnelAddress.
pub(super) fn prepare(ipam: &mut Ipam<'_>, nodes: &mut Nodes) {
    for node in nodes.values_mut() {
        for range in &node.pod_cidrs {
            ipam.add_affine(*range, &node.name, &node.field("spec.podCIDRs"));
        }
        node.vxlan_tunnel = PerFamily::default();
        node.ipip_tunnel = range_of(node, Family::V4).and_then(|range| match addresses(range).nth(1)? {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
    }
}

/// The range of a family that Kubernetes gave a node.
fn range_of(node: &Node, family: Family) -> Option<IpNet> {
    node.pod_cidrs.iter().copied().find(|range| Family::of_net(*range) == family)
}

/// Refuses workloads that state an address out of their node's range.
pub(super) fn check(workloads: &[WorkloadRequest], nodes: &Nodes, refusals: &mut Vec<Refusal>) {
    for workload in workloads {
        let Some(node) = nodes.get(&workload.node) else { continue };
        let inside = |address: &IpAddr| node.pod_cidrs.iter().any(|range| range.contains(address));
        refusals.extend(workload.addresses.iter().find(|address| !inside(address)).map(|address| {
            let message = format!("{address} is in no range of node {}", node.name);
            Refusal::new("K-VALUE", below(&workload.origin, "ip"), message)
                .why("with host-local address management a workload's address is of its node's own range")
                .help("choose an address of the node's `podCIDRs`")
                .related(node.field("spec.podCIDRs"), "the node's ranges")
        }));
    }
}

/// The lowest free address of each family that a node has a range of, none of them if a range is full. A range's first two
/// addresses are its own and the gateway's.
pub(super) fn assign(
    ipam: &mut Ipam<'_>,
    node: &Node,
    family: Family,
    handle: &Arc<str>,
    at: &FieldRef,
    refusals: &mut Vec<Refusal>,
) -> Option<IpAddr> {
    let range = range_of(node, family)?;
    let free = addresses(range).skip(2).find(|address| ipam.holder(*address).is_none());
    match free {
        Some(address) => ipam.record(address, &node.name, handle.clone(), at),
        None => refusals.push(
            Refusal::new(
                "K-POOL-FULL",
                node.field("spec.podCIDRs"),
                format!("no address is left for workload {handle}"),
            )
            .why(format!("every address of {range} is taken"))
            .help("give the node a larger range"),
        ),
    }
    free
}

/// The refusal of a workload whose node has no range.
pub(super) fn no_range(workload: &WorkloadRequest, node: &Node) -> Refusal {
    Refusal::new(
        "K-VALUE",
        workload.origin.clone(),
        format!(
            "workload {} can have no address: node {} has no range",
            workload.name, node.name
        ),
    )
    .why("with host-local address management a workload's address is of its node's own range")
    .help("add the node's `podCIDRs`")
    .related(node.field("spec.podCIDRs"), "the node's ranges")
}
