//! What a tunnel end refuses, and for which reason: one case for each row that was measured on Linux.

mod common;

use std::net::Ipv4Addr;

use common::packet;
use overlab_dataplane::encap::{DecapError, Encapsulation, Ipip, Vxlan, Wire};
use overlab_dataplane::wire::{Ecn, IpView, Ipv4Mut, Ipv4View, Malformed};
use overlab_dataplane::{MacAddr, Packet, Vni};
use rstest::rstest;

const MAC: MacAddr = MacAddr([0x66, 0, 0, 0, 0, 0x0b]);

fn node_b() -> Vxlan {
    Vxlan {
        vni: Vni::new(4096).unwrap(),
        port: 4789,
        mac: MAC,
        local: Ipv4Addr::new(10, 2, 0, 10).into(),
        wire: Wire::Linux,
    }
}

/// Offsets from the outer IPv4 header.
const UDP_CHECKSUM: usize = 26;
const FLAGS: usize = 28;
const VNI: usize = 32;
const INNER_DESTINATION: usize = 36;
const INNER_SOURCE: usize = 42;
const ETHER_TYPE: usize = 48;
const INNER: usize = 50;

/// Frame 02, whose UDP checksum is zero, with some bytes changed.
fn changed(at: usize, to: &[u8]) -> Packet {
    let mut bytes = packet("02-vxlan4-icmp-echo");
    bytes[at..at + to.len()].copy_from_slice(to);
    Packet::from_bytes(&bytes)
}

fn unknown(found: u32) -> DecapError {
    DecapError::UnknownVni {
        needed: Vni::new(4096).unwrap(),
        found: Vni::new(found).unwrap(),
    }
}

#[rstest]
#[case::i_flag_clear(FLAGS, &[0x00], DecapError::NoIFlag { found: 0 })]
#[case::reserved_flag(FLAGS, &[0x88], DecapError::ReservedBits { found: 0x8000_0000_0000_0000 })]
#[case::reserved_24_bits(FLAGS + 2, &[1], DecapError::ReservedBits { found: 0x0000_0100_0000_0000 })]
#[case::reserved_8_bits(VNI + 3, &[1], DecapError::ReservedBits { found: 1 })]
#[case::foreign_vni(VNI, &[0x00, 0x10, 0x01], unknown(4097))]
#[case::foreign_vni_and_reserved_bits(VNI, &[0x00, 0x10, 0x01, 0xff], unknown(4097))]
#[case::udp_checksum_wrong(UDP_CHECKSUM, &[0x12, 0x34], DecapError::BadChecksum { found: 0x1234 })]
#[case::own_source(INNER_SOURCE, &MAC.0, DecapError::OwnInnerMac { found: MAC })]
#[case::other_destination(INNER_DESTINATION + 5, &[0x0c], DecapError::WrongInnerMac { needed: MAC, found: MacAddr([0x66, 0, 0, 0, 0, 0x0c]) })]
#[case::broadcast(INNER_DESTINATION, &[0xff; 6], DecapError::WrongInnerMac { needed: MAC, found: MacAddr([0xff; 6]) })]
#[case::tagged(ETHER_TYPE, &[0x81, 0x00], DecapError::InnerEtherType { found: 0x8100 })]
#[case::inner_version(INNER, &[0x65], DecapError::Malformed(Malformed::Version { needed: 4, found: 6 }))]
#[case::inner_header_length(INNER, &[0x44], DecapError::Malformed(Malformed::HeaderLength { header: "IPv4", needed: 20, found: 16 }))]
#[case::inner_cut_short(INNER + 2, &[0x00, 0x55], DecapError::Malformed(Malformed::Truncated { header: "IPv4", needed: 85, found: 84 }))]
#[case::inner_checksum(INNER + 10, &[0, 0], DecapError::Malformed(Malformed::Checksum { header: "IPv4", needed: 0x9c68, found: 0 }))]
#[case::udp_length_short(24, &[0, 7], DecapError::Malformed(Malformed::TotalLength { header: "UDP", needed: 8, found: 7 }))]
#[case::udp_length_long(24, &[0, 115], DecapError::Malformed(Malformed::Truncated { header: "UDP", needed: 115, found: 114 }))]
#[case::vxlan_cut_short(24, &[0, 15], DecapError::Malformed(Malformed::Truncated { header: "VXLAN", needed: 8, found: 7 }))]
#[case::no_inner_frame(24, &[0, 16], DecapError::Malformed(Malformed::Truncated { header: "Ethernet", needed: 14, found: 0 }))]
fn a_vxlan_packet_is_refused_for_its_fault_and_left_as_it_was(#[case] at: usize, #[case] to: &[u8], #[case] reason: DecapError) {
    let before = changed(at, to);
    let mut after = before.clone();
    assert_eq!(node_b().pull(&mut after), Err(reason));
    assert_eq!(after, before);
}

#[rstest]
#[case::as_built(FLAGS, &[0x08])]
#[case::source_multicast(INNER_SOURCE, &[0x01, 0, 0x5e, 0, 0, 1])]
#[case::source_zero(INNER_SOURCE, &[0; 6])]
fn a_vxlan_packet_that_linux_takes_is_taken(#[case] at: usize, #[case] to: &[u8]) {
    let mut packet = changed(at, to);
    assert!(node_b().pull(&mut packet).is_ok());
    assert_eq!(packet.bytes(), &changed(FLAGS, &[0x08]).bytes()[INNER..]);
}

#[test]
fn padding_outside_and_inside_is_cut_off() {
    let frame = packet("03-ipip-icmp-echo");
    let mut padded = Packet::from_bytes(&[&frame[..], &[0; 6]].concat());
    Ipip.pull(&mut padded).unwrap();
    assert_eq!(padded.bytes(), &frame[20..]);
}

#[test]
fn a_tunnel_end_recognises_its_own_packets_only() {
    let view = |bytes: &[u8], end: &dyn Encapsulation| end.recognises(&IpView::unverified(bytes).unwrap());
    let (ipip, vxlan) = (packet("03-ipip-icmp-echo"), packet("01-vxlan4-tcp-syn"));
    assert!(view(&ipip, &Ipip) && !view(&ipip, &node_b()));
    assert!(view(&vxlan, &node_b()) && !view(&vxlan, &Ipip));
    let other_port = Vxlan { port: 8472, ..node_b() };
    assert!(!view(&vxlan, &other_port));
}

/// Frame 03 or 02 with these ECN fields inside and outside.
fn with_ecn(name: &str, inner_at: usize, inner: u8, outer: u8) -> Packet {
    let mut packet = Packet::from_bytes(&packet(name));
    let mut set = |at: usize, ecn| {
        Ipv4Mut::new(&mut packet.bytes_mut()[at..])
            .unwrap()
            .set_ecn(Ecn::from_bits(ecn))
    };
    set(inner_at, inner);
    set(0, outer);
    packet
}

/// Figure 4 of RFC 6040: inner, outer, result; none is dropped.
#[rstest]
#[case(0b00, [Some(0b00), Some(0b00), Some(0b00), None])]
#[case(0b01, [Some(0b01), Some(0b01), Some(0b01), Some(0b11)])]
#[case(0b10, [Some(0b10), Some(0b01), Some(0b10), Some(0b11)])]
#[case(0b11, [Some(0b11), Some(0b11), Some(0b11), Some(0b11)])]
fn congestion_comes_out_of_both_tunnels_as_figure_4_of_rfc_6040_has_it(#[case] inner: u8, #[case] outgoing: [Option<u8>; 4]) {
    let ends: [(&dyn Encapsulation, _, _); 2] = [(&Ipip, "03-ipip-icmp-echo", 20), (&node_b(), "02-vxlan4-icmp-echo", 50)];
    for (end, name, overhead) in ends {
        for (outer, expected) in (0u8..).zip(outgoing) {
            let mut packet = with_ecn(name, overhead, inner, outer);
            let dscp = packet.bytes()[overhead + 1] >> 2;
            let pulled = end.pull(&mut packet);
            match expected {
                None => assert_eq!(pulled, Err(DecapError::TunnelEcn), "{name} {inner:02b}/{outer:02b}"),
                Some(ecn) => {
                    assert_eq!(
                        pulled.map(|p| p.ecn_changed),
                        Ok(ecn != inner),
                        "{name} {inner:02b}/{outer:02b}"
                    );
                    let view = Ipv4View::parse(packet.bytes()).expect("the checksum follows the change");
                    assert_eq!(
                        (view.ecn().bits(), view.dscp()),
                        (ecn, dscp),
                        "{name} {inner:02b}/{outer:02b}"
                    );
                }
            }
        }
    }
}
