//! Names: their alphabet, and that no two things share one.

use std::collections::BTreeMap;

use overlab_dataplane::fields::{FieldRef, Refusal};

/// The longest name, in characters: that of a DNS label.
const LONGEST: usize = 63;

/// The names taken by nodes, workloads, hosts and underlays, which share one space since expectations name them all.
#[derive(Default)]
pub(super) struct Names {
    taken: BTreeMap<String, (&'static str, FieldRef)>,
}

impl Names {
    /// Takes a name for a thing of a kind, as `node`.
    pub(super) fn claim(&mut self, kind: &'static str, name: &str, field: &FieldRef, refusals: &mut Vec<Refusal>) {
        check(kind, name, field, refusals);
        if let Some((other, first)) = self.taken.get(name) {
            refusals.push(
                Refusal::new(
                    "E-NAME",
                    field.clone(),
                    format!("{kind} `{name}` has the name of {} {other}", article(kind, other)),
                )
                .at_key()
                .why("expectations name nodes, workloads, hosts and underlays, so no two of them share a name")
                .help(format!("rename one of them, as `{name}-2`"))
                .related(first.clone(), format!("the other `{name}`")),
            );
            return;
        }
        self.taken.insert(name.to_owned(), (kind, field.clone()));
    }
}

fn article(kind: &str, other: &str) -> &'static str {
    match other {
        _ if kind == other => "another",
        "event" => "an",
        _ => "a",
    }
}

/// Refuses a name that could not be told from a path, a pattern or a window.
pub(in crate::scenario) fn check(kind: &str, name: &str, field: &FieldRef, refusals: &mut Vec<Refusal>) {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.chars().all(good) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || name.len() > LONGEST {
        refusals.push(
            Refusal::new("E-NAME", field.clone(), format!("{name:?} cannot be the name of a {kind}"))
                .at_key()
                .why("`/`, `@`, `*`, `+` and blanks mean something in expectations")
                .help(format!(
                    "use letters, digits, `-`, `_` and `.`, a letter or digit first, at most {LONGEST} characters"
                )),
        );
    }
}
