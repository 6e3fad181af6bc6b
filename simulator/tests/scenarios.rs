//! Every scenario file, in virtual time: all its expectations hold, its golden file is what the run prints, and a second run
//! prints the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use overlab_reports::{GoldenStatus, Status};
use overlab_simulator::observe::Capture;
use overlab_simulator::run::{Context, Options, attempt, golden_path, one, report, select};
use overlab_simulator::scenario::{BackendKind, load};
use rstest::rstest;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The scenario files as they are named from the top of the repository.
fn files() -> Vec<PathBuf> {
    select(&[root().join("scenarios")]).files
}

#[rstest]
fn sim(
    #[base_dir = "../scenarios"]
    #[files("**/*.yaml")]
    path: PathBuf,
) {
    let within = path.strip_prefix(root()).unwrap().to_owned();
    let loaded = load(&path).unwrap_or_else(|diagnostics| {
        panic!("{}", diagnostics.iter().map(ToString::to_string).collect::<String>());
    });
    if !loaded.model.backends.contains(&BackendKind::Sim) {
        return;
    }
    let context = Context {
        file: &within,
        backend: "sim",
        ranges: false,
        expect: None,
    };
    let golden = || {
        let run = attempt(&loaded, BackendKind::Sim, Capture::off()).unwrap();
        let report = report(&loaded, &run, &context);
        let failures: Vec<_> = report.expectations.iter().filter(|e| e.status != Status::Pass).collect();
        assert!(failures.is_empty(), "{failures:#?}");
        overlab_reports::golden(&report)
    };
    let first = golden();
    assert_eq!(first, golden(), "two runs of one seed differ");

    let snapshot = golden_path(&path).unwrap();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(snapshot.parent().unwrap());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(snapshot.file_stem().unwrap().to_str().unwrap(), first));
}

#[test]
fn every_golden_has_its_scenario() {
    let wanted: BTreeSet<PathBuf> = files().iter().map(|file| golden_path(file).unwrap()).collect();
    let mut folders = vec![root().join("golden")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "snap") {
                assert!(wanted.contains(&path), "{} has no scenario: remove it", path.display());
            }
        }
    }
}

#[test]
fn scenarios_run_side_by_side_tell_what_they_tell_alone() {
    let options = |jobs| Options { jobs, ..sim_options() };
    let reports = |jobs| {
        let outcomes = overlab_simulator::run::batch(files(), options(jobs)).unwrap();
        outcomes.into_iter().map(|outcome| outcome.report).collect::<Vec<_>>()
    };
    assert_eq!(reports(1), reports(4));
}

#[test]
fn a_blessed_golden_is_the_same_and_a_touched_one_differs() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("scenarios/onprem/x.yaml");
    std::fs::create_dir_all(scenario.parent().unwrap()).unwrap();
    std::fs::copy(
        root().join("scenarios/onprem/ipip-always-two-racks-delivered.yaml"),
        &scenario,
    )
    .unwrap();
    let status = |bless| {
        one(&scenario, &Options { bless, ..sim_options() })
            .report
            .golden
            .unwrap()
            .status
    };
    assert_eq!(status(false), GoldenStatus::Missing);
    assert_eq!(status(true), GoldenStatus::Blessed);
    assert_eq!(status(false), GoldenStatus::Same);
    let golden = golden_path(&scenario).unwrap();
    let text = std::fs::read_to_string(&golden).unwrap().replace("ipip", "vxlan");
    std::fs::write(&golden, text).unwrap();
    assert_eq!(status(false), GoldenStatus::Differs);
}

#[test]
fn a_failing_scenario_is_not_blessed() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("scenarios/x.yaml");
    std::fs::create_dir_all(scenario.parent().unwrap()).unwrap();
    let text = std::fs::read_to_string(root().join("scenarios/onprem/ipip-always-two-racks-delivered.yaml")).unwrap();
    std::fs::write(&scenario, text.replace("ipipMode: Always", "ipipMode: Never")).unwrap();
    let report = one(
        &scenario,
        &Options {
            bless: true,
            ..sim_options()
        },
    )
    .report;
    assert_eq!(report.status, Status::Fail);
    assert!(!golden_path(&scenario).unwrap().exists());
}

fn sim_options() -> Options {
    Options {
        backend: BackendKind::Sim,
        seed: None,
        expect: None,
        capture: None,
        bless: false,
        jobs: 1,
    }
}
