//! What is expected of an imported cluster: what the model says of it now, so that a later change shows.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use overlab_dataplane::encap::Encap;

use super::pods::Pod;
use super::wires::Wires;
use crate::observe::{Direction, Disposition, Trace};
use crate::scenario::{Expectation, Model};

/// A matrix of every class that has pairs, claiming what can be told without a run.
pub(super) fn probes(wires: &Wires, pods: &[Pod]) -> String {
    let mut classes = BTreeSet::new();
    for (i, a) in pods.iter().enumerate() {
        for b in pods.iter().skip(i + 1) {
            let subnet = |pod: &Pod| &wires.nodes[&pod.node].subnet;
            classes.insert(match (a.node == b.node, subnet(a) == subnet(b)) {
                (true, _) => "same-node",
                (false, true) => "same-subnet",
                (false, false) => "cross-subnet",
            });
        }
    }
    let lines = classes
        .into_iter()
        .map(|class| (class.to_owned(), "delivered: all".to_owned()));
    matrix(lines)
}

/// What each class of pairs met.
pub(super) fn expectations(model: &Model, traces: &[Trace]) -> String {
    matrix(model.expectations.iter().map(|expectation| {
        let class = expectation.label.strip_prefix("matrix ").unwrap_or(&expectation.label);
        (class.to_owned(), claims(expectation, traces))
    }))
}

fn matrix(classes: impl Iterator<Item = (String, String)>) -> String {
    let mut text = String::new();
    for (class, claims) in classes {
        let _ = writeln!(text, "        {class}: {{{claims}}}");
    }
    format!(
        "  expect:                                # generated: what is predicted now; change it to what must hold\n    - matrix: all\n      classes:\n{text}"
    )
}

fn claims(expectation: &Expectation, traces: &[Trace]) -> String {
    let of_class: Vec<&Trace> = traces
        .iter()
        .filter(|trace| expectation.subject.includes(trace.key.flow))
        .collect();
    let delivered = |trace: &&&Trace| matches!(trace.disposition, Disposition::Delivered { .. });
    let requests = of_class
        .iter()
        .filter(|trace| trace.key.direction == Direction::Forward)
        .count();
    let answered = of_class
        .iter()
        .filter(|trace| trace.key.direction == Direction::Reverse)
        .filter(delivered)
        .count();
    let reasons: BTreeSet<String> = of_class
        .iter()
        .filter_map(|trace| match &trace.disposition {
            Disposition::Dropped { reason, .. } => Some(reason.to_string()),
            Disposition::Delivered { .. } | Disposition::Unknown => None,
        })
        .collect();
    let mut claims = match answered {
        0 => vec!["delivered: none".to_owned()],
        _ if answered == requests => vec!["delivered: all".to_owned()],
        _ => vec!["delivered: {min: 1}".to_owned()],
    };
    if let (0, Some(reason), 1) = (answered, reasons.first(), reasons.len()) {
        claims.push(format!("dropped: {reason}"));
    }
    claims.extend(encapsulation(&of_class));
    claims.join(", ")
}

/// What packets wore at their first hop; those delivered within their node wore nothing.
fn encapsulation(traces: &[&Trace]) -> Option<String> {
    let delivered = |trace: &Trace| matches!(trace.disposition, Disposition::Delivered { .. });
    let worn = |trace: &&Trace| match trace.first_hop.first() {
        Some(packet) => Some(packet.encap),
        None => delivered(trace).then_some(Encap::None),
    };
    let kinds: BTreeSet<String> = traces.iter().filter_map(worn).map(|encap| encap.to_string()).collect();
    let kinds: Vec<String> = kinds.into_iter().collect();
    match &kinds[..] {
        [] => None,
        [one] => Some(format!("encap: {one}")),
        several => {
            let parts: Vec<_> = several.iter().map(|kind| format!("{kind}: {{min: 1}}")).collect();
            Some(format!("encap: {{{}}}", parts.join(", ")))
        }
    }
}
