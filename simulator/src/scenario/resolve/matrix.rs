//! The probes of a matrix: small flows between all pairs of a class.

use std::net::IpAddr;
use std::time::Duration;

use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, integer, suggestion, text};
use overlab_dataplane::{Family, Instant};
use serde_json::Value;

use super::cast::Cast;
use super::flows::{self, DEFAULT_INTERVAL, DEFAULT_PAYLOAD, DEFAULT_TTL, Flows, LARGEST_PAYLOAD, MOST_FLOWS, SMALLEST_PAYLOAD};
use super::time::Clock;
use crate::expectations::Names;
use crate::scenario::glob::{glob_matches, is_glob};
use crate::scenario::model::{Class, Endpoint, Flow, FlowId, PathMtuDiscovery, Reply, Transport, Window};
use crate::scenario::quantity;

/// How many packets each probe sends, unless the matrix says otherwise.
const DEFAULT_COUNT: u32 = 3;

/// By how much one of the two directions between machines starts after the other: it then comes back on a way that the other has opened, and
/// the other one came on a cold way.
const SECOND_DIRECTION: Duration = Duration::from_nanos(DEFAULT_INTERVAL.as_nanos() as u64 / 2);

/// The echo service (RFC 862).
const ECHO_PORT: u16 = 7;

/// The classes by name.
pub(in crate::scenario) const CLASSES: [(&str, Class); 3] = [
    ("same-node", Class::SameNode),
    ("same-subnet", Class::SameSubnet),
    ("cross-subnet", Class::CrossSubnet),
];

/// What a matrix sends.
pub(super) struct Matrix {
    from: Vec<Endpoint>,
    to: Vec<Endpoint>,
    transport: Transport,
    payload: usize,
    count: u32,
    /// The family that is sent over; where none is said, the first that a pair has in common.
    family: Option<Family>,
    at: Instant,
    field: FieldRef,
}

impl Matrix {
    /// Reads the keys `matrix` and `at` of an expectation.
    pub(super) fn read(entry: &mut Fields<'_>, cast: &Cast, clock: &Clock, refusals: &mut Vec<Refusal>) -> Option<Matrix> {
        let before = refusals.len();
        let at = entry.parse("at", refusals, |v| clock.instant(v)).unwrap_or(Instant::ZERO);
        let field = entry.field("matrix");
        let all: Vec<Endpoint> = (0..cast.workloads.len()).map(Endpoint::Workload).collect();
        let mut matrix = Matrix {
            from: all.clone(),
            to: all,
            transport: Transport::Icmp,
            payload: DEFAULT_PAYLOAD,
            count: DEFAULT_COUNT,
            family: None,
            at,
            field: field.clone(),
        };
        let value = entry.value("matrix")?;
        match value.as_str() {
            Some("all") => {}
            Some(_) => refusals.push(
                Wrong::expected("`all`, or a mapping with `from`, `to`, `proto`, `payload`, `count`, `family`").at(field, value),
            ),
            None => matrix.read_mapping(Fields::new(value, field, refusals), cast, refusals),
        }
        matrix.check_end(clock, refusals);
        (refusals.len() == before).then_some(matrix)
    }

    fn read_mapping(&mut self, mut fields: Fields<'_>, cast: &Cast, refusals: &mut Vec<Refusal>) {
        if let Some(from) = fields.parse("from", refusals, |v| endpoints(v, cast)) {
            self.from = from;
        }
        if let Some(to) = fields.parse("to", refusals, |v| endpoints(v, cast)) {
            self.to = to;
        }
        if let Some(transport) = fields.parse("proto", refusals, flows::transport) {
            self.transport = transport;
        }
        if let Some(payload) = fields.parse("payload", refusals, |v| quantity::size(v, SMALLEST_PAYLOAD, LARGEST_PAYLOAD)) {
            self.payload = payload;
        }
        self.family = fields.parse("family", refusals, quantity::family);
        if let Some(count) = fields.parse("count", refusals, |v| integer(v, 1, 1000)) {
            self.count = u32::try_from(count).unwrap_or(DEFAULT_COUNT);
        }
        fields.finish(refusals);
    }

    fn check_end(&self, clock: &Clock, refusals: &mut Vec<Refusal>) {
        let last = self.at.saturating_add(DEFAULT_INTERVAL * (self.count - 1) + SECOND_DIRECTION);
        if last >= clock.end {
            refusals.push(
                Refusal::new(
                    "E-WINDOW",
                    self.field.clone(),
                    format!("the last probe would be sent at {last}, and the run ends at {}", clock.end),
                )
                .why("a matrix sends 10 packets a second from `at` on, and from 50 ms later on where the other direction comes first")
                .help("use an earlier `at`, a lower `count`, or a longer `duration`"),
            );
        }
    }

    /// What its probes are sent over.
    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    /// When its probes are sent.
    pub(super) fn window(&self) -> Window {
        Window::between(self.at, self.at.saturating_add(DEFAULT_INTERVAL * self.count))
    }

    /// The flows between all ordered pairs of a class at its instant that have a family in common. Two matrices that ask for the same flow share
    /// it.
    pub(super) fn probes(&self, class: Class, cast: &Cast, flows: &mut Flows) -> Vec<FlowId> {
        let mut probes = self.probes_of_pairs(class, cast, flows);
        probes.sort_unstable();
        probes
    }

    fn probes_of_pairs(&self, class: Class, cast: &Cast, flows: &mut Flows) -> Vec<FlowId> {
        let pairs = self.from.iter().flat_map(|from| self.to.iter().map(move |to| (*from, *to)));
        pairs
            .filter(|(from, to)| from != to && cast.class(*from, *to, self.at) == Some(class))
            .filter_map(|(from, to)| Some((from, to, cast.meeting(from, to, self.family).ok()?)))
            .take(MOST_FLOWS + 1)
            .map(|(from, to, destination)| self.probe(from, to, destination, cast, flows))
            .collect()
    }

    fn probe(&self, from: Endpoint, to: Endpoint, destination: IpAddr, cast: &Cast, flows: &mut Flows) -> FlowId {
        let name = format!("{}->{}", cast.name(from), cast.name(to));
        let start = match cast.comes_second(from, to, self.at) {
            true => self.at.saturating_add(SECOND_DIRECTION),
            false => self.at,
        };
        let others = flows.probes.entry((from, to)).or_default();
        let same = |flow: &Flow| {
            (flow.transport, flow.payload, flow.count, flow.start) == (self.transport, self.payload, self.count, start)
                && flow.destination == destination
        };
        if let Some(place) = others.iter().find(|place| same(&flows.list[**place])) {
            return id(*place);
        }
        others.push(flows.list.len());
        let name = if others.len() == 1 {
            name
        } else {
            format!("{name}#{}", others.len())
        };
        flows.list.push(Flow {
            name: name.into(),
            from,
            to: Some(to),
            served_by: Vec::new(),
            destination,
            transport: self.transport,
            source: None,
            source_port: 0,
            destination_port: if self.transport == Transport::Icmp { 0 } else { ECHO_PORT },
            listens: true,
            payload: self.payload,
            reply_payload: self.payload,
            start,
            interval: DEFAULT_INTERVAL,
            count: self.count,
            path_mtu_discovery: PathMtuDiscovery::Want,
            ttl: DEFAULT_TTL,
            dscp: 0,
            ecn: 0,
            reply: Reply::Echo,
            probe: true,
            field: self.field.clone(),
        });
        id(flows.list.len() - 1)
    }
}

/// The identity of the flow at a place.
pub(super) fn id(place: usize) -> FlowId {
    FlowId(u32::try_from(place).expect("a scenario has far fewer flows"))
}

/// A name, a pattern, or a list of them.
fn endpoints(value: &Value, cast: &Cast) -> Result<Vec<Endpoint>, Wrong> {
    let items = match value {
        Value::Array(items) => items.iter().map(text).collect::<Result<Vec<_>, _>>()?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => vec![text(value)?],
    };
    let mut found = Vec::new();
    for item in items {
        match item {
            "all" => found.extend((0..cast.workloads.len()).map(Endpoint::Workload)),
            pattern if is_glob(pattern) => {
                let before = found.len();
                found.extend(
                    cast.endpoints()
                        .filter(|endpoint| glob_matches(pattern, cast.name(*endpoint))),
                );
                if found.len() == before {
                    return Err(no_match(pattern, cast));
                }
            }
            name => found.push(cast.find(name)?),
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn no_match(pattern: &str, cast: &Cast) -> Wrong {
    let wrong = Wrong::rule("E-ENDPOINT", format!("no workload, node or host matches {pattern:?}"));
    match suggestion(pattern, cast.names()) {
        Some(near) => wrong.help(format!("did you mean `{near}`?")),
        None => wrong.help(format!("the names are {}", cast.names().join(", "))),
    }
}
