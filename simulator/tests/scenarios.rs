//! Every scenario file, in virtual time: all its expectations hold, its golden file is what the run prints, and a second run
//! prints the same.

#[path = "common/sim.rs"]
mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;

use common::root;
use overlab_reports::{GoldenStatus, Status};
use overlab_simulator::run::{Case, Options, cases, golden_path, one, select};
use overlab_simulator::scenario::BackendKind;
use rstest::rstest;

/// Every scenario and every variant, as they are named from the top of the repository.
fn all() -> Vec<Case> {
    cases(&select(&[root().join("scenarios")]).files)
}

#[rstest]
fn sim(
    #[base_dir = "../scenarios"]
    #[files("**/*.yaml")]
    path: PathBuf,
) {
    common::judge(&path.into());
}

#[test]
fn every_golden_has_its_scenario() {
    let wanted: BTreeSet<PathBuf> = all()
        .iter()
        .map(|case| golden_path(&case.file, case.variant.as_deref()).unwrap())
        .collect();
    // Tables that are no run of a scenario have tests of their own.
    let tables = root().join("golden/tables");
    let mut folders = vec![root().join("golden")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path == tables {
                continue;
            }
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
    let options = |jobs| Options {
        jobs,
        ..Options::over(BackendKind::Sim)
    };
    let reports = |jobs| {
        let outcomes = overlab_simulator::run::batch(all(), options(jobs)).unwrap();
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
        one(
            &scenario.clone().into(),
            &Options {
                bless,
                ..Options::over(BackendKind::Sim)
            },
        )
        .report
        .golden
        .unwrap()
        .status
    };
    assert_eq!(status(false), GoldenStatus::Missing);
    assert_eq!(status(true), GoldenStatus::Blessed);
    assert_eq!(status(false), GoldenStatus::Same);
    let golden = golden_path(&scenario, None).unwrap();
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
        &scenario.clone().into(),
        &Options {
            bless: true,
            ..Options::over(BackendKind::Sim)
        },
    )
    .report;
    assert_eq!(report.status, Status::Fail);
    assert!(!golden_path(&scenario, None).unwrap().exists());
}

/// The scenarios and variants for one backend, as the page lists them: each with the reason that stands beside its `backends`.
#[test]
fn a_scenario_for_one_backend_says_why_there_and_on_the_page() {
    let mut listed = Vec::new();
    for file in select(&[root().join("scenarios")]).files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        let mut variant = String::new();
        for line in text.lines() {
            if let Some((key, _)) = line.strip_prefix("    ").and_then(|line| line.split_once(':'))
                && !key.starts_with(' ')
            {
                variant = format!(", variant {key}");
            }
            if line.trim_start().starts_with("backends:") {
                let of = if line.starts_with("   ") { &*variant } else { "" };
                let reason = line.split_once('#').map(|(_, reason)| reason.trim());
                let reason = reason.unwrap_or_else(|| panic!("{name}: say behind `backends` why, after a `#`"));
                listed.push(format!("| [{name}](../{name}){of} | {reason} |"));
            }
        }
    }
    let page = std::fs::read_to_string(root().join("docs/backends.md")).unwrap();
    let told: Vec<&str> = page.lines().filter(|line| line.starts_with("| [scenarios/")).collect();
    assert_eq!(told, listed, "docs/backends.md is to list exactly these");
}
