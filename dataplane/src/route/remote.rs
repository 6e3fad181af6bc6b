//! Routes to other nodes: who programs each. A destination without one is absent, for a reason.

use ipnet::IpNet;

use super::bgp::{self, Learned, Written};
use super::candidates::{Candidate, candidate};
use super::decide::decide;
use super::local::metric;
use super::outlook::{BirdOutlook, Outlook};
use super::pools::Around;
use super::{Absent, AbsentReason, Index, Owner, Route, RouteKind, RouteProtocol};
use crate::Family;
use crate::calico::{ClusterState, RouteSource};

/// What routes to other nodes are made of.
#[derive(Clone, Copy)]
pub(super) struct Remote<'a> {
    pub(super) cluster: &'a ClusterState,
    pub(super) index: &'a Index,
    pub(super) outlook: &'a Outlook,
}

impl<'a> Remote<'a> {
    /// The route to a destination: Felix's if it programs the class, else BIRD's. None if nobody has the destination.
    ///
    /// Source: Calico felix/calc/l3_route_resolver.go, flush; felix/config/config_params.go, ProgramIPIPClusterRoutes.
    pub(super) fn route(&self, destination: IpNet) -> Option<Result<Route, Absent>> {
        let of = |source| candidate(self.cluster, self.index, source, destination);
        let for_felix = of(self.outlook.felix.candidates);
        let reason = match for_felix.map(|candidate| self.felix(&candidate)) {
            Some(Ok(route)) => return Some(Ok(route)),
            Some(Err(reason)) => reason,
            None => AbsentReason::NobodyPrograms,
        };
        let for_bird = of(RouteSource::CalicoIpam);
        match self.bird(destination, for_bird.as_ref()) {
            Ok(route) => Some(Ok(route)),
            Err(birds) => for_felix.or(for_bird).map(|candidate| {
                Err(Absent {
                    destination,
                    node: candidate.node.clone(),
                    reason: if reason == AbsentReason::NobodyPrograms {
                        birds
                    } else {
                        reason
                    },
                    at: candidate.at.clone(),
                })
            }),
        }
    }

    pub(super) fn around(&self, destination: IpNet) -> Option<Around<'a>> {
        self.index.pools.around(self.cluster, destination)
    }

    /// BIRD's route: what it has learned of the destination, if its kernel filter lets it through.
    ///
    /// Source: Calico confd/pkg/backends/calico/bgp_processor.go, processIPPool.
    fn bird(&self, destination: IpNet, candidate: Option<&Candidate<'_>>) -> Result<Route, AbsentReason> {
        let pool = match self.index.kernel.judge(self.cluster, self.outlook.bird_routes, destination) {
            Written::Not => return Err(AbsentReason::NobodyPrograms),
            Written::By(pool) => Some(Around::alone(pool)),
            Written::Plain => None,
        };
        let candidate = candidate.ok_or(AbsentReason::NotLearned)?;
        let around = self.around(destination).ok_or(AbsentReason::NoPool)?;
        let bird = self.outlook.bird.get(Family::of_net(destination)).as_ref();
        let bird = bird.ok_or(AbsentReason::NotLearned)?;
        let learned = match bird.rib {
            None => bgp::from_mesh(self.cluster, around.pool, candidate)?,
            Some(number) => {
                let ribs = self.index.ribs.as_ref().and_then(|ribs| ribs.get(number));
                let learned = ribs.and_then(|rib| rib.get(&destination)).cloned();
                learned.ok_or(match around.pool.disable_bgp_export {
                    true => AbsentReason::NotExported,
                    false => AbsentReason::NotLearned,
                })?
            }
        };
        self.learned(candidate, pool, &learned, bird)
    }

    /// A path of BIRD's as its route in the kernel. The next hop must be reached by the host's own routes; without a tunnel the
    /// packet goes to whatever neighbour they name.
    ///
    /// Source: BIRD sysdep/linux/netlink.c, nl_send_route.
    fn learned(
        &self,
        candidate: &Candidate<'_>,
        pool: Option<Around<'_>>,
        learned: &Learned,
        bird: &BirdOutlook,
    ) -> Result<Route, AbsentReason> {
        let destination = candidate.destination;
        let subnet = *self.outlook.subnet.get(Family::of_net(destination));
        let (card, neighbour) = bird.way.to(learned.next_hop).ok_or(AbsentReason::NextHopUnreachable)?;
        let hop = (learned.next_hop, learned.record(self.cluster));
        let mut decision = decide(pool, subnet, (&learned.speaker, Some(hop)), candidate.at);
        if let Some(test) = &mut decision.subnet_test {
            test.of_next_hop = learned.speaker != learned.node;
        }
        let tunnel = self.outlook.ipip.ok().filter(|_| decision.tunnels());
        let kind = if tunnel.is_some() {
            RouteKind::Ipip
        } else {
            RouteKind::Direct
        };
        Ok(Route {
            gateway: Some(if tunnel.is_some() { learned.next_hop } else { neighbour }),
            device: Some(tunnel.map_or(card, |(device, _)| device)),
            node: Some(learned.node.clone()),
            owner: Owner::Bird,
            protocol: RouteProtocol::BIRD,
            onlink: tunnel.is_some(),
            metric: metric(destination, bird.metric),
            ..Route::of_felix(kind, destination, decision)
        })
    }
}
