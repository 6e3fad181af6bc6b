//! Routes to other nodes: who programs each. A destination without one is absent, for a reason.

use ipnet::IpNet;

use super::bgp;
use super::candidates::{Candidate, candidate};
use super::decide::decide;
use super::local::metric;
use super::outlook::{BirdOutlook, Outlook, programs};
use super::pools::Around;
use super::shared::OwnLearned;
use super::{Absent, AbsentReason, Index, Owner, Route, RouteKind, RouteProtocol};
use crate::Family;
use crate::calico::{ClusterState, RouteSource};

/// What routes to other nodes are made of.
#[derive(Clone, Copy)]
pub(super) struct Remote<'a> {
    pub(super) cluster: &'a ClusterState,
    pub(super) index: &'a Index,
    pub(super) outlook: &'a Outlook,
    /// What BIRD learns, where it is not the same on every node.
    pub(super) learned: Option<&'a OwnLearned>,
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

    /// BIRD's route to a pool of IPIP or of no encapsulation.
    ///
    /// Source: Calico confd/pkg/backends/calico/bgp_processor.go, processIPPool.
    fn bird(&self, destination: IpNet, candidate: Option<&Candidate<'_>>) -> Result<Route, AbsentReason> {
        let family = Family::of_net(destination);
        let around = self.around(destination);
        let of_bird = |around: Around<'_>| programs(self.outlook.bird_routes, around.pool.encapsulation());
        if !around.is_none_or(of_bird) {
            return Err(AbsentReason::NobodyPrograms);
        }
        let bird = self.outlook.bird.get(family).as_ref();
        let bird = bird.ok_or(if around.is_some() {
            AbsentReason::NotLearned
        } else {
            AbsentReason::NoPool
        })?;
        let learned = match self.learned {
            Some(learned) => {
                let learned = learned.get(family).get(&destination).cloned();
                learned.unwrap_or(Err(AbsentReason::NotLearned))?
            }
            None => {
                let pool = around.ok_or(AbsentReason::NoPool)?.pool;
                bgp::from_mesh(self.cluster, pool, candidate.ok_or(AbsentReason::NotLearned)?)?
            }
        };
        self.learned(destination, around, &learned, bird)
    }

    /// A path of BIRD's as its route in the kernel. The next hop must be reached by the host's own routes; without a tunnel the
    /// packet goes to whatever neighbour they name.
    ///
    /// Source: BIRD sysdep/linux/netlink.c, nl_send_route.
    fn learned(
        &self,
        destination: IpNet,
        around: Option<Around<'_>>,
        learned: &bgp::Learned,
        bird: &BirdOutlook,
    ) -> Result<Route, AbsentReason> {
        let family = Family::of_net(destination);
        let (card, neighbour) = bird.way.to(learned.next_hop).ok_or(AbsentReason::NextHopUnreachable)?;
        let record = learned.record(self.cluster);
        let decision = decide(
            around,
            *self.outlook.subnet.get(family),
            (&learned.node, Some(record)),
            &learned.at,
        );
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
