//! Cluster IPs of services: where connections go, how answers come back, what is masqueraded, and what an old kernel makes of tunnel
//! packets that still have the mark. pnet judges addresses, ports and checksums.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use overlab_dataplane::calico::{ClusterState, Profile, Reading, Resource};
use overlab_dataplane::engine::{DropReason, Ingress, NatRule, Outcome, Step};
use overlab_dataplane::fields::Origin;
use overlab_dataplane::route::{NodeTables, Services};
use overlab_dataplane::wire::{IcmpError, icmp};
use overlab_dataplane::{Family, Instant};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::MutableIpv4Packet;
use pnet::packet::tcp::{self, MutableTcpPacket, TcpFlags};
use pnet::packet::udp::{self, UdpPacket};
use rstest::rstest;
use serde_json::{Value, json};

use super::cluster::{NODES, Udp, like};
use super::nat::{NODE, POD, answer, ends};
use super::{Node, delivered, fix_checksum, icmp_error, nodes_of, reason, vxlan, wire};

pub(super) const SERVICE: &str = "10.96.0.10";
const REMOTE: &str = NODES[2].3;
/// IP, UDP, VXLAN and Ethernet in front of what is inside.
const INSIDE: usize = 20 + 8 + 8 + 14;

/// A service on port 5000 of UDP and TCP whose endpoints listen on port 8053.
pub(super) fn service(family: Family, endpoints: &[&str], affinity: &str) -> Arc<Services> {
    let kind = if family == Family::V4 { "IPv4" } else { "IPv6" };
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|address| json!({"addresses": [like(family, address)]}))
        .collect();
    let objects = [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dns"},
            "spec": {"clusterIP": like(family, SERVICE), "sessionAffinity": affinity,
                "ports": [{"name": "dns", "protocol": "UDP", "port": 5000, "targetPort": 8053}, {"name": "tcp", "port": 5000}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": kind,
            "metadata": {"name": "dns-1", "labels": {"kubernetes.io/service-name": "dns"}},
            "endpoints": endpoints, "ports": [{"name": "dns", "protocol": "UDP", "port": 8053}, {"name": "tcp", "port": 8053}]}),
    ];
    let readings = objects.iter().flat_map(|object| Resource::read(object, Origin(0)).unwrap());
    let resources = readings.map(|reading| match reading {
        Reading::Resource(resource) => resource,
        Reading::Ignored { kind, .. } => panic!("{kind} is not ignored"),
    });
    let cluster = ClusterState::build(Profile::default(), resources.collect(), Vec::new()).unwrap();
    Arc::new(Services::of(&cluster))
}

/// Node a in a pool of this mode, with a service.
fn node(family: Family, pool: Value, services: &Arc<Services>, change: impl Fn(&mut NodeTables)) -> Node {
    let [a, ..] = nodes_of(family, pool, json!({}));
    let mut tables = NodeTables::clone(a.engine.tables());
    tables.services = services.clone();
    change(&mut tables);
    Node::new(Arc::new(tables))
}

fn plain(endpoints: &[&str]) -> Node {
    let services = service(Family::V4, endpoints, "None");
    node(Family::V4, json!({}), &services, |_| {})
}

fn rules(outcome: &Outcome) -> Vec<NatRule> {
    let mut rules = Vec::new();
    for step in &outcome.steps {
        if let Step::Translated { rule, .. } = step {
            rules.push(*rule);
        }
    }
    rules
}

/// The one packet that was handed to a workload, or to the node itself.
fn handed(outcome: &Outcome, workload: bool) -> Vec<u8> {
    let [(to, bytes)] = &delivered(outcome)[..] else {
        panic!("{outcome:?}")
    };
    assert_eq!(*to, workload);
    bytes.clone()
}

#[rstest]
fn a_pods_connection_goes_to_an_endpoint_and_its_answers_come_from_the_cluster_ip(
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let end = |address: &str, port: u16| format!("{}:{port}", like(family, address));
    let mut a = node(family, json!({}), &service(family, &[REMOTE], "None"), |_| {});
    for _ in 0..2 {
        let outcome = a.pod_sends(&Udp::of(family, POD, SERVICE).build());
        let sent = wire(outcome);
        assert_eq!(ends(&sent), (end(POD, 40000), end(REMOTE, 8053)));
        assert_eq!(rules(outcome), [NatRule::Service]);
        let outcome = a.wire_brings(&answer(&sent));
        assert_eq!(ends(&handed(outcome, true)), (end(SERVICE, 5000), end(POD, 40000)));
        assert_eq!(rules(outcome), [NatRule::Service]);
    }
}

#[rstest]
#[case::through_vxlan(vxlan("Always"), NatRule::TunnelSource)]
#[case::through_ipip(json!({"ipipMode": "Always"}), NatRule::TunnelSource)]
fn a_nodes_own_connection_into_a_tunnel_wears_the_tunnels_address(#[case] pool: Value, #[case] rule: NatRule) {
    let mut a = node(Family::V4, pool, &service(Family::V4, &[REMOTE], "None"), |_| {});
    let outcome = a.handle(Ingress::Host, &Udp::new(NODE, SERVICE).build());
    assert_eq!(rules(outcome), [NatRule::Service, rule]);
    let sent = wire(outcome);
    let inside = if sent[9] == 17 { INSIDE } else { 20 };
    let (source, destination) = ends(&sent[inside..]);
    assert_eq!(destination, format!("{REMOTE}:8053"));
    let tables = a.engine.tables().clone();
    let tunnel = tables
        .devices
        .iter()
        .find(|device| *device.name == *if inside == 20 { "tunl0" } else { "vxlan.calico" });
    assert_eq!(source, format!("{}:40000", tunnel.unwrap().addresses[0].addr()));
    let back = a.wire_brings(&answer(&sent[inside..]));
    assert_eq!(
        ends(&handed(back, false)),
        (format!("{SERVICE}:5000"), format!("{NODE}:40000"))
    );
}

#[test]
fn a_pod_that_is_its_own_endpoint_is_answered_through_its_node() {
    let mut a = plain(&[POD]);
    let outcome = a.pod_sends(&Udp::new(POD, SERVICE).build());
    assert_eq!(rules(outcome), [NatRule::Service, NatRule::ServiceMasquerade]);
    let asked = handed(outcome, true);
    let (source, destination) = ends(&asked);
    assert!(source.starts_with(&format!("{NODE}:")), "{source}");
    assert_eq!(destination, format!("{POD}:8053"));
    let outcome = a.pod_sends(&answer(&asked));
    assert_eq!(
        ends(&handed(outcome, true)),
        (format!("{SERVICE}:5000"), format!("{POD}:40000"))
    );
}

#[test]
fn who_is_in_no_pool_is_masqueraded_on_the_way_to_an_endpoint() {
    let mut a = plain(&[POD]);
    let outcome = a.wire_brings(&Udp::new("10.0.9.9", SERVICE).build());
    assert_eq!(rules(outcome), [NatRule::Service, NatRule::ServiceMasquerade]);
    let asked = handed(outcome, true);
    assert!(ends(&asked).0.starts_with(&format!("{NODE}:")));
    let back = wire(a.pod_sends(&answer(&asked)));
    assert_eq!(ends(&back), (format!("{SERVICE}:5000"), "10.0.9.9:40000".to_owned()));
    let outcome = a.wire_brings(&Udp::new(REMOTE, SERVICE).build());
    assert_eq!(rules(outcome), [NatRule::Service], "a pod is not");
}

#[test]
fn a_service_without_endpoints_tells_the_sender_and_another_port_is_nobodys() {
    let mut a = plain(&[]);
    let outcome = a.pod_sends(&Udp::new(POD, SERVICE).build());
    assert_eq!(reason(outcome), Some(DropReason::NoListener));
    assert_eq!(icmp_error(outcome).map(|(_, kind, code, _)| (kind, code)), Some((3, 3)));
    let other = Udp {
        destination_port: 5001,
        ..Udp::new(POD, SERVICE)
    };
    assert_eq!(ends(&wire(a.pod_sends(&other.build()))).1, format!("{SERVICE}:5001"));
}

#[rstest]
#[case::by_connection("None", 3)]
#[case::by_client("ClientIP", 1)]
fn connections_spread_over_endpoints_and_each_stays_with_its_own(#[case] affinity: &str, #[case] count: usize) {
    let services = service(Family::V4, &[REMOTE, "10.244.0.141", "10.244.0.142"], affinity);
    let mut a = node(Family::V4, json!({}), &services, |_| {});
    let mut seen = BTreeSet::new();
    for source_port in 40000..40050 {
        let udp = Udp {
            source_port,
            ..Udp::new(POD, SERVICE)
        };
        let first = ends(&wire(a.pod_sends(&udp.build())));
        assert_eq!(ends(&wire(a.pod_sends(&udp.build()))), first);
        seen.insert(first.1);
    }
    assert_eq!(seen.len(), count, "{seen:?}");
}

#[test]
fn an_error_about_a_translated_packet_quotes_what_its_sender_sent() {
    let mut a = plain(&[REMOTE]);
    let sent = wire(a.pod_sends(&Udp::new(POD, SERVICE).build()));
    let error = icmp::error_packet(IcmpError::PortUnreachable, REMOTE.parse::<Ipv4Addr>().unwrap(), &sent);
    let told = handed(a.wire_brings(error.unwrap().bytes()), true);
    assert_eq!(told[12..16], [10, 96, 0, 10], "it seems to come from whom the pod called");
    assert_eq!(told[28 + 16..28 + 20], [10, 96, 0, 10]);
    let port = UdpPacket::new(&told[28 + 20..]).unwrap().get_destination();
    assert_eq!(port, 5000);
}

#[test]
fn a_node_learns_that_the_way_to_an_endpoint_takes_less_than_that_to_the_cluster_ip() {
    let mut a = node(Family::V4, vxlan("Always"), &service(Family::V4, &[REMOTE], "None"), |_| {});
    let long = Udp {
        length: 1500,
        ..Udp::new(NODE, SERVICE)
    };
    let outcome = a.handle(Ingress::Host, &long.build());
    assert_eq!(reason(outcome), Some(DropReason::TooBig));
    assert_eq!(
        icmp_error(outcome).map(|(_, kind, code, mtu)| (kind, code, mtu)),
        Some((3, 4, 1450))
    );
    let told = handed(outcome, false);
    assert_eq!(told[28 + 16..28 + 20], [10, 96, 0, 10]);
}

/// A node whose own VXLAN packets are tracked, as by Calico up to v3.28, and perhaps spoiled where they are translated.
fn tracking(spoils: bool) -> Node {
    node(
        Family::V4,
        vxlan("Always"),
        &service(Family::V4, &[REMOTE], "None"),
        |tables| {
            tables.vxlan_untracked.v4 = false;
            tables.spoils_translated_vxlan = spoils;
        },
    )
}

/// The opening segment of a TCP connection of the node's to the service.
fn opening() -> Vec<u8> {
    let (source, destination) = (NODE.parse().unwrap(), SERVICE.parse().unwrap());
    let mut bytes = vec![0; 40];
    let mut tcp = MutableTcpPacket::new(&mut bytes[20..]).unwrap();
    tcp.set_source(40000);
    tcp.set_destination(5000);
    tcp.set_data_offset(5);
    tcp.set_flags(TcpFlags::SYN);
    tcp.set_checksum(tcp::ipv4_checksum(&tcp.to_immutable(), &source, &destination));
    let mut ip = MutableIpv4Packet::new(&mut bytes).unwrap();
    ip.set_version(4);
    ip.set_header_length(5);
    ip.set_total_length(40);
    ip.set_ttl(64);
    ip.set_next_level_protocol(IpNextHeaderProtocols::Tcp);
    ip.set_source(source);
    ip.set_destination(destination);
    fix_checksum(&mut bytes);
    bytes
}

/// The tunnel packets around packets that are sent at these seconds: of each the source port, and whether its UDP checksum is
/// right.
fn around(a: &mut Node, bytes: &[u8], seconds: &[u64]) -> Vec<(u16, bool)> {
    let mut seen = Vec::new();
    for second in seconds {
        a.now = Instant::ZERO.saturating_add(Duration::from_secs(*second));
        let sent = wire(a.handle(Ingress::Host, bytes));
        let udp = UdpPacket::new(&sent[20..]).unwrap();
        let [source, destination] = [12, 16].map(|at| Ipv4Addr::from(<[u8; 4]>::try_from(&sent[at..at + 4]).unwrap()));
        let right = udp::ipv4_checksum(&udp, &source, &destination);
        assert_eq!(udp.get_destination(), 4789);
        seen.push((udp.get_source(), udp.get_checksum() == right));
    }
    seen
}

/// When Linux sends the opening segment of a connection: its first timeout is a second, and each later one twice the one before.
const OPENING: [u64; 7] = [0, 1, 3, 7, 15, 31, 63];

#[test]
fn tunnel_packets_of_a_marked_connection_are_spoiled_until_half_a_minute_of_silence() {
    let seen = around(&mut tracking(true), &opening(), &OPENING);
    let of_flow = seen[6].0;
    let drawn = seen[0].0;
    assert_ne!(drawn, of_flow);
    assert!((32768..60999).contains(&of_flow), "{of_flow}");
    let lost = [(drawn, false); 6];
    assert_eq!(seen, [&lost[..], &[(of_flow, true)]].concat());
}

#[test]
fn without_offload_they_are_translated_and_right() {
    let seen = around(&mut tracking(false), &opening(), &OPENING);
    assert!(seen.iter().all(|(_, right)| *right));
    assert!(seen[..6].iter().all(|(port, _)| *port == seen[0].0) && seen[6].0 != seen[0].0);
}

/// A UDP connection that nobody answers is as short-lived as its tunnel packets': each packet after a silence is marked anew.
#[test]
fn udp_that_is_sent_seldom_is_spoiled_for_ever() {
    let bytes = Udp::new(NODE, SERVICE).build();
    let seen = around(&mut tracking(true), &bytes, &[0, 32, 64, 96]);
    assert!(seen.iter().all(|(_, right)| !right), "{seen:?}");
}

#[test]
fn tunnel_packets_that_are_not_tracked_keep_their_port() {
    let services = service(Family::V4, &[REMOTE], "None");
    let mut a = node(Family::V4, vxlan("Always"), &services, |tables| {
        tables.spoils_translated_vxlan = true
    });
    let seen = around(&mut a, &opening(), &OPENING);
    assert!(seen.iter().all(|one| *one == (seen[0].0, true)), "{seen:?}");
}

#[test]
fn what_kube_proxy_masquerades_itself_enters_the_tunnel_without_the_mark() {
    let mut a = tracking(true);
    let outcome = a.wire_brings(&Udp::new("10.0.9.9", SERVICE).build());
    assert_eq!(rules(outcome), [NatRule::Service, NatRule::ServiceMasquerade]);
    assert!(!outcome.steps.contains(&Step::ChecksumSpoiled));
}

/// kube-proxy forgets UDP connections to endpoints that are gone; TCP is left to find out by itself.
#[test]
fn udp_moves_on_when_its_endpoint_goes() {
    let mut a = plain(&[REMOTE]);
    let udp = Udp::new(POD, SERVICE).build();
    assert_eq!(ends(&wire(a.pod_sends(&udp))).1, format!("{REMOTE}:8053"));
    for (endpoints, to) in [(&[REMOTE, "10.244.0.70"][..], REMOTE), (&["10.244.0.70"], "10.244.0.70")] {
        let mut tables = NodeTables::clone(a.engine.tables());
        tables.services = service(Family::V4, endpoints, "None");
        a.engine.set_tables(Arc::new(tables));
        assert_eq!(ends(&wire(a.pod_sends(&udp))).1, format!("{to}:8053"));
    }
}
