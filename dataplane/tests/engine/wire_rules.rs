//! What must be true on the wire, by the numbers of `docs/wire.md`: what the other files do not show already. Bytes are read by pnet.

use std::collections::BTreeSet;

use overlab_dataplane::engine::Ingress;
use overlab_dataplane::wire::fragment::split;
use overlab_dataplane::{Family, Instant, Mtu, Packet};
use pnet::packet::ipv4::Ipv4Packet;
use rstest::rstest;
use serde_json::{Value, json};

use super::cluster::{NODES, Udp, like};
use super::{delivered, fix_checksum, icmp_error, ipip, nodes, nodes_of, reason, transmitted, vxlan, wire};

fn a_to_c() -> Udp {
    Udp::new(NODES[0].3, NODES[2].3)
}

fn port(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[20], bytes[21]])
}

#[test]
fn a10_options_of_the_inner_header_stay_inside() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let mut packet = a_to_c().build();
    packet.splice(20..20, [148, 4, 0, 0]);
    packet[0] = 0x46;
    packet[3] += 4;
    fix_checksum(&mut packet);
    let bytes = wire(a.pod_sends(&packet));
    let outer = Ipv4Packet::new(&bytes).unwrap();
    assert_eq!(
        (outer.get_header_length(), bytes[20], &bytes[40..44]),
        (5, 0x46, &[148, 4, 0, 0][..])
    );
}

#[rstest]
fn a14_f4_nothing_leaves_with_ttl_0(#[values(0, 1)] ttl: u8) {
    for pool in [ipip("Always"), vxlan("Always"), json!({})] {
        let [mut a, ..] = nodes(pool, json!({}));
        let outcome = a.pod_sends(&Udp { ttl, ..a_to_c() }.build());
        assert_eq!(
            (reason(outcome).unwrap().name(), transmitted(outcome).len()),
            ("ttl_expired", 0)
        );
        assert_eq!(icmp_error(outcome).map(|(_, kind, code, _)| (kind, code)), Some((11, 0)));
    }
}

/// Linux does not ask; only a way of the tunnel packet through the tunnel itself is refused.
#[test]
fn a20_a_packet_of_the_tunnel_s_far_end_is_tunnelled_to_it() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let bytes = wire(a.wire_brings(&Udp::new("10.0.2.7", NODES[2].3).build()));
    let outer = Ipv4Packet::new(&bytes).unwrap();
    assert_eq!(
        (outer.get_next_level_protocol().0, outer.get_destination()),
        (4, [10, 0, 2, 7].into())
    );
}

#[test]
fn b13_i2_a_flow_keeps_its_source_port_whatever_its_packets_are_like() {
    for family in Family::ALL {
        let [mut a, ..] = nodes_of(family, vxlan("Always"), json!({}));
        let at = if family == Family::V4 { 20 } else { 40 };
        let packets = [(100, 64, 0), (1000, 9, 0), (200, 64, 46 << 2 | 1)];
        let ports = packets.map(|(length, ttl, traffic_class)| {
            let packet = Udp {
                length,
                ttl,
                traffic_class,
                ..Udp::new(&like(family, NODES[0].3), &like(family, NODES[2].3))
            };
            let bytes = wire(a.pod_sends(&packet.build()));
            [bytes[at], bytes[at + 1]]
        });
        assert_eq!(BTreeSet::from(ports).len(), 1);
    }
}

#[test]
fn b29_nothing_is_learned_of_who_sent() {
    let [mut a, _, mut c] = nodes(vxlan("Always"), json!({}));
    let mut bytes = wire(a.pod_sends(&a_to_c().build()));
    // From node b, which is on the list, with a MAC address of its own choice.
    bytes[15] = 6;
    bytes[26..28].fill(0);
    bytes[42..48].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    fix_checksum(&mut bytes);
    assert_eq!(delivered(c.wire_brings(&bytes)).len(), 1);
    let back = wire(c.pod_sends(&Udp::new(NODES[2].3, NODES[0].3).build()));
    assert_eq!(back[16..20], [10, 0, 1, 5]);
    assert_ne!(back[36..42], [2, 0, 0, 0, 0, 9]);
}

#[test]
fn d5_e6_no_mtu_is_less_than_68_and_68_bytes_pass_whole() {
    assert_eq!(Mtu::new(67), None);
    let packet = Packet::from_bytes(
        &Udp {
            length: 68,
            dont_fragment: false,
            ..a_to_c()
        }
        .build(),
    );
    let mut pieces = Vec::new();
    split(&packet, Mtu::new(68).unwrap(), 1, &mut pieces).unwrap();
    assert_eq!(pieces.len(), 1);
}

#[test]
fn e20_identifications_of_whole_packets_mean_nothing() {
    let [mut a, _, mut c] = nodes(ipip("Always"), json!({}));
    let bytes = wire(a.pod_sends(&a_to_c().build()));
    for _ in 0..3 {
        assert_eq!(delivered(c.wire_brings(&bytes)).len(), 1);
    }
}

#[test]
fn e21_outer_identifications_count_up_and_repeat_after_65536() {
    for pool in [ipip("Always"), vxlan("Always")] {
        let [mut a, ..] = nodes(pool, json!({}));
        let packet = a_to_c().build();
        let ids: Vec<u16> = (0..65537)
            .map(|_| Ipv4Packet::new(&wire(a.pod_sends(&packet))).unwrap().get_identification())
            .collect();
        assert!(ids.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
        assert_eq!(ids[0], ids[65536]);
    }
}

#[test]
fn e26_pieces_of_one_inner_packet_have_one_source_port() {
    let [mut a, ..] = nodes(vxlan("Always"), json!({}));
    let packet = Udp {
        length: 1500,
        dont_fragment: false,
        ..a_to_c()
    };
    let pieces = transmitted(a.pod_sends(&packet.build()));
    assert_eq!((pieces.len(), port(&pieces[0].1)), (2, port(&pieces[1].1)));
}

#[test]
fn f3_a_packet_for_the_node_itself_may_have_ttl_1() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let packet = Udp {
        ttl: 1,
        ..Udp::new("10.0.9.9", "10.0.1.5")
    };
    assert_eq!(delivered(a.wire_brings(&packet.build())).len(), 1);
}

#[rstest]
#[case::f5_checksum(10, 0xff)]
#[case::f6_version(0, 0x55)]
#[case::f7_header_length(0, 0x44)]
#[case::f8_total_length(3, 19)]
#[case::f9_cut_short(3, 129)]
fn a_header_that_is_none_is_dropped_without_a_word(#[case] at: usize, #[case] value: u8) {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let mut bytes = Udp::new("10.0.9.9", NODES[0].3).build();
    bytes[at] = value;
    if at != 10 {
        bytes[10..12].fill(0);
        let sum = pnet::util::checksum(&bytes[..20], 5);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let outcome = a.wire_brings(&bytes);
    assert_eq!((reason(outcome).unwrap().name(), outcome.out.len()), ("malformed", 0));
}

#[rstest]
fn f15_addresses_that_are_no_host_s_are_not_taken_as_sources(
    #[values("0.0.0.0", "0.9.9.9", "127.0.0.1", "224.0.0.5", "240.0.0.1", "255.255.255.255")] source: &str,
    #[values("10.0.1.5", "10.244.0.10", "10.244.0.140")] destination: &str,
) {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let outcome = a.wire_brings(&Udp::new(source, destination).build());
    assert_eq!((reason(outcome).unwrap().name(), outcome.out.len()), ("martian", 0));
}

/// The error that left, as bytes.
fn error(outcome: &overlab_dataplane::engine::Outcome) -> Vec<u8> {
    outcome.out[0].packet().bytes().to_vec()
}

#[test]
fn g1_g2_g3_g8_g10_an_error_quotes_what_came_in_as_far_as_it_fits_in_576_bytes() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let long = Udp {
        length: 1490,
        ttl: 17,
        ..a_to_c()
    };
    let short = Udp {
        length: 100,
        ttl: 1,
        ..a_to_c()
    };
    for (packet, quoted) in [(long, 548), (short, 100)] {
        let sent = packet.build();
        let told = error(a.pod_sends(&sent));
        let ip = Ipv4Packet::new(&told).unwrap();
        assert_eq!((told.len(), &told[28..]), (28 + quoted, &sent[..quoted]));
        assert_eq!((ip.get_ttl(), told[1], told[24..26].to_vec()), (64, 0xc0, vec![0, 0]));
    }
}

#[test]
fn g13_g14_icmpv6_errors_are_limited_but_for_packet_too_big() {
    let [mut a, ..] = nodes_of(Family::V6, vxlan("Always"), json!({}));
    let packet = |length, ttl| Udp {
        length,
        ttl,
        ..Udp::new(&like(Family::V6, NODES[0].3), &like(Family::V6, NODES[2].3))
    };
    let mut told = |packet: Udp| {
        (0..200)
            .filter(|_| icmp_error(a.pod_sends(&packet.build())).is_some())
            .count()
    };
    let expired = told(packet(100, 1));
    assert!((1..200).contains(&expired), "{expired}");
    assert_eq!(told(packet(1431, 64)), 200);
    a.now = Instant::from_nanos(60_000_000_000);
    assert!(icmp_error(a.pod_sends(&packet(100, 1).build())).is_some());
}

#[test]
fn i4_between_two_nodes_ip_in_ip_is_one_flow_whatever_is_inside() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let mut seen = BTreeSet::new();
    for source_port in 1000..1100 {
        let bytes = wire(a.pod_sends(&Udp { source_port, ..a_to_c() }.build()));
        seen.insert((bytes[9], bytes[12..20].to_vec()));
    }
    assert_eq!(seen.len(), 1);
}

#[rstest]
#[case(ipip("Always"))]
#[case(vxlan("Always"))]
fn j2_j3_the_inner_dscp_arrives_whatever_the_outer_one_has_become(#[case] pool: Value) {
    let [mut a, _, mut c] = nodes(pool, json!({}));
    let packet = Udp {
        traffic_class: 10 << 2 | 1,
        ..a_to_c()
    };
    let mut bytes = wire(a.pod_sends(&packet.build()));
    assert_eq!(bytes[1], 1);
    bytes[1] = 46 << 2 | 3;
    fix_checksum(&mut bytes);
    let arrived = delivered(c.wire_brings(&bytes)).pop().unwrap().1;
    assert_eq!(arrived[1], 10 << 2 | 3, "the congestion gets inside, the DSCP does not");
}

#[test]
fn l4_what_is_for_a_workload_of_the_same_node_is_never_encapsulated() {
    let [mut a, ..] = nodes(vxlan("Always"), json!({}));
    let outcome = a.handle(Ingress::Host, &Udp::new("10.0.1.5", NODES[0].3).build());
    assert_eq!((delivered(outcome).len(), transmitted(outcome).len()), (1, 0));
}
