//! The file as a whole, and what is not modelled.

use crate::{GOOD, broken, rendered};

#[test]
fn broken_yaml_is_refused() {
    let text = broken("to: web-b1, proto", "to: web-b1 proto");
    insta::assert_snapshot!(rendered(text), @r#"
error[Y-SYNTAX]: while parsing a flow mapping, did not find expected ',' or '}'
  --> x.yaml:20:40
   |
20 |     az: {from: web-a1, to: web-b1 proto: udp, dport: 5000, rate: 100/s}
   |                                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = note: from here on the file is not YAML
   = help: look at indentation, quotes and brackets here and above
"#);
}

#[test]
fn an_unknown_key_is_refused() {
    let text = broken("rate: 100/s", "ratte: 100/s");
    insta::assert_snapshot!(rendered(text), @r#"
error[K-UNKNOWN]: unknown key `ratte` in `spec.flows.az`
  --> x.yaml:20:61
   |
20 |     az: {from: web-a1, to: web-b1, proto: udp, dport: 5000, ratte: 100/s}
   |                                                             ^^^^^
   |
   = note: a key that nobody reads would silently have no effect
   = help: did you mean `rate`?
"#);
}

#[test]
fn expecting_nothing_is_refused() {
    let text = GOOD.replace(&GOOD[GOOD.find("  expect:").unwrap()..GOOD.find("---").unwrap()], "");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-EXP-01]: the scenario expects nothing
 --> x.yaml:4:1
  |
4 | spec:
  | ^^^^
  |
  = note: a run that nothing is expected of would pass whatever happens
  = help: add `expect: [{flow: NAME, delivered: all}]` to `spec`
"#);
}

#[test]
fn a_key_of_what_is_written_elsewhere_is_refused_and_says_where() {
    let text = broken("  phases:", "  environment: {A: b}\n  faults: []\n  phases:");
    insta::assert_snapshot!(rendered(text), @r#"
error[K-UNKNOWN]: a scenario has no key `environment`
  --> x.yaml:21:3
   |
21 |   environment: {A: b}
   |   ^^^^^^^^^^^
   |
   = help: write calico-node's DaemonSet, with its `env`, as a manifest behind the scenario
error[K-UNKNOWN]: a scenario has no key `faults`
  --> x.yaml:22:3
   |
22 |   faults: []
   |   ^^^^^^
   |
   = help: write `timeline: [{name: NAME, at: 1s, fault: {…}}]`
"#);
}

#[test]
fn a_profile_that_does_not_exist_is_refused_with_the_nearest_one() {
    let text = broken("  underlay:", "  profile: calico/3.33\n  underlay:");
    insta::assert_snapshot!(rendered(text), @r#"
error[K-VALUE]: unknown profile "calico/3.33"
 --> x.yaml:5:12
  |
5 |   profile: calico/3.33
  |            ^^^^^^^^^^^
  |
  = help: did you mean `calico/v3.33`?
"#);
}

#[test]
fn a_key_that_is_there_twice_is_refused() {
    let text = broken("metadata: {name: pool}", "metadata: {name: pool, name: b}");
    insta::assert_snapshot!(rendered(text), @r#"
error[Y-DUPLICATE]: key `name` is there twice
  --> x.yaml:31:24
   |
31 | metadata: {name: pool, name: b}
   |            ----        ^^^^
   |            |
   |            first here
   |
   = note: only one of them could hold
   = help: remove one of them
"#);
}

#[test]
fn a_wrong_api_version_is_refused() {
    let text = broken("v1alpha1", "v1");
    insta::assert_snapshot!(rendered(text), @r#"
error[K-VERSION]: `Scenario` has no API version "overlab.dev/v1"
 --> x.yaml:1:13
  |
1 | apiVersion: overlab.dev/v1
  |             ^^^^^^^^^^^^^^
  |
  = help: write `apiVersion: overlab.dev/v1alpha1`
"#);
}

#[test]
fn a_scenario_that_is_not_first_is_refused() {
    let text = format!("{}---\n{}", &GOOD[GOOD.find("apiVersion: projectcalico").unwrap()..], GOOD);
    insta::assert_snapshot!(rendered(text), @r#"
error[F-ORDER]: a scenario that is not the first document
 --> x.yaml:7:7
  |
7 | kind: Scenario
  |       ^^^^^^^^
  |
  = note: the first document says what is to be run, and all others are manifests that it runs with
  = help: move it to the beginning, or into a file of its own
"#);
}

#[test]
fn everything_that_is_wrong_is_refused_at_once() {
    let text = broken("node: a1", "node: a9")
        .replace("early: [0s", "early: [1s")
        .replace("crossSubnet", "cross")
        .replace("CrossSubnet", "Sometimes");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-NODE]: unknown node "a9"
  --> x.yaml:17:20
   |
17 |     web-a1: {node: a9, ip: 192.168.10.2}
   |                    ^^
   |
   = note: a workload runs on a node of the scenario
   = help: did you mean `a1`?
error[E-WINDOW]: the window ends before it begins
  --> x.yaml:22:5
   |
22 |     early: [1s, 500ms]
   |     ^^^^^
   |
   = note: a window holds its first instant and not its last
   = help: write the earlier time first
error[R7]: "Sometimes" is no mode
  --> x.yaml:32:40
   |
32 | spec: {cidr: 192.168.0.0/16, ipipMode: Sometimes}
   |                                        ^^^^^^^^^
   |
   = note: the modes are `Never`, `Always` and `CrossSubnet`, in this exact spelling
   = help: write one of them
"#);
}
