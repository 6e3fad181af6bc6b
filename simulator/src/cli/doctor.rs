//! `overlab doctor`: which backends work on this host, and the remedy for what does not.

use std::io::{self, Write};

use serde_json::json;

use super::Exit;

/// Says which backends work on this host, and the remedy for each that does not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  overlab doctor --json")]
pub(super) struct Args {
    /// Print versioned JSON
    #[arg(long)]
    json: bool,
}

/// One thing that this host has, or has not.
struct Finding {
    name: String,
    available: bool,
    detail: String,
    remedy: String,
}

/// Runs the verb.
///
/// # Errors
/// If the output cannot be written.
pub(super) fn doctor(args: &Args, out: &mut dyn Write) -> io::Result<Exit> {
    let netns = netns();
    let exit = if netns.available { Exit::Pass } else { Exit::Inconclusive };
    let sim = Finding {
        name: "backend sim".to_owned(),
        available: true,
        detail: "virtual time, needs no rights".to_owned(),
        remedy: String::new(),
    };
    let findings: Vec<_> = [sim, netns].into_iter().chain(capabilities()).collect();
    if args.json {
        let list: Vec<_> = findings
            .iter()
            .map(|f| json!({ "name": f.name, "available": f.available, "detail": f.detail, "remedy": f.remedy }))
            .collect();
        let text = serde_json::to_string_pretty(&json!({ "schema": "overlab.dev/doctor/v1", "findings": list }))?;
        writeln!(out, "{text}")?;
        return Ok(exit);
    }
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    for Finding {
        name,
        available,
        detail,
        remedy,
    } in &findings
    {
        writeln!(out, "{}  {name:width$}  {detail}", if *available { "yes" } else { "no " })?;
        if !available && !remedy.is_empty() {
            writeln!(out, "     {:width$}  try: {remedy}", "")?;
        }
    }
    Ok(exit)
}

#[cfg(target_os = "linux")]
fn netns() -> Finding {
    use crate::backend::BackendError;
    use crate::backend::netns::Netns;
    let name = "backend netns".to_owned();
    match Netns::new() {
        Ok(_) => Finding {
            name,
            available: true,
            detail: "real Linux stacks in namespaces".to_owned(),
            remedy: String::new(),
        },
        Err(BackendError::Unavailable { reason, remedy }) => Finding {
            name,
            available: false,
            detail: reason,
            remedy,
        },
        Err(error @ BackendError::System { .. }) => Finding {
            name,
            available: false,
            detail: error.to_string(),
            remedy: "run as root".to_owned(),
        },
    }
}

#[cfg(target_os = "linux")]
fn capabilities() -> Vec<Finding> {
    let capabilities = crate::backend::netns::capabilities().into_iter();
    capabilities
        .map(|c| Finding {
            name: c.name.to_owned(),
            available: c.available,
            detail: c.detail,
            remedy: c.remedy,
        })
        .collect()
}

#[cfg(not(target_os = "linux"))]
fn netns() -> Finding {
    Finding {
        name: "backend netns".to_owned(),
        available: false,
        detail: "network namespaces are Linux's".to_owned(),
        remedy: "use a Linux host".to_owned(),
    }
}

#[cfg(not(target_os = "linux"))]
fn capabilities() -> Vec<Finding> {
    Vec::new()
}
