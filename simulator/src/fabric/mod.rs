//! The underlay: it carries packets between network cards and knows no workload address.
//!
//! A packet leaves a card towards a next hop, which stands for the MAC address. The fabric answers with what comes of it and
//! when; it keeps no packet and asks no clock. Whoever drives it brings each packet back with [`Fabric::arrive`] when its time
//! has come.

mod allowance;
mod connections;
mod drop;
mod effect;
mod fault;
mod gateway;
mod groups;
mod offload;
mod port;
mod ports;
mod preset;
mod router;
mod security;
mod segment;

use std::net::IpAddr;

use overlab_dataplane::wire::IpView;
use overlab_dataplane::{Instant, Mtu, Packet, Tag};

pub use connections::IdleTimes;
pub use drop::DropReason;
pub use fault::{Bottleneck, Effect, Fault, Scope, Share};
pub use gateway::{Firewall, FirewallRule, GatewayKind, GatewayKnobs};
pub use groups::Groups;
use port::is_to_be_split;
pub use port::{DEFAULT_GROUP, eni};
use ports::Ports;
pub use preset::*;
use router::Router;
pub use security::*;
use segment::{Segment, Station};

use crate::observe::{IpHeader, Place, PlaceKind, outermost};
use crate::scenario::Model;
use crate::topology::Topology;

/// A network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NicId {
    /// Its machine: a place among the model's nodes, or behind all of them among its hosts.
    pub machine: u32,
    /// Its number on the machine: 0 is `eth0`.
    pub card: u16,
}

/// A packet on a wire, and where it comes out.
#[derive(Clone, Debug)]
pub struct Transit {
    /// When it arrives.
    pub at: Instant,
    to: Station,
    journey: Journey,
    packet: Packet,
}

/// What is known of a packet's way so far.
#[derive(Clone, Copy, Debug, Default)]
struct Journey {
    /// The card that sent it; none for a packet of a router's own.
    card: Option<NicId>,
    /// The gateways that it has passed.
    crossings: u8,
}

/// Something that happened to a packet in the fabric.
#[derive(Clone, Debug)]
pub struct Record {
    /// The packet.
    pub tag: Tag,
    /// Whether it is a fragment other than the first.
    pub later_fragment: bool,
    /// Its outermost header.
    pub outer: Option<IpHeader>,
    /// Where.
    pub place: Place,
    /// What happened, as a sentence fragment.
    pub text: String,
    /// Why it was lost, if it was.
    pub dropped: Option<DropReason>,
}

/// What came of a packet; the caller empties it.
#[derive(Debug, Default)]
pub struct Output {
    /// Packets under way.
    pub transits: Vec<Transit>,
    /// Packets that a card took in.
    pub arrived: Vec<(NicId, Packet)>,
    /// What to tell of packets that somebody follows.
    pub records: Vec<Record>,
}

impl Output {
    fn record(&mut self, packet: &Packet, place: &Place, dropped: Option<DropReason>, text: impl FnOnce() -> String) {
        if packet.tag() != Tag::NONE {
            let outer = outermost(packet.bytes());
            self.records.push(Record {
                tag: packet.tag(),
                later_fragment: outer.is_some_and(|header| header.later_fragment),
                outer,
                place: place.clone(),
                text: text(),
                dropped,
            });
        }
    }
}

/// All underlays of a model.
#[derive(Debug)]
pub struct Fabric {
    ports: Ports,
    segments: Vec<Segment>,
    routers: Vec<Router>,
    gateways: Vec<gateway::Gateway>,
    faults: Vec<fault::Active>,
}

impl Fabric {
    /// The fabric of a model.
    pub fn new(model: &Model, topology: &Topology) -> Fabric {
        let mut segments = segment::build(model);
        let ports = Ports::new(model, |card| segment::index(model, card.underlay, card.subnet));
        for (nic, port) in ports.iter() {
            let addresses = port.addresses.iter().flatten();
            segments[port.segment]
                .stations
                .extend(addresses.map(|address| (*address, Station::Nic(nic))));
        }
        answer_for_others(&ports, &mut segments);
        let routers = router::build(model, topology);
        Fabric {
            ports,
            segments,
            routers,
            gateways: gateway::build(model),
            faults: model
                .faults
                .iter()
                .map(|fault| fault::Active::new(fault.clone(), model.seed))
                .collect(),
        }
    }

    /// Takes over what an earlier fabric of the same machines remembers: connections, chances, what waits in queues.
    pub fn succeed(&mut self, earlier: Fabric) {
        self.ports.succeed(earlier.ports);
        for (gateway, earlier) in self.gateways.iter_mut().zip(earlier.gateways) {
            gateway.succeed(earlier);
        }
        self.faults = earlier.faults;
    }

    /// Sends a packet from a card to a next hop on its segment.
    pub fn transmit(&mut self, now: Instant, nic: NicId, next_hop: IpAddr, mut packet: Packet, out: &mut Output) {
        if self.ports[nic].breaks_inner_checksums {
            offload::break_inner_checksum(&mut packet);
        }
        let Ok(header) = IpView::unverified(packet.bytes()) else {
            return;
        };
        let refused = self.refused_leaving(now, nic, &packet, &header);
        let port = &self.ports[nic];
        if let Some((reason, text)) = refused {
            return out.record(&packet, &port.eni, Some(reason), || text);
        }
        let segment = &self.segments[port.segment];
        let next_hop = match segment.l2 {
            L2::BroadcastDomain | L2::MacSwitchedUnicast => next_hop,
            L2::None => segment.next_device(header.destination()),
        };
        let limit = segment.splits_at.filter(|limit| is_to_be_split(&packet, &header, *limit));
        let (segment, device) = (port.segment, port.device.clone());
        let journey = Journey {
            card: Some(nic),
            crossings: 0,
        };
        for fragment in router::fragments(packet, limit.unwrap_or(Mtu::MAX)) {
            self.onto_segment(now, segment, next_hop, (journey, fragment), &device, out);
        }
    }

    /// A packet comes out of a wire: at a router, which passes it on, or at a card, which takes it in.
    pub fn arrive(&mut self, transit: Transit, out: &mut Output) {
        let Transit { at, to, journey, packet } = transit;
        match to {
            Station::Router { router, from } => self.route(at, router, from, (journey, packet), out),
            Station::Gateway { gateway, from } => self.across(at, (gateway, from), (journey, packet), out),
            Station::Nic(nic) => {
                let Ok(header) = IpView::unverified(packet.bytes()) else {
                    return;
                };
                match self.refused_entering(at, nic, journey.card, &header) {
                    Some((reason, text)) => out.record(&packet, &self.ports[nic].eni, Some(reason), || text),
                    None => out.arrived.push((nic, packet)),
                }
            }
        }
    }

    /// Puts a packet on a segment; whoever has the next hop gets it. `sender` is the place of a failed ARP.
    fn onto_segment(
        &mut self,
        now: Instant,
        segment: usize,
        next_hop: IpAddr,
        (journey, packet): (Journey, Packet),
        sender: &Place,
        out: &mut Output,
    ) {
        let wires = &self.segments[segment];
        if !wires.mtu.fits(packet.longest_wire_packet()) {
            out.record(&packet, &wires.place, Some(DropReason::TooBig), || {
                format!(
                    "{} B is more than the segment's {} B",
                    packet.longest_wire_packet(),
                    wires.mtu
                )
            });
            return;
        }
        let Some(station) = wires.stations.get(&next_hop) else {
            out.record(&packet, sender, Some(DropReason::NeighbourFailed), || {
                format!("nobody on {} answers for {next_hop}", wires.place)
            });
            return;
        };
        let delay = match (station, sender.kind) {
            (Station::Nic(_), PlaceKind::Device) => wires.delay_between_cards,
            (Station::Nic(_) | Station::Router { .. } | Station::Gateway { .. }, _) => wires.delay_to_router,
        };
        let to = match station {
            Station::Nic(nic) => self.ports[*nic].device.to_string(),
            Station::Router { .. } | Station::Gateway { .. } => format!("the router, {next_hop}"),
        };
        let (to, at) = (format!("carried to {to}"), now.saturating_add(delay));
        out.record(&packet, &wires.place, None, || to);
        let transit = Transit {
            at,
            to: *station,
            journey,
            packet,
        };
        self.through_faults(now, transit, out);
    }

    /// Puts a packet under way, unless a fault between the two cards takes it.
    fn through_faults(&mut self, now: Instant, mut transit: Transit, out: &mut Output) {
        let Station::Nic(receiver) = transit.to else {
            return out.transits.push(transit);
        };
        let mut twice = false;
        for fault in &mut self.faults {
            if !fault.concerns(now, transit.journey.card, receiver) {
                continue;
            }
            match fault.judge(now, receiver, &transit.packet) {
                fault::Fate::Lost(reason, text) => {
                    return out.record(&transit.packet, &fault.place().clone(), Some(reason), || text);
                }
                fault::Fate::Pass {
                    delay,
                    twice: again,
                    corrupt,
                    mark,
                } => {
                    transit.at = transit.at.saturating_add(delay);
                    twice |= again;
                    if corrupt {
                        fault::corrupt(&mut transit.packet);
                    }
                    if mark {
                        fault::mark(&mut transit.packet);
                    }
                }
            }
        }
        if twice {
            // The copy is nobody's packet: nothing is claimed of it.
            let mut copy = transit.clone();
            copy.packet.set_tag(Tag::NONE);
            out.transits.push(copy);
        }
        out.transits.push(transit);
    }
}

/// A machine answers on each of its cards for the addresses of the others too, where frames reach it and nobody on the segment has
/// them.
///
/// Source: Linux Documentation/networking/ip-sysctl.rst, `arp_ignore`; IPv6 asks the card alone (net/ipv6/ndisc.c, ndisc_recv_ns).
fn answer_for_others(ports: &Ports, segments: &mut [Segment]) {
    for (nic, port) in ports.iter().filter(|(_, port)| !port.checked) {
        let segment = &mut segments[port.segment];
        if segment.l2 == L2::BroadcastDomain {
            let others = ports.iter().filter(|(other, _)| other.machine == nic.machine);
            for address in others.filter_map(|(_, other)| other.addresses.v4) {
                segment.stations.entry(address).or_insert(Station::Nic(nic));
            }
        }
    }
}
