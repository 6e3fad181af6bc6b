//! The command line: one file a verb. Results go to standard output, progress and diagnostics to standard error.

/// Prints a line for people. Whoever has closed the pipe has had enough, and that is no fault of ours.
macro_rules! tell {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($line)*);
    }};
}

mod check;
mod cost;
mod doctor;
mod explain;
mod import;
mod plan;
mod run;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser, Subcommand};
use overlab_dataplane::fields::suggestion;

use crate::run::Selected;
use crate::scenario::{Diagnostic, open};

/// How a command ended. Where several hold, the first of 6, 2, 1, 4, 3, 5 wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exit {
    /// Everything passed.
    #[default]
    Pass = 0,
    /// An expectation failed.
    Failed = 1,
    /// The input is wrong, or output could not be written.
    BadInput = 2,
    /// This host cannot judge it.
    Inconclusive = 3,
    /// A golden file differs.
    GoldenDiffers = 4,
    /// Nothing was selected.
    NothingSelected = 5,
    /// A fault of ours, or two runs of one seed differed.
    Internal = 6,
}

impl Exit {
    /// The one of two that wins.
    #[must_use]
    pub fn or(self, other: Exit) -> Exit {
        const ORDER: [Exit; 6] = [
            Exit::Internal,
            Exit::BadInput,
            Exit::Failed,
            Exit::GoldenDiffers,
            Exit::Inconclusive,
            Exit::NothingSelected,
        ];
        ORDER
            .into_iter()
            .find(|exit| *exit == self || *exit == other)
            .unwrap_or(Exit::Pass)
    }

    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// Test bed and simulator for Calico overlay networking: was it encapsulated, what did that cost, was it delivered, and why.
#[derive(Debug, Parser)]
#[command(
    name = "overlab",
    version,
    about,
    after_help = "Exit codes: 0 all pass, 1 an expectation failed, 2 bad input, 3 inconclusive, 4 a golden differs, 5 nothing selected, \
                  6 internal error",
    infer_long_args = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Args),
    Check(check::Args),
    Plan(plan::Args),
    Explain(explain::Args),
    Cost(cost::Args),
    Import(import::Args),
    Doctor(doctor::Args),
}

impl Verb {
    fn asks_for_namespaces(&self) -> bool {
        match self {
            Verb::Run(args) => args.asks_for_namespaces(),
            Verb::Doctor(_) => true,
            Verb::Check(_) | Verb::Plan(_) | Verb::Explain(_) | Verb::Cost(_) | Verb::Import(_) => false,
        }
    }
}

/// Gets an ordinary user the rights to make namespaces, where the host allows it. It must come before any thread; where it fails,
/// the backend says what is missing.
fn enter_user_namespace() {
    #[cfg(target_os = "linux")]
    let _ = crate::backend::netns::enter_user_namespace();
}

/// Runs the command that the process was given.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; all else is bad input.
            let exit = if error.use_stderr() { Exit::BadInput } else { Exit::Pass };
            let printed = error.print();
            if let Some(near) = verb_meant(&error) {
                tell!("did you mean `{near}`?");
            }
            return ExitCode::from(if printed.is_ok() { exit.code() } else { Exit::BadInput.code() });
        }
    };
    if cli.verb.asks_for_namespaces() {
        enter_user_namespace();
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let exit = match cli.verb {
        Verb::Run(args) => run::run(&args, &mut out),
        Verb::Check(args) => check::check(&args, &mut out),
        Verb::Plan(args) => plan::plan(&args, &mut out),
        Verb::Explain(args) => explain::explain(&args, &mut out),
        Verb::Cost(args) => cost::cost(&args, &mut out),
        Verb::Import(args) => import::import(&args, &mut out),
        Verb::Doctor(args) => doctor::doctor(&args, &mut out),
    };
    let exit = exit.and_then(|exit| out.flush().map(|()| exit));
    match exit {
        Ok(exit) => ExitCode::from(exit.code()),
        // Whoever reads has had enough, as `head` does: no error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            tell!("overlab: cannot write: {error}");
            ExitCode::from(Exit::BadInput.code())
        }
    }
}

/// The verb that was probably meant by one that does not exist.
fn verb_meant(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(verb)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    if error.get(ContextKind::SuggestedSubcommand).is_some() {
        return None;
    }
    let command = Cli::command();
    suggestion(verb, command.get_subcommands().map(clap::Command::get_name)).map(str::to_owned)
}

/// Prints which paths mean nothing, if there are any.
fn refuse_missing(selected: &Selected) -> Result<(), Exit> {
    for (path, why) in &selected.missing {
        match open(&[path]) {
            Err(diagnostics) if diagnostics.iter().any(|one| one.code == "F-MISSING") => drop(refuse(&diagnostics)),
            Err(_) | Ok(_) => tell!("error: {}: {why}", path.display()),
        }
    }
    if selected.missing.is_empty() {
        Ok(())
    } else {
        Err(Exit::BadInput)
    }
}

/// Prints what is wrong with the input.
fn refuse(diagnostics: &[Diagnostic]) -> Exit {
    for diagnostic in diagnostics {
        tell!("{diagnostic}");
    }
    Exit::BadInput
}
