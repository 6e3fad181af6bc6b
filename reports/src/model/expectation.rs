//! One claim: what was expected, what was seen, and what to do about it.

use serde::{Deserialize, Serialize};

use super::{PacketReport, Status};

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
