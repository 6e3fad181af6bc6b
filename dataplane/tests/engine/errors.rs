//! ICMP errors of the node's own: from which address, how many, and by which way.

use overlab_dataplane::Instant;
use overlab_dataplane::engine::Step;
use pnet::packet::Packet as _;
use pnet::packet::ipv4::Ipv4Packet;
use serde_json::json;

use super::cluster::{NODES, Udp};
use super::{icmp_error, ipip, nodes, reason, transmitted, vxlan, wire};

#[test]
fn a_local_workload_is_told_from_the_card_s_address_and_a_remote_one_from_the_tunnel_s() {
    let [mut a, _, mut c] = nodes(ipip("Always"), json!({}));
    let short = Udp {
        ttl: 1,
        ..Udp::new(NODES[0].3, NODES[2].3)
    };
    assert_eq!(icmp_error(a.pod_sends(&short.build())).unwrap().0, "10.0.1.5");
    let ends_there = Udp { ttl: 2, ..short };
    let tunnelled = wire(a.pod_sends(&ends_there.build()));
    let outcome = c.wire_brings(&tunnelled);
    assert_eq!(reason(outcome).unwrap().name(), "ttl_expired");
    // The error goes back through the tunnel, like any packet of the node to that workload.
    let (_, back) = transmitted(outcome).pop().unwrap();
    let outer = Ipv4Packet::new(&back).unwrap();
    assert_eq!(
        (outer.get_next_level_protocol().0, outer.get_destination().to_string()),
        (4, "10.0.1.5".to_owned())
    );
    let inner = Ipv4Packet::new(outer.payload()).unwrap();
    assert_eq!(
        (inner.get_source().to_string(), inner.get_destination().to_string()),
        ("10.244.0.128".into(), NODES[0].3.into())
    );
    assert_eq!((inner.get_ttl(), inner.get_dscp() << 2), (64, 0xc0));
}

#[test]
fn a_receiver_gets_six_errors_at_once_and_then_one_a_second_but_every_too_big() {
    let [mut a, ..] = nodes(vxlan("Always"), json!({}));
    let expired = Udp {
        ttl: 1,
        ..Udp::new(NODES[0].3, NODES[2].3)
    }
    .build();
    let long = Udp {
        length: 1500,
        ..Udp::new(NODES[0].3, NODES[2].3)
    }
    .build();
    let told = |node: &mut super::Node, at: u64, bytes: &[u8]| {
        node.now = Instant::from_nanos(at * 1_000_000);
        icmp_error(node.pod_sends(bytes)).is_some()
    };
    assert_eq!((0..10).filter(|_| told(&mut a, 0, &expired)).count(), 6);
    assert!(a.outcome.steps.contains(&Step::IcmpSuppressed));
    assert!((0..10).all(|_| told(&mut a, 0, &long)), "\"too big\" is never held back");
    assert_eq!((1..=3500).step_by(10).filter(|at| told(&mut a, *at, &expired)).count(), 3);
    assert_eq!((0..10).filter(|_| told(&mut a, 60_000, &expired)).count(), 6);
}

#[test]
fn nobody_is_told_about_an_icmp_error_or_a_later_fragment() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let mut error = Udp {
        ttl: 1,
        length: 56,
        ..Udp::new(NODES[0].3, NODES[2].3)
    }
    .build();
    error[9] = 1;
    error[20..28].copy_from_slice(&[3, 3, 0, 0, 0, 0, 0, 0]);
    super::fix_checksum(&mut error);
    let mut later = Udp {
        ttl: 1,
        dont_fragment: false,
        ..Udp::new(NODES[0].3, NODES[2].3)
    }
    .build();
    later[7] = 8;
    super::fix_checksum(&mut later);
    for bytes in [error, later] {
        let outcome = a.pod_sends(&bytes);
        assert_eq!((reason(outcome).unwrap().name(), icmp_error(outcome)), ("ttl_expired", None));
    }
}

#[test]
fn the_steps_of_an_error_s_own_way_are_not_those_of_the_packet() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let outcome = a.pod_sends(
        &Udp {
            ttl: 1,
            ..Udp::new(NODES[0].3, NODES[2].3)
        }
        .build(),
    );
    let tail = &outcome.steps[outcome.steps.len() - 2..];
    assert!(matches!(tail, [Step::Routed { .. }, Step::IcmpSent { .. }]), "{tail:?}");
}

#[test]
fn an_error_that_finds_no_way_back_is_not_said_to_have_been_sent() {
    let [mut a, ..] = nodes(json!({}), json!({}));
    // The sender's address is of this node's block, and nobody has it.
    let expired = Udp {
        ttl: 1,
        ..Udp::new("10.244.0.11", NODES[0].3)
    };
    let outcome = a.wire_brings(&expired.build());
    assert_eq!((reason(outcome).unwrap().name(), outcome.out.len()), ("ttl_expired", 0));
    assert!(!outcome.steps.iter().any(|step| matches!(step, Step::IcmpSent { .. })));
}

#[test]
fn an_error_about_a_packet_for_the_node_comes_from_the_address_that_was_asked() {
    let [_, _, mut c] = nodes(ipip("Always"), json!({}));
    for asked in ["10.0.2.7", "10.244.0.128"] {
        let vxlan = Udp {
            destination_port: 4789,
            ..Udp::new("10.0.1.5", asked)
        };
        assert_eq!(icmp_error(c.wire_brings(&vxlan.build())), Some((asked.to_owned(), 3, 3, 0)));
    }
}
