//! Judging one case in virtual time: all its expectations hold, its golden file is what the run prints, and a second run prints
//! the same.

use std::path::{Path, PathBuf};

use overlab_reports::Status;
use overlab_simulator::observe::Capture;
use overlab_simulator::run::{Case, Context, attempt, golden_path, report};
use overlab_simulator::scenario::{BackendKind, load_variant};

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

pub(crate) fn judge(case: &Case) {
    let within = case.file.strip_prefix(root()).unwrap();
    let loaded = load_variant(&case.file, case.variant.as_deref()).unwrap_or_else(|diagnostics| {
        panic!("{}", diagnostics.iter().map(ToString::to_string).collect::<String>());
    });
    if !loaded.model.backends.contains(&BackendKind::Sim) {
        return;
    }
    let context = Context {
        file: within,
        variant: case.variant.as_deref(),
        backend: "sim",
        ranges: false,
        expect: None,
        tables: true,
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

    let snapshot = golden_path(&case.file, case.variant.as_deref()).unwrap();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(snapshot.parent().unwrap());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(snapshot.file_stem().unwrap().to_str().unwrap(), first));
}
