//! The IPv6 header: a view that validates and finds the protocol above the extension headers, a header as values, and changes in
//! place.
//!
//! What extension headers mean is not asked, but for the fragment header. Jumbograms are not known.

pub(super) mod extension;

use std::net::Ipv6Addr;

use super::ipv4::{DEFAULT_TTL, length_field};
use super::{Ecn, Malformed};
use crate::Mtu;
use extension::{Chain, Place};

pub use extension::{FRAGMENT_LEN, FragmentHeader};

/// The length of the header without extension headers, in bytes.
pub const HEADER_LEN: usize = 40;

/// The smallest MTU that a link with IPv6 may have, and the longest ICMPv6 error.
///
/// Source: RFC 8200 section 5.
pub const MTU_MIN: Mtu = match Mtu::new(1280) {
    Some(mtu) => mtu,
    None => Mtu::MIN,
};

const FLOW_LABEL: u32 = 0x000f_ffff;
/// A packet whose header has been validated; link padding behind the packet is left out.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6View<'a> {
    packet: &'a [u8],
    chain: Chain,
}

impl<'a> Ipv6View<'a> {
    /// Reads a packet and validates version and completeness.
    ///
    /// # Errors
    /// If one of them is wrong, the first in this order.
    ///
    /// Source: RFC 8200 section 3; Linux net/ipv6/ip6_input.c, ip6_rcv_core.
    #[inline(never)] // as `unverified`
    pub fn parse(bytes: &'a [u8]) -> Result<Ipv6View<'a>, Malformed> {
        let view = Ipv6View::unverified(bytes)?;
        if view.packet.len() < view.total_len() {
            return Err(Malformed::Truncated {
                header: "IPv6",
                needed: view.total_len(),
                found: bytes.len(),
            });
        }
        Ok(view)
    }

    /// Reads a packet that may have been cut short on the way, as those quoted in ICMP errors are, or one validated before: its
    /// completeness is not looked at.
    ///
    /// # Errors
    /// If the version is wrong, or the header is not all there.
    #[inline(never)] // where both versions are read, IPv4's way stays short
    pub fn unverified(bytes: &'a [u8]) -> Result<Ipv6View<'a>, Malformed> {
        let fixed: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Malformed::Truncated {
            header: "IPv6",
            needed: HEADER_LEN,
            found: bytes.len(),
        })?;
        let version = fixed[0] >> 4;
        if version != 6 {
            return Err(Malformed::Version {
                needed: 6,
                found: version,
            });
        }
        let total_len = HEADER_LEN + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        let packet = bytes.get(..total_len).unwrap_or(bytes);
        let chain = Chain::of(packet, fixed[6]);
        Ok(Ipv6View { packet, chain })
    }

    /// The source address.
    pub fn source(&self) -> Ipv6Addr {
        self.address(8)
    }

    /// The destination address.
    pub fn destination(&self) -> Ipv6Addr {
        self.address(24)
    }

    /// The number of the protocol above the extension headers; see [`protocol`](super::ipv4::protocol). Where the chain of
    /// extension headers is cut short, that of the first one that is not all there.
    pub fn protocol(&self) -> u8 {
        self.chain.protocol
    }

    /// The hop limit.
    pub fn hop_limit(&self) -> u8 {
        self.fixed()[7]
    }

    /// The differentiated services code point, 0 to 63.
    pub fn dscp(&self) -> u8 {
        self.traffic_class() >> 2
    }

    /// The ECN field.
    pub fn ecn(&self) -> Ecn {
        Ecn::from_bits(self.traffic_class())
    }

    /// The flow label, 20 bits.
    pub fn flow_label(&self) -> u32 {
        let [_, a, b, c, ..] = *self.fixed();
        u32::from_be_bytes([0, a, b, c]) & FLOW_LABEL
    }

    /// The fragment header, if there is one; that of a packet in one piece is called atomic (RFC 6946).
    pub fn fragment(&self) -> Option<FragmentHeader> {
        let header = self
            .fragment_part()
            .first_chunk()
            .filter(|_| self.chain.has_fragment_header)?;
        Some(FragmentHeader::from_bytes(header))
    }

    /// The headers that each fragment repeats, and the place among them of the byte that names what follows.
    ///
    /// Source: RFC 8200 section 4.5, the Per-Fragment headers.
    pub(super) fn repeated(&self) -> (&'a [u8], usize) {
        let Place { at, named_at } = self.chain.fragment;
        (self.packet.get(..at).unwrap_or_default(), named_at)
    }

    /// All behind the headers that each fragment repeats, without a fragment header.
    pub(super) fn data(&self) -> &'a [u8] {
        let skipped = if self.chain.has_fragment_header { FRAGMENT_LEN } else { 0 };
        self.fragment_part().get(skipped..).unwrap_or_default()
    }

    fn fragment_part(&self) -> &'a [u8] {
        self.packet.get(self.chain.fragment.at..).unwrap_or_default()
    }

    /// The length of the whole packet that the header states, in bytes.
    pub fn total_len(&self) -> usize {
        let [_, _, _, _, high, low, ..] = *self.fixed();
        HEADER_LEN + usize::from(u16::from_be_bytes([high, low]))
    }

    /// The length of the header with its extension headers, in bytes.
    pub fn header_len(&self) -> usize {
        self.chain.upper.at
    }

    /// The bytes in front of the payload.
    pub fn header(&self) -> &'a [u8] {
        self.packet.get(..self.chain.upper.at).unwrap_or_default()
    }

    /// What the protocol above gets, to the end that the header states or, in an unverified view, to the last byte that is there.
    pub fn payload(&self) -> &'a [u8] {
        self.packet.get(self.chain.upper.at..).unwrap_or_default()
    }

    /// The place of the byte that names the protocol above: what an ICMPv6 error about an unknown one points to.
    pub fn named_at(&self) -> usize {
        self.chain.upper.named_at
    }

    fn traffic_class(&self) -> u8 {
        let [first, second, ..] = *self.fixed();
        first << 4 | second >> 4
    }

    /// The fixed header, which was found to be there when the view was made.
    fn fixed(&self) -> &'a [u8; HEADER_LEN] {
        self.packet.first_chunk().unwrap_or(&[0; HEADER_LEN])
    }

    fn address(&self, at: usize) -> Ipv6Addr {
        let octets: Option<&[u8; 16]> = self.packet.get(at..).and_then(<[u8]>::first_chunk);
        octets.copied().map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from)
    }
}

/// A header without extension headers, as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Header {
    /// The source address.
    pub source: Ipv6Addr,
    /// The destination address.
    pub destination: Ipv6Addr,
    /// The number of the protocol above; see [`protocol`](super::ipv4::protocol).
    pub protocol: u8,
    /// The hop limit.
    pub hop_limit: u8,
    /// The differentiated services code point, 0 to 63; higher bits are cut off.
    pub dscp: u8,
    /// The ECN field.
    pub ecn: Ecn,
    /// The flow label, 20 bits; higher bits are cut off.
    pub flow_label: u32,
    /// The length of all behind this header, in bytes.
    pub payload_len: u16,
}

impl Ipv6Header {
    /// A header as a Linux host gives it to a datagram of its own with `auto_flowlabels` off: hop limit 64, DSCP, ECN and flow
    /// label 0.
    ///
    /// A payload length beyond 65535, which only a super-packet can have, is nominal and stays at 65535.
    pub fn new(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, payload_len: usize) -> Ipv6Header {
        Ipv6Header {
            source,
            destination,
            protocol,
            hop_limit: DEFAULT_TTL,
            dscp: 0,
            ecn: Ecn::NotEct,
            flow_label: 0,
            payload_len: length_field(payload_len),
        }
    }

    /// The header's bytes.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let traffic_class = u32::from(self.dscp << 2 | self.ecn.bits());
        let first = 6 << 28 | traffic_class << 20 | self.flow_label & FLOW_LABEL;
        let mut bytes = [0; HEADER_LEN];
        [bytes[0], bytes[1], bytes[2], bytes[3]] = first.to_be_bytes();
        [bytes[4], bytes[5]] = self.payload_len.to_be_bytes();
        bytes[6] = self.protocol;
        bytes[7] = self.hop_limit;
        let (_, addresses) = bytes.split_at_mut(8);
        let (source, destination) = addresses.split_at_mut(16);
        source.copy_from_slice(&self.source.octets());
        destination.copy_from_slice(&self.destination.octets());
        bytes
    }
}

/// The fixed header of a validated packet, to be changed in place.
#[derive(Debug)]
pub struct Ipv6Mut<'a> {
    fixed: &'a mut [u8; HEADER_LEN],
}

impl<'a> Ipv6Mut<'a> {
    /// The header at the front of these bytes; none if there are fewer than 40.
    pub fn new(bytes: &'a mut [u8]) -> Option<Ipv6Mut<'a>> {
        let fixed = bytes.first_chunk_mut()?;
        Some(Ipv6Mut { fixed })
    }

    /// Takes one off the hop limit and returns what is left; a hop limit of 0 stays.
    ///
    /// Source: RFC 8200 section 3.
    pub fn decrement_hop_limit(&mut self) -> u8 {
        self.fixed[7] = self.fixed[7].saturating_sub(1);
        self.fixed[7]
    }

    /// Sets the ECN field and leaves the DSCP as it is.
    pub fn set_ecn(&mut self, ecn: Ecn) {
        self.fixed[1] = self.fixed[1] & 0xcf | ecn.bits() << 4;
    }

    /// Sets the DSCP to zero and leaves the ECN field as it is.
    pub fn clear_dscp(&mut self) {
        self.fixed[0] &= 0xf0;
        self.fixed[1] &= 0x3f;
    }

    /// Sets the length of all behind the fixed header, in bytes.
    pub fn set_payload_len(&mut self, payload_len: u16) {
        [self.fixed[4], self.fixed[5]] = payload_len.to_be_bytes();
    }

    /// Sets the source address; a checksum of the protocol above that covers it is not touched.
    pub fn set_source(&mut self, source: Ipv6Addr) {
        self.set_address(8, source);
    }

    /// Sets the destination address; a checksum of the protocol above that covers it is not touched.
    pub fn set_destination(&mut self, destination: Ipv6Addr) {
        self.set_address(24, destination);
    }

    fn set_address(&mut self, at: usize, address: Ipv6Addr) {
        if let Some(place) = self.fixed.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<16>) {
            *place = address.octets();
        }
    }
}
