//! Path MTU discovery through tunnels: what a node learns from the underlay's ICMP errors about its tunnel packets, whom it tells,
//! and for how long. ICMP and IPv6 packets are built and read by pnet.

use std::sync::Arc;

use overlab_dataplane::engine::{Outcome, Step};
use overlab_dataplane::route::{Device, DeviceId, NodeTables, Route};
use overlab_dataplane::{Family, Instant, Packet};
use pnet::packet::Packet as _;
use pnet::packet::icmpv6::{self, Icmpv6Packet, MutableIcmpv6Packet};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet::packet::udp::{MutableUdpPacket, ipv6_checksum};
use rstest::rstest;
use serde_json::json;

use super::cluster::{NODES, Udp, like, tables};
use super::{Node, delivered, fix_checksum, icmp_error, ipip, nodes, reason, transmitted, vxlan, wire};

/// A packet of this length from pod-a to pod-c.
fn long(length: usize, dont_fragment: bool) -> Vec<u8> {
    let packet = Udp {
        length,
        dont_fragment,
        ..Udp::new(NODES[0].3, NODES[2].3)
    };
    packet.build()
}

/// What a router tells node a about a packet of which it quotes so many bytes.
fn fragmentation_needed(about: &[u8], mtu: u16, quoted: usize) -> Vec<u8> {
    icmp_about(about, (3, 4, mtu), quoted)
}

/// An ICMP message of this type, code and last word from a router to node a, about a packet of which it quotes so many bytes.
pub(super) fn icmp_about(about: &[u8], (kind, code, word): (u8, u8, u16), quoted: usize) -> Vec<u8> {
    let quote = &about[..about.len().min(quoted)];
    let mut bytes = Udp {
        length: 28 + quote.len(),
        dont_fragment: false,
        ..Udp::new("10.0.1.1", "10.0.1.5")
    }
    .build();
    bytes[9] = 1;
    bytes[20..28].copy_from_slice(&[kind, code, 0, 0, 0, 0, (word >> 8) as u8, word as u8]);
    bytes[28..].copy_from_slice(quote);
    let sum = pnet::util::checksum(&bytes[20..], 1);
    bytes[22..24].copy_from_slice(&sum.to_be_bytes());
    fix_checksum(&mut bytes);
    bytes
}

fn learned(outcome: &Outcome) -> Option<(String, u16)> {
    outcome.steps.iter().find_map(|step| {
        if let Step::PathMtuLearned { destination, mtu } = step {
            Some((destination.to_string(), *mtu))
        } else {
            None
        }
    })
}

fn seconds(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

#[test]
fn d24_the_first_too_big_packet_teaches_the_node_and_the_second_the_sender() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let first = wire(a.pod_sends(&long(1480, true)));
    let outcome = a.wire_brings(&fragmentation_needed(&first, 1400, 548));
    assert_eq!(learned(outcome), Some(("10.0.2.7".into(), 1400)));
    assert!(!delivered(outcome)[0].0, "the node's own stack hears it too");
    // A26, D23: what fits into the path less the tunnel's 20 B.
    let outcome = a.pod_sends(&long(1480, true));
    assert_eq!(icmp_error(outcome), Some(("10.0.1.5".into(), 3, 4, 1380)));
    assert_eq!((reason(outcome).unwrap().name(), transmitted(outcome).len()), ("too_big", 0));
    assert_eq!(wire(a.pod_sends(&long(1380, true))).len(), 1400);
    assert_eq!(icmp_error(a.pod_sends(&long(1381, true))).unwrap().3, 1380);
}

#[test]
fn a_packet_without_df_is_split_outside_to_what_was_learned() {
    for pool in [ipip("Always"), vxlan("Always")] {
        let [mut a, _, mut c] = nodes(pool, json!({}));
        let whole = wire(a.pod_sends(&long(1450, false)));
        a.wire_brings(&fragmentation_needed(&whole, 1400, 548));
        let pieces = transmitted(a.pod_sends(&long(1450, false)));
        assert_eq!(pieces.len(), 2);
        assert!(pieces.iter().all(|(_, piece)| piece.len() <= 1400));
        assert!(delivered(c.wire_brings(&pieces[0].1)).is_empty());
        assert_eq!(delivered(c.wire_brings(&pieces[1].1))[0].1.len(), 1450);
    }
}

#[test]
fn l13_vxlan_over_ipv4_splits_outside_whatever_df_says_and_tells_nobody() {
    let [mut a, ..] = nodes(vxlan("Always"), json!({}));
    let whole = wire(a.pod_sends(&long(1450, true)));
    a.wire_brings(&fragmentation_needed(&whole, 1400, 548));
    for _ in 0..3 {
        let outcome = a.pod_sends(&long(1450, true));
        assert_eq!((icmp_error(outcome), transmitted(outcome).len()), (None, 2));
    }
    assert_eq!(wire(a.pod_sends(&long(1350, true))).len(), 1400);
}

#[rstest]
#[case::addresses_alone(ipip("Always"), 28, true)]
#[case::udp_alone(vxlan("Always"), 28, false)]
#[case::one_byte_less_than_vxlan(vxlan("Always"), 35, false)]
#[case::vxlan(vxlan("Always"), 36, true)]
#[case::as_much_as_fits(vxlan("Always"), 548, true)]
fn a35_l10_as_much_must_be_quoted_as_names_the_tunnel(
    #[case] pool: serde_json::Value,
    #[case] quoted: usize,
    #[case] is_believed: bool,
) {
    let [mut a, ..] = nodes(pool, json!({}));
    let whole = wire(a.pod_sends(&long(1450, true)));
    let outcome = a.wire_brings(&fragmentation_needed(&whole, 1400, quoted));
    assert_eq!(learned(outcome).is_some(), is_believed);
}

#[test]
fn d17_what_this_node_cannot_have_sent_is_not_believed() {
    let [mut a, ..] = nodes(vxlan("Always"), json!({}));
    let whole = wire(a.pod_sends(&long(1450, true)));
    let told = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut about = whole.clone();
        change(&mut about);
        fragmentation_needed(&about, 1400, 548)
    };
    let mut wrong_sum = told(&|_| {});
    wrong_sum[40] ^= 1;
    let others = [
        told(&|about| about[15] = 6),
        told(&|about| about[9] = 4),
        told(&|about| about[23] ^= 1),
        told(&|about| about[28] = 0),
        told(&|about| about[33] ^= 1),
        wrong_sum,
    ];
    for error in others {
        assert_eq!(learned(a.wire_brings(&error)), None);
    }
    assert_eq!(wire(a.pod_sends(&long(1450, true))).len(), 1500);
}

#[rstest]
#[case::more_than_before(&[9000], None)]
#[case::less_and_less(&[1400, 1300], Some(1300))]
#[case::never_raised(&[1300, 1400], Some(1300))]
#[case::below_what_is_believed(&[400], Some(552))]
#[case::of_an_old_router(&[0], Some(552))]
fn d6_to_d9_an_estimate_only_falls_and_not_below_552(#[case] reports: &[u16], #[case] expected: Option<u16>) {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let whole = wire(a.pod_sends(&long(1480, true)));
    for mtu in reports {
        a.wire_brings(&fragmentation_needed(&whole, *mtu, 548));
    }
    let told = icmp_error(a.pod_sends(&long(1480, true))).map(|(_, _, _, mtu)| mtu);
    assert_eq!(told, expected.map(|mtu| mtu - 20));
}

#[test]
fn d11_what_was_learned_holds_for_600_s_and_each_error_renews_it() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let whole = wire(a.pod_sends(&long(1480, true)));
    a.now = seconds(1);
    a.wire_brings(&fragmentation_needed(&whole, 1400, 548));
    a.now = seconds(500);
    a.wire_brings(&fragmentation_needed(&whole, 1400, 548));
    a.now = seconds(1099);
    assert!(icmp_error(a.pod_sends(&long(1480, true))).is_some());
    a.now = seconds(1100);
    assert_eq!(wire(a.pod_sends(&long(1480, true))).len(), 1500);
}

#[test]
fn d12_a_path_is_that_to_one_node() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let whole = wire(a.pod_sends(&long(1480, true)));
    a.wire_brings(&fragmentation_needed(&whole, 1400, 548));
    let other = Udp {
        length: 1480,
        ..Udp::new(NODES[0].3, NODES[1].3)
    };
    assert_eq!(wire(a.pod_sends(&other.build())).len(), 1500);
}

#[test]
fn what_was_learned_goes_with_the_route_that_it_was_learned_for() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let whole = wire(a.pod_sends(&long(1480, true)));
    a.wire_brings(&fragmentation_needed(&whole, 1400, 548));
    let same = a.engine.tables().clone();
    a.engine.set_tables(same.clone());
    assert!(icmp_error(a.pod_sends(&long(1480, true))).is_some());
    let mut routes: Vec<_> = same.routes().cloned().collect();
    for route in routes.iter_mut().filter(|route| route.destination.prefix_len() == 0) {
        route.gateway = Some("10.0.1.2".parse().unwrap());
    }
    let other = overlab_dataplane::route::NodeTables::clone(&same).with_routes(routes);
    a.engine.set_tables(std::sync::Arc::new(other));
    assert_eq!(wire(a.pod_sends(&long(1480, true))).len(), 1500);
}

/// The address of a node's pod over IPv6.
pub(super) fn pod(node: usize) -> String {
    like(Family::V6, NODES[node].3)
}

/// A UDP packet of this length over IPv6, built by pnet.
pub(super) fn datagram(source: &str, destination: &str, length: usize) -> Vec<u8> {
    let mut payload = vec![0; length - 40];
    let mut udp = MutableUdpPacket::new(&mut payload).unwrap();
    udp.set_source(40000);
    udp.set_destination(5000);
    udp.set_length((length - 40) as u16);
    let sum = ipv6_checksum(&udp.to_immutable(), &source.parse().unwrap(), &destination.parse().unwrap());
    udp.set_checksum(sum);
    packet_v6(source, destination, IpNextHeaderProtocols::Udp, &payload)
}

fn packet_v6(source: &str, destination: &str, protocol: IpNextHeaderProtocol, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0; 40][..], payload].concat();
    let mut ip = MutableIpv6Packet::new(&mut bytes).unwrap();
    ip.set_version(6);
    ip.set_payload_length(payload.len() as u16);
    ip.set_next_header(protocol);
    ip.set_hop_limit(64);
    ip.set_source(source.parse().unwrap());
    ip.set_destination(destination.parse().unwrap());
    bytes
}

/// What a router tells node a about a packet over IPv6.
fn packet_too_big(about: &[u8], mtu: u32) -> Vec<u8> {
    let quote = &about[..about.len().min(1232)];
    let mut message = [&[2, 0, 0, 0][..], &mtu.to_be_bytes(), quote].concat();
    let mut icmp = MutableIcmpv6Packet::new(&mut message).unwrap();
    let sum = icmpv6::checksum(
        &icmp.to_immutable(),
        &like(Family::V6, "10.0.1.1").parse().unwrap(),
        &like(Family::V6, "10.0.1.5").parse().unwrap(),
    );
    icmp.set_checksum(sum);
    packet_v6(
        &like(Family::V6, "10.0.1.1"),
        &like(Family::V6, "10.0.1.5"),
        IpNextHeaderProtocols::Icmpv6,
        &message,
    )
}

/// The MTU of the "packet too big" among what left.
fn told_v6(outcome: &Outcome) -> Option<u32> {
    outcome
        .out
        .iter()
        .map(overlab_dataplane::engine::Out::packet)
        .find_map(too_big_of)
}

fn too_big_of(packet: &Packet) -> Option<u32> {
    let ip = Ipv6Packet::new(packet.bytes())?;
    let icmp = Icmpv6Packet::new(ip.payload()).filter(|_| ip.get_next_header() == IpNextHeaderProtocols::Icmpv6)?;
    (icmp.get_icmpv6_type().0 == 2).then(|| u32::from_be_bytes(*ip.payload()[4..].first_chunk().unwrap()))
}

#[test]
fn vxlan_over_ipv6_drops_the_first_packet_that_the_card_does_not_take_and_answers_the_next() {
    let [mut a, ..] = tables(Family::V6, vxlan("Always"), json!({"vxlanMTUV6": 1500})).map(Node::new);
    let big = datagram(&pod(0), &pod(2), 1431);
    let outcome = a.pod_sends(&big);
    assert_eq!((reason(outcome).unwrap().name(), outcome.out.len()), ("too_big", 0));
    assert_eq!(learned(outcome), Some((pod(2), 1430)));
    for _ in 0..3 {
        let outcome = a.pod_sends(&big);
        assert_eq!((reason(outcome).unwrap().name(), told_v6(outcome)), ("too_big", Some(1430)));
    }
    assert_eq!(wire(a.pod_sends(&datagram(&pod(0), &pod(2), 1430))).len(), 1500);
}

#[test]
fn d23_the_underlay_teaches_a_vxlan_node_over_ipv6_the_node_drops_once_and_then_tells_1330() {
    let [mut a, ..] = tables(Family::V6, vxlan("Always"), json!({})).map(Node::new);
    let big = datagram(&pod(0), &pod(2), 1430);
    let whole = wire(a.pod_sends(&big));
    let outcome = a.wire_brings(&packet_too_big(&whole, 1400));
    assert_eq!(learned(outcome), Some((like(Family::V6, "10.0.2.7"), 1400)));
    let outcome = a.pod_sends(&big);
    assert_eq!((reason(outcome).unwrap().name(), outcome.out.len()), ("too_big", 0));
    assert_eq!(told_v6(a.pod_sends(&big)), Some(1330));
    assert_eq!(wire(a.pod_sends(&datagram(&pod(0), &pod(2), 1330))).len(), 1400);
}

/// As Linux does it: the inner route would have to go below what IPv6 asks of every link, and does not.
#[test]
fn d16_an_ipv6_path_too_small_for_vxlan_around_1280_b_swallows_packets_and_nobody_is_told() {
    let [mut a, ..] = tables(Family::V6, vxlan("Always"), json!({})).map(Node::new);
    let big = datagram(&pod(0), &pod(2), 1280);
    let whole = wire(a.pod_sends(&big));
    a.wire_brings(&packet_too_big(&whole, 1300));
    for _ in 0..4 {
        let outcome = a.pod_sends(&big);
        assert_eq!((reason(outcome).unwrap().name(), told_v6(outcome)), ("too_big", None));
    }
    assert_eq!(wire(a.pod_sends(&datagram(&pod(0), &pod(2), 1230))).len(), 1300);
}

#[test]
fn d15_an_ipv6_error_that_names_less_than_1280_is_not_believed() {
    let [mut a, ..] = tables(Family::V6, vxlan("Always"), json!({})).map(Node::new);
    let big = datagram(&pod(0), &pod(2), 1430);
    let whole = wire(a.pod_sends(&big));
    assert_eq!(learned(a.wire_brings(&packet_too_big(&whole, 1279))), None);
    assert_eq!(wire(a.pod_sends(&big)).len(), 1500);
}

/// The same tables with a card more in front of the others, so that every device has another number, and with changed routes.
fn with_spare_card(tables: &NodeTables, change: fn(&mut Route)) -> Arc<NodeTables> {
    let mut tables = tables.clone();
    let name = "eth9".into();
    tables.devices.insert(
        0,
        Device {
            name,
            addresses: Vec::new(),
            ..tables.devices[0].clone()
        },
    );
    let mut routes: Vec<_> = tables.routes().cloned().collect();
    let next = |id: &mut DeviceId| id.0 += 1;
    for route in &mut routes {
        route.device.as_mut().map(next);
        change(route);
    }
    next(&mut tables.ipip.as_mut().unwrap().device);
    for workload in &mut tables.workloads {
        next(&mut workload.device);
    }
    Arc::new(tables.with_routes(routes))
}

#[test]
fn what_was_learned_of_a_path_stays_with_its_route_and_goes_with_it() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let whole = wire(a.pod_sends(&long(1480, true)));
    a.wire_brings(&fragmentation_needed(&whole, 1400, 548));
    let refused = |a: &mut Node| reason(a.pod_sends(&long(1480, true))).map(|reason| reason.name());
    assert_eq!(refused(&mut a), Some("too_big"));
    let before = a.engine.tables().clone();
    a.engine.set_tables(with_spare_card(&before, |_| {}));
    assert_eq!(refused(&mut a), Some("too_big"));
    a.engine.set_tables(with_spare_card(&before, |route| route.metric += 1));
    assert_eq!(refused(&mut a), None);
}

#[test]
fn e22_df_outside_is_still_that_of_the_inner_packet_after_something_was_learned() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let whole = wire(a.pod_sends(&long(1480, true)));
    a.wire_brings(&fragmentation_needed(&whole, 1400, 548));
    for (dont_fragment, flags) in [(true, 2), (false, 0)] {
        let bytes = wire(a.pod_sends(&long(1000, dont_fragment)));
        assert_eq!(Ipv4Packet::new(&bytes).unwrap().get_flags(), flags);
    }
}
