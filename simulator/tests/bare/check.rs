//! Manifests judged.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use predicates::prelude::*;
use predicates::str::contains;
use rstest::rstest;
use serde_json::{Value, json};

use crate::{command, overlab};

const POOL: &str = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: a}\nspec: {cidr: 10.0.0.0/16}\n";

fn check(text: &str, arguments: &[&str]) -> assert_cmd::assert::Assert {
    command(&[&["check", "-"], arguments].concat()).write_stdin(text).assert()
}

#[test]
fn a_sound_stream_is_0_and_kinds_that_take_no_part_are_listed_once() {
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "c"}}]}"#;
    check(&format!("{POOL}---\n{list}\n"), &[])
        .code(0)
        .stdout(contains("ok  manifests: 1 pool, 0 nodes, 0 blocks"))
        .stderr(contains("no part is taken by 1 Deployment, 2 Secret"));
}

#[test]
fn kinds_that_take_no_part_are_listed_beside_a_scenario_too() {
    let scenario = "apiVersion: overlab.dev/v1alpha1\nkind: Scenario\nmetadata: {name: x}\nspec:\n  \
        underlay: {main: {preset: aws, subnets: {az-a: {nodes: 2}}}}\n  \
        expect: [{matrix: all, classes: {same-subnet: {delivered: all}}}]\n";
    let policy = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: p}\n";
    check(&format!("{scenario}---\n{POOL}---\n{policy}"), &[])
        .code(0)
        .stderr(contains("no part is taken by 1 NetworkPolicy"));
}

#[test]
fn the_second_of_two_overlapping_pools_is_refused_and_both_are_named_for_machines_too() {
    let text = format!("{POOL}---\n{}", POOL.replace("name: a", "name: b").replace("/16", "/24"));
    let refused = check(&text, &["--json"]).code(2).stderr(contains("error[R6]"));
    let json: Value = serde_json::from_slice(&refused.get_output().stdout).unwrap();
    let diagnostic = &json["files"][0]["diagnostics"][0];
    let place = ["code", "severity", "file", "line", "column", "text"].map(|key| diagnostic[key].clone());
    let expected = [
        json!("R6"),
        json!("error"),
        json!("<stdin>"),
        json!(9),
        json!(14),
        json!("spec: {cidr: 10.0.0.0/24}"),
    ];
    assert_eq!(place, expected);
    assert_eq!(diagnostic["related"]["line"], 4);
    assert!(diagnostic["why"].is_string() && diagnostic["help"].is_string());
}

#[rstest]
#[case::ipv6_vxlan("spec: {cidr: 'fd00::/64', vxlanMode: Always}", "calico/v3.22", 2)]
#[case::ipv6_vxlan_later("spec: {cidr: 'fd00::/64', vxlanMode: Always}", "calico/v3.32", 0)]
fn the_profile_chooses_the_version(#[case] spec: &str, #[case] profile: &str, #[case] code: i32) {
    let text = POOL.replace("spec: {cidr: 10.0.0.0/16}", spec);
    check(&text, &["--profile", profile]).code(code);
}

#[test]
fn a_folder_without_yaml_a_picture_and_an_empty_file_are_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("picture"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").unwrap();
    fs::write(path("empty"), "").unwrap();
    overlab(&["check", folder.path().to_str().unwrap()])
        .code(2)
        .stderr(contains("holds no YAML or JSON file"));
    for (name, code) in [("picture", "F-TEXT"), ("empty", "F-EMPTY")] {
        overlab(&["check", &path(name)])
            .code(2)
            .stderr(contains(format!("error[{code}]")).and(contains("help: ")));
    }
}

#[test]
fn a_gigabyte_and_a_pipe_are_refused_before_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large.yaml");
    File::create(&large).unwrap().set_len(1 << 30).unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let quickly = |path: &Path| {
        command(&["check", path.to_str().unwrap()])
            .timeout(Duration::from_secs(5))
            .assert()
    };
    quickly(&large)
        .code(2)
        .stderr(contains("error[F-SIZE]").and(contains("help: split it")));
    quickly(&pipe)
        .code(2)
        .stderr(contains("error[F-KIND]").and(contains("standard input")));
}

/// The time is generous for a debug build on a busy machine, and far below what anything quadratic would take.
#[test]
fn one_bad_object_among_those_of_5000_nodes_is_named_in_seconds() {
    let mut text = "apiVersion: v1\nkind: List\nitems:\n".to_owned();
    for i in 0..5000 {
        let (high, low) = (i >> 8, i & 255);
        let mask = if i == 4321 { "/33" } else { "/16" };
        text += &format!(
            "- apiVersion: projectcalico.org/v3\n  kind: Node\n  metadata: {{name: n{i}}}\n  spec:\n    bgp:\n      \
             ipv4Address: 10.0.{high}.{low}{mask}\n"
        );
    }
    let line = 3 + 4321 * 6 + 6;
    command(&["check", "-"])
        .write_stdin(text)
        .timeout(Duration::from_secs(30))
        .assert()
        .code(2)
        .stderr(contains(format!("<stdin>:{line}:20")))
        .stdout(contains("-: 1 wrong"));
}

/// What an update may change, and what it may not.
#[rstest]
#[case::modes("{cidr: 10.0.0.0/16, vxlanMode: CrossSubnet}", None)]
#[case::flags("{cidr: 10.0.0.0/16, natOutgoing: true, disabled: true}", None)]
#[case::range("{cidr: 10.1.0.0/16}", Some("R4"))]
#[case::block_size("{cidr: 10.0.0.0/16, blockSize: 28}", Some("R11"))]
fn an_update_is_judged_as_one(#[case] spec: &str, #[case] code: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old.yaml"), folder.path().join("new.yaml"));
    fs::write(&old, POOL).unwrap();
    fs::write(&new, POOL.replace("{cidr: 10.0.0.0/16}", spec)).unwrap();
    let paths = [old.to_str().unwrap(), new.to_str().unwrap()];
    let checked = command(&["check", "--update", paths[0], paths[1]]).assert();
    match code {
        None => drop(checked.code(0).stdout(contains("an update that Calico takes"))),
        Some(code) => drop(
            checked
                .code(2)
                .stderr(contains(format!("error[{code}]")).and(contains("new.yaml:4"))),
        ),
    }
}

/// An object of the old files that the new ones do not hold stays, unless the cluster is pruned.
#[test]
fn what_the_new_files_leave_out_is_deleted_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old.yaml"), folder.path().join("new.yaml"));
    let second = POOL.replace("name: a", "name: b").replace("10.0.0.0", "10.1.0.0");
    let environment = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: calico-node, namespace: kube-system}\nspec: {template: {spec: \
                       {containers: [{name: calico-node, env: []}]}}}\n";
    let update = |arguments: &[&str]| {
        let paths = ["check", "--update", old.to_str().unwrap(), new.to_str().unwrap()];
        command(&[&paths, arguments].concat()).assert()
    };
    fs::write(&old, format!("{POOL}---\n{second}")).unwrap();
    fs::write(&new, POOL).unwrap();
    update(&[]).code(0).stdout(contains("1 document\n"));
    update(&["--prune"])
        .code(0)
        .stdout(contains("1 document; deleted: IPPool b\n"));
    fs::write(&old, format!("{POOL}---\n{environment}")).unwrap();
    fs::write(&new, environment).unwrap();
    command(&["check", "--update", old.to_str().unwrap()])
        .assert()
        .code(2)
        .stderr(contains("--update OLD NEW"));
    update(&["--prune"])
        .code(2)
        .stderr(contains("error[K-RECREATED]").and(contains("old.yaml:1")));
}

/// As it is dumped: one file a kind. Scenarios beside them are by themselves.
#[test]
fn the_manifests_of_a_folder_are_one_datastore() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let path = folder.path().to_str().unwrap();
    let peer = "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: p}\nspec: {peerIP: 10.9.0.1, asNumber: 64512, filters: [f]}\n";
    let filter = "apiVersion: projectcalico.org/v3\nkind: BGPFilter\nmetadata: {name: f}\nspec: {exportV4: [{action: Accept}]}\n";
    write("peers.yaml", peer);
    write("filters.yaml", filter);
    write("pools.yaml", POOL);
    overlab(&["check", path])
        .code(0)
        .stdout(format!("{path}: ok  manifests of 3 files: 1 pool, 0 nodes, 0 blocks\n"));
    overlab(&["check", &format!("{path}/peers.yaml")])
        .code(2)
        .stderr(contains("there is no BGPFilter \"f\""));
    write("more.yaml", &POOL.replace("name: a", "name: b"));
    write(
        "scenario.yaml",
        "apiVersion: overlab.dev/v1alpha1\nkind: Scenario\nmetadata: {name: x}\n",
    );
    overlab(&["check", path])
        .code(2)
        .stdout(contains(format!("{path}: 1 wrong\n")).and(contains("scenario.yaml: ")))
        .stderr(contains("error[R6]").and(contains("error[E-EXP-01]")));
}

#[test]
fn of_a_node_in_both_forms_calicos_own_counts() {
    let kubernetes =
        "---\napiVersion: v1\nkind: Node\nmetadata: {name: a1, annotations: {projectcalico.org/IPv4Address: 10.0.1.11/32}}\n";
    let calicos =
        "---\napiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: a1}\nspec: {bgp: {ipv4Address: 10.0.1.12/24}}\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    for texts in [[kubernetes, calicos], [calicos, kubernetes]] {
        for (name, text) in ["a.yaml", "b.yaml"].into_iter().zip(texts) {
            fs::write(folder.path().join(name), text).unwrap();
        }
        overlab(&["check", path, "--deny-lints"]).code(0).stdout(contains("1 node,"));
        let [a, b] = ["a.yaml", "b.yaml"].map(|name| format!("{path}/{name}"));
        overlab(&["check", "--update", &a, "--update", &b, &a, &b]).code(0);
        overlab(&["plan", path])
            .code(0)
            .stdout(contains("10.0.1.12").and(contains("10.0.1.11").not()));
    }
    fs::write(folder.path().join("c.yaml"), kubernetes).unwrap();
    fs::remove_file(folder.path().join("a.yaml")).unwrap();
    overlab(&["check", path])
        .code(2)
        .stderr(contains("error[K-DUPLICATE]: a second Node is named \"a1\""));
}

#[test]
fn a_cluster_is_updated_from_one_state() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (one, other, new) = (path("one.yaml"), path("other.yaml"), path("new.yaml"));
    fs::write(&one, POOL).unwrap();
    fs::write(&other, POOL.replace("10.0.0.0", "10.1.0.0")).unwrap();
    fs::write(&new, POOL).unwrap();
    overlab(&["check", "--update", &one, "--update", &other, &new])
        .code(2)
        .stderr(contains("error[K-DUPLICATE]: IPPool \"a\" is there twice before the update").and(contains("other.yaml:1")));
}
