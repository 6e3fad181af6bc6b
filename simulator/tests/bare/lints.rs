//! Lints: found in manifests, accepted and expected by scenarios, and listed.

use std::fs;

use predicates::prelude::*;
use predicates::str::contains;
use rstest::rstest;
use serde_json::Value;

use crate::{command, json, overlab, root};

const POOL: &str =
    "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: a}\nspec: {cidr: 10.244.0.0/16, SPEC}\n---\n";

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n")
}

fn ids(manifests: &str) -> Vec<String> {
    let checked = command(&["check", "-", "--json"]).write_stdin(manifests).assert().code(0);
    let json: Value = serde_json::from_slice(&checked.get_output().stdout).unwrap();
    let found = json["files"][0]["diagnostics"].as_array().unwrap();
    found.iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect()
}

#[rstest]
#[case::nothing("ipipMode: Always", &[], &[])]
#[case::narrow("ipipMode: CrossSubnet", &[("Node", "n1", "{bgp: {ipv4Address: 10.0.0.1/32}}")], &["NODE_ADDRESS_SLASH_32"])]
#[case::narrow_without_asking("ipipMode: Always", &[("Node", "n1", "{bgp: {ipv4Address: 10.0.0.1/32}}")], &[])]
#[case::two_masks("vxlanMode: CrossSubnet", &[("Node", "n1", "{bgp: {ipv4Address: 10.0.0.1/16}}"), ("Node", "n2",
    "{bgp: {ipv4Address: 10.0.1.1/24}}")], &["NODE_MASKS_UNEQUAL"])]
#[case::two_subnets("vxlanMode: CrossSubnet", &[("Node", "n1", "{bgp: {ipv4Address: 10.0.0.1/24}}"), ("Node", "n2",
    "{bgp: {ipv4Address: 10.0.1.1/24}}")], &[])]
#[case::both_program("ipipMode: Always", &[("FelixConfiguration", "default", "{programClusterRoutes: Enabled}")],
    &["CLUSTER_ROUTES_PAIR"])]
#[case::one_programs("ipipMode: Always", &[("FelixConfiguration", "default", "{programClusterRoutes: Enabled}"),
    ("BGPConfiguration", "default", "{programClusterRoutes: Disabled}")], &[])]
#[case::vxlan_on("ipipMode: Always", &[("FelixConfiguration", "default", "{vxlanEnabled: true}")], &["VXLAN_ENABLED_STUCK"])]
#[case::vxlan_off("vxlanMode: Always", &[("FelixConfiguration", "default", "{vxlanEnabled: false}")], &["VXLAN_ENABLED_STUCK"])]
#[case::only_pool_disabled("vxlanMode: Always, disabled: true", &[("Node", "n1", "{bgp: {ipv4Address: 10.0.0.1/24}}")],
    &["NO_TUNNEL_ADDRESS_POOL"])]
#[case::block_of_nobody("ipipMode: Always", &[("Node", "n1", "{bgp: {ipv4Address: 10.0.0.1/24}}"), ("IPAMBlock", "b",
    "{cidr: 10.244.1.0/26, affinity: 'host:n9', allocations: [], attributes: [], unallocated: []}")], &["BLOCK_OF_NO_NODE"])]
#[case::block_of_a_node("ipipMode: Always", &[("Node", "n1", "{bgp: {ipv4Address: 10.0.0.1/24}}"), ("IPAMBlock", "b",
    "{cidr: 10.244.1.0/26, affinity: 'host:n1', allocations: [], attributes: [], unallocated: []}")], &[])]
#[case::export("ipipMode: Always, disableBGPExport: true", &[], &["BGP_EXPORT_DISABLED"])]
#[case::export_of_vxlan("vxlanMode: Always, disableBGPExport: true", &[], &[])]
fn manifests_show_what_is_probably_not_meant(
    #[case] pool: &str,
    #[case] others: &[(&str, &str, &str)],
    #[case] expected: &[&str],
) {
    let others: String = others.iter().map(|(kind, name, spec)| object(kind, name, spec)).collect();
    assert_eq!(ids(&(POOL.replace("SPEC", pool) + &others)), expected);
}

#[test]
fn a_pool_that_needs_bgp_is_told_where_an_installation_turns_it_off() {
    let installation = "apiVersion: operator.tigera.io/v1\nkind: Installation\nmetadata: {name: default}\nspec: {calicoNetwork: {bgp: \
                        Disabled, ipPools: []}}\n";
    assert_eq!(
        ids(&(POOL.replace("SPEC", "ipipMode: Always") + installation)),
        ["BGP_NEEDED"]
    );
}

#[rstest]
#[case("vxlan", "--bird-ready", &["BIRD_READY_WITHOUT_BIRD"])]
#[case("vxlan", "--felix-ready", &[])]
#[case("bird", "--bird-ready", &[])]
fn a_probe_for_bird_without_bird_is_told(#[case] backend: &str, #[case] probe: &str, #[case] expected: &[&str]) {
    let daemon_set = format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: calico-node, namespace: kube-system}}\nspec:\n  template:\n    spec:\n      \
         containers:\n      - name: calico-node\n        env:\n        - {{name: CALICO_NETWORKING_BACKEND, value: {backend}}}\n        - \
         {{name: NO_DEFAULT_POOLS, value: 'true'}}\n        readinessProbe: {{exec: {{command: [/bin/calico-node, {probe}]}}}}\n"
    );
    assert_eq!(ids(&(POOL.replace("SPEC", "vxlanMode: Always") + &daemon_set)), expected);
}

#[test]
fn lints_are_errors_where_they_are_denied() {
    let text = POOL.replace("SPEC", "ipipMode: Always, disableBGPExport: true");
    let lint = || {
        contains("warning[BGP_EXPORT_DISABLED]")
            .and(contains("help: "))
            .and(contains("; see https://"))
    };
    let check = |arguments: &[&str]| command(&[&["check", "-"], arguments].concat()).write_stdin(&*text).assert();
    check(&[]).code(0).stderr(lint());
    check(&["--deny-lints"]).code(2).stderr(lint());
    command(&["plan", "-"])
        .write_stdin(&*text)
        .assert()
        .stdout(contains("note    BGP_EXPORT_DISABLED: pool a is not exported"));
}

/// A scenario that sends nothing into its lint, with more keys below `spec`.
fn scenario(keys: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let text = format!(
        "apiVersion: overlab.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: x}}\nspec:\n  underlay: {{vpc: {{preset: aws, subnets: \
         {{az-a: {{nodes: 2}}, az-b: {{nodes: 1}}}}}}}}\n{keys}  expect:\n    - matrix: all\n      classes: {{cross-subnet: {{encap: \
         ipip}}}}\n---\n{}",
        POOL.replace("SPEC", "ipipMode: CrossSubnet")
    );
    fs::write(&file, text).unwrap();
    file
}

#[rstest]
#[case::silent("", 0, "warning[SRC_DST_CHECK_CROSS_SUBNET]")]
#[case::accepted("  allow: [{lint: SRC_DST_CHECK_CROSS_SUBNET, reason: the subject}]\n", 0, "")]
#[case::expected("  lints: [SRC_DST_CHECK_CROSS_SUBNET]\n", 0, "")]
#[case::accepted_in_vain("  allow: [{lint: IPIP_IN_AZURE, reason: habit}]\n", 2, "IPIP_IN_AZURE finds nothing here")]
#[case::expected_in_vain(
    "  lints: [SRC_DST_CHECK_CROSS_SUBNET, IPIP_IN_AZURE]\n",
    2,
    "IPIP_IN_AZURE finds nothing here"
)]
#[case::unknown("  lints: [IPIP_IN_AZUR]\n", 2, "did you mean `IPIP_IN_AZURE`?")]
#[case::no_reason("  allow: [{lint: IPIP_IN_AZURE}]\n", 2, "`reason`")]
fn a_scenario_accepts_lints_by_name_and_none_in_vain(#[case] keys: &str, #[case] code: i32, #[case] says: &str) {
    let file = scenario(keys);
    let checked = overlab(&["check", file.path().to_str().unwrap()])
        .code(code)
        .stderr(contains(says));
    if says.is_empty() {
        checked.stderr(contains("warning").not());
    }
}

#[rstest]
#[case::joins_later("n2", false)]
#[case::is_nowhere("n9", true)]
fn a_block_may_be_of_a_machine_that_has_yet_to_join(#[case] owner: &str, #[case] told: bool) {
    let text = format!(
        "apiVersion: overlab.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: x}}\nspec:\n  duration: 3s\n  underlay: {{dc: {{preset: \
         onprem, cidr: 10.0.0.0/16, subnets: {{rack: {{cidr: 10.0.1.0/24}}}}}}}}\n  nodes: {{n1: {{subnet: rack}}, n2: {{subnet: \
         rack}}}}\n  workloads: {{w1: {{node: n1}}, w2: {{node: n2}}}}\n  timeline: [{{name: join, at: 1s, node: {{join: n2}}}}]\n  \
         expect: [{{matrix: all, at: 2s, classes: {{same-subnet: {{delivered: all}}}}}}]\n---\n{}{}",
        POOL.replace("SPEC", "ipipMode: Always"),
        object(
            "IPAMBlock",
            "b",
            &format!("{{cidr: 10.244.1.0/26, affinity: 'host:{owner}', allocations: [], attributes: [], unallocated: []}}")
        ),
    );
    assert_eq!(ids(&text).contains(&"BLOCK_OF_NO_NODE".to_owned()), told);
}

#[test]
fn a_run_tells_its_lints_in_every_report() {
    let file = scenario("");
    let path = file.path().to_str().unwrap();
    overlab(&["run", path])
        .code(0)
        .stdout(contains("  lint    SRC_DST_CHECK_CROSS_SUBNET: pool a sends bare packets"));
    let report = json(&["run", path, "--report", "json"]);
    let lint = report["scenarios"][0]["lints"][0].as_str().unwrap();
    assert!(lint.starts_with("SRC_DST_CHECK_CROSS_SUBNET: "), "{lint}");
}

#[test]
fn every_lint_is_in_the_documentation_word_for_word() {
    let listed = overlab(&["check", "--list-lints"]).code(0);
    let listed = String::from_utf8(listed.get_output().stdout.clone()).unwrap();
    let page = fs::read_to_string(root().join("docs/lints.md")).unwrap();
    let (_, below) = page.split_once("```text\n").unwrap();
    assert_eq!(below.strip_suffix("```\n").unwrap(), listed);
}
