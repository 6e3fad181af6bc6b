//! The headers of one route's tunnel, built once, and what is left to fill in for each packet.

use std::net::Ipv4Addr;

use crate::wire::ipv4::{HEADER_LEN, length_field};
use crate::wire::{Ecn, Ipv4Header, checksum, ethernet, vxlan};

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
}

impl Template {
    /// The outer source address.
    pub fn source(&self) -> Ipv4Addr {
        self.outer.address(12)
    }

    /// The outer destination address.
    pub fn destination(&self) -> Ipv4Addr {
        self.outer.address(16)
    }
}

/// The outer IPv4 header but for what differs from packet to packet, and the sum of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outer {
    bytes: [u8; HEADER_LEN],
    sum: u16,
}

impl Outer {
    pub(super) fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> Outer {
        let header = Ipv4Header {
            ttl: 0,
            total_len: 0,
            ..Ipv4Header::new(source, destination, protocol, 0)
        };
        let mut bytes = header.to_bytes();
        [bytes[10], bytes[11]] = [0, 0];
        Outer {
            bytes,
            sum: checksum::sum(&bytes),
        }
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        let octets: Option<&[u8; 4]> = self.bytes.get(at..).and_then(<[u8]>::first_chunk);
        octets.copied().map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from)
    }

    /// The header in front of `payload_len` bytes. The DSCP is 0.
    pub(super) fn header(
        &self,
        payload_len: usize,
        identification: u16,
        dont_fragment: bool,
        ttl: u8,
        ecn: Ecn,
    ) -> [u8; HEADER_LEN] {
        let total_len = length_field(HEADER_LEN.saturating_add(payload_len));
        let flags = if dont_fragment { 0x4000 } else { 0 };
        let traffic_class = ecn.bits();
        let words = [
            self.sum,
            u16::from(traffic_class),
            total_len,
            identification,
            flags,
            u16::from(ttl) << 8,
        ];
        let mut bytes = self.bytes;
        bytes[1] = traffic_class;
        [bytes[2], bytes[3]] = total_len.to_be_bytes();
        [bytes[4], bytes[5]] = identification.to_be_bytes();
        [bytes[6], bytes[7]] = flags.to_be_bytes();
        bytes[8] = ttl;
        [bytes[10], bytes[11]] = (!checksum::combine(&words)).to_be_bytes();
        bytes
    }
}
