//! Calico's fixed rules: workloads use no false source addresses and build no tunnels of their own, and what may reach the node
//! itself; beside them the kernel's reverse-path filter. Network policy is not here.

use std::net::{IpAddr, Ipv4Addr};

use super::{DropReason, Engine};
use crate::route::{DeviceId, DeviceKind, EndpointToHostAction, LocalWorkload, RouteKind, RpFilter};
use crate::wire::ipv4::protocol;
use crate::wire::{Ipv4View, UdpView};

impl Engine {
    /// Whether a workload sends with a source that is not its own.
    ///
    /// Source: Calico felix/rules/static.go, RPFilter.
    pub(super) fn is_spoofed(&self, device: DeviceId, packet: &Ipv4View<'_>) -> bool {
        let source = IpAddr::V4(packet.source());
        let owns = |w: &LocalWorkload| w.addresses.contains(&source) || w.spoofable.iter().any(|net| net.contains(&source));
        let mut behind = self.tables.workloads.iter().filter(|w| w.device == device);
        self.is_workload(device) && !behind.any(owns)
    }

    /// The rule that a packet breaks that came in by a device and is to be forwarded, if any. Workloads may not build tunnels,
    /// wherever these would lead.
    ///
    /// Source: Calico felix/rules/endpoints.go, endpointIptablesChain.
    pub(super) fn workload_rule(&self, device: DeviceId, packet: &Ipv4View<'_>) -> Option<DropReason> {
        if !self.is_workload(device) || self.tracked.is_established() {
            return None;
        }
        let rules = self.tables.rules;
        let ipip = packet.protocol() == protocol::IPIP && !rules.allow_ipip;
        let vxlan = self.is_vxlan(packet) && !rules.allow_vxlan;
        (ipip || vxlan).then_some(DropReason::WorkloadEncapDenied)
    }

    /// The rule that a packet for the node itself breaks, if any: whose tunnel packets come in is asked before all else, and of
    /// workloads as of others.
    ///
    /// Source: Calico felix/rules/static.go, filterInputChain and the endpoint-to-host action.
    pub(super) fn input_rule(&self, device: DeviceId, packet: &Ipv4View<'_>) -> Option<DropReason> {
        let source = IpAddr::V4(packet.source());
        let tunnel = match packet.protocol() {
            protocol::IPIP => self.tables.ipip.as_ref().map(|tunnel| &tunnel.allowed),
            _ if self.is_vxlan(packet) => self.tables.vxlan_allowed.v4.as_ref(),
            _ => None,
        };
        if let Some(allowed) = tunnel {
            return (!allowed.contains(source)).then_some(DropReason::TunnelSourceDenied);
        }
        if !self.is_workload(device) || self.tracked.is_established() {
            return None;
        }
        let denied = self.tables.rules.endpoint_to_host == EndpointToHostAction::Drop;
        self.workload_rule(device, packet)
            .or(denied.then_some(DropReason::PolicyDeny))
    }

    fn is_workload(&self, device: DeviceId) -> bool {
        self.tables.device(device).is_some_and(|d| d.kind == DeviceKind::Workload)
    }

    /// Whether a source is not routed back through the device that its packet came in by, as the node's reverse-path filter wants
    /// it. A workload's device has Calico's own, stricter rule.
    ///
    /// Source: Linux net/ipv4/fib_frontend.c, __fib_validate_source.
    pub(super) fn fails_reverse_path(&self, device: DeviceId, source: IpAddr) -> bool {
        if self.tables.rp_filter == RpFilter::Off || self.is_workload(device) {
            return false;
        }
        let back = self.tables.lookup(source).map(|(_, route)| route);
        let Some(back) = back.filter(|route| route.kind != RouteKind::Blackhole) else {
            return true;
        };
        let has_address = self.tables.device(device).is_some_and(|d| !d.addresses.is_empty());
        back.device != Some(device) && !(self.tables.rp_filter == RpFilter::Loose && has_address)
    }

    /// Whether this is UDP to the VXLAN port. Later fragments show no port.
    pub(super) fn is_vxlan(&self, packet: &Ipv4View<'_>) -> bool {
        packet.protocol() == protocol::UDP
            && packet.fragment_offset() == 0
            && UdpView::unverified(packet.payload()).is_ok_and(|udp| udp.destination_port() == self.tables.vxlan_port)
    }
}

/// Whether an address may not be the source of a packet on a wire.
///
/// Source: RFC 1812 section 5.3.7; Linux net/ipv4/route.c, ip_route_input_slow.
pub(super) fn is_martian(source: Ipv4Addr) -> bool {
    source.octets()[0] == 0 || source.is_loopback() || source.is_multicast() || source.octets()[0] >= 240
}

/// Whether a packet to this address may not leave for another machine: it names no host, or many, and there is no multicast
/// routing.
///
/// Source: RFC 1812 sections 5.3.5.1 and 5.3.7; Linux net/ipv4/route.c, ip_route_input_slow.
pub(super) fn is_unforwardable(destination: Ipv4Addr) -> bool {
    destination.octets()[0] == 0 || destination.is_loopback() || destination.is_multicast() || destination.is_broadcast()
}
