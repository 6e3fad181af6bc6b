//! What people and machines get to see of a report.

use overlab_reports::render::{RENDERERS, Renderer, Text, renderer};
use overlab_reports::{Case, Report, SCHEMA, Status};

use crate::made;

fn rendered(by: &dyn Renderer, report: &Report) -> String {
    let mut out = Vec::new();
    by.render(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn text_tells_one_cause_once_and_counts_every_case() {
    insta::assert_snapshot!(rendered(renderer("text").unwrap(), &made::report()));
}

#[test]
fn json_is_the_model_in_the_order_of_its_fields() {
    let report = Report::new("overlab 0.1.0", 1, vec![made::failing()]);
    insta::assert_snapshot!(rendered(renderer("json").unwrap(), &report));
}

#[test]
fn junit_has_a_suite_for_each_scenario_and_a_case_for_each_expectation() {
    insta::assert_snapshot!(rendered(renderer("junit").unwrap(), &made::report()));
}

#[test]
fn json_read_back_is_the_same_report() {
    let report = made::report();
    let json = rendered(renderer("json").unwrap(), &report);
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}

#[test]
fn json_names_its_schema_first_and_holds_no_floats() {
    let json = rendered(renderer("json").unwrap(), &made::report());
    assert!(json.starts_with(&format!("{{\n  \"schema\": \"{SCHEMA}\"")), "{json}");
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(!holds_float(&value), "{json}");
}

fn holds_float(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Number(number) => number.is_f64(),
        serde_json::Value::Array(values) => values.iter().any(holds_float),
        serde_json::Value::Object(map) => map.values().any(holds_float),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::String(_) => false,
    }
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    for by in RENDERERS {
        assert_eq!(
            rendered(*by, &made::report()),
            rendered(*by, &made::report()),
            "{}",
            by.name()
        );
    }
}

#[test]
fn summary_counts_the_cases_that_junit_shows() {
    let report = made::report();
    let junit = rendered(renderer("junit").unwrap(), &report);
    let shown = ["<testcase", "<failure", "<skipped", "<error"].map(|tag| junit.matches(tag).count() as u64);
    let summary = report.summary;
    assert_eq!(shown, [summary.cases, summary.fail, summary.inconclusive, summary.error]);
    assert!(
        junit.contains(&format!("tests=\"{}\" skipped=\"{}\"", summary.cases, summary.inconclusive)),
        "{junit}"
    );
    assert_eq!(
        summary.cases,
        summary.pass + summary.fail + summary.inconclusive + summary.error
    );
}

#[test]
fn a_problem_that_every_expectation_tells_is_not_counted_again() {
    let mut scenario = made::inconclusive();
    scenario.expectations = made::failing().expectations;
    for expectation in &mut scenario.expectations {
        expectation.status = Status::Inconclusive;
    }
    assert!(scenario.cases().all(|case| matches!(case, Case::Expectation(_))));
    let report = Report::new("", 3, vec![scenario]);
    assert_eq!(report.summary.inconclusive, 4);
    let text = rendered(renderer("text").unwrap(), &report);
    assert_eq!(
        text.matches("try     run as root").count(),
        1,
        "the remedy is told once: {text}"
    );
}

#[test]
fn colour_only_wraps_verdicts() {
    let report = made::report();
    let coloured = rendered(&Text { colour: true }, &report);
    assert!(coloured.contains("\x1b[31mFAIL\x1b[0m"), "{coloured}");
    let mut plain = coloured;
    for code in ["32", "33", "31", "31;1", "0"] {
        plain = plain.replace(&format!("\x1b[{code}m"), "");
    }
    assert_eq!(plain, rendered(&Text { colour: false }, &report));
}

#[test]
fn renderers_have_names_of_their_own() {
    let names: Vec<&str> = RENDERERS.iter().map(|by| by.name()).collect();
    assert_eq!(names, ["text", "json", "junit"]);
    assert!(renderer("yaml").is_none());
}
