//! Calico's fixed rules: workloads use no false source addresses and build no tunnels of their own, and what may reach the node
//! itself; beside them the kernel's reverse-path filter. Network policy is not here.

use std::net::{IpAddr, Ipv4Addr};

use super::{DropReason, Engine};
use crate::Family;
use crate::encap::Encap;
use crate::route::{DeviceId, DeviceKind, EndpointToHostAction, LocalWorkload, RouteKind, RpFilter};
use crate::wire::ipv4::protocol;
use crate::wire::{IpView, UdpView};

impl Engine {
    /// Whether a workload sends with a source that is not its own.
    ///
    /// Source: Calico felix/rules/static.go, RPFilter.
    pub(super) fn is_spoofed(&self, device: DeviceId, packet: &IpView<'_>) -> bool {
        let source = packet.source();
        let owns = |w: &LocalWorkload| w.addresses.contains(&source) || w.spoofable.iter().any(|net| net.contains(&source));
        let mut behind = self.tables.workloads.iter().filter(|w| w.device == device);
        self.is_workload(device) && !behind.any(owns)
    }

    /// The rule that a packet breaks that came in by a device and is to be forwarded, if any. Workloads may not build tunnels,
    /// wherever these would lead.
    ///
    /// Source: Calico felix/rules/endpoints.go, endpointIptablesChain.
    pub(super) fn workload_rule(&self, device: DeviceId, packet: &IpView<'_>) -> Option<DropReason> {
        if !self.is_workload(device) || self.tracked.is_established() {
            return None;
        }
        let allowed = match self.encap_of(packet) {
            Encap::None => true,
            Encap::Ipip => self.tables.rules.allow_ipip,
            Encap::Vxlan => self.tables.rules.allow_vxlan,
        };
        (!allowed).then_some(DropReason::WorkloadEncapDenied)
    }

    /// The rule that a packet for the node itself breaks, if any: whose tunnel packets come in is asked before all else, and of
    /// workloads as of others. Where VXLAN is on but has no device, nobody's do.
    ///
    /// Source: Calico felix/rules/static.go, filterInputChain and the endpoint-to-host action.
    pub(super) fn input_rule(&self, device: DeviceId, packet: &IpView<'_>, encap: Encap) -> Option<DropReason> {
        let tunnel = match encap {
            Encap::None => None,
            Encap::Ipip => self.tables.ipip.as_ref().map(|tunnel| &tunnel.allowed),
            Encap::Vxlan => self.tables.vxlan_allowed.get(packet.family()).as_ref(),
        };
        if let Some(allowed) = tunnel {
            return (!allowed.contains(packet.source())).then_some(DropReason::TunnelSourceDenied);
        }
        if !self.is_workload(device) || self.tracked.is_established() {
            return None;
        }
        let denied = self.tables.rules.endpoint_to_host == EndpointToHostAction::Drop;
        self.workload_rule(device, packet)
            .or(denied.then_some(DropReason::PolicyDeny))
    }

    /// Whether a device is a workload's.
    pub(super) fn is_workload(&self, device: DeviceId) -> bool {
        self.tables.device(device).is_some_and(|d| d.kind == DeviceKind::Workload)
    }

    /// Whether a source is not routed back through the device that its packet came in by, as the node's reverse-path filter wants
    /// it; IPv6 has none. A workload's device has Calico's own, stricter rule.
    ///
    /// Source: Linux net/ipv4/fib_frontend.c, __fib_validate_source.
    pub(super) fn fails_reverse_path(&mut self, device: DeviceId, source: IpAddr) -> bool {
        if self.tables.rp_filter == RpFilter::Off || source.is_ipv6() || self.is_workload(device) {
            return false;
        }
        let Some(back) = self.ask(source).route.filter(|via| via.kind != RouteKind::Blackhole) else {
            return true;
        };
        let has_address = self.tables.device(device).is_some_and(|d| !d.addresses.is_empty());
        back.device != Some(device) && !(self.tables.rp_filter == RpFilter::Loose && has_address)
    }

    /// What kind of tunnel packet this is, if one, whether or not there is such a tunnel.
    pub(super) fn encap_of(&self, packet: &IpView<'_>) -> Encap {
        match packet.protocol() {
            protocol::IPIP if packet.family() == Family::V4 => Encap::Ipip,
            protocol::UDP if self.is_vxlan(packet) => Encap::Vxlan,
            _ => Encap::None,
        }
    }

    /// Whether this is UDP to the VXLAN port. Later fragments show no port.
    pub(super) fn is_vxlan(&self, packet: &IpView<'_>) -> bool {
        packet.protocol() == protocol::UDP
            && packet.fragment_offset() == 0
            && UdpView::unverified(packet.payload()).is_ok_and(|udp| udp.destination_port() == self.tables.vxlan_port)
    }
}

/// Whether a packet between these addresses is not taken from a wire, for whomever it is.
///
/// Source: RFC 1812 section 5.3.7; Linux net/ipv4/route.c, ip_route_input_slow. RFC 4291 sections 2.5.3 and 2.7; Linux
/// net/ipv6/ip6_input.c, ip6_rcv_core.
pub(super) fn is_martian(source: IpAddr, destination: IpAddr) -> bool {
    match (source, destination) {
        (IpAddr::V4(source), _) => is_martian_v4(source),
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            source.is_loopback()
                || source.is_multicast()
                || source.to_ipv4_mapped().is_some()
                || destination.is_loopback()
                || destination.is_unspecified()
        }
        (IpAddr::V6(_), IpAddr::V4(_)) => true,
    }
}

fn is_martian_v4(source: Ipv4Addr) -> bool {
    source.octets()[0] == 0 || source.is_loopback() || source.is_multicast() || source.octets()[0] >= 240
}

/// Whether a packet between these addresses may not leave for another machine: the destination names no host, or many, and there
/// is no multicast routing; or an address has no meaning beyond one link.
///
/// Source: RFC 1812 sections 5.3.5.1 and 5.3.7; Linux net/ipv4/route.c, ip_route_input_slow. RFC 4291 sections 2.5.2, 2.5.6 and
/// 2.7; Linux net/ipv6/ip6_output.c, ip6_forward.
pub(super) fn is_unforwardable(source: IpAddr, destination: IpAddr) -> bool {
    match (source, destination) {
        (_, IpAddr::V4(to)) => to.octets()[0] == 0 || to.is_loopback() || to.is_multicast() || to.is_broadcast(),
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            from.is_unspecified() || from.is_unicast_link_local() || to.is_multicast() || to.is_unicast_link_local()
        }
        (IpAddr::V4(_), IpAddr::V6(_)) => true,
    }
}
