//! Whose TCP segment is this? A segment carries no number of ours, so that segments are counted, in each direction, as they leave
//! the stacks: both backends show them in that order. What comes back through an address translation is known by the addresses
//! under which the connection's first segment arrived.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::tcp::{TcpFlags, TcpPacket};

use super::attribution::destination_ports;
use super::reader::Ip;
use super::{Direction, PacketKey};
use crate::scenario::{Flow, FlowId, Transport};

/// Source and destination.
type Ends = (SocketAddr, SocketAddr);

/// Tells which segment of which flow some bytes are.
#[derive(Debug, Default)]
pub(super) struct Segments {
    /// Flows and their destination ports, before and behind a service, by source port.
    flows: BTreeMap<u16, (FlowId, Vec<u16>)>,
    /// Connections by the addresses that receivers see, both ways round.
    seen: BTreeMap<Ends, (FlowId, Direction)>,
    sent: BTreeMap<(FlowId, Direction), u32>,
    /// The last segment that began at a TCP sequence number.
    beginning: BTreeMap<(FlowId, Direction, u32), u32>,
    /// Requests to open a connection that reached a stack which has not answered.
    unanswered: BTreeMap<FlowId, Vec<PacketKey>>,
}

/// What a stack made of a segment that it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It took it.
    Taken,
    /// Its answer will tell.
    Unanswered,
    /// Its checksum is wrong.
    Corrupt,
}

/// What the segment that a stack sends says of those that it got.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Requests to open a connection.
    pub(super) requests: Vec<PacketKey>,
    /// Whether it refuses them.
    pub(super) refused: bool,
}

impl Segments {
    pub(super) fn new(flows: &[Flow]) -> Segments {
        let tcp = flows.iter().enumerate().filter(|(_, flow)| flow.transport == Transport::Tcp);
        Segments {
            flows: tcp
                .map(|(i, flow)| (flow.source_port, (FlowId(i as u32), destination_ports(flow))))
                .collect(),
            ..Segments::default()
        }
    }

    /// The number of a segment that leaves its stack.
    pub(super) fn number(&mut self, ip: &Ip<'_>) -> Option<PacketKey> {
        let (flow, direction) = self.flow(ip)?;
        let [_, _, _, _, sequence @ ..] = *ip.payload.first_chunk::<8>()?;
        let next = self.sent.entry((flow, direction)).or_default();
        let key = PacketKey {
            flow,
            direction,
            sequence: *next,
        };
        *next += 1;
        self.beginning
            .insert((flow, direction, u32::from_be_bytes(sequence)), key.sequence);
        Some(key)
    }

    /// The segment that an ICMP error quotes: the last one before it that began at the same TCP sequence number.
    pub(super) fn quoted(&self, ip: &Ip<'_>) -> Option<PacketKey> {
        let (flow, direction) = self.flow(ip)?;
        let [_, _, _, _, sequence @ ..] = *ip.payload.first_chunk::<8>()?;
        let beginning = (flow, direction, u32::from_be_bytes(sequence));
        let sequence = *self.beginning.get(&beginning)?;
        Some(PacketKey {
            flow,
            direction,
            sequence,
        })
    }

    /// A segment reached the stack that it is for.
    pub(super) fn arrived(&mut self, key: PacketKey, bytes: &[u8]) -> Option<Arrival> {
        let ip = Ip::read(bytes)?;
        let segment = TcpPacket::new(ip.payload).filter(|_| !ip.header.fragment)?;
        if ip.is_spoiled() {
            return Some(Arrival::Corrupt);
        }
        if segment.get_flags() & (TcpFlags::SYN | TcpFlags::ACK) != TcpFlags::SYN {
            return Some(Arrival::Taken);
        }
        let (source, destination) = ends(&ip)?;
        self.seen.insert((source, destination), (key.flow, key.direction));
        self.seen.insert((destination, source), (key.flow, Direction::Reverse));
        self.unanswered.entry(key.flow).or_default().push(key);
        Some(Arrival::Unanswered)
    }

    /// What a segment that leaves its stack answers.
    pub(super) fn answer(&mut self, key: PacketKey, bytes: &[u8]) -> Option<Answer> {
        if key.direction == Direction::Forward {
            return None;
        }
        let requests = self.unanswered.remove(&key.flow)?;
        let flags = Ip::read(bytes).and_then(|ip| Some(TcpPacket::new(ip.payload)?.get_flags()));
        let refused = flags.is_some_and(|flags| flags & TcpFlags::RST != 0);
        Some(Answer { requests, refused })
    }

    fn flow(&self, ip: &Ip<'_>) -> Option<(FlowId, Direction)> {
        let ends = ends(ip)?;
        if let Some(found) = self.seen.get(&ends) {
            return Some(*found);
        }
        let from = |port, to| {
            let (flow, destination) = self.flows.get(&port)?;
            destination.contains(&to).then_some(*flow)
        };
        let (source, destination) = (ends.0.port(), ends.1.port());
        let forward = from(source, destination).map(|flow| (flow, Direction::Forward));
        forward.or_else(|| from(destination, source).map(|flow| (flow, Direction::Reverse)))
    }
}

fn ends(ip: &Ip<'_>) -> Option<Ends> {
    let &[s0, s1, d0, d1] = ip.payload.first_chunk::<4>()?;
    if ip.protocol() != IpNextHeaderProtocols::Tcp {
        return None;
    }
    Some((
        SocketAddr::new(ip.header.source, u16::from_be_bytes([s0, s1])),
        SocketAddr::new(ip.header.destination, u16::from_be_bytes([d0, d1])),
    ))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use pnet::packet::ipv4::MutableIpv4Packet;
    use pnet::packet::tcp::MutableTcpPacket;

    use super::*;

    const FLOW: FlowId = FlowId(3);
    const POD: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 168, 1, 2), 12_345);
    /// What the pod's node makes of it on the way out.
    const NODE: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 1, 11), 6000);
    const HOST: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 9, 20), 8080);

    fn segments() -> Segments {
        Segments {
            flows: BTreeMap::from([(POD.1, (FLOW, vec![HOST.1]))]),
            ..Segments::default()
        }
    }

    fn segment(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), flags: u8, sequence: u32) -> Vec<u8> {
        let mut bytes = vec![0; 44];
        let mut ip = MutableIpv4Packet::new(&mut bytes).unwrap();
        ip.set_version(4);
        ip.set_header_length(5);
        ip.set_total_length(44);
        ip.set_next_level_protocol(IpNextHeaderProtocols::Tcp);
        ip.set_source(from.0);
        ip.set_destination(to.0);
        let mut tcp = MutableTcpPacket::new(&mut bytes[20..]).unwrap();
        tcp.set_source(from.1);
        tcp.set_destination(to.1);
        tcp.set_data_offset(5);
        tcp.set_flags(flags);
        tcp.set_sequence(sequence);
        let checksum = pnet::packet::tcp::ipv4_checksum(&tcp.to_immutable(), &from.0, &to.0);
        tcp.set_checksum(checksum);
        bytes
    }

    fn number(segments: &mut Segments, bytes: &[u8]) -> Option<(Direction, u32)> {
        let key = segments.number(&Ip::read(bytes)?)?;
        assert_eq!(key.flow, FLOW);
        Some((key.direction, key.sequence))
    }

    fn key(direction: Direction, sequence: u32) -> PacketKey {
        PacketKey {
            flow: FLOW,
            direction,
            sequence,
        }
    }

    #[test]
    fn segments_are_counted_in_each_direction() {
        let mut segments = segments();
        let (ask, answer) = (segment(POD, HOST, TcpFlags::ACK, 7), segment(HOST, POD, TcpFlags::ACK, 9));
        assert_eq!(number(&mut segments, &ask), Some((Direction::Forward, 0)));
        assert_eq!(number(&mut segments, &answer), Some((Direction::Reverse, 0)));
        assert_eq!(number(&mut segments, &ask), Some((Direction::Forward, 1)), "sent again");
        let stranger = segment(HOST, (POD.0, 12_346), TcpFlags::ACK, 9);
        assert_eq!(number(&mut segments, &stranger), None);
    }

    #[test]
    fn what_comes_back_through_a_translation_is_known_by_the_first_segment() {
        let mut segments = segments();
        let back = segment(HOST, NODE, TcpFlags::SYN | TcpFlags::ACK, 1);
        assert_eq!(number(&mut segments, &back), None, "nobody has seen this port yet");
        number(&mut segments, &segment(POD, HOST, TcpFlags::SYN, 0));
        let arrived = segment(NODE, HOST, TcpFlags::SYN, 0);
        assert_eq!(
            segments.arrived(key(Direction::Forward, 0), &arrived),
            Some(Arrival::Unanswered)
        );
        assert_eq!(number(&mut segments, &back), Some((Direction::Reverse, 0)));
    }

    #[test]
    fn the_answer_tells_what_became_of_a_request_to_open() {
        for (flags, refused) in [(TcpFlags::SYN | TcpFlags::ACK, false), (TcpFlags::RST | TcpFlags::ACK, true)] {
            let mut segments = segments();
            let request = key(Direction::Forward, 0);
            segments.arrived(request, &segment(POD, HOST, TcpFlags::SYN, 0));
            assert_eq!(
                segments.answer(key(Direction::Forward, 1), &[]),
                None,
                "its own sender answers nothing"
            );
            let answer = segments.answer(key(Direction::Reverse, 0), &segment(HOST, POD, flags, 0));
            let requests = vec![request];
            assert_eq!(answer, Some(Answer { requests, refused }));
            assert_eq!(segments.answer(key(Direction::Reverse, 1), &[]), None, "once");
        }
    }

    #[test]
    fn a_segment_with_a_bit_wrong_is_not_taken() {
        let mut segments = segments();
        let mut bytes = segment(POD, HOST, TcpFlags::ACK, 7);
        assert_eq!(segments.arrived(key(Direction::Forward, 0), &bytes), Some(Arrival::Taken));
        bytes[43] ^= 1;
        assert_eq!(segments.arrived(key(Direction::Forward, 0), &bytes), Some(Arrival::Corrupt));
    }

    #[test]
    fn an_error_is_about_the_last_segment_that_began_where_the_quoted_one_does() {
        let mut segments = segments();
        for sequence in [100, 200, 100] {
            number(&mut segments, &segment(POD, HOST, TcpFlags::ACK, sequence));
        }
        let quoted = |sequence| {
            let whole = segment(POD, HOST, TcpFlags::ACK, sequence);
            segments.quoted(&Ip::read(&whole[..28]).unwrap())
        };
        assert_eq!(
            quoted(100),
            Some(key(Direction::Forward, 2)),
            "eight bytes behind the IP header are enough"
        );
        assert_eq!(quoted(200), Some(key(Direction::Forward, 1)));
        assert_eq!(quoted(300), None);
    }
}
