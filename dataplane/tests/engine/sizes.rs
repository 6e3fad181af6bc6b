//! What is too long: inner packets are told or split before encapsulation, tunnel packets split after it, super-packets counted
//! as what they stand for.

use overlab_dataplane::engine::{Ingress, Outcome};
use overlab_dataplane::{Instant, Packet, Segmentation};
use pnet::packet::ipv4::Ipv4Packet;
use rstest::rstest;
use serde_json::{Value, json};

use super::cluster::{NODES, Udp};
use super::{delivered, fix_checksum, icmp_error, ipip, nodes, pod_device, reason, transmitted, vxlan};

#[rstest]
#[case::ipip_fits(ipip("Always"), 1480, None)]
#[case::ipip_one_too_many(ipip("Always"), 1481, Some(1480))]
#[case::vxlan_fits(vxlan("Always"), 1450, None)]
#[case::vxlan_one_too_many(vxlan("Always"), 1451, Some(1450))]
#[case::bare_fits(json!({}), 1500, None)]
#[case::bare_one_too_many(json!({}), 1501, Some(1500))]
fn a_whole_packet_is_told_the_mtu_of_its_route(#[case] pool: Value, #[case] length: usize, #[case] told: Option<u16>) {
    let mut nodes = nodes(pool, json!({}));
    let packet = Udp {
        length,
        ..Udp::new(NODES[0].3, NODES[2].3)
    };
    let outcome = nodes[0].pod_sends(&packet.build());
    assert_eq!(icmp_error(outcome), told.map(|mtu| ("10.0.1.5".to_owned(), 3, 4, mtu)));
    assert_eq!(reason(outcome).map(|reason| reason.name()), told.map(|_| "too_big"));
}

#[rstest]
#[case::ipip(ipip("Always"), 20)]
#[case::vxlan(vxlan("Always"), 50)]
fn a_packet_that_may_be_split_is_split_before_encapsulation(#[case] pool: Value, #[case] overhead: usize) {
    let mut nodes = nodes(pool, json!({}));
    let packet = Udp {
        length: 1500,
        dont_fragment: false,
        ..Udp::new(NODES[0].3, NODES[2].3)
    };
    let wire = transmitted(nodes[0].pod_sends(&packet.build()));
    let total: usize = wire.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!((wire.len(), total), (2, 1500 + 20 + 2 * overhead));
    assert!(
        wire.iter().all(|(_, bytes)| bytes.len() <= 1500 && bytes[6] & 0x20 == 0),
        "no tunnel packet is a fragment"
    );
    for (_, bytes) in wire {
        let arrived = delivered(nodes[2].wire_brings(&bytes));
        assert_eq!(arrived.len(), 1, "each arrives by itself");
    }
}

#[test]
fn a_vxlan_packet_longer_than_the_card_takes_is_split_and_joined_in_any_order() {
    for order in [[0, 1], [1, 0]] {
        let mut nodes = nodes(vxlan("Always"), json!({"vxlanMTU": 1500}));
        let packet = Udp {
            length: 1500,
            ..Udp::new(NODES[0].3, NODES[2].3)
        };
        let wire = transmitted(nodes[0].pod_sends(&packet.build()));
        assert_eq!(wire.iter().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>(), [1500, 70]);
        assert!(delivered(nodes[2].wire_brings(&wire[order[0]].1)).is_empty());
        let arrived = delivered(nodes[2].wire_brings(&wire[order[1]].1));
        let mut expected = packet.build();
        expected[8] = 62;
        fix_checksum(&mut expected);
        assert_eq!(arrived, [(true, expected)]);
    }
}

#[test]
fn an_ipip_packet_longer_than_the_card_takes_is_told_if_df_and_split_if_not() {
    let mut nodes = nodes(ipip("Always"), json!({"ipipMTU": 1500}));
    let packet = Udp {
        length: 1490,
        ..Udp::new(NODES[0].3, NODES[2].3)
    };
    let told = icmp_error(nodes[0].pod_sends(&packet.build()));
    assert_eq!(told, Some(("10.0.1.5".to_owned(), 3, 4, 1480)));
    let wire = transmitted(
        nodes[0].pod_sends(
            &Udp {
                dont_fragment: false,
                ..packet
            }
            .build(),
        ),
    );
    assert_eq!(wire.len(), 2);
    assert!(
        wire.iter()
            .all(|(_, bytes)| Ipv4Packet::new(bytes).unwrap().get_next_level_protocol().0 == 4)
    );
}

/// A super-packet as a kernel with segmentation offload hands it over: one header, many payloads.
fn super_packet(pieces: u16, size: u16) -> Packet {
    let length = 28 + usize::from(pieces) * usize::from(size);
    let mut packet = Packet::from_bytes(
        &Udp {
            length,
            ..Udp::new(NODES[0].3, NODES[2].3)
        }
        .build(),
    );
    packet.set_segmentation(Some(Segmentation { header_len: 28, size }));
    packet
}

#[rstest]
#[case(ipip("Always"), 20)]
#[case(vxlan("Always"), 50)]
#[case(json!({}), 0)]
fn a_super_packet_counts_and_fares_as_the_packets_that_it_stands_for(#[case] pool: Value, #[case] overhead: u64) {
    for size in [100, 1400, 1440, 1470, 1473] {
        let [mut whole, ..] = nodes(pool.clone(), json!({}));
        let [mut single, ..] = nodes(pool.clone(), json!({}));
        let pod = Ingress::Device(pod_device(whole.engine.tables()));
        let mut outcome = Outcome::default();
        whole.engine.handle(Instant::ZERO, pod, super_packet(7, size), &mut outcome);
        for _ in 0..7 {
            single.pod_sends(
                &Udp {
                    length: 28 + usize::from(size),
                    ..Udp::new(NODES[0].3, NODES[2].3)
                }
                .build(),
            );
        }
        assert_eq!(reason(&outcome), reason(&single.outcome), "{size}");
        let (whole, single) = (whole.engine.counters(), single.engine.counters());
        assert_eq!(
            (whole.transmitted_packets, whole.transmitted_bytes, whole.overhead_bytes),
            (single.transmitted_packets, single.transmitted_bytes, single.overhead_bytes),
            "{size}"
        );
        let sent = if reason(&outcome).is_none() { 7 * overhead } else { 0 };
        assert_eq!(whole.overhead_bytes, sent, "{size}");
    }
}
