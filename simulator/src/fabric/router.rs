//! Underlay routers: they know the underlay's own subnets and nothing else.

use std::net::{IpAddr, Ipv4Addr};

use overlab_dataplane::wire::fragment::split;
use overlab_dataplane::wire::icmp::error_packet;
use overlab_dataplane::wire::{IcmpError, Ipv4Mut, Ipv4View};
use overlab_dataplane::{Fib, Instant, Mtu, Packet};

use super::segment::index;
use super::{DropReason, Fabric, NoRoute, Output};
use crate::observe::{Place, PlaceKind};
use crate::scenario::Model;
use crate::topology::{Topology, Vertex};

#[derive(Debug)]
pub(super) struct Router {
    place: Place,
    no_route: NoRoute,
    decrements_ttl: bool,
    /// The router's own address on each segment that it is on.
    addresses: Vec<(usize, IpAddr)>,
    fib: Fib<usize>,
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
            fib: Fib::default(),
        };
        for neighbour in topology.neighbours(Vertex::Router { underlay }) {
            if let Vertex::Subnet { underlay, subnet } = neighbour {
                let segment = index(model, underlay, subnet);
                let subnet = &model.underlays[underlay].subnets[subnet];
                router.addresses.push((segment, subnet.gateway));
                router.fib.insert(subnet.cidr.trunc(), segment);
            }
        }
        routers.push(router);
    }
    routers
}

impl Router {
    fn address_on(&self, segment: usize) -> Option<Ipv4Addr> {
        self.addresses
            .iter()
            .find(|(on, _)| *on == segment)
            .and_then(|(_, address)| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            })
    }
}

/// What a router makes of a packet.
enum Fate {
    /// It goes on to a segment.
    Forward(usize),
    /// It is lost; whether the router tells the sender depends on the router.
    Drop(DropReason, Option<IcmpError>, String),
}

impl Fabric {
    /// A router got a packet from a segment.
    pub(super) fn route(&mut self, now: Instant, router: usize, from: usize, mut packet: Packet, out: &mut Output) {
        let hop = &self.routers[router];
        match hop.judge(&packet, |segment| self.segments[segment].mtu) {
            Fate::Drop(reason, error, text) => {
                out.record(&packet, &hop.place, Some(reason), || text);
                if let Some((error, source)) = error.zip(hop.address_on(from)) {
                    self.tell_sender(now, router, error, source, &packet, out);
                }
            }
            Fate::Forward(segment) => {
                if hop.decrements_ttl
                    && let Some(mut header) = Ipv4Mut::new(packet.bytes_mut())
                {
                    header.decrement_ttl();
                }
                let wires = &self.segments[segment];
                let pieces = pieces(packet, wires.mtu);
                for piece in pieces {
                    let Ok(header) = Ipv4View::unverified(piece.bytes()) else {
                        continue;
                    };
                    let destination = IpAddr::V4(header.destination());
                    out.record(&piece, &hop.place, None, || format!("routed to {}", wires.place));
                    self.onto_segment(now, segment, destination, piece, &hop.place, out);
                }
            }
        }
    }

    /// Sends an ICMP error of the router's own, by the router's own routes.
    fn tell_sender(&self, now: Instant, router: usize, error: IcmpError, source: Ipv4Addr, about: &Packet, out: &mut Output) {
        let Some(answer) = error_packet(error, source, about.bytes()) else {
            return;
        };
        let Ok(header) = Ipv4View::unverified(answer.bytes()) else {
            return;
        };
        let destination = IpAddr::V4(header.destination());
        if let Some(segment) = self.routers[router].fib.best(destination) {
            self.onto_segment(now, *segment, destination, answer, &self.routers[router].place, out);
        }
    }
}

impl Router {
    /// Checks in the order of RFC 1812 section 5.2.1: header, own address, TTL, route, size.
    fn judge(&self, packet: &Packet, mtu_of: impl Fn(usize) -> Mtu) -> Fate {
        let header = match Ipv4View::parse(packet.bytes()) {
            Ok(header) => header,
            Err(malformed) => return Fate::Drop(DropReason::Malformed, None, malformed.to_string()),
        };
        let destination = IpAddr::V4(header.destination());
        if self.addresses.iter().any(|(_, address)| *address == destination) {
            return Fate::Drop(
                DropReason::NoListener,
                None,
                "underlay routers answer nothing themselves".to_owned(),
            );
        }
        if self.decrements_ttl && header.ttl() <= 1 {
            let error = IcmpError::TimeExceeded { code: 0 };
            return Fate::Drop(DropReason::TtlExpired, Some(error), "the TTL ran out".to_owned());
        }
        let Some(segment) = self.fib.best(destination) else {
            let error = match self.no_route {
                NoRoute::Silent => None,
                NoRoute::NetUnreachable => Some(IcmpError::DestinationUnreachable { code: 0 }),
            };
            return Fate::Drop(
                DropReason::FabricNoRoute,
                error,
                format!("the underlay has no route to {destination}"),
            );
        };
        let mtu = mtu_of(*segment);
        if header.dont_fragment() && !mtu.fits(packet.longest_wire_packet()) {
            let error = IcmpError::FragmentationNeeded { mtu: mtu.bytes() };
            let text = format!(
                "{} B with DF set is more than the next segment's {mtu} B",
                packet.longest_wire_packet()
            );
            return Fate::Drop(DropReason::TooBig, Some(error), text);
        }
        Fate::Forward(*segment)
    }
}

fn pieces(packet: Packet, mtu: Mtu) -> Vec<Packet> {
    if mtu.fits(packet.longest_wire_packet()) {
        return vec![packet];
    }
    let mut pieces = Vec::new();
    // A header that was judged is one that can be split.
    let _ = split(&packet, mtu, &mut pieces);
    pieces
}
