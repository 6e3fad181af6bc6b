//! From workload to workload: what is put on, what is taken off, and what arrives.

use overlab_dataplane::Family;
use overlab_dataplane::engine::{DropReason, Ingress};
use pnet::packet::Packet as _;
use pnet::packet::ethernet::EthernetPacket;
use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet};
use pnet::packet::udp::UdpPacket;
use pnet::packet::vxlan::VxlanPacket;
use rstest::rstest;
use serde_json::{Value, json};

use super::cluster::{NODES, Udp, like};
use super::{Node, delivered, fix_checksum, ipip, nodes, nodes_of, reason, transmitted, two_hops_on, vxlan, wire};

/// Sends a packet from pod-a through both engines; gives what was on the wire and what arrived.
fn carry(nodes: &mut [Node; 3], to: usize, packet: Udp) -> (String, Vec<u8>, Vec<u8>) {
    let (next_hop, wire) = transmitted(nodes[0].pod_sends(&packet.build()))
        .pop()
        .expect("it leaves the node");
    let arrived = delivered(nodes[to].wire_brings(&wire));
    assert_eq!(arrived.len(), 1, "{:?}", nodes[to].outcome);
    assert!(arrived[0].0, "it is for the workload");
    (next_hop.to_string(), wire, arrived[0].1.clone())
}

#[rstest]
#[case::ipip_always_near(Family::V4, ipip("Always"), 1, 20, "10.0.1.6")]
#[case::ipip_always_far(Family::V4, ipip("Always"), 2, 20, "10.0.1.1")]
#[case::ipip_cross_near(Family::V4, ipip("CrossSubnet"), 1, 0, "10.0.1.6")]
#[case::ipip_cross_far(Family::V4, ipip("CrossSubnet"), 2, 20, "10.0.1.1")]
#[case::vxlan_always_near(Family::V4, vxlan("Always"), 1, 50, "10.0.1.6")]
#[case::vxlan_always_far(Family::V4, vxlan("Always"), 2, 50, "10.0.1.1")]
#[case::vxlan_cross_near(Family::V4, vxlan("CrossSubnet"), 1, 0, "10.0.1.6")]
#[case::vxlan_cross_far(Family::V4, vxlan("CrossSubnet"), 2, 50, "10.0.1.1")]
#[case::none_near(Family::V4, json!({}), 1, 0, "10.0.1.6")]
#[case::none_far(Family::V4, json!({}), 2, 0, "10.0.1.1")]
#[case::vxlan6_always_near(Family::V6, vxlan("Always"), 1, 70, "10.0.1.6")]
#[case::vxlan6_always_far(Family::V6, vxlan("Always"), 2, 70, "10.0.1.1")]
#[case::vxlan6_cross_near(Family::V6, vxlan("CrossSubnet"), 1, 0, "10.0.1.6")]
#[case::vxlan6_cross_far(Family::V6, vxlan("CrossSubnet"), 2, 70, "10.0.1.1")]
#[case::none6_near(Family::V6, json!({}), 1, 0, "10.0.1.6")]
#[case::none6_far(Family::V6, json!({}), 2, 0, "10.0.1.1")]
fn a_packet_arrives_as_it_was_sent_but_for_two_hops(
    #[case] family: Family,
    #[case] pool: Value,
    #[case] to: usize,
    #[case] overhead: usize,
    #[case] next_hop: &str,
) {
    let mut nodes = nodes_of(family, pool, json!({}));
    let sent = Udp::of(family, NODES[0].3, NODES[to].3);
    let (hop, wire, arrived) = carry(&mut nodes, to, sent);
    assert_eq!((wire.len(), hop), (sent.length + overhead, like(family, next_hop)));
    assert_eq!(arrived, two_hops_on(sent.build()));
}

#[test]
fn ipip_inherits_ttl_and_df_and_keeps_dscp_inside() {
    for (ttl, dont_fragment) in [(5, true), (64, false), (2, true)] {
        let mut nodes = nodes(ipip("Always"), json!({}));
        let packet = Udp {
            ttl,
            dont_fragment,
            traffic_class: 46 << 2 | 2,
            ..Udp::new(NODES[0].3, NODES[2].3)
        };
        let wire = wire(nodes[0].pod_sends(&packet.build()));
        let outer = Ipv4Packet::new(&wire).unwrap();
        assert_eq!(outer.get_next_level_protocol().0, 4);
        assert_eq!(
            (outer.get_ttl(), outer.get_flags() & Ipv4Flags::DontFragment != 0),
            (ttl - 1, dont_fragment)
        );
        assert_eq!((outer.get_dscp(), outer.get_ecn()), (0, 2));
        assert_eq!(
            (outer.get_source().to_string(), outer.get_destination().to_string()),
            ("10.0.1.5".into(), "10.0.2.7".into())
        );
        assert_eq!(outer.get_checksum(), pnet::packet::ipv4::checksum(&outer));
        let inner = Ipv4Packet::new(outer.payload()).unwrap();
        assert_eq!((inner.get_ttl(), inner.get_dscp(), inner.get_ecn()), (ttl - 1, 46, 2));
    }
}

#[test]
fn vxlan_starts_its_own_ttl_and_never_sets_df() {
    for (ttl, dont_fragment) in [(5, true), (64, false), (2, true)] {
        let mut nodes = nodes(vxlan("Always"), json!({}));
        let packet = Udp {
            ttl,
            dont_fragment,
            traffic_class: 46 << 2 | 1,
            ..Udp::new(NODES[0].3, NODES[2].3)
        };
        let wire = wire(nodes[0].pod_sends(&packet.build()));
        let outer = Ipv4Packet::new(&wire).unwrap();
        assert_eq!(
            (outer.get_ttl(), outer.get_flags(), outer.get_dscp(), outer.get_ecn()),
            (64, 0, 0, 1)
        );
        let udp = UdpPacket::new(outer.payload()).unwrap();
        assert_eq!((udp.get_destination(), udp.get_length()), (4789, 128 + 30));
        assert!((32768..60999).contains(&udp.get_source()));
        let sum = pnet::packet::udp::ipv4_checksum(&udp, &outer.get_source(), &outer.get_destination());
        assert_eq!(udp.get_checksum(), sum);
        let header = VxlanPacket::new(udp.payload()).unwrap();
        assert_eq!((header.get_flags(), header.get_vni()), (8, 4096));
        let frame = EthernetPacket::new(header.payload()).unwrap();
        // 0x66 and the first five octets of the SHA-1 of the node's name.
        assert_eq!(frame.get_source().to_string(), "66:86:f7:e4:37:fa");
        assert_eq!(frame.get_destination().to_string(), "66:84:a5:16:84:1b");
        assert_eq!(Ipv4Packet::new(frame.payload()).unwrap().get_ttl(), ttl - 1);
    }
}

#[rstest]
fn both_directions_of_a_flow_have_one_source_port(#[values(Family::V4, Family::V6)] family: Family) {
    let [mut a, _, mut c] = nodes_of(family, vxlan("Always"), json!({}));
    let port = |node: &mut Node, from: usize, to: usize| {
        let packet = Udp {
            destination_port: 40000,
            ..Udp::of(family, NODES[from].3, NODES[to].3)
        };
        let bytes = wire(node.pod_sends(&packet.build()));
        let udp = if family == Family::V4 { 20 } else { 40 };
        u16::from_be_bytes([bytes[udp], bytes[udp + 1]])
    };
    assert_eq!(port(&mut a, 0, 2), port(&mut c, 2, 0));
}

#[test]
fn a_packet_of_the_node_itself_keeps_its_ttl_into_the_tunnel() {
    let mut nodes = nodes(ipip("Always"), json!({}));
    let wire = wire(nodes[0].handle(Ingress::Host, &Udp::new("10.244.0.0", NODES[2].3).build()));
    let outer = Ipv4Packet::new(&wire).unwrap();
    assert_eq!(
        (outer.get_ttl(), Ipv4Packet::new(outer.payload()).unwrap().get_ttl()),
        (64, 64)
    );
}

/// RFC 6040 figure 3, but for CE, which Linux sends as ECT(0).
#[test]
fn ecn_goes_into_a_tunnel_as_linux_does_it() {
    for pool in [ipip("Always"), vxlan("Always")] {
        for (inner, outer) in [(0, 0), (1, 1), (2, 2), (3, 2)] {
            let mut nodes = nodes(pool.clone(), json!({}));
            let packet = Udp {
                traffic_class: inner,
                ..Udp::new(NODES[0].3, NODES[2].3)
            };
            let (_, wire, arrived) = carry(&mut nodes, 2, packet);
            assert_eq!((wire[1], arrived[1]), (outer, inner), "{pool}");
        }
    }
}

/// RFC 6040 figure 4, as Linux does it; rows are the inner field, columns the outer one: Not-ECT, ECT(1), ECT(0), CE.
#[test]
fn ecn_comes_out_of_a_tunnel_as_rfc_6040_says() {
    const LOST: u8 = 9;
    let table = [[0, 0, 0, LOST], [1, 1, 1, 3], [2, 1, 2, 3], [3, 3, 3, 3]];
    for pool in [ipip("Always"), vxlan("Always")] {
        for (inner, row) in (0u8..).zip(table) {
            for (outer, expected) in (0u8..).zip(row) {
                let mut nodes = nodes(pool.clone(), json!({}));
                let packet = Udp {
                    traffic_class: inner,
                    ..Udp::new(NODES[0].3, NODES[2].3)
                };
                let mut wire = wire(nodes[0].pod_sends(&packet.build()));
                wire[1] = outer;
                fix_checksum(&mut wire);
                let outcome = nodes[2].wire_brings(&wire);
                match delivered(outcome).pop() {
                    Some((_, arrived)) => assert_eq!(arrived[1], expected, "inner {inner}, outer {outer}"),
                    None => assert_eq!((expected, reason(outcome).unwrap().name()), (LOST, "tunnel_ecn")),
                }
            }
        }
    }
}

#[rstest]
#[case::ipip(Family::V4, ipip("Always"))]
#[case::vxlan(Family::V4, vxlan("Always"))]
#[case::vxlan6(Family::V6, vxlan("Always"))]
fn a_node_reaches_its_workload_and_gets_the_answer_although_workloads_may_not_reach_it(
    #[case] family: Family,
    #[case] pool: Value,
) {
    let [mut a, ..] = nodes_of(family, pool, json!({}));
    let unasked = Udp {
        destination_port: 40000,
        ..Udp::of(family, NODES[0].3, "10.0.1.5")
    };
    assert_eq!(reason(a.pod_sends(&unasked.build())), Some(DropReason::PolicyDeny));
    let asked = Udp {
        destination_port: 40000,
        ..Udp::of(family, "10.0.1.5", NODES[0].3)
    };
    assert_eq!(delivered(a.handle(Ingress::Host, &asked.build())).len(), 1);
    let answer = delivered(a.pod_sends(&unasked.build()));
    assert_eq!(answer.len(), 1);
    assert!(!answer[0].0, "it is for the node itself");
}
