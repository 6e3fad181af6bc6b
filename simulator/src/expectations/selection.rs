//! What a claim speaks of: packets, or the rows of a table.

use overlab_dataplane::Instant;
use serde_json::Value;

use super::Addresses;
use crate::observe::{ConnectionEvent, Connections, Direction, Disposition, Trace};
use crate::scenario::{Flow, FlowId, Reply, Transport, Window};

/// Which directions a claim speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Both together; reverse packets are held against the mirror image.
    Both,
    /// Packets of the flow's sender only.
    Forward,
    /// Packets of the flow's receiver only.
    Reverse,
}

/// What all claims about a run have in common.
#[derive(Clone, Debug)]
pub struct Ground<'a> {
    /// All flows.
    pub flows: &'a [Flow],
    /// What TCP connections did.
    pub connections: &'a Connections,
    /// Whose addresses are whose.
    pub addresses: Addresses,
    /// Whether counts are held against the range that the scenario gives for runs that cannot be exact.
    pub ranges: bool,
}

/// What a claim speaks of: the packets of its flows, sent in its window, or the rows of its table.
#[derive(Clone, Debug)]
pub struct Selection<'a> {
    ground: &'a Ground<'a>,
    packets: Vec<&'a Trace>,
    rows: Vec<Value>,
    window: &'a Window,
    scope: Scope,
    connections: Vec<(&'a Flow, &'a [(Instant, ConnectionEvent)])>,
}

impl<'a> Selection<'a> {
    /// Selects from `packets`, which were sent in the window, those in the scope's direction.
    pub fn of_packets(ground: &'a Ground<'a>, packets: Vec<&'a Trace>, window: &'a Window, scope: Scope) -> Selection<'a> {
        Selection {
            ground,
            packets,
            rows: Vec::new(),
            window,
            scope,
            connections: Vec::new(),
        }
    }

    /// Selects the rows that a table had at the start of the window.
    pub fn of_rows(ground: &'a Ground<'a>, rows: Vec<Value>, window: &'a Window) -> Selection<'a> {
        Selection {
            ground,
            packets: Vec::new(),
            rows,
            window,
            scope: Scope::Both,
            connections: Vec::new(),
        }
    }

    /// The rows of the table.
    pub fn rows(&self) -> &[Value] {
        &self.rows
    }

    /// Whose addresses are whose.
    pub fn addresses(&self) -> &'a Addresses {
        &self.ground.addresses
    }

    /// Adds what the TCP connections of these flows did.
    #[must_use]
    pub fn with_connections(mut self, flows: &[FlowId]) -> Selection<'a> {
        let known = flows.iter().filter_map(|id| {
            let flow = self.ground.flows.get(id.0 as usize)?;
            let events = self.ground.connections.get(id).map(Vec::as_slice).unwrap_or_default();
            (flow.transport == Transport::Tcp).then_some((flow, events))
        });
        self.connections = known.collect();
        self
    }

    /// The TCP flows, and what their connections did through the whole run.
    pub(super) fn connections(&self) -> impl Iterator<Item = (&'a Flow, &'a [(Instant, ConnectionEvent)])> + '_ {
        self.connections.iter().copied()
    }

    /// The packets of a flow.
    pub(super) fn packets_of(&self, flow: &'a Flow) -> impl Iterator<Item = &'a Trace> + '_ {
        self.packets()
            .filter(move |trace| self.flow(trace).is_some_and(|own| std::ptr::eq(own, flow)))
    }

    /// That nothing was sent, and, of TCP, what the connections had done by the end of the window.
    pub(super) fn nothing_sent(&self) -> String {
        let last = |(flow, events): (&Flow, &[(Instant, ConnectionEvent)])| {
            let last = events.iter().rfind(|(at, _)| *at < self.window.to);
            match last {
                None => format!("the connection of {} never opened", flow.name),
                Some((at, ConnectionEvent::Opened)) => {
                    format!("the connection of {} opened at {at}, and no reply came", flow.name)
                }
                Some((at, ConnectionEvent::Exchanged)) => format!("{} had its last reply at {at}", flow.name),
                Some((at, ConnectionEvent::Reset)) => format!("the connection of {} was reset at {at}", flow.name),
                Some((at, ConnectionEvent::Failed)) => format!("the connection of {} was given up at {at}", flow.name),
            }
        };
        match self.connections().next() {
            Some(first) => format!("no packet was sent: {}", last(first)),
            None => "no packet was sent".to_owned(),
        }
    }

    /// When the packets were sent.
    pub fn window(&self) -> &'a Window {
        self.window
    }

    /// The flow of a packet.
    pub fn flow(&self, trace: &Trace) -> Option<&'a Flow> {
        self.ground.flows.get(trace.key.flow.0 as usize)
    }

    /// Which directions the claim speaks of.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether counts and times need a range.
    pub fn ranges(&self) -> bool {
        self.ground.ranges
    }

    /// The packets, in the order of flow, direction and number.
    pub fn packets(&self) -> impl Iterator<Item = &'a Trace> + '_ {
        self.packets.iter().copied().filter(|trace| match self.scope {
            Scope::Both => true,
            Scope::Forward => trace.key.direction == Direction::Forward,
            Scope::Reverse => trace.key.direction == Direction::Reverse,
        })
    }

    /// What counts as one attempt, and whether it was delivered: a packet, or, where both directions are spoken of, a request
    /// together with its reply. TCP's segments answer to none in particular, so that each is an attempt.
    pub fn attempts(&self) -> impl Iterator<Item = (&'a Trace, bool)> + '_ {
        let both = self.scope == Scope::Both;
        self.packets()
            .filter(move |trace| !both || trace.key.direction == Direction::Forward || self.is_tcp(trace))
            .map(move |trace| {
                let answered = !both || !self.is_echoed(trace) || self.reply_to(trace).is_some_and(is_delivered);
                (trace, is_delivered(trace) && answered)
            })
    }

    /// The packet that was lost in a failed attempt: the request, or else its reply.
    pub fn lost_in(&self, attempt: &'a Trace) -> &'a Trace {
        match self.reply_to(attempt).filter(|_| self.is_echoed(attempt)) {
            Some(reply) if is_delivered(attempt) => reply,
            Some(_) | None => attempt,
        }
    }

    /// Packets of which nothing tells how they ended.
    pub fn unknown(&self) -> usize {
        self.packets()
            .filter(|trace| trace.disposition == Disposition::Unknown)
            .count()
    }

    /// What is known of the packets of which nothing tells how they ended.
    pub(super) fn why_unknown(&self) -> String {
        let unknown = self.packets().filter(|trace| trace.disposition == Disposition::Unknown);
        let (under_way, taken): (Vec<&Trace>, Vec<&Trace>) = unknown.partition(|trace| trace.is_under_way());
        let mut parts = Vec::new();
        if !under_way.is_empty() {
            parts.push(format!(
                "{} packets were still on their way when the run ended",
                under_way.len()
            ));
        }
        if !taken.is_empty() {
            parts.push(format!(
                "{} packets reached a stack that never said what it did with them",
                taken.len()
            ));
        }
        parts.join("; ")
    }

    fn is_echoed(&self, trace: &Trace) -> bool {
        let echoes = |flow: &Flow| flow.reply == Reply::Echo && flow.transport != Transport::Tcp;
        self.flow(trace).is_some_and(echoes)
    }

    fn is_tcp(&self, trace: &Trace) -> bool {
        self.flow(trace).is_some_and(|flow| flow.transport == Transport::Tcp)
    }

    fn reply_to(&self, request: &Trace) -> Option<&'a Trace> {
        let wanted = crate::observe::PacketKey {
            direction: Direction::Reverse,
            ..request.key
        };
        let index = self.packets.binary_search_by(|trace| trace.key.cmp(&wanted)).ok()?;
        self.packets.get(index).copied()
    }
}

pub(super) fn is_delivered(trace: &Trace) -> bool {
    matches!(trace.disposition, Disposition::Delivered { .. })
}
