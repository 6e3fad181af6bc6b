//! The input path: packets from workloads and wires, for this node or through it.

use std::net::IpAddr;

use super::filter::is_martian;
use super::{DropReason, Engine, Outcome, Step};
use crate::encap::{DecapError, Encap, Encapsulation, Ipip, Wire};
use crate::route::DeviceId;
use crate::wire::fragment::Reassembly;
use crate::wire::{IcmpError, IpView};
use crate::{Family, Instant, Packet};

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
        let length = match IpView::parse(packet.bytes()) {
            Ok(header) => {
                if self.is_spoofed(device, &header) {
                    return Engine::drop_packet(outcome, DropReason::WorkloadSpoof, None);
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
            self.track(now, &mut packet, outcome);
            if !self.serve(now, &mut packet, outcome) {
                return;
            }
            let Ok(header) = IpView::unverified(packet.bytes()) else {
                return Engine::drop_packet(outcome, DropReason::Malformed, None);
            };
            let (source, destination) = (header.source(), header.destination());
            // IPv6 validates no source against the routes.
            let source_is_own = source.is_ipv4() && self.ask(source).own.is_some();
            if is_martian(source, destination) || source_is_own {
                return Engine::drop_packet(outcome, DropReason::Martian, Some(device));
            }
            let is_fragment = header.is_fragment();
            let answer = self.ask(destination);
            if answer.own.is_none() {
                return self.forward(now, device, packet, answer, outcome);
            }
            if self.fails_reverse_path(device, source) {
                return Engine::drop_packet(outcome, DropReason::RpFilter, Some(device));
            }
            if is_fragment {
                match self.reassemble(now, packet, outcome) {
                    Some(whole) => packet = whole,
                    None => return,
                }
            }
            match self.local(now, device, packet, outcome) {
                Local::Done => return,
                Local::Inner(inner, tunnel) => (packet, device) = (inner, tunnel),
            }
        }
    }

    /// A whole packet for an address of the node itself.
    fn local(&mut self, now: Instant, device: DeviceId, mut packet: Packet, outcome: &mut Outcome) -> Local {
        let Ok(header) = IpView::unverified(packet.bytes()) else {
            return Local::Done;
        };
        let (source, encap) = (header.source(), self.encap_of(&header));
        if let Some(reason) = self.input_rule(device, &header, encap) {
            Engine::drop_packet(outcome, reason, None);
            return Local::Done;
        }
        self.accept(now);
        if self.tables.forwarding && header.is_icmp() {
            self.hear_of_tunnel(now, &header, outcome);
        }
        if encap == Encap::None || !self.tables.forwarding {
            self.input(&mut packet, outcome);
            Engine::deliver(device, false, packet, outcome);
            return Local::Done;
        }
        self.tunnel_packet(now, encap, source, packet, outcome)
    }

    fn reassemble(&mut self, now: Instant, packet: Packet, outcome: &mut Outcome) -> Option<Packet> {
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

    /// Takes out what is inside a tunnel packet that was let in, or answers as a node without such a tunnel.
    ///
    /// Source: Linux vxlan_rcv, ipip_rcv.
    fn tunnel_packet(&mut self, now: Instant, encap: Encap, source: IpAddr, mut packet: Packet, outcome: &mut Outcome) -> Local {
        let family = Family::of(source);
        let end: Option<(DeviceId, &dyn Encapsulation)> = match encap {
            Encap::Ipip => self.tables.ipip.as_ref().map(|t| (t.device, &Ipip as &dyn Encapsulation)),
            Encap::Vxlan => {
                let tunnel = self.tables.vxlan.get(family).as_ref().zip(self.vxlan.get(family).as_ref());
                tunnel.map(|(t, vxlan)| (t.device, vxlan as &dyn Encapsulation))
            }
            Encap::None => None,
        };
        let Some((device, encapsulation)) = end else {
            let error = match encap {
                Encap::Ipip => IcmpError::ProtocolUnreachable,
                Encap::Vxlan | Encap::None => IcmpError::PortUnreachable,
            };
            Engine::drop_packet(outcome, DropReason::NoDecap, None);
            self.reply(now, error, packet.bytes(), outcome);
            return Local::Done;
        };
        outcome.steps.push(Step::TunnelSourceAllowed { source });
        match encapsulation.pull(&mut packet) {
            Ok(_) => {
                outcome.steps.push(Step::Decapsulated {
                    encap,
                    device,
                    overhead: encap.overhead(family),
                });
                // RFC 2003 section 3.1; Linux lets it in if it is for the node itself.
                let is_out_of_time = || IpView::unverified(packet.bytes()).is_ok_and(|inner| inner.ttl() == 0);
                if self.wire == Wire::Rfc && is_out_of_time() {
                    Engine::drop_packet(outcome, DropReason::TtlExpired, Some(device));
                    return Local::Done;
                }
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
