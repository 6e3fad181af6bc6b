//! Holding every claim against the packets that it speaks of.

use serde_json::Value;

use super::{Run, permute};
use crate::expectations::{Addresses, Claim, Ground, Scope, Selection, Verdict};
use crate::observe::Trace;
use crate::rows;
use crate::scenario::{Expectation, Loaded, Subject};

/// A claim with its verdict.
#[derive(Debug)]
pub struct Judged<'m> {
    /// The entry's place in `expect`, from 0, classes of a matrix counted one by one.
    pub index: usize,
    /// The entry.
    pub expectation: &'m Expectation,
    /// The claim.
    pub claim: &'m Claim,
    /// Which directions it spoke of.
    pub scope: Scope,
    /// What became of it.
    pub verdict: Verdict,
}

/// Judges every claim of a scenario. With `ranges`, counts are held against the ranges that the scenario gives for runs that
/// cannot be exact.
pub fn judge<'m>(loaded: &'m Loaded, run: &Run, ranges: bool) -> Vec<Judged<'m>> {
    let model = &loaded.model;
    let ground = Ground {
        flows: &model.flows,
        connections: &run.connections,
        addresses: Addresses::of(&run.tables),
        ranges,
    };
    let mut judged = Vec::new();
    for (index, expectation) in model.expectations.iter().enumerate() {
        let packets: Vec<&Trace> = selected(expectation, &run.traces).collect();
        let rows = rows(expectation, loaded, run);
        let window = &expectation.window;
        let forward = if expectation.reverse.is_some() {
            Scope::Forward
        } else {
            Scope::Both
        };
        let reverse = expectation.reverse.iter().flatten().map(|claim| (claim, Scope::Reverse));
        for (claim, scope) in expectation.claims.iter().map(|claim| (claim, forward)).chain(reverse) {
            let selection = match &rows {
                Some(rows) => Selection::of_rows(&ground, rows.clone(), window),
                None => {
                    Selection::of_packets(&ground, packets.clone(), window, scope).with_connections(expectation.subject.flows())
                }
            };
            let verdict = claim.expectation.judge(&selection);
            judged.push(Judged {
                index,
                expectation,
                claim,
                scope,
                verdict,
            });
        }
    }
    judged
}

/// The packets of an expectation's flows that belong to its window.
pub(super) fn selected<'t>(expectation: &Expectation, traces: &'t [Trace]) -> impl Iterator<Item = &'t Trace> {
    let (subject, window) = (expectation.subject.clone(), expectation.window.clone());
    traces
        .iter()
        .filter(move |trace| subject.includes(trace.key.flow) && (window.from..window.to).contains(&trace.window_at))
}

/// The rows of an expectation's table at its instant, if it is about one.
fn rows(expectation: &Expectation, loaded: &Loaded, run: &Run) -> Option<Vec<Value>> {
    match expectation.subject {
        Subject::Flows(_) | Subject::EveryFlow => None,
        Subject::Permuted(order) => Some(permute::rows(order, loaded)),
        Subject::Table { table, machine: None } => {
            let at = expectation.window.from;
            let model = &loaded.model;
            let (cluster, rewired) = (model.cluster_at(at), model.rewiring_at(at));
            let underlays = rewired.map_or(&model.underlays, |wires| &wires.underlays);
            Some(rows::of_everybody(table, underlays, cluster, &loaded.sources))
        }
        Subject::Table {
            table,
            machine: Some(machine),
        } => {
            let tables = run.tables.get(machine)?.at(expectation.window.from);
            Some(rows::of_node(table, tables, &loaded.sources))
        }
    }
}
