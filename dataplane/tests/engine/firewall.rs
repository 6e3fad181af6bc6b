//! Who may send tunnel packets to a node, and what workloads may not send: the rules F1 to F6, 7.3 to 7.5.

use std::sync::Arc;

use overlab_dataplane::Family;
use overlab_dataplane::engine::{DropReason, Ingress};
use overlab_dataplane::route::{NodeTables, RpFilter};
use rstest::rstest;
use serde_json::{Value, json};

use super::cluster::{NODES, Udp, like};
use super::{Node, delivered, fix_checksum, icmp_error, ipip, nodes, nodes_of, reason, transmitted, vxlan, wire};

const POD: &str = NODES[0].3;
const NODE: &str = "10.0.1.5";
const OUTSIDE: &str = "10.0.9.9";

fn to_vxlan_port(from: &str, to: &str) -> Vec<u8> {
    Udp {
        destination_port: 4789,
        ..Udp::new(from, to)
    }
    .build()
}

/// A packet of protocol 4 that carries another.
fn protocol_4(from: &str, to: &str) -> Vec<u8> {
    let inner = Udp::new(NODES[2].3, POD).build();
    let mut bytes = [&Udp::new(from, to).build()[..20], &inner].concat();
    bytes[2..4].copy_from_slice(&(20 + inner.len() as u16).to_be_bytes());
    bytes[9] = 4;
    fix_checksum(&mut bytes);
    bytes
}

fn with(node: &mut Node, change: impl Fn(&mut NodeTables)) {
    let mut tables = NodeTables::clone(node.engine.tables());
    change(&mut tables);
    node.engine.set_tables(Arc::new(tables));
}

#[test]
fn f1_any_node_of_the_cluster_may_send_ip_in_ip() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    for node in ["10.0.1.6", "10.0.2.7"] {
        assert_eq!(reason(a.wire_brings(&protocol_4(node, NODE))), None);
        assert_eq!(delivered(&a.outcome).len(), 1);
    }
    assert_eq!(
        reason(a.wire_brings(&protocol_4(OUTSIDE, NODE))),
        Some(DropReason::TunnelSourceDenied)
    );
    assert_eq!(icmp_error(&a.outcome), None, "a firewall says nothing");
}

#[rstest]
#[case::any_vni(4789, Some(DropReason::TunnelSourceDenied))]
#[case::another_port(4790, None)]
fn f2_an_unlisted_sender_s_vxlan_is_dropped_by_its_port_alone(
    #[case] port: u16,
    #[case] expected: Option<DropReason>,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let [mut a, ..] = nodes_of(family, vxlan("Always"), json!({}));
    let packet = Udp {
        destination_port: port,
        ..Udp::of(family, OUTSIDE, NODE)
    };
    assert_eq!(reason(a.wire_brings(&packet.build())), expected);
}

#[test]
fn f2_a_listed_outsider_gets_past_the_firewall_and_is_then_read() {
    let [mut a, ..] = nodes(vxlan("Always"), json!({"externalNodesList": ["10.0.9.0/24"]}));
    assert_eq!(
        reason(a.wire_brings(&to_vxlan_port(OUTSIDE, NODE))),
        Some(DropReason::VxlanUnknownVni)
    );
}

#[rstest]
#[case::a_stranger(Family::V4, OUTSIDE, DropReason::TunnelSourceDenied, None)]
#[case::a_peer(Family::V4, "10.0.2.7", DropReason::NoDecap, Some((3, 3)))]
#[case::a_stranger(Family::V6, OUTSIDE, DropReason::TunnelSourceDenied, None)]
#[case::a_peer(Family::V6, "10.0.2.7", DropReason::NoDecap, Some((1, 4)))]
fn f2_the_rule_stands_where_vxlan_is_on_device_or_none(
    #[case] family: Family,
    #[case] from: &str,
    #[case] expected: DropReason,
    #[case] error: Option<(u8, u8)>,
) {
    let [mut a, ..] = nodes_of(family, vxlan("Always"), json!({}));
    with(&mut a, |tables| *tables.vxlan.get_mut(family) = None);
    let (from, to) = (like(family, from), like(family, NODE));
    assert_eq!(reason(a.wire_brings(&to_vxlan_port(&from, &to))), Some(expected));
    assert_eq!(icmp_error(&a.outcome).map(|(_, kind, code, _)| (kind, code)), error);
}

#[rstest]
fn f2_only_what_is_for_the_node_is_asked(#[values(Family::V4, Family::V6)] family: Family) {
    let [mut a, ..] = nodes_of(family, vxlan("Always"), json!({}));
    let outcome = a.wire_brings(&to_vxlan_port(&like(family, OUTSIDE), &like(family, POD)));
    assert_eq!(reason(outcome), None, "traffic to a pod is not checked (7.4)");
    assert!(delivered(outcome)[0].0);
}

#[rstest]
#[case::protocol_4(protocol_4(OUTSIDE, NODE), (3, 2))]
#[case::vxlan(to_vxlan_port(OUTSIDE, NODE), (3, 3))]
fn f3_where_the_encapsulation_is_off_the_kernel_answers(#[case] packet: Vec<u8>, #[case] error: (u8, u8)) {
    let [mut a, ..] = nodes(json!({}), json!({}));
    assert_eq!(reason(a.wire_brings(&packet)), Some(DropReason::NoDecap));
    assert_eq!(icmp_error(&a.outcome).map(|(_, kind, code, _)| (kind, code)), Some(error));
}

#[rstest]
#[case::no_encap(json!({}))]
#[case::ipip(ipip("Always"))]
#[case::vxlan(vxlan("Always"))]
fn s7_4_a_pod_builds_no_tunnels_whatever_the_cluster_uses_and_wherever_they_lead(#[case] pool: Value) {
    let [mut a, ..] = nodes(pool.clone(), json!({}));
    for to in [NODES[1].3, "10.0.1.6", OUTSIDE] {
        for packet in [to_vxlan_port(POD, to), protocol_4(POD, to)] {
            assert_eq!(reason(a.pod_sends(&packet)), Some(DropReason::WorkloadEncapDenied), "{to}");
        }
    }
    let allow = json!({"allowVXLANPacketsFromWorkloads": true, "allowIPIPPacketsFromWorkloads": true});
    let [mut a, ..] = nodes(pool, allow);
    for packet in [to_vxlan_port(POD, OUTSIDE), protocol_4(POD, OUTSIDE)] {
        assert_eq!(reason(a.pod_sends(&packet)), None);
    }
}

#[rstest]
fn s7_4_an_answer_to_the_vxlan_port_is_let_out_since_established_comes_first(#[values(Family::V4, Family::V6)] family: Family) {
    let [mut a, ..] = nodes_of(family, json!({}), json!({}));
    let answer = Udp {
        source_port: 5000,
        destination_port: 4789,
        ..Udp::of(family, POD, OUTSIDE)
    }
    .build();
    assert_eq!(reason(a.pod_sends(&answer)), Some(DropReason::WorkloadEncapDenied));
    let asked = Udp {
        source_port: 4789,
        ..Udp::of(family, OUTSIDE, POD)
    };
    assert_eq!(delivered(a.wire_brings(&asked.build())).len(), 1);
    assert_eq!(reason(a.pod_sends(&answer)), None);
    assert_eq!(transmitted(&a.outcome).len(), 1);
}

#[test]
fn s7_4_the_kernel_s_own_checks_come_before_the_filter() {
    let [mut a, ..] = nodes(json!({}), json!({}));
    let spent = Udp {
        destination_port: 4789,
        ttl: 1,
        ..Udp::new(POD, OUTSIDE)
    };
    assert_eq!(reason(a.pod_sends(&spent.build())), Some(DropReason::TtlExpired));
}

#[rstest]
#[case::tunnel_rule_first(ipip("Always"), protocol_4(POD, NODE), DropReason::TunnelSourceDenied)]
#[case::tunnel_rule_first(vxlan("Always"), to_vxlan_port(POD, NODE), DropReason::TunnelSourceDenied)]
#[case::workload_rule(json!({}), protocol_4(POD, NODE), DropReason::WorkloadEncapDenied)]
#[case::workload_rule(json!({}), to_vxlan_port(POD, NODE), DropReason::WorkloadEncapDenied)]
#[case::endpoint_to_host(json!({}), Udp::new(POD, NODE).build(), DropReason::PolicyDeny)]
fn a_pod_s_packet_for_its_own_node_meets_the_rules_in_their_order(
    #[case] pool: Value,
    #[case] packet: Vec<u8>,
    #[case] expected: DropReason,
) {
    let [mut a, ..] = nodes(pool, json!({}));
    assert_eq!(reason(a.pod_sends(&packet)), Some(expected));
}

#[rstest]
#[case::another_pod("10.244.0.11")]
#[case::the_tunnel("10.244.0.0")]
#[case::the_node(NODE)]
#[case::anybody(OUTSIDE)]
fn s7_5_a_pod_uses_no_source_but_its_own(#[case] source: &str, #[values(Family::V4, Family::V6)] family: Family) {
    let [mut a, ..] = nodes_of(family, vxlan("Always"), json!({}));
    let packet = Udp::of(family, source, NODES[2].3).build();
    assert_eq!(reason(a.pod_sends(&packet)), Some(DropReason::WorkloadSpoof));
}

#[test]
fn s7_5_a_pod_uses_the_prefixes_that_it_is_allowed_to() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    with(&mut a, |tables| {
        tables.workloads[0].spoofable = vec!["10.0.9.0/24".parse().unwrap()];
    });
    assert_eq!(reason(a.pod_sends(&Udp::new(OUTSIDE, NODES[2].3).build())), None);
    let other = Udp::new("10.0.8.9", NODES[2].3).build();
    assert_eq!(reason(a.pod_sends(&other)), Some(DropReason::WorkloadSpoof));
}

#[rstest]
#[case::off(RpFilter::Off, None)]
#[case::loose(RpFilter::Loose, None)]
#[case::strict(RpFilter::Strict, Some(DropReason::RpFilter))]
fn s7_3_what_a_tunnel_brings_is_held_against_the_tunnel_s_device(
    #[case] rp_filter: RpFilter,
    #[case] expected: Option<DropReason>,
) {
    // b sends by tunnel; a's own route to b's pods is direct, as with unequal masks.
    let [_, mut b, _] = nodes(ipip("Always"), json!({}));
    let [mut a, ..] = nodes(ipip("CrossSubnet"), json!({}));
    with(&mut a, |tables| tables.rp_filter = rp_filter);
    let sent = wire(b.pod_sends(&Udp::new(NODES[1].3, POD).build()));
    assert_eq!(reason(a.wire_brings(&sent)), expected);
    let where_to = a.outcome.drop.and_then(|drop| drop.device);
    let name = where_to.and_then(|id| Some(a.engine.tables().device(id)?.name.to_string()));
    assert_eq!(name.as_deref(), expected.map(|_| "tunl0"));
}

#[test]
fn s7_3_strict_and_loose_both_want_some_way_back() {
    for rp_filter in [RpFilter::Strict, RpFilter::Loose] {
        let [mut a, ..] = nodes(ipip("Always"), json!({}));
        with(&mut a, |tables| {
            let routes: Vec<_> = tables.routes().filter(|r| r.destination.prefix_len() > 0).cloned().collect();
            *tables = tables.clone().with_routes(routes);
            tables.rp_filter = rp_filter;
        });
        for (source, expected) in [
            (OUTSIDE, Some(DropReason::RpFilter)),
            ("10.244.0.33", Some(DropReason::RpFilter)),
            ("10.0.1.6", None),
        ] {
            for to in [POD, NODE] {
                assert_eq!(reason(a.wire_brings(&Udp::new(source, to).build())), expected, "{source}");
            }
        }
    }
}

#[test]
fn s7_3_a_workload_s_device_has_calico_s_own_rule() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    with(&mut a, |tables| tables.rp_filter = RpFilter::Strict);
    assert_eq!(reason(a.pod_sends(&Udp::new(POD, NODES[2].3).build())), None);
    assert_eq!(reason(a.handle(Ingress::Host, &Udp::new(NODE, OUTSIDE).build())), None);
}
