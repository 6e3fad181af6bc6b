//! Expectations about tables and whole runs.

use rstest::rstest;

use overlab_simulator::scenario::load;

use crate::{Folder, broken, rendered};

/// Another expectation in the place of the first.
fn with(entry: &str) -> String {
    broken("{flow: az, during: early, delivered: all, encap: ipip}", entry)
}

#[test]
fn an_unknown_table_is_refused() {
    insta::assert_snapshot!(rendered(with("{table: route, node: a1, has: {kind: ipip}}")), @r#"
error[K-VALUE]: expected one of `underlays`, `pools`, `blocks`, `services`, `devices`, `routes`, `vteps`, `allow`, `mtu`, `nat`, found the text "route"
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
fn a_range_where_a_row_has_one_address_is_refused() {
    insta::assert_snapshot!(rendered(with("{table: routes, node: a1, lacks: {gateway: 10.20.1.0/24}}")), @r#"
error[K-VALUE]: 10.20.1.0/24 is a range, and here stands one address
  --> x.yaml:24:50
   |
24 |     - {table: routes, node: a1, lacks: {gateway: 10.20.1.0/24}}
   |                                                  ^^^^^^^^^^^^
   |
   = help: write `10.20.1.0`
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
#[case("{flow: az, connection: survives}", "error[E-EXP-04]: no flow here has a connection")]
#[case(
    "{flow: az, delivered: all, reverse: {connection: stalls}}",
    "error[E-EXP-05]: a connection has no direction"
)]
#[case(
    "{matrix: all, classes: {cross-subnet: {connection: survives}}}",
    "error[E-EXP-04]: no flow here has a connection"
)]
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

/// A scenario with an event that ends, an event that does not, and this phase and this window of the first expectation.
fn timed(phase: &str, window: &str) -> String {
    let events =
        "[{name: oops, at: 200ms, for: 100ms, fault: {on: a1, loss: 1%}}, {name: slow, at: 400ms, fault: {on: a1, delay: 1ms}}]";
    broken(
        "    early: [0s, 500ms]\n",
        &format!("    early: [0s, 500ms]\n    {phase}\n  timeline: {events}\n"),
    )
    .replace("during: early", &format!("during: {window}"))
}

#[rstest]
#[case("p: [oops, slow]", "p")]
#[case("p: [oops-100ms, oops.end+50ms]", "p")]
#[case("p: [0s, gone]", "[oops.end-50ms, slow+1ms]")]
#[case("p: [oops.end, 500ms]", "oops")]
fn windows_are_made_of_times_events_and_their_ends(#[case] phase: &str, #[case] window: &str) {
    let (_folder, path) = Folder::with(timed(phase, window));
    if let Err(refused) = load(&path) {
        panic!("{}", refused.iter().map(ToString::to_string).collect::<String>());
    }
}

#[rstest]
#[case("p: [0s, gone]", "p", "error[E-EVENT]: unknown event \"gone\"")]
#[case("p: [0s, all]", "p", "error[E-EVENT]: `all` is a phase, and this is an instant")]
#[case("p: [0s, oops + 1s]", "p", "error[E-EVENT]: \"oops + 1s\" is no instant")]
#[case("p: [0s, gone]", "[slow.end, 500ms]", "error[E-EVENT]: event \"slow\" has no end")]
#[case("oops: [0s, 1ms]", "early", "error[E-PHASE]: an event is called \"oops\" too")]
#[case("p: [0s, 1ms]", "slow", "error[E-WINDOW]: event \"slow\" has no end")]
#[case("p: [0s, 1ms]", "[oops.end, oops]", "error[E-WINDOW]: the window ends before it begins")]
#[case(
    "p: [0s, 1ms]",
    "[oops-1s, oops]",
    "error[E-WINDOW]: oops-1s is before the start of the run"
)]
#[case("p: [0s, 1ms]", "[oops, slow+1h]", "error[E-WINDOW]: the window goes beyond the run")]
#[case("p: [0s, 1ms]", "[oops.start, slow]", "error[K-VALUE]: expected an event, `event.end`")]
#[case("p: [0s, 1ms]", "[oops, slow+1]", "error[K-VALUE]: expected")]
#[case(
    "p: [slow, slow+1ms]",
    "[slow+1ms, slow+2ms]",
    "error[E-EXP-04]: nothing is sent in the window"
)]
fn a_window_that_cannot_be_is_refused(#[case] phase: &str, #[case] window: &str, #[case] message: &str) {
    let refused = rendered(timed(phase, window));
    assert!(refused.starts_with(message), "{refused}");
}

/// The matrix of the good scenario, otherwise.
#[rstest]
#[case(
    "matrix: all",
    "matrix: {from: web-a1, to: web-a1}",
    "error[E-EXP-04]: no pair of the matrix is cross-subnet"
)]
#[case("cross-subnet: {", "same-node: {", "error[E-EXP-04]: no pair of the matrix is same-node")]
#[case(
    "matrix: all",
    "matrix: {from: web-a9}",
    "error[E-ENDPOINT]: unknown workload, node or host \"web-a9\""
)]
#[case("matrix: all", "matrix: {count: 0}", "error[K-VALUE]: expected a whole number from 1")]
#[case("matrix: all", "matrix: {payload: 4B}", "error[K-VALUE]: expected a size")]
#[case("matrix: all", "matrix: {prot: udp}", "error[K-UNKNOWN]: unknown key `prot`")]
#[case("matrix: all", "matrix: some", "error[K-VALUE]: expected `all`, or a mapping")]
#[case(
    "matrix: all",
    "matrix: all\n      at: 1s",
    "error[E-WINDOW]: 1.000 s is not within the run"
)]
#[case(
    "matrix: all",
    "matrix: all\n      at: 900ms",
    "error[E-WINDOW]: the last probe would be sent at 1.150 s"
)]
#[case("cross-subnet: {", "cross-zone: {", "error[K-VALUE]: expected one of `same-node`")]
#[case(
    "cross-subnet: {delivered: all}",
    "cross-subnet: {}",
    "error[E-EXP-03]: the expectation claims nothing"
)]
#[case(
    "cross-subnet: {delivered: all}",
    "cross-subnet: {has: {kind: ipip}}",
    "error[K-UNKNOWN]: unknown key `has`"
)]
fn a_matrix_that_cannot_hold_is_refused(#[case] from: &str, #[case] to: &str, #[case] message: &str) {
    let refused = rendered(broken(from, to));
    assert!(refused.starts_with(message), "{refused}");
}

#[rstest]
#[case(
    "delivered: all, encap",
    "delivered: {min: 0}, encap",
    "error[E-EXP-06]: every count lies within this"
)]
#[case(
    "delivered: all, encap",
    "gap: {min: 0s}, encap",
    "error[E-EXP-06]: every count lies within this"
)]
#[case(
    "delivered: all, encap",
    "dropped: {any: {min: 0, max: 100%}}, encap",
    "error[E-EXP-06]: any packet may be lost or not"
)]
#[case(
    "delivered: all, encap: ipip",
    "encap: {none: {min: 0}, ipip: {max: 100%}, vxlan: {min: 0%}}",
    "error[E-EXP-06]: any packet may wear anything"
)]
#[case(
    "delivered: all, encap",
    "path: ['...', '...'], encap",
    "error[E-EXP-06]: every path is a run of places"
)]
#[case(
    "delivered: all, encap",
    "icmp: {count: {min: 0}}, encap",
    "error[E-EXP-06]: every count lies within this"
)]
#[case(
    "delivered: all, encap",
    "overhead: {total: {min: 0B}}, encap",
    "error[E-EXP-06]: every count lies within this"
)]
#[case(
    "delivered: all, encap",
    "overhead: {total: 80%}, encap",
    "error[K-VALUE]: expected a number of bytes"
)]
#[case(
    "delivered: all, encap",
    "overhead: {total: {min: 80%}}, encap",
    "error[K-VALUE]: expected a number of bytes"
)]
fn a_claim_that_tells_nothing_is_refused(#[case] from: &str, #[case] to: &str, #[case] message: &str) {
    let refused = rendered(broken(from, to));
    assert!(refused.starts_with(message), "{refused}");
}

#[rstest]
#[case("permute: [reverse, reverse]", "error[K-DUPLICATE]: the order \"reverse\" is there twice")]
#[case("permute: [sqash]", "error[K-VALUE]: expected one of `reverse`, `split`, `squash`")]
#[case(
    "permute: []",
    "error[K-VALUE]: expected a list of `reverse`, `split` and `squash`, or `off`"
)]
#[case(
    "permute: split",
    "error[K-VALUE]: expected a list of `reverse`, `split` and `squash`, or `off`"
)]
fn an_order_that_is_none_is_refused(#[case] permute: &str, #[case] message: &str) {
    let refused = rendered(broken("  expect:\n", &format!("  {permute}\n  expect:\n")));
    assert!(refused.starts_with(message), "{refused}");
}

/// Bounds that hold every number are no fault beside others: what is not named must not be there.
#[rstest]
#[case("dropped: {any: {min: 0}, blackhole: {min: 1}}")]
#[case("dropped: {blackhole: {max: 100%}}")]
#[case("encap: {ipip: {max: 100%}}")]
#[case("path: ['...', a1, '...']")]
fn a_wide_claim_that_can_fail_is_taken(#[case] claim: &str) {
    let (_folder, path) = Folder::with(broken("encap: ipip}", &format!("{claim}}}")));
    assert!(load(&path).is_ok(), "{claim}");
}
