//! Surprising truths about Calico's overlays, each by its number in `docs/truths.md`, as far as tables tell them. Those that only
//! packets can tell are scenarios.

use overlab_dataplane::calico::{ClusterState, Profile};
use overlab_dataplane::route::{AbsentReason, NodeTables, Owner, RouteKind, bgp_sessions};
use overlab_dataplane::{Family, Mtu};
use rstest::rstest;
use serde_json::{Value, json};

use crate::datastore::{cluster, felix, installation, node, only, pool, read, route, tables, workloads};

/// Nodes a and b in one subnet and c in another, one pod each.
fn three(profile: Profile, more: &[Value]) -> ClusterState {
    let mut manifests = vec![node("a", "10.0.1.5/24"), node("b", "10.0.1.6/24"), node("c", "10.0.2.7/24")];
    manifests.extend_from_slice(more);
    let pods = ["pod-a a 10.244.0.10", "pod-b b 10.244.0.70", "pod-c c 10.244.0.140"];
    ClusterState::build(profile, read(&manifests).unwrap(), workloads(&pods)).unwrap()
}

fn on_a(profile: Profile, spec: Value, more: &[Value]) -> NodeTables {
    let mut manifests = vec![pool("pool", spec)];
    manifests.extend_from_slice(more);
    tables(&three(profile, &manifests), "a", "10.0.1.5/24")
}

fn kind(tables: &NodeTables, address: &str) -> RouteKind {
    tables.lookup(address.parse().unwrap()).unwrap().1.kind
}

fn reasons(tables: &NodeTables) -> Vec<AbsentReason> {
    tables.absent().map(|absent| absent.reason).collect()
}

const NEIGHBOUR: &str = "10.244.0.70";
const ACROSS: &str = "10.244.0.140";

#[test]
fn truth_01_the_destinations_pool_decides_and_the_way_back_is_decided_apart() {
    let pools = [
        pool("plain", json!({"cidr": "10.1.0.0/24"})),
        pool("vxlan", json!({"cidr": "10.2.0.0/24", "vxlanMode": "Always"})),
    ];
    let nodes = [node("a", "10.0.1.5/24"), node("b", "10.0.1.6/24")];
    let cluster = cluster(&[pools, nodes].concat(), &["p a 10.1.0.10", "q b 10.2.0.10"]).unwrap();
    assert_eq!(kind(&tables(&cluster, "a", "10.0.1.5/24"), "10.2.0.10"), RouteKind::Vxlan);
    assert_eq!(kind(&tables(&cluster, "b", "10.0.1.6/24"), "10.1.0.10"), RouteKind::Direct);
}

/// Two nodes by their records, one pool, and what each does with packets to the other.
fn kinds(spec: Value, a: &str, b: &str) -> (RouteKind, RouteKind) {
    let manifests = [pool("pool", spec), node("a", a), node("b", b)];
    let cluster = cluster(&manifests, &["p a 10.244.0.10", "q b 10.244.0.70"]).unwrap();
    (
        kind(&tables(&cluster, "a", a), NEIGHBOUR),
        kind(&tables(&cluster, "b", b), "10.244.0.10"),
    )
}

#[rstest]
#[case(json!({"cidr": "10.244.0.0/16", "ipipMode": "CrossSubnet"}), RouteKind::Ipip)]
#[case(json!({"cidr": "10.244.0.0/16", "vxlanMode": "CrossSubnet"}), RouteKind::Vxlan)]
fn truth_02_unequal_masks_encapsulate_one_way(#[case] spec: Value, #[case] tunnel: RouteKind) {
    let direct = RouteKind::Direct;
    assert_eq!(kinds(spec.clone(), "10.0.1.5/16", "10.0.2.5/24"), (direct, tunnel));
    assert_eq!(kinds(spec, "10.0.1.5/24", "10.0.1.6/24"), (direct, direct));
}

#[rstest]
#[case(json!({"cidr": "10.244.0.0/16", "ipipMode": "CrossSubnet"}), RouteKind::Ipip)]
#[case(json!({"cidr": "10.244.0.0/16", "vxlanMode": "CrossSubnet"}), RouteKind::Vxlan)]
fn truth_03_a_32_has_no_neighbours(#[case] spec: Value, #[case] tunnel: RouteKind) {
    assert_eq!(kinds(spec.clone(), "10.0.1.5/32", "10.0.1.6/32"), (tunnel, tunnel));
    assert_eq!(kinds(spec, "10.0.1.5", "10.0.1.6/24"), (tunnel, RouteKind::Direct));
}

#[test]
fn truth_04_and_07_a_nodes_address_is_never_reached_through_a_tunnel() {
    for mode in ["ipipMode", "vxlanMode"] {
        let a = on_a(Profile::V3_32, json!({"cidr": "10.244.0.0/16", mode: "Always"}), &[]);
        assert_eq!(kind(&a, "10.0.2.7"), RouteKind::Host);
    }
}

#[test]
fn truth_05_and_06_a_nodes_own_packets_take_the_tunnels_address_in_the_tunnel_and_the_nodes_beside_it() {
    for mode in ["ipipMode", "vxlanMode"] {
        let a = on_a(Profile::V3_32, json!({"cidr": "10.244.0.0/16", mode: "CrossSubnet"}), &[]);
        let source = |address: &str| a.source_for(address.parse().unwrap()).unwrap().to_string();
        assert_eq!(source(NEIGHBOUR), "10.0.1.5");
        assert_eq!(source(ACROSS), "10.244.0.0", "{mode}");
    }
}

#[test]
fn truth_08_an_address_that_nobody_has_is_sent_to_the_blocks_node_and_dies_there() {
    let a = on_a(Profile::V3_32, json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"}), &[]);
    assert_eq!(kind(&a, "10.244.0.99"), RouteKind::Vxlan);
    assert_eq!(kind(&a, "10.244.0.11"), RouteKind::Blackhole);
}

#[rstest]
#[case(json!({"cidr": "10.244.0.0/16", "ipipMode": "Always"}), "10.244.0.65 via 10.0.3.7 dev tunl0 proto bird metric 1024 onlink")]
#[case(json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"}), "10.244.0.65 via 10.244.0.128 dev vxlan.calico onlink mtu 1450")]
fn truth_09_a_borrowed_address_goes_straight_to_the_borrower(#[case] spec: Value, #[case] expected: &str) {
    let manifests = [
        pool("pool", spec),
        node("a", "10.0.1.5/24"),
        node("b", "10.0.2.6/24"),
        node("c", "10.0.3.7/24"),
    ];
    let pods = ["x a 10.244.0.1", "y b 10.244.0.64", "z c 10.244.0.65", "w c 10.244.0.129"];
    let cluster = cluster(&manifests, &pods).unwrap();
    let a = tables(&cluster, "a", "10.0.1.5/24");
    assert_eq!(route(&a, "10.244.0.65/32"), expected);
    assert_eq!(
        a.route_to("10.244.0.64/26".parse().unwrap()).unwrap().node.as_deref(),
        Some("b")
    );
    assert_eq!(route(&tables(&cluster, "b", "10.0.2.6/24"), "10.244.0.65/32"), expected);
    assert_eq!(kind(&tables(&cluster, "c", "10.0.3.7/24"), "10.244.0.65"), RouteKind::Local);
}

#[test]
fn truth_10_a_disabled_pool_routes_as_before_while_another_one_gives_tunnel_addresses() {
    let other = pool("other", json!({"cidr": "10.245.0.0/16", "vxlanMode": "Always"}));
    let a = on_a(
        Profile::V3_32,
        json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always", "disabled": true}),
        &[other],
    );
    assert_eq!(kind(&a, ACROSS), RouteKind::Vxlan);
    assert_eq!(a.mtus.workload.bytes(), 1450);
    let tunnel = a.vxlan.v4.as_ref().unwrap();
    let address = a.device(tunnel.device).unwrap().addresses[0].to_string();
    assert!(address.starts_with("10.245."), "{address}");
}

#[test]
fn truth_11_with_its_only_pool_disabled_vxlan_stops_and_ipip_of_pods_goes_on() {
    let disabled = |mode: &str| json!({"cidr": "10.244.0.0/16", mode: "Always", "disabled": true});
    let vxlan = on_a(Profile::V3_32, disabled("vxlanMode"), &[]);
    assert_eq!(
        (kind(&vxlan, NEIGHBOUR), kind(&vxlan, ACROSS)),
        (RouteKind::Host, RouteKind::Host)
    );
    assert!(vxlan.vxlan.v4.is_none() && reasons(&vxlan).contains(&AbsentReason::NoLocalVtep));
    assert_eq!(route(&vxlan, "10.244.0.0/26"), "blackhole 10.244.0.0/26 proto 80");
    assert_eq!(vxlan.workloads[0].mtu.bytes(), 1450);
    let ipip = on_a(Profile::V3_32, disabled("ipipMode"), &[]);
    assert_eq!(
        route(&ipip, "10.244.0.128/26"),
        "10.244.0.128/26 via 10.0.2.7 dev tunl0 proto bird metric 1024 onlink"
    );
    let device = ipip.ipip.as_ref().unwrap().device;
    assert!(
        ipip.device(device).unwrap().addresses.is_empty(),
        "a node's own packets have no tunnel address"
    );
}

#[test]
fn truth_12_a_disabled_pool_is_no_outside() {
    let nodes = pool("nodes", json!({"cidr": "10.0.0.0/16", "disabled": true}));
    let a = on_a(
        Profile::V3_32,
        json!({"cidr": "10.244.0.0/16", "ipipMode": "Always", "natOutgoing": true}),
        &[nodes],
    );
    let nat = a.nat.get(Family::V4);
    let shown = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(&nat.masquerade), ["10.244.0.0/16"]);
    assert!(shown(&nat.pools).contains(&"10.0.0.0/16".to_owned()));
}

#[test]
fn truth_14_one_cross_subnet_pool_lowers_every_pods_mtu_though_nothing_is_encapsulated() {
    let manifests = [
        pool("plain", json!({"cidr": "10.243.0.0/16"})),
        pool("pool", json!({"cidr": "10.244.0.0/16", "vxlanMode": "CrossSubnet"})),
        node("a", "10.0.1.5/24"),
        node("b", "10.0.1.6/24"),
    ];
    let cluster = cluster(&manifests, &["p a 10.243.0.10", "q b 10.244.0.70"]).unwrap();
    let a = tables(&cluster, "a", "10.0.1.5/24");
    assert!(a.routes().all(|route| route.kind != RouteKind::Vxlan));
    assert!(a.workloads.iter().all(|workload| workload.mtu.bytes() == 1450));
}

#[test]
fn truth_15_what_a_new_pod_gets_changes_with_the_mode() {
    let mtu = |spec| on_a(Profile::V3_32, spec, &[]).mtus.workload;
    assert_eq!(mtu(json!({"cidr": "10.244.0.0/16"})), Mtu::new(1500).unwrap());
    assert_eq!(
        mtu(json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"})),
        Mtu::new(1450).unwrap()
    );
}

#[test]
fn truth_21_a_node_without_its_tunnel_address_is_lost_to_vxlan_only() {
    // No pool is eligible on a, which is given no address; on c neither, which states its own.
    let workers = json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always", "nodeSelector": "role == 'worker'"});
    let mut b = node("b", "10.0.1.6/24");
    b["metadata"]["labels"] = json!({"role": "worker"});
    let mut c = node("c", "10.0.2.7/24");
    c["spec"]["ipv4VXLANTunnelAddr"] = json!("10.244.0.129");
    let pods = ["pod-a a 10.244.0.10", "pod-b b 10.244.0.70", "pod-c c 10.244.0.140"];
    let cluster = cluster(&[pool("pool", workers), node("a", "10.0.1.5/24"), b, c], &pods).unwrap();
    assert!(tables(&cluster, "a", "10.0.1.5/24").vxlan.v4.is_none());
    let of_b = tables(&cluster, "b", "10.0.1.6/24");
    assert_eq!(of_b.vxlan_allowed.v4.as_ref().unwrap().to_string(), "10.0.2.7");
    assert_eq!(kind(&of_b, "10.244.0.10"), RouteKind::Host, "there is no route to a");
    assert_eq!(kind(&of_b, ACROSS), RouteKind::Vxlan);
    assert_eq!(reasons(&of_b), [AbsentReason::NoRemoteVtep]);
}

#[rstest]
#[case::ipip(Profile::V3_32, json!({"cidr": "10.244.0.0/16", "ipipMode": "Always"}), None)]
#[case::no_encap(Profile::V3_32, json!({"cidr": "10.244.0.0/16"}), None)]
#[case::vxlan(Profile::V3_32, json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"}), Some(Owner::Felix))]
#[case::ipip_of_felix(Profile::V3_33, json!({"cidr": "10.244.0.0/16", "ipipMode": "Always"}), Some(Owner::Felix))]
#[case::no_encap_of_bird(Profile::V3_33, json!({"cidr": "10.244.0.0/16"}), None)]
fn truth_22_without_bgp_only_felix_has_routes_and_nobody_complains(
    #[case] profile: Profile,
    #[case] spec: Value,
    #[case] owner: Option<Owner>,
) {
    let off = installation(json!({"bgp": "Disabled", "ipPools": []}));
    let ipip = spec.get("ipipMode").is_some();
    let cluster = three(profile, &[pool("pool", spec), off]);
    assert_eq!(bgp_sessions(&cluster, "a", Family::V4), []);
    let a = tables(&cluster, "a", "10.0.1.5/24");
    let found = ["10.244.0.128/26", "10.244.0.0/26"].map(|block| a.route_to(block.parse().unwrap()).map(|route| route.owner));
    assert_eq!(found, [owner, owner]);
    assert_eq!(kind(&a, ACROSS) == RouteKind::Host, owner.is_none());
    assert_eq!(a.ipip.is_some(), ipip);
}

#[rstest]
#[case::ipip(Profile::V3_32, json!({"cidr": "10.244.0.0/16", "ipipMode": "Always"}), true)]
#[case::no_encap(Profile::V3_32, json!({"cidr": "10.244.0.0/16"}), true)]
#[case::vxlan(Profile::V3_32, json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"}), false)]
#[case::ipip_of_felix(Profile::V3_33, json!({"cidr": "10.244.0.0/16", "ipipMode": "Always"}), false)]
fn truth_23_a_pool_that_is_not_exported_breaks_only_what_bird_programs(
    #[case] profile: Profile,
    #[case] spec: Value,
    #[case] breaks: bool,
) {
    let mut spec = spec;
    spec["disableBGPExport"] = json!(true);
    let a = on_a(profile, spec, &[]);
    let remote = a.routes().filter(|route| route.node.is_some()).count();
    assert_eq!(remote, if breaks { 0 } else { 2 });
    assert_eq!(kind(&a, ACROSS) == RouteKind::Host, breaks);
    assert_eq!(reasons(&a), vec![AbsentReason::NotExported; 2 - remote]);
}

#[test]
fn truth_25_between_always_and_cross_subnet_no_setting_of_felix_changes_and_between_encapsulations_some_do() {
    let settings = |spec| three(Profile::V3_33, &[pool("pool", spec)]).settings("a");
    let of = |mode: &str, value: &str| settings(json!({"cidr": "10.244.0.0/16", mode: value}));
    assert_eq!(of("vxlanMode", "Always"), of("vxlanMode", "CrossSubnet"));
    assert_eq!(of("ipipMode", "Always"), of("ipipMode", "CrossSubnet"));
    assert_ne!(of("ipipMode", "Always"), of("vxlanMode", "Always"));
}

#[test]
fn truth_26_until_felix_has_restarted_a_pool_that_became_vxlan_has_no_route_even_in_the_subnet() {
    // What a running Felix still has in force while the pool has changed already.
    let running = felix("default", json!({"ipipEnabled": true, "vxlanEnabled": false}));
    let a = on_a(
        Profile::V3_33,
        json!({"cidr": "10.244.0.0/16", "vxlanMode": "CrossSubnet"}),
        &[running],
    );
    assert_eq!(kind(&a, NEIGHBOUR), RouteKind::Host);
    assert_eq!(kind(&a, ACROSS), RouteKind::Host);
    assert!(reasons(&a).iter().all(|reason| *reason == AbsentReason::EncapsulationOff));
}

#[test]
fn truth_28_a_mode_in_another_case_is_refused() {
    let refusal = only(read(&[pool(
        "pool",
        json!({"cidr": "10.244.0.0/16", "ipipMode": "crosssubnet"}),
    )]));
    assert_eq!(refusal.code, "R7");
}

#[test]
fn truth_29_a_tunnel_address_claims_a_block_before_any_pod_exists() {
    let manifests = [
        pool("pool", json!({"cidr": "10.244.0.0/16", "ipipMode": "Always"})),
        node("a", "10.0.1.5/24"),
    ];
    let cluster = cluster(&manifests, &[]).unwrap();
    assert_eq!(cluster.blocks().len(), 1);
    assert_eq!(
        route(&tables(&cluster, "a", "10.0.1.5/24"), "10.244.0.0/26"),
        "blackhole 10.244.0.0/26 proto bird metric 1024"
    );
}

#[test]
fn truth_30_vxlan_off_is_off_for_ipv4_alone() {
    let manifests = [
        pool("six", json!({"cidr": "fd00:10:244::/64", "vxlanMode": "Always"})),
        felix("default", json!({"vxlanEnabled": false})),
        node("a", "10.0.1.5/24"),
    ];
    let settings = cluster(&manifests, &[]).unwrap().settings("a");
    assert!(!settings.vxlan.v4 && settings.vxlan.v6);
}

#[test]
fn truth_32_a_node_with_a_tunnel_end_and_no_block_may_send() {
    let mut c = node("c", "10.0.2.7/24");
    c["spec"]["ipv4VXLANTunnelAddr"] = json!("10.244.0.65");
    let manifests = [
        pool("pool", json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"})),
        node("a", "10.0.1.5/24"),
        node("b", "10.0.1.6/24"),
        c,
    ];
    let cluster = cluster(&manifests, &["p a 10.244.0.10", "q b 10.244.0.70"]).unwrap();
    let a = tables(&cluster, "a", "10.0.1.5/24");
    assert!(a.vxlan_allowed.v4.as_ref().unwrap().contains("10.0.2.7".parse().unwrap()));
}
