//! One scenario: how it went, its golden, flows, tables and fates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Case, ExpectationReport, PacketReport, Status};

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
