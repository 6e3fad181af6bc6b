//! The node's own stack: what is for it never leaves, and it is told of its own packets' fate.

use std::net::Ipv4Addr;
use std::sync::Arc;

use overlab_dataplane::engine::{DropReason, Ingress, Outcome, Step};
use overlab_dataplane::route::NodeTables;
use overlab_dataplane::{Family, Instant};
use rstest::rstest;
use serde_json::{Value, json};

use super::cluster::{NODES, Udp, like};
use super::{delivered, fix_checksum, icmp_error, ipip, nodes, nodes_of, reason, transmitted, vxlan, wire};

#[rstest]
#[case::the_card_s("10.0.1.5")]
#[case::the_tunnel_s("10.244.0.0")]
fn a_packet_of_the_node_to_itself_never_leaves_it(#[case] address: &str, #[values(Family::V4, Family::V6)] family: Family) {
    let [mut a, ..] = nodes_of(family, vxlan("Always"), json!({}));
    let sent = Udp::of(family, "10.0.1.5", address).build();
    let outcome = a.handle(Ingress::Host, &sent);
    assert_eq!(delivered(outcome), [(false, sent)]);
    assert!(transmitted(outcome).is_empty(), "{outcome:?}");
}

#[test]
fn a_node_is_told_itself_that_its_packet_does_not_fit_the_tunnel() {
    let [mut a, ..] = nodes(ipip("Always"), json!({"ipipMTU": 1500}));
    let sent = Udp {
        length: 1490,
        ..Udp::new("10.244.0.0", NODES[2].3)
    };
    let outcome = a.handle(Ingress::Host, &sent.build());
    assert_eq!(reason(outcome), Some(DropReason::TooBig));
    assert_eq!(icmp_error(outcome), Some(("10.0.1.5".to_owned(), 3, 4, 1480)));
    assert!(!delivered(outcome)[0].0, "it is for the node itself");
}

#[rstest]
#[case::many("ff02::1")]
#[case::many_in_the_site("ff05::1")]
#[case::one_link("fe80::1")]
fn an_ipv6_destination_that_is_no_host_s_is_not_forwarded(#[case] destination: &str) {
    let [mut a, ..] = nodes_of(Family::V6, vxlan("Always"), json!({}));
    let sent = Udp::new(&like(Family::V6, NODES[0].3), destination).build();
    assert_eq!(reason(a.pod_sends(&sent)), Some(DropReason::Martian));
    assert!(a.outcome.out.is_empty(), "and nobody is told");
}

#[rstest]
#[case("0.0.0.0")]
#[case("127.0.0.1")]
#[case("224.0.0.1")]
#[case("255.255.255.255")]
fn a_destination_that_is_no_host_s_is_not_forwarded(#[case] destination: &str) {
    let [mut a, _, mut c] = nodes(ipip("Always"), json!({}));
    let sent = Udp::new(NODES[0].3, destination).build();
    assert_eq!(reason(a.pod_sends(&sent)), Some(DropReason::Martian));
    assert!(a.outcome.out.is_empty(), "and nobody is told");
    // What comes out of a tunnel is held to the same.
    let mut tunnelled = wire(a.pod_sends(&Udp::new(NODES[0].3, NODES[2].3).build()));
    tunnelled[36..40].copy_from_slice(&destination.parse::<Ipv4Addr>().unwrap().octets());
    fix_checksum(&mut tunnelled[20..]);
    assert_eq!(reason(c.wire_brings(&tunnelled)), Some(DropReason::Martian));
    assert!(c.outcome.steps.iter().any(|step| matches!(step, Step::Decapsulated { .. })));
}

/// A fragment of 104 B behind its IP header: the first of a packet, or the last.
fn fragment(family: Family, first: bool) -> Vec<u8> {
    let header = if family == Family::V4 { 20 } else { 40 };
    let mut bytes = Udp {
        dont_fragment: false,
        length: header + 104,
        ..Udp::of(family, NODES[0].3, "10.0.1.5")
    }
    .build();
    if family == Family::V4 {
        bytes[6..8].copy_from_slice(if first { &[0x20, 0] } else { &[0, 8] });
        fix_checksum(&mut bytes);
        return bytes;
    }
    // The fragment header takes the first 8 B of them: UDP, offset and "more", identification.
    bytes[6] = 44;
    bytes[40..48].copy_from_slice(&[17, 0, 0, if first { 1 } else { 96 }, 0, 0, 0, 7]);
    bytes
}

/// Source: Linux net/ipv4/ip_fragment.c, IP_FRAG_TIME; net/ipv6/reassembly.c, IPV6_FRAG_TIMEOUT.
#[rstest]
#[case(Family::V4, 30, (11, 1))]
#[case(Family::V6, 60, (3, 1))]
fn fragments_that_wait_in_vain_are_told_and_counted_once(#[case] family: Family, #[case] seconds: u64, #[case] error: (u8, u8)) {
    for first in [true, false] {
        let [mut a, ..] = nodes_of(family, json!({}), json!({"defaultEndpointToHostAction": "Accept"}));
        assert!(a.pod_sends(&fragment(family, first)).out.is_empty());
        let deadline = a.engine.next_deadline().unwrap();
        assert_eq!(deadline, Instant::from_nanos(seconds * 1_000_000_000));
        let mut outcome = Outcome::default();
        assert_eq!(a.engine.expire(deadline, &mut outcome).len(), 1);
        let told = icmp_error(&outcome).map(|(_, kind, code, _)| (kind, code));
        assert_eq!(
            told,
            first.then_some(error),
            "only about the first fragment (RFC 1122 section 3.3.2, RFC 8200 section 4.5)"
        );
        assert_eq!((a.engine.counters().dropped_packets, a.engine.next_deadline()), (1, None));
    }
}

#[rstest]
fn a_workload_reaches_its_node_where_that_is_accepted(#[values(Family::V4, Family::V6)] family: Family) {
    let [mut a, ..] = nodes_of(family, json!({}), json!({"defaultEndpointToHostAction": "Accept"}));
    for address in ["10.0.1.5", "10.0.1.6"] {
        let outcome = a.pod_sends(&Udp::of(family, NODES[0].3, address).build());
        assert_eq!(reason(outcome), None, "another node is not asked for leave");
        assert_eq!(delivered(outcome).len() + transmitted(outcome).len(), 1);
    }
}

#[test]
fn a_workload_s_icmp_error_reaches_its_node_only_about_what_the_node_began() {
    let [mut a, ..] = nodes(json!({}), json!({}));
    let asked = Udp::new("10.0.1.5", NODES[0].3).build();
    let mut port_unreachable = Udp {
        length: 56,
        ..Udp::new(NODES[0].3, "10.0.1.5")
    }
    .build();
    port_unreachable[9] = 1;
    port_unreachable[20..28].copy_from_slice(&[3, 3, 0, 0, 0, 0, 0, 0]);
    port_unreachable[28..].copy_from_slice(&asked[..28]);
    let sum = pnet::packet::util::checksum(&port_unreachable[20..], 1);
    port_unreachable[22..24].copy_from_slice(&sum.to_be_bytes());
    fix_checksum(&mut port_unreachable);
    assert_eq!(reason(a.pod_sends(&port_unreachable)), Some(DropReason::PolicyDeny));
    a.handle(Ingress::Host, &asked);
    assert_eq!(delivered(a.pod_sends(&port_unreachable)), [(false, port_unreachable)]);
}

#[rstest]
#[case(ipip("Always"))]
#[case(vxlan("Always"))]
fn a_tunnel_takes_packets_of_a_stranger_only_if_it_is_listed(#[case] pool: Value) {
    let [mut a, _, mut c] = nodes(pool, json!({}));
    let mut tunnelled = wire(a.pod_sends(&Udp::new(NODES[0].3, NODES[2].3).build()));
    tunnelled[12..16].copy_from_slice(&[10, 0, 9, 9]);
    // The UDP checksum covers the address; 0 says that there is none.
    if tunnelled[9] == 17 {
        tunnelled[26..28].fill(0);
    }
    fix_checksum(&mut tunnelled);
    assert_eq!(reason(c.wire_brings(&tunnelled)), Some(DropReason::TunnelSourceDenied));
    let mut tables = NodeTables::clone(c.engine.tables());
    let ipip = tables.ipip.iter_mut().map(|tunnel| &mut tunnel.allowed);
    let vxlan = tables.vxlan_allowed.v4.iter_mut();
    ipip.chain(vxlan).for_each(|allowed| {
        allowed.external = ["10.0.9.9/32".parse().unwrap()].into();
    });
    c.engine.set_tables(Arc::new(tables));
    assert_eq!(reason(c.wire_brings(&tunnelled)), None);
    assert_eq!(delivered(&c.outcome).len(), 1);
}
