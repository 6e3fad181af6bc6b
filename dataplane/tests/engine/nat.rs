//! What leaves the pools is translated, and its answers back, by the rules N1 to N11 and H1; pnet judges addresses, ports and
//! checksums.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use overlab_dataplane::Family;
use overlab_dataplane::engine::{DropReason, Ingress, NatRule, Outcome, Step};
use overlab_dataplane::route::{NodeTables, RouteKind};
use overlab_dataplane::wire::translate::End;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;
use pnet::packet::udp::UdpPacket;
use rstest::rstest;
use serde_json::{Value, json};

use super::cluster::{NODES, Udp, like};
use super::{Node, delivered, fix_checksum, ipip, nodes, nodes_of, reason, transmitted, vxlan, wire};

pub(super) const POD: &str = NODES[0].3;
pub(super) const NODE: &str = "10.0.1.5";
pub(super) const OUTSIDE: &str = "10.0.9.9";

/// Source and destination of a packet as `address:port`, once pnet has found its checksums right.
pub(super) fn ends(bytes: &[u8]) -> (String, String) {
    let (source, destination) = addresses(bytes);
    let header_len = if source.is_ipv4() { 20 } else { 40 };
    let udp = UdpPacket::new(&bytes[header_len..]).unwrap();
    let sum = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => pnet::packet::udp::ipv4_checksum(&udp, &source, &destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) => pnet::packet::udp::ipv6_checksum(&udp, &source, &destination),
        ends => panic!("{ends:?} are of two families"),
    };
    assert_eq!(udp.get_checksum(), sum, "{source} > {destination}");
    (
        format!("{source}:{}", udp.get_source()),
        format!("{destination}:{}", udp.get_destination()),
    )
}

fn addresses(bytes: &[u8]) -> (IpAddr, IpAddr) {
    let ip = Ipv4Packet::new(bytes).unwrap();
    if ip.get_version() == 6 {
        let ip = Ipv6Packet::new(bytes).unwrap();
        return (ip.get_source().into(), ip.get_destination().into());
    }
    assert_eq!(pnet::packet::ipv4::checksum(&ip), ip.get_checksum());
    (ip.get_source().into(), ip.get_destination().into())
}

fn source(bytes: &[u8]) -> String {
    ends(bytes).0
}

/// The answer to a packet, as a server builds it that got these bytes.
pub(super) fn answer(bytes: &[u8]) -> Vec<u8> {
    let (source, destination) = addresses(bytes);
    let udp = UdpPacket::new(&bytes[if source.is_ipv4() { 20 } else { 40 }..]).unwrap();
    Udp {
        source_port: udp.get_destination(),
        destination_port: udp.get_source(),
        ..Udp::new(&destination.to_string(), &source.to_string())
    }
    .build()
}

pub(super) fn outgoing(felix: Value) -> [Node; 3] {
    nodes(json!({"natOutgoing": true, "ipipMode": "Always"}), felix)
}

/// The same with VXLAN, which both families have.
fn outgoing_of(family: Family, felix: Value) -> [Node; 3] {
    nodes_of(family, json!({"natOutgoing": true, "vxlanMode": "Always"}), felix)
}

fn translations(outcome: &Outcome) -> Vec<(End, NatRule)> {
    let mut seen = Vec::new();
    for step in &outcome.steps {
        if let Step::Translated { end, rule, .. } = step {
            seen.push((*end, *rule));
        }
    }
    seen
}

fn with(node: &Node, change: impl Fn(&mut NodeTables)) -> Arc<NodeTables> {
    let mut tables = NodeTables::clone(node.engine.tables());
    change(&mut tables);
    Arc::new(tables)
}

#[rstest]
fn n1_what_leaves_the_pools_wears_the_node_s_address_and_its_answer_comes_back_to_the_pod(
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let end = |address: &str, port: u16| format!("{}:{port}", like(family, address));
    let [mut a, ..] = outgoing_of(family, json!({}));
    let outcome = a.pod_sends(&Udp::of(family, POD, OUTSIDE).build());
    let sent = wire(outcome);
    assert_eq!(ends(&sent), (end(NODE, 40000), end(OUTSIDE, 5000)));
    let pool = like(family, "10.244.0.0/16").parse::<IpNet>().unwrap().trunc();
    assert_eq!(translations(outcome), [(End::Source, NatRule::Outgoing { pool })]);
    let outcome = a.wire_brings(&answer(&sent));
    let [(true, back)] = &delivered(outcome)[..] else {
        panic!("{outcome:?}")
    };
    assert_eq!(ends(back), (end(OUTSIDE, 5000), end(POD, 40000)));
    assert_eq!(translations(outcome), [(End::Destination, NatRule::Outgoing { pool })]);
}

#[rstest]
fn n1_a_destination_in_a_pool_is_never_natted_not_even_if_it_leaks_bare(#[values(Family::V4, Family::V6)] family: Family) {
    let [mut a, ..] = outgoing_of(family, json!({}));
    let to_pod = a.pod_sends(&Udp::of(family, POD, NODES[2].3).build());
    assert_eq!(translations(to_pod), []);
    let host_routes = a.engine.tables().routes().filter(|r| r.kind == RouteKind::Host).cloned();
    let host_routes: Vec<_> = host_routes.collect();
    let tables = with(&a, |tables| *tables = tables.clone().with_routes(host_routes.clone()));
    a.engine.set_tables(tables);
    let leaked = wire(a.pod_sends(&Udp::of(family, POD, "10.244.9.9").build()));
    assert_eq!(source(&leaked), format!("{}:40000", like(family, POD)));
}

#[rstest]
#[case::all("IPPoolsOnly", NODE)]
#[case::but_hosts("IPPoolsAndHostIPs", POD)]
fn n4_another_node_sees_the_source_s_node_unless_hosts_are_excluded(
    #[case] exclusions: &str,
    #[case] seen: &str,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let [mut a, ..] = outgoing_of(family, json!({ "natOutgoingExclusions": exclusions }));
    let to_node = wire(a.pod_sends(&Udp::of(family, POD, "10.0.1.6").build()));
    assert_eq!(source(&to_node), format!("{}:40000", like(family, seen)));
    let outside = wire(a.pod_sends(&Udp::of(family, POD, OUTSIDE).build()));
    assert_eq!(
        source(&outside),
        format!("{}:40000", like(family, NODE)),
        "others are not excluded"
    );
}

/// N5: the address to translate to is one of IPv4; IPv6 masquerades beside it.
#[test]
fn n5_a_configured_address_does_not_reach_ipv6() {
    let [mut a, ..] = outgoing_of(Family::V6, json!({"natOutgoingAddress": "10.0.1.77"}));
    let sent = wire(a.pod_sends(&Udp::of(Family::V6, POD, OUTSIDE).build()));
    assert_eq!(source(&sent), format!("{}:40000", like(Family::V6, NODE)));
}

#[test]
fn n5_a_port_range_holds_in_ipv6_too() {
    let [mut a, ..] = outgoing_of(Family::V6, json!({"natPortRange": "1024:2047"}));
    let sent = wire(a.pod_sends(&Udp::of(Family::V6, POD, OUTSIDE).build()));
    assert_eq!(source(&sent), format!("{}:1088", like(Family::V6, NODE)));
    let back = a.wire_brings(&answer(&sent));
    assert_eq!(ends(&delivered(back)[0].1).1, format!("{}:40000", like(Family::V6, POD)));
}

#[rstest]
#[case::address(json!({"natOutgoingAddress": "10.0.1.77"}), "10.0.1.77:40000")]
#[case::ports(json!({"natPortRange": "1024:2047"}), "10.0.1.5:1088")]
#[case::ports_that_hold_it(json!({"natPortRange": "40000:40010"}), "10.0.1.5:40000")]
#[case::another_device(json!({"iptablesNATOutgoingInterfaceFilter": "eth1"}), "10.244.0.10:40000")]
#[case::this_device(json!({"iptablesNATOutgoingInterfaceFilter": "eth0"}), "10.0.1.5:40000")]
#[case::devices_like_it(json!({"iptablesNATOutgoingInterfaceFilter": "eth+"}), "10.0.1.5:40000")]
fn n5_address_ports_and_device_are_as_configured(#[case] felix: Value, #[case] seen: &str) {
    let [mut a, ..] = outgoing(felix);
    let sent = wire(a.pod_sends(&Udp::new(POD, OUTSIDE).build()));
    assert_eq!(source(&sent), seen);
    let back = a.wire_brings(&answer(&sent));
    if seen.starts_with("10.0.1.5") {
        assert_eq!(ends(&delivered(back)[0].1).1, format!("{POD}:40000"));
    }
}

#[test]
fn n5_two_connections_never_share_a_port() {
    let [mut a, ..] = outgoing(json!({"natPortRange": "5000:5001"}));
    let mut sent = Vec::new();
    for source_port in [40000, 40001] {
        let packet = Udp {
            source_port,
            ..Udp::new(POD, OUTSIDE)
        };
        sent.push(wire(a.pod_sends(&packet.build())));
    }
    let mut seen: Vec<_> = sent.iter().map(|bytes| source(bytes)).collect();
    seen.sort();
    assert_eq!(seen, ["10.0.1.5:5000", "10.0.1.5:5001"]);
    for (bytes, port) in sent.iter().zip([40000, 40001]) {
        let back = a.wire_brings(&answer(bytes));
        assert_eq!(ends(&delivered(back)[0].1).1, format!("{POD}:{port}"));
    }
    let third = Udp {
        source_port: 40002,
        ..Udp::new(POD, OUTSIDE)
    };
    assert_eq!(reason(a.pod_sends(&third.build())), Some(DropReason::NoNatMapping));
    let elsewhere = Udp {
        destination_port: 53,
        ..third
    };
    assert_eq!(
        reason(a.pod_sends(&elsewhere.build())),
        None,
        "ports are counted for each destination"
    );
}

#[rstest]
fn n6_an_open_flow_keeps_its_translation_when_the_tables_change(#[values(Family::V4, Family::V6)] family: Family) {
    let end = |address: &str, port: u16| format!("{}:{port}", like(family, address));
    let [mut a, ..] = outgoing_of(family, json!({}));
    let [off, ..] = nodes_of(family, vxlan("Always"), json!({}));
    let (on, off) = (a.engine.tables().clone(), off.engine.tables().clone());
    let old = Udp::of(family, POD, OUTSIDE);
    let new = Udp {
        source_port: 40001,
        ..old
    };
    a.pod_sends(&old.build());
    a.engine.set_tables(off);
    assert_eq!(source(&wire(a.pod_sends(&old.build()))), end(NODE, 40000));
    assert_eq!(source(&wire(a.pod_sends(&new.build()))), end(POD, 40001));
    a.engine.set_tables(on);
    let seen = source(&wire(a.pod_sends(&new.build())));
    assert_eq!(seen, end(POD, 40001), "nor does it gain one");
}

#[test]
fn n7_a_pod_s_packet_to_its_own_node_is_not_natted() {
    let [mut a, ..] = outgoing(json!({"defaultEndpointToHostAction": "Accept"}));
    let outcome = a.pod_sends(&Udp::new(POD, NODE).build());
    assert_eq!(source(&delivered(outcome)[0].1), format!("{POD}:40000"));
}

#[test]
fn n3_the_node_s_own_packet_from_its_tunnel_address_is_natted_too() {
    let [mut a, ..] = outgoing(json!({}));
    let outcome = a.handle(Ingress::Host, &Udp::new("10.244.0.0", OUTSIDE).build());
    assert_eq!(source(&wire(outcome)), "10.0.1.5:40000");
}

#[rstest]
#[case::ipip(Family::V4, ipip("Always"), 20)]
#[case::vxlan(Family::V4, vxlan("Always"), 50)]
#[case::vxlan_v6(Family::V6, vxlan("Always"), 70)]
fn h1_a_node_s_packet_into_a_tunnel_wears_the_tunnel_s_address(
    #[case] family: Family,
    #[case] pool: Value,
    #[case] overhead: usize,
) {
    let end = |address: &str, port: u16| format!("{}:{port}", like(family, address));
    let [mut a, _, mut c] = nodes_of(family, pool, json!({}));
    let outcome = a.handle(Ingress::Host, &Udp::of(family, NODE, NODES[2].3).build());
    assert_eq!(translations(outcome), [(End::Source, NatRule::TunnelSource)]);
    let sent = wire(outcome);
    assert_eq!(source(&sent[overhead..]), end("10.244.0.0", 40000));
    // The answer goes through the tunnel too, and reaches the socket that is bound to the node's address.
    let asked = delivered(c.wire_brings(&sent))[0].1.clone();
    let back = wire(c.pod_sends(&answer(&asked)));
    let outcome = a.wire_brings(&back);
    let [(false, back)] = &delivered(outcome)[..] else {
        panic!("{outcome:?}")
    };
    assert_eq!(ends(back), (end(NODES[2].3, 5000), end(NODE, 40000)));
    assert_eq!(translations(outcome), [(End::Destination, NatRule::TunnelSource)]);
}

#[rstest]
#[case::its_device_keeps_it("10.244.0.0", "10.244.0.0")]
#[case::its_device_has_another("10.244.0.7", "10.244.0.7")]
fn h1_a_connection_masqueraded_as_an_address_that_goes_begins_anew(#[case] becomes: &str, #[case] worn: &str) {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let packet = Udp::new(NODE, NODES[2].3).build();
    assert_eq!(source(&wire(a.handle(Ingress::Host, &packet))[20..]), "10.244.0.0:40000");
    let tables = with(&a, |tables| {
        let tunnel = tables.devices.iter_mut().find(|device| &*device.name == "tunl0").unwrap();
        tunnel.addresses = vec![format!("{becomes}/32").parse().unwrap()];
    });
    a.engine.set_tables(tables);
    assert_eq!(source(&wire(a.handle(Ingress::Host, &packet))[20..]), format!("{worn}:40000"));
}

#[test]
fn h1_what_the_node_sends_from_the_tunnel_s_own_address_is_left_alone() {
    let [mut a, ..] = nodes(ipip("Always"), json!({}));
    let outcome = a.handle(Ingress::Host, &Udp::new("10.244.0.0", NODES[2].3).build());
    assert_eq!(translations(outcome), []);
    assert_eq!(source(&wire(outcome)[20..]), "10.244.0.0:40000");
}

#[test]
fn n11_udp_into_a_tunnel_keeps_clear_of_the_vxlan_port() {
    let [mut a, ..] = nodes(vxlan("Always"), json!({}));
    let tables = with(&a, |tables| tables.nat.v4.tunnel_ports = Some((4790, 65535)));
    a.engine.set_tables(tables);
    for (source_port, kept) in [(4789, false), (1024, false), (40000, true)] {
        let packet = Udp {
            source_port,
            ..Udp::new(NODE, NODES[2].3)
        };
        let sent = wire(a.handle(Ingress::Host, &packet.build()));
        let port: u16 = source(&sent[50..]).rsplit(':').next().unwrap().parse().unwrap();
        assert!(port > 4789, "{port}");
        assert_eq!(port == source_port, kept);
    }
}

#[test]
fn later_fragments_are_translated_like_the_first() {
    let [mut a, ..] = outgoing(json!({}));
    let whole = Udp {
        dont_fragment: false,
        ..Udp::new(POD, OUTSIDE)
    }
    .build();
    let piece = |from: usize, to: usize, more: bool| {
        let mut bytes = [&whole[..20], &whole[20 + from..20 + to]].concat();
        bytes[2..4].copy_from_slice(&(20 + (to - from) as u16).to_be_bytes());
        let word = (from / 8) as u16 | if more { 0x2000 } else { 0 };
        bytes[6..8].copy_from_slice(&word.to_be_bytes());
        fix_checksum(&mut bytes);
        bytes
    };
    let first = wire(a.pod_sends(&piece(0, 64, true)));
    let second = wire(a.pod_sends(&piece(64, 108, false)));
    for bytes in [&first, &second] {
        let ip = Ipv4Packet::new(bytes).unwrap();
        assert_eq!(ip.get_source(), NODE.parse::<Ipv4Addr>().unwrap());
        assert_eq!(pnet::packet::ipv4::checksum(&ip), ip.get_checksum());
    }
    // Joined, the checksum that the first one carries fits all of it.
    let mut joined = [&first[..20], &first[20..], &second[20..]].concat();
    joined[2..4].copy_from_slice(&(whole.len() as u16).to_be_bytes());
    joined[6..8].fill(0);
    fix_checksum(&mut joined);
    assert_eq!(source(&joined), "10.0.1.5:40000");
}

#[rstest]
#[case::unanswered(false, 29, true)]
#[case::unanswered(false, 31, false)]
#[case::answered_for_a_while(true, 119, true)]
#[case::answered_for_a_while(true, 121, false)]
fn udp_is_remembered_as_long_as_by_linux(
    #[case] answered: bool,
    #[case] silence: u64,
    #[case] known: bool,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let [mut a, ..] = outgoing_of(family, json!({}));
    let packet = Udp::of(family, POD, OUTSIDE).build();
    let sent = wire(a.pod_sends(&packet));
    if answered {
        a.wire_brings(&answer(&sent));
    }
    a.now = a.now.saturating_add(Duration::from_secs(3));
    a.pod_sends(&packet);
    a.now = a.now.saturating_add(Duration::from_secs(silence));
    let outcome = a.wire_brings(&answer(&sent));
    assert_eq!(delivered(outcome)[0].0, known, "what is not known is the node's own");
}

#[rstest]
#[case::untracked(vxlan("Always"), "10.244.0.10:40000")]
#[case::tracked(ipip("Always"), "10.0.1.5:40000")]
fn what_is_not_tracked_is_not_natted(#[case] pool: Value, #[case] seen: &str) {
    let mut pool = pool;
    pool["natOutgoing"] = json!(true);
    let [mut a, ..] = nodes(pool, json!({"allowVXLANPacketsFromWorkloads": true}));
    let packet = Udp {
        destination_port: 4789,
        ..Udp::new(POD, OUTSIDE)
    };
    assert_eq!(source(&wire(a.pod_sends(&packet.build()))), seen);
}

#[test]
fn masquerading_takes_the_address_on_the_next_hop_s_subnet() {
    let [mut a, ..] = outgoing(json!({}));
    let tables = with(&a, |tables| {
        tables.devices[0].addresses.insert(0, "192.0.2.7/24".parse().unwrap());
    });
    a.engine.set_tables(tables);
    let outcome = a.pod_sends(&Udp::new(POD, OUTSIDE).build());
    assert_eq!(transmitted(outcome)[0].0, "10.0.1.1".parse::<IpAddr>().unwrap());
    assert_eq!(source(&wire(outcome)), "10.0.1.5:40000");
}
