//! Create and update are different operations: what an object may become, and what may be made beside others.

use overlab_dataplane::calico::{ClusterState, Profile, update};
use overlab_dataplane::encap::Encap;
use overlab_dataplane::fields::{Origin, Refusal};
use rstest::rstest;
use serde_json::{Value, json};

use crate::datastore::{calico_node, cluster, config_map, felix, installation, node, only, pool, read};

/// Judges manifests; those of both sides are numbered through.
fn judge(old: &[Value], new: &[Value], profile: Profile) -> Result<(), Vec<Refusal>> {
    let all = read(&[old, new].concat()).unwrap();
    let (old, new) = all.split_at(old.len());
    update(old, new, profile).map(drop)
}

fn change(before: Value, after: Value) -> Result<(), Vec<Refusal>> {
    judge(&[pool("p", before)], &[pool("p", after)], Profile::V3_32)
}

#[rstest]
#[case::r4_other_range(json!({"cidr": "10.1.0.0/16"}), json!({"cidr": "10.2.0.0/16"}), "R4", "spec.cidr", "another name")]
#[case::r4_longer_range(json!({"cidr": "10.1.0.0/16"}), json!({"cidr": "10.1.0.0/17"}), "R4", "spec.cidr", "another name")]
#[case::r4_other_text(json!({"cidr": "fd00::/64"}), json!({"cidr": "FD00:0::/64"}), "R4", "spec.cidr", "fd00::/64")]
#[case::r11_block_size(json!({"cidr": "10.1.0.0/16"}), json!({"cidr": "10.1.0.0/16", "blockSize": 27}), "R11", "spec.blockSize", "26")]
#[case::r14_balancer_no_more(json!({"cidr": "10.1.0.0/16", "allowedUses": ["LoadBalancer"]}), json!({"cidr": "10.1.0.0/16"}), "R14", "spec.allowedUses", "new pool")]
fn a_pool_cannot_become_another_one(
    #[case] before: Value,
    #[case] after: Value,
    #[case] code: &str,
    #[case] field: &str,
    #[case] help: &str,
) {
    let refusal = only(change(before, after));
    assert_eq!(
        (refusal.code, refusal.field.path.to_string().as_str()),
        (code, field),
        "{refusal:#?}"
    );
    assert_eq!(
        (refusal.field.origin, refusal.related.map(|(at, _)| at.origin)),
        (Origin(1), Some(Origin(0)))
    );
    assert!(refusal.help.is_some_and(|h| h.contains(help)));
}

#[rstest]
#[case::r4_canonical_text(json!({"cidr": "FD00:0::/64"}), json!({"cidr": "fd00::/64"}))]
#[case::r11_default_block_size_spelt_out(json!({"cidr": "10.1.0.0/16"}), json!({"cidr": "10.1.0.0/16", "blockSize": 26}))]
#[case::r18_ipip_to_vxlan_at_once(json!({"cidr": "10.1.0.0/16", "ipipMode": "Always"}), json!({"cidr": "10.1.0.0/16", "ipipMode": "Never", "vxlanMode": "CrossSubnet"}))]
#[case::r18_everything_else(json!({"cidr": "10.1.0.0/16"}), json!({"cidr": "10.1.0.0/16", "natOutgoing": true, "disabled": true, "disableBGPExport": true, "nodeSelector": "has(x)"}))]
#[case::r14_to_a_balancer(json!({"cidr": "10.1.0.0/16"}), json!({"cidr": "10.1.0.0/16", "allowedUses": ["LoadBalancer"]}))]
fn a_living_pool_may_change_otherwise(#[case] before: Value, #[case] after: Value) {
    assert_eq!(change(before, after), Ok(()));
}

#[test]
fn r6_an_object_that_is_not_there_is_created_beside_the_others() {
    let (wide, inner) = (
        pool("wide", json!({"cidr": "10.0.0.0/8"})),
        pool("inner", json!({"cidr": "10.1.0.0/16"})),
    );
    let refusal = only(judge(
        std::slice::from_ref(&wide),
        std::slice::from_ref(&inner),
        Profile::V3_32,
    ));
    let places = (refusal.field.origin, refusal.related.map(|(at, _)| at.origin));
    assert_eq!((refusal.code, places), ("R6", (Origin(1), Some(Origin(0)))));
    let apart = [
        pool("one", json!({"cidr": "11.0.0.0/16"})),
        pool("two", json!({"cidr": "12.0.0.0/16"})),
    ];
    assert_eq!(judge(&[wide], &apart, Profile::V3_32), Ok(()));
}

#[test]
fn r6_overlaps_that_are_there_do_not_hinder_an_update() {
    let crd = |name: &str, spec: Value| json!({"apiVersion": "crd.projectcalico.org/v1", "kind": "IPPool", "metadata": {"name": name}, "spec": spec});
    let old = [
        crd("wide", json!({"cidr": "10.0.0.0/8"})),
        crd("inner", json!({"cidr": "10.1.0.0/16"})),
    ];
    let new = [pool("inner", json!({"cidr": "10.1.0.0/16", "natOutgoing": true}))];
    assert_eq!(judge(&old, &new, Profile::V3_32), Ok(()));
}

fn block(cidr: &str) -> Value {
    json!({"apiVersion": "crd.projectcalico.org/v1", "kind": "IPAMBlock", "metadata": {"name": cidr.replace(['.', '/'], "-")},
           "spec": {"cidr": cidr, "affinity": "host:a", "allocations": [], "attributes": []}})
}

#[test]
fn r13_a_pool_over_leftover_blocks_of_another_size_is_refused_once() {
    let old = [block("10.1.0.0/28"), block("10.1.0.16/28")];
    let refusal = only(judge(&old, &[pool("p", json!({"cidr": "10.1.0.0/16"}))], Profile::V3_32));
    assert_eq!(
        (refusal.code, refusal.field.path.to_string().as_str()),
        ("R13", "spec.blockSize")
    );
    assert!(refusal.help.is_some_and(|h| h.contains("28")));
    let fitting = pool("p", json!({"cidr": "10.1.0.0/16", "blockSize": 28}));
    assert_eq!(judge(&old, &[fitting], Profile::V3_32), Ok(()));
    let stream = [old[0].clone(), pool("p", json!({"cidr": "10.1.0.0/16"}))];
    assert_eq!(only(cluster(&stream, &[])).code, "R13");
}

#[test]
fn objects_of_one_name_in_a_stream_are_applied_one_after_the_other() {
    let with = |spec: Value| pool("p", spec);
    let small = with(json!({"cidr": "10.1.0.0/16", "natOutgoing": true}));
    let large = with(json!({"cidr": "10.0.0.0/8"}));
    assert_eq!(
        judge(&[], &[with(json!({"cidr": "10.1.0.0/16"})), small.clone()], Profile::V3_32),
        Ok(())
    );
    assert_eq!(only(judge(&[], &[small, large], Profile::V3_32)).code, "R4");
}

#[test]
fn what_is_there_after_an_update_is_a_datastore_again() {
    let manifests = [
        pool("p", json!({"cidr": "10.1.0.0/16", "ipipMode": "Always"})),
        node("a", "172.16.0.1/24"),
        pool("p", json!({"cidr": "10.1.0.0/16", "vxlanMode": "Always"})),
        node("b", "172.16.0.2/24"),
    ];
    let objects = read(&manifests).unwrap();
    let after = update(&objects[..2], &objects[2..], Profile::V3_32).unwrap();
    assert_eq!(after.len(), 3);
    let built = ClusterState::build(Profile::V3_32, after, Vec::new()).unwrap();
    assert_eq!((built.nodes().len(), built.pools()["p"].encapsulation()), (2, Encap::Vxlan));
}

/// E1: the environment creates pools where there are none; once there, no other environment changes them, not even a bad one.
#[rstest]
#[case::other_range(&[("CALICO_IPV4POOL_CIDR", json!("10.9.0.0/16"))])]
#[case::bad_range(&[("CALICO_IPV4POOL_CIDR", json!("nonsense"))])]
#[case::bad_mode(&[("CALICO_IPV4POOL_VXLAN", json!("yes"))])]
fn e1_pools_of_the_environment_outlive_it(#[case] environment: &[(&str, Value)]) {
    let before = calico_node(&[
        ("CALICO_IPV4POOL_CIDR", json!("10.1.0.0/16")),
        ("CALICO_IPV4POOL_VXLAN", json!("Always")),
    ]);
    let objects = read(&[before, calico_node(environment)]).unwrap();
    let after = update(&objects[..1], &objects[1..], Profile::V3_32).unwrap();
    let built = ClusterState::build(Profile::V3_32, after, Vec::new()).unwrap();
    let pool = &built.pools()["default-ipv4-ippool"];
    assert_eq!(
        (pool.cidr.to_string().as_str(), pool.encapsulation()),
        ("10.1.0.0/16", Encap::Vxlan)
    );
}

#[test]
fn a_new_environment_is_judged_where_it_creates_a_pool() {
    let bad = calico_node(&[("CALICO_IPV4POOL_VXLAN", json!("yes"))]);
    assert!(judge(&[node("a", "172.16.0.1/24")], std::slice::from_ref(&bad), Profile::V3_32).is_err());
    let fatal = calico_node(&[
        ("NO_DEFAULT_POOLS", json!("true")),
        ("CALICO_IPV4POOL_CIDR", json!("10.1.0.0/16")),
    ]);
    assert_eq!(only(judge(&[calico_node(&[])], &[fatal], Profile::V3_32)).code, "E2");
}

#[rstest]
#[case::encapsulation("10.1.0.0/16", json!({"encapsulation": "VXLAN"}), None)]
#[case::another_range("10.2.0.0/16", json!({}), None)]
#[case::block_size("10.1.0.0/16", json!({"blockSize": 28}), Some("R11"))]
fn the_operator_changes_its_pools_as_anybody(#[case] cidr: &str, #[case] rest: Value, #[case] code: Option<&str>) {
    let with = |cidr: &str, rest: &Value| {
        let mut entry = rest.clone();
        entry["cidr"] = json!(cidr);
        entry["name"] = json!("p");
        installation(json!({"ipPools": [entry]}))
    };
    let judged = judge(&[with("10.1.0.0/16", &json!({}))], &[with(cidr, &rest)], Profile::V3_32);
    assert_eq!(judged.err().map(|refusals| refusals[0].code), code);
}

/// Every kind is held to its rules, which for most kinds are those of its creation.
#[rstest]
#[case::node_address(vec![node("a", "172.16.0.1/24"), node("b", "172.16.0.2/24")], node("b", "172.16.0.1/24"), "K-DUPLICATE")]
#[case::felix_version(vec![felix("default", json!({}))], felix("default", json!({"natOutgoingExclusions": "IPPoolsOnly"})), "K-VERSION")]
#[case::bgp_version(vec![bgp(json!({}))], bgp(json!({"programClusterRoutes": "Enabled"})), "K-VERSION")]
#[case::missing_filter(vec![peer(json!([]))], peer(json!(["f"])), "K-UNKNOWN")]
#[case::leftover_claim(vec![block("10.1.0.0/26")], claim("b", "10.1.0.0/26"), "K-DUPLICATE")]
#[case::overlapping_block(vec![block("10.1.0.0/26")], block("10.1.0.0/27"), "K-DUPLICATE")]
fn an_update_keeps_to_the_rules_between_objects(#[case] old: Vec<Value>, #[case] new: Value, #[case] code: &str) {
    assert_eq!(judge(&[], &old, Profile::V3_22), Ok(()));
    assert_eq!(only(judge(&old, &[new], Profile::V3_22)).code, code);
}

#[test]
fn what_was_wrong_before_does_not_hinder_an_update() {
    let old = [node("a", "172.16.0.1/24"), node("b", "172.16.0.1/24")];
    assert_eq!(judge(&old, &[node("c", "172.16.0.3/24")], Profile::V3_32), Ok(()));
    let backend = config_map("calico-config", json!({"calico_backend": "vxlan"}));
    assert_eq!(judge(&old, &[backend], Profile::V3_32), Ok(()));
}

fn bgp(spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": "BGPConfiguration", "metadata": {"name": "default"}, "spec": spec})
}

fn peer(filters: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": "p"},
           "spec": {"peerIP": "172.16.0.9", "asNumber": 64999, "filters": filters}})
}

fn claim(node: &str, cidr: &str) -> Value {
    json!({"apiVersion": "crd.projectcalico.org/v1", "kind": "BlockAffinity", "metadata": {"name": "claim"},
           "spec": {"cidr": cidr, "node": node, "state": "confirmed"}})
}

#[test]
fn an_update_keeps_to_the_fields_of_its_version() {
    let (before, after) = (
        json!({"cidr": "10.1.0.0/16"}),
        json!({"cidr": "10.1.0.0/16", "assignmentMode": "Manual"}),
    );
    let refusal = only(judge(&[pool("p", before)], &[pool("p", after)], Profile::V3_22));
    assert_eq!(
        (refusal.code, refusal.field.path.to_string().as_str()),
        ("K-VERSION", "spec.assignmentMode")
    );
}
