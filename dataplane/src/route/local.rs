//! A node's own routes that follow from the datastore: to its workloads, and to nowhere for the rest of its blocks.

use std::net::IpAddr;

use ipnet::IpNet;

use super::bgp::Written;
use super::decide;
use super::{Decision, Index, LocalWorkload, Owner, Route, RouteKind, RouteProtocol};
use crate::calico::{Block, ClusterState, Node, RouteSource, Settings};
use crate::encap::Encap;
use crate::{Family, PerFamily};

/// The metric that Linux gives an IPv6 route that states none.
///
/// Source: Linux include/uapi/linux/ipv6_route.h, IP6_RT_PRIO_USER.
const IPV6_METRIC: u32 = 1024;

/// The metric that a route to this destination has if this one is stated, 0 standing for none.
pub(super) fn metric(destination: IpNet, stated: u32) -> u32 {
    match Family::of_net(destination) {
        Family::V6 if stated == 0 => IPV6_METRIC,
        Family::V4 | Family::V6 => stated,
    }
}

impl Route {
    /// A route of Felix's with nothing but a destination and its reasons.
    pub(super) fn of_felix(kind: RouteKind, destination: IpNet, decision: Decision) -> Route {
        Route {
            destination,
            kind,
            gateway: None,
            device: None,
            node: None,
            same_subnet: decision.same_subnet(),
            owner: Owner::Felix,
            protocol: RouteProtocol::BOOT,
            onlink: false,
            metric: metric(destination, 0),
            mtu: None,
            source: None,
            decision: Some(decision.into()),
        }
    }
}

/// A node as its own routes see it.
#[derive(Clone, Copy)]
pub(super) struct Local<'a> {
    pub(super) cluster: &'a ClusterState,
    pub(super) index: &'a Index,
    pub(super) node: &'a Node,
    pub(super) settings: &'a Settings,
    pub(super) workloads: &'a [LocalWorkload],
    /// Whether Felix's device of VXLAN is on.
    pub(super) vxlan: PerFamily<bool>,
}

impl Local<'_> {
    /// All of them.
    pub(super) fn routes(&self) -> impl Iterator<Item = Route> {
        self.workload_routes().chain(self.blackholes())
    }

    /// Source: Calico felix/dataplane/linux/endpoint_mgr.go.
    fn workload_routes(&self) -> impl Iterator<Item = Route> {
        let of_felix = self.workloads.iter().filter(|_| !self.settings.route_sync_disabled);
        of_felix.flat_map(|workload| {
            workload
                .addresses
                .iter()
                .map(|address| self.workload_route(workload, *address))
        })
    }

    fn workload_route(&self, workload: &LocalWorkload, address: IpAddr) -> Route {
        let destination = IpNet::from(address);
        let endpoint = self.cluster.endpoints().get(&workload.name);
        let at = endpoint.map(|endpoint| endpoint.at.clone()).unwrap_or_default();
        let decision = decide::local(self.index.pools.around(self.cluster, destination), &at);
        let stated = match Family::of(address) {
            Family::V4 => self.settings.normal_route_metric,
            Family::V6 => 0,
        };
        Route {
            device: Some(workload.device),
            protocol: self.settings.route_protocol,
            metric: metric(destination, stated),
            source: *self.settings.route_source_address.get(Family::of(address)),
            ..Route::of_felix(RouteKind::Local, destination, decision)
        }
    }

    /// What no workload of a local block has dies here, instead of returning by the default route.
    ///
    /// Source: Calico felix/dataplane/linux/route_mgr.go, blackholeRoutes; confd's bird_aggr.cfg.template.
    fn blackholes(&self) -> impl Iterator<Item = Route> {
        let blocks = self.index.blocks_of(self.cluster, &self.node.name);
        let many = |block: &&Block| block.cidr.prefix_len() < block.cidr.max_prefix_len();
        blocks.filter(many).filter_map(|block| self.blackhole(block))
    }

    fn blackhole(&self, block: &Block) -> Option<Route> {
        let around = self.index.pools.around(self.cluster, block.cidr);
        let encapsulation = around.map(|around| around.pool.encapsulation());
        let blackhole = Route::of_felix(RouteKind::Blackhole, block.cidr, decide::local(around, &block.at));
        if encapsulation.is_some_and(|encapsulation| self.felix_has_blackholes(encapsulation, Family::of_net(block.cidr))) {
            return Some(Route {
                protocol: self.settings.route_protocol.or(RouteProtocol::FELIX),
                ..blackhole
            });
        }
        let bgp = self.cluster.bgp_configuration(&self.node.name);
        let written = self.index.kernel.judge(self.cluster, bgp.routes, block.cidr);
        (self.cluster.bgp() && written != Written::Not).then(|| Route {
            owner: Owner::Bird,
            protocol: RouteProtocol::BIRD,
            metric: metric(block.cidr, bgp.normal_route_metric),
            ..blackhole
        })
    }

    fn felix_has_blackholes(&self, encapsulation: Encap, family: Family) -> bool {
        let on = match encapsulation {
            Encap::Vxlan => *self.vxlan.get(family),
            Encap::Ipip => self.settings.ipip && self.settings.felix_routes.ipip,
            Encap::None => self.settings.felix_routes.no_encap,
        };
        on && !self.settings.route_sync_disabled && self.settings.route_source == RouteSource::CalicoIpam
    }
}
