//! The output path: route, TTL, size, encapsulation, and out. Forwarded packets and the node's own share it.

use std::net::IpAddr;

use super::filter::is_unforwardable;
use super::{DropReason, Engine, Layer, Out, Outcome, Step, Tunnel};
use crate::encap::{Encap, Encapsulation, Ipip};
use crate::route::{DeviceId, RouteId, RouteKind};
use crate::wire::fragment::split;
use crate::wire::{IcmpError, IpMut, IpView, ipv6};
use crate::{Family, Instant, Mtu, Packet};

impl Engine {
    /// Sends a packet on that came in by a device. The checks stand in the kernel's order: route, reverse path, TTL, size, filter.
    ///
    /// Source: Linux net/ipv4/ip_forward.c, ip_forward; net/ipv6/ip6_output.c, ip6_forward.
    pub(super) fn forward(&mut self, now: Instant, input: DeviceId, mut packet: Packet, outcome: &mut Outcome) {
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
        let Some(id) = self.find_route(destination, outcome) else {
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
        let (device, mtu) = self.device_and_mtu(id);
        if dont_fragment && !mtu.fits(packet.longest_wire_packet()) {
            Engine::drop_packet(outcome, DropReason::TooBig, device);
            return self.reply(now, IcmpError::TooBig { mtu: mtu.bytes() }, packet.bytes(), outcome);
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
        self.send(now, id, mtu, packet, outcome);
    }

    /// Sends a packet of the node itself, whose stack has chosen source address and size. Only here is an IPv6 packet split.
    pub(super) fn originate(&mut self, now: Instant, mut packet: Packet, outcome: &mut Outcome) {
        outcome.steps.push(Step::Originated);
        if IpView::parse(packet.bytes()).is_err() {
            return Engine::drop_packet(outcome, DropReason::Malformed, None);
        }
        self.track(now, &mut packet, outcome);
        let Ok(header) = IpView::unverified(packet.bytes()) else {
            return;
        };
        let dont_fragment = header.family() == Family::V4 && header.dont_fragment();
        if let Some(device) = self.tables.device_with(header.destination()) {
            return Engine::deliver(device, false, packet, outcome);
        }
        let Some(id) = self.find_route(header.destination(), outcome) else {
            return;
        };
        let (device, mtu) = self.device_and_mtu(id);
        if dont_fragment && !mtu.fits(packet.longest_wire_packet()) {
            return Engine::drop_packet(outcome, DropReason::TooBig, device);
        }
        self.send(now, id, mtu, packet, outcome);
    }

    /// The route for a destination, unless it is one that swallows packets.
    fn find_route(&self, destination: IpAddr, outcome: &mut Outcome) -> Option<RouteId> {
        let Some((id, route)) = self.tables.lookup(destination) else {
            Engine::drop_packet(outcome, DropReason::NoRoute, None);
            return None;
        };
        outcome.steps.push(Step::Routed { destination, route: id });
        match route.kind {
            RouteKind::Blackhole => {
                Engine::drop_packet(outcome, DropReason::Blackhole, None);
                None
            }
            RouteKind::Host if self.tables.is_in_pool(destination) => {
                outcome.steps.push(Step::NoClusterRoute);
                Some(id)
            }
            RouteKind::Host | RouteKind::Local | RouteKind::Direct | RouteKind::Ipip | RouteKind::Vxlan => Some(id),
        }
    }

    /// Where a route leads, and the MTU that packets on it are held against: of IPv6 it is never less than the least.
    fn device_and_mtu(&self, id: RouteId) -> (Option<DeviceId>, Mtu) {
        let Some(route) = self.tables.route(id) else {
            return (None, Mtu::MAX);
        };
        let mtu = self.tables.route_mtu(route).unwrap_or(Mtu::MAX);
        let least = match Family::of_net(route.destination) {
            Family::V4 => Mtu::MIN,
            Family::V6 => ipv6::MTU_MIN,
        };
        (route.device, mtu.max(least))
    }

    /// Sends a packet by a route, with its source translated if it is to be, split if it is too long.
    ///
    /// Source: Linux net/ipv4/ip_output.c, ip_output and ip_finish_output, for the order.
    fn send(&mut self, now: Instant, id: RouteId, mtu: Mtu, mut packet: Packet, outcome: &mut Outcome) {
        let route = self.tables.route(id).and_then(|route| Some((route.device?, route.gateway)));
        if let Some((device, gateway)) = route
            && !self.postrouting(now, device, gateway, &mut packet, outcome)
        {
            return;
        }
        if mtu.fits(packet.longest_wire_packet()) {
            return self.send_piece(now, id, packet, outcome);
        }
        for piece in self.pieces(&packet, Layer::Inner, mtu, outcome) {
            self.send_piece(now, id, piece, outcome);
        }
    }

    fn send_piece(&mut self, now: Instant, id: RouteId, packet: Packet, outcome: &mut Outcome) {
        let tables = self.tables.clone();
        let Some((route, device)) = tables.route(id).and_then(|route| Some((route, route.device?))) else {
            return Engine::drop_packet(outcome, DropReason::NoRoute, None);
        };
        match route.kind {
            RouteKind::Local => Engine::deliver(device, true, packet, outcome),
            RouteKind::Direct | RouteKind::Host => {
                let destination = || IpView::unverified(packet.bytes()).map(|header| header.destination());
                let Ok(next_hop) = route.gateway.map_or_else(destination, Ok) else {
                    return;
                };
                self.transmit(device, next_hop, packet, outcome);
            }
            RouteKind::Ipip | RouteKind::Vxlan => self.encapsulate(now, id, device, packet, outcome),
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
        let (encapsulation, template): (&dyn Encapsulation, _) = match tunnel {
            Tunnel::Ipip(template) => (&Ipip, template),
            Tunnel::Vxlan(vxlan, template) => (vxlan, template),
        };
        let (source, destination) = (template.source(), template.destination());
        let encap = encapsulation.encap();
        let overhead = encap.overhead(template.family());
        let outer_route = match self.outer_route(destination) {
            Ok(route) => route,
            Err(reason) => return Engine::drop_packet(outcome, reason, Some(device)),
        };
        let (_, outer_mtu) = self.device_and_mtu(outer_route);
        let limit = outer_mtu.less(overhead);
        let dont_fragment = || IpView::unverified(packet.bytes()).is_ok_and(|header| header.dont_fragment());
        if encap == Encap::Ipip && !limit.fits(packet.longest_wire_packet()) && dont_fragment() {
            Engine::drop_packet(outcome, DropReason::TooBig, Some(device));
            return self.reply(now, IcmpError::TooBig { mtu: limit.bytes() }, packet.bytes(), outcome);
        }
        self.identification = self.identification.wrapping_add(1);
        if encapsulation.push(template, &mut packet, self.identification as u16).is_err() {
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
        if outer_mtu.fits(packet.longest_wire_packet()) {
            return self.send_piece(now, outer_route, packet, outcome);
        }
        for piece in self.pieces(&packet, Layer::Outer, outer_mtu, outcome) {
            self.send_piece(now, outer_route, piece, outcome);
        }
    }

    /// The route of a tunnel packet to its far end; it may not lead into a tunnel itself.
    fn outer_route(&self, destination: IpAddr) -> Result<RouteId, DropReason> {
        let (id, route) = self.tables.lookup(destination).ok_or(DropReason::NoRoute)?;
        match route.kind {
            RouteKind::Direct | RouteKind::Host => Ok(id),
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
