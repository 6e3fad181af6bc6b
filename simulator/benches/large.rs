//! What large clusters and long timelines cost to read, run and judge in virtual time. Each case is measured at two sizes side by
//! side, and what counts is their ratio: in step with the nodes it is four, with their square sixteen. Times are for people.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[path = "../tests/common/large.rs"]
mod large;

use std::time::{Duration, Instant};

use large::{Events, scenario};
use overlab_reports::Status;
use overlab_simulator::run::{Options, one};
use overlab_simulator::scenario::BackendKind;

/// Times of which the least is told.
const ROUNDS: usize = 3;

fn main() {
    for (kind, events, nodes) in [
        (Events::Mode, 100, [25, 100]),
        (Events::Move, 100, [25, 100]),
        (Events::Switch, 1, [50, 200]),
        (Events::Mode, 10, [250, 1_000]),
        (Events::Move, 10, [250, 1_000]),
        (Events::Move, 0, [1_250, 5_000]),
    ] {
        let mut least = [Duration::MAX; 2];
        for _ in 0..ROUNDS {
            for (least, nodes) in least.iter_mut().zip(nodes) {
                *least = cost(&scenario(nodes, events, kind)).min(*least);
            }
        }
        let [few, many] = least;
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        println!(
            "{events:4} x {kind:<7?} {:5} nodes {few:>9.1?}  {:5} nodes {many:>9.1?}  ratio {ratio:4.1}",
            nodes[0], nodes[1]
        );
    }
}

fn cost(text: &str) -> Duration {
    let folder = tempfile::tempdir().expect("a folder is to be had");
    let file = folder.path().join("large.yaml");
    std::fs::write(&file, text).expect("a file is written");
    let started = Instant::now();
    let outcome = one(&file.into(), &Options::over(BackendKind::Sim));
    let cost = started.elapsed();
    assert_eq!(outcome.report.status, Status::Pass, "{:?}", outcome.diagnostics);
    cost
}
