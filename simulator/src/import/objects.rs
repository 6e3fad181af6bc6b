//! What of a dump takes part, and what is dropped. Secrets never go further than this.

use std::collections::BTreeMap;

use overlab_dataplane::calico::{Reading, Resource};
use overlab_dataplane::fields::{Origin, Refusal, Segment};
use serde_json::{Map, Value, json};

use crate::scenario::{Diagnostic, Written};

/// What kubectl remembers of an earlier state: whole objects, and whatever secrets they once held.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Annotations of Kubernetes Nodes that Calico writes.
const CALICO_ANNOTATION: &str = "projectcalico.org/";

/// The objects of dumps, by what is made of them.
#[derive(Default)]
pub(super) struct Objects {
    /// Manifests of the scenario, by kind and name; those of services with their namespace. A Kubernetes Node gives way to Calico's own of that name.
    pub(super) manifests: BTreeMap<(String, String), Value>,
    /// Kubernetes Nodes, by name, whether or not they are manifests.
    pub(super) kubernetes_nodes: BTreeMap<String, Value>,
    /// Pods and WorkloadEndpoints.
    pub(super) workloads: Vec<Value>,
    /// How many objects of which kind take no part.
    pub(super) left_out: BTreeMap<String, usize>,
    /// How many objects have a key that nobody knows, by kind and path: dumps of newer versions do. It is left out.
    pub(super) unknown_keys: BTreeMap<(String, String), usize>,
}

impl Objects {
    /// Sorts the objects of dumps.
    pub(super) fn sort(written: &Written) -> Result<Objects, Vec<Diagnostic>> {
        let (mut objects, mut refusals) = (Objects::default(), Vec::new());
        for (value, origin) in written.manifest_values() {
            let mut flat = Vec::new();
            flatten(value, &Value::Null, &mut flat);
            // Read once as a whole, for the places of what is wrong; then one by one, for what each is.
            let wrong = Resource::read(value, origin).err().unwrap_or_default();
            refusals.extend(wrong.into_iter().filter(is_fatal));
            flat.into_iter().for_each(|object| objects.add(object));
        }
        let diagnostics = written.sources().diagnostics(&refusals);
        if diagnostics.is_empty() {
            Ok(objects)
        } else {
            Err(diagnostics)
        }
    }

    fn add(&mut self, mut object: Value) {
        let (kind, api) = (text(&object, "/kind").to_owned(), text(&object, "/apiVersion").to_owned());
        let name = text(&object, "/metadata/name").to_owned();
        if ["Pod", "WorkloadEndpoint"].contains(&&*kind) {
            self.workloads.push(object);
            return;
        }
        if kind == "Node" && api == "v1" {
            self.kubernetes_nodes.insert(name.clone(), object.clone());
        }
        if kind == "Secret" || !self.takes_part(&kind, &mut object) {
            *self.left_out.entry(kind).or_default() += 1;
            return;
        }
        strip(&mut object);
        let name = match &*kind {
            "Service" | "EndpointSlice" => qualified(&object, &name),
            _ => name,
        };
        let key = (kind, name);
        let calicos = |value: &Value| text(value, "/apiVersion").starts_with("projectcalico.org/");
        if self
            .manifests
            .get(&key)
            .is_none_or(|first| !calicos(first) && calicos(&object))
        {
            self.manifests.insert(key, object);
        }
    }

    /// Whether an object is read, once the keys that nobody knows are out of it.
    fn takes_part(&mut self, kind: &str, object: &mut Value) -> bool {
        let refusals = Resource::read(object, Origin::default()).err().unwrap_or_default();
        for Refusal { field, .. } in refusals.iter().filter(|refusal| is_unknown_key(refusal)) {
            remove(object, &field.path.0);
            let key = (kind.to_owned(), field.path.to_string());
            *self.unknown_keys.entry(key).or_default() += 1;
        }
        let readings = Resource::read(object, Origin::default()).unwrap_or_default();
        readings.iter().any(|reading| matches!(reading, Reading::Resource(_)))
    }

    /// The objects of a kind.
    pub(super) fn of_kind(&self, kind: &str) -> impl Iterator<Item = (&str, &Value)> {
        let of_kind = self.manifests.iter().filter(move |((known, _), _)| known == kind);
        of_kind.map(|((_, name), value)| (&**name, value))
    }
}

/// Kinds that are not known or not modelled are left out, and so are keys that are not known; all else that is wrong is told.
fn is_fatal(refusal: &Refusal) -> bool {
    let whole_object = refusal.field.path.0.last() == Some(&Segment::Key("kind".to_owned()));
    let left_out = ["K-NOT-MODELLED", "K-UNKNOWN"].contains(&refusal.code) && whole_object;
    !left_out && !is_unknown_key(refusal)
}

fn is_unknown_key(refusal: &Refusal) -> bool {
    refusal.code == "K-UNKNOWN" && refusal.at_key
}

/// Takes out what is at a path.
fn remove(value: &mut Value, path: &[Segment]) {
    match (path, value) {
        ([Segment::Key(key)], Value::Object(map)) => drop(map.remove(key)),
        ([Segment::Key(key), rest @ ..], Value::Object(map)) => {
            map.get_mut(key).into_iter().for_each(|inner| remove(inner, rest))
        }
        ([Segment::Index(index), rest @ ..], Value::Array(items)) => {
            items.get_mut(*index).into_iter().for_each(|inner| remove(inner, rest));
        }
        _ => {}
    }
}

/// Every object of a list, and of lists in it, with the kind and API version that the list implies.
fn flatten(value: &Value, implied: &Value, flat: &mut Vec<Value>) {
    let kind = text(value, "/kind");
    match (kind.strip_suffix("List"), value.get("items").and_then(Value::as_array)) {
        (Some(kind), Some(items)) => {
            let implied = match kind {
                "" => Value::Null,
                kind => json!({ "apiVersion": value.get("apiVersion"), "kind": kind }),
            };
            items.iter().for_each(|item| flatten(item, &implied, flat));
        }
        _ => {
            let mut object = Map::new();
            object.extend(
                implied
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(key, value)| (key.clone(), value.clone())),
            );
            object.extend(
                value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(key, value)| (key.clone(), value.clone())),
            );
            flat.push(Value::Object(object));
        }
    }
}

/// Takes away what the API server adds, and what has no part in any decision.
fn strip(object: &mut Value) {
    let kubernetes_node = text(object, "/kind") == "Node" && text(object, "/apiVersion") == "v1";
    let addresses = object.pointer("/status/addresses").cloned();
    let ranges = object.pointer("/spec/podCIDRs").cloned();
    let Some(map) = object.as_object_mut() else { return };
    map.remove("status");
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| ["name", "namespace", "labels", "annotations"].contains(&&**key));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|key, _| key != LAST_APPLIED && (!kubernetes_node || key.starts_with(CALICO_ANNOTATION)));
        }
    }
    if kubernetes_node {
        map.insert(
            "spec".to_owned(),
            ranges.map_or_else(|| json!({}), |ranges| json!({ "podCIDRs": ranges })),
        );
        map.extend(addresses.map(|addresses| ("status".to_owned(), json!({ "addresses": addresses }))));
    }
}

/// A name in the namespace of an object.
pub(super) fn qualified(object: &Value, name: &str) -> String {
    match text(object, "/metadata/namespace") {
        "" => format!("default/{name}"),
        namespace => format!("{namespace}/{name}"),
    }
}

/// The text at a pointer; empty if there is none.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
