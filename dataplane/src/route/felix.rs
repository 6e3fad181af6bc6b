//! Felix's routes to other nodes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::candidates::Candidate;
use super::decide::decide;
use super::outlook::programs;
use super::pools::Around;
use super::remote::Remote;
use super::vtep::vtep;
use super::{AbsentReason, Decision, Route, RouteKind, RouteProtocol};
use crate::Family;
use crate::calico::Node;
use crate::encap::Encap;

/// A destination with all that Felix knows of it.
struct Destination<'a> {
    candidate: &'a Candidate<'a>,
    family: Family,
    around: Around<'a>,
    node: &'a Node,
}

impl Remote<'_> {
    /// Felix's route to a candidate.
    ///
    /// Source: Calico felix/dataplane/linux/route_mgr.go, updateRoutes.
    pub(super) fn felix(&self, candidate: &Candidate<'_>) -> Result<Route, AbsentReason> {
        let node = self.cluster.nodes().get(candidate.node).ok_or(AbsentReason::UnknownNode)?;
        let to = Destination {
            candidate,
            family: Family::of_net(candidate.destination),
            around: self.around(candidate.destination).ok_or(AbsentReason::NoPool)?,
            node,
        };
        let encapsulation = to.around.pool.encapsulation();
        let felix = &self.outlook.felix;
        if !felix.programs || (encapsulation != Encap::Vxlan && !programs(felix.routes, encapsulation)) {
            return Err(AbsentReason::NobodyPrograms);
        }
        match encapsulation {
            Encap::Vxlan => self.through_vxlan(&to),
            Encap::Ipip => self.through_ipip(&to),
            Encap::None => self.bare(&to),
        }
    }

    /// Through the tunnel to the other node's end; the end itself, where no block of its node covers it, is on the device.
    ///
    /// Source: Calico felix/dataplane/linux/vxlan_mgr.go, tunnelRoute.
    fn through_vxlan(&self, to: &Destination<'_>) -> Result<Route, AbsentReason> {
        let (device, mtu) = (*self.outlook.vxlan.get(to.family))?;
        let decision = self.decision(to);
        if decision.same_subnet()
            && let Some(route) = self.direct(to, decision.clone())
        {
            return Ok(route);
        }
        let end = vtep(to.node, to.family);
        let is_the_end = to.node.vxlan_tunnel.get(to.family).map(IpNet::from) == Some(to.candidate.destination);
        if !is_the_end && end.is_none() {
            return Err(AbsentReason::NoRemoteVtep);
        }
        Ok(Route {
            gateway: end.filter(|_| !is_the_end).map(|end| end.address),
            device: Some(device),
            protocol: self.protocol(RouteProtocol::BOOT),
            onlink: !is_the_end,
            mtu: Some(mtu).filter(|_| self.cluster.profile().tunnel_routes_carry_mtu()),
            ..self.felix_route(RouteKind::Vxlan, to, decision)
        })
    }

    /// Through `tunl0` to the other node's own address.
    ///
    /// Source: Calico felix/dataplane/linux/ipip_mgr.go.
    fn through_ipip(&self, to: &Destination<'_>) -> Result<Route, AbsentReason> {
        let (device, mtu) = self.outlook.ipip?;
        let decision = self.decision(to);
        if decision.same_subnet()
            && let Some(route) = self.direct(to, decision.clone())
        {
            return Ok(route);
        }
        let host = to.node.host_address(to.family, self.cluster.profile());
        Ok(Route {
            gateway: Some(host.ok_or(AbsentReason::NoNodeAddress)?.net.addr()),
            device: Some(device),
            protocol: self.protocol(RouteProtocol::FELIX),
            onlink: true,
            mtu: Some(mtu).filter(|_| self.cluster.profile().tunnel_routes_carry_mtu()),
            ..self.felix_route(RouteKind::Ipip, to, decision)
        })
    }

    /// To the other node as if it were a neighbour, whatever its subnet.
    ///
    /// Source: Calico felix/dataplane/linux/noencap_mgr.go; route_mgr.go, noEncapRoute.
    fn bare(&self, to: &Destination<'_>) -> Result<Route, AbsentReason> {
        if self.outlook.parent.get(to.family).is_none() {
            return Err(AbsentReason::NoParentDevice);
        }
        self.direct(to, self.decision(to)).ok_or(AbsentReason::NoNodeAddress)
    }

    /// Bare to the other node; none as long as its address or this node's card is not known.
    fn direct(&self, to: &Destination<'_>, decision: Decision) -> Option<Route> {
        let other = to.node.resolver_address(to.family)?;
        let parent = (*self.outlook.parent.get(to.family))?;
        Some(Route {
            gateway: Some(other.net.addr()),
            device: Some(parent),
            protocol: self.protocol(RouteProtocol::FELIX),
            onlink: true,
            ..self.felix_route(RouteKind::Direct, to, decision)
        })
    }

    fn decision(&self, to: &Destination<'_>) -> Decision {
        let other = to.node.resolver_address(to.family);
        let other = other.map(|record| (record.net.addr(), Some(record.at)));
        let subnet = *self.outlook.subnet.get(to.family);
        decide(Some(to.around), subnet, (&to.node.name, other), to.candidate.at)
    }

    fn felix_route(&self, kind: RouteKind, to: &Destination<'_>, decision: Decision) -> Route {
        let source: Option<IpAddr> = *self.outlook.felix.source.get(to.family);
        Route {
            node: Some(to.node.name.clone()),
            source,
            ..Route::of_felix(kind, to.candidate.destination, decision)
        }
    }

    /// A configured protocol is that of every route of Felix's.
    ///
    /// Source: Calico felix/config/config_params.go, DeviceRouteProtocol.
    fn protocol(&self, usual: RouteProtocol) -> RouteProtocol {
        self.outlook.felix.protocol.or(usual)
    }
}
