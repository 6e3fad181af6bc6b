//! Every scenario file in real network namespaces, one named test each: its expectations hold, and it agrees with the run in
//! virtual time packet by packet. Where this host has no namespaces, each test is ignored as inconclusive; with `CI=true` and
//! `OVERLAB_REQUIRE=netns` it fails instead.

#[cfg(target_os = "linux")]
mod linux {
    use std::path::{Path, PathBuf};
    use std::process::ExitCode;

    use libtest_mimic::{Arguments, Failed, Trial};
    use overlab_reports::Status;
    use overlab_simulator::backend::BackendError;
    use overlab_simulator::backend::netns::{Netns, enter_user_namespace};
    use overlab_simulator::observe::Capture;
    use overlab_simulator::run::{Context, attempt, disagreements, report, select};
    use overlab_simulator::scenario::{BackendKind, load};

    pub(super) fn main() -> ExitCode {
        let mut arguments = Arguments::from_args();
        // Runs over namespaces mostly wait for their packets' time.
        arguments.test_threads.get_or_insert(8);
        // Before any thread exists; as root nothing happens here.
        let available = enter_user_namespace().and_then(|()| Netns::new().map(drop));
        let required = std::env::var("CI").is_ok_and(|v| v == "true")
            && std::env::var("OVERLAB_REQUIRE").is_ok_and(|v| v.split(',').any(|backend| backend == "netns"));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let trials = select(std::slice::from_ref(&root)).files.into_iter().map(|file| {
            let within = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
            match &available {
                Ok(()) => Trial::test(format!("netns::{within}"), move || netns(&file)),
                Err(error) => {
                    let why = format!("inconclusive: {error}");
                    let trial = Trial::test(format!("netns::{within} ({why})"), move || Err(Failed::from(why)));
                    trial.with_ignored_flag(!required)
                }
            }
        });
        libtest_mimic::run(&arguments, trials.collect()).exit_code()
    }

    fn netns(file: &PathBuf) -> Result<(), Failed> {
        let loaded = load(file).map_err(|d| d.iter().map(ToString::to_string).collect::<String>())?;
        let kinds = &loaded.model.backends;
        if !kinds.contains(&BackendKind::Netns) {
            return Ok(());
        }
        let context = Context {
            file,
            backend: "netns",
            ranges: true,
            expect: None,
        };
        let run = match attempt(&loaded, BackendKind::Netns, Capture::off()) {
            Ok(run) => run,
            Err(error @ (BackendError::Unavailable { .. } | BackendError::System { .. })) => {
                return Err(error.to_string().into());
            }
        };
        let report = report(&loaded, &run, &context);
        let failures: Vec<_> = report.expectations.iter().filter(|e| e.status == Status::Fail).collect();
        if !failures.is_empty() {
            return Err(format!("{failures:#?}").into());
        }
        if kinds.contains(&BackendKind::Sim) {
            let sim = attempt(&loaded, BackendKind::Sim, Capture::off())?;
            let differing = disagreements(&loaded.model.flows, &sim.traces, &run.traces);
            if !differing.is_empty() {
                let lines: Vec<_> = differing.iter().map(ToString::to_string).collect();
                return Err(format!("sim and netns disagree:\n{}", lines.join("\n")).into());
            }
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
