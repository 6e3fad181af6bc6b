//! IPv6 on the wire: headers, VXLAN over it, fragments and ICMPv6, judged by a committed frame, by pnet and by etherparse.

mod common;
#[path = "ipv6/extensions.rs"]
mod extensions;
#[path = "ipv6/icmpv6.rs"]
mod icmpv6;

use std::net::Ipv6Addr;

use common::packet;
use overlab_dataplane::encap::{DecapError, Encap, Encapsulation, Ipip, Vxlan, Wire};
use overlab_dataplane::wire::fragment::{Reassembly, split};
use overlab_dataplane::wire::print::HeaderStack;
use overlab_dataplane::wire::{
    Ecn, FlowKey, IcmpError, IcmpMessage, IpMut, IpView, Ipv6Header, Ipv6Mut, Ipv6View, Malformed, Reassembler, UdpHeader,
    UdpView, checksum, flow, icmp,
};
use overlab_dataplane::{Family, Instant, MacAddr, Mtu, Packet, Vni};
use pnet::packet::ethernet::{EtherTypes, EthernetPacket};
use pnet::packet::icmpv6::Icmpv6Packet;
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv6::{FragmentPacket, Ipv6Packet, MutableIpv6Packet};
use pnet::packet::udp::UdpPacket;
use pnet::packet::vxlan::VxlanPacket;
use pnet::packet::{FromPacket as _, Packet as _};
use proptest::prelude::*;
use rstest::rstest;

const MAC_A: MacAddr = MacAddr([0x66, 0, 0, 0, 6, 0x0a]);
const MAC_B: MacAddr = MacAddr([0x66, 0, 0, 0, 6, 0x0b]);
const NODE_A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x10);
const NODE_B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 0x10);
const POD_A: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 5);
const POD_B: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 5);
const FRAME: &str = "05-vxlan6-icmpv6-echo";

/// Offsets from the outer IPv6 header.
const SOURCE_PORT: usize = 40;
const UDP_CHECKSUM: usize = 46;
const INNER: usize = 70;

fn node(mac: MacAddr, local: Ipv6Addr) -> Vxlan {
    Vxlan {
        vni: Vni::new(4096).unwrap(),
        port: 4789,
        mac,
        local: local.into(),
        wire: Wire::Linux,
    }
}

fn pushed(inner: &[u8]) -> Packet {
    let mut packet = Packet::from_bytes(inner);
    let node = node(MAC_A, NODE_A);
    node.push(&node.template(NODE_B.into(), MAC_B).unwrap(), &mut packet, 7)
        .unwrap();
    packet
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// IPv6 packets of any header values that a whole packet can have, made by pnet.
fn inner() -> impl Strategy<Value = Vec<u8>> {
    let addresses = (any::<[u8; 16]>(), any::<[u8; 16]>());
    let protocol = prop_oneof![Just(58u8), Just(6), Just(17), 100u8..250];
    let label = prop_oneof![Just(0u32), 0u32..1 << 20];
    let payload = prop::collection::vec(any::<u8>(), 0..1600);
    (addresses, any::<u8>(), any::<u8>(), protocol, label, payload).prop_map(
        |((source, destination), class, hop_limit, protocol, label, payload)| {
            let mut bytes = vec![0; 40 + payload.len()];
            let mut packet = MutableIpv6Packet::new(&mut bytes).unwrap();
            packet.set_version(6);
            packet.set_traffic_class(class);
            packet.set_flow_label(label);
            packet.set_payload_length(payload.len() as u16);
            packet.set_next_header(IpNextHeaderProtocol(protocol));
            packet.set_hop_limit(hop_limit);
            packet.set_source(source.into());
            packet.set_destination(destination.into());
            packet.set_payload(&payload);
            bytes
        },
    )
}

/// A UDP packet with a good checksum.
fn datagram(payload_len: usize) -> Packet {
    let payload: Vec<u8> = (0..payload_len).map(|i| (i % 251) as u8).collect();
    let udp = UdpHeader::new((POD_A, 40000), (POD_B, 5000), &payload);
    let ip = Ipv6Header::new(POD_A, POD_B, 17, 8 + payload_len);
    Packet::from_bytes(&[&ip.to_bytes()[..], &udp.to_bytes(), &payload].concat())
}

#[test]
fn vxlan_around_an_icmpv6_echo_is_frame_05_udp_checksum_included() {
    let frame = packet(FRAME);
    let mut ours = pushed(&frame[INNER..]);
    let (own, port) = (word(ours.bytes(), SOURCE_PORT), word(&frame, SOURCE_PORT));
    let checksum = checksum::update(word(ours.bytes(), UDP_CHECKSUM), own, port);
    ours.bytes_mut()[SOURCE_PORT..SOURCE_PORT + 2].copy_from_slice(&port.to_be_bytes());
    ours.bytes_mut()[UDP_CHECKSUM..UDP_CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(ours.bytes(), frame);
}

#[test]
fn frame_05_comes_out_of_its_tunnel_as_it_went_in() {
    let frame = packet(FRAME);
    let end = node(MAC_B, NODE_B);
    assert!(end.recognises(&IpView::parse(&frame).unwrap()));
    let mut ours = Packet::from_bytes(&frame);
    let pulled = end.pull(&mut ours).unwrap();
    assert_eq!(
        (pulled.outer_source, pulled.outer_destination),
        (NODE_A.into(), NODE_B.into())
    );
    assert_eq!(usize::from(Encap::Vxlan.overhead(Family::V6)), INNER);
    assert_eq!(ours.bytes(), &frame[INNER..]);
}

#[test]
fn frame_05_is_one_line_from_the_outside_in() {
    let line = "IP6 2001:db8:a::10 > 2001:db8:b::10 hlim 64 len 174 | UDP 51234 > 4789 | VXLAN 4096 | Eth | ";
    let text = HeaderStack::of(&packet(FRAME)).to_string();
    assert!(text.starts_with(line), "{text}");
    assert!(text.contains("| Eth | IP6 ") && text.contains("ICMP6 echo "), "{text}");
}

/// H6: the receiver of IPv6 takes no datagram without a checksum.
#[rstest]
#[case::h6_zero_checksum(UDP_CHECKSUM, &[0, 0], DecapError::BadChecksum { found: 0 })]
#[case::b19_wrong_checksum(UDP_CHECKSUM, &[0x12, 0x34], DecapError::BadChecksum { found: 0x1234 })]
fn a_datagram_over_ipv6_needs_its_checksum(#[case] at: usize, #[case] to: &[u8], #[case] reason: DecapError) {
    let mut bytes = packet(FRAME);
    bytes[at..at + to.len()].copy_from_slice(to);
    let before = Packet::from_bytes(&bytes);
    let mut after = before.clone();
    assert_eq!(node(MAC_B, NODE_B).pull(&mut after), Err(reason));
    assert_eq!(after, before);
}

#[test]
fn each_tunnel_carries_its_own_ip_version_only() {
    let (v4, v6) = (packet("03-ipip-icmp-echo"), packet(FRAME));
    let six = node(MAC_A, NODE_A);
    let template = six.template(NODE_B.into(), MAC_B).unwrap();
    let refused = Err(Malformed::Version { needed: 6, found: 4 });
    assert_eq!(six.push(&template, &mut Packet::from_bytes(&v4), 1), refused);
    assert_eq!(six.template([10, 2, 0, 10].into(), MAC_B), None);
    let ipip = Ipip::template([10, 1, 0, 10].into(), [10, 2, 0, 10].into());
    let refused = Err(Malformed::Version { needed: 4, found: 6 });
    assert_eq!(Ipip.push(&ipip, &mut Packet::from_bytes(&v6), 1), refused);
}

/// Figure 4 of RFC 6040: inner, then the result for outer 00, 01, 10, 11; none is dropped.
#[rstest]
#[case(0b00, [Some(0b00), Some(0b00), Some(0b00), None])]
#[case(0b01, [Some(0b01), Some(0b01), Some(0b01), Some(0b11)])]
#[case(0b10, [Some(0b10), Some(0b01), Some(0b10), Some(0b11)])]
#[case(0b11, [Some(0b11), Some(0b11), Some(0b11), Some(0b11)])]
fn congestion_comes_out_of_vxlan_over_ipv6_as_figure_4_of_rfc_6040_has_it(#[case] inner: u8, #[case] row: [Option<u8>; 4]) {
    for (outer, expected) in (0u8..).zip(row) {
        let mut inner_packet = datagram(100);
        let class = Ipv6Packet::new(inner_packet.bytes()).unwrap().get_traffic_class();
        IpMut::new(inner_packet.bytes_mut()).unwrap().set_ecn(Ecn::from_bits(inner));
        let mut packet = pushed(inner_packet.bytes());
        IpMut::new(packet.bytes_mut()).unwrap().set_ecn(Ecn::from_bits(outer));
        let pulled = node(MAC_B, NODE_B).pull(&mut packet);
        match expected {
            None => assert_eq!(pulled, Err(DecapError::TunnelEcn), "{inner:02b}/{outer:02b}"),
            Some(ecn) => {
                assert!(pulled.is_ok(), "{inner:02b}/{outer:02b}");
                let theirs = Ipv6Packet::new(packet.bytes()).unwrap().get_traffic_class();
                assert_eq!(theirs, class & !3 | ecn, "{inner:02b}/{outer:02b}");
            }
        }
    }
}

proptest! {
    #[test]
    fn pnet_reads_every_field_of_vxlan_over_ipv6_as_it_must_be(inner in inner()) {
        let ours = pushed(&inner);
        let (outer, theirs) = (Ipv6Packet::new(ours.bytes()).unwrap(), Ipv6Packet::new(&inner).unwrap());
        let ecn = theirs.get_traffic_class() & 3;
        prop_assert_eq!((outer.get_version(), outer.get_flow_label(), outer.get_hop_limit()), (6, 0, 64));
        prop_assert_eq!(outer.get_traffic_class(), if ecn == 3 { 2 } else { ecn });
        prop_assert_eq!(usize::from(outer.get_payload_length()), inner.len() + 30);
        prop_assert_eq!(outer.get_next_header(), IpNextHeaderProtocols::Udp);
        prop_assert_eq!((outer.get_source(), outer.get_destination()), (NODE_A, NODE_B));

        let udp = UdpPacket::new(outer.payload()).unwrap();
        prop_assert!((32768..60999).contains(&udp.get_source()));
        prop_assert_eq!((udp.get_destination(), usize::from(udp.get_length())), (4789, inner.len() + 30));
        prop_assert_eq!(udp.get_checksum(), pnet::packet::udp::ipv6_checksum(&udp, &NODE_A, &NODE_B));
        prop_assert_ne!(udp.get_checksum(), 0);
        let vxlan = VxlanPacket::new(udp.payload()).unwrap();
        prop_assert_eq!((vxlan.get_flags(), vxlan.get_vni()), (0x08, 4096));
        let frame = EthernetPacket::new(vxlan.payload()).unwrap();
        prop_assert_eq!(frame.get_ethertype(), EtherTypes::Ipv6);
        prop_assert_eq!((frame.get_destination().octets(), frame.get_source().octets()), (MAC_B.0, MAC_A.0));
        prop_assert_eq!(frame.payload(), &inner[..]);

        let (header, rest) = etherparse::Ipv6Header::from_slice(ours.bytes()).unwrap();
        let (datagram, payload) = etherparse::UdpHeader::from_slice(rest).unwrap();
        prop_assert_eq!(datagram.checksum, datagram.calc_checksum_ipv6(&header, payload).unwrap());

        let mut back = ours;
        prop_assert!(node(MAC_B, NODE_B).pull(&mut back).is_ok());
        prop_assert_eq!(back.bytes(), &inner[..]);
    }

    #[test]
    fn we_read_every_field_of_a_header_as_pnet_wrote_it(inner in inner()) {
        let (ours, theirs) = (Ipv6View::parse(&inner).unwrap(), Ipv6Packet::new(&inner).unwrap());
        prop_assert_eq!((ours.source(), ours.destination()), (theirs.get_source(), theirs.get_destination()));
        prop_assert_eq!((ours.protocol(), ours.hop_limit()), (theirs.get_next_header().0, theirs.get_hop_limit()));
        prop_assert_eq!(ours.dscp() << 2 | ours.ecn().bits(), theirs.get_traffic_class());
        prop_assert_eq!(ours.flow_label(), theirs.get_flow_label());
        prop_assert_eq!(ours.payload(), theirs.payload());
    }

    #[test]
    fn pnet_finds_every_change_in_place_where_it_belongs(
        mut inner in inner(), ecn in 0u8..4, length: u16, source: [u8; 16], destination: [u8; 16],
    ) {
        let before = Ipv6Packet::new(&inner).unwrap().from_packet();
        let mut header = Ipv6Mut::new(&mut inner).unwrap();
        header.decrement_hop_limit();
        header.set_ecn(Ecn::from_bits(ecn));
        header.set_payload_len(length);
        header.set_source(source.into());
        header.set_destination(destination.into());
        let after = Ipv6Packet::new(&inner).unwrap();
        prop_assert_eq!((after.get_version(), after.get_flow_label()), (6, before.flow_label));
        prop_assert_eq!(after.get_hop_limit(), before.hop_limit.saturating_sub(1));
        prop_assert_eq!(after.get_traffic_class(), before.traffic_class & !3 | ecn);
        prop_assert_eq!(after.get_payload_length(), length);
        prop_assert_eq!((after.get_source(), after.get_destination()), (source.into(), destination.into()));
    }

    #[test]
    fn pnet_reads_every_field_of_a_header_that_we_write(class: u8, hop_limit: u8, label in 0u32..1 << 20, length: u16) {
        let ours = Ipv6Header {
            hop_limit,
            dscp: class >> 2,
            ecn: Ecn::from_bits(class),
            flow_label: label,
            ..Ipv6Header::new(POD_A, POD_B, 17, length.into())
        };
        let bytes = ours.to_bytes();
        let theirs = Ipv6Packet::new(&bytes).unwrap();
        prop_assert_eq!((theirs.get_version(), theirs.get_traffic_class(), theirs.get_flow_label()), (6, class, label));
        prop_assert_eq!((theirs.get_payload_length(), theirs.get_hop_limit()), (length, hop_limit));
        prop_assert_eq!(theirs.get_next_header(), IpNextHeaderProtocols::Udp);
        prop_assert_eq!((theirs.get_source(), theirs.get_destination()), (POD_A, POD_B));
    }

    #[test]
    fn pnet_and_etherparse_read_an_error_as_it_must_be(inner in inner(), mtu in 1280u16..) {
        let Some(ours) = icmp::error_packet(IcmpError::TooBig { mtu }, NODE_A, &inner) else {
            return Ok(());
        };
        let (outer, about) = (Ipv6Packet::new(ours.bytes()).unwrap(), Ipv6Packet::new(&inner).unwrap());
        let quoted = inner.len().min(1280 - 48);
        prop_assert_eq!(ours.bytes().len(), 48 + quoted);
        prop_assert_eq!((outer.get_hop_limit(), outer.get_next_header()), (64, IpNextHeaderProtocols::Icmpv6));
        prop_assert_eq!((outer.get_source(), outer.get_destination()), (NODE_A, about.get_source()));
        let message = Icmpv6Packet::new(outer.payload()).unwrap();
        prop_assert_eq!((message.get_icmpv6_type().0, message.get_icmpv6_code().0), (2, 0));
        prop_assert_eq!(message.get_checksum(), pnet::packet::icmpv6::checksum(&message, &NODE_A, &about.get_source()));
        let theirs = etherparse::Icmpv6Slice::from_slice(outer.payload()).unwrap();
        prop_assert_eq!(theirs.icmp_type(), etherparse::Icmpv6Type::PacketTooBig { mtu: mtu.into() });
        prop_assert_eq!(theirs.payload(), &inner[..quoted]);
    }

    #[test]
    fn fragments_in_any_order_make_the_packet_again(
        len in 1500usize..6000, mtu in 1280u16..1500, order in prop::collection::vec(any::<u64>(), 8),
    ) {
        let whole = datagram(len);
        let mut fragments = Vec::new();
        split(&whole, Mtu::new(mtu).unwrap(), 0xdead_beef, &mut fragments).unwrap();
        for fragment in &fragments {
            let ip = Ipv6Packet::new(fragment.bytes()).unwrap();
            prop_assert!(fragment.bytes().len() <= usize::from(mtu));
            prop_assert_eq!(usize::from(ip.get_payload_length()), fragment.bytes().len() - 40);
            prop_assert_eq!(ip.get_next_header().0, 44);
            let header = FragmentPacket::new(ip.payload()).unwrap();
            prop_assert_eq!((header.get_next_header().0, header.get_id()), (17, 0xdead_beef));
        }
        let mut shuffled: Vec<_> = order.iter().cycle().zip(fragments).collect();
        shuffled.sort_by_key(|(key, _)| **key);
        let mut reassembler = Reassembler::default();
        let count = shuffled.len();
        for (index, (_, fragment)) in shuffled.into_iter().enumerate() {
            let found = reassembler.push(Instant::ZERO, fragment);
            let expected = if index + 1 < count { Reassembly::Pending } else { Reassembly::Complete(whole.clone()) };
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn nothing_panics_whatever_the_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..300), next in 0u8..64, looks_right: bool) {
        if looks_right && bytes.len() >= 40 {
            let length = (bytes.len() - 40) as u16;
            (bytes[0], bytes[6]) = (0x60, next);
            bytes[4..6].copy_from_slice(&length.to_be_bytes());
        }
        if let Ok(view) = IpView::unverified(&bytes) {
            let _ = (FlowKey::of(&view), IcmpMessage::parse(&view).is_ok(), view.payload(), view.header_len());
            let _ = UdpView::parse(view.payload()).map(|udp| udp.verify_checksum(view.source(), view.destination()));
        }
        for error in [IcmpError::TooBig { mtu: 1280 }, IcmpError::ProtocolUnreachable] {
            let _ = icmp::error_packet(error, NODE_A, &bytes);
        }
        let _ = HeaderStack::of(&bytes).to_string();
        let _ = split(&Packet::from_bytes(&bytes), Mtu::MIN, 1, &mut Vec::new());
        let _ = Reassembler::default().push(Instant::ZERO, Packet::from_bytes(&bytes));
        let end = node(MAC_A, NODE_A);
        let _ = end.pull(&mut Packet::from_bytes(&bytes));
        let _ = end.push(&end.template(NODE_B.into(), MAC_B).unwrap(), &mut Packet::from_bytes(&bytes), 1);
    }
}

#[test]
fn i7_flow_labels_make_the_directions_of_a_flow_differ() {
    let key = FlowKey::of(&IpView::parse(datagram(8).bytes()).unwrap());
    assert_eq!(key.hash(0), key.reversed().hash(0));
    assert_ne!(key.hash(0x12345), key.reversed().hash(0x54321));
    let other_ports = FlowKey {
        ports: Some((1, 2)),
        ..key
    };
    assert_eq!(
        key.hash(0x12345),
        other_ports.hash(0x12345),
        "a label takes the place of the ports"
    );
    assert!((32768..60999).contains(&flow::source_port(key.hash(0x12345), flow::SOURCE_PORTS)));
}
