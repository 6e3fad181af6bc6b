//! Holding every claim against the packets that it speaks of.

use crate::expectations::{Claim, Scope, Selection, Verdict};
use crate::observe::Trace;
use crate::scenario::{Expectation, Model};

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

/// Judges every claim of a model. With `ranges`, counts are held against the ranges that the scenario gives for runs that
/// cannot be exact.
pub fn judge<'m>(model: &'m Model, traces: &[Trace], ranges: bool) -> Vec<Judged<'m>> {
    let mut judged = Vec::new();
    for (index, expectation) in model.expectations.iter().enumerate() {
        let packets: Vec<&Trace> = selected(expectation, traces).collect();
        let forward = if expectation.reverse.is_some() {
            Scope::Forward
        } else {
            Scope::Both
        };
        let reverse = expectation.reverse.iter().flatten().map(|claim| (claim, Scope::Reverse));
        for (claim, scope) in expectation.claims.iter().map(|claim| (claim, forward)).chain(reverse) {
            let selection = Selection::new(&model.flows, packets.clone(), &expectation.window, scope, ranges);
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
    let (flows, window) = (expectation.flows.clone(), expectation.window.clone());
    traces
        .iter()
        .filter(move |trace| flows.contains(&trace.key.flow) && (window.from..window.to).contains(&trace.window_at))
}
