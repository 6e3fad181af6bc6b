//! Do two runs of one scenario agree? Packet by packet: how it ended, what it wore, what that cost, and which way it went.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use overlab_dataplane::Instant;

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
/// them, those are told whose like the other run has none of, though it sent some between the same two `changes` of tables. Which of
/// them chance takes, and which are still under way at the end, says nothing.
pub fn disagreements(flows: &[Flow], changes: &BTreeSet<Instant>, first: &[Trace], second: &[Trace]) -> Vec<Disagreement> {
    let is_tcp = |key: PacketKey| {
        let flow = flows.get(key.flow.0 as usize);
        flow.is_some_and(|flow| flow.transport == Transport::Tcp)
    };
    let mut told = numbered(flows, &others(first, is_tcp), &others(second, is_tcp));
    let [first, second] = [first, second].map(|traces| segments(traces, changes, is_tcp));
    let only_first = unmatched(&first, &second);
    told.extend(only_first.map(|(fate, packet)| disagreement(flows, packet, Some(fate), None)));
    let only_second = unmatched(&second, &first);
    told.extend(only_second.map(|(fate, packet)| disagreement(flows, packet, None, Some(fate))));
    told
}

/// The fates of packets that are no segments of TCP.
fn others(traces: &[Trace], is_tcp: impl Fn(PacketKey) -> bool) -> BTreeMap<PacketKey, String> {
    let others = traces.iter().filter(|trace| !is_tcp(trace.key));
    others.map(|trace| (trace.key, fate(trace))).collect()
}

/// When segments were sent: in one direction of a flow, from a change of tables to the next.
type Stretch = (FlowId, Direction, Option<Instant>);

/// Kinds of fates, and in which stretches there were packets that met them.
type Kinds = BTreeMap<(FlowId, Direction, String), BTreeMap<Stretch, PacketKey>>;

/// The kinds of fates that segments of TCP met, each with its first in every stretch.
fn segments(traces: &[Trace], changes: &BTreeSet<Instant>, is_tcp: impl Fn(PacketKey) -> bool) -> Kinds {
    let mut kinds = Kinds::new();
    let by_chance = DropReason::Fabric(fabric::DropReason::Injected);
    let tells = |trace: &&Trace| match trace.disposition {
        Disposition::Delivered { .. } => true,
        Disposition::Dropped { reason, .. } => reason != by_chance,
        Disposition::Unknown => false,
    };
    for trace in traces.iter().filter(|trace| is_tcp(trace.key)).filter(tells) {
        let PacketKey { flow, direction, .. } = trace.key;
        let since = changes.range(..=trace.sent_at).next_back().copied();
        let stretches = kinds.entry((flow, direction, fate(trace))).or_default();
        stretches.entry((flow, direction, since)).or_insert(trace.key);
    }
    kinds
}

/// The kinds of fates that only the first of two runs has, with a packet of a stretch in which the second run sent some too.
fn unmatched<'a>(first: &'a Kinds, second: &'a Kinds) -> impl Iterator<Item = (String, PacketKey)> + 'a {
    let sent: BTreeSet<_> = second.values().flat_map(BTreeMap::keys).collect();
    let alone = first.iter().filter(|(kind, _)| !second.contains_key(kind));
    alone.filter_map(move |((.., fate), stretches)| {
        let (_, packet) = stretches.iter().find(|(stretch, _)| sent.contains(stretch))?;
        Some((fate.clone(), *packet))
    })
}

fn numbered(flows: &[Flow], first: &BTreeMap<PacketKey, String>, second: &BTreeMap<PacketKey, String>) -> Vec<Disagreement> {
    let keys: BTreeSet<_> = first.keys().chain(second.keys()).copied().collect();
    let differing = keys.into_iter().filter(|key| first.get(key) != second.get(key));
    differing
        .map(|packet| disagreement(flows, packet, first.get(&packet).cloned(), second.get(&packet).cloned()))
        .collect()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use overlab_dataplane::fields::{FieldPath, FieldRef, Origin};

    use super::*;
    use crate::observe::{HostDropReason, Place, PlaceKind};
    use crate::scenario::{Endpoint, PathMtuDiscovery, Reply};

    const LOST: DropReason = DropReason::Host(HostDropReason::NoListener);

    fn stream() -> Flow {
        Flow {
            name: "session".into(),
            from: Endpoint::Workload(0),
            to: Some(Endpoint::Workload(1)),
            served_by: Vec::new(),
            source: None,
            destination: [192, 168, 1, 2].into(),
            transport: Transport::Tcp,
            source_port: 40001,
            destination_port: 8080,
            listens: true,
            payload: 200,
            reply_payload: 200,
            start: Instant::ZERO,
            interval: Duration::from_millis(50),
            count: 5,
            path_mtu_discovery: PathMtuDiscovery::Want,
            ttl: 64,
            dscp: 0,
            ecn: 0,
            reply: Reply::Echo,
            probe: false,
            field: FieldRef {
                origin: Origin(0),
                path: FieldPath::default(),
            },
        }
    }

    /// Segments by the second in which each was sent, and whether it arrived.
    fn sent(segments: &[(u64, bool)]) -> Vec<Trace> {
        let trace = |(sequence, (second, arrived)): (usize, &(u64, bool))| {
            let at = Instant::from_nanos(second * 1_000_000_000);
            let place = Place {
                kind: PlaceKind::Workload,
                name: "web".into(),
            };
            Trace {
                key: PacketKey {
                    flow: FlowId(0),
                    direction: Direction::Forward,
                    sequence: sequence as u32,
                },
                sent_at: at,
                window_at: at,
                size: 252,
                hops: Vec::new(),
                first_hop: Vec::new(),
                icmp_errors: Vec::new(),
                source_seen: None,
                disposition: match arrived {
                    true => Disposition::Delivered { at },
                    false => Disposition::Dropped { reason: LOST, place, at },
                },
            }
        };
        segments.iter().enumerate().map(trace).collect()
    }

    fn told(first: &[(u64, bool)], second: &[(u64, bool)]) -> Vec<String> {
        let changes = BTreeSet::from([2, 5].map(|second| Instant::from_nanos(second * 1_000_000_000)));
        let told = disagreements(&[stream()], &changes, &sent(first), &sent(second));
        told.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_segment_between_two_changes_is_told_if_the_other_run_sent_some_there() {
        let lost_between = [(0, true), (3, false), (6, true)];
        let none_between = [(0, true), (1, true), (7, true)];
        assert!(told(&lost_between, &none_between).is_empty());
        assert!(told(&none_between, &lost_between).is_empty());
        let fine_between = [(0, true), (4, true), (6, true)];
        let alone = "session forward 1: no_listener@web, wearing nothing, overhead none, by ; but not sent";
        assert_eq!(told(&lost_between, &fine_between), [alone]);
        assert_eq!(told(&fine_between, &lost_between).len(), 1);
        assert!(told(&lost_between, &lost_between).is_empty());
    }

    #[test]
    fn how_many_segments_of_a_kind_there_are_says_nothing() {
        assert!(told(&[(0, true)], &[(0, true), (1, true), (1, true)]).is_empty());
    }
}
