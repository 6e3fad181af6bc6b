//! The DaemonSet `calico-node`: the environment that Calico starts in, and what its readiness waits for. Of any other DaemonSet
//! nothing is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::CalicoConfig;
use super::reading::open;
use crate::fields::{FieldRef, Fields, Refusal, text};

/// How calico-node is started.
///
/// Source: Calico manifests/calico.yaml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalicoNode {
    /// Its name, which is `calico-node`.
    pub name: Arc<str>,
    /// Where it is declared.
    pub at: FieldRef,
    /// What its readiness waits for.
    pub readiness: Readiness,
    env_at: FieldRef,
    variables: BTreeMap<Arc<str>, (Source, FieldRef)>,
}

/// Where the value of a variable comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Text(Arc<str>),
    ConfigMap { name: Arc<str>, key: Arc<str>, optional: bool },
}

/// What the readiness of calico-node waits for.
///
/// Source: Calico node/pkg/health/health.go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// BIRD and its IPv4 sessions (`--bird-ready`).
    pub bird: bool,
    /// BIRD and its IPv6 sessions (`--bird6-ready`).
    pub bird6: bool,
    /// Felix (`--felix-ready`).
    pub felix: bool,
    /// Where that is asked for.
    pub at: FieldRef,
}

/// The environment of calico-node, with every reference resolved. An empty text counts as not set, as in Calico.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Environment {
    pub(super) at: FieldRef,
    variables: BTreeMap<Arc<str>, (Arc<str>, FieldRef)>,
}

const NAME: &str = "calico-node";

impl CalicoNode {
    /// Whether a DaemonSet is the one that is read.
    pub(super) fn is(value: &Value) -> bool {
        value.pointer("/metadata/name").and_then(Value::as_str) == Some(NAME)
    }

    /// Reads the container of its own name; the rest of the object cannot change any result here.
    pub(super) fn read(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> Option<CalicoNode> {
        let mut object = open(value, &at, refusals);
        let mut pod = object.spec.fields("template", refusals).fields("spec", refusals);
        let containers = pod.items("containers", refusals);
        let named = |value: &Value| value.get("name").and_then(Value::as_str) == Some(NAME);
        let Some((container_at, container)) = containers.into_iter().find(|(_, value)| named(value)) else {
            refusals.push(
                Refusal::new("K-MISSING", pod.field("containers"), "there is no container `calico-node`")
                    .help("add the container, with the environment that Calico starts in"),
            );
            return None;
        };
        let mut container = Fields::new(container, container_at, refusals);
        let mut node = CalicoNode {
            name: object.name,
            readiness: readiness(&mut container, refusals),
            env_at: container.field("env"),
            variables: BTreeMap::new(),
            at,
        };
        for (at, entry) in container.items("env", refusals) {
            node.read_variable(Fields::new(entry, at, refusals), refusals);
        }
        Some(node)
    }

    fn read_variable(&mut self, mut entry: Fields<'_>, refusals: &mut Vec<Refusal>) {
        let Some(name) = entry.require("name", refusals, text) else {
            return;
        };
        let mut reference = entry.fields("valueFrom", refusals).fields("configMapKeyRef", refusals);
        let source = match (
            reference.parse("name", refusals, text),
            reference.parse("key", refusals, text),
        ) {
            (Some(name), Some(key)) => Some(Source::ConfigMap {
                name: name.into(),
                key: key.into(),
                optional: reference.value("optional").and_then(Value::as_bool).unwrap_or(false),
            }),
            _ => entry.parse("value", refusals, text).map(|text| Source::Text(text.into())),
        };
        let at = match source {
            Some(Source::ConfigMap { .. }) => reference.field("key"),
            Some(Source::Text(_)) | None => entry.field("value"),
        };
        if let Some(source) = source {
            self.variables.insert(name.into(), (source, at));
        }
    }

    /// Its environment. A variable that refers to a ConfigMap takes the value from there, and its place too.
    pub(super) fn environment(&self, config: Option<&CalicoConfig>, refusals: &mut Vec<Refusal>) -> Environment {
        let mut variables = BTreeMap::new();
        for (variable, (source, at)) in &self.variables {
            match source {
                Source::Text(text) => {
                    variables.insert(variable.clone(), (text.clone(), at.clone()));
                }
                Source::ConfigMap { name, key, optional } => {
                    let map = config.filter(|config| config.name == *name);
                    match map.and_then(|config| config.entry(key)) {
                        Some(entry) => {
                            variables.insert(variable.clone(), entry);
                        }
                        None if *optional => {}
                        None => refusals.push(
                            Refusal::new(
                                "K-UNKNOWN",
                                at.clone(),
                                format!("{variable} refers to `{key}` of ConfigMap `{name}`, which is not there"),
                            )
                            .why("Kubernetes does not start a container whose environment is incomplete")
                            .help(format!("add a ConfigMap `{name}` with `{key}`, or write the `value` itself")),
                        ),
                    }
                }
            }
        }
        variables.retain(|_, (value, _)| !value.is_empty());
        Environment {
            at: self.env_at.clone(),
            variables,
        }
    }
}

impl Environment {
    /// The value of a variable; none if it is not set, or empty.
    pub(super) fn get(&self, variable: &str) -> Option<&str> {
        self.variables.get(variable).map(|(value, _)| &**value)
    }

    /// Every variable with its value and its place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str, FieldRef)> {
        self.variables
            .iter()
            .map(|(name, (value, at))| (&**name, &**value, at.clone()))
    }

    /// Where a variable is set; the whole environment if it is not.
    pub(super) fn field(&self, variable: &str) -> FieldRef {
        self.variables.get(variable).map_or(&self.at, |(_, at)| at).clone()
    }

    /// A switch: `false`, `0`, `no`, `n` and `f` in any case are false, and any other text is true.
    ///
    /// Source: Calico node/pkg/lifecycle/startup/startup.go, evaluateENVBool.
    pub(super) fn switch(&self, variable: &str, unset: bool) -> bool {
        const NO: [&str; 5] = ["false", "0", "no", "n", "f"];
        self.get(variable)
            .map_or(unset, |text| !NO.contains(&text.to_lowercase().as_str()))
    }
}

fn readiness(container: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> Readiness {
    let mut exec = container.fields("readinessProbe", refusals).fields("exec", refusals);
    let at = exec.field("command");
    let words = exec.items("command", refusals);
    let asks = |flag: &str| {
        let mut words = words.iter().filter_map(|(_, word)| word.as_str());
        words.any(|word| word.trim_start_matches('-') == flag && word.starts_with('-'))
    };
    Readiness {
        bird: asks("bird-ready"),
        bird6: asks("bird6-ready"),
        felix: asks("felix-ready"),
        at,
    }
}
