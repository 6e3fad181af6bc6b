//! Every scenario file in real network namespaces, one named test each: its expectations hold, and it agrees with the run in
//! virtual time packet by packet.

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
mod linux {
    use std::path::Path;
    use std::process::ExitCode;

    use libtest_mimic::Failed;
    use overlab_reports::Status;
    use overlab_simulator::observe::Capture;
    use overlab_simulator::run::{Case, Context, attempt, cases, disagreements, report, select};
    use overlab_simulator::scenario::{BackendKind, load_variant};

    use crate::common::{self, Body};

    /// Runs over namespaces mostly wait for their packets' time.
    const THREADS: usize = 8;

    pub(super) fn main() -> ExitCode {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let cases = cases(&select(std::slice::from_ref(&root)).files);
        let tests = cases.into_iter().map(|case| {
            let name = case.to_string();
            let within = name.strip_prefix(&format!("{}/", root.display())).unwrap_or(&name);
            (format!("netns::{within}"), Box::new(move || netns(&case)) as Body)
        });
        common::main(tests, THREADS)
    }

    fn netns(case: &Case) -> Result<Option<String>, Failed> {
        let loaded = load_variant(&case.file, case.variant.as_deref())
            .map_err(|d| d.iter().map(ToString::to_string).collect::<String>())?;
        let kinds = &loaded.model.backends;
        if !kinds.contains(&BackendKind::Netns) {
            return Ok(None);
        }
        let context = Context {
            file: &case.file,
            variant: case.variant.as_deref(),
            backend: "netns",
            ranges: true,
            expect: None,
            tables: true,
        };
        let run = attempt(&loaded, BackendKind::Netns, Capture::off())?;
        let report = report(&loaded, &run, &context);
        let failures: Vec<_> = report.expectations.iter().filter(|e| e.status == Status::Fail).collect();
        if !failures.is_empty() {
            return Err(format!("{failures:#?}").into());
        }
        if kinds.contains(&BackendKind::Sim) {
            let sim = attempt(&loaded, BackendKind::Sim, Capture::off())?;
            let differing = disagreements(&loaded.model.flows, &sim.changes(), &sim.traces, &run.traces);
            if !differing.is_empty() {
                let lines: Vec<_> = differing.iter().map(ToString::to_string).collect();
                return Err(format!("sim and netns disagree:\n{}", lines.join("\n")).into());
            }
        }
        Ok(None)
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
