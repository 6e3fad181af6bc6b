//! The headers of one route's tunnel, built once, and what is left to fill in for each packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Wire;
use crate::wire::ipv4::length_field;
use crate::wire::{Ecn, Ipv4Header, Ipv6Header, checksum, ethernet, ipv4, ipv6, vxlan};
use crate::{Family, Packet};

/// Bytes between the outer UDP header and the inner packet.
pub(super) const INSIDE_LEN: usize = vxlan::HEADER_LEN + ethernet::HEADER_LEN;

/// The tunnel headers of one route, for [`Encapsulation::push`](super::Encapsulation::push). The encapsulation that is to use it
/// makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    pub(super) outer: Outer,
    /// VXLAN and inner Ethernet header; IPIP has neither and does not look.
    pub(super) inside: [u8; INSIDE_LEN],
    /// The sum of all that the UDP checksum covers and that is the same for each packet.
    pub(super) udp_sum: u16,
    pub(super) wire: Wire,
}

impl Template {
    /// This template, for headers by these rules.
    #[must_use]
    pub fn following(self, wire: Wire) -> Template {
        Template { wire, ..self }
    }

    /// The outer source address.
    pub fn source(&self) -> IpAddr {
        match &self.outer {
            Outer::V4(outer) => outer.source.into(),
            Outer::V6(outer) => outer.source.into(),
        }
    }

    /// The outer destination address.
    pub fn destination(&self) -> IpAddr {
        match &self.outer {
            Outer::V4(outer) => outer.destination.into(),
            Outer::V6(outer) => outer.destination.into(),
        }
    }

    /// The family of the outer header.
    pub fn family(&self) -> Family {
        match self.outer {
            Outer::V4(_) => Family::V4,
            Outer::V6(_) => Family::V6,
        }
    }
}

/// The outer IP header but for what differs from packet to packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outer {
    V4(OuterV4),
    V6(OuterV6),
}

/// What differs from packet to packet in an outer IP header. IPv6 has no use for identification
/// and DF, IPv4 none for the flow label.
#[derive(Clone, Copy)]
pub(super) struct Variable {
    pub(super) payload_len: usize,
    pub(super) identification: u16,
    pub(super) dont_fragment: bool,
    pub(super) ttl: u8,
    pub(super) dscp: u8,
    pub(super) ecn: Ecn,
    pub(super) flow_label: u32,
}

impl Outer {
    /// Puts the header in front of a packet.
    pub(super) fn prepend(&self, packet: &mut Packet, variable: Variable) {
        match self {
            Outer::V4(outer) => packet.prepend(outer.header(variable)),
            Outer::V6(outer) => packet.prepend(outer.header(variable)),
        }
    }
}

/// The outer IPv4 header, and the sum of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OuterV4 {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    bytes: [u8; ipv4::HEADER_LEN],
    sum: u16,
}

impl OuterV4 {
    pub(super) fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> OuterV4 {
        let header = Ipv4Header {
            ttl: 0,
            total_len: 0,
            ..Ipv4Header::new(source, destination, protocol, 0)
        };
        let mut bytes = header.to_bytes();
        [bytes[10], bytes[11]] = [0, 0];
        OuterV4 {
            source,
            destination,
            bytes,
            sum: checksum::sum(&bytes),
        }
    }

    fn header(&self, variable: Variable) -> [u8; ipv4::HEADER_LEN] {
        let total_len = length_field(ipv4::HEADER_LEN.saturating_add(variable.payload_len));
        let flags = if variable.dont_fragment { 0x4000 } else { 0 };
        let traffic_class = variable.dscp << 2 | variable.ecn.bits();
        let words = [
            self.sum,
            u16::from(traffic_class),
            total_len,
            variable.identification,
            flags,
            u16::from(variable.ttl) << 8,
        ];
        let mut bytes = self.bytes;
        bytes[1] = traffic_class;
        [bytes[2], bytes[3]] = total_len.to_be_bytes();
        [bytes[4], bytes[5]] = variable.identification.to_be_bytes();
        [bytes[6], bytes[7]] = flags.to_be_bytes();
        bytes[8] = variable.ttl;
        [bytes[10], bytes[11]] = (!checksum::combine(&words)).to_be_bytes();
        bytes
    }
}

/// The outer IPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OuterV6 {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    protocol: u8,
}

impl OuterV6 {
    pub(super) fn new(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8) -> OuterV6 {
        OuterV6 {
            source,
            destination,
            protocol,
        }
    }

    fn header(&self, variable: Variable) -> [u8; ipv6::HEADER_LEN] {
        let header = Ipv6Header {
            hop_limit: variable.ttl,
            dscp: variable.dscp,
            ecn: variable.ecn,
            flow_label: variable.flow_label,
            ..Ipv6Header::new(self.source, self.destination, self.protocol, variable.payload_len)
        };
        header.to_bytes()
    }
}
