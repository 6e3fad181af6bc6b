//! How much of a packet an ICMP error about it quotes.

use overlab_dataplane::wire::{IpView, Ipv4Mut, checksum};
use overlab_dataplane::{Family, Packet};

/// Leaves of what an ICMP error quotes its IP header and so many bytes behind it. Over IPv6 everything is quoted that fits
/// (RFC 4443 section 2.4).
///
/// Source: RFC 792; RFC 1812 section 4.3.2.3 for why more is better.
pub(super) fn shorten_quote(error: &mut Packet, bytes: usize) {
    const ICMP: usize = 8;
    let quoted = IpView::unverified(error.bytes())
        .ok()
        .filter(|view| view.family() == Family::V4);
    let Some(quote) = quoted.and_then(|view| error.bytes().get(view.header_len() + ICMP..)) else {
        return;
    };
    let Ok(header) = IpView::unverified(quote) else { return };
    let start = error.bytes().len() - quote.len() - ICMP;
    let length = start + ICMP + header.header_len() + bytes;
    if length >= error.bytes().len() {
        return;
    }
    error.truncate(length);
    if let Some(mut header) = Ipv4Mut::new(error.bytes_mut()) {
        header.set_total_len(u16::try_from(length).unwrap_or(u16::MAX));
    }
    let Some(message) = error.bytes_mut().get_mut(start..) else {
        return;
    };
    if let Some([_, _, high, low, ..]) = message.first_chunk_mut::<ICMP>() {
        [*high, *low] = [0, 0];
    }
    let sum = checksum::of(message);
    if let Some([_, _, high, low, ..]) = message.first_chunk_mut::<ICMP>() {
        [*high, *low] = sum.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use etherparse::{Icmpv4Type, SlicedPacket, TransportSlice};

    use overlab_dataplane::wire::IcmpError;
    use overlab_dataplane::wire::icmp::error_packet;

    use super::*;

    #[test]
    fn a_shortened_error_quotes_the_header_and_eight_bytes_and_is_whole() {
        let datagram = etherparse::PacketBuilder::ipv4([10, 0, 1, 11], [10, 0, 2, 11], 64).udp(40000, 4789);
        let mut about = Vec::new();
        datagram.write(&mut about, &[7; 200]).unwrap();
        let router: IpAddr = "10.0.1.1".parse().unwrap();
        let mut error = error_packet(IcmpError::TooBig { mtu: 1500 }, router, &about).unwrap();
        shorten_quote(&mut error, 8);
        assert_eq!(error.bytes().len(), 20 + 8 + 20 + 8);
        let read = SlicedPacket::from_ip(error.bytes()).unwrap();
        let Some(etherparse::NetSlice::Ipv4(ip)) = read.net else {
            panic!()
        };
        assert_eq!(usize::from(ip.header().total_len()), error.bytes().len());
        let Some(TransportSlice::Icmpv4(icmp)) = read.transport else {
            panic!()
        };
        assert!(matches!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(_)));
        let header = icmp.header();
        assert_eq!(header.checksum, header.icmp_type.calc_checksum(icmp.payload()));
        assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
    }
}
