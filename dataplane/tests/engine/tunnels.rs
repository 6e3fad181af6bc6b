//! From workload to workload: what is put on, what is taken off, and what arrives.

use pnet::packet::Packet as _;
use pnet::packet::ethernet::EthernetPacket;
use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet};
use pnet::packet::udp::UdpPacket;
use pnet::packet::vxlan::VxlanPacket;
use rstest::rstest;
use serde_json::{Value, json};

use super::cluster::{NODES, Udp};
use super::{Node, delivered, fix_checksum, ipip, nodes, reason, transmitted, vxlan, wire};

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
#[case::ipip_always_near(ipip("Always"), 1, 20, "10.0.1.6")]
#[case::ipip_always_far(ipip("Always"), 2, 20, "10.0.1.1")]
#[case::ipip_cross_near(ipip("CrossSubnet"), 1, 0, "10.0.1.6")]
#[case::ipip_cross_far(ipip("CrossSubnet"), 2, 20, "10.0.1.1")]
#[case::vxlan_always_near(vxlan("Always"), 1, 50, "10.0.1.6")]
#[case::vxlan_always_far(vxlan("Always"), 2, 50, "10.0.1.1")]
#[case::vxlan_cross_near(vxlan("CrossSubnet"), 1, 0, "10.0.1.6")]
#[case::vxlan_cross_far(vxlan("CrossSubnet"), 2, 50, "10.0.1.1")]
#[case::none_near(json!({}), 1, 0, "10.0.1.6")]
#[case::none_far(json!({}), 2, 0, "10.0.1.1")]
fn a_packet_arrives_as_it_was_sent_but_for_two_hops(
    #[case] pool: Value,
    #[case] to: usize,
    #[case] overhead: usize,
    #[case] next_hop: &str,
) {
    let mut nodes = nodes(pool, json!({}));
    let sent = Udp::new(NODES[0].3, NODES[to].3);
    let (hop, wire, arrived) = carry(&mut nodes, to, sent);
    assert_eq!((wire.len(), hop.as_str()), (sent.length + overhead, next_hop));
    let mut expected = sent.build();
    expected[8] = 62;
    fix_checksum(&mut expected);
    assert_eq!(arrived, expected);
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

#[test]
fn both_directions_of_a_flow_have_one_source_port() {
    let mut nodes = nodes(vxlan("Always"), json!({}));
    let port = |bytes: &[u8]| u16::from_be_bytes([bytes[20], bytes[21]]);
    let there = wire(
        nodes[0].pod_sends(
            &Udp {
                destination_port: 40000,
                ..Udp::new(NODES[0].3, NODES[2].3)
            }
            .build(),
        ),
    );
    let back = wire(
        nodes[2].pod_sends(
            &Udp {
                destination_port: 40000,
                ..Udp::new(NODES[2].3, NODES[0].3)
            }
            .build(),
        ),
    );
    assert_eq!(port(&there), port(&back));
}

#[test]
fn a_packet_of_the_node_itself_keeps_its_ttl_into_the_tunnel() {
    use overlab_dataplane::engine::Ingress;
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

#[test]
fn a_node_reaches_its_workload_and_gets_the_answer_although_workloads_may_not_reach_it() {
    use overlab_dataplane::engine::Ingress;
    let mut nodes = nodes(ipip("Always"), json!({}));
    let unasked = Udp {
        destination_port: 40000,
        ..Udp::new(NODES[0].3, "10.0.1.5")
    };
    assert_eq!(reason(nodes[0].pod_sends(&unasked.build())).unwrap().name(), "policy_deny");
    let asked = Udp {
        destination_port: 40000,
        ..Udp::new("10.0.1.5", NODES[0].3)
    };
    assert_eq!(delivered(nodes[0].handle(Ingress::Host, &asked.build())).len(), 1);
    let answer = delivered(nodes[0].pod_sends(&unasked.build()));
    assert_eq!(answer.len(), 1);
    assert!(!answer[0].0, "it is for the node itself");
}
