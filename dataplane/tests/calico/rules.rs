//! What Calico refuses, and that each refusal names its rule, its field and what would be right.

use crate::datastore::{cluster, node, node_spec, only, pool, read};
use overlab_dataplane::Family;
use overlab_dataplane::calico::{ClusterState, Profile, Reading, Resource};
use overlab_dataplane::fields::Origin;
use rstest::rstest;
use serde_json::{Value, json};

#[rstest]
#[case::r1_no_range(json!({}), "R1", "spec", "192.168.0.0/16")]
#[case::r1_no_subnet(json!({"cidr": "ten"}), "R1", "spec.cidr", "192.168.0.0/16")]
#[case::r2_bare_address(json!({"cidr": "10.0.0.1"}), "R2", "spec.cidr", "10.0.0.1/32")]
#[case::r3_host_bits(json!({"cidr": "10.0.0.1/16"}), "R3", "spec.cidr", "10.0.0.0/16")]
#[case::r5_link_local(json!({"cidr": "169.254.0.0/16"}), "R5", "spec.cidr", "private range")]
#[case::r5_around_link_local(json!({"cidr": "169.0.0.0/8"}), "R5", "spec.cidr", "private range")]
#[case::r7_lower_case(json!({"cidr": "10.0.0.0/16", "ipipMode": "always"}), "R7", "spec.ipipMode", "`Always`")]
#[case::r7_other_case(json!({"cidr": "10.0.0.0/16", "ipipMode": "crosssubnet"}), "R7", "spec.ipipMode", "`CrossSubnet`")]
#[case::r7_hyphen(json!({"cidr": "10.0.0.0/16", "vxlanMode": "cross-subnet"}), "R7", "spec.vxlanMode", "`CrossSubnet`")]
#[case::r7_off(json!({"cidr": "10.0.0.0/16", "vxlanMode": "Off"}), "R7", "spec.vxlanMode", "one of them")]
#[case::r8_both(json!({"cidr": "10.0.0.0/16", "ipipMode": "Always", "vxlanMode": "CrossSubnet"}), "R8", "spec.vxlanMode", "`Never`")]
#[case::r9_ipip_v6(json!({"cidr": "fd00::/64", "ipipMode": "Always"}), "R9", "spec.ipipMode", "`vxlanMode`")]
#[case::r11_large_block(json!({"cidr": "10.0.0.0/8", "blockSize": 19}), "R11", "spec.blockSize", "from 20 to 32")]
#[case::r11_tiny_block(json!({"cidr": "10.0.0.0/8", "blockSize": 33}), "R11", "spec.blockSize", "from 20 to 32")]
#[case::r11_small_block_v6(json!({"cidr": "fd00::/64", "blockSize": 115}), "R11", "spec.blockSize", "from 116 to 128")]
#[case::r12_too_small(json!({"cidr": "10.0.0.0/27"}), "R12", "spec.cidr", "/26 or larger")]
#[case::r14_balancer_and_workload(json!({"cidr": "10.0.0.0/16", "allowedUses": ["LoadBalancer", "Workload"]}), "R14", "spec.allowedUses", "of its own")]
#[case::r14_balancer_with_tunnel(json!({"cidr": "10.0.0.0/16", "allowedUses": ["LoadBalancer"], "vxlanMode": "Always"}), "R14", "spec.vxlanMode", "`Never`")]
#[case::r15_namespaces(json!({"cidr": "10.0.0.0/16", "namespaceSelector": "all()"}), "R15", "spec.namespaceSelector", "[Workload]")]
#[case::r16_global(json!({"cidr": "10.0.0.0/16", "nodeSelector": "global()"}), "R16", "spec.nodeSelector", "`all()`")]
#[case::r17_same_use_twice(json!({"cidr": "10.0.0.0/16", "allowedUses": ["Tunnel", "Tunnel"]}), "R17", "spec.allowedUses", "remove one")]
#[case::r17_unknown_use(json!({"cidr": "10.0.0.0/16", "allowedUses": ["Tunel"]}), "R17", "spec.allowedUses", "`Tunnel`")]
#[case::r16_selector(json!({"cidr": "10.0.0.0/16", "nodeSelector": "zone = 'a'"}), "R16", "spec.nodeSelector", "`==`")]
#[case::r16_namespace_selector(json!({"cidr": "10.0.0.0/16", "allowedUses": ["Workload"], "namespaceSelector": "has(x"}), "R16", "spec.namespaceSelector", "`)`")]
#[case::r1_empty_range(json!({"cidr": ""}), "R1", "spec.cidr", "192.168.0.0/16")]
#[case::old_ipip(json!({"cidr": "10.0.0.0/16", "ipip": {"enabled": true, "mode": "cross-subnet"}}), "R-1.1.1", "spec.ipip", "`ipipMode: Always`")]
#[case::old_nat(json!({"cidr": "10.0.0.0/16", "nat-outgoing": true}), "R-1.1.1", "spec.nat-outgoing", "`natOutgoing: true`")]
#[case::r14_balancer_unexported(json!({"cidr": "10.0.0.0/16", "allowedUses": ["LoadBalancer"], "disableBGPExport": true}), "R14", "spec.disableBGPExport", "remove")]
#[case::r14_balancer_selecting(json!({"cidr": "10.0.0.0/16", "allowedUses": ["LoadBalancer"], "nodeSelector": "has(x)"}), "R14", "spec.nodeSelector", "`all()`")]
#[case::r16_long_selector(json!({"cidr": "10.0.0.0/16", "nodeSelector": format!("has({})", "x".repeat(1100))}), "R16", "spec.nodeSelector", "fewer")]
#[case::unknown_key(json!({"cidr": "10.0.0.0/16", "vxlanmode": "Always"}), "K-UNKNOWN", "spec.vxlanmode", "`vxlanMode`")]
fn a_pool_that_calico_rejects_is_refused_by_rule(
    #[case] spec: Value,
    #[case] code: &str,
    #[case] field: &str,
    #[case] help: &str,
) {
    let refusal = only(read(&[pool("p", spec)]));
    assert_eq!(
        (refusal.code, refusal.field.path.to_string().as_str()),
        (code, field),
        "{refusal:#?}"
    );
    assert!(refusal.help.as_deref().is_some_and(|h| h.contains(help)), "{refusal:#?}");
}

#[rstest]
#[case::r1_r2_a_range(json!({"cidr": "10.0.0.0/16"}))]
#[case::r3_strictly_masked(json!({"cidr": "10.0.0.64/26"}))]
#[case::r5_beside_link_local(json!({"cidr": "169.253.0.0/16"}))]
#[case::r5_beside_link_local_v6(json!({"cidr": "fec0::/64"}))]
#[case::r7_exact_modes(json!({"cidr": "10.0.0.0/24", "ipipMode": "CrossSubnet", "vxlanMode": "Never"}))]
#[case::r7_empty_mode(json!({"cidr": "10.0.0.0/24", "ipipMode": "", "vxlanMode": "Always"}))]
#[case::r8_one_mode(json!({"cidr": "10.0.0.0/24", "ipipMode": "Never", "vxlanMode": "Always"}))]
#[case::r9_no_ipip_v6(json!({"cidr": "fd00::/64", "ipipMode": "Never"}))]
#[case::r10_vxlan_v6(json!({"cidr": "fd00::/64", "vxlanMode": "Always"}))]
#[case::r11_block_size_zero(json!({"cidr": "10.0.0.0/24", "blockSize": 0}))]
#[case::r11_largest_block(json!({"cidr": "10.0.0.0/8", "blockSize": 20}))]
#[case::r11_smallest_block_v6(json!({"cidr": "fd00::/64", "blockSize": 128}))]
#[case::r12_exactly_one_block(json!({"cidr": "10.0.0.0/26"}))]
#[case::r12_small_and_disabled(json!({"cidr": "10.0.0.0/30", "disabled": true}))]
#[case::r14_balancer(json!({"cidr": "10.0.0.0/24", "allowedUses": ["LoadBalancer"]}))]
#[case::r15_namespaces_of_workloads(json!({"cidr": "10.0.0.0/24", "allowedUses": ["Workload"], "namespaceSelector": "all()"}))]
#[case::r15_namespaces_of_nothing(json!({"cidr": "10.0.0.0/24", "namespaceSelector": ""}))]
#[case::r16_no_nodes(json!({"cidr": "10.0.0.0/24", "nodeSelector": "!all()"}))]
#[case::r16_zone(json!({"cidr": "10.0.0.0/24", "nodeSelector": "zone in {'a', 'b'} && !has(gpu)"}))]
#[case::r16_as_long_as_can_be(json!({"cidr": "10.0.0.0/16", "nodeSelector": format!("has({}) || has({})", "x".repeat(505), "y".repeat(505))}))]
#[case::r17_every_use_once(json!({"cidr": "10.0.0.0/24", "allowedUses": ["Workload", "Tunnel"]}))]
#[case::r17_no_use_is_the_default(json!({"cidr": "10.0.0.0/24", "allowedUses": []}))]
fn a_pool_that_calico_accepts_is_read(#[case] spec: Value) {
    assert_eq!(read(&[pool("p", spec)]).map(|pools| pools.len()), Ok(1));
}

#[test]
fn r6_overlapping_pools_are_refused_with_both_named_in_either_order() {
    let (wide, inner) = (
        pool("wide", json!({"cidr": "10.0.0.0/8", "disabled": true})),
        pool("inner", json!({"cidr": "10.1.0.0/16"})),
    );
    for manifests in [[wide.clone(), inner.clone()], [inner, wide]] {
        let refusal = only(cluster(&manifests, &[]));
        assert_eq!(refusal.code, "R6");
        assert_eq!(refusal.field.origin, Origin(1));
        assert_eq!(refusal.related.as_ref().map(|(at, _)| at.origin), Some(Origin(0)));
        assert!(
            refusal.message.contains("wide") && refusal.message.contains("inner"),
            "{refusal:#?}"
        );
    }
}

#[test]
fn r6_pools_that_are_apart_are_taken_with_different_encapsulations_and_r8_too() {
    let manifests = [
        pool("ipip", json!({"cidr": "10.0.0.0/17", "ipipMode": "Always"})),
        pool("vxlan", json!({"cidr": "10.0.128.0/17", "vxlanMode": "Always"})),
        pool("plain", json!({"cidr": "fd00::/64"})),
    ];
    assert_eq!(cluster(&manifests, &[]).unwrap().pools().len(), 3);
}

/// R6: whoever writes CRDs past the API is not asked; the later pool hands out nothing from v3.32 on (1.1.2).
#[test]
fn r6_overlapping_pools_written_past_the_api_are_there_and_one_hands_out_nothing() {
    let written = |name: &str, cidr: &str| {
        let mut crd = pool(name, json!({"cidr": cidr}));
        crd["apiVersion"] = json!("crd.projectcalico.org/v1");
        crd
    };
    let built = cluster(&[written("inner", "10.1.0.0/16"), written("wide", "10.0.0.0/8")], &[]).unwrap();
    let hands_out: Vec<_> = built.pools().values().map(|pool| (&*pool.name, pool.allocates())).collect();
    assert_eq!(hands_out, [("inner", true), ("wide", false)]);
}

#[test]
fn a_second_object_of_one_name_is_refused_with_the_first_named() {
    let refusal = only(cluster(&[node("a", "10.0.0.1/24"), node("a", "10.0.0.2/24")], &[]));
    assert_eq!((refusal.code, refusal.field.origin), ("K-DUPLICATE", Origin(1)));
    assert_eq!(refusal.related.map(|(at, _)| at.origin), Some(Origin(0)));
}

#[test]
fn two_nodes_with_one_address_are_refused() {
    let refusal = only(cluster(&[node("a", "10.0.0.1/24"), node("b", "10.0.0.1/16")], &[]));
    assert_eq!(refusal.code, "K-DUPLICATE");
    assert_eq!(refusal.field.path.to_string(), "spec.bgp.ipv4Address");
}

#[test]
fn r10_ipv6_vxlan_is_refused_by_rule_before_v3_23_alone() {
    let manifests = [pool("six", json!({"cidr": "fd00::/64", "vxlanMode": "Always"}))];
    let build = |profile| ClusterState::build(profile, read(&manifests).unwrap(), Vec::new());
    assert_eq!(only(build(Profile::V3_22)).code, "R10");
    assert!(build(Profile::V3_32).is_ok());
}

#[rstest]
#[case::empty_bgp(json!({"bgp": {}}), "N-BGP-EMPTY", "spec.bgp")]
#[case::no_address(json!({"bgp": {"ipv4Address": "ten"}}), "K-VALUE", "spec.bgp.ipv4Address")]
#[case::other_family(json!({"bgp": {"ipv4Address": "fd00::1/64"}}), "K-VALUE", "spec.bgp.ipv4Address")]
#[case::misplaced(json!({"bgp": {"ipv4VXLANTunnelAddr": "10.0.0.1"}}), "K-UNKNOWN", "spec.bgp.ipv4VXLANTunnelAddr")]
#[case::no_list(json!({"addresses": "10.0.0.1"}), "K-TYPE", "spec.addresses")]
#[case::reflector(json!({"bgp": {"ipv4Address": "10.0.0.1/24", "routeReflectorClusterID": "one"}}), "K-VALUE", "spec.bgp.routeReflectorClusterID")]
fn a_node_that_calico_rejects_is_refused(#[case] spec: Value, #[case] code: &str, #[case] field: &str) {
    let refusals = read(&[node_spec("a", spec)]).unwrap_err();
    let found = refusals.iter().find(|r| r.code == code && r.field.path.to_string() == field);
    assert!(found.is_some(), "{refusals:#?}");
}

#[rstest]
#[case::known_kind_wrong_version("v1", "IPPool", "K-VERSION")]
#[case::misspelt_kind("projectcalico.org/v3", "IPool", "K-UNKNOWN")]
#[case::misspelt_pool("crd.projectcalico.org/v1", "IPAMblok", "K-UNKNOWN")]
#[case::pod_of_another_version("v2", "Pod", "K-VERSION")]
fn a_kind_that_cannot_be_read_is_refused(#[case] api: &str, #[case] kind: &str, #[case] code: &str) {
    let manifest = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x"}});
    assert_eq!(only(read(&[manifest])).code, code);
}

#[rstest]
#[case::text(json!("hello world"))]
#[case::list(json!([1, 2]))]
#[case::item(json!({"apiVersion": "v1", "kind": "List", "items": ["hello"]}))]
fn what_is_no_object_is_refused_once(#[case] document: Value) {
    let refusal = only(read(&[document]));
    assert_eq!(refusal.code, "K-TYPE");
    assert!(refusal.help.is_some_and(|h| h.contains("apiVersion")));
}

#[test]
fn lists_are_opened_and_harmless_kinds_ignored() {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}},
        {"apiVersion": "projectcalico.org/v3", "kind": "IPPoolList", "items": [
            {"metadata": {"name": "p"}, "spec": {"cidr": "10.0.0.0/16", "vxlanMode": "Always"}}]}]});
    let readings = Resource::read(&list, Origin(0)).unwrap();
    assert_eq!(
        readings[0],
        Reading::Ignored {
            kind: "Deployment".into(),
            name: "web".into()
        }
    );
    let Reading::Resource(Resource::IpPool(pool)) = &readings[1] else {
        panic!("{readings:?}");
    };
    assert_eq!(pool.mode_field().path.to_string(), "items[1].items[0].spec.vxlanMode");
}

#[test]
fn a_kubernetes_node_is_read_through_its_annotations() {
    let manifest = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "labels": {"x": "y"}, "annotations": {
        "projectcalico.org/IPv4Address": "10.0.0.1/24", "projectcalico.org/IPv4VXLANTunnelAddr": "192.168.1.1",
        "projectcalico.org/IPv4IPIPTunnelAddr": "nonsense"}},
        "spec": {"podCIDR": "10.244.0.0/24"}, "status": {"addresses": [{"type": "InternalIP", "address": "10.9.9.9"}]}});
    let Some(Resource::Node(node)) = read(&[manifest]).unwrap().pop() else {
        panic!()
    };
    assert_eq!(
        node.bgp_address(Family::V4).map(|r| r.net.to_string()).as_deref(),
        Some("10.0.0.1/24")
    );
    assert_eq!(node.vxlan_tunnel.v4, "192.168.1.1".parse().ok());
    assert_eq!(node.ipip_tunnel, None);
    assert_eq!(
        node.bgp_address(Family::V4).unwrap().at.path.0.last(),
        Some(&overlab_dataplane::fields::Segment::Key(
            "projectcalico.org/IPv4Address".into()
        ))
    );
}

#[rstest]
#[case::unknown_node(&["x nowhere"], "K-UNKNOWN", "spec.workloads.x.node")]
#[case::duplicate_address(&["x a 10.0.0.5", "y a 10.0.0.5"], "K-DUPLICATE", "spec.workloads.y.ip")]
#[case::duplicate_name(&["x a 10.0.0.5", "x a 10.0.0.6"], "K-DUPLICATE", "spec.workloads.x")]
#[case::two_of_one_family(&["x a 10.0.0.5 10.0.0.6"], "K-VALUE", "spec.workloads.x.ip")]
fn a_workload_that_cannot_be_is_refused(#[case] pods: &[&str], #[case] code: &str, #[case] field: &str) {
    let refusal = only(cluster(
        &[pool("p", json!({"cidr": "10.0.0.0/16"})), node("a", "172.16.0.1/24")],
        pods,
    ));
    assert_eq!(
        (refusal.code, refusal.field.path.to_string().as_str()),
        (code, field),
        "{refusal:#?}"
    );
}

#[test]
fn a_workload_without_address_and_without_pool_is_refused() {
    let manifests = [
        pool("p", json!({"cidr": "10.0.0.0/16", "disabled": true})),
        node("a", "172.16.0.1/24"),
    ];
    assert!(
        only(cluster(&manifests, &["x a"]))
            .message
            .contains("no pool hands out addresses")
    );
}

#[test]
fn a_full_pool_is_refused_with_its_range_named() {
    let manifests = [
        pool("p", json!({"cidr": "10.0.0.0/32", "blockSize": 32, "vxlanMode": "Always"})),
        node("a", "172.16.0.1/24"),
    ];
    let refusal = only(cluster(&manifests, &["x a"]));
    assert_eq!(
        (refusal.code, refusal.field.path.to_string().as_str()),
        ("K-POOL-FULL", "spec.cidr")
    );
}

#[test]
fn an_address_that_a_tunnel_has_is_refused_to_workloads_and_other_tunnels() {
    let stated = |name: &str, address: &str| {
        let bgp = json!({"ipv4Address": address, "ipv4IPIPTunnelAddr": "10.0.0.7"});
        node_spec(name, json!({"bgp": bgp}))
    };
    let (a, b) = (stated("a", "172.16.0.1/24"), stated("b", "172.16.0.2/24"));
    let pool = pool("p", json!({"cidr": "10.0.0.0/16", "ipipMode": "Always"}));
    let refusal = only(cluster(&[pool.clone(), a.clone()], &["x a 10.0.0.7"]));
    assert_eq!(refusal.field.path.to_string(), "spec.workloads.x.ip");
    let refusal = only(cluster(&[pool, a, b], &[]));
    assert_eq!(refusal.field.path.to_string(), "spec.bgp.ipv4IPIPTunnelAddr");
    assert_eq!(refusal.related.map(|(at, _)| at.origin), Some(Origin(1)));
}

#[test]
fn workloads_and_tunnels_take_addresses_from_the_pools_that_select_their_node() {
    let in_zone = |name: &str, address: &str, zone: &str| {
        let mut manifest = node(name, address);
        manifest["metadata"]["labels"] = json!({"zone": zone});
        manifest
    };
    let zonal = |name: &str, cidr: &str, zone: &str| {
        let selector = format!("zone == '{zone}'");
        pool(name, json!({"cidr": cidr, "vxlanMode": "Always", "nodeSelector": selector}))
    };
    let nodes = [in_zone("a", "172.16.0.1/24", "east"), in_zone("b", "172.16.0.2/24", "west")];
    let pools = [zonal("east", "10.1.0.0/16", "east"), zonal("west", "10.2.0.0/16", "west")];
    let built = cluster(&[nodes.clone(), pools.clone()].concat(), &["x a", "y b"]).unwrap();
    let shown: Vec<_> = built
        .endpoints()
        .values()
        .map(|e| format!("{} {}", e.name, e.addresses[0]))
        .collect();
    assert_eq!(shown, ["x 10.1.0.1", "y 10.2.0.1"]);
    assert_eq!(built.nodes()["b"].vxlan_tunnel.v4, "10.2.0.0".parse().ok());
    let refusal = only(cluster(
        &[
            nodes,
            [
                pools[0].clone(),
                pool("none", json!({"cidr": "10.3.0.0/16", "disabled": true})),
            ],
        ]
        .concat(),
        &["y b"],
    ));
    assert!(refusal.message.contains("no pool"), "{refusal:#?}");
}
