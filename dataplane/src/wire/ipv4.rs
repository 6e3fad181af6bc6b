//! The IPv4 header: a view that validates, a header as values, and changes in place that keep the checksum right.
//!
//! Whether a packet is for us, may be forwarded or must be answered is not asked here.

use std::net::Ipv4Addr;

use super::{Ecn, Malformed, checksum};
use crate::Mtu;

/// The length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;

/// The TTL that a Linux host gives to its own packets.
pub const DEFAULT_TTL: u8 = 64;

/// The least path MTU that a Linux host believes: `net.ipv4.route.min_pmtu`.
///
/// Source: Linux net/ipv4/route.c, DEFAULT_MIN_PMTU.
pub const PATH_MTU_MIN: Mtu = match Mtu::new(552) {
    Some(mtu) => mtu,
    None => Mtu::MIN,
};

/// Numbers of the protocols above IP.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IPv4 in IPv4.
    pub const IPIP: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// A packet whose header has been validated; link padding behind the packet is left out.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4View<'a> {
    fixed: &'a [u8; HEADER_LEN],
    header: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Ipv4View<'a> {
    /// Reads a packet and validates version, header length, total length, completeness and header checksum.
    ///
    /// # Errors
    /// If one of them is wrong, the first in this order.
    ///
    /// Source: RFC 1812 section 5.2.2; Linux net/ipv4/ip_input.c, ip_rcv_core.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Ipv4View<'a>, Malformed> {
        let view = Ipv4View::unverified(bytes)?;
        if view.present_len() < view.total_len() {
            return Err(Malformed::Truncated {
                header: "IPv4",
                needed: view.total_len(),
                found: bytes.len(),
            });
        }
        if !checksum::is_valid(view.header) {
            return Err(Malformed::Checksum {
                header: "IPv4",
                needed: checksum::update(checksum::of(view.header), view.checksum(), 0),
                found: view.checksum(),
            });
        }
        Ok(view)
    }

    /// Reads a packet that may have been cut short and changed on the way, as those quoted in ICMP errors are, or one validated
    /// before: neither its completeness nor its checksum is looked at.
    ///
    /// # Errors
    /// If version, header length or total length is wrong, or the header is not all there.
    #[inline]
    pub fn unverified(bytes: &'a [u8]) -> Result<Ipv4View<'a>, Malformed> {
        let truncated = |needed| Malformed::Truncated {
            header: "IPv4",
            needed,
            found: bytes.len(),
        };
        let fixed: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(truncated(HEADER_LEN))?;
        let (version, header_len) = (fixed[0] >> 4, usize::from(fixed[0] & 15) * 4);
        let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if version != 4 {
            return Err(Malformed::Version {
                needed: 4,
                found: version,
            });
        }
        if header_len < HEADER_LEN {
            return Err(Malformed::HeaderLength {
                header: "IPv4",
                needed: HEADER_LEN,
                found: header_len,
            });
        }
        if total_len < header_len {
            return Err(Malformed::TotalLength {
                header: "IPv4",
                needed: header_len,
                found: total_len,
            });
        }
        let packet = bytes.get(..total_len).unwrap_or(bytes);
        let (header, payload) = packet.split_at_checked(header_len).ok_or(truncated(header_len))?;
        Ok(Ipv4View { fixed, header, payload })
    }

    /// The source address.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        let [.., a, b, c, d, _, _, _, _] = *self.fixed;
        Ipv4Addr::new(a, b, c, d)
    }

    /// The destination address.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        let [.., a, b, c, d] = *self.fixed;
        Ipv4Addr::new(a, b, c, d)
    }

    /// The number of the protocol above; see [`protocol`].
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.fixed[9]
    }

    /// The time to live, in hops.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.fixed[8]
    }

    /// The differentiated services code point, 0 to 63.
    #[inline]
    pub fn dscp(&self) -> u8 {
        self.fixed[1] >> 2
    }

    /// The ECN field.
    #[inline]
    pub fn ecn(&self) -> Ecn {
        Ecn::from_bits(self.fixed[1])
    }

    /// The identification, which fragments of one packet share.
    #[inline]
    pub fn identification(&self) -> u16 {
        u16::from_be_bytes([self.fixed[4], self.fixed[5]])
    }

    /// Whether nobody may fragment the packet.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.fragment_word() & DONT_FRAGMENT != 0
    }

    /// Whether fragments behind this one belong to the same packet.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.fragment_word() & MORE_FRAGMENTS != 0
    }

    /// Where in the whole packet's payload this payload begins, in bytes.
    #[inline]
    pub fn fragment_offset(&self) -> usize {
        usize::from(self.fragment_word() & OFFSET) * 8
    }

    /// Whether this is a piece of a larger packet.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.fragment_word() & (MORE_FRAGMENTS | OFFSET) != 0
    }

    /// The length of header and payload that the header states, in bytes.
    #[inline]
    pub fn total_len(&self) -> usize {
        usize::from(u16::from_be_bytes([self.fixed[2], self.fixed[3]]))
    }

    /// The length of the header with its options, 20 to 60 bytes.
    #[inline]
    pub fn header_len(&self) -> usize {
        self.header.len()
    }

    /// The header's bytes.
    #[inline]
    pub fn header(&self) -> &'a [u8] {
        self.header
    }

    /// The options' bytes.
    #[inline]
    pub fn options(&self) -> &'a [u8] {
        self.header.get(HEADER_LEN..).unwrap_or_default()
    }

    /// The payload, to the end that the total length states or, in an unverified view, to the last byte that is there.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The header's values, without its options.
    pub fn to_header(&self) -> Ipv4Header {
        Ipv4Header {
            source: self.source(),
            destination: self.destination(),
            protocol: self.protocol(),
            ttl: self.ttl(),
            dscp: self.dscp(),
            ecn: self.ecn(),
            dont_fragment: self.dont_fragment(),
            more_fragments: self.more_fragments(),
            fragment_offset: self.fragment_word() & OFFSET,
            identification: self.identification(),
            total_len: u16::from_be_bytes([self.fixed[2], self.fixed[3]]),
        }
    }

    fn checksum(&self) -> u16 {
        u16::from_be_bytes([self.fixed[10], self.fixed[11]])
    }

    fn fragment_word(&self) -> u16 {
        u16::from_be_bytes([self.fixed[6], self.fixed[7]])
    }

    fn present_len(&self) -> usize {
        self.header.len() + self.payload.len()
    }
}

/// A header without options, as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Header {
    /// The source address.
    pub source: Ipv4Addr,
    /// The destination address.
    pub destination: Ipv4Addr,
    /// The number of the protocol above; see [`protocol`].
    pub protocol: u8,
    /// The time to live, in hops.
    pub ttl: u8,
    /// The differentiated services code point, 0 to 63; higher bits are cut off.
    pub dscp: u8,
    /// The ECN field.
    pub ecn: Ecn,
    /// Whether nobody may fragment the packet.
    pub dont_fragment: bool,
    /// Whether fragments behind this one belong to the same packet.
    pub more_fragments: bool,
    /// Where in the whole packet's payload this payload begins, in units of 8 bytes, 0 to 8191; higher bits are cut off.
    pub fragment_offset: u16,
    /// The identification, which fragments of one packet share.
    pub identification: u16,
    /// The length of header and payload, in bytes.
    pub total_len: u16,
}

impl Ipv4Header {
    /// A header as a Linux host gives it to a datagram of its own: TTL 64, DF clear, DSCP, ECN and identification 0.
    ///
    /// A total length beyond 65535, which only a super-packet can have, is nominal and stays at 65535.
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload_len: usize) -> Ipv4Header {
        Ipv4Header {
            source,
            destination,
            protocol,
            ttl: DEFAULT_TTL,
            dscp: 0,
            ecn: Ecn::NotEct,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            identification: 0,
            total_len: length_field(HEADER_LEN.saturating_add(payload_len)),
        }
    }

    /// The header's bytes, with the right checksum.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut fragment = self.fragment_offset & OFFSET;
        if self.dont_fragment {
            fragment |= DONT_FRAGMENT;
        }
        if self.more_fragments {
            fragment |= MORE_FRAGMENTS;
        }
        bytes[0] = 0x45;
        bytes[1] = self.dscp << 2 | self.ecn.bits();
        [bytes[2], bytes[3]] = self.total_len.to_be_bytes();
        [bytes[4], bytes[5]] = self.identification.to_be_bytes();
        [bytes[6], bytes[7]] = fragment.to_be_bytes();
        bytes[8] = self.ttl;
        bytes[9] = self.protocol;
        [bytes[12], bytes[13], bytes[14], bytes[15]] = self.source.octets();
        [bytes[16], bytes[17], bytes[18], bytes[19]] = self.destination.octets();
        [bytes[10], bytes[11]] = checksum::of(&bytes).to_be_bytes();
        bytes
    }
}

/// A length as a 16-bit field holds it: nominal for super-packets, saturating at 65535.
pub fn length_field(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

/// The fixed header of a validated packet, to be changed in place. Each change updates the checksum incrementally, so that a
/// checksum that was wrong stays wrong.
#[derive(Debug)]
pub struct Ipv4Mut<'a> {
    fixed: &'a mut [u8; HEADER_LEN],
}

impl<'a> Ipv4Mut<'a> {
    /// The header at the front of these bytes; none if there are fewer than 20.
    pub fn new(bytes: &'a mut [u8]) -> Option<Ipv4Mut<'a>> {
        let fixed = bytes.first_chunk_mut()?;
        Some(Ipv4Mut { fixed })
    }

    /// Takes one hop off the TTL and returns what is left; a TTL of 0 stays.
    ///
    /// Source: RFC 1812 section 5.3.1; RFC 1624 for the checksum.
    pub fn decrement_ttl(&mut self) -> u8 {
        let ttl = self.fixed[8].saturating_sub(1);
        self.replace(8, [ttl, self.fixed[9]]);
        ttl
    }

    /// Sets the ECN field and leaves the DSCP as it is.
    pub fn set_ecn(&mut self, ecn: Ecn) {
        self.replace(0, [self.fixed[0], self.fixed[1] & !3 | ecn.bits()]);
    }

    /// Sets the DSCP to zero and leaves the ECN field as it is.
    pub fn clear_dscp(&mut self) {
        self.replace(0, [self.fixed[0], self.fixed[1] & 3]);
    }

    /// Sets the identification.
    pub fn set_identification(&mut self, identification: u16) {
        self.replace(4, identification.to_be_bytes());
    }

    /// Sets the length of header and payload, in bytes.
    pub fn set_total_len(&mut self, total_len: u16) {
        self.replace(2, total_len.to_be_bytes());
    }

    /// Makes the packet a fragment, or a whole packet again (offset 0, none to follow), and leaves DF as it is. The offset is in
    /// bytes, a multiple of 8 up to 65528.
    pub fn set_fragment(&mut self, offset: usize, more_fragments: bool) {
        let df = u16::from_be_bytes([self.fixed[6], self.fixed[7]]) & DONT_FRAGMENT;
        let more = if more_fragments { MORE_FRAGMENTS } else { 0 };
        self.replace(6, (df | more | length_field(offset / 8) & OFFSET).to_be_bytes());
    }

    /// Sets the source address; a checksum of the protocol above that covers it is not touched.
    pub fn set_source(&mut self, source: Ipv4Addr) {
        let [a, b, c, d] = source.octets();
        self.replace(12, [a, b]);
        self.replace(14, [c, d]);
    }

    /// Sets the destination address; a checksum of the protocol above that covers it is not touched.
    pub fn set_destination(&mut self, destination: Ipv4Addr) {
        let [a, b, c, d] = destination.octets();
        self.replace(16, [a, b]);
        self.replace(18, [c, d]);
    }

    /// Replaces the 16-bit word at an even offset.
    fn replace(&mut self, offset: usize, word: [u8; 2]) {
        let Some(place) = self.fixed.get_mut(offset..).and_then(<[u8]>::first_chunk_mut::<2>) else {
            return;
        };
        let old = std::mem::replace(place, word);
        let checksum = u16::from_be_bytes([self.fixed[10], self.fixed[11]]);
        let updated = checksum::update(checksum, u16::from_be_bytes(old), u16::from_be_bytes(word));
        [self.fixed[10], self.fixed[11]] = updated.to_be_bytes();
    }
}
