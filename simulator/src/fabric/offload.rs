//! A card that offloads VXLAN and gets it wrong: the checksums of TCP and UDP inside the tunnel.
//!
//! Source: Calico issues 4727 and 9433 (vmxnet3 under VMware).

use std::num::NonZero;

use overlab_dataplane::Packet;
use overlab_dataplane::wire::ipv4::protocol;
use overlab_dataplane::wire::{IpView, UdpView, checksum};

/// The UDP ports that such cards take for VXLAN.
const PORTS: [u16; 2] = [4789, 8472];

/// Bytes between the outer UDP header's end and the inner IP header: VXLAN, and an Ethernet header.
const BETWEEN: usize = 8 + 14;

/// Bytes of a UDP header, and where in it the checksum is.
const UDP: (usize, usize) = (8, 6);

/// Makes the checksum of the TCP or UDP inside a tunnel packet wrong, and leaves the outer one right.
pub(super) fn break_inner_checksum(packet: &mut Packet) {
    let Some((outer, inner)) = checksums(packet.bytes()) else {
        return;
    };
    let bytes = packet.bytes_mut();
    let word = |bytes: &[u8], at: usize| {
        bytes
            .get(at..)
            .and_then(<[u8]>::first_chunk::<2>)
            .map(|word| u16::from_be_bytes(*word))
    };
    let (Some(right), Some(sum)) = (word(bytes, inner), word(bytes, outer)) else {
        return;
    };
    // Zero would say that there is none.
    let wrong = if right == 0x0100 { 0x0200 } else { right ^ 0x0100 };
    let mut put = |at: usize, value: u16| {
        if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) {
            *place = value.to_be_bytes();
        }
    };
    put(inner, wrong);
    if sum != 0 {
        put(
            outer,
            NonZero::new(checksum::update(sum, right, wrong)).map_or(0xffff, NonZero::get),
        );
    }
}

/// Where the outer UDP's checksum is, and that of the TCP or UDP inside.
fn checksums(bytes: &[u8]) -> Option<(usize, usize)> {
    let outer = IpView::unverified(bytes).ok()?;
    let udp = UdpView::unverified(outer.payload()).ok()?;
    if outer.protocol() != protocol::UDP || outer.is_fragment() || !PORTS.contains(&udp.destination_port()) {
        return None;
    }
    let start = outer.header_len() + UDP.0 + BETWEEN;
    let inner = IpView::unverified(bytes.get(start..)?).ok()?;
    let at = match inner.protocol() {
        protocol::UDP => UDP.1,
        protocol::TCP => 16,
        _ => return None,
    };
    (inner.fragment_offset() == 0).then(|| (outer.header_len() + UDP.1, start + inner.header_len() + at))
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

    use super::*;

    fn tunnel(port: u16) -> Packet {
        carrying(b"payload", (40000, port))
    }

    fn carrying(payload: &[u8], (source, port): (u16, u16)) -> Packet {
        let (mut inner, mut outer) = (vec![8, 0, 0, 0, 0, 16, 0, 0], Vec::new());
        let frame = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([192, 168, 1, 2], [192, 168, 2, 2], 63);
        frame.udp(5000, 5001).write(&mut inner, payload).unwrap();
        let header = PacketBuilder::ipv4([10, 0, 1, 11], [10, 0, 2, 11], 64);
        header.udp(source, port).write(&mut outer, &inner).unwrap();
        Packet::from_bytes(&outer)
    }

    /// Whether the checksums are right, outside and inside.
    fn right(packet: &Packet) -> (bool, bool) {
        let is_right = |read: &SlicedPacket<'_>| {
            let (Some(etherparse::NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) = (&read.net, &read.transport) else {
                panic!()
            };
            let header = udp.to_header();
            header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload()).unwrap() == header.checksum
        };
        let outer = SlicedPacket::from_ip(packet.bytes()).unwrap();
        let inner = SlicedPacket::from_ethernet(&packet.bytes()[20 + 8 + 8..]).unwrap();
        (is_right(&outer), is_right(&inner))
    }

    #[test]
    fn the_inner_checksum_is_wrong_and_the_outer_one_right() {
        let mut packet = tunnel(4789);
        assert_eq!(right(&packet), (true, true));
        break_inner_checksum(&mut packet);
        assert_eq!(right(&packet), (true, false));
    }

    #[test]
    fn a_wrong_checksum_never_looks_like_none() {
        // The payload decides what the inner checksum is, the source port what the outer one is.
        for word in 0..=u16::MAX {
            for mut packet in [
                carrying(&word.to_be_bytes(), (40000, 4789)),
                carrying(b"payload", (word, 4789)),
            ] {
                break_inner_checksum(&mut packet);
                assert_eq!(right(&packet), (true, false), "{word:#06x}");
                let (outer, inner) = checksums(packet.bytes()).unwrap();
                for at in [outer, inner] {
                    assert_ne!(packet.bytes()[at..at + 2], [0, 0], "{word:#06x}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_to_a_port_of_vxlan_is_left_alone() {
        let mut packet = tunnel(4799);
        break_inner_checksum(&mut packet);
        assert_eq!(right(&packet), (true, true));
    }
}
