//! Giving a packet another source or destination in place, with the checksums that cover it: what address translation does to
//! bytes. Which packets are translated, and to what, is not asked here.

use std::net::IpAddr;

use super::ipv4::protocol;
use super::{Ipv4Mut, Ipv4View, checksum, icmp};

/// One end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

impl End {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> End {
        match self {
            End::Source => End::Destination,
            End::Destination => End::Source,
        }
    }
}

/// Where a protocol above IP has what translation changes.
struct Fields {
    /// The port of the end, or the identifier of an echo.
    port: usize,
    checksum: usize,
    /// Whether the checksum covers the addresses.
    addresses: bool,
    /// Whether a checksum of zero says that there is none.
    optional: bool,
}

/// Sets an end's address, and its port (for ICMP the identifier of an echo) if one is given. Checksums are updated incrementally,
/// so that one that was wrong stays wrong. Of a fragment that is not the first the header alone is changed; so it is of
/// what is cut short, where the rest is missing. An address of the other family changes nothing.
///
/// Source: Linux net/netfilter/nf_nat_proto.c, nf_nat_ipv4_manip_pkt and l4proto_manip_pkt.
pub fn set_end(bytes: &mut [u8], end: End, address: IpAddr, port: Option<u16>) {
    let IpAddr::V4(address) = address else { return };
    let Ok(view) = Ipv4View::unverified(bytes) else { return };
    let old = match end {
        End::Source => view.source(),
        End::Destination => view.destination(),
    };
    let (header_len, number) = (view.header_len(), view.protocol());
    let fields = (view.fragment_offset() == 0).then(|| fields(number, end)).flatten();
    if let Some(mut header) = Ipv4Mut::new(bytes) {
        match end {
            End::Source => header.set_source(address),
            End::Destination => header.set_destination(address),
        }
    }
    if let (Some(fields), Some(transport)) = (fields, bytes.get_mut(header_len..)) {
        set_transport(transport, &fields, (&old.octets(), &address.octets()), port);
    }
}

/// Sets an end of the packet that an ICMP error quotes, and makes the error's checksum right. The error itself has to be whole.
///
/// Source: Linux net/netfilter/nf_nat_proto.c, nf_nat_icmp_reply_translation.
pub fn set_quoted_end(bytes: &mut [u8], end: End, address: IpAddr, port: Option<u16>) {
    let Ok(view) = Ipv4View::unverified(bytes) else { return };
    let Some(message) = bytes.get_mut(view.header_len()..view.total_len()) else {
        return;
    };
    let Some((header, quote)) = message.split_first_chunk_mut::<{ icmp::HEADER_LEN }>() else {
        return;
    };
    set_end(quote, end, address, port);
    [header[2], header[3]] = [0, 0];
    let sum = checksum::combine(&[checksum::sum(header), checksum::sum(quote)]);
    [header[2], header[3]] = (!sum).to_be_bytes();
}

fn fields(number: u8, end: End) -> Option<Fields> {
    let port = match end {
        End::Source => 0,
        End::Destination => 2,
    };
    let fields = |port, checksum, addresses, optional| Fields {
        port,
        checksum,
        addresses,
        optional,
    };
    match number {
        protocol::UDP => Some(fields(port, 6, true, true)),
        protocol::TCP => Some(fields(port, 16, true, false)),
        protocol::ICMP => Some(fields(4, 2, false, false)),
        _ => None,
    }
}

fn set_transport(transport: &mut [u8], fields: &Fields, (old, new): (&[u8], &[u8]), port: Option<u16>) {
    let words = |bytes: &[u8]| word(bytes, 0).unwrap_or_default();
    let replaced = port.and_then(|port| Some((replace(transport, fields.port, port)?, port)));
    let Some(mut checksum) = word(transport, fields.checksum).filter(|&sum| sum != 0 || !fields.optional) else {
        return;
    };
    if fields.addresses {
        for (old, new) in old.chunks(2).zip(new.chunks(2)) {
            checksum = checksum::update(checksum, words(old), words(new));
        }
    }
    if let Some((old, new)) = replaced {
        checksum = checksum::update(checksum, old, new);
    }
    if checksum == 0 && fields.optional {
        checksum = u16::MAX;
    }
    replace(transport, fields.checksum, checksum);
}

fn word(bytes: &[u8], offset: usize) -> Option<u16> {
    let word = bytes.get(offset..)?.first_chunk()?;
    Some(u16::from_be_bytes(*word))
}

/// Puts a word at an offset and returns the one that was there.
fn replace(bytes: &mut [u8], offset: usize, word: u16) -> Option<u16> {
    let place = bytes.get_mut(offset..)?.first_chunk_mut()?;
    Some(u16::from_be_bytes(std::mem::replace(place, word.to_be_bytes())))
}
