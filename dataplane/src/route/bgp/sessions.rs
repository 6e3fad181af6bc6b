//! Who speaks BGP with whom: the mesh, and the peerings that BGPPeers ask for. What they tell each other is not here.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::Family;
use crate::calico::{BgpPeer, ClusterState, Node, Peer, PeerType};

/// A speaker, by its place in [`Network::speakers`].
pub(super) type SpeakerId = usize;

/// A node, or somebody outside the cluster that nodes peer with.
#[derive(Clone, Debug)]
pub(super) struct Speaker<'a> {
    /// A node's name, or the name of the peering that brought it.
    pub(super) name: Arc<str>,
    pub(super) address: IpAddr,
    pub(super) as_number: u32,
    /// The cluster that it reflects for.
    pub(super) cluster: Option<Ipv4Addr>,
    /// The metric of its own routes.
    pub(super) metric: u32,
    pub(super) node: Option<&'a Node>,
}

/// How one end of a session is set up.
#[derive(Clone, Copy, Debug)]
struct End<'a> {
    /// None for the mesh, and for the far end of a peering with the outside.
    peering: Option<&'a BgpPeer>,
    /// The AS that it expects of the other end.
    expected: u32,
}

/// One direction of an established session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session<'a> {
    pub(super) from: SpeakerId,
    pub(super) to: SpeakerId,
    /// The peering by whose rules the sender sends.
    pub(super) export: Option<&'a BgpPeer>,
    /// The peering by whose rules the receiver takes.
    pub(super) import: Option<&'a BgpPeer>,
}

/// The speakers of one family and their sessions.
#[derive(Debug)]
pub(super) struct Network<'a> {
    /// The nodes with an address of the family, by name; then those outside, by address.
    pub(super) speakers: Vec<Speaker<'a>>,
    /// The nodes that have a session with each other without any peering, if they are of one AS; pairs of a mesh of several AS
    /// are in `ends`.
    pub(super) mesh: Vec<SpeakerId>,
    ends: BTreeMap<(SpeakerId, SpeakerId), End<'a>>,
}

/// A session as one node has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpSession {
    /// The other end: a node's name, or the name of the peering with the outside.
    pub peer: Arc<str>,
    /// The other end's address.
    pub address: IpAddr,
    /// The other end's AS.
    pub as_number: u32,
    /// Whether both are of one AS.
    pub kind: PeerType,
    /// The peering that asks for it; none for the mesh.
    pub peering: Option<Arc<str>>,
    /// Whether the node reflects routes to the other end.
    pub client: bool,
    /// Whether it comes up: both ends are set up for it, each with the AS that the other has.
    pub established: bool,
}

impl<'a> Network<'a> {
    /// Source: Calico confd/pkg/backends/calico/bgp_processor.go, processMeshPeers; client.go, updatePeersV1.
    pub(super) fn of(cluster: &'a ClusterState, family: Family) -> Network<'a> {
        let speakers: Vec<_> = cluster
            .nodes()
            .values()
            .filter_map(|node| speaker(cluster, node, family))
            .collect();
        let mut network = Network {
            speakers,
            mesh: Vec::new(),
            ends: BTreeMap::new(),
        };
        if !cluster.bgp() {
            network.speakers.clear();
        }
        for peering in cluster.bgp_peers().values() {
            network.add(peering, family);
        }
        for peering in cluster.bgp_peers().values().filter(|peering| peering.reverse) {
            network.add_reverse(peering);
        }
        network.add_mesh(cluster);
        network
    }

    fn nodes(&self) -> impl Iterator<Item = (SpeakerId, &'a Node)> + '_ {
        self.speakers.iter().enumerate().filter_map(|(id, s)| Some((id, s.node?)))
    }

    /// The speakers of which something is true.
    pub(super) fn speakers_that(&self, is_so: impl Fn(&Speaker<'a>) -> bool) -> impl Iterator<Item = (SpeakerId, &Speaker<'a>)> {
        self.speakers.iter().enumerate().filter(move |(_, speaker)| is_so(speaker))
    }

    /// The nodes by their names.
    pub(super) fn places(&self) -> BTreeMap<&str, SpeakerId> {
        let nodes = self.speakers_that(|speaker| speaker.node.is_some());
        nodes.map(|(id, speaker)| (&*speaker.name, id)).collect()
    }

    fn with_address(&self, address: IpAddr) -> Option<SpeakerId> {
        self.speakers.iter().position(|s| s.address == address)
    }

    fn as_of(&self, id: SpeakerId) -> u32 {
        self.speakers.get(id).map_or(0, |s| s.as_number)
    }

    /// The first peering between two speakers holds.
    fn set_end(&mut self, from: SpeakerId, to: SpeakerId, peering: Option<&'a BgpPeer>, expected: u32) {
        if from != to {
            self.ends.entry((from, to)).or_insert(End { peering, expected });
        }
    }

    fn add(&mut self, peering: &'a BgpPeer, family: Family) {
        let here: Vec<_> = self
            .nodes()
            .filter(|(_, node)| peering.nodes.contains(node))
            .map(|(id, _)| id)
            .collect();
        match &peering.peer {
            None => {}
            Some(Peer::Selected(selector)) => {
                let there: Vec<_> = self
                    .nodes()
                    .filter(|(_, node)| selector.matches(&node.labels))
                    .map(|(id, _)| id)
                    .collect();
                for (from, to) in here.iter().flat_map(|from| there.iter().map(move |to| (*from, *to))) {
                    self.set_end(from, to, Some(peering), self.as_of(to));
                }
            }
            Some(Peer::Address(address, _)) if Family::of(*address) != family => {}
            Some(Peer::Address(address, number)) => {
                let to = self
                    .with_address(*address)
                    .unwrap_or_else(|| self.add_outside(peering, *address, *number));
                let outside = self.speakers.get(to).is_some_and(|s| s.node.is_none());
                for from in here {
                    self.set_end(from, to, Some(peering), *number);
                    if outside {
                        self.set_end(to, from, None, self.as_of(from));
                    }
                }
            }
        }
    }

    fn add_outside(&mut self, peering: &BgpPeer, address: IpAddr, as_number: u32) -> SpeakerId {
        let cluster = match address {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        self.speakers.push(Speaker {
            name: peering.name.clone(),
            address,
            as_number,
            cluster: Some(cluster),
            metric: 0,
            node: None,
        });
        self.speakers.len() - 1
    }

    /// The nodes that are peered with peer back, unless a peering of their own says how.
    fn add_reverse(&mut self, peering: &'a BgpPeer) {
        let is_peered = |id: SpeakerId, node: &Node| match &peering.peer {
            None => false,
            Some(Peer::Selected(selector)) => selector.matches(&node.labels),
            Some(Peer::Address(address, number)) => self
                .speakers
                .get(id)
                .is_some_and(|s| s.address == *address && s.as_number == *number),
        };
        let here: Vec<_> = self
            .nodes()
            .filter(|(id, node)| is_peered(*id, node))
            .map(|(id, _)| id)
            .collect();
        let there: Vec<_> = self
            .nodes()
            .filter(|(_, node)| peering.nodes.contains(node))
            .map(|(id, _)| id)
            .collect();
        for (from, to) in here.iter().flat_map(|from| there.iter().map(move |to| (*from, *to))) {
            self.set_end(from, to, Some(peering), self.as_of(to));
        }
    }

    /// Route reflectors take no part in the mesh.
    fn add_mesh(&mut self, cluster: &ClusterState) {
        if !cluster.bgp_mesh() {
            return;
        }
        let members: Vec<_> = self
            .nodes()
            .filter(|(_, n)| n.route_reflector_cluster.is_none())
            .map(|(id, _)| id)
            .collect();
        let first = members.first().map(|id| self.as_of(*id));
        if members.iter().all(|id| Some(self.as_of(*id)) == first) {
            self.mesh = members;
            return;
        }
        for (from, to) in members.iter().flat_map(|from| members.iter().map(move |to| (*from, *to))) {
            self.set_end(from, to, None, self.as_of(to));
        }
    }

    /// Whether two speakers are of one AS.
    pub(super) fn kind(&self, from: SpeakerId, to: SpeakerId) -> PeerType {
        if self.as_of(from) == self.as_of(to) {
            PeerType::Ibgp
        } else {
            PeerType::Ebgp
        }
    }

    /// Whether one speaker reflects routes to another: it has a cluster, and the other, in its AS, has none or another one.
    ///
    /// Source: Calico confd/pkg/backends/calico/bgp_processor.go, buildPeerFromData.
    pub(super) fn is_client(&self, reflector: SpeakerId, of: SpeakerId) -> bool {
        let cluster = |id: SpeakerId| {
            self.speakers
                .get(id)
                .filter(|s| s.node.is_some() || id == reflector)
                .and_then(|s| s.cluster)
        };
        let own = cluster(reflector);
        own.is_some() && self.kind(reflector, of) == PeerType::Ibgp && cluster(of) != own
    }

    fn established(&self, from: SpeakerId, to: SpeakerId) -> bool {
        let fits = |from, to| self.ends.get(&(from, to)).is_some_and(|end| end.expected == self.as_of(to));
        fits(from, to) && fits(to, from)
    }

    /// Both directions of every established session besides those of the mesh, by sender and receiver.
    pub(super) fn sessions(&self) -> impl Iterator<Item = Session<'a>> + '_ {
        let pairs = self.ends.keys().filter(|(from, to)| self.established(*from, *to));
        pairs.map(|&(from, to)| Session {
            from,
            to,
            export: self.ends.get(&(from, to)).and_then(|end| end.peering),
            import: self.ends.get(&(to, from)).and_then(|end| end.peering),
        })
    }

    fn session_of(&self, from: SpeakerId, to: SpeakerId, peering: Option<&BgpPeer>, established: bool) -> Option<BgpSession> {
        let other = self.speakers.get(to)?;
        Some(BgpSession {
            peer: other.name.clone(),
            address: other.address,
            as_number: other.as_number,
            kind: self.kind(from, to),
            peering: peering.map(|p| p.name.clone()),
            client: self.is_client(from, to),
            established,
        })
    }
}

/// The sessions that a node is set up for in a family: those of the mesh, then the others, each by the other end.
pub fn bgp_sessions(cluster: &ClusterState, node: &str, family: Family) -> Vec<BgpSession> {
    let network = Network::of(cluster, family);
    let Some((here, _)) = network.nodes().find(|(_, n)| *n.name == *node) else {
        return Vec::new();
    };
    let in_mesh = network.mesh.contains(&here);
    let mesh = network.mesh.iter().filter(|to| in_mesh && **to != here);
    let mesh = mesh.filter_map(|to| network.session_of(here, *to, None, true));
    let own = network.ends.range((here, 0)..=(here, SpeakerId::MAX));
    let own = own.filter_map(|(&(_, to), end)| network.session_of(here, to, end.peering, network.established(here, to)));
    mesh.chain(own).collect()
}

fn speaker<'a>(cluster: &'a ClusterState, node: &'a Node, family: Family) -> Option<Speaker<'a>> {
    let record = node.bgp_address(family)?;
    let settings = cluster.bgp_configuration(&node.name);
    Some(Speaker {
        name: node.name.clone(),
        address: record.net.addr(),
        as_number: settings.as_number,
        cluster: node.route_reflector_cluster,
        metric: settings.normal_route_metric,
        node: Some(node),
    })
}
