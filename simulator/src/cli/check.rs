//! `overlab check`: reads scenarios and bare manifests, and says all that is wrong with them. Nothing is run.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use overlab_dataplane::calico::Profile;
use serde_json::json;

use super::{Exit, refuse};
use crate::run::select;
use crate::scenario::{Diagnostic, load_variant, open};

/// Parses and validates scenarios and bare Calico manifests.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Scenario or manifest files (YAML or JSON streams), folders or globs
    #[arg(value_name = "PATH", default_value = "scenarios")]
    paths: Vec<PathBuf>,
    /// The Calico version whose rules hold for bare manifests, as calico/v3.32
    #[arg(long, value_name = "PROFILE", default_value_t)]
    profile: Profile,
    /// Print versioned JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// If the output cannot be written.
pub(super) fn check(args: &Args, out: &mut dyn Write) -> io::Result<Exit> {
    let selected = select(&args.paths);
    for (path, why) in &selected.missing {
        eprintln!("error: {}: {why}", path.display());
    }
    let mut exit = if selected.missing.is_empty() {
        Exit::Pass
    } else {
        Exit::BadInput
    };
    let mut results = Vec::new();
    for file in &selected.files {
        match check_one(file, args.profile) {
            Ok(what) => {
                results.push(json!({ "file": file.display().to_string(), "ok": true, "holds": what }));
                if !args.json {
                    writeln!(out, "{}: ok  {what}", file.display())?;
                }
            }
            Err(diagnostics) => {
                let lines: Vec<_> = diagnostics.iter().map(json_of).collect();
                results.push(json!({ "file": file.display().to_string(), "ok": false, "diagnostics": lines }));
                exit = exit.or(refuse(&diagnostics));
                if !args.json {
                    writeln!(out, "{}: {} wrong", file.display(), diagnostics.len())?;
                }
            }
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&json!({ "schema": "overlab.dev/check/v1", "files": results }))?;
        writeln!(out, "{text}")?;
    }
    Ok(exit)
}

/// What a file holds, in a few words.
fn check_one(file: &Path, profile: Profile) -> Result<String, Vec<Diagnostic>> {
    let written = open(&[file])?;
    if written.is_scenario() {
        let variants = written.variants();
        let model = written.resolve()?.model;
        for variant in &variants {
            load_variant(file, Some(variant))?;
        }
        let claims: usize = model
            .expectations
            .iter()
            .map(|e| e.claims.len() + e.reverse.iter().flatten().count())
            .sum();
        let variants = match variants.len() {
            0 => String::new(),
            count => format!(", {count} variants"),
        };
        return Ok(format!(
            "scenario {}: {} nodes, {} workloads, {} flows, {claims} claims{variants}",
            model.name,
            model.nodes.len(),
            model.workloads.len(),
            model.flows.len()
        ));
    }
    let cluster = written.cluster(profile)?.cluster;
    let (pools, nodes, blocks) = (cluster.pools().len(), cluster.nodes().len(), cluster.blocks().len());
    Ok(format!("manifests: {pools} pools, {nodes} nodes, {blocks} blocks"))
}

fn json_of(diagnostic: &Diagnostic) -> serde_json::Value {
    let at = diagnostic.place.excerpt.as_ref();
    json!({
        "code": diagnostic.code,
        "message": diagnostic.message,
        "line": at.map(|at| at.line),
        "column": at.map(|at| at.column),
        "text": at.map(|at| &at.text),
        "why": diagnostic.why,
        "help": diagnostic.help,
    })
}
