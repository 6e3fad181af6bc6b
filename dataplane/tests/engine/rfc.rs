//! Where Linux and the RFCs differ about tunnels: each pair of behaviours, by the number of its statement in `docs/wire.md`.

use overlab_dataplane::Family;
use overlab_dataplane::encap::Wire;
use overlab_dataplane::engine::Engine;
use pnet::packet::Packet as _;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;
use pnet::packet::udp::UdpPacket;
use rstest::rstest;
use serde_json::{Value, json};

use super::cluster::{NODES, Udp, tables};
use super::paths::{datagram, icmp_about, pod};
use super::{Node, delivered, fix_checksum, icmp_error, ipip, reason, transmitted, vxlan, wire};

const BOTH: [Wire; 2] = [Wire::Linux, Wire::Rfc];

fn nodes_of(family: Family, rules: Wire, pool: Value, felix: Value) -> [Node; 3] {
    tables(family, pool, felix).map(|tables| {
        let mut node = Node::new(tables.clone());
        node.engine = Engine::following(rules, tables);
        node
    })
}

fn nodes(rules: Wire, pool: Value, felix: Value) -> [Node; 3] {
    nodes_of(Family::V4, rules, pool, felix)
}

fn a_to_c() -> Udp {
    Udp::new(NODES[0].3, NODES[2].3)
}

#[test]
fn a5_a8_ipip_copies_ttl_and_no_dscp_or_the_other_way_round() {
    for (rules, expected) in BOTH.into_iter().zip([(0, 9), (46, 64)]) {
        let [mut a, ..] = nodes(rules, ipip("Always"), json!({}));
        let packet = Udp {
            ttl: 10,
            traffic_class: 46 << 2,
            ..a_to_c()
        };
        let bytes = wire(a.pod_sends(&packet.build()));
        let outer = Ipv4Packet::new(&bytes).unwrap();
        assert_eq!((outer.get_dscp(), outer.get_ttl()), expected);
        assert_eq!(outer.get_checksum(), pnet::packet::ipv4::checksum(&outer));
    }
}

#[test]
fn c4_congestion_inside_goes_out_as_ect0_or_as_congestion() {
    for pool in [ipip("Always"), vxlan("Always")] {
        for (rules, expected) in BOTH.into_iter().zip([2, 3]) {
            let [mut a, ..] = nodes(rules, pool.clone(), json!({}));
            let packet = Udp {
                traffic_class: 3,
                ..a_to_c()
            };
            assert_eq!(wire(a.pod_sends(&packet.build()))[1], expected);
        }
    }
}

#[rstest]
#[case::b5_flags(28, 0x88)]
#[case::b6_24_bits(30, 1)]
#[case::b7_last_octet(35, 1)]
fn reserved_bits_of_vxlan_are_fatal_or_nothing(#[case] at: usize, #[case] value: u8) {
    for (rules, expected) in BOTH.into_iter().zip([Some("vxlan_bad_header"), None]) {
        let [mut a, _, mut c] = nodes(rules, vxlan("Always"), json!({}));
        let mut bytes = wire(a.pod_sends(&a_to_c().build()));
        bytes[at] = value;
        bytes[26..28].fill(0);
        assert_eq!(reason(c.wire_brings(&bytes)).map(|reason| reason.name()), expected);
    }
}

#[test]
fn b4_an_i_flag_that_is_clear_is_fatal_to_both() {
    for rules in BOTH {
        let [mut a, _, mut c] = nodes(rules, vxlan("Always"), json!({}));
        let mut bytes = wire(a.pod_sends(&a_to_c().build()));
        bytes[28] = 0;
        bytes[26..28].fill(0);
        assert_eq!(reason(c.wire_brings(&bytes)).unwrap().name(), "vxlan_bad_header");
    }
}

#[test]
fn b14_b16_source_ports_and_checksums_of_vxlan() {
    for (rules, ports, is_zero) in [(Wire::Linux, 32768..60999, false), (Wire::Rfc, 49152..65535, true)] {
        let [mut a, _, mut c] = nodes(rules, vxlan("Always"), json!({}));
        for source_port in 1000..1200 {
            let packet = Udp { source_port, ..a_to_c() };
            let bytes = wire(a.pod_sends(&packet.build()));
            let udp = UdpPacket::new(&bytes[20..]).unwrap();
            assert!(ports.contains(&udp.get_source()), "{}", udp.get_source());
            assert_eq!(udp.get_checksum() == 0, is_zero);
            assert_eq!(delivered(c.wire_brings(&bytes)).len(), 1);
        }
    }
}

#[test]
fn i1_h5_over_ipv6_the_flow_label_is_none_or_the_flow_s_and_the_checksum_is_there() {
    for rules in BOTH {
        let [mut a, _, mut c] = nodes_of(Family::V6, rules, vxlan("Always"), json!({}));
        let bytes = wire(a.pod_sends(&datagram(&pod(0), &pod(2), 200)));
        let outer = Ipv6Packet::new(&bytes).unwrap();
        assert_eq!(outer.get_flow_label() == 0, rules == Wire::Linux);
        let udp = UdpPacket::new(outer.payload()).unwrap();
        let sum = pnet::packet::udp::ipv6_checksum(&udp, &outer.get_source(), &outer.get_destination());
        assert_eq!(udp.get_checksum(), sum);
        assert_eq!(delivered(c.wire_brings(&bytes)).len(), 1);
        let again = wire(a.pod_sends(&datagram(&pod(0), &pod(2), 300)));
        assert_eq!(Ipv6Packet::new(&again).unwrap().get_flow_label(), outer.get_flow_label());
    }
}

#[rstest]
#[case::vxlan(vxlan("Always"), json!({"vxlanMTU": 1500}), 1450)]
#[case::ipip(ipip("Always"), json!({"ipipMTU": 1500}), 1480)]
fn a36_b22_what_does_not_fit_is_split_outside_or_inside(#[case] pool: Value, #[case] felix: Value, #[case] limit: u16) {
    let long = |dont_fragment| Udp {
        length: 1500,
        dont_fragment,
        ..a_to_c()
    };
    for rules in BOTH {
        let [mut a, _, mut c] = nodes(rules, pool.clone(), felix.clone());
        let pieces = transmitted(a.pod_sends(&long(false).build()));
        let are_fragments = pieces
            .iter()
            .any(|(_, piece)| Ipv4Packet::new(piece).unwrap().get_flags() & 1 != 0);
        assert_eq!((pieces.len(), are_fragments), (2, rules == Wire::Linux));
        let arrived: usize = pieces.iter().map(|(_, piece)| delivered(c.wire_brings(piece)).len()).sum();
        assert_eq!(arrived, if rules == Wire::Linux { 1 } else { 2 });
    }
    let [mut a, ..] = nodes(Wire::Rfc, pool, felix);
    assert_eq!(
        icmp_error(a.pod_sends(&long(true).build())),
        Some(("10.0.1.5".into(), 3, 4, limit))
    );
}

#[test]
fn a16_a_packet_that_leaves_a_tunnel_with_ttl_0_is_dropped_or_taken_by_its_node() {
    for (rules, expected) in BOTH.into_iter().zip([None, Some("ttl_expired")]) {
        let [mut a, _, mut c] = nodes(rules, ipip("Always"), json!({}));
        let mut bytes = wire(a.pod_sends(&Udp::new(NODES[0].3, "10.244.0.128").build()));
        bytes[28] = 0;
        fix_checksum(&mut bytes[20..]);
        let outcome = c.wire_brings(&bytes);
        assert_eq!(reason(outcome).map(|reason| reason.name()), expected);
        assert_eq!(delivered(outcome).len(), usize::from(expected.is_none()));
    }
}

/// What the underlay says of a tunnel packet, and what the inner sender is told: by Linux nothing.
#[rstest]
#[case::a21_net_unreachable((3, 0, 0), Some((3, 0, 0)))]
#[case::a22_host_unreachable((3, 1, 0), Some((3, 1, 0)))]
#[case::a23_protocol_unreachable((3, 2, 0), Some((3, 0, 0)))]
#[case::a24_port_unreachable((3, 3, 0), None)]
#[case::a25_a26_fragmentation_needed((3, 4, 1400), Some((3, 4, 1380)))]
#[case::a27_source_route_failed((3, 5, 0), None)]
#[case::a28_source_quench((4, 0, 0), None)]
#[case::a29_redirect((5, 1, 0), None)]
#[case::a30_time_exceeded((11, 0, 0), Some((3, 1, 0)))]
#[case::reassembly_time_exceeded((11, 1, 0), None)]
#[case::a31_parameter_problem((12, 0, 0), None)]
fn errors_about_tunnel_packets_are_kept_or_relayed(
    #[case] (kind, code, mtu): (u8, u8, u16),
    #[case] told: Option<(u8, u8, u16)>,
) {
    for rules in BOTH {
        let [mut a, ..] = nodes(rules, ipip("Always"), json!({}));
        let whole = wire(a.pod_sends(&a_to_c().build()));
        let outcome = a.wire_brings(&icmp_about(&whole, (kind, code, mtu), 548));
        let relayed = outcome.out.iter().find_map(|out| {
            let ip = Ipv4Packet::new(out.packet().bytes())?;
            (ip.get_destination().to_string() == NODES[0].3).then(|| {
                assert_eq!(
                    Ipv4Packet::new(&ip.payload()[8..]).unwrap().get_source(),
                    ip.get_destination()
                );
                (
                    ip.payload()[0],
                    ip.payload()[1],
                    u16::from_be_bytes([ip.payload()[6], ip.payload()[7]]),
                )
            })
        });
        assert_eq!(relayed, told.filter(|_| rules == Wire::Rfc));
    }
}

#[test]
fn a35_with_eight_quoted_bytes_nothing_can_be_relayed_and_the_mtu_is_learned() {
    let [mut a, ..] = nodes(Wire::Rfc, ipip("Always"), json!({}));
    let whole = wire(a.pod_sends(&a_to_c().build()));
    let outcome = a.wire_brings(&icmp_about(&whole, (3, 4, 1400), 28));
    assert_eq!(outcome.out.len(), 1, "the node's own stack alone");
    let long = Udp {
        length: 1480,
        ..a_to_c()
    };
    assert_eq!(icmp_error(a.pod_sends(&long.build())).unwrap().3, 1380);
}
