//! What is printed for machines: every key of it stands on its page.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::{command, root};

/// A scenario of which one expectation fails, and whose tables change.
const FAILS: &str = "\
apiVersion: overlab.dev/v1alpha1
kind: Scenario
metadata: {name: fails, title: fails}
spec:
  underlay: {main: {preset: aws, subnets: {az-a: {nodes: 2}}}}
  flows: {web: {from: pod-a1, to: pod-a2}}
  timeline: [{name: switch, at: 1s, patch: {kind: IPPool, name: pool, spec: {ipipMode: CrossSubnet}}}]
  variants: {bare: {set: {IPPool/pool.spec.ipipMode: CrossSubnet}}}
  expect: [{flow: web, delivered: all}]
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 192.168.0.0/16, ipipMode: Always}
";

/// A pool that overlaps the one before it.
const OVERLAPS: &str = "\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: a}
spec: {cidr: 10.0.0.0/16}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: b}
spec: {cidr: 10.0.0.0/24}
";

/// Every key in a value. What is named after encapsulations and kinds is data.
fn keys<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                found.insert(key);
                if !["encapForward", "encapReverse", "ignored"].contains(&key.as_str()) {
                    keys(value, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The keys that are printed for a file and do not stand in backticks on a page.
fn unwritten(page: &str, arguments: &[&str], text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.yaml");
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let arguments: Vec<&str> = arguments
        .iter()
        .map(|argument| if *argument == "FILE" { file } else { argument })
        .collect();
    let output = command(&arguments).output().unwrap();
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let page = fs::read_to_string(root().join("docs").join(page)).unwrap();
    let words: BTreeSet<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .flat_map(|span| span.split(|c: char| !c.is_ascii_alphanumeric()))
        .collect();
    let mut found = BTreeSet::new();
    keys(&printed, &mut found);
    assert!(found.len() > 3, "{printed}");
    found.retain(|key| !words.contains(key));
    found.into_iter().map(str::to_owned).collect()
}

#[test]
fn every_key_of_a_report_is_documented() {
    assert_eq!(
        unwritten("report-json.md", &["run", "FILE", "--report", "json"], FAILS),
        Vec::<String>::new()
    );
}

#[test]
fn every_key_of_an_explained_packet_is_documented() {
    let arguments = ["explain", "FILE", "pod-a1", "pod-a2", "--at", "switch+100ms", "--json"];
    assert_eq!(unwritten("report-json.md", &arguments, FAILS), Vec::<String>::new());
}

#[test]
fn every_key_of_a_check_is_documented() {
    for text in [FAILS, OVERLAPS] {
        assert_eq!(
            unwritten("check.md", &["check", "FILE", "--json"], text),
            Vec::<String>::new()
        );
    }
}
