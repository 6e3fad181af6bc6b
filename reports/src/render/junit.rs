//! A report as JUnit XML, for CI servers: a test suite for each scenario and backend, a test case for each expectation.
//!
//! Not here: times. A suite says what held, and is the same for the same run.

use std::io::{self, Write};

use quick_junit::{NonSuccessKind, Report as Suites, TestCase, TestCaseStatus, TestSuite};

use super::{Renderer, text};
use crate::{Case, Report, ScenarioReport, Status};

/// JUnit XML as Jenkins reads it. Inconclusive cases are skipped ones.
#[derive(Clone, Copy, Debug)]
pub struct Junit;

impl Renderer for Junit {
    fn name(&self) -> &'static str {
        "junit"
    }

    fn render(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let mut suites = Suites::new("overlab");
        suites.add_test_suites(report.scenarios.iter().map(suite));
        suites.serialize(out).map_err(io::Error::other)
    }
}

fn suite(scenario: &ScenarioReport) -> TestSuite {
    let mut suite = TestSuite::new(format!("{} ({})", scenario.label(), scenario.backend));
    suite.add_property(("file", scenario.file.as_str()));
    suite.add_property(("profile", scenario.profile.as_str()));
    suite.add_property(("backend", scenario.backend.as_str()));
    suite.add_property(("dataplane", scenario.dataplane.as_str()));
    suite.add_property(("seed", scenario.seed.to_string().as_str()));
    suite.add_test_cases(scenario.cases().map(|case| test_case(scenario, case)));
    suite
}

fn test_case(scenario: &ScenarioReport, case: Case<'_>) -> TestCase {
    let (name, message) = match case {
        Case::Expectation(e) => (format!("{} {} {}", e.id, e.label, e.claim), e.message()),
        Case::Golden(golden) => ("golden".to_owned(), text::golden_message(golden)),
        Case::Run(_, problem) => ("run".to_owned(), problem.reason.clone()),
    };
    let mut status = match case.status() {
        Status::Pass => TestCaseStatus::success(),
        Status::Inconclusive => TestCaseStatus::skipped(),
        Status::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Status::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if case.status() != Status::Pass {
        status.set_message(message);
        let detail = text::detail(case);
        if !detail.is_empty() {
            status.set_description(detail.join("\n"));
        }
    }
    if let Case::Expectation(expectation) = case
        && let Some(code) = &expectation.code
    {
        status.set_type(code.as_str());
    }
    let mut test_case = TestCase::new(name, status);
    test_case.set_classname(scenario.label());
    test_case
}
