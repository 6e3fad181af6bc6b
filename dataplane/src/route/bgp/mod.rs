//! BGP once it has settled: who peers with whom, what each node announces, learns and writes into its kernel. There is no
//! session on a wire, no timer and no daemon here; somebody outside the cluster is a speaker that takes and passes on all.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use self::paths::{Paths, Spread};
use self::policy::Policy;
use self::sessions::Network;
use super::candidates::Candidate;
use super::{AbsentReason, Index};
use crate::calico::{ClusterState, IpPool};
use crate::fields::FieldRef;
use crate::{Family, PerFamily};

mod kernel;
mod paths;
mod policy;
mod sessions;

pub(super) use kernel::{KernelFilter, Written};
pub use sessions::{BgpSession, bgp_sessions};

/// A path that BIRD has chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Learned {
    /// The node that has the destination.
    pub(super) node: Arc<str>,
    /// The BGP next hop.
    pub(super) next_hop: IpAddr,
    /// Whose address that is: a node's name, or the name of a peering with the outside.
    pub(super) speaker: Arc<str>,
}

impl Learned {
    /// Where the next hop's address is recorded.
    pub(super) fn record(&self, cluster: &ClusterState) -> Option<FieldRef> {
        let node = cluster.nodes().get(&self.speaker);
        let own = node.and_then(|node| node.bgp_address(Family::of(self.next_hop)));
        let own = own
            .filter(|record| record.net.addr() == self.next_hop)
            .map(|record| record.at);
        own.or_else(|| {
            cluster
                .bgp_peers()
                .get(&self.speaker)
                .map(|peering| peering.field("spec.peerIP"))
        })
    }
}

/// What every node in a full mesh learns of a destination: its next hop is the node that has it.
pub(super) fn from_mesh(cluster: &ClusterState, pool: &IpPool, candidate: &Candidate<'_>) -> Result<Learned, AbsentReason> {
    if pool.disable_bgp_export {
        return Err(AbsentReason::NotExported);
    }
    let remote = cluster.nodes().get(candidate.node).ok_or(AbsentReason::UnknownNode)?;
    let record = remote.bgp_net(Family::of_net(candidate.destination));
    Ok(Learned {
        next_hop: record.ok_or(AbsentReason::NoNodeAddress)?.addr(),
        node: remote.name.clone(),
        speaker: remote.name.clone(),
    })
}

/// What a node has learned, by prefix.
pub(super) type Rib = BTreeMap<IpNet, Learned>;

/// Whether every node learns of every other one the same: a full mesh and nothing else.
pub(super) fn is_plain(cluster: &ClusterState) -> bool {
    let reflectors = cluster.nodes().values().any(|node| node.route_reflector_cluster.is_some());
    cluster.bgp_mesh() && cluster.bgp_peers().is_empty() && !reflectors
}

/// What every node has learned, where it is not the same for all. Nodes with the same sessions share it, and each overlooks in
/// it what it has itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Ribs {
    /// Which of `ribs` is a node's.
    of: PerFamily<BTreeMap<Arc<str>, usize>>,
    ribs: Vec<Rib>,
}

impl Ribs {
    /// Lets the destinations spread that nodes have, each given with the name of its node.
    pub(super) fn of(cluster: &ClusterState, destinations: &[(IpNet, Arc<str>)]) -> Ribs {
        let mut ribs = Ribs::default();
        for family in Family::ALL {
            ribs.add(cluster, destinations, family);
        }
        ribs
    }

    /// The number of a node's: two nodes of one number have learned the same.
    pub(super) fn number(&self, node: &str, family: Family) -> Option<usize> {
        self.of.get(family).get(node).copied()
    }

    /// What was learned under a number.
    pub(super) fn get(&self, number: usize) -> Option<&Rib> {
        self.ribs.get(number)
    }

    fn add(&mut self, cluster: &ClusterState, destinations: &[(IpNet, Arc<str>)], family: Family) {
        let network = Network::of(cluster, family);
        let own = owned(&network, destinations, family);
        let spread = Spread::settle(&network, Policy::of(cluster, family), own);
        let mut alike = BTreeMap::new();
        for (name, id) in network.places() {
            let passes_on = spread.passes_on(id).then_some(id);
            let number = *alike.entry((passes_on, spread.situation(id))).or_insert_with(|| {
                self.ribs.push(rib(&network, spread.learn_shared(id, passes_on)));
                self.ribs.len() - 1
            });
            self.of.get_mut(family).insert(name.into(), number);
        }
    }
}

/// A route that somebody outside the cluster learns from the nodes that peer with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutsideRoute {
    /// Who learns it.
    pub speaker: IpAddr,
    /// The prefix.
    pub destination: IpNet,
    /// The node's address that it leads to.
    pub next_hop: IpAddr,
}

/// What everybody outside the cluster learns, once every session is up.
pub fn bgp_outside(cluster: &ClusterState) -> Vec<OutsideRoute> {
    let own = Index::of(cluster).announced(cluster);
    Family::ALL
        .into_iter()
        .flat_map(|family| outside(cluster, &own, family))
        .collect()
}

fn outside(cluster: &ClusterState, destinations: &[(IpNet, Arc<str>)], family: Family) -> Vec<OutsideRoute> {
    let network = Network::of(cluster, family);
    let strangers = network.speakers_that(|speaker| speaker.node.is_none());
    let strangers: Vec<_> = strangers.map(|(id, speaker)| (id, speaker.address)).collect();
    if strangers.is_empty() {
        return Vec::new();
    }
    let spread = Spread::settle(&network, Policy::of(cluster, family), owned(&network, destinations, family));
    let mut routes = Vec::new();
    for (id, speaker) in strangers {
        for (destination, path) in spread.learn_shared(id, Some(id)) {
            routes.extend(network.speakers.get(path.next_hop).map(|hop| OutsideRoute {
                speaker,
                destination,
                next_hop: hop.address,
            }));
        }
    }
    routes
}

/// The destinations of a family by the speaker that has them.
fn owned(network: &Network<'_>, destinations: &[(IpNet, Arc<str>)], family: Family) -> Vec<Vec<IpNet>> {
    let places = network.places();
    let mut own = vec![Vec::new(); network.speakers.len()];
    for (destination, node) in destinations.iter().filter(|(net, _)| Family::of_net(*net) == family) {
        let place = places.get(&**node).and_then(|id| own.get_mut(*id));
        place.into_iter().for_each(|own| own.push(*destination));
    }
    own
}

fn rib(network: &Network<'_>, paths: Paths) -> Rib {
    let learned = |(prefix, path): (IpNet, paths::Path)| {
        let (origin, hop) = (network.speakers.get(path.origin)?, network.speakers.get(path.next_hop)?);
        let learned = Learned {
            node: origin.name.clone(),
            next_hop: hop.address,
            speaker: hop.name.clone(),
        };
        Some((prefix, learned))
    };
    paths.into_iter().filter_map(learned).collect()
}
