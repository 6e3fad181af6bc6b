//! What holds for the whole run: name, profile, seed, duration, backends, accepted lints, whose rules tunnels follow.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use overlab_dataplane::calico::{Profile, UnknownProfile};
use overlab_dataplane::encap::Wire;
use overlab_dataplane::fields::{Fields, Refusal, Wrong, integer, line, text, word};
use serde_json::Value;

use crate::scenario::lint;
use crate::scenario::model::{AcceptedLint, BackendKind};
use crate::scenario::quantity;

/// What holds for the whole run.
pub(super) struct Run {
    pub(super) profile: Profile,
    pub(super) seed: u64,
    pub(super) duration: Option<Duration>,
    pub(super) backends: BTreeSet<BackendKind>,
    pub(super) accepted_lints: Vec<AcceptedLint>,
    pub(super) wire: Wire,
}

/// Reads `metadata`: name and title.
pub(super) fn metadata(fields: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> (Arc<str>, Option<String>) {
    let name = fields.require("name", refusals, name);
    let title = fields.parse("title", refusals, line);
    for (_, field, value) in fields.entries("labels", refusals) {
        if let Err(wrong) = text(value) {
            refusals.push(wrong.at(field, value));
        }
    }
    (name.unwrap_or_default().into(), title.map(str::to_owned))
}

fn name(value: &Value) -> Result<&str, Wrong> {
    line(value).and_then(|name| {
        if name.trim().is_empty() {
            Err(Wrong::expected("a name"))
        } else {
            Ok(name)
        }
    })
}

/// Reads the keys of `spec` that hold for the whole run.
pub(super) fn run(spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> Run {
    Run {
        profile: spec.parse("profile", refusals, profile).unwrap_or_default(),
        seed: spec.parse("seed", refusals, |v| integer(v, 0, u64::MAX)).unwrap_or(1),
        duration: spec.parse("duration", refusals, duration),
        backends: spec
            .parse("backends", refusals, backends)
            .unwrap_or([BackendKind::Sim, BackendKind::Netns].into()),
        accepted_lints: accepted_lints(spec, refusals),
        wire: spec.parse("wire", refusals, |value| word(value, &WIRES)).unwrap_or_default(),
    }
}

fn profile(value: &Value) -> Result<Profile, Wrong> {
    let list = || Profile::ALL.map(|profile| format!("`{profile}`")).join(" and ");
    text(value)?.parse().map_err(|UnknownProfile { name, near }| {
        let wrong = Wrong::rule("K-VALUE", format!("unknown profile {name:?}"));
        match near {
            Some(near) => wrong.help(format!("did you mean `{near}`?")),
            None => wrong.help(format!("the profiles are {}", list())),
        }
    })
}

const WIRES: [(&str, Wire); 2] = [("linux", Wire::Linux), ("rfc", Wire::Rfc)];

fn duration(value: &Value) -> Result<Duration, Wrong> {
    match quantity::duration(value)? {
        Duration::ZERO => Err(Wrong::expected("a time above 0s").why("nothing is sent in a run of no length")),
        duration => Ok(duration),
    }
}

fn backends(value: &Value) -> Result<BTreeSet<BackendKind>, Wrong> {
    let expected = || Wrong::expected("a list of `sim` and `netns`");
    let words = [("sim", BackendKind::Sim), ("netns", BackendKind::Netns)];
    let items = value.as_array().filter(|items| !items.is_empty()).ok_or_else(expected)?;
    let mut backends = BTreeSet::new();
    for item in items {
        if !backends.insert(word(item, &words)?) {
            let wrong = Wrong::rule("K-DUPLICATE", format!("the backend {item} is there twice"));
            return Err(wrong.help("name each backend once"));
        }
    }
    Ok(backends)
}

/// Lints that the author accepts, each with the reason, so that a reader need not guess, and those that must be there.
fn accepted_lints(spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> Vec<AcceptedLint> {
    let mut accepted = Vec::new();
    for (field, value) in spec.items("allow", refusals) {
        let mut entry = Fields::new(value, field, refusals);
        let lint = entry.require("lint", refusals, lint_id);
        entry.require("reason", refusals, name);
        let field = entry.field("lint");
        entry.finish(refusals);
        accepted.extend(lint.map(|lint| AcceptedLint {
            lint,
            expected: false,
            field,
        }));
    }
    for (field, value) in spec.items("lints", refusals) {
        match lint_id(value) {
            Ok(lint) => accepted.push(AcceptedLint {
                lint,
                expected: true,
                field,
            }),
            Err(wrong) => refusals.push(wrong.at(field, value)),
        }
    }
    accepted
}

fn lint_id(value: &Value) -> Result<&'static str, Wrong> {
    let text = text(value)?;
    lint::id(text).map_err(|near| {
        let wrong = Wrong::rule("K-VALUE", format!("no lint is called {text:?}"));
        match near {
            Some(near) => wrong.help(format!("did you mean `{near}`?")),
            None => wrong.help("`overlab check --list-lints` shows them all"),
        }
    })
}
