//! Calico's fixed rules around workloads: no false source addresses, no tunnels of their own, and what may reach the node
//! itself. Network policy is not here.

use std::net::{IpAddr, Ipv4Addr};

use super::{DropReason, Engine};
use crate::route::{DeviceId, EndpointToHostAction};
use crate::wire::ipv4::protocol;
use crate::wire::{FlowKey, IcmpMessage, Ipv4View, UdpView};

impl Engine {
    /// The rule that a packet from a workload breaks, if any.
    ///
    /// Source: Calico felix/rules/static.go, RPFilter; felix/rules/endpoints.go, endpointIptablesChain.
    pub(super) fn workload_rule(&self, device: DeviceId, packet: &Ipv4View<'_>) -> Option<DropReason> {
        let source = IpAddr::V4(packet.source());
        let own = self
            .tables
            .workloads
            .iter()
            .any(|w| w.device == device && w.addresses.contains(&source));
        if !own {
            return Some(DropReason::WorkloadSpoof);
        }
        let rules = self.tables.rules;
        let ipip = packet.protocol() == protocol::IPIP && !rules.allow_ipip;
        let vxlan = self.is_vxlan(packet) && !rules.allow_vxlan;
        (ipip || vxlan).then_some(DropReason::WorkloadEncapDenied)
    }

    /// Whether a workload's packet may reach the node itself.
    ///
    /// Source: Calico felix/rules/static.go, filterInputChain and the endpoint-to-host action.
    pub(super) fn may_reach_host(&self, packet: &Ipv4View<'_>) -> bool {
        match self.tables.rules.endpoint_to_host {
            EndpointToHostAction::Accept => true,
            EndpointToHostAction::Drop => {
                let quoted = match IcmpMessage::parse(packet.payload()) {
                    Ok(IcmpMessage::Error { quote, .. }) if packet.protocol() == protocol::ICMP => Some(FlowKey::of(&quote)),
                    _ => None,
                };
                self.begun.contains(&quoted.unwrap_or_else(|| FlowKey::of(packet).reversed()))
            }
        }
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
