//! Variants: what-if inside one file. A variant changes the tree as it is written, before anything is resolved, so that all
//! that follows knows only one scenario.

use overlab_dataplane::fields::{FieldPath, FieldRef, Fields, Refusal, Segment, boolean, suggestion};
use serde_json::{Value, json};

use super::diagnostic::Diagnostic;
use super::file::{Document, Written};
use super::resolve::check_name;
use super::tree::{Patch, append, put};
use super::yaml::{Positions, Span};

/// Objects that a cluster has without anybody writing them.
pub(super) const ALWAYS_THERE: [&str; 3] = ["Node", "FelixConfiguration", "BGPConfiguration"];
/// The API version of Calico's objects.
pub(super) const CALICO: &str = "projectcalico.org/v3";

/// A variant as written.
struct Variant<'v> {
    set: Vec<(&'v str, FieldRef, &'v Value)>,
    /// Whether its expectations come after the scenario's own, rather than instead of them.
    inherit: bool,
    field: FieldRef,
}

fn read<'v>(mut fields: Fields<'v>, refusals: &mut Vec<Refusal>) -> Variant<'v> {
    let set = fields.entries("set", refusals);
    fields.items("expect", refusals);
    fields.items("lints", refusals);
    let inherit = fields.parse("inherit", refusals, boolean).unwrap_or(false);
    let field = fields.at().clone();
    fields.finish(refusals);
    Variant { set, inherit, field }
}

/// Refuses variants whose keys are wrong, whichever of them is run.
pub(super) fn check(spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) {
    for (name, field, value) in spec.entries("variants", refusals) {
        check_name("variant", name, &field, refusals);
        read(Fields::new(value, field, refusals), refusals);
    }
}

impl Written {
    /// The names of the scenario's variants, in file order.
    pub fn variants(&self) -> Vec<String> {
        let variants = self
            .scenario
            .as_ref()
            .and_then(|d| d.value.get("spec")?.get("variants")?.as_object());
        variants.into_iter().flat_map(|map| map.keys().cloned()).collect()
    }

    /// The scenario as one of its variants has it; without a name, as it is.
    ///
    /// # Errors
    /// If there is no such variant, or if it changes what is not there.
    pub fn with_variant(mut self, name: Option<&str>) -> Result<Written, Vec<Diagnostic>> {
        let Some(name) = name else { return Ok(self) };
        let mut refusals = Vec::new();
        self.is_variant = true;
        self.apply(name, &mut refusals);
        match refusals.is_empty() {
            true => Ok(self),
            false => Err(self.sources.diagnostics(&refusals)),
        }
    }

    fn apply(&mut self, name: &str, refusals: &mut Vec<Refusal>) {
        let all = self.root().path.key("spec").key("variants");
        let root = FieldRef {
            path: all.clone(),
            ..self.root()
        };
        let variants = self
            .scenario
            .as_mut()
            .and_then(|document| document.value.get_mut("spec")?.get_mut("variants"));
        let written = variants.map_or(Value::Null, Value::take);
        let Some(value) = written.get(name) else {
            let known: Vec<_> = written.as_object().into_iter().flat_map(|map| map.keys()).collect();
            let field = FieldRef {
                path: all.key(name),
                ..root
            };
            self.sources.add_command(&[(field.clone(), "--variant", name)]);
            let refusal = Refusal::new("E-VARIANT", field, format!("no variant is called {name:?}"));
            refusals.push(match suggestion(name, known.iter().map(|key| key.as_str())) {
                Some(near) => refusal.help(format!("did you mean `{near}`?")),
                None => refusal.help("name one of the scenario's `variants`"),
            });
            return;
        };
        let field = FieldRef {
            path: all.key(name),
            ..root
        };
        let before = refusals.len();
        let variant = read(Fields::new(value, field, refusals), refusals);
        if refusals.len() > before {
            return;
        }
        for (path, field, new) in &variant.set {
            if let Err(refusal) = self.set(path, field, new) {
                refusals.push(*refusal);
            }
        }
        self.replace("lints", false, value, &variant.field);
        self.replace("expect", variant.inherit, value, &variant.field);
    }

    /// Puts a variant's own list in the place of the scenario's, or behind it.
    fn replace(&mut self, key: &'static str, behind: bool, variant: &Value, at: &FieldRef) {
        let Some(new) = variant.get(key) else { return };
        let field = FieldRef {
            path: at.path.key(key),
            ..at.clone()
        };
        let (span, positions) = self.written_at(&field);
        let patch = Patch {
            value: new,
            positions: &positions,
            key: span,
        };
        let Some(document) = &mut self.scenario else { return };
        let base = self.sources.positions_mut(document.origin);
        let path = format!("spec.{key}");
        let list = document.value.get_mut("spec").and_then(|spec| spec.get_mut(key));
        let places = base.get_mut(&FieldPath::dotted(&path).0);
        match (list, places) {
            (Some(list), Some(places)) if behind => append(list, places, patch),
            _ => drop(put(&mut document.value, base, &path, patch)),
        }
    }

    /// Puts one value of `set` where its path leads: into `spec`, or as `Kind/name.path` into a manifest.
    fn set(&mut self, path: &str, field: &FieldRef, new: &Value) -> Result<(), Box<Refusal>> {
        let (key, positions) = self.written_at(field);
        let patch = Patch {
            value: new,
            positions: &positions,
            key,
        };
        if path.split('.').any(str::is_empty) {
            let refusal = Refusal::new("E-VARIANT", field.clone(), format!("{path:?} is no path")).at_key();
            return Err(Box::new(
                refusal.help("write names with dots between them, as `underlay.main.mtu`"),
            ));
        }
        let (document, path) = match path.contains('/') {
            true => {
                let (place, rest) = self.manifest(path, field, key)?;
                (self.manifests.get_mut(place), rest)
            }
            false => (self.scenario.as_mut(), format!("spec.{path}")),
        };
        let Some(document) = document else { return Ok(()) };
        let places = self.sources.positions_mut(document.origin);
        let before = document.value.clone();
        put(&mut document.value, places, &path, patch).map_err(|no_mapping| {
            let at = no_mapping.at.strip_prefix("spec.").unwrap_or(&no_mapping.at);
            let refusal = Refusal::new(
                "E-VARIANT",
                field.clone(),
                format!("`{at}` is no mapping, so nothing in it can be set"),
            );
            Box::new(
                refusal
                    .at_key()
                    .help("set it as a whole: lists are replaced, not changed in part"),
            )
        })?;
        if document.value == before {
            let refusal = Refusal::new(
                "E-VARIANT",
                field.clone(),
                "this changes nothing: it is so without the variant",
            )
            .at_key();
            return Err(Box::new(refusal.help("set another value, or remove the line")));
        }
        Ok(())
    }

    /// The place of the manifest that a path `Kind/name.rest` is about, and the rest. What every cluster has is made where
    /// nobody wrote it.
    fn manifest(&mut self, path: &str, field: &FieldRef, key: Span) -> Result<(usize, String), Box<Refusal>> {
        let names: Vec<String> = self.manifests.iter().map(|document| name_of(&document.value)).collect();
        let rest_after = |name: &str| path.strip_prefix(name)?.strip_prefix('.').map(str::to_owned);
        let found = names
            .iter()
            .enumerate()
            .filter(|(_, name)| rest_after(name).is_some())
            .max_by_key(|(_, name)| name.len());
        if let Some((place, name)) = found {
            let rest = rest_after(name).unwrap_or_default();
            return Ok((place, rest));
        }
        let (kind, after) = path.split_once('/').unwrap_or((path, ""));
        match after
            .find(".spec.")
            .or_else(|| after.find(".metadata."))
            .or(after.strip_suffix(".spec").map(str::len))
        {
            Some(end) if ALWAYS_THERE.contains(&kind) => {
                let value = json!({"apiVersion": CALICO, "kind": kind, "metadata": {"name": &after[..end]}});
                let origin = self.sources.add_beside(field.origin, Positions::at(key));
                self.manifests.push(Document { origin, value });
                if kind == "Node" {
                    self.completed.push(origin);
                }
                Ok((self.manifests.len() - 1, after[end + 1..].to_owned()))
            }
            Some(_) | None => Err(Box::new(unknown(path, field, &names))),
        }
    }

    /// The key that a field is written under, and the places in its value.
    pub(super) fn written_at(&self, field: &FieldRef) -> (Span, Positions) {
        let positions = self.sources.positions(field.origin);
        let key = positions.locate(&field.path.0, true);
        let parent = positions.get(field.path.0.split_last().map_or(&[], |(_, parent)| parent));
        let found = match field.path.0.last() {
            Some(Segment::Key(name)) => parent.and_then(|parent| parent.entry(name)),
            Some(Segment::Index(_)) | None => None,
        };
        found.map_or_else(|| (key, Positions::at(key)), |(key, positions)| (key, positions.clone()))
    }
}

/// A manifest's kind and name, with a slash between them.
pub(super) fn name_of(manifest: &Value) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = text(manifest.get("metadata").and_then(|metadata| metadata.get("name")));
    format!("{}/{name}", text(manifest.get("kind")))
}

fn unknown(path: &str, field: &FieldRef, names: &[String]) -> Refusal {
    let wanted = path.split(".spec").next().unwrap_or(path);
    let refusal = Refusal::new("E-VARIANT", field.clone(), format!("no manifest is called `{wanted}`"))
        .at_key()
        .why("`Kind/name.path` names a manifest of this file, and a field in it");
    match suggestion(wanted, names.iter().map(String::as_str)) {
        Some(near) => refusal.help(format!("did you mean `{near}`?")),
        None if names.is_empty() => refusal.help("the file holds no manifests"),
        None => refusal.help(format!("the manifests are {}", names.join(", "))),
    }
}
