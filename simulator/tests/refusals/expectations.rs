//! Expectations about tables and whole runs.

use rstest::rstest;

use crate::{broken, rendered};

/// Another expectation in the place of the first.
fn with(entry: &str) -> String {
    broken("{flow: az, during: early, delivered: all, encap: ipip}", entry)
}

#[test]
fn an_unknown_table_is_refused() {
    insta::assert_snapshot!(rendered(with("{table: route, node: a1, has: {kind: ipip}}")), @r#"
error[K-VALUE]: expected one of `underlays`, `pools`, `blocks`, `devices`, `routes`, `vteps`, `allow`, `mtu`, `nat`, found the text "route"
  --> x.yaml:24:15
   |
24 |     - {table: route, node: a1, has: {kind: ipip}}
   |               ^^^^^
   |
   = help: did you mean `routes`? (the spelling is exact)
"#);
}

#[test]
fn an_unknown_field_of_a_row_is_refused() {
    insta::assert_snapshot!(rendered(with("{table: routes, node: a1, lacks: {destinaton: 192.168.30.0/26}}")), @r#"
error[K-UNKNOWN]: a row has no field `destinaton`
  --> x.yaml:24:41
   |
24 |     - {table: routes, node: a1, lacks: {destinaton: 192.168.30.0/26}}
   |                                         ^^^^^^^^^^
   |
   = note: no row could have it
   = help: did you mean `destination`?
"#);
}

#[test]
fn a_range_that_no_row_could_have_is_refused() {
    insta::assert_snapshot!(rendered(with("{table: routes, node: a1, lacks: {destination: 192.168.30.1/26}}")), @r#"
error[K-VALUE]: 192.168.30.1/26 is an address in a range, and no range
  --> x.yaml:24:54
   |
24 |     - {table: routes, node: a1, lacks: {destination: 192.168.30.1/26}}
   |                                                      ^^^^^^^^^^^^^^^
   |
   = help: did you mean `192.168.30.0/26`?
"#);
}

#[test]
fn a_table_of_an_unknown_node_is_refused() {
    insta::assert_snapshot!(rendered(with("{table: routes, node: c1, has: {kind: ipip}}")), @r#"
error[E-NODE]: unknown node "c1"
  --> x.yaml:24:29
   |
24 |     - {table: routes, node: c1, has: {kind: ipip}}
   |                             ^^
   |
   = note: tables are those of nodes and hosts of the scenario
   = help: did you mean `a1`?
"#);
}

#[test]
fn an_unknown_invariant_is_refused() {
    insta::assert_snapshot!(rendered(with("{invariant: no-leaks}")), @r#"
error[K-VALUE]: expected one of `no-loops`, `no-leak`, `outer-owned`, found the text "no-leaks"
  --> x.yaml:24:19
   |
24 |     - {invariant: no-leaks}
   |                   ^^^^^^^^
   |
   = help: did you mean `no-leak`? (the spelling is exact)
"#);
}

#[test]
fn a_claim_about_packets_of_a_table_is_refused() {
    insta::assert_snapshot!(rendered(with("{table: routes, node: a1, has: {kind: ipip}, delivered: all}")), @r#"
error[E-EXP-05]: `delivered` is about the packets of flows, and the entry selects by `table`
  --> x.yaml:24:52
   |
24 |     - {table: routes, node: a1, has: {kind: ipip}, delivered: all}
   |                                                    ^^^^^^^^^
   |
   = help: make an entry with `flow` of it
"#);
}

/// What an entry is refused for, by rule and message.
#[rstest]
#[case("{table: routes, has: {kind: ipip}}", "error[K-MISSING]: `node` is missing")]
#[case(
    "{table: pools, node: a1, has: {name: pool}}",
    "error[E-EXP-05]: `pools` is no table of a node"
)]
#[case("{table: routes, node: a1}", "error[E-EXP-03]: the expectation claims nothing")]
#[case(
    "{table: routes, node: a1, has: {}}",
    "error[K-VALUE]: expected a mapping from fields of a row"
)]
#[case("{table: routes, node: a1, has: {kind: vxlam}}", "error[K-VALUE]: expected one of `local`")]
#[case("{table: mtu, node: a1, has: {vxlan: 1450B}}", "error[K-VALUE]: expected a whole number")]
#[case("{table: devices, node: a1, has: {addresses: eth0}}", "error[K-VALUE]: expected an address")]
#[case(
    "{table: routes, node: a1, has: {decision: {subnetTest: {sam: true}}}}",
    "error[K-UNKNOWN]: a row has no field `sam`"
)]
#[case(
    "{table: routes, node: a1, during: early, has: {kind: ipip}}",
    "error[E-EXP-05]: `during` is for packets"
)]
#[case(
    "{table: routes, node: a1, at: 1s, has: {kind: ipip}}",
    "error[E-WINDOW]: 1.000 s is not within the run"
)]
#[case(
    "{flow: az, delivered: all, has: {kind: ipip}}",
    "error[E-EXP-05]: `has` is about the rows of a table"
)]
#[case(
    "{flow: az, node: a1, delivered: all}",
    "error[E-EXP-05]: `node` is about the rows of a table"
)]
#[case(
    "{flow: az, table: routes, delivered: all}",
    "error[E-EXP-05]: `flow` and `table` are both there"
)]
#[case("{invariant: no-loops, at: 0s}", "error[E-EXP-05]: `at` is for a matrix or a table")]
#[case(
    "{invariant: no-loops, delivered: all}",
    "error[E-EXP-05]: `delivered` is about the packets of flows"
)]
#[case("{invariant: no-loops, during: never}", "error[E-PHASE]: unknown phase")]
#[case("{delivered: all}", "error[E-EXP-05]: the expectation selects nothing")]
fn an_entry_that_cannot_hold_is_refused(#[case] entry: &str, #[case] message: &str) {
    let refused = rendered(with(entry));
    assert!(refused.starts_with(message), "{refused}");
}

#[test]
fn an_invariant_in_a_window_without_packets_is_refused() {
    let text = broken("rate: 100/s}", "start: 800ms}").replace(
        "{flow: az, during: early, delivered: all, encap: ipip}",
        "{invariant: no-loops, during: [500ms, 700ms]}",
    );
    insta::assert_snapshot!(rendered(text), @r#"
error[E-EXP-04]: nothing is sent in the window [0.500,0.700)
  --> x.yaml:24:7
   |
24 |     - {invariant: no-loops, during: [500ms, 700ms]}
   |       ^
   |
   = note: an expectation about no packet could never fail
   = help: choose a window in which some flow sends, or add a flow or a matrix
"#);
}
