//! Whose packet is this? Packets are told apart by what is in their bytes, so that both backends attribute them alike: by the
//! stamp in front of their payload, which no translation on the way changes. TCP's segments are counted.

use std::collections::BTreeMap;
use std::net::IpAddr;

use overlab_dataplane::encap::Encap;
use pnet::packet::icmp::{IcmpPacket, IcmpTypes};
use pnet::packet::icmpv6::Icmpv6Types;
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::udp::UdpPacket;

use super::headers::wire_packet;
use super::reader::Ip;
use super::segments::Segments;
use super::{Direction, PacketKey};
use crate::scenario::{Flow, FlowId, Transport};

/// Fragment trains that are remembered at the same time; beyond that, one gives way.
const TRAINS_MAX: usize = 4096;

/// What all fragments of a packet share (RFC 791 section 3.2; RFC 8200 section 4.5).
type Train = (IpAddr, IpAddr, u8, u32);

/// Tells which packet of which flow some bytes are.
#[derive(Debug)]
pub(super) struct Attribution {
    /// Flows and their destination ports, before and behind a service, by transport and source port.
    flows: BTreeMap<(Transport, u16), (FlowId, Vec<u16>)>,
    segments: Segments,
    trains: BTreeMap<Train, PacketKey>,
    /// The UDP ports that VXLAN has at any time on any node.
    vxlan_ports: Vec<u16>,
}

/// What an ICMP error says, and about which packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ErrorReport {
    /// The packet.
    pub(super) about: PacketKey,
    /// ICMP type.
    pub(super) kind: u8,
    /// ICMP code.
    pub(super) code: u8,
    /// The next-hop MTU of a 3/4, or of ICMPv6's 2/0.
    pub(super) mtu: Option<u16>,
    /// Who sent the error.
    pub(super) from: IpAddr,
}

impl Attribution {
    /// An attribution over the flows of a scenario.
    pub(super) fn new(flows: &[Flow], vxlan_ports: Vec<u16>) -> Attribution {
        let mut attribution = Attribution {
            flows: BTreeMap::new(),
            segments: Segments::new(flows),
            trains: BTreeMap::new(),
            vxlan_ports,
        };
        for (i, flow) in flows.iter().enumerate() {
            let id = FlowId(i as u32);
            let key = (flow.transport, flow.source_port);
            attribution.flows.insert(key, (id, destination_ports(flow)));
        }
        attribution
    }

    /// The TCP segments among them.
    pub(super) fn segments(&mut self) -> &mut Segments {
        &mut self.segments
    }

    /// The packet that a bare IP packet, as a stack sent it, is or belongs to. It is asked once for each.
    pub(super) fn packet(&mut self, bytes: &[u8]) -> Option<PacketKey> {
        let ip = Ip::read(bytes)?;
        let header = &ip.header;
        let train = (header.source, header.destination, header.protocol, ip.identification);
        if header.later_fragment {
            return self.trains.get(&train).copied();
        }
        let key = match ip.protocol() {
            IpNextHeaderProtocols::Tcp => self.segments.number(&ip)?,
            protocol => self.transport(protocol, ip.payload)?,
        };
        if ip.more_fragments {
            if self.trains.len() >= TRAINS_MAX {
                self.trains.pop_first();
            }
            self.trains.insert(train, key);
        }
        Some(key)
    }

    /// What an ICMP error says, and about which packet, looked for inside the tunnel headers that it quotes.
    pub(super) fn error(&self, bytes: &[u8]) -> Option<ErrorReport> {
        let ip = Ip::read(bytes)?;
        let &[kind, code, _, _, word @ ..] = ip.payload.first_chunk::<8>()?;
        let too_big = match ip.protocol() {
            // Destination unreachable, of which fragmentation needed is one, and time exceeded (RFC 792).
            IpNextHeaderProtocols::Icmp if matches!(kind, 3 | 11) => (kind, code) == (3, 4),
            // Those two, and packet too big (RFC 4443 section 3).
            IpNextHeaderProtocols::Icmpv6 if matches!(kind, 1..=4) => kind == 2,
            _ => return None,
        };
        let mtu = match ip.header.source {
            IpAddr::V4(_) => u32::from(u16::from_be_bytes([word[2], word[3]])),
            IpAddr::V6(_) => u32::from_be_bytes(word),
        };
        Some(ErrorReport {
            about: self.quoted(ip.payload.get(8..)?)?,
            kind,
            code,
            mtu: too_big.then(|| u16::try_from(mtu).unwrap_or(u16::MAX)),
            from: ip.header.source,
        })
    }

    fn quoted(&self, quote: &[u8]) -> Option<PacketKey> {
        let outer = Ip::read(quote)?;
        let readings = self.vxlan_ports.iter().filter_map(|port| wire_packet(quote, *port));
        let encap = readings.map(|packet| packet.encap).find(|encap| *encap != Encap::None);
        let inner = match encap {
            Some(Encap::Ipip) => outer.payload,
            Some(Encap::Vxlan) => outer.payload.get(8 + 8 + 14..)?,
            Some(Encap::None) | None => return self.quoted_bare(&outer),
        };
        self.quoted_bare(&Ip::read(inner)?)
    }

    fn quoted_bare(&self, ip: &Ip<'_>) -> Option<PacketKey> {
        match ip.protocol() {
            IpNextHeaderProtocols::Tcp => self.segments.quoted(ip),
            protocol => self.transport(protocol, ip.payload),
        }
    }

    fn transport(&self, protocol: IpNextHeaderProtocol, bytes: &[u8]) -> Option<PacketKey> {
        match protocol {
            IpNextHeaderProtocols::Icmp => self.echo([IcmpTypes::EchoRequest.0, IcmpTypes::EchoReply.0], bytes),
            IpNextHeaderProtocols::Icmpv6 => self.echo([Icmpv6Types::EchoRequest.0, Icmpv6Types::EchoReply.0], bytes),
            IpNextHeaderProtocols::Udp => self.datagram(bytes),
            _ => None,
        }
    }

    fn echo(&self, [request, reply]: [u8; 2], bytes: &[u8]) -> Option<PacketKey> {
        let direction = match IcmpPacket::new(bytes)?.get_icmp_type().0 {
            kind if kind == request => Direction::Forward,
            kind if kind == reply => Direction::Reverse,
            _ => return None,
        };
        let &[_, _, _, _, id_high, id_low, sequence_high, sequence_low] = bytes.first_chunk::<8>()?;
        // An error may quote no more than the header of a request.
        let (port, sequence) = bytes.get(8..).and_then(read_stamp).unwrap_or((
            u16::from_be_bytes([id_high, id_low]),
            u32::from(u16::from_be_bytes([sequence_high, sequence_low])),
        ));
        let (flow, _) = self.flows.get(&(Transport::Icmp, port))?;
        Some(PacketKey {
            flow: *flow,
            direction,
            sequence,
        })
    }

    fn datagram(&self, bytes: &[u8]) -> Option<PacketKey> {
        let udp = UdpPacket::new(bytes)?;
        let (port, sequence) = read_stamp(bytes.get(8..)?)?;
        let (flow, destination_ports) = self.flows.get(&(Transport::Udp, port))?;
        let direction = if destination_ports.contains(&udp.get_destination()) {
            Direction::Forward
        } else {
            Direction::Reverse
        };
        Some(PacketKey {
            flow: *flow,
            direction,
            sequence,
        })
    }
}

/// The ports that a flow's packets go to: its own, and those behind a service.
pub(super) fn destination_ports(flow: &Flow) -> Vec<u16> {
    let behind = flow.served_by.iter().map(|(_, port)| *port);
    std::iter::once(flow.destination_port).chain(behind).collect()
}

/// What a packet's payload begins with, a request's as an answer's: the flow's source port (or echo identifier) and the packet's
/// number, in eight octets, big-endian.
pub fn stamp(port: u16, sequence: u32) -> [u8; 8] {
    (u64::from(port) << 32 | u64::from(sequence)).to_be_bytes()
}

/// The source port and number of a [`stamp`]; none if there is no stamp.
pub fn read_stamp(payload: &[u8]) -> Option<(u16, u32)> {
    let [z0, z1, p0, p1, sequence @ ..] = *payload.first_chunk::<8>()?;
    ([z0, z1] == [0, 0]).then(|| (u16::from_be_bytes([p0, p1]), u32::from_be_bytes(sequence)))
}
