//! Paths and how they spread: what each speaker knows once nothing changes any more.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::policy::Policy;
use super::sessions::{Network, Session, SpeakerId};
use crate::calico::{BgpPeer, NextHopMode, PeerType};

/// Rounds of announcements after which what is not settled stays as it is: BGP need not converge.
const ROUNDS: usize = 64;

/// A path to a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// The node that has the prefix.
    pub(super) origin: SpeakerId,
    pub(super) next_hop: SpeakerId,
    /// Whom it was learned from, and over what kind of session; none for a speaker's own.
    pub(super) from: Option<(SpeakerId, PeerType)>,
    pub(super) as_path: Vec<u32>,
    pub(super) metric: u32,
    /// The clusters that reflected it.
    clusters: Vec<Ipv4Addr>,
}

/// The best path to each prefix.
pub(super) type Paths = BTreeMap<IpNet, Path>;

/// What the nodes of a mesh tell each other: the best path to each prefix, and the best that another node tells.
type Mesh = BTreeMap<IpNet, (Path, Option<Path>)>;

/// A network while paths spread in it.
pub(super) struct Spread<'a> {
    pub(super) network: &'a Network<'a>,
    pub(super) policy: Policy<'a>,
    /// The prefixes that each speaker has itself.
    pub(super) own: Vec<Vec<IpNet>>,
    /// The sessions by receiver.
    pub(super) sessions: Vec<Vec<Session<'a>>>,
    /// What the speakers know that may pass on what they learn; nothing for the others.
    known: BTreeMap<SpeakerId, Paths>,
    mesh: Mesh,
}

impl<'a> Spread<'a> {
    /// Spreads paths until nothing changes.
    pub(super) fn settle(network: &'a Network<'a>, policy: Policy<'a>, own: Vec<Vec<IpNet>>) -> Spread<'a> {
        let mut spread = Spread::start(network, policy, own);
        let passing = spread.first_to_pass();
        spread.run(&passing);
        spread
    }

    fn start(network: &'a Network<'a>, policy: Policy<'a>, own: Vec<Vec<IpNet>>) -> Spread<'a> {
        let mut sessions = vec![Vec::new(); network.speakers.len()];
        for session in network.sessions() {
            if let Some(of) = sessions.get_mut(session.to) {
                of.push(session);
            }
        }
        Spread {
            network,
            policy,
            own,
            sessions,
            known: BTreeMap::new(),
            mesh: Mesh::new(),
        }
    }

    fn run(&mut self, passing: &[SpeakerId]) {
        self.known = passing.iter().map(|id| (*id, self.own_paths(*id))).collect();
        for _ in 0..ROUNDS {
            self.mesh = self.tell_mesh();
            let next = passing.iter().map(|id| (*id, self.learn(*id))).collect();
            if self.known == next {
                return;
            }
            self.known = next;
        }
    }

    /// Whether what a speaker passes on was followed, besides what it has itself.
    pub(super) fn passes_on(&self, id: SpeakerId) -> bool {
        self.known.contains_key(&id)
    }

    /// The speakers whose passing on can change anything. Nodes in one situation pass the same on, and of equals the one of the
    /// lowest address is preferred: the next one counts only for what the first has itself.
    fn first_to_pass(&self) -> Vec<SpeakerId> {
        let mut ids: Vec<_> = (0..self.network.speakers.len()).filter(|id| self.may_pass_on(*id)).collect();
        ids.sort_by_key(|id| self.network.speakers.get(*id).map(|s| s.address));
        let mut alike = BTreeMap::new();
        ids.retain(|id| {
            let reflects = self.network.speakers.get(*id).is_some_and(|s| s.cluster.is_some());
            let before = alike.entry(self.situation(*id)).or_insert(0);
            *before += 1;
            reflects || *before <= 2
        });
        ids
    }

    /// Whether what a speaker learns can interest anybody: a reflector's, and that of a node between two sessions of which one
    /// leads to another AS. Within an AS nobody else passes anything on.
    fn may_pass_on(&self, id: SpeakerId) -> bool {
        let Some(speaker) = self.network.speakers.get(id) else {
            return false;
        };
        let sessions = self.sessions.get(id).map(Vec::as_slice).unwrap_or_default();
        let in_mesh = self.network.mesh.binary_search(&id).is_ok();
        let leaves_as = sessions.iter().any(|s| self.network.kind(s.from, id) == PeerType::Ebgp);
        speaker.cluster.is_some() || (leaves_as && sessions.len() + usize::from(in_mesh) > 1)
    }

    /// All that decides what a speaker is told, but for the paths that come from itself.
    pub(super) fn situation(&self, id: SpeakerId) -> impl Ord + use<'a> {
        let name = |peering: Option<&'a BgpPeer>| peering.map(|peering| &*peering.name);
        let sessions = self.sessions.get(id).into_iter().flatten();
        let sessions: Vec<_> = sessions.map(|s| (s.from, name(s.export), name(s.import))).collect();
        let own = self.network.speakers.get(id).map(|s| (s.as_number, s.metric));
        (own, self.network.mesh.binary_search(&id).is_ok(), sessions)
    }

    fn own_of(&self, id: SpeakerId) -> &[IpNet] {
        self.own.get(id).map(Vec::as_slice).unwrap_or_default()
    }

    fn own_path(&self, id: SpeakerId) -> Path {
        Path {
            origin: id,
            next_hop: id,
            from: None,
            as_path: Vec::new(),
            metric: self.network.speakers.get(id).map_or(0, |s| s.metric),
            clusters: Vec::new(),
        }
    }

    fn own_paths(&self, id: SpeakerId) -> Paths {
        self.own_of(id).iter().map(|prefix| (*prefix, self.own_path(id))).collect()
    }

    /// Everything that a speaker chooses from what it is told, its own first.
    fn learn(&self, id: SpeakerId) -> Paths {
        let mut paths = self.learn_shared(id, Some(id));
        paths.extend(self.own_paths(id));
        paths
    }

    /// What a speaker chooses from what it is told. Without a reader it is what any speaker with the same sessions is told by
    /// all, itself included.
    pub(super) fn learn_shared(&self, like: SpeakerId, reader: Option<SpeakerId>) -> Paths {
        let mut paths = Paths::new();
        for session in self.sessions.get(like).into_iter().flatten() {
            let mut take = |prefix: IpNet, path: &Path| {
                if path.from.is_some_and(|(from, _)| Some(from) == reader) {
                    return;
                }
                if let Some(path) = self.pass(session, prefix, path) {
                    self.consider(&mut paths, prefix, path);
                }
            };
            match self.known.get(&session.from) {
                Some(known) => known.iter().for_each(|(prefix, path)| take(*prefix, path)),
                None => {
                    let path = self.own_path(session.from);
                    self.own_of(session.from).iter().for_each(|prefix| take(*prefix, &path));
                }
            }
        }
        if self.network.mesh.binary_search(&like).is_ok() {
            let as_number = self.network.speakers.get(like).map(|s| s.as_number);
            for (prefix, (best, second)) in &self.mesh {
                let told_by_reader = best.from.is_some_and(|(from, _)| Some(from) == reader);
                let told = if told_by_reader { second.as_ref() } else { Some(best) };
                if let Some(path) = told.filter(|path| !path.as_path.iter().any(|number| Some(*number) == as_number)) {
                    self.consider(&mut paths, *prefix, path.clone());
                }
            }
        }
        paths
    }

    /// What the nodes of the mesh tell all others: their own, and what they learned from another AS.
    fn tell_mesh(&self) -> Mesh {
        let mut mesh = Mesh::new();
        for id in &self.network.mesh {
            let Some(speaker) = self.network.speakers.get(*id) else {
                continue;
            };
            let own = self.own_of(*id);
            let mut tell = |prefix: IpNet, path: &Path| {
                let within = path.from.is_some_and(|(_, kind)| kind == PeerType::Ibgp);
                if !within && self.policy.exports(speaker, own, prefix, path) {
                    let told = Path {
                        from: Some((*id, PeerType::Ibgp)),
                        ..path.clone()
                    };
                    self.tell(&mut mesh, prefix, told);
                }
            };
            match self.known.get(id) {
                Some(known) => known.iter().for_each(|(prefix, path)| tell(*prefix, path)),
                None => own.iter().for_each(|prefix| tell(*prefix, &self.own_path(*id))),
            }
        }
        mesh
    }

    fn tell(&self, mesh: &mut Mesh, prefix: IpNet, told: Path) {
        let Some((best, second)) = mesh.get_mut(&prefix) else {
            mesh.insert(prefix, (told, None));
            return;
        };
        if self.rank(&told) < self.rank(best) {
            *second = Some(std::mem::replace(best, told));
        } else if second.as_ref().is_none_or(|second| self.rank(&told) < self.rank(second)) {
            *second = Some(told);
        }
    }

    /// A path as it arrives at the other end of a session; none if it does not pass.
    ///
    /// Source: RFC 4271 sections 5.1.2, 5.1.3 and 9.1.2; RFC 4456 sections 6 and 8.
    fn pass(&self, session: &Session<'_>, prefix: IpNet, path: &Path) -> Option<Path> {
        let (from, to) = (
            self.network.speakers.get(session.from)?,
            self.network.speakers.get(session.to)?,
        );
        let kind = self.network.kind(session.from, session.to);
        let mut told = Path {
            from: Some((session.from, kind)),
            ..path.clone()
        };
        let own = path.from.is_none();
        if let (Some((teller, PeerType::Ibgp)), PeerType::Ibgp) = (path.from, kind) {
            let reflects = |id| self.network.is_client(session.from, id);
            if !reflects(teller) && !reflects(session.to) {
                return None;
            }
            told.clusters.extend(from.cluster);
        }
        if !self
            .policy
            .lets_out(self.network, session, self.own_of(session.from), prefix, path)
        {
            return None;
        }
        let to_self = match session.export.map(|peering| peering.next_hop).unwrap_or_default() {
            NextHopMode::Own => true,
            NextHopMode::Keep => false,
            NextHopMode::Auto => kind == PeerType::Ebgp,
        };
        if own || to_self {
            told.next_hop = session.from;
        }
        if kind == PeerType::Ebgp {
            told.as_path.insert(0, from.as_number);
            told.clusters.clear();
            told.metric = to.metric;
        }
        let allowed = session
            .import
            .filter(|_| to.node.is_some())
            .map_or(0, |peering| peering.allowed_local_as);
        let loops = told.as_path.iter().filter(|number| **number == to.as_number).count();
        let reflected_here = to.cluster.is_some_and(|cluster| told.clusters.contains(&cluster));
        if loops > usize::from(allowed) || reflected_here {
            return None;
        }
        self.policy.lets_in(self.network, session, prefix, &told).then_some(told)
    }

    fn consider(&self, paths: &mut Paths, prefix: IpNet, path: Path) {
        match paths.get_mut(&prefix) {
            Some(best) if self.rank(&path) < self.rank(best) => *best = path,
            Some(_) => {}
            None => drop(paths.insert(prefix, path)),
        }
    }

    /// What decides between two paths to one prefix, the lower the better: local preference, which is the greater the lower the
    /// metric; AS path; whether it came from another AS; clusters on the way; and the address that it came from.
    ///
    /// Source: RFC 4271 section 9.1.2.2; RFC 4456 section 9.
    fn rank(&self, path: &Path) -> impl Ord + use<> {
        let from = path
            .from
            .and_then(|(from, _)| self.network.speakers.get(from))
            .map(|s| s.address);
        let kind = path.from.map(|(_, kind)| kind);
        (path.metric, path.as_path.len(), kind, path.clusters.len(), from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::Family;
    use crate::calico::{ClusterState, Profile, Reading, Resource};
    use crate::fields::Origin;

    /// Nodes by their AS and whether they reflect, and peerings by the parity of their nodes, whom they are with and how.
    fn cluster(mesh: bool, nodes: &[(u32, bool)], peerings: &[(u8, u8, bool)]) -> ClusterState {
        let object = |kind: &str, name: String, spec: Value| json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let mut objects = vec![
            object("IPPool", "p".into(), json!({"cidr": "10.244.0.0/16"})),
            object("BGPConfiguration", "default".into(), json!({"nodeToNodeMeshEnabled": mesh})),
        ];
        for (i, (number, reflects)) in nodes.iter().enumerate() {
            let mut bgp = json!({"ipv4Address": format!("10.0.0.{}/24", 100 - i), "asNumber": 64512 + number});
            if *reflects {
                bgp["routeReflectorClusterID"] = json!("1.0.0.1");
            }
            let mut node = object("Node", format!("n{i}"), json!({"bgp": bgp}));
            node["metadata"]["labels"] = json!({"side": format!("{}", i % 2), "reflects": reflects.to_string()});
            objects.push(node);
        }
        for (i, (side, with, own)) in peerings.iter().enumerate() {
            let mut spec = match with {
                0 => json!({"peerSelector": "reflects == 'true'"}),
                router => json!({"peerIP": format!("10.9.9.{router}"), "asNumber": 65000 + u32::from(router % 2)}),
            };
            let selector = ["all()", "side == '0'", "side == '1'"][usize::from(*side)];
            spec["nodeSelector"] = json!(selector);
            spec["numAllowedLocalASNumbers"] = json!(1);
            spec["nextHopMode"] = json!(if *own { "Self" } else { "Auto" });
            objects.push(object("BGPPeer", format!("peer{i}"), spec));
        }
        let read = objects.iter().flat_map(|object| Resource::read(object, Origin(0)).unwrap());
        let resources = read.filter_map(|reading| match reading {
            Reading::Resource(resource) => Some(resource),
            Reading::Ignored { .. } => None,
        });
        ClusterState::build(Profile::V3_32, resources.collect(), Vec::new()).unwrap()
    }

    proptest! {
        #[test]
        fn it_is_enough_to_follow_two_of_the_nodes_in_one_situation(
            mesh: bool,
            nodes in vec((0_u32..2, prop::bool::weighted(0.2)), 1..7),
            peerings in vec((0_u8..3, 0_u8..4, any::<bool>()), 0..4),
        ) {
            let cluster = cluster(mesh, &nodes, &peerings);
            let network = Network::of(&cluster, Family::V4);
            let own = || (0..network.speakers.len()).map(|id| match network.speakers[id].node {
                Some(_) => vec![format!("10.244.{id}.0/26").parse().unwrap()],
                None => Vec::new(),
            });
            let few = Spread::settle(&network, Policy::of(&cluster, Family::V4), own().collect());
            let mut every = Spread::start(&network, Policy::of(&cluster, Family::V4), own().collect());
            let all: Vec<_> = (0..network.speakers.len()).collect();
            every.run(&all);
            for id in all {
                let next_hops = |spread: &Spread<'_>| spread.learn(id).into_iter().map(|(net, path)| (net, path.next_hop)).collect::<Vec<_>>();
                prop_assert_eq!(next_hops(&few), next_hops(&every), "speaker {}", id);
            }
        }
    }
}
