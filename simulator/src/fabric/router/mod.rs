//! Underlay routers: they know their own subnets, the routes that are written, and what they learned from other routers or by
//! BGP from nodes; of workloads they know nothing.

mod build;
mod quote;

use std::collections::BTreeMap;
use std::net::IpAddr;

use overlab_dataplane::wire::fragment::split;
use overlab_dataplane::wire::icmp::error_packet;
use overlab_dataplane::wire::{FlowKey, IcmpError, IpMut, IpView};
use overlab_dataplane::{Family, Fib, Instant, Mtu, Packet};

use super::segment::Station;
use super::{DropReason, Fabric, Journey, NicId, NoRoute, Output, RpFilter, Transit};
use crate::observe::Place;

pub(super) use build::build;
use quote::shorten_quote;

#[derive(Debug)]
pub(super) struct Router {
    pub(super) place: Place,
    no_route: NoRoute,
    decrements_ttl: bool,
    /// The router's own address on each segment that it is on.
    addresses: Vec<(usize, IpAddr)>,
    splits: bool,
    tells_size: bool,
    icmp_quote: Option<usize>,
    clears_dscp: bool,
    rp_filter: RpFilter,
    /// Route tables: the main one, then the others.
    tables: Vec<Fib<Target>>,
    /// The table for what comes from somewhere, where it is not the main one.
    table_of: BTreeMap<Ingress, usize>,
}

/// Where a router gets a packet from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ingress {
    Segment(usize),
    Gateway(usize),
}

/// Where a route leads.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// To whoever on a segment has the destination.
    Segment(usize),
    /// To a card, whatever the destination.
    Card(NicId),
    /// To what joins this underlay with others.
    Gateway(usize),
    /// Nowhere.
    Nowhere,
}

/// The next device on a packet's way.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// A neighbour on a segment.
    Neighbour(usize, IpAddr),
    Gateway(usize),
}

impl Router {
    /// Its own address towards where a packet came from: on that segment, else any.
    fn address_towards(&self, from: Ingress, family: Family) -> Option<IpAddr> {
        let mut own = self.addresses.iter().filter(|(_, address)| Family::of(*address) == family);
        let own = match from {
            Ingress::Segment(segment) => own.find(|(on, _)| *on == segment),
            Ingress::Gateway(_) => own.next(),
        };
        own.map(|(_, address)| *address)
    }

    fn route(&self, from: Ingress, destination: IpAddr) -> Option<Target> {
        let table = self.table_of.get(&from).copied().unwrap_or_default();
        self.tables.get(table)?.best(destination).copied()
    }
}

/// What a router makes of a packet.
enum Fate {
    /// It goes on.
    Forward(Next),
    /// It is lost; whether the router tells the sender depends on the router.
    Drop(DropReason, Option<IcmpError>, String),
}

impl Fabric {
    /// A router got a packet.
    pub(super) fn route(
        &mut self,
        now: Instant,
        router: usize,
        from: Ingress,
        (journey, mut packet): (Journey, Packet),
        out: &mut Output,
    ) {
        let fate = self.judge(router, from, &packet);
        let hop = &self.routers[router];
        let place = hop.place.clone();
        match fate {
            Fate::Drop(reason, error, text) => {
                out.record(&packet, &place, Some(reason), || text);
                let family = IpView::unverified(packet.bytes()).map(|header| header.family());
                let source = family.ok().and_then(|family| hop.address_towards(from, family));
                if let Some(error) = error {
                    self.tell_sender(now, router, error, source, &packet, out);
                }
            }
            Fate::Forward(next) => {
                if let Some(mut header) = IpMut::new(packet.bytes_mut()) {
                    if hop.decrements_ttl {
                        header.decrement_ttl();
                    }
                    if hop.clears_dscp {
                        header.clear_dscp();
                    }
                }
                self.pass_on(now, router, next, (journey, packet), out);
            }
        }
    }

    /// Hands a packet to the next device.
    fn pass_on(&mut self, now: Instant, router: usize, next: Next, (journey, packet): (Journey, Packet), out: &mut Output) {
        let place = self.routers[router].place.clone();
        match next {
            Next::Neighbour(segment, neighbour) => {
                let wires = &self.segments[segment];
                let (fragments, next) = (fragments(packet, wires.mtu), wires.place.clone());
                for fragment in fragments {
                    out.record(&fragment, &place, None, || format!("routed to {next}"));
                    self.onto_segment(now, segment, neighbour, (journey, fragment), &place, out);
                }
            }
            Next::Gateway(gateway) => {
                let next = &self.gateways[gateway];
                out.record(&packet, &place, None, || format!("routed to {}", next.place));
                out.transits.push(Transit {
                    at: now.saturating_add(next.delay),
                    to: Station::Gateway { gateway, from: router },
                    journey,
                    packet,
                });
            }
        }
    }

    /// Sends an ICMP error by a router's own routes: its own, or that of a gateway which stands behind it. Without a source it has
    /// the router's address towards the sender.
    pub(super) fn tell_sender(
        &mut self,
        now: Instant,
        router: usize,
        error: IcmpError,
        source: Option<IpAddr>,
        about: &Packet,
        out: &mut Output,
    ) {
        let Ok(to) = IpView::unverified(about.bytes()).map(|header| header.source()) else {
            return;
        };
        let hop = &self.routers[router];
        let main = hop.tables.first().and_then(|table| table.best(to).copied());
        let Some(next) = main.and_then(|target| self.next(target, to)) else {
            return;
        };
        let towards = match next {
            Next::Neighbour(segment, _) => Ingress::Segment(segment),
            Next::Gateway(gateway) => Ingress::Gateway(gateway),
        };
        let source = source.or_else(|| hop.address_towards(towards, Family::of(to)));
        let answer = source.and_then(|source| error_packet(error, source, about.bytes()));
        if let Some(mut answer) = answer {
            if let Some(bytes) = hop.icmp_quote {
                shorten_quote(&mut answer, bytes);
            }
            self.pass_on(now, router, next, (Journey::default(), answer), out);
        }
    }

    /// The next device that a route leads to.
    fn next(&self, target: Target, destination: IpAddr) -> Option<Next> {
        match target {
            Target::Segment(segment) => Some(Next::Neighbour(segment, destination)),
            Target::Card(nic) => {
                let port = &self.ports[nic];
                Some(Next::Neighbour(port.segment, (*port.addresses.get(Family::of(destination)))?))
            }
            Target::Gateway(gateway) => Some(Next::Gateway(gateway)),
            Target::Nowhere => None,
        }
    }

    /// Checks in the order of RFC 1812 section 5.2.1: header, own address, source, TTL, route, size; before the route, whether the
    /// packet may leave its subnet, and after it, whether it may enter the next.
    fn judge(&self, router: usize, from: Ingress, packet: &Packet) -> Fate {
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
        if !self.came_the_right_way(router, from, header.source()) {
            let text = match hop.route(from, header.source()) {
                Some(_) => format!("the way back to {} is another one", header.source()),
                None => format!("there is no way back to {}", header.source()),
            };
            return Fate::Drop(DropReason::RpFilter, None, text);
        }
        if hop.decrements_ttl && header.ttl() <= 1 {
            let error = IcmpError::TtlExpired;
            return Fate::Drop(DropReason::TtlExpired, Some(error), "the TTL ran out".to_owned());
        }
        let flow = FlowKey::of(&header);
        let left = match from {
            Ingress::Segment(segment) => Some(segment),
            Ingress::Gateway(_) => None,
        };
        let acl = |segment: usize| self.segments[segment].acl.as_ref();
        if let Some(left) = left.filter(|left| acl(*left).is_some_and(|acl| !acl.lets_out(&flow))) {
            let text = format!("the access list of {} does not let it out", self.segments[left].place);
            return Fate::Drop(DropReason::NaclDeny, None, text);
        }
        let next = hop.route(from, destination).and_then(|target| self.next(target, destination));
        let Some(next) = next else {
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
        let Next::Neighbour(segment, _) = next else {
            return Fate::Forward(next);
        };
        if acl(segment).is_some_and(|acl| Some(segment) != left && !acl.lets_in(&flow)) {
            let text = format!("the access list of {} does not let it in", self.segments[segment].place);
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
        Fate::Forward(next)
    }

    /// Whether a router that looks at sources routes this one back by the way that it came.
    ///
    /// Source: RFC 3704 section 2.2 (strict) and 2.4 (loose).
    fn came_the_right_way(&self, router: usize, from: Ingress, source: IpAddr) -> bool {
        let hop = &self.routers[router];
        let back = || hop.route(from, source).and_then(|target| self.next(target, source));
        match hop.rp_filter {
            RpFilter::Off => true,
            RpFilter::Loose => back().is_some(),
            RpFilter::Strict => match (back(), from) {
                (Some(Next::Neighbour(back, _)), Ingress::Segment(from)) => back == from,
                (Some(Next::Gateway(back)), Ingress::Gateway(from)) => back == from,
                (Some(Next::Neighbour(..) | Next::Gateway(_)) | None, _) => false,
            },
        }
    }
}

/// A packet in fragments of at most this size; whole if it fits.
pub(super) fn fragments(packet: Packet, mtu: Mtu) -> Vec<Packet> {
    if mtu.fits(packet.longest_wire_packet()) {
        return vec![packet];
    }
    let mut fragments = Vec::new();
    // A header that was judged is one that can be split.
    let _ = split(&packet, mtu, 0, &mut fragments);
    fragments
}
