//! Many scenarios side by side: each is loaded, run, judged and held against its golden on its own.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use overlab_reports::{GoldenReport, GoldenStatus, Problem, ScenarioReport, Status};
use tokio::sync::Semaphore;

use super::{Case, Context, Golden, Run, execute, inconclusive, refused, report};
use crate::backend::{Backend, BackendError, Sim};
use crate::observe::Capture;
use crate::scenario::{BackendKind, Diagnostic, Loaded, load_variant};

/// How scenarios are to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Over which backend.
    pub backend: BackendKind,
    /// Another seed than the files' own.
    pub seed: Option<u64>,
    /// Only verdicts whose label this glob matches.
    pub expect: Option<String>,
    /// Where captures go.
    pub capture: Option<PathBuf>,
    /// Whether goldens are accepted rather than compared.
    pub bless: bool,
    /// Whether reports are to hold tables; those that are held against a golden do in any case.
    pub tables: bool,
    /// How many scenarios run at the same time; at least 1.
    pub jobs: usize,
}

impl Options {
    /// Whole runs over a backend, one after the other, as the files say; nothing is written.
    pub fn over(backend: BackendKind) -> Options {
        Options {
            backend,
            seed: None,
            expect: None,
            capture: None,
            bless: false,
            tables: false,
            jobs: 1,
        }
    }

    /// Whether runs can be held against goldens: whole ones, in virtual time, with the files' own seeds.
    fn is_comparable(&self) -> bool {
        self.backend == BackendKind::Sim && self.seed.is_none() && self.expect.is_none()
    }
}

/// What came of one case.
#[derive(Debug)]
pub struct Outcome {
    /// Its report.
    pub report: ScenarioReport,
    /// What is wrong with its file.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether two runs of one seed differed, or the backend failed: a fault of ours.
    pub internal: bool,
}

/// Runs cases side by side and returns what came of each, in their order.
///
/// # Errors
/// If the operating system gives no threads.
pub fn batch(cases: Vec<Case>, options: Options) -> io::Result<Vec<Outcome>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(options.jobs.max(1))
        .build()?;
    let options = Arc::new(options);
    runtime.block_on(async {
        let permits = Arc::new(Semaphore::new(options.jobs.max(1)));
        let tasks: Vec<_> = cases
            .into_iter()
            .map(|case| {
                let (permits, options) = (permits.clone(), options.clone());
                tokio::spawn(async move {
                    let _permit = permits.acquire_owned().await;
                    tokio::task::spawn_blocking(move || one(&case, &options)).await
                })
            })
            .collect();
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.and_then(|inner| inner).map_err(io::Error::other)?);
        }
        Ok(outcomes)
    })
}

/// Runs one case.
pub fn one(case: &Case, options: &Options) -> Outcome {
    let ranges = options.backend == BackendKind::Netns;
    let backend = match options.backend {
        BackendKind::Sim => "sim",
        BackendKind::Netns => "netns",
    };
    let (file, variant) = (case.file.as_path(), case.variant.as_deref());
    let golden = Golden::of(file, variant).filter(|_| options.is_comparable());
    let context = Context {
        file,
        variant,
        backend,
        ranges,
        expect: options.expect.as_deref(),
        tables: options.tables || golden.is_some(),
    };
    let mut loaded = match load_variant(file, variant) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            return Outcome {
                report: refused(&context, &diagnostics),
                diagnostics,
                internal: false,
            };
        }
    };
    loaded.model.seed = options.seed.unwrap_or(loaded.model.seed);
    if !loaded.model.backends.contains(&options.backend) {
        let reason = format!("the scenario does not run over {backend}: its `backends` leave it out");
        return outcome(inconclusive(&loaded, &context, reason, None));
    }
    let capture = if options.capture.is_some() {
        Capture::on()
    } else {
        Capture::off()
    };
    match attempt(&loaded, options.backend, capture) {
        Ok(run) => {
            let mut outcome = outcome(report(&loaded, &run, &context));
            if let Some(folder) = &options.capture
                && let Err(error) = write_capture(folder, case, &run.capture)
            {
                let reason = format!("cannot write the capture: {error}");
                outcome.report.problem = Some(Problem { reason, remedy: None });
                outcome.report.status = Status::Error;
            }
            if options.is_comparable() {
                hold_against_golden(golden, &loaded, &context, options, &mut outcome);
            }
            outcome
        }
        Err(BackendError::Unavailable { reason, remedy }) => outcome(inconclusive(&loaded, &context, reason, Some(remedy))),
        Err(error @ BackendError::System { .. }) => {
            let mut report = inconclusive(&loaded, &context, error.to_string(), None);
            report.status = Status::Error;
            Outcome {
                report,
                diagnostics: Vec::new(),
                internal: true,
            }
        }
    }
}

fn outcome(report: ScenarioReport) -> Outcome {
    Outcome {
        report,
        diagnostics: Vec::new(),
        internal: false,
    }
}

/// Runs a scenario over a backend of the kind.
///
/// # Errors
/// If the backend fails, or this host has none of the kind.
pub fn attempt(loaded: &Loaded, kind: BackendKind, capture: Capture) -> Result<Run, BackendError> {
    let mut backend: Box<dyn Backend> = match kind {
        BackendKind::Sim => Box::new(Sim::new()),
        #[cfg(target_os = "linux")]
        BackendKind::Netns => Box::new(crate::backend::netns::Netns::new()?),
        #[cfg(not(target_os = "linux"))]
        BackendKind::Netns => {
            return Err(BackendError::Unavailable {
                reason: "network namespaces are Linux's".to_owned(),
                remedy: "use the sim backend, or a Linux host".to_owned(),
            });
        }
    };
    execute(&loaded.model, &mut *backend, capture)
}

/// Compares the report with its golden, or accepts it; accepting runs the scenario twice and refuses what failed or differs.
fn hold_against_golden(golden: Option<Golden>, loaded: &Loaded, context: &Context<'_>, options: &Options, outcome: &mut Outcome) {
    let Some(golden) = golden else {
        if options.bless {
            outcome.report.problem = Some(Problem {
                reason: "nothing was blessed: the file lies below no folder `scenarios`".to_owned(),
                remedy: Some("move it there; its golden goes into the folder `golden` beside `scenarios`".to_owned()),
            });
            outcome.report.status = outcome.report.status.max(Status::Fail);
        }
        return;
    };
    let text = overlab_reports::golden(&outcome.report);
    if !options.bless {
        outcome.report.golden = Some(golden.compare(&text));
        return;
    }
    let again =
        attempt(loaded, options.backend, Capture::off()).map(|run| overlab_reports::golden(&report(loaded, &run, context)));
    let refuse = |outcome: &mut Outcome, reason: &str| {
        outcome.report.problem = Some(Problem {
            reason: reason.to_owned(),
            remedy: None,
        });
        outcome.report.status = outcome.report.status.max(Status::Fail);
        let GoldenReport { file, status, .. } = golden.compare(&text);
        outcome.report.golden = Some(GoldenReport {
            file,
            status: match status {
                GoldenStatus::Missing => GoldenStatus::Missing,
                GoldenStatus::Same | GoldenStatus::Differs | GoldenStatus::Blessed => GoldenStatus::Differs,
            },
            diff: None,
        });
    };
    match again {
        Ok(again) if again != text => {
            outcome.internal = true;
            refuse(outcome, "two runs of one seed differ: not blessed");
        }
        Ok(_) if outcome.report.status != Status::Pass => refuse(outcome, "an expectation failed: not blessed"),
        Ok(_) => match golden.bless(&text) {
            Ok(report) => outcome.report.golden = Some(report),
            Err(error) => refuse(outcome, &format!("cannot write the golden: {error}")),
        },
        Err(error) => refuse(outcome, &error.to_string()),
    }
}

/// Writes a scenario's capture into a folder, under the scenario's path with other endings.
fn write_capture(folder: &Path, case: &Case, capture: &Capture) -> io::Result<()> {
    let path = case.file.with_extension("");
    let parts = path
        .components()
        .filter(|part| matches!(part, std::path::Component::Normal(_)));
    let name: Vec<_> = parts.map(|part| part.as_os_str().to_string_lossy()).collect();
    let variant = case.variant.as_ref().map_or_else(String::new, |name| format!("@{name}"));
    fs::create_dir_all(folder)?;
    let mut writer = BufWriter::new(File::create(folder.join(format!("{}{variant}.pcapng", name.join("-"))))?);
    capture.write(&mut writer)?;
    writer.flush()
}
