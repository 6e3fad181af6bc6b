//! Building what a stack sends, with pnet, so that the engine's own codec meets a stranger's bytes.

use std::net::Ipv4Addr;

use pnet::packet::icmp::echo_reply::MutableEchoReplyPacket;
use pnet::packet::icmp::echo_request::MutableEchoRequestPacket;
use pnet::packet::icmp::{IcmpPacket, IcmpTypes};
use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::packet::ipv4::{Ipv4Flags, MutableIpv4Packet};
use pnet::packet::udp::MutableUdpPacket;

use crate::observe::stamp;

/// The payload of packet `sequence` of the flow with this source port: its stamp, then a counting pattern.
pub fn payload(port: u16, sequence: u32, length: usize) -> Vec<u8> {
    stamp(port, sequence)
        .into_iter()
        .chain((8u8..=255).cycle())
        .take(length)
        .collect()
}

/// Fields of an IPv4 header that a stack chooses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) protocol: u8,
    pub(super) ttl: u8,
    pub(super) dscp: u8,
    pub(super) ecn: u8,
    pub(super) dont_fragment: bool,
    pub(super) identification: u16,
}

/// An IPv4 packet without options.
pub(super) fn ipv4(header: Header, transport: &[u8]) -> Vec<u8> {
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
        ip.set_source(header.source);
        ip.set_destination(header.destination);
        let checksum = pnet::packet::ipv4::checksum(&ip.to_immutable());
        ip.set_checksum(checksum);
    }
    bytes
}

/// An ICMP echo request.
pub(super) fn echo_request(identifier: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + payload.len()];
    if let Some(mut echo) = MutableEchoRequestPacket::new(&mut bytes) {
        echo.set_icmp_type(IcmpTypes::EchoRequest);
        echo.set_identifier(identifier);
        echo.set_sequence_number(sequence);
        echo.set_payload(payload);
    }
    with_icmp_checksum(bytes)
}

/// The reply to an ICMP echo request, given from its first ICMP octet on (RFC 792: identifier, sequence and data return).
pub(super) fn echo_reply(request: &[u8]) -> Vec<u8> {
    let mut bytes = request.to_vec();
    if let Some(mut echo) = MutableEchoReplyPacket::new(&mut bytes) {
        echo.set_icmp_type(IcmpTypes::EchoReply);
        echo.set_checksum(0);
    }
    with_icmp_checksum(bytes)
}

fn with_icmp_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = IcmpPacket::new(&bytes).map_or(0, |icmp| pnet::packet::icmp::checksum(&icmp));
    bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// A UDP datagram with its checksum.
pub(super) fn datagram(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + payload.len()];
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    if let Some(mut udp) = MutableUdpPacket::new(&mut bytes) {
        udp.set_source(source.1);
        udp.set_destination(destination.1);
        udp.set_length(length);
        udp.set_payload(payload);
        let checksum = pnet::packet::udp::ipv4_checksum(&udp.to_immutable(), &source.0, &destination.0);
        // A computed zero is sent as all ones (RFC 768).
        udp.set_checksum(if checksum == 0 { u16::MAX } else { checksum });
    }
    bytes
}
