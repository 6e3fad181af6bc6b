//! Giving a packet another source or destination in place, with the checksums that cover it: what address translation does to
//! bytes. Which packets are translated, and to what, is not asked here.

use std::net::IpAddr;

use super::ipv4::protocol;
use super::{IpMut, IpView, checksum, icmp};

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
/// Source: Linux net/netfilter/nf_nat_proto.c, nf_nat_ipv4_manip_pkt, nf_nat_ipv6_manip_pkt and l4proto_manip_pkt.
pub fn set_end(bytes: &mut [u8], end: End, address: IpAddr, port: Option<u16>) {
    let Ok(view) = IpView::unverified(bytes) else { return };
    let old = match end {
        End::Source => view.source(),
        End::Destination => view.destination(),
    };
    if old.is_ipv4() != address.is_ipv4() {
        return;
    }
    let (header_len, number) = (view.header_len(), view.protocol());
    let fields = (view.fragment_offset() == 0).then(|| fields(number, end)).flatten();
    if let Some(mut header) = IpMut::new(bytes) {
        match end {
            End::Source => header.set_source(address),
            End::Destination => header.set_destination(address),
        }
    }
    if let (Some(fields), Some(transport)) = (fields, bytes.get_mut(header_len..)) {
        match (old, address) {
            (IpAddr::V4(old), IpAddr::V4(new)) => set_transport(transport, &fields, (&old.octets(), &new.octets()), port),
            (IpAddr::V6(old), IpAddr::V6(new)) => set_transport(transport, &fields, (&old.octets(), &new.octets()), port),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
        }
    }
}

/// Sets an end of the packet that an ICMP error quotes, and makes the error's checksum right. The error itself has to be whole.
///
/// Source: Linux net/netfilter/nf_nat_proto.c, nf_nat_icmp_reply_translation.
pub fn set_quoted_end(bytes: &mut [u8], end: End, address: IpAddr, port: Option<u16>) {
    let Ok(view) = IpView::unverified(bytes) else { return };
    let pseudo = icmp::pseudo_header(&view);
    let (header_len, total_len) = (view.header_len(), view.total_len());
    let Some(message) = bytes.get_mut(header_len..total_len) else {
        return;
    };
    let Some((header, quote)) = message.split_first_chunk_mut::<{ icmp::HEADER_LEN }>() else {
        return;
    };
    set_end(quote, end, address, port);
    [header[2], header[3]] = [0, 0];
    let sum = checksum::combine(&[pseudo, checksum::sum(header), checksum::sum(quote)]);
    [header[2], header[3]] = (!sum).to_be_bytes();
}

/// The checksum of TCP, UDP or ICMP, where a packet has one.
pub fn transport_checksum(bytes: &mut [u8]) -> Option<&mut [u8; 2]> {
    let view = IpView::unverified(bytes).ok()?;
    let fields = (view.fragment_offset() == 0)
        .then(|| fields(view.protocol(), End::Source))
        .flatten()?;
    let at = view.header_len() + fields.checksum;
    bytes.get_mut(at..)?.first_chunk_mut()
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
        protocol::ICMPV6 => Some(fields(4, 2, true, false)),
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use pnet::packet::ip::IpNextHeaderProtocol;
    use pnet::packet::ipv4::{self, MutableIpv4Packet};
    use pnet::packet::tcp::{self, TcpPacket};
    use pnet::packet::udp::{self, UdpPacket};
    use proptest::prelude::*;

    use super::*;

    /// A packet as pnet sees it, with the right checksums.
    fn packet(number: u8, ends: [(u32, u16); 2], payload: &[u8]) -> Vec<u8> {
        let [(source, sport), (destination, dport)] = ends.map(|(address, port)| (Ipv4Addr::from(address), port));
        let mut bytes = vec![0; 40];
        bytes.extend(payload);
        let length = bytes.len() as u16;
        bytes[20..22].copy_from_slice(&sport.to_be_bytes());
        bytes[22..24].copy_from_slice(&dport.to_be_bytes());
        match number {
            protocol::UDP => bytes[24..26].copy_from_slice(&(length - 20).to_be_bytes()),
            _ => bytes[32] = 5 << 4,
        }
        let (sum, at) = sum(&bytes, number, source, destination);
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        let mut ip = MutableIpv4Packet::new(&mut bytes).unwrap();
        ip.set_version(4);
        ip.set_header_length(5);
        ip.set_total_length(length);
        ip.set_next_level_protocol(IpNextHeaderProtocol(number));
        ip.set_source(source);
        ip.set_destination(destination);
        let checksum = ipv4::checksum(&ip.to_immutable());
        ip.set_checksum(checksum);
        bytes
    }

    /// The checksum that pnet computes, and where it stands.
    fn sum(bytes: &[u8], number: u8, source: Ipv4Addr, destination: Ipv4Addr) -> (u16, usize) {
        match number {
            protocol::UDP => {
                let sum = udp::ipv4_checksum(&UdpPacket::new(&bytes[20..]).unwrap(), &source, &destination);
                (if sum == 0 { u16::MAX } else { sum }, 26)
            }
            _ => {
                let sum = tcp::ipv4_checksum(&TcpPacket::new(&bytes[20..]).unwrap(), &source, &destination);
                (sum, 36)
            }
        }
    }

    proptest! {
        #[test]
        fn a_translated_packet_is_the_one_that_would_have_been_built(
            number in prop_oneof![Just(protocol::UDP), Just(protocol::TCP)],
            old: [(u32, u16); 2],
            new: (u32, u16),
            at_source: bool,
            payload in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut bytes = packet(number, old, &payload);
            let (end, ends) = match at_source {
                true => (End::Source, [new, old[1]]),
                false => (End::Destination, [old[0], new]),
            };
            set_end(&mut bytes, end, Ipv4Addr::from(new.0).into(), Some(new.1));
            prop_assert_eq!(bytes, packet(number, ends, &payload));
        }
    }

    #[test]
    fn a_udp_checksum_that_says_there_is_none_stays_so() {
        let mut bytes = packet(protocol::UDP, [(1 << 24, 1), (2 << 24, 2)], &[]);
        bytes[26..28].fill(0);
        set_end(&mut bytes, End::Source, Ipv4Addr::new(3, 0, 0, 0).into(), Some(3));
        assert_eq!(&bytes[26..28], [0, 0]);
    }
}
