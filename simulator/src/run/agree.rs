//! Do two runs of one scenario agree? Packet by packet: how it ended, what it wore, what that cost, and which way it went.

use std::collections::BTreeMap;
use std::fmt;

use crate::expectations::added;
use crate::observe::{Disposition, PacketKey, Trace};
use crate::scenario::Flow;

/// A packet that two runs tell differently of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    flow: String,
    packet: PacketKey,
    first: String,
    second: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Disagreement {
            flow,
            packet,
            first,
            second,
        } = self;
        write!(f, "{flow} {} {}: {first}; but {second}", packet.direction, packet.sequence)
    }
}

/// Every packet that the runs tell differently of, times left out.
pub fn disagreements(flows: &[Flow], first: &[Trace], second: &[Trace]) -> Vec<Disagreement> {
    let index = |traces: &[Trace]| {
        traces
            .iter()
            .map(|trace| (trace.key, fate(trace)))
            .collect::<BTreeMap<_, _>>()
    };
    let (first, second) = (index(first), index(second));
    let keys: std::collections::BTreeSet<_> = first.keys().chain(second.keys()).copied().collect();
    let absent = || "not sent".to_owned();
    keys.into_iter()
        .filter(|key| first.get(key) != second.get(key))
        .map(|packet| Disagreement {
            flow: flows
                .get(packet.flow.0 as usize)
                .map_or_else(String::new, |flow| flow.name.to_string()),
            packet,
            first: first.get(&packet).cloned().unwrap_or_else(absent),
            second: second.get(&packet).cloned().unwrap_or_else(absent),
        })
        .collect()
}

fn fate(trace: &Trace) -> String {
    let end = match &trace.disposition {
        Disposition::Delivered { .. } => "delivered".to_owned(),
        Disposition::Dropped { reason, place, .. } => format!("{reason}@{place}"),
        Disposition::Unknown => "unknown".to_owned(),
    };
    let wears = trace
        .first_hop
        .first()
        .map_or_else(|| "nothing".to_owned(), |packet| packet.encap.to_string());
    let cost = added(trace).map_or_else(|| "none".to_owned(), |bytes| format!("{bytes} B"));
    format!("{end}, wearing {wears}, overhead {cost}, by {}", trace.path().join(" > "))
}
