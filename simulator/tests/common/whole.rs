//! A whole run of a scenario that a test holds as text.

use overlab_reports::ScenarioReport;
use overlab_simulator::run::{Options, one};
use overlab_simulator::scenario::BackendKind;

/// Runs a sound scenario in virtual time, and judges it.
pub(crate) fn run(text: &str) -> ScenarioReport {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("base.yaml");
    std::fs::write(&file, text).unwrap();
    let outcome = one(&file.into(), &Options::over(BackendKind::Sim));
    let wrong: String = outcome.diagnostics.iter().map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{wrong}");
    outcome.report
}
