//! What is expected of an imported cluster: what the model says of it now, so that a later change shows.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::flows::Pair;
use crate::expectations::{split, worn};
use crate::observe::{Direction, Disposition, Trace};
use crate::scenario::{Expectation, Model, PathMtuDiscovery, Reply};

/// What can be expected without a run, of each pair's flows and of a matrix.
pub(super) fn probes(pairs: &[Pair<'_>]) -> String {
    let delivered = |label: String| (label, "delivered: all".to_owned());
    let flows = pairs.iter().flat_map(Pair::flows).map(delivered);
    let classes = pairs.iter().map(|pair| delivered(format!("{MATRIX}{}", pair.class())));
    text(flows.chain(classes))
}

/// What the flows and each class of pairs met.
pub(super) fn expectations(model: &Model, traces: &[Trace]) -> String {
    text(
        model
            .expectations
            .iter()
            .map(|expectation| (expectation.label.to_string(), claims(model, expectation, traces))),
    )
}

/// What labels of a matrix's classes begin with.
const MATRIX: &str = "matrix ";

fn text(claims: impl Iterator<Item = (String, String)>) -> String {
    let (mut flows, mut classes) = (String::new(), String::new());
    for (label, claims) in claims {
        let _ = match label.strip_prefix(MATRIX) {
            Some(class) => writeln!(classes, "        {class}: {{{claims}}}"),
            None => writeln!(flows, "    - {{flow: {label}, {claims}}}"),
        };
    }
    format!(
        "  expect:                                # generated: what is predicted now; change it to what must hold\n\
         {flows}    - matrix: all\n      at: 1s\n      classes:\n{classes}"
    )
}

fn claims(model: &Model, expectation: &Expectation, traces: &[Trace]) -> String {
    let of_class: Vec<&Trace> = traces
        .iter()
        .filter(|trace| expectation.subject.includes(trace.key.flow))
        .collect();
    let delivered = |trace: &&&Trace| matches!(trace.disposition, Disposition::Delivered { .. });
    let requests = of_class
        .iter()
        .filter(|trace| trace.key.direction == Direction::Forward)
        .count();
    let flow = |trace: &&&Trace| &model.flows[trace.key.flow.0 as usize];
    let arrived = |trace: &&&Trace| match flow(trace).reply {
        Reply::Echo => trace.key.direction == Direction::Reverse,
        Reply::None => trace.key.direction == Direction::Forward,
    };
    let answered = of_class.iter().filter(arrived).filter(delivered).count();
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
    if of_class
        .iter()
        .any(|trace| flow(&trace).path_mtu_discovery == PathMtuDiscovery::Do)
    {
        let split: BTreeSet<String> = of_class.iter().map(|trace| split(trace)).collect();
        let same = split.first().filter(|_| split.len() == 1);
        claims.extend(
            same.filter(|split| !split.contains(' '))
                .map(|split| format!("fragments: {split}")),
        );
    }
    claims.join(", ")
}

/// What packets wore.
fn encapsulation(traces: &[&Trace]) -> Option<String> {
    let kinds: BTreeSet<String> = traces
        .iter()
        .filter_map(|trace| worn(trace))
        .map(|encap| encap.to_string())
        .collect();
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
