//! A packet's way.

use serde::{Deserialize, Serialize};

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
