//! What an imported scenario sends besides its matrix: of each class one pair, each direction alone, and packets of the full size.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use overlab_dataplane::Instant;
use overlab_dataplane::route::Mtus;

use super::pods::Pod;
use super::wires::Wires;
use super::write::scalar;
use crate::scenario::{Endpoint, Flow, Model};

/// The variant in which the other direction comes first.
const BACK_FIRST: &str = "back-first";

/// When a flow that comes second starts.
const SECOND: &str = "500ms";

/// The pair that stands for a class.
pub(super) struct Pair<'p> {
    class: &'static str,
    from: &'p Pod,
    to: &'p Pod,
    /// What is sent behind the ICMP header so that packets fill the smaller MTU of the two.
    payload: usize,
}

/// The first pair of each class that has one, by the class's name.
pub(super) fn choose<'p>(wires: &Wires, pods: &'p [Pod]) -> Vec<Pair<'p>> {
    let mut pairs = BTreeMap::new();
    for (i, from) in pods.iter().enumerate() {
        for to in pods.iter().skip(i + 1) {
            let subnet = |pod: &Pod| &wires.nodes[&pod.node].subnet;
            let class = match (from.node == to.node, subnet(from) == subnet(to)) {
                (true, _) => "same-node",
                (false, true) => "same-subnet",
                (false, false) => "cross-subnet",
            };
            pairs.entry(class).or_insert(Pair {
                class,
                from,
                to,
                payload: 64,
            });
        }
    }
    pairs.into_values().collect()
}

impl Pair<'_> {
    /// Its class's name.
    pub(super) fn class(&self) -> &'static str {
        self.class
    }

    /// The names of its flows.
    pub(super) fn flows(&self) -> [String; 3] {
        ["there", "back", "full"].map(|what| format!("{}-{what}", self.class))
    }
}

/// The flows as text. Flows with an answer are a matrix's: an answer needs no rule, and a request that comes second may need none.
pub(super) fn text(pairs: &[Pair<'_>]) -> String {
    let mut text = "  flows:                                 # generated: one pair a class; each way alone, then packets that fill the pods' MTU\n".to_owned();
    for pair in pairs {
        let [there, back, full] = pair.flows();
        let (from, to) = (scalar(&pair.from.name), scalar(&pair.to.name));
        let one_way = "proto: udp, dport: 5000, reply: none, count: 3";
        let payload = pair.payload;
        let _ = writeln!(text, "    {there}: {{from: {from}, to: {to}, {one_way}}}");
        let _ = writeln!(text, "    {back}: {{from: {to}, to: {from}, {one_way}, start: {SECOND}}}");
        let _ = writeln!(
            text,
            "    {full}: {{from: {from}, to: {to}, payload: {payload}B, df: do, count: 3, start: 1500ms}}"
        );
    }
    text
}

/// The variant as text, with its expectations where they are not the scenario's own.
pub(super) fn variant(pairs: &[Pair<'_>], expectations: Option<&str>) -> String {
    let set = |pair: &Pair<'_>| {
        let [there, back, _] = pair.flows();
        format!("flows.{there}.start: {SECOND}, flows.{back}.start: 0s")
    };
    let set: Vec<_> = pairs.iter().map(set).collect();
    let mut text = format!(
        "  variants:\n    {BACK_FIRST}:                          # so that each way is once the first\n      set: {{{}}}\n",
        set.join(", ")
    );
    for line in expectations.into_iter().flat_map(str::lines) {
        let _ = writeln!(text, "    {line}");
    }
    text
}

/// Gives the flows of the full size their payload, in the model too.
pub(super) fn fill(model: &mut Model, pairs: &mut [Pair<'_>]) {
    for pair in pairs {
        let [.., full] = pair.flows();
        let Some(place) = model.flows.iter().position(|flow| *flow.name == *full) else {
            continue;
        };
        let Flow {
            from, to, destination, ..
        } = model.flows[place];
        let mtu = [Some(from), to].into_iter().flatten().filter_map(|end| mtu(model, end)).min();
        let headers = if destination.is_ipv6() { 48 } else { 28 };
        pair.payload = usize::from(mtu.unwrap_or(1500)).saturating_sub(headers);
        (model.flows[place].payload, model.flows[place].reply_payload) = (pair.payload, pair.payload);
    }
}

/// The MTU of a workload's interface.
fn mtu(model: &Model, end: Endpoint) -> Option<u16> {
    let Endpoint::Workload(workload) = end else { return None };
    let node = &model.nodes[model.workloads[workload].node];
    let settings = model.cluster.settings(&node.name);
    Some(Mtus::of(&settings, &model.host_network(node)).workload.bytes())
}

/// Lets the other direction come first, as the variant does.
pub(super) fn turn(model: &mut Model, pairs: &[Pair<'_>]) {
    let start = |model: &Model, name: &str| model.flows.iter().find(|flow| *flow.name == *name).map(|flow| flow.start);
    for pair in pairs {
        let [there, back, _] = pair.flows();
        let (first, second) = (start(model, &there), start(model, &back));
        for (name, at) in [(&there, second), (&back, first)] {
            let flow = model.flows.iter_mut().find(|flow| *flow.name == **name);
            flow.into_iter().for_each(|flow| flow.start = at.unwrap_or(Instant::ZERO));
        }
    }
}
