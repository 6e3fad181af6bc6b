//! Extension headers: the chain that leads to the protocol above, and the fragment header in it. What the others mean is not asked.

use super::HEADER_LEN;
use crate::wire::ipv4::length_field;

/// The length of a fragment header, in bytes.
pub const FRAGMENT_LEN: usize = 8;

// Numbers of the extension headers that the chain is followed through.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
pub(in crate::wire) const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

const MORE_FRAGMENTS: u16 = 1;
const OFFSET: u16 = 0xfff8;

/// A fragment header, as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    /// The number of what follows in the whole packet.
    pub next_header: u8,
    /// Where in the whole packet's data this one's begin, in bytes: a multiple of 8 up to 65528.
    pub offset: usize,
    /// Whether fragments behind this one belong to the same packet.
    pub more_fragments: bool,
    /// What fragments of one packet share.
    pub identification: u32,
}

impl FragmentHeader {
    pub(super) fn from_bytes(&[next_header, _, high, low, a, b, c, d]: &[u8; FRAGMENT_LEN]) -> FragmentHeader {
        let word = u16::from_be_bytes([high, low]);
        FragmentHeader {
            next_header,
            offset: usize::from(word & OFFSET),
            more_fragments: word & MORE_FRAGMENTS != 0,
            identification: u32::from_be_bytes([a, b, c, d]),
        }
    }

    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; FRAGMENT_LEN] {
        let more = if self.more_fragments { MORE_FRAGMENTS } else { 0 };
        let [high, low] = (length_field(self.offset) & OFFSET | more).to_be_bytes();
        let [a, b, c, d] = self.identification.to_be_bytes();
        [self.next_header, 0, high, low, a, b, c, d]
    }
}

/// Where the chain of extension headers leads. Places are in bytes from the packet's first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    pub(super) protocol: u8,
    pub(super) has_fragment_header: bool,
    /// Where the protocol's own bytes begin, and the byte that names it.
    pub(super) upper: Place,
    /// The same of what follows the headers that each fragment repeats: the fragment header itself, or where one would stand.
    pub(super) fragment: Place,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) at: usize,
    pub(super) named_at: usize,
}

impl Chain {
    /// Follows the chain to the protocol above, to the first header that is not all there, or to the fragment header of a
    /// fragment that is not the first, behind which no header begins.
    ///
    /// Source: RFC 8200 section 4; Linux net/ipv6/exthdrs_core.c, ipv6_skip_exthdr.
    pub(super) fn of(packet: &[u8], next_header: u8) -> Chain {
        const FIRST: Place = Place {
            at: HEADER_LEN,
            named_at: 6,
        };
        let mut chain = Chain {
            protocol: next_header,
            has_fragment_header: false,
            upper: FIRST,
            fragment: FIRST,
        };
        while chain.step(packet) {}
        chain
    }

    /// Goes over one extension header; false at the chain's end.
    #[inline]
    fn step(&mut self, packet: &[u8]) -> bool {
        let this = self.protocol;
        if !matches!(this, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | FRAGMENT) {
            return false;
        }
        let here = self.upper;
        let Some(header) = packet.get(here.at..).and_then(<[u8]>::first_chunk::<8>) else {
            return false;
        };
        let is_fragment_header = this == FRAGMENT;
        let length = if is_fragment_header {
            8
        } else {
            8 + usize::from(header[1]) * 8
        };
        let next = here.at + length;
        if packet.len() < next || is_fragment_header && self.has_fragment_header {
            return false;
        }
        self.protocol = header[0];
        self.upper = Place {
            at: next,
            named_at: here.at,
        };
        match this {
            FRAGMENT => {
                self.has_fragment_header = true;
                self.fragment = here;
                FragmentHeader::from_bytes(header).offset == 0
            }
            HOP_BY_HOP | ROUTING if !self.has_fragment_header => {
                self.fragment = self.upper;
                true
            }
            _ => true,
        }
    }
}
