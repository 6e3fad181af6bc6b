//! `overlab check`: reads scenarios and bare manifests, and says all that is wrong with them. Nothing is run.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::builder::ArgPredicate;
use overlab_dataplane::calico::Profile;
use serde_json::{Value, json};

use super::{Exit, refuse, refuse_missing};
use crate::run::select_manifests;
use crate::scenario::lint::LINTS;
use crate::scenario::{Diagnostic, Loaded, LoadedCluster, Place, Severity, Written, load_variant, open};

/// Parses and validates scenarios and bare Calico manifests.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  overlab check --update now.yaml next.yaml")]
pub(super) struct Args {
    /// Scenario or manifest files (YAML or JSON streams), folders or globs: each file by itself, but all manifests of a folder
    /// together, as one datastore; `-` is standard input
    #[arg(
        value_name = "PATH",
        default_value = "scenarios",
        default_value_if("update", ArgPredicate::IsPresent, None)
    )]
    paths: Vec<PathBuf>,
    /// Judge the files as applied to a cluster that holds these manifests already: objects of the same kind and name are updates
    #[arg(long, value_name = "OLD")]
    update: Vec<PathBuf>,
    /// With --update: objects of OLD that the files do not hold are deleted, as by `kubectl apply --prune`
    #[arg(long, requires = "update")]
    prune: bool,
    /// Whose rules hold for bare manifests: calico/v3.22 (up to v3.22), calico/v3.32 (v3.23 to v3.32), calico/v3.33 (from v3.33 on)
    #[arg(long, value_name = "PROFILE", default_value_t)]
    profile: Profile,
    /// Lints are errors
    #[arg(long)]
    deny_lints: bool,
    /// List all lints, and look at no file
    #[arg(long)]
    list_lints: bool,
    /// Print versioned JSON
    #[arg(long)]
    json: bool,
}

/// A file that nothing is wrong with.
struct Sound {
    /// What it holds, in a few words.
    holds: String,
    /// How many objects of which kind take no part.
    ignored: BTreeMap<String, usize>,
    /// What is probably not meant.
    warnings: Vec<Diagnostic>,
}

/// Runs the verb.
///
/// # Errors
/// If the output cannot be written.
pub(super) fn check(args: &Args, out: &mut dyn Write) -> io::Result<Exit> {
    if args.list_lints {
        return list_lints(out);
    }
    if args.paths.is_empty() {
        tell!("error: nothing is applied to --update's files\n  help: name the files to apply: `overlab check --update OLD NEW`");
        return Ok(Exit::BadInput);
    }
    let mut exit = Exit::default();
    let mut results = Vec::new();
    for Part { name: path, files } in parts(&args.paths, &mut exit) {
        let name = path.display();
        match check_one(&files, args) {
            Ok(sound) => {
                if !args.json {
                    writeln!(out, "{name}: ok  {}", sound.holds)?;
                }
                note_ignored(&path, &sound.ignored);
                sound.warnings.iter().for_each(|warning| tell!("{warning}"));
                if args.deny_lints && !sound.warnings.is_empty() {
                    exit = exit.or(Exit::BadInput);
                }
                let Sound {
                    holds,
                    ignored,
                    warnings,
                } = sound;
                let lints: Vec<_> = warnings.iter().map(json_of).collect();
                results.push(json!({
                    "file": name.to_string(), "ok": true, "holds": holds, "ignored": ignored, "diagnostics": lints,
                }));
            }
            Err(diagnostics) => {
                let list: Vec<_> = diagnostics.iter().map(json_of).collect();
                results.push(json!({ "file": name.to_string(), "ok": false, "diagnostics": list }));
                exit = exit.or(refuse(&diagnostics));
                if !args.json {
                    writeln!(out, "{name}: {} wrong", diagnostics.len())?;
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

/// What is judged at once: a file, or all manifests of a folder.
struct Part {
    name: PathBuf,
    files: Vec<PathBuf>,
}

/// What some paths hold. Paths that mean nothing are told.
fn parts(paths: &[PathBuf], exit: &mut Exit) -> Vec<Part> {
    let mut parts = Vec::new();
    for path in paths {
        let selected = select_manifests(std::slice::from_ref(path));
        *exit = exit.or(refuse_missing(&selected).err().unwrap_or_default());
        let is_manifest = |file: &PathBuf| path.is_dir() && open(&[file]).is_ok_and(|written| !written.is_scenario());
        let (manifests, others): (Vec<_>, Vec<_>) = selected.files.into_iter().partition(is_manifest);
        if !manifests.is_empty() {
            parts.push(Part {
                name: path.clone(),
                files: manifests,
            });
        }
        parts.extend(others.into_iter().map(|file| Part {
            name: file.clone(),
            files: vec![file],
        }));
    }
    parts
}

fn list_lints(out: &mut dyn Write) -> io::Result<Exit> {
    for lint in LINTS {
        writeln!(
            out,
            "{}\n  {}\n  try: {}\n  see: {}",
            lint.id, lint.why, lint.remedy, lint.link
        )?;
    }
    Ok(Exit::Pass)
}

fn note_ignored(file: &Path, ignored: &BTreeMap<String, usize>) {
    if !ignored.is_empty() {
        let kinds: Vec<_> = ignored.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        tell!("note: {}: no part is taken by {}", file.display(), kinds.join(", "));
    }
}

fn check_one(files: &[PathBuf], args: &Args) -> Result<Sound, Vec<Diagnostic>> {
    if !args.update.is_empty() {
        return check_update(files, args);
    }
    let written = open(files)?;
    if let ([file], true) = (files, written.is_scenario()) {
        return check_scenario(file, written);
    }
    let loaded = written.cluster(args.profile)?;
    let LoadedCluster {
        cluster,
        ignored,
        warnings,
        ..
    } = loaded;
    let (pools, nodes, blocks) = (cluster.pools().len(), cluster.nodes().len(), cluster.blocks().len());
    let of = match files.len() {
        1 => String::new(),
        count => format!(" of {count} files"),
    };
    Ok(Sound {
        holds: format!(
            "manifests{of}: {}, {}, {}",
            number(pools, "pool"),
            number(nodes, "node"),
            number(blocks, "block")
        ),
        ignored,
        warnings,
    })
}

/// So many of a thing, as `1 pool` or `2 pools`.
fn number(count: usize, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

/// As many deleted objects are named.
const NAMED: usize = 8;

fn check_update(files: &[PathBuf], args: &Args) -> Result<Sound, Vec<Diagnostic>> {
    let there = open(&args.update)?.manifests();
    let both: Vec<&PathBuf> = args.update.iter().chain(files).collect();
    let written = open(&both)?;
    let new = written.manifests().saturating_sub(there);
    let deleted = written.update(there, args.prune, args.profile)?;
    let (first, rest) = deleted.split_at(deleted.len().min(NAMED));
    let deleted = match (first, rest.len()) {
        ([], _) => String::new(),
        (first, 0) => format!("; deleted: {}", first.join(", ")),
        (first, more) => format!("; deleted: {} and {more} more", first.join(", ")),
    };
    Ok(Sound {
        holds: format!("an update that Calico takes: {}{deleted}", number(new, "document")),
        ignored: BTreeMap::new(),
        warnings: Vec::new(),
    })
}

fn check_scenario(file: &Path, written: Written) -> Result<Sound, Vec<Diagnostic>> {
    let (variants, ignored) = (written.variants(), written.ignored());
    let Loaded { model, mut warnings, .. } = written.resolve()?;
    let mut wrong: Vec<Diagnostic> = Vec::new();
    let mut known = warnings.clone();
    for variant in &variants {
        match load_variant(file, Some(variant)) {
            Ok(loaded) => {
                let found = loaded.warnings.into_iter();
                let new: Vec<_> = found.filter(|one| !known.contains(one)).collect();
                known.extend(new.iter().cloned());
                warnings.extend(new.into_iter().map(|one| Diagnostic {
                    message: format!("in variant {variant}, {}", one.message),
                    ..one
                }));
            }
            Err(diagnostics) => {
                let new: Vec<_> = diagnostics.into_iter().filter(|one| !wrong.contains(one)).collect();
                wrong.extend(new);
            }
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let claims = model
        .expectations
        .iter()
        .map(|e| e.claims.len() + e.reverse.iter().flatten().count());
    let variants = match variants.len() {
        0 => String::new(),
        count => format!(", {}", number(count, "variant")),
    };
    Ok(Sound {
        holds: format!(
            "scenario {}: {}, {}, {}, {}{variants}",
            model.name,
            number(model.nodes.len(), "node"),
            number(model.workloads.len(), "workload"),
            number(model.flows.len(), "flow"),
            number(claims.sum(), "claim")
        ),
        ignored,
        warnings,
    })
}

fn json_of(diagnostic: &Diagnostic) -> Value {
    let mut json = json_place(&diagnostic.place);
    let related = diagnostic.related.as_ref().map(|(place, role)| {
        let mut related = json_place(place);
        related["role"] = json!(role);
        related
    });
    json["code"] = json!(diagnostic.code);
    json["severity"] = json!(match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    });
    json["message"] = json!(diagnostic.message);
    json["why"] = json!(diagnostic.why);
    json["help"] = json!(diagnostic.help);
    json["related"] = json!(related);
    json
}

fn json_place(place: &Place) -> Value {
    let at = place.excerpt.as_ref();
    json!({
        "file": &*place.file,
        "line": at.map(|at| at.line),
        "column": at.map(|at| at.column),
        "text": at.map(|at| &at.text),
    })
}
