//! The canonical text of a scenario.

use overlab_reports::{TableChangeReport, golden};

use crate::made;

#[test]
fn golden_shows_flows_expectations_tables_and_fates() {
    insta::assert_snapshot!(golden(&made::failing()));
}

#[test]
fn golden_does_not_depend_on_the_order_of_flow_rows() {
    let mut turned = made::failing();
    turned.flows.reverse();
    assert_eq!(golden(&turned), golden(&made::failing()));
}

#[test]
fn golden_knows_neither_the_file_nor_the_backend() {
    let mut moved = made::failing();
    moved.file = "elsewhere.yaml".to_owned();
    moved.backend = "netns".to_owned();
    for expectation in &mut moved.expectations {
        expectation.place = "elsewhere.yaml:1".to_owned();
    }
    moved.notes.clear();
    assert_eq!(golden(&moved), golden(&made::failing()));
}

#[test]
fn golden_changes_with_a_route_a_fate_or_a_verdict() {
    let before = golden(&made::failing());
    let mut route = made::failing();
    route.tables[0].lines.pop();
    let mut fate = made::failing();
    fate.fates[1].count += 1;
    let mut verdict = made::failing();
    verdict.expectations[2].actual = "ipip on 19 of 20".to_owned();
    for after in [route, fate, verdict] {
        assert_ne!(golden(&after), before);
    }
}

#[test]
fn golden_stays_reviewable_and_counts_what_has_no_room() {
    let mut scenario = made::failing();
    scenario.fates = vec![scenario.fates[0].clone(); 100];
    let text = golden(&scenario);
    assert!(text.lines().count() <= 150, "{} lines", text.lines().count());
    assert!(text.contains("more fates, see the JSON report"), "{text}");
}

#[test]
fn golden_shows_few_entries_of_a_change_of_tables_and_counts_many() {
    let change = |at_ns, node: &str, removed: &[&str], added: &[&str], altered: &[&str]| {
        let entries = |entries: &[&str]| entries.iter().map(ToString::to_string).collect();
        TableChangeReport {
            at_ns,
            node: node.to_owned(),
            cause: "switch".to_owned(),
            removed: entries(removed),
            added: entries(added),
            altered: entries(altered),
        }
    };
    let mut scenario = made::failing();
    scenario.changes = vec![
        change(
            10_000_000_000,
            "a1",
            &["192.168.2.0/26 ipip"],
            &["192.168.2.0/26 vxlan"],
            &["device tunl0"],
        ),
        change(10_100_000_000, "b1", &["a", "b", "c"], &["d", "e"], &[]),
        change(13_500_000_000, "b1", &[], &[], &[]),
    ];
    let text = golden(&scenario);
    let (_, changes) = text.split_once("== changes\n").unwrap();
    let lines: Vec<&str> = changes.lines().take(4).collect();
    assert_eq!(
        lines,
        [
            "10.000  a1  switch  -192.168.2.0/26 ipip, +192.168.2.0/26 vxlan, ~device tunl0",
            "10.100  b1  switch  -3 +2",
            "13.500  b1  switch  nothing",
            "",
        ]
    );
}

#[test]
fn golden_of_many_changes_of_tables_says_how_many_it_leaves_out() {
    let change = TableChangeReport {
        at_ns: 0,
        node: "a1".to_owned(),
        cause: "switch".to_owned(),
        removed: vec![],
        added: vec![],
        altered: vec![],
    };
    let mut scenario = made::failing();
    scenario.changes = vec![change; 100];
    let text = golden(&scenario);
    assert!(text.contains("\n60 more, see the JSON report\n"), "{text}");
    assert!(text.lines().count() <= 150);
}
