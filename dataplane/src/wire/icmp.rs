//! ICMP and ICMPv6: the errors that nodes and routers send, and a reading of echoes and errors.
//!
//! When an error is due, from which address it is sent and how often is decided by those who send it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ipv4::{self, length_field, protocol};
use super::{IpView, Ipv4Header, Ipv4View, Ipv6Header, Ipv6View, Malformed, checksum, ipv6};
use crate::{Family, Packet};

/// The length of an ICMP header, in bytes.
pub const HEADER_LEN: usize = 8;

/// The longest error, IPv4 header included, in bytes; that of ICMPv6 is the smallest MTU of IPv6.
///
/// Source: RFC 1812 section 4.3.2.3; RFC 4443 section 2.4.
pub const ERROR_LEN_MAX: usize = 576;

/// The DSCP of IPv4 errors: internetwork control (RFC 1812 section 4.3.2.5).
const ERROR_DSCP: u8 = 48;

/// The last type of ICMP over IPv4 that Linux knows (`NR_ICMP_TYPES`).
const TYPE_MAX: u8 = 18;

/// An error about a packet, of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// No route to the destination: type 3 code 0, with IPv6 1/0.
    NoRoute,
    /// The last router cannot reach the host: 3/1, with IPv6 1/3.
    HostUnreachable,
    /// The host has nobody for the protocol: 3/2, with IPv6 4/1.
    ProtocolUnreachable,
    /// The host has nobody for the port: 3/3, with IPv6 1/4.
    PortUnreachable,
    /// A filter forbids it: 3/13, with IPv6 1/1.
    Prohibited,
    /// Too big, and not to be fragmented: 3/4, with IPv6 2/0.
    TooBig {
        /// The largest packet that would pass, in bytes of IP; 0 from IPv4 routers older than RFC 1191, and 65535 where ICMPv6
        /// says more.
        mtu: u16,
    },
    /// The TTL or hop limit ran out in transit: 11/0, with IPv6 3/0.
    TtlExpired,
    /// Fragments were still missing when the time to reassemble them ran out: 11/1, with IPv6 3/1.
    ReassemblyTimeout,
    /// Any other: "destination unreachable" and "time exceeded", with IPv6 also "parameter problem".
    Other {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
    },
}

/// A type and a code.
type Numbers = (u8, u8);

/// Types and codes, of IPv4 and of IPv6, of the errors that say nothing more.
///
/// Source: RFC 792; RFC 1812 section 5.2.7.1; RFC 4443 section 3.
const NUMBERS: [(IcmpError, Numbers, Numbers); 7] = [
    (IcmpError::NoRoute, (3, 0), (1, 0)),
    (IcmpError::HostUnreachable, (3, 1), (1, 3)),
    (IcmpError::ProtocolUnreachable, (3, 2), (4, 1)),
    (IcmpError::PortUnreachable, (3, 3), (1, 4)),
    (IcmpError::Prohibited, (3, 13), (1, 1)),
    (IcmpError::TtlExpired, (11, 0), (3, 0)),
    (IcmpError::ReassemblyTimeout, (11, 1), (3, 1)),
];

impl IcmpError {
    /// Its type and code in a family.
    pub fn numbers(self, family: Family) -> (u8, u8) {
        let of = |v4, v6| if family == Family::V4 { v4 } else { v6 };
        if let IcmpError::TooBig { .. } = self {
            return of((3, 4), (2, 0));
        }
        if let IcmpError::Other { kind, code } = self {
            return (kind, code);
        }
        let known = NUMBERS.iter().find(|(error, ..)| *error == self);
        known.map_or((0, 0), |&(_, v4, v6)| of(v4, v6))
    }

    /// The error with these numbers and this second word; none if they are no error's that is read.
    fn read(family: Family, kind: u8, code: u8, word: u32) -> Option<IcmpError> {
        let mtu = match (family, kind, code) {
            (Family::V4, 3, 4) => Some(word as u16),
            (Family::V6, 2, _) => Some(u16::try_from(word).unwrap_or(u16::MAX)),
            _ => None,
        };
        if let Some(mtu) = mtu {
            return Some(IcmpError::TooBig { mtu });
        }
        let is_read = match family {
            Family::V4 => matches!(kind, 3 | 11),
            Family::V6 => matches!(kind, 1 | 3 | 4),
        };
        let known = NUMBERS
            .iter()
            .map(|&(error, ..)| error)
            .find(|error| error.numbers(family) == (kind, code));
        is_read.then(|| known.unwrap_or(IcmpError::Other { kind, code }))
    }

    /// The ICMP header up to the quote, its checksum zero.
    fn header(self, about: &IpView<'_>) -> [u8; HEADER_LEN] {
        let (kind, code) = self.numbers(about.family());
        let word = match (self, about) {
            (IcmpError::TooBig { mtu }, _) => u32::from(mtu),
            // RFC 4443 section 3.4: where the protocol is named that nobody knows.
            (IcmpError::ProtocolUnreachable, IpView::V6(about)) => u32::try_from(about.named_at()).unwrap_or(0),
            _ => 0,
        };
        let [a, b, c, d] = word.to_be_bytes();
        [kind, code, 0, 0, a, b, c, d]
    }
}

/// The packet that reports an error about the packet `about`, as it was received or as another error quotes it, to its source; none where an error is
/// forbidden: about an ICMP error, to a broadcast or multicast destination (but ICMPv6 says of those too that they are too big),
/// from a source that is no host, over IPv4 about a fragment that is not the first, from an address of the other family, or
/// about bytes that are no packet.
///
/// It quotes as much as fits into [`ERROR_LEN_MAX`] over IPv4 and into [`ipv6::MTU_MIN`] over IPv6. TTL 64; over IPv4 DF clear,
/// precedence 6, identification 0: the sender numbers its packets with
/// [`Ipv4Mut::set_identification`](super::Ipv4Mut::set_identification). Broadcasts of a subnet are known to the sender only.
///
/// Source: RFC 1812 section 4.3.2 and Linux net/ipv4/icmp.c, __icmp_send; RFC 4443 section 2.4 and Linux net/ipv6/icmp.c,
/// icmp6_send.
pub fn error_packet(error: IcmpError, source: impl Into<IpAddr>, about: &[u8]) -> Option<Packet> {
    match (IpView::unverified(about).ok()?, source.into()) {
        (IpView::V4(view), IpAddr::V4(source)) => error_v4(error, source, about, &view),
        (IpView::V6(view), IpAddr::V6(source)) => error_v6(error, source, about, &view),
        (IpView::V4(_), IpAddr::V6(_)) | (IpView::V6(_), IpAddr::V4(_)) => None,
    }
}

fn error_v4(error: IcmpError, source: Ipv4Addr, about: &[u8], view: &Ipv4View<'_>) -> Option<Packet> {
    if !may_be_answered_v4(view) {
        return None;
    }
    let quote = quote(about, view.total_len(), ERROR_LEN_MAX - ipv4::HEADER_LEN);
    let outer = Ipv4Header {
        dscp: ERROR_DSCP,
        ..Ipv4Header::new(source, view.source(), protocol::ICMP, HEADER_LEN + quote.len())
    };
    let mut packet = message(error.header(&(*view).into()), 0, quote);
    packet.prepend(outer.to_bytes());
    Some(packet)
}

fn error_v6(error: IcmpError, source: Ipv6Addr, about: &[u8], view: &Ipv6View<'_>) -> Option<Packet> {
    if !may_be_answered_v6(error, view) {
        return None;
    }
    let quote = quote(about, view.total_len(), usize::from(ipv6::MTU_MIN.bytes()) - ipv6::HEADER_LEN);
    let length = HEADER_LEN + quote.len();
    let pseudo = checksum::pseudo_header(source, view.source(), protocol::ICMPV6, length_field(length));
    let outer = Ipv6Header::new(source, view.source(), protocol::ICMPV6, length);
    let mut packet = message(error.header(&(*view).into()), pseudo, quote);
    packet.prepend(outer.to_bytes());
    Some(packet)
}

/// As much of a packet as an ICMP message of `message_max` bytes can quote.
fn quote(about: &[u8], total_len: usize, message_max: usize) -> &[u8] {
    let present = about.get(..total_len).unwrap_or(about);
    present.get(..message_max - HEADER_LEN).unwrap_or(present)
}

/// An ICMP message with the right checksum, which covers what sums up to `pseudo` too.
fn message(mut header: [u8; HEADER_LEN], pseudo: u16, quote: &[u8]) -> Packet {
    let sum = checksum::combine(&[pseudo, checksum::sum(&header), checksum::sum(quote)]);
    [header[2], header[3]] = (!sum).to_be_bytes();
    let mut packet = Packet::from_bytes(quote);
    packet.prepend(header);
    packet
}

/// Source: RFC 1812 section 4.3.2.7.
fn may_be_answered_v4(packet: &Ipv4View<'_>) -> bool {
    is_host(packet.source())
        && !packet.destination().is_multicast()
        && !packet.destination().is_broadcast()
        && packet.fragment_offset() == 0
        && (packet.protocol() != protocol::ICMP || packet.payload().first().is_some_and(|&kind| !is_error(kind)))
}

/// Whether an address can be one host's: not of net 0, loopback, multicast or class E.
fn is_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first != 127 && first < 224
}

/// Destination unreachable, source quench, redirect, time exceeded and parameter problem; unknown types are taken for errors.
const fn is_error(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 11 | 12) || kind > TYPE_MAX
}

/// A later fragment of an ICMPv6 packet shows no type, and may be answered.
///
/// Source: RFC 4443 section 2.4 (e); Linux net/ipv6/icmp.c, is_ineligible.
fn may_be_answered_v6(error: IcmpError, packet: &Ipv6View<'_>) -> bool {
    let source = packet.source();
    let is_later_fragment = packet.fragment().is_some_and(|fragment| fragment.offset > 0);
    let is_error = || packet.payload().first().is_none_or(|&kind| kind < ECHO_V6);
    !source.is_unspecified()
        && !source.is_multicast()
        && (!packet.destination().is_multicast() || matches!(error, IcmpError::TooBig { .. }))
        && (packet.protocol() != protocol::ICMPV6 || is_later_fragment || !is_error())
}

const ECHO_REPLY: u8 = 0;
const ECHO: u8 = 8;
const ECHO_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// What an ICMP packet says.
#[derive(Clone, Copy, Debug)]
pub enum IcmpMessage<'a> {
    /// An echo request or reply.
    Echo {
        /// Whether it is a reply.
        reply: bool,
        /// The identifier, one for each run of `ping`.
        identifier: u16,
        /// The sequence number.
        sequence: u16,
        /// The bytes to be echoed.
        payload: &'a [u8],
    },
    /// An error.
    Error {
        /// What is wrong.
        error: IcmpError,
        /// The packet that it is about, as far as it is quoted.
        quote: IpView<'a>,
    },
    /// Any other.
    Other {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
    },
}

impl<'a> IcmpMessage<'a> {
    /// Reads the ICMP message in a whole packet whose protocol it is ([`IpView::is_icmp`]), and validates its checksum and, for
    /// an error, the quoted header.
    ///
    /// # Errors
    /// If the message is cut short, its checksum is wrong, or the header that it quotes is none.
    pub fn parse(packet: &IpView<'a>) -> Result<IcmpMessage<'a>, Malformed> {
        let bytes = packet.payload();
        let sum = checksum::combine(&[pseudo_header(packet), checksum::sum(bytes)]);
        if bytes.len() >= HEADER_LEN && sum != u16::MAX {
            let found = u16::from_be_bytes(*bytes.get(2..).and_then(<[u8]>::first_chunk).unwrap_or(&[0; 2]));
            return Err(Malformed::Checksum {
                header: name(packet.family()),
                needed: checksum::update(!sum, found, 0),
                found,
            });
        }
        IcmpMessage::unverified(packet.family(), bytes)
    }

    /// Reads a message that may have been cut short, as a first fragment is: its checksum is not looked at.
    ///
    /// # Errors
    /// If the message is shorter than a header, or the header that an error quotes is none.
    pub fn unverified(family: Family, bytes: &'a [u8]) -> Result<IcmpMessage<'a>, Malformed> {
        let (&[kind, code, _, _, a, b, c, d], rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated {
            header: name(family),
            needed: HEADER_LEN,
            found: bytes.len(),
        })?;
        let (echo, reply) = match family {
            Family::V4 => (ECHO, ECHO_REPLY),
            Family::V6 => (ECHO_V6, ECHO_REPLY_V6),
        };
        if kind == echo || kind == reply {
            return Ok(IcmpMessage::Echo {
                reply: kind == reply,
                identifier: u16::from_be_bytes([a, b]),
                sequence: u16::from_be_bytes([c, d]),
                payload: rest,
            });
        }
        let Some(error) = IcmpError::read(family, kind, code, u32::from_be_bytes([a, b, c, d])) else {
            return Ok(IcmpMessage::Other { kind, code });
        };
        let quote = IpView::unverified_as(family, rest)?;
        Ok(IcmpMessage::Error { error, quote })
    }
}

/// The sum of the pseudo-header that the checksum of the ICMP message in a packet covers; 0 for IPv4, which has none.
///
/// Source: RFC 792; RFC 4443 section 2.3.
pub(super) fn pseudo_header(packet: &IpView<'_>) -> u16 {
    match packet {
        IpView::V4(_) => 0,
        IpView::V6(view) => {
            let length = length_field(view.payload().len());
            checksum::pseudo_header(view.source(), view.destination(), protocol::ICMPV6, length)
        }
    }
}

const fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ICMP",
        Family::V6 => "ICMPv6",
    }
}
