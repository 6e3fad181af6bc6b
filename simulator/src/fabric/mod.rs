//! The underlay: it carries packets between network cards and knows no workload address.
//!
//! A packet leaves a card towards a next hop, which stands for the MAC address. The fabric answers with what comes of it and
//! when; it keeps no packet and asks no clock. Whoever drives it brings each packet back with [`Fabric::arrive`] when its time
//! has come.

mod drop;
mod preset;
mod router;
mod segment;

use std::net::IpAddr;
use std::sync::Arc;

use overlab_dataplane::wire::Ipv4View;
use overlab_dataplane::{Instant, Packet, Tag};

pub use drop::DropReason;
pub use preset::{Knobs, L2, NoRoute, Preset};
use router::Router;
use segment::{Segment, Station};

use crate::observe::{Place, PlaceKind};
use crate::scenario::{Machine, Model};
use crate::topology::Topology;

/// A network card: the model's nodes first, then its hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NicId(pub u32);

/// A packet on a wire, and where it comes out.
#[derive(Clone, Debug)]
pub struct Transit {
    /// When it arrives.
    pub at: Instant,
    to: Station,
    packet: Packet,
}

/// Something that happened to a packet in the fabric.
#[derive(Clone, Debug)]
pub struct Record {
    /// The packet.
    pub tag: Tag,
    /// Whether it is a fragment other than the first.
    pub later_fragment: bool,
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
            let later_fragment = Ipv4View::unverified(packet.bytes()).is_ok_and(|ip| ip.fragment_offset() > 0);
            self.records.push(Record {
                tag: packet.tag(),
                later_fragment,
                place: place.clone(),
                text: text(),
                dropped,
            });
        }
    }
}

/// The fabric's port of a machine's network card.
#[derive(Debug)]
struct Port {
    eni: Place,
    device: Place,
    address: IpAddr,
    segment: usize,
    checked: bool,
}

/// All underlays of a model.
#[derive(Debug)]
pub struct Fabric {
    ports: Vec<Port>,
    segments: Vec<Segment>,
    routers: Vec<Router>,
}

impl Fabric {
    /// The fabric of a model.
    pub fn new(model: &Model, topology: &Topology) -> Fabric {
        let mut segments = segment::build(model);
        let mut ports = Vec::new();
        for machine in model.nodes.iter().chain(&model.hosts) {
            let segment = segment::index(model, machine.underlay, machine.subnet);
            let nic = NicId(ports.len() as u32);
            segments[segment].stations.insert(machine.address.addr(), Station::Nic(nic));
            ports.push(port(machine, segment));
        }
        let routers = router::build(model, topology);
        Fabric {
            ports,
            segments,
            routers,
        }
    }

    /// Sends a packet from a card to a next hop on its segment.
    pub fn transmit(&mut self, now: Instant, nic: NicId, next_hop: IpAddr, packet: Packet, out: &mut Output) {
        let port = &self.ports[nic.0 as usize];
        let Ok(header) = Ipv4View::unverified(packet.bytes()) else {
            return;
        };
        if port.checked && IpAddr::V4(header.source()) != port.address {
            let source = header.source();
            out.record(&packet, &port.eni, Some(DropReason::SrcDstCheck), || {
                format!(
                    "source/destination check: the source {source} is not this interface's {}",
                    port.address
                )
            });
            return;
        }
        self.onto_segment(now, port.segment, next_hop, packet, &port.device, out);
    }

    /// A packet comes out of a wire: at a router, which passes it on, or at a card, which takes it in.
    pub fn arrive(&mut self, transit: Transit, out: &mut Output) {
        let Transit { at, to, packet } = transit;
        match to {
            Station::Router { router, segment } => self.route(at, router, segment, packet, out),
            Station::Nic(nic) => {
                let port = &self.ports[nic.0 as usize];
                let Ok(header) = Ipv4View::unverified(packet.bytes()) else {
                    return;
                };
                if port.checked && IpAddr::V4(header.destination()) != port.address {
                    let destination = header.destination();
                    out.record(&packet, &port.eni, Some(DropReason::SrcDstCheck), || {
                        format!(
                            "source/destination check: the destination {destination} is not this interface's {}",
                            port.address
                        )
                    });
                    return;
                }
                out.arrived.push((nic, packet));
            }
        }
    }

    /// Puts a packet on a segment; whoever has the next hop gets it. `sender` is the place of a failed ARP.
    fn onto_segment(&self, now: Instant, segment: usize, next_hop: IpAddr, packet: Packet, sender: &Place, out: &mut Output) {
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
            (Station::Nic(_) | Station::Router { .. }, _) => wires.delay_to_router,
        };
        let to = match station {
            Station::Nic(nic) => self.ports[nic.0 as usize].device.to_string(),
            Station::Router { .. } => format!("the router, {next_hop}"),
        };
        out.record(&packet, &wires.place, None, || format!("carried to {to}"));
        out.transits.push(Transit {
            at: now.saturating_add(delay),
            to: *station,
            packet,
        });
    }
}

fn port(machine: &Machine, segment: usize) -> Port {
    let place = |kind, what: &str| Place {
        kind,
        name: Arc::from(format!("{}/{what}", machine.name)),
    };
    Port {
        eni: place(PlaceKind::Eni, "eni"),
        device: place(PlaceKind::Device, "eth0"),
        address: machine.address.addr(),
        segment,
        checked: machine.source_destination_check,
    }
}
