//! Underlay routers: they know the underlay's own subnets and nothing else.

use std::net::IpAddr;

use overlab_dataplane::wire::fragment::split;
use overlab_dataplane::wire::icmp::error_packet;
use overlab_dataplane::wire::{FlowKey, IcmpError, IpMut, IpView};
use overlab_dataplane::{Family, Fib, Instant, Mtu, Packet};

use super::segment::index;
use super::{DropReason, Fabric, NicId, NoRoute, Output};
use crate::observe::{Place, PlaceKind};
use crate::scenario::{Model, Via};
use crate::topology::{Topology, Vertex};

#[derive(Debug)]
pub(super) struct Router {
    place: Place,
    no_route: NoRoute,
    decrements_ttl: bool,
    /// The router's own address on each segment that it is on.
    addresses: Vec<(usize, IpAddr)>,
    splits: bool,
    tells_size: bool,
    clears_dscp: bool,
    fib: Fib<Target>,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// To whoever on a segment has the destination.
    Segment(usize),
    /// To a card, whatever the destination.
    Card(NicId),
    /// Nowhere.
    Nowhere,
}

/// The router of every underlay, with a route to each subnet that the topology connects to it.
pub(super) fn build(model: &Model, topology: &Topology) -> Vec<Router> {
    let mut routers = Vec::new();
    for (underlay, wires) in model.underlays.iter().enumerate() {
        let mut router = Router {
            place: Place {
                kind: PlaceKind::Router,
                name: wires.name.clone(),
            },
            no_route: wires.knobs.no_route,
            decrements_ttl: wires.knobs.router_decrements_ttl,
            addresses: Vec::new(),
            splits: wires.knobs.router_splits,
            tells_size: wires.knobs.router_tells_size,
            clears_dscp: wires.knobs.clears_dscp,
            fib: Fib::default(),
        };
        for neighbour in topology.neighbours(Vertex::Router { underlay }) {
            if let Vertex::Subnet { underlay, subnet } = neighbour {
                let segment = index(model, underlay, subnet);
                let subnet = &model.underlays[underlay].subnets[subnet];
                router
                    .addresses
                    .extend(subnet.gateway.iter().flatten().map(|gateway| (segment, *gateway)));
                for cidr in subnet.cidr.iter().flatten() {
                    router.fib.insert(cidr.trunc(), Target::Segment(segment));
                }
            }
        }
        for route in &wires.routes {
            let target = match route.via {
                Via::Machine(machine) => Target::Card(NicId(machine as u32)),
                Via::Nowhere => Target::Nowhere,
            };
            router.fib.insert(route.destination, target);
        }
        routers.push(router);
    }
    routers
}

impl Router {
    fn address_on(&self, segment: usize, family: Family) -> Option<IpAddr> {
        let is_meant = |on: usize, address: IpAddr| on == segment && Family::of(address) == family;
        let own = self.addresses.iter().find(|(on, address)| is_meant(*on, *address));
        own.map(|(_, address)| *address)
    }
}

/// What a router makes of a packet.
enum Fate {
    /// It goes on to a neighbour on a segment.
    Forward(usize, IpAddr),
    /// It is lost; whether the router tells the sender depends on the router.
    Drop(DropReason, Option<IcmpError>, String),
}

impl Fabric {
    /// A router got a packet from a segment.
    pub(super) fn route(
        &mut self,
        now: Instant,
        router: usize,
        from: usize,
        (card, mut packet): (Option<NicId>, Packet),
        out: &mut Output,
    ) {
        let fate = self.judge(router, from, &packet);
        let hop = &self.routers[router];
        let place = hop.place.clone();
        match fate {
            Fate::Drop(reason, error, text) => {
                out.record(&packet, &place, Some(reason), || text);
                let family = IpView::unverified(packet.bytes()).map(|header| header.family());
                let source = family.ok().and_then(|family| hop.address_on(from, family));
                if let Some((error, source)) = error.zip(source) {
                    self.tell_sender(now, router, error, source, &packet, out);
                }
            }
            Fate::Forward(segment, neighbour) => {
                if let Some(mut header) = IpMut::new(packet.bytes_mut()) {
                    if hop.decrements_ttl {
                        header.decrement_ttl();
                    }
                    if hop.clears_dscp {
                        header.clear_dscp();
                    }
                }
                let wires = &self.segments[segment];
                let (pieces, next) = (pieces(packet, wires.mtu), wires.place.clone());
                for piece in pieces {
                    out.record(&piece, &place, None, || format!("routed to {next}"));
                    self.onto_segment(now, segment, neighbour, (card, piece), &place, out);
                }
            }
        }
    }

    /// Sends an ICMP error of the router's own, by the router's own routes.
    fn tell_sender(&mut self, now: Instant, router: usize, error: IcmpError, source: IpAddr, about: &Packet, out: &mut Output) {
        let Some(answer) = error_packet(error, source, about.bytes()) else {
            return;
        };
        let Ok(header) = IpView::unverified(answer.bytes()) else {
            return;
        };
        let destination = header.destination();
        let hop = &self.routers[router];
        if let Some((segment, neighbour)) = hop
            .fib
            .best(destination)
            .and_then(|target| self.neighbour(*target, destination))
        {
            let place = hop.place.clone();
            self.onto_segment(now, segment, neighbour, (None, answer), &place, out);
        }
    }

    /// The segment and the neighbour on it that a route leads to.
    fn neighbour(&self, target: Target, destination: IpAddr) -> Option<(usize, IpAddr)> {
        match target {
            Target::Segment(segment) => Some((segment, destination)),
            Target::Card(nic) => {
                let port = &self.ports[nic.0 as usize];
                Some((port.segment, (*port.addresses.get(Family::of(destination)))?))
            }
            Target::Nowhere => None,
        }
    }

    /// Checks in the order of RFC 1812 section 5.2.1: header, own address, TTL, route, size; before the route, whether the packet
    /// may leave its subnet, and after it, whether it may enter the next.
    fn judge(&self, router: usize, from: usize, packet: &Packet) -> Fate {
        let hop = &self.routers[router];
        let header = match IpView::parse(packet.bytes()) {
            Ok(header) => header,
            Err(malformed) => return Fate::Drop(DropReason::Malformed, None, malformed.to_string()),
        };
        let destination = header.destination();
        if hop.addresses.iter().any(|(_, address)| *address == destination) {
            return Fate::Drop(
                DropReason::NoListener,
                None,
                "underlay routers answer nothing themselves".to_owned(),
            );
        }
        if hop.decrements_ttl && header.ttl() <= 1 {
            let error = IcmpError::TtlExpired;
            return Fate::Drop(DropReason::TtlExpired, Some(error), "the TTL ran out".to_owned());
        }
        let flow = FlowKey::of(&header);
        let acl = |segment: usize| self.segments[segment].acl.as_ref();
        if acl(from).is_some_and(|acl| !acl.lets_out(&flow)) {
            let text = format!("the access list of {} lets it not out", self.segments[from].place);
            return Fate::Drop(DropReason::NaclDeny, None, text);
        }
        let target = hop
            .fib
            .best(destination)
            .and_then(|target| self.neighbour(*target, destination));
        let Some((segment, neighbour)) = target else {
            let error = match hop.no_route {
                NoRoute::Silent => None,
                NoRoute::NetUnreachable => Some(IcmpError::NoRoute),
            };
            return Fate::Drop(
                DropReason::FabricNoRoute,
                error,
                format!("the underlay has no route to {destination}"),
            );
        };
        if acl(segment).is_some_and(|acl| segment != from && !acl.lets_in(&flow)) {
            let text = format!("the access list of {} lets it not in", self.segments[segment].place);
            return Fate::Drop(DropReason::NaclDeny, None, text);
        }
        let mtu = self.segments[segment].mtu;
        let whole = header.dont_fragment() || !hop.splits;
        if whole && !mtu.fits(packet.longest_wire_packet()) {
            let error = IcmpError::TooBig { mtu: mtu.bytes() };
            let df = match header {
                IpView::V4(_) if header.dont_fragment() => " with DF set",
                IpView::V4(_) | IpView::V6(_) => "",
            };
            let text = format!(
                "{} B{df} is more than the next segment's {mtu} B",
                packet.longest_wire_packet()
            );
            return Fate::Drop(DropReason::TooBig, Some(error).filter(|_| hop.tells_size), text);
        }
        Fate::Forward(segment, neighbour)
    }
}

/// A packet in pieces of at most this size; whole if it fits.
pub(super) fn pieces(packet: Packet, mtu: Mtu) -> Vec<Packet> {
    if mtu.fits(packet.longest_wire_packet()) {
        return vec![packet];
    }
    let mut pieces = Vec::new();
    // A header that was judged is one that can be split.
    let _ = split(&packet, mtu, 0, &mut pieces);
    pieces
}
