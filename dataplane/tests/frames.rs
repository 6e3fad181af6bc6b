//! Our bytes against committed frames that were built without us; see `tests/frames/README.md`.

mod common;

use std::net::Ipv4Addr;

use common::packet;
use overlab_dataplane::encap::{Encapsulation, Ipip, Vxlan, Wire};
use overlab_dataplane::wire::fragment::{Reassembly, split};
use overlab_dataplane::wire::print::HeaderStack;
use overlab_dataplane::wire::{IcmpError, IcmpMessage, IpView, Ipv4Mut, Reassembler, checksum, icmp};
use overlab_dataplane::{Family, Instant, MacAddr, Mtu, Packet, Vni};

const NODE_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
const NODE_B: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 10);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const MAC_A: MacAddr = MacAddr([0x66, 0, 0, 0, 0, 0x0a]);
const MAC_B: MacAddr = MacAddr([0x66, 0, 0, 0, 0, 0x0b]);

fn vxlan(mac: MacAddr, local: Ipv4Addr) -> Vxlan {
    Vxlan {
        vni: Vni::new(4096).unwrap(),
        port: 4789,
        mac,
        local: local.into(),
        wire: Wire::Linux,
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn set_word(bytes: &mut [u8], at: usize, word: u16) {
    bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

/// Encapsulates the frame's inner packet, with the frame's identification, and then the frame's source port.
fn vxlan_like(frame: &[u8]) -> Packet {
    let mut packet = Packet::from_bytes(&frame[50..]);
    let node = vxlan(MAC_A, NODE_A);
    node.push(&node.template(NODE_B.into(), MAC_B).unwrap(), &mut packet, word(frame, 4))
        .unwrap();
    let (ours, theirs) = (word(packet.bytes(), 20), word(frame, 20));
    let checksum = checksum::update(word(packet.bytes(), 26), ours, theirs);
    set_word(packet.bytes_mut(), 20, theirs);
    set_word(packet.bytes_mut(), 26, checksum);
    packet
}

#[test]
fn vxlan_around_a_tcp_syn_is_frame_01_udp_checksum_included() {
    let frame = packet("01-vxlan4-tcp-syn");
    assert_eq!(vxlan_like(&frame).bytes(), frame);
}

#[test]
fn vxlan_around_an_echo_is_frame_02_but_for_the_udp_checksum_that_it_leaves_out() {
    let frame = packet("02-vxlan4-icmp-echo");
    let mut ours = vxlan_like(&frame);
    assert_ne!(word(ours.bytes(), 26), 0);
    set_word(ours.bytes_mut(), 26, 0);
    assert_eq!(ours.bytes(), frame);
}

#[test]
fn ipip_around_an_echo_is_frame_03() {
    let frame = packet("03-ipip-icmp-echo");
    let mut ours = Packet::from_bytes(&frame[20..]);
    Ipip.push(&Ipip::template(NODE_A, NODE_B), &mut ours, 0x0103).unwrap();
    assert_eq!(ours.bytes(), frame);
}

#[test]
fn the_committed_frames_come_out_of_their_tunnels_as_they_went_in() {
    for (name, overhead) in [
        ("01-vxlan4-tcp-syn", 50),
        ("02-vxlan4-icmp-echo", 50),
        ("03-ipip-icmp-echo", 20),
    ] {
        let frame = packet(name);
        let mut ours = Packet::from_bytes(&frame);
        let view = IpView::parse(&frame).unwrap();
        let ends: [&dyn Encapsulation; 2] = [&Ipip, &vxlan(MAC_B, NODE_B)];
        let end = ends.iter().find(|end| end.recognises(&view)).unwrap();
        let pulled = end.pull(&mut ours).unwrap();
        assert_eq!(
            (pulled.outer_source, pulled.outer_destination),
            (NODE_A.into(), NODE_B.into()),
            "{name}"
        );
        assert!(!pulled.ecn_changed, "{name}");
        assert_eq!(usize::from(end.encap().overhead(Family::V4)), overhead, "{name}");
        assert_eq!(ours.bytes(), &frame[overhead..], "{name}");
    }
}

#[test]
fn an_ipip_packet_of_1020_b_splits_into_frames_04a_and_04b_one_hop_further() {
    let (first, last) = (packet("04a-ipip-fragment-first"), packet("04b-ipip-fragment-last"));
    let mut whole = Packet::from_bytes(&[&first[20..], &last[20..]].concat());
    Ipip.push(&Ipip::template(NODE_A, NODE_B), &mut whole, 0x0104).unwrap();
    assert_eq!(Ipv4Mut::new(whole.bytes_mut()).unwrap().decrement_ttl(), 0x3e);

    let mut fragments = Vec::new();
    split(&whole, Mtu::new(576).unwrap(), 0, &mut fragments).unwrap();
    let fragments: Vec<&[u8]> = fragments.iter().map(Packet::bytes).collect();
    assert_eq!(fragments, [&first[..], &last[..]]);

    let mut reassembler = Reassembler::default();
    assert_eq!(
        reassembler.push(Instant::ZERO, Packet::from_bytes(&last)),
        Reassembly::Pending
    );
    let Reassembly::Complete(joined) = reassembler.push(Instant::ZERO, Packet::from_bytes(&first)) else {
        panic!("the first fragment was the last one missing");
    };
    assert_eq!(joined.bytes(), whole.bytes());
}

#[test]
fn fragmentation_needed_about_an_ipip_packet_is_frame_06() {
    let frame = packet("06-icmp-fragneeded-quoting-ipip");
    let mut about = frame[28..].to_vec();
    about.resize(1500, 0);
    let mut ours = icmp::error_packet(IcmpError::TooBig { mtu: 1400 }, ROUTER, &about).unwrap();
    Ipv4Mut::new(ours.bytes_mut()).unwrap().set_identification(0x0106);
    assert_eq!(ours.bytes(), frame);
}

#[test]
fn the_errors_of_frames_06_and_06m_name_the_mtu_and_the_tunnel_and_quote_what_they_can() {
    for (name, quoted) in [("06-icmp-fragneeded-quoting-ipip", 528), ("06m-icmp-fragneeded-min-quote", 8)] {
        let frame = packet(name);
        let message = IcmpMessage::parse(&IpView::parse(&frame).unwrap()).unwrap();
        let IcmpMessage::Error { error, quote } = message else {
            panic!("{name}: {message:?}");
        };
        assert_eq!(error, IcmpError::TooBig { mtu: 1400 }, "{name}");
        assert_eq!(
            (quote.source(), quote.destination(), quote.protocol()),
            (NODE_A.into(), NODE_B.into(), 4),
            "{name}"
        );
        assert_eq!((quote.total_len(), quote.payload().len()), (1500, quoted), "{name}");
    }
}

#[test]
fn a_header_stack_is_one_line_from_the_outside_in() {
    let lines = [
        (
            "01-vxlan4-tcp-syn",
            "IP 10.1.0.10 > 10.2.0.10 ttl 64 len 110 | UDP 51234 > 4789 | VXLAN 4096 | Eth | IP 192.168.1.5 > 192.168.2.5 ttl 63 len 60 DF | TCP 40000 > 80",
        ),
        (
            "03-ipip-icmp-echo",
            "IP 10.1.0.10 > 10.2.0.10 ttl 63 len 104 DF | IP 192.168.1.5 > 192.168.2.5 ttl 63 len 84 DF | ICMP echo 4660/2",
        ),
        (
            "04b-ipip-fragment-last",
            "IP 10.1.0.10 > 10.2.0.10 ttl 62 len 468 id 260 frag 552",
        ),
        (
            "06m-icmp-fragneeded-min-quote",
            "IP 10.1.0.1 > 10.1.0.10 ttl 64 len 56 | ICMP fragmentation needed mtu 1400, about IP 10.1.0.10 > 10.2.0.10 ttl 63 len 1500 DF | malformed: IPv4 needs 20 B, found 8 B",
        ),
    ];
    for (name, line) in lines {
        assert_eq!(HeaderStack::of(&packet(name)).to_string(), line, "{name}");
    }
}
