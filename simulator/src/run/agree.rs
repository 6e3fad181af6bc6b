//! Do two runs of one scenario agree? Packet by packet: how it ended, what it wore, what that cost, and which way it went.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::expectations::added;
use crate::fabric;
use crate::observe::{Direction, Disposition, DropReason, PacketKey, Trace};
use crate::scenario::{Flow, FlowId, Transport};

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

/// Every packet that the runs tell differently of, times left out. How many segments a TCP takes, and when, is its own affair: of
/// them, those are told whose like the other run has none of. Which of them chance takes, and which are still under way at the end,
/// says nothing.
pub fn disagreements(flows: &[Flow], first: &[Trace], second: &[Trace]) -> Vec<Disagreement> {
    let is_tcp = |key: PacketKey| {
        let flow = flows.get(key.flow.0 as usize);
        flow.is_some_and(|flow| flow.transport == Transport::Tcp)
    };
    let mut told = numbered(flows, &others(first, is_tcp), &others(second, is_tcp));
    told.extend(kinds(flows, &segments(first, is_tcp), &segments(second, is_tcp)));
    told
}

/// The fates of packets that are no segments of TCP.
fn others(traces: &[Trace], is_tcp: impl Fn(PacketKey) -> bool) -> BTreeMap<PacketKey, String> {
    let others = traces.iter().filter(|trace| !is_tcp(trace.key));
    others.map(|trace| (trace.key, fate(trace))).collect()
}

/// The kinds of fates that segments of TCP met, each with its first.
fn segments(traces: &[Trace], is_tcp: impl Fn(PacketKey) -> bool) -> BTreeMap<(FlowId, Direction, String), PacketKey> {
    let mut first = BTreeMap::new();
    let by_chance = DropReason::Fabric(fabric::DropReason::Injected);
    let tells = |trace: &&Trace| match trace.disposition {
        Disposition::Delivered { .. } => true,
        Disposition::Dropped { reason, .. } => reason != by_chance,
        Disposition::Unknown => false,
    };
    for trace in traces.iter().filter(|trace| is_tcp(trace.key)).filter(tells) {
        let kind = (trace.key.flow, trace.key.direction, fate(trace));
        first.entry(kind).or_insert(trace.key);
    }
    first
}

fn numbered(flows: &[Flow], first: &BTreeMap<PacketKey, String>, second: &BTreeMap<PacketKey, String>) -> Vec<Disagreement> {
    let keys: BTreeSet<_> = first.keys().chain(second.keys()).copied().collect();
    let differing = keys.into_iter().filter(|key| first.get(key) != second.get(key));
    differing
        .map(|packet| disagreement(flows, packet, first.get(&packet).cloned(), second.get(&packet).cloned()))
        .collect()
}

fn kinds(
    flows: &[Flow],
    first: &BTreeMap<(FlowId, Direction, String), PacketKey>,
    second: &BTreeMap<(FlowId, Direction, String), PacketKey>,
) -> Vec<Disagreement> {
    let only_first = first.iter().filter(|(kind, _)| !second.contains_key(kind));
    let only_second = second.iter().filter(|(kind, _)| !first.contains_key(kind));
    let only_first = only_first.map(|((.., fate), packet)| disagreement(flows, *packet, Some(fate.clone()), None));
    let only_second = only_second.map(|((.., fate), packet)| disagreement(flows, *packet, None, Some(fate.clone())));
    only_first.chain(only_second).collect()
}

fn disagreement(flows: &[Flow], packet: PacketKey, first: Option<String>, second: Option<String>) -> Disagreement {
    let absent = || "not sent".to_owned();
    Disagreement {
        flow: flows
            .get(packet.flow.0 as usize)
            .map_or_else(String::new, |flow| flow.name.to_string()),
        packet,
        first: first.unwrap_or_else(absent),
        second: second.unwrap_or_else(absent),
    }
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
