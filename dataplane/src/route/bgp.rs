//! What BIRD learns on a node, and which routes of it the kernel gets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::candidates::{Candidate, candidate, destinations};
use super::{AbsentReason, Index};
use crate::Family;
use crate::calico::{ClusterState, IpPool, Node, RouteSource};
use crate::fields::FieldRef;

/// A destination that BIRD has chosen a path to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Learned {
    /// The BGP next hop.
    pub(super) next_hop: IpAddr,
    /// The node that has the destination.
    pub(super) node: Arc<str>,
    /// What made it a destination, and where it is declared.
    pub(super) at: FieldRef,
}

impl Learned {
    /// The next hop, and where it is recorded if it is the node's own address.
    pub(super) fn record(&self, cluster: &ClusterState) -> (IpAddr, Option<FieldRef>) {
        let node = cluster.nodes().get(&self.node);
        let record = node.and_then(|node| node.bgp_address(Family::of(self.next_hop)));
        let own = record.filter(|record| record.net.addr() == self.next_hop);
        (self.next_hop, own.map(|record| record.at))
    }
}

/// Whether every node learns of every other one the same: a full mesh and nothing else. Nodes share their routes then.
pub(super) fn is_plain(_: &ClusterState) -> bool {
    true
}

/// What a node learns in a family, and what it does not learn although another node has it.
pub(super) fn learned(
    cluster: &ClusterState,
    index: &Index,
    node: &Node,
    family: Family,
) -> BTreeMap<IpNet, Result<Learned, AbsentReason>> {
    let all = destinations(cluster, RouteSource::CalicoIpam).into_iter();
    all.filter(|destination| Family::of_net(*destination) == family)
        .filter_map(|destination| candidate(cluster, index, RouteSource::CalicoIpam, destination))
        .filter(|candidate| *candidate.node != node.name)
        .filter_map(|candidate| {
            let pool = index.pools.around(cluster, candidate.destination)?.pool;
            Some((candidate.destination, from_mesh(cluster, pool, &candidate)))
        })
        .collect()
}

/// What every node in a full mesh learns of a destination: its next hop is the node that has it.
pub(super) fn from_mesh(cluster: &ClusterState, pool: &IpPool, candidate: &Candidate<'_>) -> Result<Learned, AbsentReason> {
    if !cluster.bgp() {
        return Err(AbsentReason::NotLearned);
    }
    if pool.disable_bgp_export {
        return Err(AbsentReason::NotExported);
    }
    let remote = cluster.nodes().get(candidate.node).ok_or(AbsentReason::UnknownNode)?;
    let record = remote.bgp_net(Family::of_net(candidate.destination));
    Ok(Learned {
        next_hop: record.ok_or(AbsentReason::NoNodeAddress)?.addr(),
        node: remote.name.clone(),
        at: candidate.at.clone(),
    })
}
