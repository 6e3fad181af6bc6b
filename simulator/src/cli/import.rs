//! `overlab import`: dumps of a cluster become a scenario.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use super::{Exit, refuse, refuse_missing};
use crate::import::{Imported, Limits, import as import_dumps};
use crate::run::select_manifests;
use crate::scenario::open;

/// Makes a scenario of dumps: `kubectl get nodes,pods,... -A -o yaml`, `calicoctl get ... -o yaml`, in YAML or JSON.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  kubectl get nodes,pods,ippools,felixconfigurations -A -o yaml | overlab import - --output cluster.yaml"
)]
pub(super) struct Args {
    /// Dumps: files and folders; `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write the scenario into this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    /// The scenario's name
    #[arg(long, value_name = "NAME", default_value = "imported")]
    name: String,
    /// How many pods of one node become workloads
    #[arg(long, value_name = "N", default_value_t = 1)]
    max_pods_per_node: usize,
    /// How many pods become workloads in all: each is sent to from each
    #[arg(long, value_name = "N", default_value_t = 40)]
    max_pods: usize,
}

/// Runs the verb.
///
/// # Errors
/// If the output cannot be written.
pub(super) fn import(args: &Args, out: &mut dyn Write) -> io::Result<Exit> {
    let selected = select_manifests(&args.paths);
    if let Err(exit) = refuse_missing(&selected) {
        return Ok(exit);
    }
    if let Some(file) = args.output.as_ref().filter(|file| !args.force && file.exists()) {
        tell!(
            "error: {} is there already\n  help: name another file, or use --force",
            file.display()
        );
        return Ok(Exit::BadInput);
    }
    let written = match open(&selected.files) {
        Ok(written) => written,
        Err(diagnostics) => return Ok(refuse(&diagnostics)),
    };
    let limits = Limits {
        pods_per_node: args.max_pods_per_node,
        pods: args.max_pods,
    };
    let Imported { text, left_out, notes } = match import_dumps(&written, &args.name, limits) {
        Ok(imported) => imported,
        Err((diagnostics, draft)) => {
            let exit = refuse(&diagnostics);
            match (&args.output, draft) {
                (Some(file), Some(_)) => tell!(
                    "note: the scenario that was made does not resolve, and {} is not written; without --output it is printed for repair",
                    file.display()
                ),
                (None, Some(draft)) => {
                    tell!("note: the scenario that was made does not resolve; it is printed for repair");
                    write!(out, "{draft}")?;
                }
                (_, None) => {}
            }
            return Ok(exit);
        }
    };
    match &args.output {
        Some(file) => fs::write(file, text)?,
        None => write!(out, "{text}")?,
    }
    if !left_out.is_empty() {
        let kinds: Vec<_> = left_out.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        tell!("note: left out: {}", kinds.join(", "));
    }
    notes.iter().for_each(|note| tell!("note: {note}"));
    Ok(Exit::Pass)
}
