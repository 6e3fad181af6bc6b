//! ICMP over IPv4: the errors that nodes and routers send, and a reading of echoes and errors.
//!
//! When an error is due, from which address it is sent and how often is decided by those who send it.

use std::net::Ipv4Addr;

use super::ipv4::{self, protocol};
use super::{Ipv4Header, Ipv4View, Malformed, checksum};
use crate::Packet;

/// The length of an ICMP header, in bytes.
pub const HEADER_LEN: usize = 8;

/// The longest error, IPv4 header included, in bytes.
///
/// Source: RFC 1812 section 4.3.2.3.
pub const ERROR_LEN_MAX: usize = 576;

/// The DSCP of errors: internetwork control (RFC 1812 section 4.3.2.5).
const ERROR_DSCP: u8 = 48;

/// The last type that Linux knows (`NR_ICMP_TYPES`).
const TYPE_MAX: u8 = 18;

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const ECHO: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const FRAGMENTATION_NEEDED: u8 = 4;

/// Codes of [`IcmpError::DestinationUnreachable`].
pub mod unreachable {
    /// No route to the network.
    pub const NET: u8 = 0;
    /// The last router cannot reach the host.
    pub const HOST: u8 = 1;
    /// The host has nobody for the protocol.
    pub const PROTOCOL: u8 = 2;
    /// The host has nobody for the port.
    pub const PORT: u8 = 3;
    /// A filter forbids it.
    pub const FILTERED: u8 = 13;
}

/// Codes of [`IcmpError::TimeExceeded`].
pub mod time_exceeded {
    /// The TTL ran out in transit.
    pub const TTL: u8 = 0;
    /// Fragments were still missing when the time to reassemble them ran out.
    pub const REASSEMBLY: u8 = 1;
}

/// An error about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Type 3, but for code 4.
    DestinationUnreachable {
        /// Why; see [`unreachable`].
        code: u8,
    },
    /// Type 3 code 4: too big, and not to be fragmented.
    FragmentationNeeded {
        /// The largest packet that would pass, in bytes of IP; 0 from routers older than RFC 1191.
        mtu: u16,
    },
    /// Type 11.
    TimeExceeded {
        /// Which time; see [`time_exceeded`].
        code: u8,
    },
}

impl IcmpError {
    /// The ICMP header up to the quote, its checksum zero.
    const fn header(self) -> [u8; HEADER_LEN] {
        match self {
            IcmpError::DestinationUnreachable { code } => [UNREACHABLE, code, 0, 0, 0, 0, 0, 0],
            IcmpError::FragmentationNeeded { mtu } => {
                let [high, low] = mtu.to_be_bytes();
                [UNREACHABLE, FRAGMENTATION_NEEDED, 0, 0, 0, 0, high, low]
            }
            IcmpError::TimeExceeded { code } => [TIME_EXCEEDED, code, 0, 0, 0, 0, 0, 0],
        }
    }
}

/// The packet that reports an error about the packet `about`, as it was received, to its source; none where an error is
/// forbidden: about an ICMP error or a fragment that is not the first, to a broadcast or multicast destination, from a source
/// that is no host, or about bytes that are no packet.
///
/// It quotes as much as fits into [`ERROR_LEN_MAX`]. TTL 64, DF clear, precedence 6, identification 0: the sender numbers its
/// packets with [`Ipv4Mut::set_identification`](super::Ipv4Mut::set_identification). Broadcasts of a subnet are known to the
/// sender only.
///
/// Source: RFC 1812 section 4.3.2; Linux net/ipv4/icmp.c, __icmp_send.
pub fn error_packet(error: IcmpError, source: Ipv4Addr, about: &[u8]) -> Option<Packet> {
    let view = Ipv4View::parse(about).ok().filter(may_be_answered)?;
    let present = about.get(..view.total_len())?;
    let quote_max = ERROR_LEN_MAX - ipv4::HEADER_LEN - HEADER_LEN;
    let quote = present.get(..quote_max).unwrap_or(present);

    let mut header = error.header();
    let sum = checksum::combine(&[checksum::sum(&header), checksum::sum(quote)]);
    [header[2], header[3]] = (!sum).to_be_bytes();

    let outer = Ipv4Header {
        dscp: ERROR_DSCP,
        ..Ipv4Header::new(source, view.source(), protocol::ICMP, HEADER_LEN + quote.len())
    };
    let mut packet = Packet::from_bytes(quote);
    packet.prepend(header);
    packet.prepend(outer.to_bytes());
    Some(packet)
}

/// Source: RFC 1812 section 4.3.2.7.
fn may_be_answered(packet: &Ipv4View<'_>) -> bool {
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
        quote: Ipv4View<'a>,
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
    /// Reads the payload of an IPv4 packet, whole, and validates its checksum and, for an error, the quoted header.
    ///
    /// # Errors
    /// If the message is cut short, its checksum is wrong, or the header that it quotes is none.
    pub fn parse(bytes: &'a [u8]) -> Result<IcmpMessage<'a>, Malformed> {
        let found = u16::from_be_bytes(*bytes.get(2..).and_then(<[u8]>::first_chunk).unwrap_or(&[0; 2]));
        if bytes.len() >= HEADER_LEN && !checksum::is_valid(bytes) {
            return Err(Malformed::Checksum {
                header: "ICMP",
                needed: checksum::update(checksum::of(bytes), found, 0),
                found,
            });
        }
        IcmpMessage::unverified(bytes)
    }

    /// Reads a message that may have been cut short, as a first fragment is: its checksum is not looked at.
    ///
    /// # Errors
    /// If the message is shorter than a header, or the header that an error quotes is none.
    pub fn unverified(bytes: &'a [u8]) -> Result<IcmpMessage<'a>, Malformed> {
        let (&[kind, code, _, _, a, b, c, d], rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated {
            header: "ICMP",
            needed: HEADER_LEN,
            found: bytes.len(),
        })?;
        let error = match (kind, code) {
            (ECHO | ECHO_REPLY, _) => {
                return Ok(IcmpMessage::Echo {
                    reply: kind == ECHO_REPLY,
                    identifier: u16::from_be_bytes([a, b]),
                    sequence: u16::from_be_bytes([c, d]),
                    payload: rest,
                });
            }
            (UNREACHABLE, FRAGMENTATION_NEEDED) => IcmpError::FragmentationNeeded {
                mtu: u16::from_be_bytes([c, d]),
            },
            (UNREACHABLE, code) => IcmpError::DestinationUnreachable { code },
            (TIME_EXCEEDED, code) => IcmpError::TimeExceeded { code },
            (kind, code) => return Ok(IcmpMessage::Other { kind, code }),
        };
        let quote = Ipv4View::unverified(rest)?;
        Ok(IcmpMessage::Error { error, quote })
    }
}
