//! Headers that we write, read by pnet and etherparse, and headers that pnet writes, read by us, for arbitrary inner packets.

use std::net::Ipv4Addr;

use overlab_dataplane::encap::{Encapsulation, Ipip, Template, Vxlan, Wire};
use overlab_dataplane::wire::print::HeaderStack;
use overlab_dataplane::wire::{
    Ecn, EthernetView, IcmpError, IcmpMessage, Ipv4Header, Ipv4Mut, Ipv4View, UdpView, flow, icmp, vxlan,
};
use overlab_dataplane::{Family, MacAddr, Packet, Segmentation, Vni};
use pnet::packet::Packet as _;
use pnet::packet::ethernet::{EtherTypes, EthernetPacket};
use pnet::packet::icmp::IcmpPacket;
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv4::{self, Ipv4Packet, MutableIpv4Packet};
use pnet::packet::udp::{self, UdpPacket};
use pnet::packet::vxlan::VxlanPacket;
use proptest::prelude::*;

const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 5);
const REMOTE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 7);
const MAC_LOCAL: MacAddr = MacAddr([0x66, 1, 2, 3, 4, 5]);
const MAC_REMOTE: MacAddr = MacAddr([0x66, 6, 7, 8, 9, 10]);

fn end(mac: MacAddr, local: Ipv4Addr, vni: u32) -> Vxlan {
    Vxlan {
        vni: Vni::new(vni).unwrap(),
        port: 4789,
        mac,
        local: local.into(),
        wire: Wire::Linux,
    }
}

/// IPv4 packets of any header values that a whole packet can have, made by pnet.
fn inner() -> impl Strategy<Value = Vec<u8>> {
    let addresses = (any::<[u8; 4]>(), any::<[u8; 4]>());
    let octets = (
        any::<u8>(),
        any::<u8>(),
        prop_oneof![Just(1u8), Just(6), Just(17), any::<u8>()],
    );
    (
        addresses,
        octets,
        any::<u16>(),
        any::<bool>(),
        prop::collection::vec(any::<u8>(), 0..1600),
    )
        .prop_map(|((source, destination), (tos, ttl, protocol), identification, df, payload)| {
            let mut bytes = vec![0; 20 + payload.len()];
            let mut packet = MutableIpv4Packet::new(&mut bytes).unwrap();
            packet.set_version(4);
            packet.set_header_length(5);
            packet.set_dscp(tos >> 2);
            packet.set_ecn(tos & 3);
            packet.set_total_length(20 + payload.len() as u16);
            packet.set_identification(identification);
            packet.set_flags(if df { 2 } else { 0 });
            packet.set_ttl(ttl);
            packet.set_next_level_protocol(IpNextHeaderProtocol(protocol));
            packet.set_source(source.into());
            packet.set_destination(destination.into());
            packet.set_payload(&payload);
            packet.set_checksum(ipv4::checksum(&packet.to_immutable()));
            bytes
        })
}

fn pushed(end: &dyn Encapsulation, template: &Template, inner: &[u8], identification: u16) -> Packet {
    let mut packet = Packet::from_bytes(inner);
    end.push(template, &mut packet, identification).unwrap();
    packet
}

/// What Linux puts into the outer ECN field.
fn outer_ecn(inner: &Ipv4Packet<'_>) -> u8 {
    if inner.get_ecn() == 3 { 2 } else { inner.get_ecn() }
}

fn check_outer(outer: &Ipv4Packet<'_>, inner: &Ipv4Packet<'_>, identification: u16) {
    assert_eq!((outer.get_version(), outer.get_header_length()), (4, 5));
    assert_eq!((outer.get_dscp(), outer.get_ecn()), (0, outer_ecn(inner)));
    assert_eq!(usize::from(outer.get_total_length()), outer.packet().len());
    assert_eq!((outer.get_identification(), outer.get_fragment_offset()), (identification, 0));
    assert_eq!((outer.get_source(), outer.get_destination()), (LOCAL, REMOTE));
    assert_eq!(outer.get_checksum(), ipv4::checksum(outer));
}

proptest! {
    #[test]
    fn pnet_reads_every_field_of_an_ipip_header_as_it_must_be(inner in inner(), identification: u16) {
        let ours = pushed(&Ipip, &Ipip::template(LOCAL, REMOTE), &inner, identification);
        let (outer, inner) = (Ipv4Packet::new(ours.bytes()).unwrap(), Ipv4Packet::new(&inner).unwrap());
        check_outer(&outer, &inner, identification);
        prop_assert_eq!(outer.get_next_level_protocol(), IpNextHeaderProtocols::Ipv4);
        prop_assert_eq!((outer.get_ttl(), outer.get_flags()), (inner.get_ttl(), inner.get_flags()));
        prop_assert_eq!(outer.payload(), inner.packet());
    }

    #[test]
    fn pnet_reads_every_field_of_the_vxlan_headers_as_it_must_be(inner in inner(), identification: u16, vni in 0u32..1 << 24) {
        let node = end(MAC_LOCAL, LOCAL, vni);
        let ours = pushed(&node, &node.template(REMOTE.into(), MAC_REMOTE).unwrap(), &inner, identification);
        let (outer, inner) = (Ipv4Packet::new(ours.bytes()).unwrap(), Ipv4Packet::new(&inner).unwrap());
        check_outer(&outer, &inner, identification);
        prop_assert_eq!(outer.get_next_level_protocol(), IpNextHeaderProtocols::Udp);
        prop_assert_eq!((outer.get_ttl(), outer.get_flags()), (64, 0));

        let datagram = UdpPacket::new(outer.payload()).unwrap();
        prop_assert!((32768..60999).contains(&datagram.get_source()));
        prop_assert_eq!(datagram.get_destination(), 4789);
        prop_assert_eq!(usize::from(datagram.get_length()), inner.packet().len() + 30);
        prop_assert_eq!(datagram.get_checksum(), udp::ipv4_checksum(&datagram, &LOCAL, &REMOTE));
        prop_assert_ne!(datagram.get_checksum(), 0);

        let header = VxlanPacket::new(datagram.payload()).unwrap();
        let fields = (header.get_flags(), header.get_reserved1(), header.get_vni(), header.get_reserved2());
        prop_assert_eq!(fields, (0x08, 0, vni, 0));

        let frame = EthernetPacket::new(header.payload()).unwrap();
        prop_assert_eq!(frame.get_destination().octets(), MAC_REMOTE.0);
        prop_assert_eq!(frame.get_source().octets(), MAC_LOCAL.0);
        prop_assert_eq!(frame.get_ethertype(), EtherTypes::Ipv4);
        prop_assert_eq!(frame.payload(), inner.packet());
    }

    #[test]
    fn etherparse_finds_the_outer_checksums_right(inner in inner(), identification: u16) {
        let node = end(MAC_LOCAL, LOCAL, 4096);
        let ours = pushed(&node, &node.template(REMOTE.into(), MAC_REMOTE).unwrap(), &inner, identification);
        let (header, rest) = etherparse::Ipv4Header::from_slice(ours.bytes()).unwrap();
        prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
        let (datagram, payload) = etherparse::UdpHeader::from_slice(rest).unwrap();
        prop_assert_eq!(datagram.checksum, datagram.calc_checksum_ipv4(&header, payload).unwrap());

        let ours = pushed(&Ipip, &Ipip::template(LOCAL, REMOTE), &inner, identification);
        let (header, rest) = etherparse::Ipv4Header::from_slice(ours.bytes()).unwrap();
        prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
        prop_assert_eq!(rest, &inner[..]);
    }

    #[test]
    fn a_packet_comes_out_of_a_tunnel_as_it_went_in(inner in inner()) {
        let node = end(MAC_LOCAL, LOCAL, 4096);
        let mut packet = pushed(&node, &node.template(REMOTE.into(), MAC_REMOTE).unwrap(), &inner, 1);
        prop_assert!(end(MAC_REMOTE, REMOTE, 4096).pull(&mut packet).is_ok());
        prop_assert_eq!(packet.bytes(), &inner[..]);

        let mut packet = pushed(&Ipip, &Ipip::template(LOCAL, REMOTE), &inner, 1);
        prop_assert!(Ipip.pull(&mut packet).is_ok());
        prop_assert_eq!(packet.bytes(), &inner[..]);
    }

    #[test]
    fn we_read_every_field_of_a_header_as_pnet_wrote_it(inner in inner()) {
        let (ours, theirs) = (Ipv4View::parse(&inner).unwrap(), Ipv4Packet::new(&inner).unwrap());
        prop_assert_eq!((ours.source(), ours.destination()), (theirs.get_source(), theirs.get_destination()));
        prop_assert_eq!((ours.protocol(), ours.ttl()), (theirs.get_next_level_protocol().0, theirs.get_ttl()));
        prop_assert_eq!((ours.dscp(), ours.ecn().bits()), (theirs.get_dscp(), theirs.get_ecn()));
        prop_assert_eq!(ours.identification(), theirs.get_identification());
        prop_assert_eq!((ours.dont_fragment(), ours.is_fragment()), (theirs.get_flags() == 2, false));
        prop_assert_eq!(ours.payload(), theirs.payload());
        prop_assert_eq!(&ours.to_header().to_bytes()[..], ours.header());
    }

    #[test]
    fn pnet_finds_every_change_in_place_where_it_belongs_and_the_checksum_right(
        mut inner in inner(), ecn in 0u8..4, identification: u16, total_len: u16, offset in 0u16..8192, more: bool,
        source: [u8; 4], destination: [u8; 4],
    ) {
        let before = Ipv4Packet::new(&inner).unwrap();
        let (ttl, dscp, df) = (before.get_ttl(), before.get_dscp(), before.get_flags() & 2);
        let mut header = Ipv4Mut::new(&mut inner).unwrap();
        header.decrement_ttl();
        header.set_ecn(Ecn::from_bits(ecn));
        header.set_identification(identification);
        header.set_total_len(total_len);
        header.set_fragment(usize::from(offset) * 8, more);
        header.set_source(source.into());
        header.set_destination(destination.into());
        let after = Ipv4Packet::new(&inner).unwrap();
        prop_assert_eq!(after.get_ttl(), ttl.saturating_sub(1));
        prop_assert_eq!((after.get_dscp(), after.get_ecn()), (dscp, ecn));
        prop_assert_eq!((after.get_identification(), after.get_total_length()), (identification, total_len));
        prop_assert_eq!((after.get_flags(), after.get_fragment_offset()), (df | u8::from(more), offset));
        prop_assert_eq!((after.get_source(), after.get_destination()), (source.into(), destination.into()));
        prop_assert_eq!(after.get_checksum(), ipv4::checksum(&after));
    }

    #[test]
    fn pnet_reads_every_field_of_a_header_that_we_write(fragment_offset in 0u16..8192, tos: u8, ttl: u8, id: u16, df: bool, more: bool) {
        let ours = Ipv4Header {
            ttl,
            dscp: tos >> 2,
            ecn: Ecn::from_bits(tos),
            dont_fragment: df,
            more_fragments: more,
            fragment_offset,
            identification: id,
            ..Ipv4Header::new(LOCAL, REMOTE, 17, 100)
        };
        let bytes = ours.to_bytes();
        let theirs = Ipv4Packet::new(&bytes).unwrap();
        check_fixed(&theirs);
        prop_assert_eq!((theirs.get_dscp() << 2 | theirs.get_ecn(), theirs.get_ttl()), (tos, ttl));
        prop_assert_eq!((theirs.get_identification(), theirs.get_fragment_offset()), (id, fragment_offset));
        prop_assert_eq!(theirs.get_flags(), u8::from(df) << 1 | u8::from(more));
    }

    #[test]
    fn pnet_and_etherparse_read_an_error_as_it_must_be(inner in inner(), mtu in 68u16..) {
        let Some(ours) = icmp::error_packet(IcmpError::TooBig { mtu }, LOCAL, &inner) else {
            return Ok(());
        };
        let quoted = inner.len().min(548);
        let outer = Ipv4Packet::new(ours.bytes()).unwrap();
        prop_assert_eq!(ours.bytes().len(), 28 + quoted);
        prop_assert_eq!((outer.get_dscp() << 2 | outer.get_ecn(), outer.get_ttl(), outer.get_flags()), (0xc0, 64, 0));
        prop_assert_eq!((outer.get_source(), outer.get_destination()), (LOCAL, Ipv4Packet::new(&inner).unwrap().get_source()));
        prop_assert_eq!(outer.get_checksum(), ipv4::checksum(&outer));
        let message = IcmpPacket::new(outer.payload()).unwrap();
        prop_assert_eq!((message.get_icmp_type().0, message.get_icmp_code().0), (3, 4));
        prop_assert_eq!(message.get_checksum(), pnet::packet::icmp::checksum(&message));

        let theirs = etherparse::Icmpv4Slice::from_slice(outer.payload()).unwrap();
        prop_assert_eq!(&theirs.payload()[..quoted], &inner[..quoted]);
        let needed = etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
        prop_assert_eq!(theirs.icmp_type(), etherparse::Icmpv4Type::DestinationUnreachable(needed));
    }

    #[test]
    fn no_view_panics_whatever_the_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..200), looks_like_ipv4: bool) {
        if let (true, Some(first)) = (looks_like_ipv4, bytes.first_mut()) {
            *first = 0x45;
        }
        let _ = (Ipv4View::parse(&bytes).is_ok(), Ipv4View::unverified(&bytes).is_ok());
        let _ = UdpView::parse(&bytes).map(|view| view.verify_checksum(LOCAL, REMOTE));
        let _ = (EthernetView::parse(&bytes).is_ok(), vxlan::parse(&bytes).is_ok(), IcmpMessage::unverified(Family::V4, &bytes).is_ok());
        let _ = icmp::error_packet(IcmpError::TtlExpired, LOCAL, &bytes);
        let _ = HeaderStack::of(&bytes).to_string();
        for tunnel in [&Ipip as &dyn Encapsulation, &end(MAC_LOCAL, LOCAL, 4096)] {
            let _ = tunnel.pull(&mut Packet::from_bytes(&bytes));
            let _ = tunnel.push(&Ipip::template(LOCAL, REMOTE), &mut Packet::from_bytes(&bytes), 1);
        }
    }

    #[test]
    fn both_directions_of_a_flow_have_one_source_port_in_the_range(source: [u8; 4], destination: [u8; 4], ports: (u16, u16)) {
        let key = flow::FlowKey {
            source: Ipv4Addr::from(source).into(),
            destination: Ipv4Addr::from(destination).into(),
            protocol: 17,
            ports: Some(ports),
        };
        prop_assert_eq!(key.hash(0), key.reversed().hash(0));
        prop_assert!((32768..60999).contains(&flow::source_port(key.hash(0), flow::SOURCE_PORTS)));
    }
}

fn check_fixed(header: &Ipv4Packet<'_>) {
    assert_eq!(
        (header.get_version(), header.get_header_length(), header.get_total_length()),
        (4, 5, 120)
    );
    assert_eq!((header.get_source(), header.get_destination()), (LOCAL, REMOTE));
    assert_eq!(header.get_next_level_protocol(), IpNextHeaderProtocols::Udp);
    assert_eq!(header.get_checksum(), ipv4::checksum(header));
}

#[test]
fn a_super_packet_gets_nominal_lengths_and_no_udp_checksum_and_comes_out_whole() {
    let header = Ipv4Header::new([192, 168, 0, 2].into(), [192, 168, 1, 2].into(), 6, 65480);
    let mut inner = header.to_bytes().to_vec();
    inner.resize(65500, 7);
    let mut packet = Packet::from_bytes(&inner);
    let cut = Segmentation {
        header_len: 40,
        size: 1410,
    };
    packet.set_segmentation(Some(cut));
    let node = end(MAC_LOCAL, LOCAL, 4096);
    node.push(&node.template(REMOTE.into(), MAC_REMOTE).unwrap(), &mut packet, 1)
        .unwrap();
    let outer = Ipv4Packet::new(packet.bytes()).unwrap();
    let datagram = UdpPacket::new(outer.payload()).unwrap();
    assert_eq!((outer.get_total_length(), datagram.get_length()), (65535, 65530));
    assert_eq!(datagram.get_checksum(), 0);
    assert_eq!(packet.longest_wire_packet(), 50 + 40 + 1410);

    end(MAC_REMOTE, REMOTE, 4096).pull(&mut packet).unwrap();
    assert_eq!(packet.bytes(), inner);
    assert_eq!(packet.segmentation(), Some(cut));
}

#[test]
fn many_flows_spread_over_many_source_ports() {
    let ports: std::collections::BTreeSet<u16> = (0..3000)
        .map(|port| flow::FlowKey {
            source: LOCAL.into(),
            destination: REMOTE.into(),
            protocol: 6,
            ports: Some((30000 + port, 80)),
        })
        .map(|key| flow::source_port(key.hash(0), flow::SOURCE_PORTS))
        .collect();
    assert!(
        ports.len() > 2700,
        "Linux gave 2846 distinct ports to 3000 flows; ours are {}",
        ports.len()
    );
}
