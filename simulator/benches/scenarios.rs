//! The whole folder of shipped scenarios: read and resolved, then run and judged over each backend, in one process side by side.
//! The figures are for people; what they are held to is a ratio within one run.

use std::path::{Path, PathBuf};

use overlab_reports::Status;
use overlab_simulator::run::{Options, batch, cases, select};
use overlab_simulator::scenario::{BackendKind, load};

fn main() {
    divan::main();
}

fn files() -> Vec<PathBuf> {
    select(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")]).files
}

/// Reads and resolves every file.
#[divan::bench(sample_count = 20)]
fn load_all() -> usize {
    files().iter().filter(|file| load(file).is_ok()).count()
}

fn run_all(backend: BackendKind, jobs: usize) {
    let options = Options {
        expect: Some("*".to_owned()),
        tables: true,
        jobs,
        ..Options::over(backend)
    };
    let outcomes = batch(cases(&files()), options).expect("threads are to be had");
    let wrong = outcomes
        .iter()
        .filter(|outcome| outcome.report.status == Status::Fail)
        .count();
    assert_eq!(wrong, 0, "a scenario failed");
}

/// Reads, runs and judges every file in virtual time.
#[divan::bench(args = [1, 2], sample_count = 20)]
fn run_all_sim(jobs: usize) {
    run_all(BackendKind::Sim, jobs);
}

/// Reads, runs and judges every file over namespaces; where there are none, this measures nothing but saying so.
#[divan::bench(args = [8], sample_count = 3, sample_size = 1)]
fn run_all_netns(jobs: usize) {
    run_all(BackendKind::Netns, jobs);
}
