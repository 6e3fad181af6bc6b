//! Pods, workload endpoints, claims on blocks and the configuration of address management, as the datastore holds them.

use overlab_dataplane::calico::{Profile, Reading, Resource};
use overlab_dataplane::fields::Origin;
use rstest::rstest;
use serde_json::{Value, json};

use crate::datastore::{cluster, felix, node, only, pool, read, route, tables};

fn crd(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "crd.projectcalico.org/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn endpoint(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": "WorkloadEndpoint", "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

fn pod(name: &str, node: &str, address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
           "spec": {"nodeName": node, "containers": []}, "status": {"podIP": address, "podIPs": [{"ip": address}]}})
}

fn two_nodes() -> Vec<Value> {
    let pool = pool("p", json!({"cidr": "10.1.0.0/16", "vxlanMode": "Always"}));
    vec![pool, node("a", "172.16.0.1/24"), node("b", "172.16.0.2/24")]
}

fn with(more: Vec<Value>) -> Vec<Value> {
    [two_nodes(), more].concat()
}

#[test]
fn pods_are_workloads_of_their_nodes_with_their_blocks() {
    let built = cluster(&with(vec![pod("web", "a", "10.1.0.5"), pod("db", "b", "10.1.0.70")]), &[]).unwrap();
    let names: Vec<_> = built.endpoints().values().map(|e| format!("{} {}", e.name, e.node)).collect();
    assert_eq!(names, ["shop/db b", "shop/web a"]);
    let a = tables(&built, "a", "172.16.0.1/24");
    // `printf shop.web | sha1sum` begins with this.
    assert_eq!(
        route(&a, "10.1.0.5/32"),
        format!("10.1.0.5 dev {} scope link metric 1024", "cali551b05c3e54")
    );
    assert!(route(&a, "10.1.0.64/26").contains("dev vxlan.calico"));
}

#[rstest]
#[case::on_the_hosts_network(json!({"spec": {"hostNetwork": true}}))]
#[case::not_scheduled(json!({"spec": {"nodeName": null}}))]
#[case::without_address(json!({"status": {"podIP": null, "podIPs": null}}))]
#[case::ended(json!({"status": {"phase": "Succeeded"}}))]
fn a_pod_without_a_network_of_its_own_is_ignored(#[case] change: Value) {
    let mut manifest = pod("web", "a", "10.1.0.5");
    for (part, fields) in change.as_object().unwrap() {
        for (key, value) in fields.as_object().unwrap() {
            manifest[part][key] = value.clone();
        }
    }
    let readings = Resource::read(&manifest, Origin(0)).unwrap();
    assert!(
        matches!(&readings[..], [Reading::Ignored { kind, name }] if kind == "Pod" && name == "web"),
        "{readings:?}"
    );
}

#[test]
fn what_the_plugin_noted_of_a_pod_goes_before_its_status() {
    let mut manifest = pod("web", "a", "10.1.0.5");
    manifest["metadata"]["annotations"] = json!({"cni.projectcalico.org/podIPs": "10.1.0.9/32,fd00::9/128",
        "cni.projectcalico.org/allowedSourcePrefixes": "[\"192.0.2.0/24\"]"});
    let built = cluster(
        &with(vec![
            manifest.clone(),
            felix("default", json!({"workloadSourceSpoofing": "Any"})),
        ]),
        &[],
    )
    .unwrap();
    let web = &built.endpoints()["shop/web"];
    assert_eq!(
        web.addresses,
        ["10.1.0.9".parse::<std::net::IpAddr>().unwrap(), "fd00::9".parse().unwrap()]
    );
    let spoofable = |built| tables(built, "a", "172.16.0.1/24").workloads[0].spoofable.clone();
    assert_eq!(spoofable(&built), ["192.0.2.0/24".parse().unwrap()]);
    let without = cluster(&with(vec![manifest]), &[]).unwrap();
    assert!(spoofable(&without).is_empty(), "only where Felix honours it");
}

#[test]
fn an_endpoint_says_more_than_its_pod() {
    let spec = json!({"node": "a", "pod": "web", "orchestrator": "k8s", "interfaceName": "cali0123456789a",
                      "ipNetworks": ["10.1.0.5/32"], "ipNATs": [{"internalIP": "10.1.0.5", "externalIP": "192.0.2.1"}]});
    for manifests in [
        vec![pod("web", "a", "10.1.0.5"), endpoint("a-k8s-web-eth0", spec.clone())],
        vec![endpoint("a-k8s-web-eth0", spec.clone()), pod("web", "a", "10.1.0.5")],
    ] {
        let built = cluster(&with(manifests), &[]).unwrap();
        assert_eq!(built.endpoints().len(), 1);
        let a = tables(&built, "a", "172.16.0.1/24");
        assert!(route(&a, "10.1.0.5/32").contains("dev cali0123456789a"));
    }
}

#[rstest]
#[case::wide(json!({"ipNetworks": ["10.1.0.0/24"]}), "W-NETWORK", "spec.ipNetworks[0]", "10.1.0.0/32")]
#[case::wide_v6(json!({"ipNetworks": ["fd00::1/64"]}), "W-NETWORK", "spec.ipNetworks[0]", "fd00::1/128")]
#[case::foreign_nat(json!({"ipNATs": [{"internalIP": "10.1.0.6", "externalIP": "192.0.2.1"}]}), "W-NAT", "spec.ipNATs[0].internalIP", "addresses")]
#[case::long_interface(json!({"interfaceName": "cali0123456789abc"}), "K-VALUE", "spec.interfaceName", "")]
#[case::no_interface(json!({"interfaceName": null}), "K-MISSING", "spec", "interfaceName")]
#[case::no_node(json!({"node": null}), "K-MISSING", "spec", "node")]
#[case::unknown(json!({"ipNetwork": []}), "K-UNKNOWN", "spec.ipNetwork", "`ipNetworks`")]
fn an_endpoint_that_calico_rejects_is_refused(
    #[case] change: Value,
    #[case] code: &str,
    #[case] field: &str,
    #[case] help: &str,
) {
    let mut spec = json!({"node": "a", "interfaceName": "cali0123456789a", "ipNetworks": ["10.1.0.5/32"]});
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let refusal = only(read(&[endpoint("web", spec)]));
    assert_eq!(
        (refusal.code, refusal.field.path.to_string().as_str()),
        (code, field),
        "{refusal:#?}"
    );
    assert!(
        help.is_empty() || refusal.help.as_ref().is_some_and(|h| h.contains(help)),
        "{refusal:#?}"
    );
}

#[test]
fn two_pods_of_one_address_or_one_name_are_refused_with_both_named() {
    let refusal = only(cluster(
        &with(vec![pod("web", "a", "10.1.0.5"), pod("db", "b", "10.1.0.5")]),
        &[],
    ));
    assert_eq!(refusal.code, "K-DUPLICATE");
    assert!(
        refusal.message.contains("shop/web") && refusal.message.contains("shop/db"),
        "{refusal:#?}"
    );
    let refusal = only(cluster(
        &with(vec![pod("web", "a", "10.1.0.5"), pod("web", "b", "10.1.0.6")]),
        &[],
    ));
    assert_eq!((refusal.code, refusal.field.origin), ("K-DUPLICATE", Origin(4)));
    assert_eq!(refusal.related.map(|(at, _)| at.origin), Some(Origin(3)));
}

#[rstest]
#[case::max_blocks(json!({"strictAffinity": false, "maxBlocksPerHost": 4}), "I-MAX-BLOCKS", "spec.maxBlocksPerHost")]
#[case::no_blocks(json!({"strictAffinity": false, "autoAllocateBlocks": false}), "I-AUTO-ALLOCATE", "spec.autoAllocateBlocks")]
#[case::negative(json!({"strictAffinity": true, "maxBlocksPerHost": -1}), "K-VALUE", "spec.maxBlocksPerHost")]
fn an_ipam_configuration_that_calico_rejects_is_refused_in_both_spellings(
    #[case] spec: Value,
    #[case] code: &str,
    #[case] field: &str,
) {
    let v3 =
        json!({"apiVersion": "projectcalico.org/v3", "kind": "IPAMConfiguration", "metadata": {"name": "default"}, "spec": spec});
    for manifest in [v3, crd("IPAMConfig", "default", spec.clone())] {
        let refusal = only(read(&[manifest]));
        assert_eq!(
            (refusal.code, refusal.field.path.to_string().as_str()),
            (code, field),
            "{refusal:#?}"
        );
    }
}

#[rstest]
#[case::borrowing(json!({"strictAffinity": false}), Some("10.1.0.1"))]
#[case::strict(json!({"strictAffinity": true}), None)]
fn a_node_borrows_unless_affinity_is_strict(#[case] spec: Value, #[case] address: Option<&str>) {
    let manifests = [
        pool(
            "p",
            json!({"cidr": "10.1.0.0/30", "blockSize": 30, "allowedUses": ["Workload"]}),
        ),
        node("a", "172.16.0.1/24"),
        node("b", "172.16.0.2/24"),
        crd("IPAMConfig", "default", spec),
    ];
    let built = cluster(&manifests, &["x a", "y b"]);
    match address {
        Some(address) => assert_eq!(built.unwrap().endpoints()["y"].addresses[0].to_string(), address),
        None => assert_eq!(only(built).code, "K-POOL-FULL"),
    }
}

#[test]
fn a_node_with_all_the_blocks_that_it_may_have_gets_no_more() {
    let limit = crd(
        "IPAMConfig",
        "default",
        json!({"strictAffinity": true, "maxBlocksPerHost": 1}),
    );
    let pool = pool(
        "p",
        json!({"cidr": "10.1.0.0/24", "blockSize": 32, "allowedUses": ["Workload"]}),
    );
    let refusal = only(cluster(&[pool, node("a", "172.16.0.1/24"), limit], &["x a", "y a"]));
    assert!(refusal.code == "K-POOL-FULL" && refusal.message.contains('y'), "{refusal:#?}");
}

fn claim(node: &str, state: &str) -> Value {
    crd(
        "BlockAffinity",
        &format!("{node}-10-1-0-0-26"),
        json!({"state": state, "node": node, "cidr": "10.1.0.0/26", "deleted": "false"}),
    )
}

#[test]
fn a_confirmed_claim_stands_for_its_block_and_others_do_not() {
    let holder = |state| {
        let built = cluster(
            &[
                pool("p", json!({"cidr": "10.1.0.0/16"})),
                node("a", "172.16.0.1/24"),
                claim("a", state),
            ],
            &[],
        )
        .unwrap();
        built.blocks().values().next().and_then(|block| block.affinity.clone())
    };
    assert_eq!(holder("confirmed").as_deref(), Some("a"));
    assert_eq!((holder("pending"), holder("pendingDeletion")), (None, None));
}

#[test]
fn a_claim_on_another_nodes_block_is_refused() {
    let block = crd(
        "IPAMBlock",
        "10-1-0-0-26",
        json!({"cidr": "10.1.0.0/26", "affinity": "host:b", "allocations": [], "attributes": []}),
    );
    let refusal = only(cluster(&with(vec![claim("a", "confirmed"), block]), &[]));
    assert_eq!(
        (refusal.code, refusal.field.path.to_string().as_str()),
        ("K-DUPLICATE", "spec.node")
    );
    assert_eq!(refusal.related.map(|(at, _)| at.origin), Some(Origin(4)));
}

#[test]
fn the_dump_of_a_whole_cluster_is_read_with_the_other_kinds_ignored() {
    let other = |api: &str, kind: &str| json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x", "uid": "1"}, "spec": {"any": 1}});
    let items = [
        other("v1", "Secret"),
        other("v1", "Service"),
        other("v1", "ConfigMap"),
        other("apps/v1", "Deployment"),
        other("apps/v1", "DaemonSet"),
        other("apps/v1", "ReplicaSet"),
        other("networking.k8s.io/v1", "NetworkPolicy"),
        other("crd.projectcalico.org/v1", "GlobalNetworkPolicy"),
        other("crd.projectcalico.org/v1", "ClusterInformation"),
        other("crd.projectcalico.org/v1", "IPAMHandle"),
        other("projectcalico.org/v3", "HostEndpoint"),
        other("network.harvesterhci.io/v1beta1", "IPPool"),
        other("metallb.io/v1beta1", "IPAddressPool"),
        pod("web", "a", "10.1.0.5"),
    ];
    let readings = Resource::read(&json!({"apiVersion": "v1", "kind": "List", "items": items}), Origin(0)).unwrap();
    let ignored = readings.iter().filter(|r| matches!(r, Reading::Ignored { .. })).count();
    assert_eq!((readings.len(), ignored), (14, 13));
}

/// A pool as `kubectl` prints it: past Calico's API.
fn written(name: &str, cidr: &str, created: &str) -> Value {
    let mut pool = crd("IPPool", name, json!({"cidr": cidr, "vxlanMode": "Always"}));
    pool["metadata"]["creationTimestamp"] = json!(created);
    pool
}

#[test]
fn pools_written_past_the_api_may_nest_and_the_younger_one_hands_out_nothing() {
    let manifests = [
        written("inner", "10.1.4.0/24", "2024-05-01T00:00:00Z"),
        written("outer", "10.1.0.0/16", "2023-05-01T00:00:00Z"),
    ];
    let built = cluster(&manifests, &[]).unwrap();
    assert_eq!(built.pools()["inner"].overlapped.as_deref(), Some("outer"));
    assert!(built.pools()["outer"].allocates() && !built.pools()["inner"].allocates());
    assert_eq!(
        built.pool_of("10.1.4.9".parse().unwrap()).map(|p| &*p.name),
        Some("inner"),
        "routing sees both"
    );
    let old = overlab_dataplane::calico::ClusterState::build(Profile::V3_22, read(&manifests).unwrap(), Vec::new()).unwrap();
    assert!(old.pools()["inner"].allocates(), "nobody judges them before v3.32");
}

#[rstest]
#[case::disabled(json!({"spec": {"disabled": true}}), &["inner"])]
#[case::one_on_its_way_out_is_there_until_it_is_gone(json!({"metadata": {"deletionTimestamp": "2025-01-01T00:00:00Z"}}), &[])]
#[case::active_goes_first(json!({"status": {"conditions": [{"type": "Allocatable", "status": "True"}]}}), &["outer"])]
fn disabled_pools_hinder_nobody_and_older_states_go_first(#[case] change: Value, #[case] open: &[&str]) {
    let mut outer = written("outer", "10.1.0.0/16", "2024-05-01T00:00:00Z");
    for (part, fields) in change.as_object().unwrap() {
        for (key, value) in fields.as_object().unwrap() {
            outer[part][key] = value.clone();
        }
    }
    let built = cluster(&[outer, written("inner", "10.1.4.0/24", "2023-05-01T00:00:00Z")], &[]).unwrap();
    let open_ones: Vec<_> = built.pools().values().filter(|p| p.allocates()).map(|p| &*p.name).collect();
    assert_eq!(open_ones, open);
}

#[test]
fn of_two_pools_with_one_range_the_lowest_name_is_delivered() {
    let mut z = written("z", "10.1.0.0/16", "2023-05-01T00:00:00Z");
    z["spec"] = json!({"cidr": "10.1.0.0/16", "ipipMode": "Always"});
    let built = cluster(&[z, written("a", "10.1.0.0/16", "2024-05-01T00:00:00Z")], &[]).unwrap();
    assert_eq!(built.delivered_pools().map(|p| &*p.name).collect::<Vec<_>>(), ["a"]);
    assert!(built.settings("any").vxlan.v4 && !built.settings("any").ipip);
    assert_eq!(built.pool_of("10.1.0.9".parse().unwrap()).map(|p| &*p.name), Some("a"));
}
