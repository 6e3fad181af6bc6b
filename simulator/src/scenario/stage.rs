//! What the timeline makes of the manifests: patched, applied and deleted objects, worked out on the trees as they are written,
//! before anything is resolved. Whether Calico takes them is asked where they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use overlab_dataplane::calico::Deletion;
use overlab_dataplane::fields::{FieldPath, FieldRef, Fields, Origin, Refusal, suggestion, text};
use serde_json::{Value, json};

use super::file::{Document, Written};
use super::quantity::duration;
use super::tree::{Patch, put};
use super::variant::{ALWAYS_THERE, CALICO, name_of};
use super::yaml::Positions;

/// What may change an object. Every key but these two is put into it.
const NAMED_BY: [&str; 2] = ["kind", "name"];

/// The manifests from an event on.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    /// The event's place in `spec.timeline`.
    pub(super) event: usize,
    /// All of them.
    pub(super) manifests: Vec<Document>,
    /// Those that the event made or changed.
    pub(super) changed: Vec<Origin>,
    /// Objects that the event took away.
    pub(super) deleted: Vec<Deletion>,
    /// Nodes without a record, although there are machines of their names.
    pub(super) unrecorded: BTreeSet<String>,
}

/// When, which place in the timeline, and what is written there.
type Event = (Duration, usize, Value);

/// An object: the place of its document, and its own place in a list.
type Slot = (usize, Option<usize>);

impl Written {
    /// Works out the manifests after each event that changes some, in the order of their times.
    pub(super) fn stage(&mut self, refusals: &mut Vec<Refusal>) {
        let mut events = self.events();
        events.sort_by_key(|(at, ..)| *at);
        let mut stage = Stage {
            event: 0,
            manifests: self.manifests.clone(),
            changed: Vec::new(),
            deleted: Vec::new(),
            unrecorded: joining(&events),
        };
        self.unrecorded = stage.unrecorded.clone();
        for (_, event, value) in events {
            stage.event = event;
            stage.changed.clear();
            stage.deleted.clear();
            let before = refusals.len();
            let mut touched = false;
            for (key, what) in value.as_object().into_iter().flatten() {
                let at = self.event_field(event, key);
                touched |= match key.as_str() {
                    "patch" => self.patch(&mut stage, what, &at, refusals),
                    "apply" => self.apply_objects(&mut stage, what, &at, refusals),
                    "delete" => self.delete(&mut stage, what, &at, refusals),
                    "node" => Self::node_event(&mut stage, what, &at, refusals),
                    _ => false,
                };
            }
            if touched && refusals.len() == before {
                self.stages.push(stage.clone());
            }
        }
    }

    /// Times, places and texts of the events; those without a time are refused elsewhere.
    fn events(&self) -> Vec<Event> {
        let timeline = self
            .scenario
            .as_ref()
            .and_then(|d| d.value.get("spec")?.get("timeline")?.as_array());
        let timed = |(place, value): (usize, &Value)| Some((duration(value.get("at")?).ok()?, place, value.clone()));
        timeline.into_iter().flatten().enumerate().filter_map(timed).collect()
    }

    fn event_field(&self, event: usize, key: &str) -> FieldRef {
        let timeline = FieldPath::root().key("spec").key("timeline");
        FieldRef {
            path: timeline.index(event).key(key),
            ..self.root()
        }
    }

    /// Puts `spec` and whatever else is named into one object; what every cluster has is made where nobody wrote it.
    fn patch(&mut self, stage: &mut Stage, patch: &Value, at: &FieldRef, refusals: &mut Vec<Refusal>) -> bool {
        let mut fields = Fields::new(patch, at.clone(), refusals);
        let kind = fields.require("kind", refusals, text);
        let name = fields.require("name", refusals, text);
        let (Some(kind), Some(name)) = (kind, name) else {
            return false;
        };
        if let Some(refusal) = no_patch(patch, name, at) {
            refusals.push(refusal);
            return false;
        }
        let Some(place) = find(&stage.manifests, kind, name).or_else(|| self.make(stage, kind, name, at)) else {
            refusals.push(unknown(stage, kind, name, at));
            return false;
        };
        let document = &stage.manifests[place.0];
        let Some((value, positions)) = self.patched(document, place.1, patch, at) else {
            return false;
        };
        if value == document.value {
            let refusal = Refusal::new("E-EVENT", at.clone(), "the patch changes nothing").at_key();
            let refusal = refusal.why(format!("{kind}/{name} says all of it at that time already"));
            refusals.push(refusal.help("write what is new, or remove the event"));
            return false;
        }
        let old = document.origin;
        let origin = self.sources.add_beside(old, positions);
        // Of a record that loses its addresses nothing is filled in from the wires.
        let loses = patch.pointer("/spec/bgp").is_some_and(Value::is_null);
        if self.completed.contains(&old) && !loses {
            self.completed.push(origin);
        }
        stage.manifests[place.0] = Document { origin, value };
        stage.changed.push(origin);
        true
    }

    /// A document with a patch put into it, or into an item of its list.
    fn patched(&self, document: &Document, item: Option<usize>, patch: &Value, at: &FieldRef) -> Option<(Value, Positions)> {
        let mut value = document.value.clone();
        let mut positions = self.sources.positions(document.origin).clone();
        let (object, way) = match item {
            Some(item) => (
                value.get_mut("items")?.get_mut(item)?,
                FieldPath::root().key("items").index(item),
            ),
            None => (&mut value, FieldPath::root()),
        };
        let places = positions.get_mut(&way.0)?;
        let news = patch.as_object().into_iter().flatten();
        for (key, new) in news.filter(|(key, _)| !NAMED_BY.contains(&key.as_str())) {
            let field = FieldRef {
                path: at.path.key(key),
                ..at.clone()
            };
            let (span, new_positions) = self.written_at(&field);
            let patch = Patch {
                value: new,
                positions: &new_positions,
                key: span,
            };
            // A path of one key leads through nothing.
            drop(put(object, places, key, patch));
        }
        Some((value, positions))
    }

    /// An object that every cluster has, empty as long as nobody says more.
    fn make(&mut self, stage: &mut Stage, kind: &str, name: &str, at: &FieldRef) -> Option<Slot> {
        let is_there = ALWAYS_THERE.contains(&kind) && !name.is_empty() && !stage.unrecorded.contains(name);
        is_there.then(|| {
            let (_, positions) = self.written_at(at);
            let value = json!({"apiVersion": CALICO, "kind": kind, "metadata": {"name": name}});
            let origin = self.sources.add_beside(at.origin, positions);
            if kind == "Node" {
                self.completed.push(origin);
            }
            stage.manifests.push(Document { origin, value });
            (stage.manifests.len() - 1, None)
        })
    }

    /// Puts whole objects in the place of those of their kinds and names, or beside them.
    fn apply_objects(&mut self, stage: &mut Stage, objects: &Value, at: &FieldRef, refusals: &mut Vec<Refusal>) -> bool {
        if objects.as_array().is_some_and(Vec::is_empty) {
            let refusal = Refusal::new("E-EVENT", at.clone(), "nothing is applied").at_key();
            refusals.push(refusal.help("write the manifests, as they are given to `kubectl apply`"));
            return false;
        }
        let objects: Vec<(FieldRef, Value)> = match objects.as_array() {
            Some(items) => {
                let field = |item| FieldRef {
                    path: at.path.index(item),
                    ..at.clone()
                };
                items.iter().enumerate().map(|(i, value)| (field(i), value.clone())).collect()
            }
            None => vec![(at.clone(), objects.clone())],
        };
        let mut keys: BTreeMap<(String, String), FieldRef> = BTreeMap::new();
        let mut news = false;
        for (field, value) in objects {
            let kind = word(value.get("kind")).to_owned();
            let name = word(value.get("metadata").and_then(|metadata| metadata.get("name"))).to_owned();
            if let Some(first) = keys.insert((kind.clone(), name.clone()), field.clone()) {
                let refusal = Refusal::new("E-EVENT", field, format!("{kind}/{name} is applied twice at one time"));
                let refusal = refusal.why("the second would take the place of the first at once");
                refusals.push(refusal.help("keep one of them").related(first, "the first one"));
                return false;
            }
            let there = find(&stage.manifests, &kind, &name);
            news |= there.and_then(|place| object(stage, place)) != Some(&value);
            let positions = self.sources.positions(field.origin).get(&field.path.0).cloned();
            let positions = positions.unwrap_or_else(|| self.written_at(&field).1);
            let origin = self.sources.add_beside(field.origin, positions);
            if let Some(place) = there {
                self.take_out(stage, place);
            }
            if kind == "Node" {
                news |= stage.unrecorded.remove(&name);
            }
            stage.manifests.push(Document { origin, value });
            stage.changed.push(origin);
        }
        if !news {
            let refusal = Refusal::new("E-EVENT", at.clone(), "what is applied is there already, word for word").at_key();
            refusals.push(refusal.help("write what is new, or remove the event"));
        }
        news
    }

    fn delete(&mut self, stage: &mut Stage, what: &Value, at: &FieldRef, refusals: &mut Vec<Refusal>) -> bool {
        let mut fields = Fields::new(what, at.clone(), refusals);
        let kind = fields.require("kind", refusals, text);
        let name = fields.require("name", refusals, text);
        fields.finish(refusals);
        let (Some(kind), Some(name)) = (kind, name) else {
            return false;
        };
        let place = find(&stage.manifests, kind, name);
        let derived = kind == "Node" && !stage.unrecorded.contains(name);
        // An Installation, or an environment, brings pools without a manifest.
        let brought = kind == "IPPool";
        match place {
            Some(place) => self.take_out(stage, place),
            None if derived || brought => {}
            None => {
                refusals.push(unknown(stage, kind, name, at));
                return false;
            }
        }
        if kind == "Node" {
            stage.unrecorded.insert(name.to_owned());
        }
        stage.deleted.push(Deletion {
            kind: kind.into(),
            name: name.into(),
            at: at.clone(),
        });
        true
    }

    /// A node that joins has a record from then on.
    fn node_event(stage: &mut Stage, what: &Value, at: &FieldRef, refusals: &mut Vec<Refusal>) -> bool {
        let Some(name) = what.get("join").and_then(Value::as_str) else {
            return false;
        };
        let joins = stage.unrecorded.remove(name);
        if !joins {
            let refusal = Refusal::new("E-EVENT", at.clone(), format!("{name} is a node of the cluster already")).at_key();
            refusals.push(refusal.help("a node is one from the start unless the first that happens to it is `join`"));
        }
        joins
    }

    /// Takes an object out, with its document if that holds nothing else.
    fn take_out(&mut self, stage: &mut Stage, (place, item): Slot) {
        let Some(item) = item else {
            stage.manifests.remove(place);
            return;
        };
        let document = &mut stage.manifests[place];
        if let Some(items) = document.value.get_mut("items").and_then(Value::as_array_mut) {
            items.remove(item);
        }
        let mut positions = self.sources.positions(document.origin).clone();
        if let Some(places) = positions.get_mut(&FieldPath::root().key("items").0) {
            places.remove_item(item);
        }
        document.origin = self.sources.add_beside(document.origin, positions);
    }
}

/// Nodes that join before anything else happens to their records.
fn joining(events: &[Event]) -> BTreeSet<String> {
    let mut first: BTreeMap<String, bool> = BTreeMap::new();
    for (_, _, value) in events {
        let joins = value
            .get("node")
            .and_then(|node| node.get("join"))
            .map(|name| (word(Some(name)), true));
        let deleted = value.get("delete").map(named).filter(|(kind, _)| *kind == "Node");
        let event = joins.or(deleted.map(|(_, name)| (name, false)));
        if let Some((name, joins)) = event {
            first.entry(name.to_owned()).or_insert(joins);
        }
    }
    first.into_iter().filter_map(|(name, joins)| joins.then_some(name)).collect()
}

fn word(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

fn named(value: &Value) -> (&str, &str) {
    (word(value.get("kind")), word(value.get("name")))
}

/// Why a text is no patch of an object of this name, whatever the object says.
fn no_patch(patch: &Value, name: &str, at: &FieldRef) -> Option<Refusal> {
    let is_news = |(key, new): (&String, &Value)| {
        !NAMED_BY.contains(&key.as_str()) && new.as_object().is_none_or(|fields| !fields.is_empty())
    };
    if !patch.as_object().into_iter().flatten().any(is_news) {
        let refusal = Refusal::new("E-EVENT", at.clone(), "the patch changes nothing").at_key();
        return Some(refusal.help("say what is new: `spec: {KEY: VALUE}`"));
    }
    let renames = |new: &&Value| new.as_str() != Some(name);
    patch.pointer("/metadata/name").filter(renames)?;
    let refusal = Refusal::new("E-EVENT", at.clone(), "an object keeps its name").at_key();
    Some(refusal.help("`delete` it, and `apply` one of the other name"))
}

/// The object at a place.
fn object(stage: &Stage, (place, item): Slot) -> Option<&Value> {
    let value = &stage.manifests.get(place)?.value;
    match item {
        Some(item) => value.get("items")?.get(item),
        None => Some(value),
    }
}

fn find(manifests: &[Document], kind: &str, name: &str) -> Option<Slot> {
    let is_it = |object: &Value| {
        word(object.get("kind")) == kind && word(object.get("metadata").and_then(|metadata| metadata.get("name"))) == name
    };
    manifests.iter().enumerate().find_map(|(place, document)| {
        if is_it(&document.value) {
            return Some((place, None));
        }
        let items = document.value.get("items")?.as_array()?;
        items.iter().position(is_it).map(|item| (place, Some(item)))
    })
}

fn unknown(stage: &Stage, kind: &str, name: &str, at: &FieldRef) -> Refusal {
    let wanted = format!("{kind}/{name}");
    let objects = stage.manifests.iter().flat_map(|document| match document.value.get("items") {
        Some(Value::Array(items)) => items.iter().map(name_of).collect(),
        Some(_) | None => vec![name_of(&document.value)],
    });
    let names: Vec<String> = objects.collect();
    let refusal = Refusal::new(
        "E-EVENT",
        at.clone(),
        format!("no manifest is called `{wanted}` at that time"),
    )
    .at_key();
    match suggestion(&wanted, names.iter().map(String::as_str)) {
        Some(near) => refusal.help(format!("did you mean `{near}`?")),
        None if names.is_empty() => refusal.help("the scenario has no manifests; `apply` makes one"),
        None => refusal.help(format!("there are {}; `apply` makes a new one", names.join(", "))),
    }
}
