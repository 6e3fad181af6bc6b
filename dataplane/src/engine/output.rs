//! The output path: route, TTL, size, encapsulation, and out. Forwarded packets and the node's own share it.

use std::net::IpAddr;

use super::answer::{Answer, Via};
use super::filter::is_unforwardable;
use super::{DropReason, Engine, Layer, Out, Outcome, Step};
use crate::encap::{Encap, Encapsulation, Ipip, Wire};
use crate::route::{DeviceId, RouteId, RouteKind};
use crate::wire::fragment::split;
use crate::wire::{IcmpError, IpMut, IpView};
use crate::{Family, Instant, Mtu, Packet};

impl Engine {
    /// Sends a packet on that came in by a device. The checks stand in the kernel's order: route, reverse path, TTL, size, filter.
    ///
    /// Source: Linux net/ipv4/ip_forward.c, ip_forward; net/ipv6/ip6_output.c, ip6_forward.
    pub(super) fn forward(&mut self, now: Instant, input: DeviceId, mut packet: Packet, answer: Answer, outcome: &mut Outcome) {
        let Ok(header) = IpView::unverified(packet.bytes()) else {
            return;
        };
        let (source, destination) = (header.source(), header.destination());
        let (ttl, dont_fragment) = (header.ttl(), header.dont_fragment());
        if is_unforwardable(source, destination) {
            return Engine::drop_packet(outcome, DropReason::Martian, None);
        }
        if !self.tables.forwarding {
            return Engine::drop_packet(outcome, DropReason::NotForwarding, None);
        }
        let Some(via) = Engine::follow(answer, destination, outcome) else {
            if outcome.drop.is_some_and(|drop| drop.reason == DropReason::NoRoute) {
                self.reply(now, IcmpError::NoRoute, packet.bytes(), outcome);
            }
            return;
        };
        if self.fails_reverse_path(input, source) {
            return Engine::drop_packet(outcome, DropReason::RpFilter, Some(input));
        }
        if ttl <= 1 {
            Engine::drop_packet(outcome, DropReason::TtlExpired, None);
            return self.reply(now, IcmpError::TtlExpired, packet.bytes(), outcome);
        }
        let via = self.as_learned(now, destination, via);
        if dont_fragment && !via.mtu.fits(packet.longest_wire_packet()) {
            Engine::drop_packet(outcome, DropReason::TooBig, via.device);
            let mtu = via.mtu.bytes();
            return self.reply(now, IcmpError::TooBig { mtu }, packet.bytes(), outcome);
        }
        if let Some(mut header) = IpMut::new(packet.bytes_mut()) {
            let left = header.decrement_ttl();
            outcome.steps.push(Step::TtlDecremented { left });
        }
        if self.is_workload(input)
            && let Ok(header) = IpView::unverified(packet.bytes())
            && let Some(reason) = self.workload_rule(input, &header)
        {
            return Engine::drop_packet(outcome, reason, None);
        }
        self.send(now, via, packet, outcome);
    }

    /// Sends a packet of the node itself, whose stack has chosen source address and size. Only here is an IPv6 packet split.
    pub(super) fn originate(&mut self, now: Instant, mut packet: Packet, outcome: &mut Outcome) {
        outcome.steps.push(Step::Originated);
        let Ok(asked) = IpView::parse(packet.bytes()).map(|header| header.destination()) else {
            return Engine::drop_packet(outcome, DropReason::Malformed, None);
        };
        self.track(now, &mut packet, outcome);
        if !self.serve(now, &mut packet, outcome) {
            return;
        }
        let Ok(header) = IpView::unverified(packet.bytes()) else {
            return;
        };
        let dont_fragment = header.family() == Family::V4 && header.dont_fragment();
        let destination = header.destination();
        let answer = self.ask(destination);
        if let Some(device) = answer.own {
            self.accept(now);
            self.input(&mut packet, outcome);
            return Engine::deliver(device, false, packet, outcome);
        }
        let Some(via) = Engine::follow(answer, destination, outcome) else {
            return;
        };
        let via = self.as_learned(now, destination, via);
        if dont_fragment && !via.mtu.fits(packet.longest_wire_packet()) {
            Engine::drop_packet(outcome, DropReason::TooBig, via.device);
            // The stack chose the size by the way to the cluster IP.
            if destination != asked {
                self.give_cluster_ip_back(&mut packet);
                let mtu = via.mtu.bytes();
                self.reply(now, IcmpError::TooBig { mtu }, packet.bytes(), outcome);
            }
            return;
        }
        self.send(now, via, packet, outcome);
    }

    /// The route of an answer, unless it is one that swallows packets.
    fn follow(answer: Answer, destination: IpAddr, outcome: &mut Outcome) -> Option<Via> {
        let Some(via) = answer.route else {
            Engine::drop_packet(outcome, DropReason::NoRoute, None);
            return None;
        };
        outcome.steps.push(Step::Routed {
            destination,
            route: via.id,
        });
        if via.kind == RouteKind::Blackhole {
            Engine::drop_packet(outcome, DropReason::Blackhole, None);
            return None;
        }
        if answer.uncovered {
            outcome.steps.push(Step::NoClusterRoute);
        }
        Some(via)
    }

    /// A route with what was learned of the path to the destination. Over IPv4 a route is taken at its word: what was learned counts
    /// for tunnel packets alone.
    ///
    /// Source: Linux include/net/ip.h, ip_dst_mtu_maybe_forward (`net.ipv4.ip_forward_use_pmtu`).
    fn as_learned(&self, now: Instant, destination: IpAddr, via: Via) -> Via {
        match destination {
            IpAddr::V4(_) => via,
            IpAddr::V6(_) => Via {
                mtu: self.paths.limit(now, destination, via.mtu),
                ..via
            },
        }
    }

    /// Sends a packet by a route, with its source translated if it is to be, split if it is too long.
    ///
    /// Source: Linux net/ipv4/ip_output.c, ip_output and ip_finish_output, for the order.
    fn send(&mut self, now: Instant, via: Via, mut packet: Packet, outcome: &mut Outcome) {
        if let Some(device) = via.device
            && !self.postrouting(now, device, via.gateway, &mut packet, outcome)
        {
            return;
        }
        if via.mtu.fits(packet.longest_wire_packet()) {
            return self.send_piece(now, via, packet, outcome);
        }
        for piece in self.pieces(&packet, Layer::Inner, via.mtu, outcome) {
            self.send_piece(now, via, piece, outcome);
        }
    }

    fn send_piece(&mut self, now: Instant, via: Via, packet: Packet, outcome: &mut Outcome) {
        let Some(device) = via.device else {
            return Engine::drop_packet(outcome, DropReason::NoRoute, None);
        };
        match via.kind {
            RouteKind::Local => Engine::deliver(device, true, packet, outcome),
            RouteKind::Direct | RouteKind::Host => {
                let destination = || IpView::unverified(packet.bytes()).map(|header| header.destination());
                let Ok(next_hop) = via.gateway.map_or_else(destination, Ok) else {
                    return;
                };
                self.transmit(device, next_hop, packet, outcome);
            }
            RouteKind::Ipip | RouteKind::Vxlan => self.encapsulate(now, via.id, device, packet, outcome),
            RouteKind::Blackhole => Engine::drop_packet(outcome, DropReason::Blackhole, None),
        }
    }

    /// Puts a tunnel header in front, and sends the result by the host's own routes.
    ///
    /// Source: Linux net/ipv4/ip_tunnel.c, ip_tunnel_xmit; drivers/net/vxlan/vxlan_core.c, vxlan_xmit_one.
    fn encapsulate(&mut self, now: Instant, id: RouteId, device: DeviceId, mut packet: Packet, outcome: &mut Outcome) {
        self.open_tunnel(id);
        let Some(tunnel) = self.tunnels.get(&id) else {
            return Engine::drop_packet(outcome, DropReason::NoVtep, Some(device));
        };
        let outer = match tunnel.outer {
            Ok(outer) => outer,
            Err(reason) => return Engine::drop_packet(outcome, reason, Some(device)),
        };
        let encapsulation: &dyn Encapsulation = match &tunnel.vxlan {
            Some(vxlan) => vxlan,
            None => &Ipip,
        };
        let (source, destination) = (tunnel.template.source(), tunnel.template.destination());
        let encap = encapsulation.encap();
        let family = tunnel.template.family();
        let overhead = encap.overhead(family);
        let outer = Via {
            mtu: self.paths.limit(now, destination, outer.mtu),
            ..outer
        };
        let limit = outer.mtu.less(overhead);
        if !limit.fits(packet.longest_wire_packet()) {
            match self.wire {
                Wire::Linux if may_be_split_outside(encap, family, &packet) => {}
                Wire::Linux => return self.refuse_too_big(now, limit, device, &packet, outcome),
                Wire::Rfc => return self.split_inside(now, id, limit, device, &packet, outcome),
            }
        }
        self.identification = self.identification.wrapping_add(1);
        let pushed = encapsulation.push(&tunnel.template, &mut packet, self.identification as u16);
        if pushed.is_err() {
            return Engine::drop_packet(outcome, DropReason::Malformed, Some(device));
        }
        outcome.steps.push(Step::Encapsulated {
            encap,
            route: id,
            source,
            destination,
            overhead,
        });
        self.counters.overhead_bytes += u64::from(overhead) * packet.wire_packets() as u64;
        if encap == Encap::Vxlan && self.may_translate_vxlan(family) && !self.translate_vxlan(now, outer, &mut packet, outcome) {
            return;
        }
        if outer.mtu.fits(packet.longest_wire_packet()) {
            return self.send_piece(now, outer, packet, outcome);
        }
        for piece in self.pieces(&packet, Layer::Outer, outer.mtu, outcome) {
            self.send_piece(now, outer, piece, outcome);
        }
    }

    /// Drops a packet that does not fit into its tunnel. IP in IP tells the sender at once. VXLAN, which is refused over IPv6 only,
    /// lowers the MTU of the route to the inner destination, so that the next packet is told by the route.
    ///
    /// Source: Linux net/ipv4/ip_tunnel.c, tnl_update_pmtu; net/ipv4/ip_tunnel_core.c, skb_tunnel_check_pmtu.
    fn refuse_too_big(&mut self, now: Instant, limit: Mtu, device: DeviceId, packet: &Packet, outcome: &mut Outcome) {
        Engine::drop_packet(outcome, DropReason::TooBig, Some(device));
        let Ok(header) = IpView::unverified(packet.bytes()) else {
            return;
        };
        match header.family() {
            Family::V4 => self.reply(now, IcmpError::TooBig { mtu: limit.bytes() }, packet.bytes(), outcome),
            Family::V6 => self.learn(now, header.destination(), limit.bytes(), outcome),
        }
    }

    /// Splits a packet that does not fit into its tunnel before it is encapsulated, or tells its sender if it may not be split: the
    /// ends of tunnels have nothing to join then.
    ///
    /// Source: RFC 2003 section 5.1; RFC 7348 section 4.3, by which tunnel packets are not fragmented by the ends.
    fn split_inside(
        &mut self,
        now: Instant,
        route: RouteId,
        limit: Mtu,
        device: DeviceId,
        packet: &Packet,
        outcome: &mut Outcome,
    ) {
        if IpView::unverified(packet.bytes()).is_ok_and(|header| header.dont_fragment()) {
            Engine::drop_packet(outcome, DropReason::TooBig, Some(device));
            return self.reply(now, IcmpError::TooBig { mtu: limit.bytes() }, packet.bytes(), outcome);
        }
        for piece in self.pieces(packet, Layer::Inner, limit, outcome) {
            self.encapsulate(now, route, device, piece, outcome);
        }
    }

    /// The route of a tunnel packet to its far end; it may not lead into a tunnel itself.
    pub(super) fn outer_route(&mut self, destination: IpAddr) -> Result<Via, DropReason> {
        let via = self.ask(destination).route.ok_or(DropReason::NoRoute)?;
        match via.kind {
            RouteKind::Direct | RouteKind::Host => Ok(via),
            RouteKind::Ipip | RouteKind::Vxlan | RouteKind::Local => Err(DropReason::TunnelRecursion),
            RouteKind::Blackhole => Err(DropReason::Blackhole),
        }
    }

    /// Hands a packet to the workload behind a device, or to the node's own stack.
    pub(super) fn deliver(device: DeviceId, workload: bool, packet: Packet, outcome: &mut Outcome) {
        outcome.steps.push(Step::Delivered { device, workload });
        outcome.out.push(Out::Deliver {
            device,
            workload,
            packet,
        });
    }

    fn transmit(&mut self, device: DeviceId, next_hop: IpAddr, packet: Packet, outcome: &mut Outcome) {
        self.counters.transmitted_packets += packet.wire_packets() as u64;
        self.counters.transmitted_bytes += packet.wire_bytes() as u64;
        outcome.steps.push(Step::Transmitted { device, next_hop });
        outcome.out.push(Out::Transmit {
            device,
            next_hop,
            packet,
        });
    }

    fn pieces(&mut self, packet: &Packet, layer: Layer, mtu: Mtu, outcome: &mut Outcome) -> Vec<Packet> {
        let mut pieces = Vec::new();
        self.identification = self.identification.wrapping_add(1);
        if split(packet, mtu, self.identification, &mut pieces).is_err() {
            Engine::drop_packet(outcome, DropReason::Malformed, None);
        }
        let count = u16::try_from(pieces.len()).unwrap_or(u16::MAX);
        outcome.steps.push(Step::Fragmented {
            layer,
            pieces: count,
            mtu: mtu.bytes(),
        });
        pieces
    }
}

/// Whether a packet that is too big may be split once it is encapsulated: in IP in IP unless its own DF is set, which stands on the
/// outside too; in VXLAN over IPv4 always, since DF is clear outside, and over IPv6 never.
///
/// Source: Linux net/ipv4/ip_output.c, ip_do_fragment; net/ipv6/ip6_output.c, ip6_fragment.
fn may_be_split_outside(encap: Encap, underlay: Family, packet: &Packet) -> bool {
    match encap {
        Encap::Ipip => IpView::unverified(packet.bytes()).is_ok_and(|header| !header.dont_fragment()),
        Encap::Vxlan | Encap::None => underlay == Family::V4,
    }
}
