//! Who programs which route, and what a node has where nobody does.

use crate::datastore::{cluster, felix, machine, node, node_spec, pool, printed, read, route, tables, workloads};
use overlab_dataplane::calico::{ClusterState, Profile};
use overlab_dataplane::route::{AbsentReason, HostNetwork, NodeTables, Resolver, RouteKind};
use rstest::rstest;
use serde_json::{Value, json};

/// The worked example of three nodes in two subnets, with what else is given.
fn three(profile: Profile, spec: Value, more: &[Value]) -> ClusterState {
    let mut whole = json!({"cidr": "10.244.0.0/16"});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let mut manifests = vec![
        pool("p", whole),
        node("A", "10.0.1.5/24"),
        node("B", "10.0.1.6/24"),
        node("C", "10.0.2.7/24"),
    ];
    manifests.extend_from_slice(more);
    let pods = workloads(&["pod-a A 10.244.0.10", "pod-b B 10.244.0.70", "pod-c C 10.244.0.140"]);
    ClusterState::build(profile, read(&manifests).unwrap(), pods).unwrap()
}

fn node_a(cluster: &ClusterState) -> NodeTables {
    tables(cluster, "A", "10.0.1.5/24")
}

/// Why destinations have no route, by their text.
fn absent(tables: &NodeTables) -> Vec<(String, AbsentReason)> {
    tables
        .absent()
        .map(|gone| (gone.destination.to_string(), gone.reason))
        .collect()
}

fn both(reason: AbsentReason) -> Vec<(String, AbsentReason)> {
    ["10.244.0.64/26", "10.244.0.128/26"]
        .map(|range| (range.to_owned(), reason))
        .into()
}

#[test]
fn the_worked_example_in_ipip_is_felixs_from_v3_33() {
    let a = node_a(&three(Profile::V3_33, json!({"ipipMode": "CrossSubnet"}), &[]));
    let lines = printed(&a);
    assert_eq!(lines[2], "blackhole 10.244.0.0/26 proto 80");
    assert_eq!(
        lines[4..],
        [
            "10.244.0.64/26 via 10.0.1.6 dev eth0 proto 80 onlink",
            "10.244.0.128/26 via 10.0.2.7 dev tunl0 proto 80 onlink mtu 1480",
        ]
    );
    assert_eq!(absent(&a), []);
}

#[test]
fn the_worked_example_in_vxlan_is_the_same_in_every_version_but_for_its_mtu_and_metric() {
    for (profile, mtu) in [
        (Profile::V3_22, ""),
        (Profile::V3_32, " mtu 1450"),
        (Profile::V3_33, " mtu 1450"),
    ] {
        let a = node_a(&three(profile, json!({"vxlanMode": "CrossSubnet"}), &[]));
        assert_eq!(route(&a, "10.244.0.0/26"), "blackhole 10.244.0.0/26 proto 80");
        assert_eq!(
            route(&a, "10.244.0.64/26"),
            "10.244.0.64/26 via 10.0.1.6 dev eth0 proto 80 onlink"
        );
        let far = format!("10.244.0.128/26 via 10.244.0.128 dev vxlan.calico onlink{mtu}");
        assert_eq!(route(&a, "10.244.0.128/26"), far);
    }
}

#[test]
fn felixs_routes_without_encapsulation_take_every_node_for_a_neighbour() {
    let all = felix("default", json!({"programClusterRoutes": "Enabled"}));
    let a = node_a(&three(Profile::V3_33, json!({}), &[all]));
    assert_eq!(route(&a, "10.244.0.0/26"), "blackhole 10.244.0.0/26 proto 80");
    for (range, other) in [("10.244.0.64/26", "10.0.1.6"), ("10.244.0.128/26", "10.0.2.7")] {
        assert_eq!(route(&a, range), format!("{range} via {other} dev eth0 proto 80 onlink"));
    }
}

// Rows are pools, columns are who programs what.
#[rstest]
#[case::vxlan(json!({"vxlanMode": "Always"}), [None, None, None])]
#[case::ipip(json!({"ipipMode": "Always"}), [Some(AbsentReason::NotLearned), None, None])]
#[case::bare(json!({}), [Some(AbsentReason::NotLearned), Some(AbsentReason::NotLearned), None])]
fn without_bgp_there_are_the_routes_of_felix_alone(#[case] spec: Value, #[case] reasons: [Option<AbsentReason>; 3]) {
    let no_bgp = || crate::datastore::installation(json!({"bgp": "Disabled", "ipPools": []}));
    let all = felix("default", json!({"programClusterRoutes": "Enabled"}));
    for (profile, more, reason) in [
        (Profile::V3_32, vec![no_bgp()], reasons[0]),
        (Profile::V3_33, vec![no_bgp()], reasons[1]),
        (Profile::V3_33, vec![no_bgp(), all], reasons[2]),
    ] {
        let a = node_a(&three(profile, spec.clone(), &more));
        assert_eq!(absent(&a), reason.map(both).unwrap_or_default(), "{profile}");
        let remote = a.routes().filter(|route| route.node.is_some()).count();
        assert_eq!(remote, if reason.is_some() { 0 } else { 2 });
    }
}

#[test]
fn a_class_that_neither_programs_has_no_routes() {
    let nobody = felix("default", json!({"programClusterRoutes": "Disabled"}));
    let a = node_a(&three(Profile::V3_33, json!({"ipipMode": "Always"}), &[nobody]));
    assert_eq!(absent(&a), both(AbsentReason::NobodyPrograms));
    assert_eq!(route(&a, "10.244.0.0/26"), "");
    assert_ne!(route(&a, "10.244.0.10/32"), "");
}

#[test]
fn an_encapsulation_that_is_turned_off_leaves_no_route_not_even_a_direct_one() {
    for (mode, off, profile) in [
        ("vxlanMode", "vxlanEnabled", Profile::V3_32),
        ("ipipMode", "ipipEnabled", Profile::V3_33),
    ] {
        let off = felix("default", json!({ off: false }));
        let a = node_a(&three(profile, json!({ mode: "CrossSubnet" }), &[off]));
        assert_eq!(absent(&a), both(AbsentReason::EncapsulationOff));
        assert_eq!(route(&a, "10.244.0.0/26"), "");
    }
}

#[test]
fn bird_routes_bare_where_there_is_no_tunnel_device() {
    let off = felix("default", json!({"ipipEnabled": false}));
    let a = node_a(&three(Profile::V3_32, json!({"ipipMode": "Always"}), &[off]));
    assert_eq!(
        route(&a, "10.244.0.128/26"),
        "10.244.0.128/26 via 10.0.1.1 dev eth0 proto bird metric 1024"
    );
}

#[test]
fn felix_told_to_program_nothing_programs_nothing() {
    let nothing = felix("default", json!({"routeSyncDisabled": true}));
    let a = node_a(&three(
        Profile::V3_32,
        json!({"vxlanMode": "Always"}),
        std::slice::from_ref(&nothing),
    ));
    assert!(a.routes().all(|route| route.kind == RouteKind::Host));
    assert_eq!(absent(&a), both(AbsentReason::NobodyPrograms));
    let a = node_a(&three(Profile::V3_32, json!({"ipipMode": "Always"}), &[nothing]));
    assert_eq!(a.routes().filter(|route| route.node.is_some()).count(), 2);
    assert_eq!(route(&a, "10.244.0.10/32"), "");
}

#[test]
fn a_configured_protocol_and_source_are_those_of_every_route_of_felixs() {
    let marked = felix(
        "default",
        json!({"deviceRouteProtocol": 99, "deviceRouteSourceAddress": "10.0.1.5"}),
    );
    let a = node_a(&three(Profile::V3_33, json!({"vxlanMode": "CrossSubnet"}), &[marked]));
    let lines = printed(&a);
    assert_eq!(lines[2], "blackhole 10.244.0.0/26 proto 99");
    assert!(
        lines[3].ends_with(" proto 99 scope link src 10.0.1.5 metric 1024"),
        "{}",
        lines[3]
    );
    assert_eq!(
        lines[4..],
        [
            "10.244.0.64/26 via 10.0.1.6 dev eth0 proto 99 src 10.0.1.5 onlink",
            "10.244.0.128/26 via 10.244.0.128 dev vxlan.calico proto 99 src 10.0.1.5 onlink mtu 1450",
        ]
    );
    assert_eq!(a.source_for("10.244.0.140".parse().unwrap()), "10.0.1.5".parse().ok());
}

#[test]
fn routes_from_workloads_are_single_addresses_and_no_blackholes() {
    let workloads = felix("default", json!({"routeSource": "WorkloadIPs"}));
    let a = node_a(&three(Profile::V3_32, json!({"vxlanMode": "CrossSubnet"}), &[workloads]));
    assert_eq!(
        printed(&a)[3..],
        [
            "10.244.0.70 via 10.0.1.6 dev eth0 proto 80 onlink",
            "10.244.0.140 via 10.244.0.128 dev vxlan.calico onlink mtu 1450",
        ]
    );
}

#[test]
fn from_v3_33_an_address_without_its_prefix_length_is_no_gateway_and_lets_nobody_in() {
    let bare = |profile| {
        let manifests = [
            pool("p", json!({"cidr": "10.244.0.0/16", "ipipMode": "Always"})),
            node("A", "10.0.1.5/24"),
            node("B", "10.0.1.6"),
            node_spec(
                "C",
                json!({"bgp": {"ipv4Address": "10.0.2.7"}, "addresses": [{"address": "10.0.2.9", "type": "InternalIP"}]}),
            ),
        ];
        let pods = workloads(&["b B 10.244.0.70", "c C 10.244.0.140"]);
        node_a(&ClusterState::build(profile, read(&manifests).unwrap(), pods).unwrap())
    };
    let (old, new) = (bare(Profile::V3_32), bare(Profile::V3_33));
    let allowed = |a: &NodeTables| a.ipip.as_ref().unwrap().allowed.to_string();
    assert_eq!(allowed(&old), "10.0.1.5, 10.0.1.6, 10.0.2.7");
    assert_eq!(allowed(&new), "10.0.1.5, 10.0.2.9");
    assert_eq!(absent(&new), [("10.244.0.64/26".to_owned(), AbsentReason::NoNodeAddress)]);
    assert_eq!(
        route(&new, "10.244.0.128/26"),
        "10.244.0.128/26 via 10.0.2.9 dev tunl0 proto 80 onlink mtu 1480"
    );
}

#[test]
fn ranges_outside_the_cluster_are_let_in_after_the_nodes() {
    let outside = felix("default", json!({"externalNodesList": ["192.0.2.0/24", "198.51.100.7"]}));
    let a = node_a(&three(
        Profile::V3_32,
        json!({"vxlanMode": "Always"}),
        std::slice::from_ref(&outside),
    ));
    let allowed = a.vxlan_allowed.v4.as_ref().unwrap();
    assert_eq!(allowed.to_string(), "10.0.1.6, 10.0.2.7, 192.0.2.0/24, 198.51.100.7");
    let a = node_a(&three(Profile::V3_32, json!({"ipipMode": "Always"}), &[outside]));
    let allowed = &a.ipip.as_ref().unwrap().allowed;
    assert_eq!(
        allowed.to_string(),
        "10.0.1.5, 10.0.1.6, 10.0.2.7, 192.0.2.0/24, 198.51.100.7"
    );
}

/// A machine in both families.
fn dual(name: &str, v4: &str, v6: &str) -> HostNetwork {
    let mut host = machine(name, v4);
    host.nics[0].addresses.push(v6.parse().unwrap());
    host.gateways.v6 = "fd00:1::1".parse().ok();
    host
}

#[test]
fn ipv6_has_its_own_device_and_the_kernels_metric() {
    let two = |name, v4, v6| node_spec(name, json!({"bgp": {"ipv4Address": v4, "ipv6Address": v6}}));
    let manifests = [
        pool("four", json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"})),
        pool("six", json!({"cidr": "fd00:244::/64", "vxlanMode": "CrossSubnet"})),
        two("A", "10.0.1.5/24", "fd00:1::5/64"),
        two("B", "10.0.1.6/24", "fd00:1::6/64"),
        two("C", "10.0.2.7/24", "fd00:2::7/64"),
    ];
    let pods = [
        "a A 10.244.0.10 fd00:244::10",
        "b B 10.244.0.70 fd00:244::50",
        "c C 10.244.0.140 fd00:244::90",
    ];
    let cluster = cluster(&manifests, &pods).unwrap();
    let a = Resolver::new(cluster).tables(&dual("A", "10.0.1.5/24", "fd00:1::5/64"));
    let v6: Vec<_> = a.routes().filter(|route| route.destination.addr().is_ipv6()).collect();
    let lines: Vec<_> = v6.iter().map(|route| a.text(route).to_string()).collect();
    let pod = &a.device(v6[3].device.unwrap()).unwrap().name;
    assert_eq!(
        lines,
        [
            "default via fd00:1::1 dev eth0 metric 1024".to_owned(),
            "fd00:1::/64 dev eth0 proto kernel metric 256".to_owned(),
            "blackhole fd00:244::/122 dev lo proto 80 metric 1024".to_owned(),
            format!("fd00:244::10 dev {pod} metric 1024"),
            "fd00:244::40/122 via fd00:1::6 dev eth0 proto 80 metric 1024 onlink".to_owned(),
            "fd00:244::80/122 via fd00:244::80 dev vxlan-v6.calico metric 1024 onlink mtu 1430".to_owned(),
        ]
    );
    let vxlan = a.vxlan.v6.as_ref().unwrap();
    assert_eq!(a.vxlan_allowed.v6.as_ref().unwrap().to_string(), "fd00:1::6, fd00:2::7");
    assert_eq!(vxlan.mac, overlab_dataplane::route::vtep_mac("A-v6"));
    assert_eq!(a.workloads[0].mtu.bytes(), 1430);
}
