//! What a run found, as plain data. Times are nanoseconds since the start of the run, sizes are bytes of IP, and nothing depends on
//! the hour or the machine: the same run gives the same report.
//!
//! Not here: how it is shown, and how a verdict was reached. Fields appear in JSON in the order in which they stand here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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

/// One scenario on one backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioReport {
    /// Its name.
    pub name: String,
    /// Which variant of it was run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The file that it was read from, as it was given.
    pub file: String,
    /// The Calico version whose rules hold: `calico/v3.32`.
    pub profile: String,
    /// `sim` or `netns`.
    pub backend: String,
    /// `engine` or `kernel`.
    pub dataplane: String,
    /// The root of all random streams.
    pub seed: u64,
    /// When sending ended.
    pub duration_ns: u64,
    /// The worst of what follows.
    pub status: Status,
    /// Why it could not be run or judged as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// What the comparison with its golden gave, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden: Option<GoldenReport>,
    /// What was expected, in the order of the file.
    pub expectations: Vec<ExpectationReport>,
    /// One row for each flow and window.
    pub flows: Vec<FlowRow>,
    /// The tables of every node, in the order of their names.
    pub tables: Vec<TableReport>,
    /// How the tables change during the run, in the order in which they do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<TableChangeReport>,
    /// One packet for each distinct fate.
    pub fates: Vec<FateReport>,
    /// What was derived rather than written, one sentence each.
    pub notes: Vec<String>,
    /// What is probably not meant: a lint's id, what it found, and where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lints: Vec<String>,
}

/// Why something could not be done, and what would help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Why.
    pub reason: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How a scenario's canonical text compares with the golden that was accepted for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GoldenReport {
    /// The golden's file.
    pub file: String,
    /// What the comparison gave.
    pub status: GoldenStatus,
    /// The lines that differ, as a unified diff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// What comparing with a golden gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GoldenStatus {
    /// The texts are equal.
    Same,
    /// They differ.
    Differs,
    /// There is no golden yet.
    Missing,
    /// The text was accepted by this run.
    Blessed,
}

/// One claim of one expectation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpectationReport {
    /// Its identity, unique within the scenario and the same in every run and backend.
    pub id: String,
    /// What was selected: `az`, `matrix same-subnet`.
    pub label: String,
    /// When its packets were sent: the name of a phase, or `[0.000,1.000)`.
    pub window: String,
    /// The key of the claim: `encap`, `reverse encap`.
    pub claim: String,
    /// How it ended.
    pub status: Status,
    /// The kind of failure: `E-ENC-01`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What was expected, as a phrase: `vxlan on every packet`. Passes do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was seen, as a phrase; if inconclusive, why nothing could be said.
    pub actual: String,
    /// Where it is written: `file:line`.
    pub place: String,
    /// The first packet that offends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<PacketReport>,
    /// What led to it and what to do next.
    #[serde(default, skip_serializing_if = "Advice::is_empty")]
    pub advice: Advice,
}

/// What led to a failure and what to do next; each line may be missing. Failures of one cause carry equal advice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Advice {
    /// The setting that decided, with its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The rule that turned the setting into what was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// A change that would make the expectation hold.
    #[serde(default, rename = "try", skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// A command that shows the same again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
}

/// A packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PacketReport {
    /// Its flow.
    pub flow: String,
    /// `forward` or `reverse`.
    pub direction: String,
    /// Its number within the flow and direction, from 0.
    pub sequence: u64,
    /// When it was sent.
    pub sent_at_ns: u64,
    /// Its IP length as sent.
    pub size: u64,
    /// How it ended.
    pub disposition: DispositionReport,
    /// Where it was, in order.
    pub hops: Vec<HopReport>,
}

/// How a packet ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum DispositionReport {
    /// Its destination socket got it whole.
    Delivered {
        /// When.
        at_ns: u64,
    },
    /// It was lost.
    Dropped {
        /// Why: one of the closed list of reasons.
        reason: String,
        /// Where.
        place: String,
        /// When.
        at_ns: u64,
    },
    /// Nothing tells.
    Unknown,
}

/// One place that a packet was at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HopReport {
    /// When it came.
    pub at_ns: u64,
    /// Where.
    pub place: String,
    /// What happened there, one phrase each, in order.
    pub steps: Vec<String>,
    /// The wire packets that left.
    pub left: Vec<WireReport>,
}

/// The headers of a wire packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireReport {
    /// Its IP length.
    pub length: u64,
    /// The header stack as one line, outermost header first.
    pub line: String,
}

/// What became of a flow's packets in a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowRow {
    /// The flow.
    pub flow: String,
    /// The window.
    pub window: String,
    /// Forward packets sent.
    pub sent: u64,
    /// Reverse packets delivered.
    pub back: u64,
    /// Packets of both directions lost.
    pub lost: u64,
    /// Forward packets by the encapsulation at their first hop: `none`, `ipip`, `vxlan`.
    pub encap_forward: BTreeMap<String, u64>,
    /// The same of reverse packets.
    pub encap_reverse: BTreeMap<String, u64>,
    /// The least and the most bytes that encapsulation added to a packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead: Option<(u64, u64)>,
    /// The first loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_drop: Option<FirstDrop>,
}

/// The first loss of a flow in a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FirstDrop {
    /// When the lost packet was sent.
    pub at_ns: u64,
    /// Why it was lost.
    pub reason: String,
    /// Where.
    pub place: String,
}

/// The tables of a node, as an operator would see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableReport {
    /// The node.
    pub node: String,
    /// Routes, VTEPs, allow-list and MTUs, one a line.
    pub lines: Vec<String>,
}

/// A change of a node's tables. Entries go by short names: `192.168.2.0/26 ipip`, `vtep 192.168.2.0 of b1`, `device tunl0`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableChangeReport {
    /// From then on.
    pub at_ns: u64,
    /// The node.
    pub node: String,
    /// What made it so.
    pub cause: String,
    /// What the tables do not have any more.
    pub removed: Vec<String>,
    /// What they have besides.
    pub added: Vec<String>,
    /// What they have otherwise than before.
    pub altered: Vec<String>,
}

/// Packets that fared alike, and one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FateReport {
    /// What they have in common: `vxlan a1 -> b1, delivered`.
    pub fate: String,
    /// How many there were.
    pub count: u64,
    /// The first of them.
    pub packet: PacketReport,
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

impl ScenarioReport {
    /// Its name, with that of its variant: `name` or `name[variant]`.
    pub fn label(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{}[{variant}]", self.name),
            None => self.name.clone(),
        }
    }

    /// Its cases: every expectation, then the golden if it does not match, then the run if there is a problem that no expectation
    /// tells.
    pub fn cases(&self) -> impl Iterator<Item = Case<'_>> {
        let unmatched = |golden: &&GoldenReport| matches!(golden.status, GoldenStatus::Differs | GoldenStatus::Missing);
        let untold = self.expectations.is_empty() || self.status == Status::Error;
        let run = self
            .problem
            .as_ref()
            .filter(|_| untold)
            .map(|problem| Case::Run(self.status, problem));
        self.expectations
            .iter()
            .map(Case::Expectation)
            .chain(self.golden.as_ref().filter(unmatched).map(Case::Golden))
            .chain(run)
    }
}

impl ExpectationReport {
    /// Expected and actual in one phrase.
    pub fn message(&self) -> String {
        match &self.expected {
            Some(expected) => format!("expected {expected}; {}", self.actual),
            None => self.actual.clone(),
        }
    }
}

impl Advice {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Advice::default()
    }
}
