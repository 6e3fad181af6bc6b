//! What is too long: inner packets are told or split before encapsulation, tunnel packets split after it, super-packets counted
//! as what they stand for.

use overlab_dataplane::engine::{DropReason, Ingress, Outcome};
use overlab_dataplane::{Family, Instant, Packet, Segmentation};
use pnet::packet::ipv4::Ipv4Packet;
use rstest::rstest;
use serde_json::{Value, json};

use super::cluster::{NODES, Udp, like};
use super::{delivered, fix_checksum, icmp_error, ipip, nodes, nodes_of, pod_device, reason, transmitted, vxlan};

#[rstest]
#[case::ipip_fits(Family::V4, ipip("Always"), 1480, None)]
#[case::ipip_one_too_many(Family::V4, ipip("Always"), 1481, Some(1480))]
#[case::vxlan_fits(Family::V4, vxlan("Always"), 1450, None)]
#[case::vxlan_one_too_many(Family::V4, vxlan("Always"), 1451, Some(1450))]
#[case::bare_fits(Family::V4, json!({}), 1500, None)]
#[case::bare_one_too_many(Family::V4, json!({}), 1501, Some(1500))]
#[case::vxlan6_fits(Family::V6, vxlan("Always"), 1430, None)]
#[case::vxlan6_one_too_many(Family::V6, vxlan("Always"), 1431, Some(1430))]
#[case::bare6_fits(Family::V6, json!({}), 1500, None)]
#[case::bare6_one_too_many(Family::V6, json!({}), 1501, Some(1500))]
fn a_whole_packet_is_told_the_mtu_of_its_route(
    #[case] family: Family,
    #[case] pool: Value,
    #[case] length: usize,
    #[case] told: Option<u16>,
) {
    let mut nodes = nodes_of(family, pool, json!({}));
    let packet = Udp {
        length,
        ..Udp::of(family, NODES[0].3, NODES[2].3)
    };
    let outcome = nodes[0].pod_sends(&packet.build());
    let (kind, code) = match family {
        Family::V4 => (3, 4),
        Family::V6 => (2, 0),
    };
    let expected = told.map(|mtu| (like(family, "10.0.1.5"), kind, code, mtu));
    assert_eq!(icmp_error(outcome), expected);
    assert_eq!(reason(outcome), told.map(|_| DropReason::TooBig));
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
fn super_packet(family: Family, pieces: u16, size: u16) -> Packet {
    let header_len = headers(family);
    let whole = Udp {
        length: usize::from(header_len) + usize::from(pieces) * usize::from(size),
        ..Udp::of(family, NODES[0].3, NODES[2].3)
    };
    let mut packet = Packet::from_bytes(&whole.build());
    packet.set_segmentation(Some(Segmentation { header_len, size }));
    packet
}

/// The length of IP and UDP header.
fn headers(family: Family) -> u16 {
    match family {
        Family::V4 => 28,
        Family::V6 => 48,
    }
}

#[rstest]
#[case(Family::V4, ipip("Always"), 20)]
#[case(Family::V4, vxlan("Always"), 50)]
#[case(Family::V4, json!({}), 0)]
#[case(Family::V6, vxlan("Always"), 70)]
#[case(Family::V6, json!({}), 0)]
fn a_super_packet_counts_and_fares_as_the_packets_that_it_stands_for(
    #[case] family: Family,
    #[case] pool: Value,
    #[case] overhead: u64,
) {
    for size in [100, 1380, 1400, 1440, 1450, 1453, 1470, 1473] {
        let [mut whole, ..] = nodes_of(family, pool.clone(), json!({}));
        let [mut single, ..] = nodes_of(family, pool.clone(), json!({}));
        let pod = Ingress::Device(pod_device(whole.engine.tables()));
        let mut outcome = Outcome::default();
        let packet = super_packet(family, 7, size);
        whole.engine.handle(Instant::ZERO, pod, packet, &mut outcome);
        let piece = Udp {
            length: usize::from(headers(family) + size),
            ..Udp::of(family, NODES[0].3, NODES[2].3)
        };
        for _ in 0..7 {
            single.pod_sends(&piece.build());
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
