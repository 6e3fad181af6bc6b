//! The input path: packets from workloads and wires, for this node or through it.

use std::net::IpAddr;

use super::filter::is_martian;
use super::{DropReason, Engine, Outcome, Step};
use crate::encap::{DecapError, Encap, Encapsulation, Ipip};
use crate::route::{DeviceId, DeviceKind};
use crate::wire::fragment::Reassembly;
use crate::wire::icmp::unreachable;
use crate::wire::ipv4::protocol;
use crate::wire::{IcmpError, Ipv4View};
use crate::{Instant, Packet};

/// What became of a packet for this node.
enum Local {
    /// It is done with.
    Done,
    /// It was a tunnel packet; here is what was inside, on the tunnel's device.
    Inner(Packet, DeviceId),
}

impl Engine {
    pub(super) fn receive(&mut self, now: Instant, device: DeviceId, mut packet: Packet, outcome: &mut Outcome) {
        outcome.steps.push(Step::Received { device });
        let length = match Ipv4View::parse(packet.bytes()) {
            Ok(header) => {
                if let Some(reason) = self.ingress_rule(device, &header) {
                    return Engine::drop_packet(outcome, reason, None);
                }
                header.total_len()
            }
            Err(_) => return Engine::drop_packet(outcome, DropReason::Malformed, None),
        };
        if packet.segmentation().is_none() {
            packet.truncate(length);
        }
        let mut device = device;
        loop {
            let Ok(header) = Ipv4View::unverified(packet.bytes()) else {
                return Engine::drop_packet(outcome, DropReason::Malformed, None);
            };
            let source_is_own = self.tables.device_with(IpAddr::V4(header.source())).is_some();
            if is_martian(header.source()) || source_is_own {
                return Engine::drop_packet(outcome, DropReason::Martian, Some(device));
            }
            if self.tables.device_with(IpAddr::V4(header.destination())).is_none() {
                return self.forward(now, packet, outcome);
            }
            match self.local(now, device, packet, outcome) {
                Local::Done => return,
                Local::Inner(inner, tunnel) => (packet, device) = (inner, tunnel),
            }
        }
    }

    fn ingress_rule(&self, device: DeviceId, packet: &Ipv4View<'_>) -> Option<DropReason> {
        match self.tables.device(device)?.kind {
            DeviceKind::Workload => self.workload_rule(device, packet),
            DeviceKind::Nic | DeviceKind::Ipip | DeviceKind::Vxlan => None,
        }
    }

    /// A packet for an address of the node itself.
    fn local(&mut self, now: Instant, device: DeviceId, packet: Packet, outcome: &mut Outcome) -> Local {
        let Some(packet) = self.reassemble(now, packet, outcome) else {
            return Local::Done;
        };
        let Ok(header) = Ipv4View::unverified(packet.bytes()) else {
            return Local::Done;
        };
        let from_workload = self
            .tables
            .device(device)
            .is_some_and(|device| device.kind == DeviceKind::Workload);
        if from_workload && !self.may_reach_host(&header) {
            Engine::drop_packet(outcome, DropReason::PolicyDeny, None);
            return Local::Done;
        }
        if header.protocol() == protocol::IPIP {
            return self.tunnel_packet(now, Encap::Ipip, packet, outcome);
        }
        if self.is_vxlan(&header) {
            return self.tunnel_packet(now, Encap::Vxlan, packet, outcome);
        }
        Engine::deliver(device, false, packet, outcome);
        Local::Done
    }

    fn reassemble(&mut self, now: Instant, packet: Packet, outcome: &mut Outcome) -> Option<Packet> {
        if Ipv4View::unverified(packet.bytes()).is_ok_and(|header| !header.is_fragment()) {
            return Some(packet);
        }
        match self.reassembler.push(now, packet) {
            Reassembly::Pending => None,
            Reassembly::Complete(packet) => {
                let length = u16::try_from(packet.bytes().len()).unwrap_or(u16::MAX);
                outcome.steps.push(Step::Reassembled { length });
                Some(packet)
            }
            Reassembly::Failed(_) => {
                Engine::drop_packet(outcome, DropReason::ReassemblyFailed, None);
                None
            }
        }
    }

    /// Lets a tunnel packet in by the allow-list, and takes out what is inside.
    ///
    /// Source: Calico felix/rules/static.go, filterInputChain; Linux vxlan_rcv, ipip_rcv.
    fn tunnel_packet(&mut self, now: Instant, encap: Encap, mut packet: Packet, outcome: &mut Outcome) -> Local {
        let tables = self.tables.clone();
        let Ok(header) = Ipv4View::unverified(packet.bytes()) else {
            return Local::Done;
        };
        let source = IpAddr::V4(header.source());
        let end: Option<(DeviceId, bool, &dyn Encapsulation)> = match encap {
            Encap::Ipip => tables
                .ipip
                .as_ref()
                .map(|t| (t.device, t.allowed.contains(source), &Ipip as &dyn Encapsulation)),
            Encap::Vxlan => {
                let tunnel = tables.vxlan.v4.as_ref().zip(self.vxlan.as_ref());
                tunnel.map(|(t, vxlan)| (t.device, t.allowed.contains(source), vxlan as &dyn Encapsulation))
            }
            Encap::None => None,
        };
        let Some((device, allowed, encapsulation)) = end else {
            let code = if encap == Encap::Ipip {
                unreachable::PROTOCOL
            } else {
                unreachable::PORT
            };
            Engine::drop_packet(outcome, DropReason::NoDecap, None);
            self.reply(now, IcmpError::DestinationUnreachable { code }, packet.bytes(), outcome);
            return Local::Done;
        };
        if !allowed {
            Engine::drop_packet(outcome, DropReason::TunnelSourceDenied, None);
            return Local::Done;
        }
        outcome.steps.push(Step::TunnelSourceAllowed { source });
        match encapsulation.pull(&mut packet) {
            Ok(_) => {
                outcome.steps.push(Step::Decapsulated {
                    encap,
                    device,
                    overhead: encap.overhead(),
                });
                Local::Inner(packet, device)
            }
            Err(error) => {
                Engine::drop_packet(outcome, drop_reason(error), Some(device));
                Local::Done
            }
        }
    }
}

fn drop_reason(error: DecapError) -> DropReason {
    match error {
        DecapError::Malformed(_) => DropReason::Malformed,
        DecapError::BadChecksum { .. } => DropReason::BadChecksum,
        DecapError::NoIFlag { .. } | DecapError::ReservedBits { .. } => DropReason::VxlanBadHeader,
        DecapError::UnknownVni { .. } => DropReason::VxlanUnknownVni,
        DecapError::WrongInnerMac { .. } | DecapError::OwnInnerMac { .. } | DecapError::InnerEtherType { .. } => {
            DropReason::WrongInnerMac
        }
        DecapError::TunnelEcn => DropReason::TunnelEcn,
    }
}
