//! `overlab run`: runs scenarios to the end and judges them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use overlab_dataplane::fields::suggestion;
use overlab_reports::render::{RENDERERS, Renderer, Text, renderer};
use overlab_reports::{GoldenStatus, Report, ScenarioReport, Status};

use super::{Exit, refuse, refuse_missing};
use crate::run::{self, Options, Outcome, batch};
use crate::scenario::{BackendKind, glob_matches};

/// Runs scenarios to the end and judges them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  overlab run scenarios/aws --report junit=report.xml")]
pub(super) struct Args {
    /// Scenario files, folders or globs; a folder means every scenario below it; `-` is standard input
    #[arg(value_name = "PATH", default_value = "scenarios")]
    paths: Vec<PathBuf>,
    /// What supplies clock and network stacks
    #[arg(long, value_enum, default_value_t = BackendArg::Sim)]
    backend: BackendArg,
    /// Only scenarios whose name or path matches
    #[arg(long, value_name = "GLOB")]
    only: Option<String>,
    /// Only this variant of each scenario
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Only verdicts whose label matches
    #[arg(long, value_name = "GLOB")]
    expect: Option<String>,
    /// Another seed than the files' own
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many scenarios run at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Accept what the run prints as the golden files
    #[arg(long)]
    bless: bool,
    /// text, json or junit; `=FILE` writes a file, one without replaces the text on standard output
    #[arg(long, value_name = "FORMAT[=FILE]", value_parser = report_target)]
    report: Vec<Target>,
    /// Write a pcapng file a scenario into this folder
    #[arg(long, value_name = "DIR")]
    capture: Option<PathBuf>,
    /// An inconclusive verdict is no failure of the command
    #[arg(long)]
    allow_inconclusive: bool,
}

impl Args {
    pub(super) fn asks_for_namespaces(&self) -> bool {
        matches!(self.backend, BackendArg::Netns)
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BackendArg {
    /// Virtual time, no privileges
    Sim,
    /// Linux network namespaces, real time
    Netns,
}

/// A format, and the file that it goes to.
#[derive(Clone, Debug)]
struct Target {
    format: String,
    file: Option<PathBuf>,
}

fn report_target(text: &str) -> Result<Target, String> {
    let (format, file) = match text.split_once('=') {
        Some((_, "")) => return Err("a file name is missing after `=`".to_owned()),
        Some((format, file)) => (format, Some(PathBuf::from(file))),
        None => (text, None),
    };
    let names = RENDERERS.iter().map(|renderer| renderer.name());
    if renderer(format).is_none() {
        let list = names.clone().collect::<Vec<_>>().join(", ");
        let near = suggestion(format, names).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        return Err(format!("unknown format; formats are {list}{near}"));
    }
    Ok(Target {
        format: format.to_owned(),
        file,
    })
}

/// Runs the verb.
///
/// # Errors
/// If a report cannot be written.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> io::Result<Exit> {
    if let Some(place) = reported_twice(&args.report)? {
        tell!("error: two reports go to {place}\n  help: give each `--report` a file of its own");
        return Ok(Exit::BadInput);
    }
    let backend = match args.backend {
        BackendArg::Sim => BackendKind::Sim,
        BackendArg::Netns => BackendKind::Netns,
    };
    let selected = run::select(&args.paths);
    if let Err(exit) = refuse_missing(&selected) {
        return Ok(exit);
    }
    note_others(&selected.others);
    let files: Vec<PathBuf> = selected
        .files
        .into_iter()
        .filter(|file| is_wanted(args.only.as_deref(), file))
        .collect();
    let mut cases = run::cases(&files);
    if let Some(name) = &args.variant {
        let all: Vec<String> = cases.iter().filter_map(|case| case.variant.clone()).collect();
        cases.retain(|case| case.variant.as_ref() == Some(name));
        if let (true, Some(near)) = (cases.is_empty(), suggestion(name, all.iter().map(String::as_str))) {
            tell!("error: no scenario has a variant {name:?}; did you mean `{near}`?");
            return Ok(Exit::NothingSelected);
        }
    }
    if cases.is_empty() {
        tell!("error: no scenario was selected");
        return Ok(Exit::NothingSelected);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.map_or(default_jobs(backend, cores), usize::from);
    let options = Options {
        backend,
        seed: args.seed,
        expect: args.expect.clone(),
        capture: args.capture.clone(),
        bless: args.bless,
        tables: args
            .report
            .iter()
            .any(|target| renderer(&target.format).is_some_and(Renderer::shows_tables)),
        jobs,
    };
    let outcomes = batch(cases, options)?;
    let mut exit = exit_of(&outcomes, args);
    // What is wrong with a scenario is wrong with each of its variants, and is said once.
    let mut said = Vec::new();
    for diagnostic in outcomes.iter().flat_map(|outcome| &outcome.diagnostics) {
        if !said.contains(&diagnostic) {
            refuse(std::slice::from_ref(diagnostic));
            said.push(diagnostic);
        }
    }
    if args.expect.is_some() && outcomes.iter().all(|o| o.report.expectations.is_empty()) && exit == Exit::Pass {
        tell!("error: no verdict was selected");
        exit = Exit::NothingSelected;
    }
    let reports = outcomes.into_iter().map(|outcome| outcome.report).collect();
    let tool = concat!("overlab ", env!("CARGO_PKG_VERSION"));
    render(args, &Report::new(tool, exit.code(), reports), out)?;
    Ok(exit)
}

/// Where two reports would be written over each other, or one behind the other.
fn reported_twice(targets: &[Target]) -> io::Result<Option<String>> {
    let mut places = BTreeSet::new();
    for target in targets {
        let place = target.file.as_ref().map(std::path::absolute).transpose()?;
        if let Some(twice) = places.replace(place) {
            return Ok(Some(
                twice.map_or("standard output".to_owned(), |file| file.display().to_string()),
            ));
        }
    }
    Ok(None)
}

/// Runs over namespaces mostly wait; runs in virtual time compute.
fn default_jobs(backend: BackendKind, cores: usize) -> usize {
    match backend {
        BackendKind::Sim => cores,
        BackendKind::Netns => cores * 4,
    }
}

/// As many files without a scenario are named.
const NAMED: usize = 4;

fn note_others(others: &[PathBuf]) {
    let names: Vec<_> = others.iter().take(NAMED).map(|file| file.display().to_string()).collect();
    let more = if others.len() > NAMED { ", ..." } else { "" };
    match others.len() {
        0 => {}
        1 => tell!("note: a file holds no scenario and is left out: {}", names.join("")),
        count => tell!(
            "note: {count} files hold no scenario and are left out: {}{more}",
            names.join(", ")
        ),
    }
}

fn is_wanted(only: Option<&str>, file: &std::path::Path) -> bool {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    only.is_none_or(|glob| glob_matches(glob, &stem) || glob_matches(glob, &file.to_string_lossy()))
}

fn exit_of(outcomes: &[Outcome], args: &Args) -> Exit {
    let one = |outcome: &Outcome| {
        let report: &ScenarioReport = &outcome.report;
        let golden = match report.golden.as_ref().map(|golden| golden.status) {
            Some(GoldenStatus::Differs | GoldenStatus::Missing) => Exit::GoldenDiffers,
            Some(GoldenStatus::Same | GoldenStatus::Blessed) | None => Exit::Pass,
        };
        let status = match report.status {
            _ if outcome.internal => Exit::Internal,
            Status::Pass => Exit::Pass,
            Status::Fail => Exit::Failed,
            Status::Inconclusive if args.allow_inconclusive => Exit::Pass,
            Status::Inconclusive => Exit::Inconclusive,
            Status::Error => Exit::BadInput,
        };
        status.or(golden)
    };
    let failed_beside = outcomes
        .iter()
        .any(|o| o.report.expectations.iter().any(|e| e.status == Status::Fail));
    let exit = outcomes.iter().map(one).fold(Exit::Pass, Exit::or);
    if failed_beside { exit.or(Exit::Failed) } else { exit }
}

fn render(args: &Args, report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut on_stdout = false;
    for target in &args.report {
        let Some(renderer) = renderer(&target.format) else { continue };
        match &target.file {
            Some(path) => {
                let mut file = BufWriter::new(File::create(path).map_err(|error| named(path, error))?);
                renderer.render(report, &mut file)?;
                file.flush()?;
            }
            None => {
                on_stdout = true;
                renderer.render(report, out)?;
            }
        }
    }
    if on_stdout {
        return Ok(());
    }
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    Text { colour }.render(report, out)
}

fn named(path: &std::path::Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
