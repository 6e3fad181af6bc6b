//! All that one invocation found, and its cases counted.

use serde::{Deserialize, Serialize};

use super::{ExpectationReport, GoldenReport, Problem, ScenarioReport};

/// The identity of the JSON form. It changes when a field changes its meaning or goes.
pub const SCHEMA: &str = "overlab.dev/report/v1";

/// Everything that one invocation found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// The program and its version: `overlab 0.1.0`.
    pub tool: String,
    /// The exit code that goes with it.
    pub exit_code: u8,
    /// The cases of all scenarios, counted.
    pub summary: Summary,
    /// One entry for each scenario, backend and dataplane, in the order of the run.
    pub scenarios: Vec<ScenarioReport>,
}

/// Cases counted by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Scenarios, once for each backend and dataplane.
    pub scenarios: u64,
    /// All cases: the sum of the four below.
    pub cases: u64,
    /// Expectations that held.
    pub pass: u64,
    /// Expectations that did not hold, and goldens that differ.
    pub fail: u64,
    /// Expectations, or whole scenarios, that this host could not judge.
    pub inconclusive: u64,
    /// Scenarios that could not be run to their end.
    pub error: u64,
}

/// How an expectation or a scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// It held.
    Pass,
    /// It could not be judged here.
    Inconclusive,
    /// It did not hold.
    Fail,
    /// The run itself failed.
    Error,
}

impl Report {
    /// Puts scenarios together and counts their cases.
    ///
    /// `tool` is the program with its version, `exit_code` the one that the program is about to end with.
    pub fn new(tool: &str, exit_code: u8, scenarios: Vec<ScenarioReport>) -> Report {
        let mut summary = Summary {
            scenarios: scenarios.len() as u64,
            ..Summary::default()
        };
        for case in scenarios.iter().flat_map(ScenarioReport::cases) {
            summary.count(case.status());
        }
        Report {
            schema: SCHEMA.to_owned(),
            tool: tool.to_owned(),
            exit_code,
            summary,
            scenarios,
        }
    }
}

impl Summary {
    /// Counts one case.
    fn count(&mut self, status: Status) {
        self.cases += 1;
        *match status {
            Status::Pass => &mut self.pass,
            Status::Inconclusive => &mut self.inconclusive,
            Status::Fail => &mut self.fail,
            Status::Error => &mut self.error,
        } += 1;
    }
}

/// What is counted: the same in the summary and in a JUnit file.
#[derive(Clone, Copy, Debug)]
pub enum Case<'a> {
    /// An expectation.
    Expectation(&'a ExpectationReport),
    /// A golden that differs or is missing.
    Golden(&'a GoldenReport),
    /// A scenario that failed as a whole, or of which nothing could be judged.
    Run(Status, &'a Problem),
}

impl Case<'_> {
    /// How it ended.
    pub fn status(&self) -> Status {
        match self {
            Case::Expectation(expectation) => expectation.status,
            Case::Golden(_) => Status::Fail,
            Case::Run(status, _) => *status,
        }
    }
}
