//! Create and update are different operations: what an object may become, and what may be made beside others.

use overlab_dataplane::calico::{Profile, update};
use overlab_dataplane::fields::{Origin, Refusal};
use rstest::rstest;
use serde_json::{Value, json};

use crate::datastore::{cluster, only, pool, read};

/// Judges manifests; those of both sides are numbered through.
fn judge(old: &[Value], new: &[Value], profile: Profile) -> Result<(), Vec<Refusal>> {
    let all = read(&[old, new].concat()).unwrap();
    let (old, new) = all.split_at(old.len());
    update(old, new, profile)
}

fn change(before: Value, after: Value) -> Result<(), Vec<Refusal>> {
    judge(&[pool("p", before)], &[pool("p", after)], Profile::V3_32)
}

#[rstest]
#[case::other_range(json!({"cidr": "10.1.0.0/16"}), json!({"cidr": "10.2.0.0/16"}), "R4", "spec.cidr", "another name")]
#[case::longer_range(json!({"cidr": "10.1.0.0/16"}), json!({"cidr": "10.1.0.0/17"}), "R4", "spec.cidr", "another name")]
#[case::other_text(json!({"cidr": "fd00::/64"}), json!({"cidr": "FD00:0::/64"}), "R4", "spec.cidr", "fd00::/64")]
#[case::block_size(json!({"cidr": "10.1.0.0/16"}), json!({"cidr": "10.1.0.0/16", "blockSize": 27}), "R11", "spec.blockSize", "26")]
#[case::balancer_no_more(json!({"cidr": "10.1.0.0/16", "allowedUses": ["LoadBalancer"]}), json!({"cidr": "10.1.0.0/16"}), "R14", "spec.allowedUses", "new pool")]
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
#[case::canonical_text(json!({"cidr": "FD00:0::/64"}), json!({"cidr": "fd00::/64"}))]
#[case::default_block_size_spelt_out(json!({"cidr": "10.1.0.0/16"}), json!({"cidr": "10.1.0.0/16", "blockSize": 26}))]
#[case::ipip_to_vxlan_at_once(json!({"cidr": "10.1.0.0/16", "ipipMode": "Always"}), json!({"cidr": "10.1.0.0/16", "ipipMode": "Never", "vxlanMode": "CrossSubnet"}))]
#[case::everything_else(json!({"cidr": "10.1.0.0/16"}), json!({"cidr": "10.1.0.0/16", "natOutgoing": true, "disabled": true, "disableBGPExport": true, "nodeSelector": "has(x)"}))]
#[case::to_a_balancer(json!({"cidr": "10.1.0.0/16"}), json!({"cidr": "10.1.0.0/16", "allowedUses": ["LoadBalancer"]}))]
fn a_living_pool_may_change_otherwise(#[case] before: Value, #[case] after: Value) {
    assert_eq!(change(before, after), Ok(()));
}

#[test]
fn an_object_that_is_not_there_is_created_beside_the_others() {
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
fn overlaps_that_are_there_do_not_hinder_an_update() {
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
fn a_pool_over_leftover_blocks_of_another_size_is_refused_once() {
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
