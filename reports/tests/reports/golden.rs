//! The canonical text of a scenario.

use overlab_reports::golden;

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
