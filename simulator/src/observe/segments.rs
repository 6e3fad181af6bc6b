//! Whose TCP segment is this? A segment carries no number of ours, so that segments are counted, in each direction, as they leave
//! the stacks: both backends show them in that order. What comes back through an address translation is known by the addresses
//! under which the connection's first segment arrived.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::tcp::{self, TcpFlags, TcpPacket};

use super::reader::Ip;
use super::{Direction, PacketKey};
use crate::scenario::{Flow, FlowId, Transport};

/// Source and destination.
type Ends = (SocketAddr, SocketAddr);

/// Tells which segment of which flow some bytes are.
#[derive(Debug, Default)]
pub(super) struct Segments {
    /// Flows and their destination ports, by source port.
    flows: BTreeMap<u16, (FlowId, u16)>,
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
                .map(|(i, flow)| (flow.source_port, (FlowId(i as u32), flow.destination_port)))
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
        let checksum = match (ip.header.source, ip.header.destination) {
            (std::net::IpAddr::V4(source), std::net::IpAddr::V4(to)) => tcp::ipv4_checksum(&segment, &source, &to),
            (std::net::IpAddr::V6(source), std::net::IpAddr::V6(to)) => tcp::ipv6_checksum(&segment, &source, &to),
            _ => return None,
        };
        if checksum != segment.get_checksum() {
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
            (*destination == to).then_some(*flow)
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
