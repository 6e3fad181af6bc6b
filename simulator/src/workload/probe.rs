//! Building what a stack sends, with pnet, so that the engine's own codec meets a stranger's bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use overlab_dataplane::Family;
use overlab_dataplane::wire::ipv4::protocol;
use pnet::packet::Packet as _;
use pnet::packet::icmp::{IcmpPacket, IcmpTypes};
use pnet::packet::icmpv6::{Icmpv6Packet, Icmpv6Types};
use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::packet::ipv4::{Ipv4Flags, MutableIpv4Packet};
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::tcp::{MutableTcpPacket, TcpFlags, TcpPacket};
use pnet::packet::udp::MutableUdpPacket;

use crate::observe::stamp;
use crate::scenario::Transport;

/// The payload of packet `sequence` of the flow with this source port: its stamp, then a counting pattern.
pub fn payload(port: u16, sequence: u32, length: usize) -> Vec<u8> {
    stamp(port, sequence)
        .into_iter()
        .chain((8u8..=255).cycle())
        .take(length)
        .collect()
}

/// The protocol number of a transport.
pub(super) fn protocol_of(transport: Transport, family: Family) -> u8 {
    match (transport, family) {
        (Transport::Icmp, Family::V4) => protocol::ICMP,
        (Transport::Icmp, Family::V6) => protocol::ICMPV6,
        (Transport::Udp, _) => protocol::UDP,
        (Transport::Tcp, _) => protocol::TCP,
    }
}

/// Fields of an IP header that a stack chooses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) protocol: u8,
    pub(super) ttl: u8,
    pub(super) dscp: u8,
    pub(super) ecn: u8,
    /// Of IPv4 only.
    pub(super) dont_fragment: bool,
    /// Of IPv4 only.
    pub(super) identification: u16,
}

impl Header {
    /// What TCP segments are sent with.
    pub(super) fn of_tcp() -> Header {
        Header {
            protocol: protocol::TCP,
            ttl: 64,
            dscp: 0,
            ecn: 0,
            dont_fragment: true,
            identification: 0,
        }
    }
}

/// The two addresses of a packet, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Addresses {
    /// Source and destination; none if they are of two families.
    pub(super) fn new(source: IpAddr, destination: IpAddr) -> Option<Addresses> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Addresses::V4(source, destination)),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Addresses::V6(source, destination)),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }

    /// The length of a header without options or extensions.
    pub(super) fn header_len(self) -> usize {
        match self {
            Addresses::V4(..) => 20,
            Addresses::V6(..) => 40,
        }
    }
}

/// An IP packet without options or extension headers. The flow label is 0.
pub(super) fn packet(addresses: Addresses, header: Header, transport: &[u8]) -> Vec<u8> {
    match addresses {
        Addresses::V4(source, destination) => ipv4((source, destination), header, transport),
        Addresses::V6(source, destination) => ipv6((source, destination), header, transport),
    }
}

fn ipv6((source, destination): (Ipv6Addr, Ipv6Addr), header: Header, transport: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 40 + transport.len()];
    bytes[40..].copy_from_slice(transport);
    if let Some(mut ip) = MutableIpv6Packet::new(&mut bytes) {
        ip.set_version(6);
        ip.set_traffic_class(header.dscp << 2 | header.ecn & 3);
        ip.set_payload_length(u16::try_from(transport.len()).unwrap_or(u16::MAX));
        ip.set_next_header(IpNextHeaderProtocol(header.protocol));
        ip.set_hop_limit(header.ttl);
        ip.set_source(source);
        ip.set_destination(destination);
    }
    bytes
}

fn ipv4((source, destination): (Ipv4Addr, Ipv4Addr), header: Header, transport: &[u8]) -> Vec<u8> {
    let length = 20 + transport.len();
    let mut bytes = vec![0; length];
    bytes[20..].copy_from_slice(transport);
    if let Some(mut ip) = MutableIpv4Packet::new(&mut bytes) {
        ip.set_version(4);
        ip.set_header_length(5);
        ip.set_dscp(header.dscp);
        ip.set_ecn(header.ecn);
        ip.set_total_length(u16::try_from(length).unwrap_or(u16::MAX));
        ip.set_identification(header.identification);
        ip.set_flags(if header.dont_fragment { Ipv4Flags::DontFragment } else { 0 });
        ip.set_ttl(header.ttl);
        ip.set_next_level_protocol(IpNextHeaderProtocol(header.protocol));
        ip.set_source(source);
        ip.set_destination(destination);
        let checksum = pnet::packet::ipv4::checksum(&ip.to_immutable());
        ip.set_checksum(checksum);
    }
    bytes
}

/// An echo request of the addresses' own ICMP.
pub(super) fn echo_request(addresses: Addresses, identifier: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let kind = match addresses {
        Addresses::V4(..) => IcmpTypes::EchoRequest.0,
        Addresses::V6(..) => Icmpv6Types::EchoRequest.0,
    };
    let [id_high, id_low] = identifier.to_be_bytes();
    let [sequence_high, sequence_low] = sequence.to_be_bytes();
    let header = [kind, 0, 0, 0, id_high, id_low, sequence_high, sequence_low];
    with_checksum(addresses, [&header, payload].concat())
}

/// The reply to an echo request, given from its first ICMP octet on (RFC 792, RFC 4443 section 4.2: identifier, sequence and data
/// return). The addresses are the reply's own.
pub(super) fn echo_reply(addresses: Addresses, request: &[u8]) -> Vec<u8> {
    let kind = match addresses {
        Addresses::V4(..) => IcmpTypes::EchoReply.0,
        Addresses::V6(..) => Icmpv6Types::EchoReply.0,
    };
    let rest = request.get(4..).unwrap_or_default();
    with_checksum(addresses, [&[kind, 0, 0, 0], rest].concat())
}

/// ICMPv6's checksum covers the addresses, ICMP's does not (RFC 4443 section 2.3).
fn with_checksum(addresses: Addresses, mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = match addresses {
        Addresses::V4(..) => IcmpPacket::new(&bytes).map(|icmp| pnet::packet::icmp::checksum(&icmp)),
        Addresses::V6(source, destination) => {
            Icmpv6Packet::new(&bytes).map(|icmp| pnet::packet::icmpv6::checksum(&icmp, &source, &destination))
        }
    };
    bytes[2..4].copy_from_slice(&checksum.unwrap_or(0).to_be_bytes());
    bytes
}

/// The segment that refuses one: it resets what the other end believes to be a connection (RFC 9293 section 3.10.7.1). The addresses
/// are its own.
pub(super) fn reset(addresses: Addresses, refused: &TcpPacket<'_>) -> Vec<u8> {
    let mut bytes = vec![0; TcpPacket::minimum_packet_size()];
    if let Some(mut tcp) = MutableTcpPacket::new(&mut bytes) {
        tcp.set_source(refused.get_destination());
        tcp.set_destination(refused.get_source());
        tcp.set_data_offset(5);
        if refused.get_flags() & TcpFlags::ACK != 0 {
            tcp.set_sequence(refused.get_acknowledgement());
            tcp.set_flags(TcpFlags::RST);
        } else {
            let flags = [TcpFlags::SYN, TcpFlags::FIN].map(|flag| u32::from(refused.get_flags() & flag != 0));
            let length = refused.payload().len() as u32 + flags.iter().sum::<u32>();
            tcp.set_acknowledgement(refused.get_sequence().wrapping_add(length));
            tcp.set_flags(TcpFlags::RST | TcpFlags::ACK);
        }
        let checksum = match addresses {
            Addresses::V4(source, destination) => pnet::packet::tcp::ipv4_checksum(&tcp.to_immutable(), &source, &destination),
            Addresses::V6(source, destination) => pnet::packet::tcp::ipv6_checksum(&tcp.to_immutable(), &source, &destination),
        };
        tcp.set_checksum(checksum);
    }
    bytes
}

/// A UDP datagram with its checksum.
pub(super) fn datagram(addresses: Addresses, (from, to): (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + payload.len()];
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    if let Some(mut udp) = MutableUdpPacket::new(&mut bytes) {
        udp.set_source(from);
        udp.set_destination(to);
        udp.set_length(length);
        udp.set_payload(payload);
        let checksum = match addresses {
            Addresses::V4(source, destination) => pnet::packet::udp::ipv4_checksum(&udp.to_immutable(), &source, &destination),
            Addresses::V6(source, destination) => pnet::packet::udp::ipv6_checksum(&udp.to_immutable(), &source, &destination),
        };
        // A computed zero is sent as all ones (RFC 768, RFC 8200 section 8.1).
        udp.set_checksum(if checksum == 0 { u16::MAX } else { checksum });
    }
    bytes
}
