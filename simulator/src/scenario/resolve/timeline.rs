//! The timeline: what changes during a run, and when. Names and times are read first, since windows speak of them; what the
//! entries do follows once everybody is known whom they may be about.

use std::sync::Arc;
use std::time::Duration;

use overlab_dataplane::Instant;
use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, text};
use serde_json::Value;

use super::names::Names;
use crate::scenario::quantity::duration;

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Something to packets on their way.
    Fault,
    /// Other wires.
    Set,
    /// Fields of one object.
    Patch,
    /// Whole objects.
    Apply,
    /// An object goes.
    Delete,
    /// A machine becomes a node of the cluster.
    Node,
    /// calico-node stops for a while.
    Agent,
    /// A workload moves, or is made anew.
    Workload,
}

impl What {
    const ALL: [(&'static str, What); 8] = [
        ("fault", What::Fault),
        ("set", What::Set),
        ("patch", What::Patch),
        ("apply", What::Apply),
        ("delete", What::Delete),
        ("node", What::Node),
        ("agent", What::Agent),
        ("workload", What::Workload),
    ];

    /// Whether it changes what the datastore holds.
    fn changes_objects(self) -> bool {
        matches!(self, What::Patch | What::Apply | What::Delete | What::Node)
    }

    /// Whether it has an end.
    fn ends(self) -> bool {
        matches!(self, What::Fault | What::Set | What::Agent)
    }
}

/// An entry of the timeline.
pub(super) struct Entry<'v> {
    pub(super) name: Arc<str>,
    pub(super) at: Instant,
    pub(super) until: Option<Instant>,
    pub(super) field: FieldRef,
    /// What it does, and to what.
    pub(super) what: Option<(What, &'v Value)>,
    /// How nodes come to know of it.
    pub(super) rollout: Option<&'v Value>,
}

/// What is set when.
pub(super) struct Setting<'v> {
    /// The event's name.
    pub(super) event: Arc<str>,
    pub(super) path: &'v str,
    pub(super) value: &'v Value,
    pub(super) field: FieldRef,
    pub(super) from: Instant,
    pub(super) until: Option<Instant>,
}

/// Reads names and times of `timeline`.
pub(super) fn read<'v>(spec: &mut Fields<'v>, names: &mut Names, refusals: &mut Vec<Refusal>) -> Vec<Entry<'v>> {
    let items = spec.items("timeline", refusals);
    let entries = items.into_iter();
    entries
        .map(|(field, value)| read_one(Fields::new(value, field, refusals), names, refusals))
        .collect()
}

fn read_one<'v>(mut fields: Fields<'v>, names: &mut Names, refusals: &mut Vec<Refusal>) -> Entry<'v> {
    let field = fields.at().clone();
    let name = fields.require("name", refusals, text).unwrap_or_default();
    if !name.is_empty() {
        names.claim("event", name, &fields.field("name"), refusals);
    }
    let at = fields.require("at", refusals, duration).unwrap_or_default();
    let lasting = fields.parse("for", refusals, |value| match duration(value)? {
        Duration::ZERO => Err(Wrong::expected("a time above 0s").why("what lasts no time changes nothing")),
        lasting => Ok(lasting),
    });
    let at = Instant::ZERO.saturating_add(at);
    let mut what = None;
    for (key, kind) in What::ALL {
        match (fields.value(key), what) {
            (Some(value), None) => what = Some((kind, value)),
            (Some(_), Some(_)) => {
                let refusal = Refusal::new("E-EVENT", fields.field(key), "an event does one thing").at_key();
                refusals.push(refusal.help("make two entries of it"));
            }
            (None, _) => {}
        }
    }
    let rollout = fields.value("rollout");
    match what {
        None => refusals.push(
            Refusal::new("E-EVENT", field.clone(), format!("event `{name}` does nothing"))
                .help("say what happens: `patch`, `apply`, `delete`, `fault`, `set`, `agent`, `node` or `workload`"),
        ),
        Some((kind, _)) if lasting.is_some() && !kind.ends() => refusals.push(
            Refusal::new("E-EVENT", fields.field("for"), "this stays as it is then")
                .at_key()
                .why("only `fault`, `set` and `agent` are undone at their end")
                .help("leave `for` out, and add a later event that sets it back"),
        ),
        Some((kind, _)) if rollout.is_some() && !kind.changes_objects() => refusals.push(
            Refusal::new("E-EVENT", fields.field("rollout"), "no node has to learn of this")
                .at_key()
                .why("nodes learn of `patch`, `apply`, `delete` and `node`, each when the datastore tells it")
                .help("remove `rollout`"),
        ),
        Some(_) => {}
    }
    fields.finish(refusals);
    Entry {
        name: name.into(),
        at,
        until: lasting.map(|lasting| at.saturating_add(lasting)),
        field,
        what,
        rollout,
    }
}

impl<'v> Entry<'v> {
    pub(super) fn at_key(&self, key: &str) -> FieldRef {
        FieldRef {
            origin: self.field.origin,
            path: self.field.path.key(key),
        }
    }

    /// Where what it does is written.
    pub(super) fn place(&self) -> FieldRef {
        let key = |(what, _): &(What, _)| What::ALL.iter().find(|(_, kind)| kind == what).map(|(key, _)| *key);
        self.what
            .as_ref()
            .and_then(key)
            .map_or_else(|| self.field.clone(), |key| self.at_key(key))
    }

    /// Refuses an entry that comes when nobody sends any more.
    pub(super) fn check_end(&self, end: Instant, refusals: &mut Vec<Refusal>) {
        if self.at >= end {
            refusals.push(
                Refusal::new("E-EVENT", self.at_key("at"), format!("the run has ended by then, at {end}"))
                    .why("nothing is sent any more that it could change")
                    .help("use an earlier time, or a longer `duration`"),
            );
        }
        if self.until.is_some_and(|until| until > end) {
            refusals.push(
                Refusal::new(
                    "E-EVENT",
                    self.at_key("for"),
                    format!("it lasts beyond the run, which ends at {end}"),
                )
                .why("its end would never be seen")
                .help("leave `for` out, shorten it, or use a longer `duration`"),
            );
        }
    }

    /// What it sets.
    pub(super) fn settings(&self, refusals: &mut Vec<Refusal>) -> Vec<Setting<'v>> {
        let Some((What::Set, value)) = self.what else {
            return Vec::new();
        };
        let Some(map) = value.as_object() else {
            refusals.push(Wrong::expected("a mapping from path to value").at(self.at_key("set"), value));
            return Vec::new();
        };
        let setting = |(path, value): (&'v String, &'v Value)| {
            let set = self.at_key("set");
            Setting {
                event: self.name.clone(),
                path: path.as_str(),
                value,
                field: FieldRef {
                    path: set.path.key(path),
                    ..set
                },
                from: self.at,
                until: self.until,
            }
        };
        map.iter().map(setting).collect()
    }
}
