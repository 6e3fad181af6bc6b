//! Who gets which address: workloads and tunnels, from which block, in both families.

use overlab_dataplane::calico::ClusterState;
use rstest::rstest;
use serde_json::{Value, json};

use crate::datastore::{calico_node, cluster, node, node_spec, only, pool};

/// The addresses of a workload, with blanks between them.
fn workload(cluster: &ClusterState, name: &str) -> String {
    let addresses = &cluster.endpoints()[name].addresses;
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// The addresses of a node's `tunl0`, `vxlan.calico` and `vxlan-v6.calico`; `-` for none.
fn tunnels(cluster: &ClusterState, name: &str) -> String {
    let node = &cluster.nodes()[name];
    let text = |address: Option<String>| address.unwrap_or_else(|| "-".to_owned());
    let ipip = text(node.ipip_tunnel.map(|a| a.to_string()));
    let [v4, v6] = [node.vxlan_tunnel.v4, node.vxlan_tunnel.v6].map(|a| text(a.map(|a| a.to_string())));
    format!("{ipip} {v4} {v6}")
}

fn dual_stack() -> Vec<Value> {
    vec![
        pool("four", json!({"cidr": "10.0.0.0/16"})),
        pool("six", json!({"cidr": "fd00:10::/64", "vxlanMode": "Always"})),
        node("a", "172.16.0.1/24"),
    ]
}

#[rstest]
#[case::none_stated("x a", "10.0.0.0 fd00:10::1")]
#[case::one_stated("x a 10.0.0.9", "10.0.0.9 fd00:10::1")]
#[case::other_stated("x a fd00:10::9", "10.0.0.0 fd00:10::9")]
#[case::both_stated_in_any_order("x a fd00:10::9 10.0.0.9", "10.0.0.9 fd00:10::9")]
#[case::pool_of_one_family("x a pool=four", "10.0.0.0")]
#[case::pool_of_the_other_family("x a 10.0.0.9 pool=six", "10.0.0.9 fd00:10::1")]
fn a_workload_has_one_address_of_each_family_that_has_a_pool(#[case] request: &str, #[case] addresses: &str) {
    assert_eq!(workload(&cluster(&dual_stack(), &[request]).unwrap(), "x"), addresses);
}

#[test]
fn a_node_without_ipv6_record_has_a_tunnel_address_of_an_ipv6_vxlan_pool() {
    assert_eq!(tunnels(&cluster(&dual_stack(), &[]).unwrap(), "a"), "- - fd00:10::");
}

/// A VXLAN pool for addresses of tunnels alone, with these fields besides.
fn tunnel_pool(name: &str, cidr: &str, more: Value) -> Value {
    let mut spec = json!({"cidr": cidr, "vxlanMode": "CrossSubnet"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    pool(name, spec)
}

/// Node a, labelled `zone: a`, with this tunnel address on record.
fn recorded(vxlan: Option<&str>) -> Value {
    let mut node = node_spec(
        "a",
        json!({"bgp": {"ipv4Address": "172.16.0.1/24"}, "ipv4VXLANTunnelAddr": vxlan}),
    );
    node["metadata"]["labels"] = json!({"zone": "a"});
    node
}

#[rstest]
#[case::t1_each_kind_that_has_a_pool(vec![tunnel_pool("v", "10.0.0.0/16", json!({})), pool("i", json!({"cidr": "10.1.0.0/16", "ipipMode": "CrossSubnet"}))], None, "10.1.0.0 10.0.0.0 -")]
#[case::t1_no_pool(vec![pool("plain", json!({"cidr": "10.0.0.0/16"}))], None, "- - -")]
#[case::t2_disabled(vec![tunnel_pool("v", "10.0.0.0/16", json!({"disabled": true}))], None, "- - -")]
#[case::t2_not_for_tunnels(vec![tunnel_pool("v", "10.0.0.0/16", json!({"allowedUses": ["Workload"]}))], None, "- - -")]
#[case::t2_other_nodes(vec![tunnel_pool("v", "10.0.0.0/16", json!({"nodeSelector": "zone == 'b'"}))], None, "- - -")]
#[case::t2_this_node(vec![tunnel_pool("v", "10.0.0.0/16", json!({"nodeSelector": "zone == 'a'"}))], None, "- 10.0.0.0 -")]
#[case::t4_own_and_eligible_is_kept(vec![tunnel_pool("v", "10.0.0.0/16", json!({}))], Some("10.0.0.9"), "- 10.0.0.9 -")]
#[case::t4_of_a_disabled_pool_is_replaced(vec![tunnel_pool("off", "10.0.0.0/16", json!({"disabled": true})), tunnel_pool("on", "10.1.0.0/16", json!({}))], Some("10.0.0.9"), "- 10.1.0.0 -")]
#[case::t4_of_the_wrong_encapsulation_is_replaced(vec![pool("i", json!({"cidr": "10.0.0.0/16"})), tunnel_pool("v", "10.1.0.0/16", json!({}))], Some("10.0.0.9"), "- 10.1.0.0 -")]
#[case::t5_with_the_last_pool_disabled_it_is_gone(vec![tunnel_pool("off", "10.0.0.0/16", json!({"disabled": true}))], Some("10.0.0.9"), "- - -")]
#[case::t6_a_pool_of_no_node_gives_none(vec![tunnel_pool("v", "10.0.0.0/16", json!({"nodeSelector": "!all()"}))], None, "- - -")]
#[case::by_hand_against_the_selector_is_obeyed(vec![tunnel_pool("v", "10.0.0.0/16", json!({"nodeSelector": "!all()"}))], Some("10.0.0.9"), "- 10.0.0.9 -")]
#[case::by_hand_outside_every_pool_is_obeyed(vec![tunnel_pool("v", "10.0.0.0/16", json!({}))], Some("10.9.0.9"), "- 10.9.0.9 -")]
fn tunnel_addresses_follow_their_rules(#[case] pools: Vec<Value>, #[case] stated: Option<&str>, #[case] expected: &str) {
    let manifests: Vec<Value> = pools.into_iter().chain([recorded(stated)]).collect();
    assert_eq!(tunnels(&cluster(&manifests, &[]).unwrap(), "a"), expected);
}

/// A block of node a at 10.0.0.0/26 whose first address has this handle.
fn block(handle: &str) -> Value {
    json!({"apiVersion": "crd.projectcalico.org/v1", "kind": "IPAMBlock", "metadata": {"name": "10-0-0-0-26"},
           "spec": {"cidr": "10.0.0.0/26", "affinity": "host:a", "allocations": [0], "unallocated": [],
                    "attributes": [{"handle_id": handle, "secondary": {"node": "a"}}]}})
}

#[test]
fn t4_an_address_that_somebody_else_has_is_replaced() {
    let pool = tunnel_pool("v", "10.0.0.0/16", json!({}));
    let given = |handle: &str, stated| {
        let manifests = [pool.clone(), recorded(stated), block(handle)];
        tunnels(&cluster(&manifests, &[]).unwrap(), "a")
    };
    assert_eq!(given("k8s-pod-network.1", Some("10.0.0.0")), "- 10.0.0.1 -");
    assert_eq!(given("vxlan-tunnel-addr-a", Some("10.0.0.0")), "- 10.0.0.0 -");
    assert_eq!(given("vxlan-tunnel-addr-a", None), "- 10.0.0.0 -");
}

#[test]
fn t5_an_address_that_is_given_up_is_free_in_its_block() {
    let pool = tunnel_pool("v", "10.0.0.0/16", json!({"disabled": true}));
    let cluster = cluster(&[pool, recorded(Some("10.0.0.0")), block("vxlan-tunnel-addr-a")], &[]).unwrap();
    assert_eq!(tunnels(&cluster, "a"), "- - -");
    assert!(cluster.blocks().values().all(|block| block.allocations.is_empty()));
}

#[test]
fn truth_29_a_tunnel_takes_an_address_and_claims_a_block_before_any_workload_is_there() {
    let manifests = [tunnel_pool("v", "10.0.0.0/16", json!({})), recorded(None)];
    let cluster = cluster(&manifests, &["x a"]).unwrap();
    assert_eq!(workload(&cluster, "x"), "10.0.0.1");
    let block = cluster.blocks().values().next().unwrap();
    let handles: Vec<&str> = block.allocations.values().map(|a| &*a.handle).collect();
    assert_eq!(handles, ["vxlan-tunnel-addr-a", "x"]);
}

fn kubernetes_node(name: &str, address: &str, ranges: &[&str]) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "annotations": {"projectcalico.org/IPv4Address": address}},
           "spec": {"podCIDRs": ranges}})
}

#[test]
fn with_host_local_addresses_a_nodes_range_is_its_block_and_its_tunnel_is_for_ipip() {
    let manifests = [
        calico_node(&[("USE_POD_CIDR", json!("true")), ("NO_DEFAULT_POOLS", json!("true"))]),
        tunnel_pool("v", "10.244.0.0/16", json!({})),
        kubernetes_node("a", "172.16.0.1/24", &["10.244.0.0/24", "fd00:10:244::/64"]),
        kubernetes_node("b", "172.16.0.2/24", &["10.244.1.0/24"]),
        kubernetes_node("c", "172.16.0.3/24", &[]),
    ];
    let cluster = cluster(&manifests, &["x a", "y b", "z b 10.244.1.9"]).unwrap();
    assert_eq!(
        ["a", "b", "c"].map(|node| tunnels(&cluster, node)),
        ["10.244.0.1 - -", "10.244.1.1 - -", "- - -"]
    );
    assert_eq!(
        ["x", "y", "z"].map(|name| workload(&cluster, name)),
        ["10.244.0.2 fd00:10:244::2", "10.244.1.2", "10.244.1.9"]
    );
    let blocks: Vec<_> = cluster
        .blocks()
        .values()
        .map(|b| (b.cidr.to_string(), b.affinity.as_deref().unwrap()))
        .collect();
    let expected = [("10.244.0.0/24", "a"), ("10.244.1.0/24", "b"), ("fd00:10:244::/64", "a")];
    assert_eq!(blocks, expected.map(|(range, node)| (range.to_owned(), node)));
    let refused = |pods: &[&str]| only(crate::datastore::cluster(&manifests, pods)).message;
    assert!(refused(&["x a 10.244.1.9"]).contains("in no range of node a"));
    assert!(refused(&["x c"]).contains("node c has no range"));
}

/// A block at 10.0.0.0/26, of node a unless another owner is given, with these fields besides.
fn block_with(more: Value) -> Value {
    let mut block = block("nobody");
    block["spec"] = json!({"cidr": "10.0.0.0/26", "affinity": "host:a"});
    block["spec"]
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    block
}

fn ipam(spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": "IPAMConfiguration", "metadata": {"name": "default"}, "spec": spec})
}

/// Nodes a and b, and the pool with these fields besides.
fn two_nodes(more: Value) -> Vec<Value> {
    let mut spec = json!({"cidr": "10.0.0.0/29", "blockSize": 30});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    vec![pool("p", spec), node("a", "172.16.0.1/24"), node("b", "172.16.0.2/24")]
}

#[rstest]
#[case::ipv4(json!({}), "10.0.0.")]
#[case::ipv6(json!({"cidr": "fd00:10::/125", "blockSize": 126}), "fd00:10::")]
fn a_node_takes_from_its_blocks_then_claims_then_borrows(#[case] range: Value, #[case] start: &str) {
    let pods: Vec<String> = (0..7).map(|i| format!("w{i} {}", if i == 0 { "b" } else { "a" })).collect();
    let pods: Vec<&str> = pods.iter().map(String::as_str).collect();
    let cluster = cluster(&two_nodes(range), &pods).unwrap();
    let given: Vec<String> = (0..7).map(|i| workload(&cluster, &format!("w{i}"))).collect();
    assert_eq!(given, [0, 4, 5, 6, 7, 1, 2].map(|last| like(start, last)));
}

/// The address at a place of a range, as it is printed.
fn like(start: &str, place: u8) -> String {
    match place {
        0 if start.ends_with(':') => start.to_owned(),
        _ => format!("{start}{place}"),
    }
}

#[rstest]
#[case::strict(json!({"strictAffinity": true}), 4)]
#[case::one_block_each(json!({"strictAffinity": true, "maxBlocksPerHost": 1}), 4)]
#[case::free(json!({}), 7)]
fn a_node_borrows_unless_affinity_is_strict(
    #[case] spec: Value,
    #[case] most: usize,
    #[values(json!({}), json!({"cidr": "fd00:10::/125", "blockSize": 126}))] range: Value,
) {
    let mut manifests = two_nodes(range);
    manifests.push(ipam(spec));
    let pods: Vec<String> = (0..=most)
        .map(|i| format!("w{i} {}", if i == 0 { "b" } else { "a" }))
        .collect();
    let pods: Vec<&str> = pods.iter().map(String::as_str).collect();
    assert!(cluster(&manifests, &pods).is_ok());
    let extra: Vec<&str> = pods.iter().copied().chain(["one-more a"]).collect();
    assert_eq!(only(cluster(&manifests, &extra)).code, "K-POOL-FULL");
}

#[rstest]
#[case::disabled(json!({"disabled": true}), false, false)]
#[case::manual(json!({"assignmentMode": "Manual"}), false, true)]
#[case::other_nodes(json!({"nodeSelector": "!all()"}), false, true)]
#[case::open(json!({}), true, true)]
fn a_pool_that_is_named_is_asked_only_whether_it_is_enabled(#[case] more: Value, #[case] unnamed: bool, #[case] named: bool) {
    let manifests = two_nodes(more);
    assert_eq!(cluster(&manifests, &["x a"]).is_ok(), unnamed);
    assert_eq!(cluster(&manifests, &["x a pool=p"]).is_ok(), named);
}

/// A workload here has no namespace, so that a pool for some namespaces serves it only by name.
#[rstest]
#[case::all("all()", true)]
#[case::some("team == 'a'", false)]
fn a_pool_for_some_namespaces_says_why_it_gives_nothing(#[case] selector: &str, #[case] gives: bool) {
    let manifests = two_nodes(json!({"allowedUses": ["Workload"], "namespaceSelector": selector}));
    assert!(cluster(&manifests, &["x a pool=p"]).is_ok());
    let unnamed = cluster(&manifests, &["x a"]);
    if gives {
        assert!(unnamed.is_ok());
        return;
    }
    let refusal = only(unnamed);
    let related = refusal.related.map(|(at, _)| at.path.to_string());
    assert_eq!(
        (refusal.code, related.as_deref()),
        ("K-NOT-MODELLED", Some("spec.namespaceSelector"))
    );
}

#[test]
fn a_blocks_free_list_is_the_order_of_its_addresses_and_one_given_up_comes_last() {
    let manifests = |more| {
        [
            pool("p", json!({"cidr": "10.0.0.0/24"})),
            node("a", "172.16.0.1/24"),
            block_with(more),
        ]
    };
    let given = |manifests: &[Value], count: usize| {
        let pods: Vec<String> = (0..count).map(|i| format!("w{i} a")).collect();
        let cluster = cluster(manifests, &pods.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        (0..count).map(|i| workload(&cluster, &format!("w{i}"))).collect::<Vec<_>>()
    };
    assert_eq!(
        given(&manifests(json!({"unallocated": [7, 3]})), 3),
        ["10.0.0.7", "10.0.0.3", "10.0.0.0"]
    );
    assert_eq!(only(cluster(&manifests(json!({"unallocated": [64]})), &[])).code, "K-VALUE");
    let gone = [
        tunnel_pool("off", "10.9.0.0/24", json!({"disabled": true})),
        pool("p", json!({"cidr": "10.0.0.0/26"})),
        node("a", "172.16.0.1/24"),
        block("vxlan-tunnel-addr-a"),
    ];
    let all = given(&gone, 64);
    assert_eq!((all[0].as_str(), all[63].as_str()), ("10.0.0.1", "10.0.0.0"));
}
