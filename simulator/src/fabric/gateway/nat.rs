//! Address translation towards the internet: one to one at an internet gateway, many to one at a NAT gateway.
//!
//! Sources: AWS VPC user guide, "Internet gateways" and "NAT gateways".

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use overlab_dataplane::wire::ipv4::protocol;
use overlab_dataplane::wire::translate::{End, set_end, set_quoted_end};
use overlab_dataplane::wire::{FlowKey, IcmpMessage, IpView};
use overlab_dataplane::{Instant, Packet};

use super::super::port::{Refused, quoted};
use crate::fabric::DropReason;

/// What becomes of a packet's addresses: a sentence if they were changed.
type Translated = Result<Option<String>, Refused>;

/// An internet gateway's addresses: each machine's public one, both ways.
#[derive(Debug)]
pub(super) struct PublicAddresses {
    public: BTreeMap<Ipv4Addr, Ipv4Addr>,
    private: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// Addresses that are public already: those of NAT gateways.
    nat_gateways: Vec<Ipv4Addr>,
}

impl PublicAddresses {
    pub(super) fn new(machines: impl Iterator<Item = (Ipv4Addr, Ipv4Addr)>, nat_gateways: Vec<Ipv4Addr>) -> PublicAddresses {
        let public: BTreeMap<_, _> = machines.collect();
        PublicAddresses {
            private: public.iter().map(|(private, public)| (*public, *private)).collect(),
            public,
            nat_gateways,
        }
    }

    /// Outwards the source becomes public, inwards the destination private. IPv6 addresses are public everywhere.
    pub(super) fn translate(&self, packet: &mut Packet) -> Translated {
        let Some((source, destination)) = addresses(packet) else {
            return Ok(None);
        };
        if let Some(private) = self.private.get(&destination) {
            rewrite(packet, End::Destination, *private, None);
            return Ok(Some(format!("destination {destination} becomes {private}")));
        }
        if let Some(public) = self.public.get(&source) {
            rewrite(packet, End::Source, *public, None);
            return Ok(Some(format!("source {source} becomes {public}")));
        }
        match self.nat_gateways.contains(&source) || self.nat_gateways.contains(&destination) {
            true => Ok(None),
            false => {
                let text = format!("neither {source} has a public address here, nor is {destination} one");
                Err((DropReason::NoNatMapping, text))
            }
        }
    }
}

/// Who talks to whom through a NAT gateway, as seen from within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Connection {
    protocol: u8,
    inside: (Ipv4Addr, u16),
    outside: (Ipv4Addr, u16),
}

/// The same as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mapping {
    protocol: u8,
    port: u16,
    outside: (Ipv4Addr, u16),
}

/// For how long a NAT gateway remembers a silent connection.
///
/// Source: AWS VPC user guide, NAT gateways, idle timeout.
const IDLE: Duration = Duration::from_secs(350);

/// The ports that it gives out.
const PORTS: std::ops::RangeInclusive<u16> = 1024..=65535;

/// A NAT gateway's address and what it remembers.
#[derive(Debug)]
pub(super) struct NatTable {
    public: Ipv4Addr,
    ports: BTreeMap<Connection, u16>,
    back: BTreeMap<Mapping, (Connection, Instant)>,
}

impl NatTable {
    pub(super) fn new(public: Ipv4Addr) -> NatTable {
        NatTable {
            public,
            ports: BTreeMap::new(),
            back: BTreeMap::new(),
        }
    }

    pub(super) fn succeed(&mut self, earlier: NatTable) {
        (self.ports, self.back) = (earlier.ports, earlier.back);
    }

    /// What comes for the public address goes back to who began; everything else leaves from the public address.
    pub(super) fn translate(&mut self, now: Instant, packet: &mut Packet) -> Translated {
        let Some((source, destination)) = addresses(packet) else {
            return Ok(None);
        };
        let Ok(header) = IpView::unverified(packet.bytes()) else {
            return Ok(None);
        };
        if header.is_fragment() {
            let text = "a NAT gateway finds no ports in a fragment".to_owned();
            return Err((DropReason::FragmentRefused, text));
        }
        let about = quoted(&header).map(|quote| FlowKey::of(&quote));
        let number = header.protocol();
        if destination == self.public {
            let mapping = match (about, ports(&header)) {
                (Some(flow), _) => {
                    let IpAddr::V4(outside) = flow.destination else {
                        return Ok(None);
                    };
                    let (port, to) = flow.ports.unwrap_or_default();
                    Mapping {
                        protocol: flow.protocol,
                        port,
                        outside: (outside, to),
                    }
                }
                (None, (from, to)) => Mapping {
                    protocol: number,
                    port: to,
                    outside: (source, from),
                },
            };
            let known = self.back.get_mut(&mapping).filter(|(_, last)| now.since(*last) <= IDLE);
            let Some((connection, last)) = known else {
                let text = format!("nobody behind {} has begun this", self.public);
                return Err((DropReason::NoNatMapping, text));
            };
            *last = now;
            let (private, port) = connection.inside;
            rewrite(packet, End::Destination, private, Some(port));
            return Ok(Some(format!(
                "destination {destination}:{} becomes {private}:{port}",
                mapping.port
            )));
        }
        let (from, to) = ports(&header);
        let connection = Connection {
            protocol: number,
            inside: (source, from),
            outside: (destination, to),
        };
        let Some(port) = self.port(now, connection) else {
            return Err((DropReason::RateLimited, "no port is left to that destination".to_owned()));
        };
        rewrite(packet, End::Source, self.public, Some(port));
        Ok(Some(format!("source {source}:{from} becomes {}:{port}", self.public)))
    }

    /// The port that a connection has outside: its own where that is free, else the next free one.
    fn port(&mut self, now: Instant, connection: Connection) -> Option<u16> {
        let Connection {
            protocol,
            inside,
            outside,
        } = connection;
        let mapping = |port| Mapping { protocol, port, outside };
        let own = self.ports.get(&connection).copied();
        let wanted = own.unwrap_or(inside.1).max(*PORTS.start());
        let order = (wanted..=*PORTS.end()).chain(*PORTS.start()..wanted);
        let is_free = |port: &u16| match self.back.get(&mapping(*port)) {
            Some((other, last)) => *other == connection || now.since(*last) > IDLE,
            None => true,
        };
        let port = order.into_iter().find(is_free)?;
        if let Some((forgotten, _)) = self.back.insert(mapping(port), (connection, now)) {
            self.ports.remove(&forgotten);
        }
        self.ports.insert(connection, port);
        Some(port)
    }
}

fn addresses(packet: &Packet) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let header = IpView::unverified(packet.bytes()).ok()?;
    match (header.source(), header.destination()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Some((source, destination)),
        (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
    }
}

/// What tells connections of two addresses apart: ports, or an echo's identifier on the side of who asked.
fn ports(header: &IpView<'_>) -> (u16, u16) {
    match header.protocol() {
        protocol::TCP | protocol::UDP => header.payload().first_chunk().map_or((0, 0), |&[s0, s1, d0, d1]| {
            (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]))
        }),
        _ => match IcmpMessage::unverified(header.family(), header.payload()) {
            Ok(IcmpMessage::Echo { reply, identifier, .. }) if header.is_icmp() => match reply {
                false => (identifier, 0),
                true => (0, identifier),
            },
            Ok(_) | Err(_) => (0, 0),
        },
    }
}

/// Sets an end of a packet and, in an ICMP error, the end of the packet that it quotes which is the same machine.
fn rewrite(packet: &mut Packet, end: End, address: Ipv4Addr, port: Option<u16>) {
    let is_error = IpView::unverified(packet.bytes()).is_ok_and(|header| quoted(&header).is_some());
    let address = IpAddr::V4(address);
    if is_error {
        set_end(packet.bytes_mut(), end, address, None);
        set_quoted_end(packet.bytes_mut(), end.other(), address, port);
    } else {
        set_end(packet.bytes_mut(), end, address, port);
    }
}

#[cfg(test)]
mod tests {
    use overlab_dataplane::wire::IcmpError;
    use overlab_dataplane::wire::icmp::error_packet;

    use super::*;

    const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
    const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);

    fn from(last: u8, port: u16) -> Connection {
        Connection {
            protocol: protocol::UDP,
            inside: (Ipv4Addr::new(10, 0, 1, last), port),
            outside: (OUTSIDE, 53),
        }
    }

    #[test]
    fn two_who_use_one_port_to_one_destination_leave_from_two() {
        let mut nat = NatTable::new(PUBLIC);
        let now = Instant::ZERO;
        assert_eq!(nat.port(now, from(1, 5000)), Some(5000));
        assert_eq!(nat.port(now, from(2, 5000)), Some(5001));
        assert_eq!(nat.port(now, from(1, 5000)), Some(5000), "a connection keeps its port");
        assert_eq!(
            nat.port(now, from(3, 80)),
            Some(1024),
            "ports that are given out begin at 1024"
        );
    }

    #[test]
    fn a_port_is_free_again_when_its_connection_is_forgotten() {
        let mut nat = NatTable::new(PUBLIC);
        nat.port(Instant::ZERO, from(1, 5000));
        let later = Instant::from_nanos(351 * 1_000_000_000);
        assert_eq!(nat.port(later, from(2, 5000)), Some(5000));
    }

    #[test]
    fn who_has_no_public_address_does_not_leave() {
        let known = PublicAddresses::new([(Ipv4Addr::new(10, 0, 1, 1), PUBLIC)].into_iter(), Vec::new());
        let datagram = |source: [u8; 4], destination: [u8; 4]| {
            let mut bytes = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
            bytes.extend(source);
            bytes.extend(destination);
            bytes.extend([0x13, 0x88, 0, 53, 0, 8, 0, 0]);
            Packet::from_bytes(&bytes)
        };
        let mut own = datagram([10, 0, 1, 1], OUTSIDE.octets());
        assert!(known.translate(&mut own).unwrap().is_some());
        assert_eq!(addresses(&own), Some((PUBLIC, OUTSIDE)));
        let mut back = datagram(OUTSIDE.octets(), PUBLIC.octets());
        assert!(known.translate(&mut back).unwrap().is_some());
        assert_eq!(addresses(&back), Some((OUTSIDE, Ipv4Addr::new(10, 0, 1, 1))));
        let refused = known
            .translate(&mut datagram([192, 168, 1, 2], OUTSIDE.octets()))
            .unwrap_err();
        assert_eq!(refused.0, DropReason::NoNatMapping);
    }

    const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);

    fn datagram(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16)) -> Packet {
        let mut bytes = Vec::new();
        let header = etherparse::PacketBuilder::ipv4(source.0.octets(), destination.0.octets(), 64);
        header.udp(source.1, destination.1).write(&mut bytes, b"question").unwrap();
        Packet::from_bytes(&bytes)
    }

    /// A datagram's ends as a stranger reads them, who also finds its checksums right.
    fn ends(bytes: &[u8]) -> ((Ipv4Addr, u16), (Ipv4Addr, u16)) {
        let read = etherparse::SlicedPacket::from_ip(bytes).unwrap();
        let (Some(etherparse::NetSlice::Ipv4(ip)), Some(etherparse::TransportSlice::Udp(udp))) = (read.net, read.transport)
        else {
            panic!()
        };
        let header = ip.header().to_header();
        assert_eq!(header.calc_header_checksum(), header.header_checksum);
        assert_eq!(
            udp.to_header().calc_checksum_ipv4(&header, udp.payload()).unwrap(),
            udp.checksum()
        );
        let (source, destination) = (Ipv4Addr::from(header.source), Ipv4Addr::from(header.destination));
        ((source, udp.source_port()), (destination, udp.destination_port()))
    }

    #[test]
    fn an_answer_comes_back_to_who_asked() {
        let mut nat = NatTable::new(PUBLIC);
        let mut question = datagram((INSIDE, 500), (OUTSIDE, 53));
        nat.translate(Instant::ZERO, &mut question).unwrap();
        assert_eq!(ends(question.bytes()), ((PUBLIC, 1024), (OUTSIDE, 53)));
        let mut answer = datagram((OUTSIDE, 53), (PUBLIC, 1024));
        nat.translate(Instant::ZERO, &mut answer).unwrap();
        assert_eq!(ends(answer.bytes()), ((OUTSIDE, 53), (INSIDE, 500)));
        let unasked = nat.translate(Instant::ZERO, &mut datagram((OUTSIDE, 54), (PUBLIC, 1024)));
        assert_eq!(unasked.unwrap_err().0, DropReason::NoNatMapping);
    }

    #[test]
    fn an_error_about_a_question_comes_back_with_the_question_as_it_was_asked() {
        let mut nat = NatTable::new(PUBLIC);
        let mut question = datagram((INSIDE, 500), (OUTSIDE, 53));
        nat.translate(Instant::ZERO, &mut question).unwrap();
        let router = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let mut error = error_packet(IcmpError::TtlExpired, router, question.bytes()).unwrap();
        nat.translate(Instant::ZERO, &mut error).unwrap();
        let header = IpView::parse(error.bytes()).unwrap();
        assert_eq!(header.destination(), IpAddr::V4(INSIDE));
        let Ok(IcmpMessage::Error { quote, .. }) = IcmpMessage::parse(&header) else {
            panic!()
        };
        assert_eq!((quote.source(), ports(&quote)), (IpAddr::V4(INSIDE), (500, 53)));
    }
}
