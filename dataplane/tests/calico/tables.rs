//! The tables that follow from a datastore: Calico's worked examples, and what the datastore states.

use crate::datastore::{cluster, felix, installation, machine, node, node_spec, pool, printed, read, route, tables, workloads};
use overlab_dataplane::calico::{ClusterState, Profile};
use overlab_dataplane::route::{NodeTables, RouteKind, host_tables, node_tables};
use rstest::rstest;
use serde_json::{Value, json};

/// Three nodes in two subnets and a pod on each.
fn worked_example(profile: Profile, spec: Value) -> ClusterState {
    let manifests = [
        pool("p", spec),
        node("A", "10.0.1.5/24"),
        node("B", "10.0.1.6/24"),
        node("C", "10.0.2.7/24"),
    ];
    let pods = workloads(&["pod-a A 10.244.0.10", "pod-b B 10.244.0.70", "pod-c C 10.244.0.140"]);
    ClusterState::build(profile, read(&manifests).unwrap(), pods).unwrap()
}

// `printf pod-a | sha1sum` begins with 3cafbbcc6cd.
const POD_A: &str = "cali3cafbbcc6cd";

#[test]
fn the_worked_example_in_vxlan_has_its_routes_vteps_and_allow_list() {
    let cluster = worked_example(Profile::V3_32, json!({"cidr": "10.244.0.0/16", "vxlanMode": "CrossSubnet"}));
    let a = tables(&cluster, "A", "10.0.1.5/24");
    assert_eq!(
        printed(&a),
        [
            "default via 10.0.1.1 dev eth0".to_owned(),
            "10.0.1.0/24 dev eth0 proto kernel scope link src 10.0.1.5".to_owned(),
            "blackhole 10.244.0.0/26 proto 80".to_owned(),
            format!("10.244.0.10 dev {POD_A} scope link metric 1024"),
            "10.244.0.64/26 via 10.0.1.6 dev eth0 proto 80 onlink".to_owned(),
            "10.244.0.128/26 via 10.244.0.128 dev vxlan.calico onlink mtu 1450".to_owned(),
        ]
    );
    let vxlan = a.vxlan.v4.as_ref().unwrap();
    let ends: Vec<_> = vxlan
        .remotes()
        .map(|v| format!("{} {} {}", v.node, v.address, v.node_address))
        .collect();
    assert_eq!(ends, ["B 10.244.0.64 10.0.1.6", "C 10.244.0.128 10.0.2.7"]);
    assert_eq!(a.vxlan_allowed.v4.as_ref().unwrap().to_string(), "10.0.1.6, 10.0.2.7");
    assert_eq!(
        (vxlan.vni.get(), a.vxlan_port, vxlan.local),
        (4096, 4789, "10.0.1.5".parse().unwrap())
    );
    assert_eq!(a.device(vxlan.device).unwrap().addresses, ["10.244.0.0/32".parse().unwrap()]);
    assert!(a.ipip.is_none() && a.forwarding);
}

#[rstest]
#[case(Profile::V3_22, "")]
#[case(Profile::V3_32, " metric 1024")]
fn the_worked_example_in_ipip_has_the_routes_of_bird(#[case] profile: Profile, #[case] metric: &str) {
    let cluster = worked_example(profile, json!({"cidr": "10.244.0.0/16", "ipipMode": "CrossSubnet"}));
    let a = tables(&cluster, "A", "10.0.1.5/24");
    assert_eq!(
        printed(&a)[2..],
        [
            format!("blackhole 10.244.0.0/26 proto bird{metric}"),
            format!("10.244.0.10 dev {POD_A} scope link{metric}"),
            format!("10.244.0.64/26 via 10.0.1.6 dev eth0 proto bird{metric}"),
            format!("10.244.0.128/26 via 10.0.2.7 dev tunl0 proto bird{metric} onlink"),
        ]
    );
    let ipip = a.ipip.as_ref().unwrap();
    assert_eq!(ipip.allowed.to_string(), "10.0.1.5, 10.0.1.6, 10.0.2.7");
    assert_eq!(a.device(ipip.device).unwrap().addresses, ["10.244.0.0/32".parse().unwrap()]);
    assert_eq!(a.source_for("10.244.0.140".parse().unwrap()), "10.244.0.0".parse().ok());
    assert_eq!(a.source_for("10.244.0.70".parse().unwrap()), "10.0.1.5".parse().ok());
}

#[test]
fn before_v3_31_vxlan_tunnel_routes_carry_no_mtu() {
    let cluster = worked_example(Profile::V3_22, json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"}));
    let a = tables(&cluster, "A", "10.0.1.5/24");
    assert_eq!(
        route(&a, "10.244.0.64/26"),
        "10.244.0.64/26 via 10.244.0.64 dev vxlan.calico onlink"
    );
}

#[test]
fn without_encapsulation_the_next_hop_across_subnets_is_the_default_gateway() {
    let cluster = worked_example(Profile::V3_32, json!({"cidr": "10.244.0.0/16"}));
    let a = tables(&cluster, "A", "10.0.1.5/24");
    assert_eq!(
        route(&a, "10.244.0.64/26"),
        "10.244.0.64/26 via 10.0.1.6 dev eth0 proto bird metric 1024"
    );
    assert_eq!(
        route(&a, "10.244.0.128/26"),
        "10.244.0.128/26 via 10.0.1.1 dev eth0 proto bird metric 1024"
    );
    assert!(a.ipip.is_none() && a.vxlan.v4.is_none());
    assert_eq!(a.workloads[0].mtu.bytes(), 1500);
}

#[test]
fn a_decision_names_the_pool_the_records_and_the_fields_that_hold_them() {
    let cluster = worked_example(Profile::V3_32, json!({"cidr": "10.244.0.0/16", "vxlanMode": "CrossSubnet"}));
    let a = tables(&cluster, "A", "10.0.1.5/24");
    let (_, far) = a.lookup("10.244.0.140".parse().unwrap()).unwrap();
    let decision = far.decision.as_ref().unwrap();
    let (name, field) = decision.pool.as_ref().unwrap();
    assert_eq!(
        (&**name, field.origin.0, field.path.to_string().as_str()),
        ("p", 0, "spec.vxlanMode")
    );
    let test = decision.subnet_test.as_ref().unwrap();
    assert_eq!(a.recorded.v4.as_ref().map(|own| own.net), "10.0.1.5/24".parse().ok());
    assert_eq!(test.remote.1, "10.0.2.7".parse().ok());
    assert_eq!(
        test.remote.2.as_ref().map(|f| (f.origin.0, f.path.to_string())),
        Some((3, "spec.bgp.ipv4Address".into()))
    );
    assert!(!test.same && decision.tunnels());
    assert_eq!(
        decision.destination.as_ref().unwrap().path.to_string(),
        "spec.workloads.pod-c.ip"
    );
}

#[test]
fn a_node_without_a_recorded_address_has_no_tunnel_and_no_bgp_session() {
    for mode in ["ipipMode", "vxlanMode"] {
        let manifests = [
            pool("p", json!({"cidr": "10.244.0.0/16", mode: "CrossSubnet"})),
            node("a", "10.0.1.5/24"),
            node_spec("b", json!({})),
        ];
        let cluster = cluster(&manifests, &["x a 10.244.0.1", "y b 10.244.1.1"]).unwrap();
        let (a, b) = (tables(&cluster, "a", "10.0.1.5/24"), tables(&cluster, "b", "10.0.1.6/24"));
        assert_eq!(a.routes().chain(b.routes()).filter(|r| r.node.is_some()).count(), 0);
        assert!(b.vxlan.v4.is_none());
    }
}

#[test]
fn a_blocks_manifest_decides_affinity_and_borrowing() {
    let block = json!({"apiVersion": "crd.projectcalico.org/v1", "kind": "IPAMBlock", "metadata": {"name": "10-244-0-0-26"},
        "spec": {"cidr": "10.244.0.0/26", "affinity": "host:b", "strictAffinity": false, "unallocated": [],
                 "allocations": [0, null, 1, 2],
                 "attributes": [{"handle_id": "vxlan-tunnel-addr-b", "secondary": {"node": "b", "type": "vxlanTunnelAddress"}},
                                {"handle_id": "k8s-pod-network.1", "secondary": {"node": "c"}},
                                {"handle_id": "nobody"}]}});
    let manifests = [
        pool("p", json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"})),
        block,
        node("a", "10.0.1.5/24"),
        node("b", "10.0.2.6/24"),
        node("c", "10.0.3.7/24"),
    ];
    let cluster = cluster(&manifests, &["x b"]).unwrap();
    assert_eq!(
        cluster.endpoints()["x"].addresses,
        ["10.244.0.1".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(cluster.nodes()["b"].vxlan_tunnel.v4, "10.244.0.0".parse().ok());
    let a = tables(&cluster, "a", "10.0.1.5/24");
    let to = |destination| a.route_to(destination).and_then(|route| route.node.as_deref());
    assert_eq!(to("10.244.0.0/26".parse().unwrap()), Some("b"));
    assert_eq!(to("10.244.0.2/32".parse().unwrap()), Some("c"));
    assert_eq!(to("10.244.0.3/32".parse().unwrap()), None);
}

#[test]
fn blocks_and_tunnel_addresses_are_derived_from_the_workloads_addresses() {
    let manifests = [
        pool(
            "default-ipv4-ippool",
            json!({"cidr": "192.168.0.0/16", "blockSize": 26, "ipipMode": "CrossSubnet"}),
        ),
        node("a1", "10.20.1.11/24"),
        node("a2", "10.20.1.12/24"),
        node("b1", "10.20.2.11/24"),
        node("c1", "10.20.3.11/24"),
    ];
    let pods = [
        "web-a1 a1 192.168.10.2",
        "cli-a1 a1 192.168.10.3",
        "web-a2 a2 192.168.20.2",
        "web-b1 b1 192.168.30.2",
        "web-c1 c1 192.168.40.2",
        "late-a1 a1",
        "late-a1-too a1",
    ];
    let cluster = cluster(&manifests, &pods).unwrap();
    let blocks: Vec<_> = cluster
        .blocks()
        .values()
        .map(|b| format!("{} {}", b.cidr, b.affinity.as_deref().unwrap()))
        .collect();
    assert_eq!(
        blocks,
        [
            "192.168.10.0/26 a1",
            "192.168.20.0/26 a2",
            "192.168.30.0/26 b1",
            "192.168.40.0/26 c1"
        ]
    );
    let tunnels: Vec<_> = cluster
        .nodes()
        .values()
        .filter_map(|n| n.ipip_tunnel)
        .map(|a| a.to_string())
        .collect();
    assert_eq!(tunnels, ["192.168.10.0", "192.168.20.0", "192.168.30.0", "192.168.40.0"]);
    let address = |name: &str| cluster.endpoints()[name].addresses[0].to_string();
    assert_eq!(
        (address("late-a1"), address("late-a1-too")),
        ("192.168.10.1".into(), "192.168.10.4".into())
    );
}

#[test]
fn a_node_without_workloads_claims_the_lowest_free_block_for_its_tunnel() {
    let manifests = [
        pool("p", json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"})),
        node("a", "10.0.1.5/24"),
        node("b", "10.0.1.6/24"),
    ];
    let cluster = cluster(&manifests, &["x b 10.244.0.9"]).unwrap();
    assert_eq!(cluster.nodes()["a"].vxlan_tunnel.v4, "10.244.0.64".parse().ok());
    assert_eq!(cluster.nodes()["b"].vxlan_tunnel.v4, "10.244.0.0".parse().ok());
}

#[test]
fn a_stated_tunnel_address_and_mac_are_kept() {
    let spec = json!({"bgp": {"ipv4Address": "10.0.1.6/24"}, "ipv4VXLANTunnelAddr": "10.244.0.77", "vxlanTunnelMACAddr": "02:00:00:00:00:01"});
    let manifests = [
        pool("p", json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"})),
        node("a", "10.0.1.5/24"),
        node_spec("b", spec),
    ];
    let a = tables(&cluster(&manifests, &[]).unwrap(), "a", "10.0.1.5/24");
    let end = a.vxlan.v4.as_ref().unwrap().remotes().next().unwrap();
    assert_eq!(
        (end.address.to_string(), end.mac.to_string()),
        ("10.244.0.77".into(), "02:00:00:00:00:01".into())
    );
    assert_eq!(
        route(&a, "10.244.0.64/26"),
        "10.244.0.64/26 via 10.244.0.77 dev vxlan.calico onlink mtu 1450"
    );
}

#[test]
fn a_workload_outside_every_pool_is_reached_on_its_own_node_only() {
    let cluster = cluster(
        &[
            pool("p", json!({"cidr": "10.244.0.0/16", "ipipMode": "Always"})),
            node("a", "10.0.1.5/24"),
            node("b", "10.0.1.6/24"),
        ],
        &["x a 172.30.0.1"],
    )
    .unwrap();
    let kind = |tables: NodeTables| tables.lookup("172.30.0.1".parse().unwrap()).unwrap().1.kind;
    assert_eq!(kind(tables(&cluster, "a", "10.0.1.5/24")), RouteKind::Local);
    assert_eq!(kind(tables(&cluster, "b", "10.0.1.6/24")), RouteKind::Host);
}

#[test]
fn felix_configuration_reaches_the_tables_and_a_nodes_own_wins() {
    let manifests = [
        pool("p", json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"})),
        node("a", "10.0.1.5/24"),
        node("b", "10.0.1.6/24"),
        felix(
            "default",
            json!({"vxlanMTU": 1400, "vxlanPort": 4790, "vxlanVNI": 7, "defaultEndpointToHostAction": "ACCEPT"}),
        ),
        felix("node.b", json!({"vxlanMTU": 0})),
    ];
    let cluster = cluster(&manifests, &["x a 10.244.0.1", "y b 10.244.1.1"]).unwrap();
    let (a, b) = (tables(&cluster, "a", "10.0.1.5/24"), tables(&cluster, "b", "10.0.1.6/24"));
    assert_eq!(
        (
            a.vxlan_port,
            a.vxlan.v4.as_ref().unwrap().vni.get(),
            a.workloads[0].mtu.bytes()
        ),
        (4790, 7, 1400)
    );
    assert_eq!(b.workloads[0].mtu.bytes(), 1450);
    assert_eq!(
        a.rules.endpoint_to_host,
        overlab_dataplane::route::EndpointToHostAction::Accept
    );
}

#[test]
fn an_installations_mtu_holds_for_workloads_and_tunnels() {
    let manifests = [
        installation(json!({"mtu": 1380, "ipPools": [{"cidr": "10.244.0.0/16", "encapsulation": "IPIP"}]})),
        node("a", "10.0.1.5/24"),
    ];
    let a = tables(&cluster(&manifests, &["x a"]).unwrap(), "a", "10.0.1.5/24");
    assert_eq!(a.device(a.ipip.as_ref().unwrap().device).unwrap().mtu.bytes(), 1380);
    assert_eq!(a.workloads[0].mtu.bytes(), 1380);
}

#[test]
fn a_machine_that_is_no_node_has_its_own_routes_and_does_not_forward() {
    let host = machine("elsewhere", "10.0.1.99/24");
    let plain = host_tables(&host);
    assert_eq!(
        printed(&plain),
        [
            "default via 10.0.1.1 dev eth0",
            "10.0.1.0/24 dev eth0 proto kernel scope link src 10.0.1.99"
        ]
    );
    assert!(!plain.forwarding);
    assert_eq!(printed(&node_tables(&cluster(&[], &[]).unwrap(), &host)), printed(&plain));
}
