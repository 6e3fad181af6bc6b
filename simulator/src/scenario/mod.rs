//! Scenario files: reading them with positions, and resolving what they mean.
//!
//! [`open`] reads documents, [`load`] goes on to the [`Model`]. Nothing is created here, and no backend is asked for anything.

mod diagnostic;
mod file;
mod glob;
pub mod knobs;
pub mod lint;
mod model;
mod modes;
mod quantity;
mod resolve;
mod rollout;
mod stage;
mod traffic;
mod tree;
mod variant;
mod yaml;

use std::collections::BTreeMap;
use std::path::Path;

use overlab_dataplane::calico::{ClusterState, Profile};
use overlab_dataplane::fields::{FieldRef, Refusal};

pub use diagnostic::{Diagnostic, Excerpt, Place, Severity, Sources};
pub use file::{Written, open, read};
pub(crate) use file::{is_something_else, open_other, other};
pub use glob::{glob_matches, is_glob};
pub use model::*;
pub(crate) use quantity::duration;
pub use traffic::{Demand, Traffic, traffic};

/// A scenario, ready to be run.
#[derive(Debug)]
pub struct Loaded {
    /// What it means.
    pub model: Model,
    /// Where it says so.
    pub sources: Sources,
    /// What is probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// The cluster of bare manifests.
#[derive(Debug)]
pub struct LoadedCluster {
    /// What the datastore holds.
    pub cluster: ClusterState,
    /// How many objects there are of each kind that cannot change any result.
    pub ignored: BTreeMap<String, usize>,
    /// Where it is written.
    pub sources: Sources,
    /// What is probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// Reads and resolves a scenario.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    load_variant(path, None)
}

/// Reads and resolves a variant of a scenario, or, without a name, the scenario itself.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_variant(path: &Path, variant: Option<&str>) -> Result<Loaded, Vec<Diagnostic>> {
    open(&[path])?.with_variant(variant)?.resolve()
}

/// Reads bare manifests as one datastore, under the default profile.
///
/// # Errors
/// Everything that is wrong with them.
pub fn load_cluster<P: AsRef<Path>>(paths: &[P]) -> Result<LoadedCluster, Vec<Diagnostic>> {
    open(paths)?.cluster(Profile::default())
}

impl Written {
    /// The scenario with one more flow, of one packet and in front of the others, and with nothing expected of any: what `explain`
    /// runs, of which it drops the other flows once they are resolved. The flow's keys are those of `flows`; it is named `packet`. What
    /// is wrong with it is shown in `command`: for each key the option and the value that were given; without a key, all others.
    #[must_use]
    pub fn with_packet(
        mut self,
        mut flow: serde_json::Map<String, serde_json::Value>,
        command: &[(&str, &str, String)],
    ) -> Written {
        let packet = self.root().path.key("spec").key("flows").key("packet");
        let parts: Vec<_> = command
            .iter()
            .map(|(key, option, value)| {
                let path = if key.is_empty() { packet.clone() } else { packet.key(key) };
                (FieldRef { path, ..self.root() }, *option, value.as_str())
            })
            .collect();
        self.sources.add_command(&parts);
        let spec = self
            .scenario
            .as_mut()
            .and_then(|document| document.value.get_mut("spec")?.as_object_mut());
        if let Some(spec) = spec {
            flow.insert("count".to_owned(), 1.into());
            let mut flows = serde_json::Map::from_iter([("packet".to_owned(), flow.into())]);
            if let Some(serde_json::Value::Object(others)) = spec.remove("flows") {
                flows.extend(others.into_iter().filter(|(name, _)| name != "packet"));
            }
            spec.insert("flows".to_owned(), flows.into());
            spec.insert(
                "expect".to_owned(),
                serde_json::json!([{ "flow": "packet", "delivered": "all" }]),
            );
            spec.remove("phases");
        }
        self
    }

    /// The scenario with nothing expected of any flow, but a look at its pools at an instant, as it is written in scenarios: the window
    /// of its only expectation begins then.
    #[must_use]
    pub fn with_instant(mut self, at: &str) -> Written {
        let look = serde_json::json!([{ "table": "pools", "at": at, "lacks": { "name": "" } }]);
        let path = self.root().path.key("spec").key("expect").index(0);
        self.sources.add_command(&[(FieldRef { path, ..self.root() }, "--at", at)]);
        let spec = self
            .scenario
            .as_mut()
            .and_then(|document| document.value.get_mut("spec")?.as_object_mut());
        if let Some(spec) = spec {
            spec.insert("expect".to_owned(), look);
        }
        self
    }

    /// Resolves the scenario.
    ///
    /// # Errors
    /// Everything that is wrong with it, manifests included; or that there is no scenario.
    pub fn resolve(mut self) -> Result<Loaded, Vec<Diagnostic>> {
        if !self.is_scenario() {
            let refusal = Refusal::new("F-SCENARIO", self.root(), "these are manifests, and no scenario")
                .why("manifests say what Calico believes; what is wired, sent and expected is said by a scenario")
                .help("put a document with `apiVersion: overlab.dev/v1alpha1` and `kind: Scenario` first");
            return Err(self.sources.diagnostics(&[refusal]));
        }
        let mut refusals = Vec::new();
        self.stage(&mut refusals);
        let found = resolve::resolve(&self, refusals).and_then(|model| {
            let findings = lint::unaccepted(&model, self.is_variant)?;
            Ok((model, findings))
        });
        match found {
            Ok((model, findings)) => Ok(Loaded {
                model,
                warnings: lint::warnings(&findings, &self.sources),
                sources: self.sources,
            }),
            Err(refusals) => Err(self.sources.diagnostics(&refusals)),
        }
    }

    /// Judges these manifests as applied to a datastore that holds the first `there` documents of them already. If it is pruned,
    /// the objects there that are not applied again are deleted; which is returned, by kind and name.
    ///
    /// # Errors
    /// Everything that is wrong with them, and everything that Calico would not take as an update.
    pub fn update(self, there: usize, prune: bool, profile: Profile) -> Result<Vec<String>, Vec<Diagnostic>> {
        resolve::update(&self, there, prune, profile).map_err(|refusals| self.sources.diagnostics(&refusals))
    }

    /// How many objects of which kind there are in the manifests that take no part.
    pub fn ignored(&self) -> BTreeMap<String, usize> {
        resolve::ignored(self)
    }

    /// How many manifests there are.
    pub fn manifests(&self) -> usize {
        self.manifests.len()
    }

    /// The cluster of bare manifests.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn cluster(self, profile: Profile) -> Result<LoadedCluster, Vec<Diagnostic>> {
        match resolve::bare(&self, profile) {
            Ok((cluster, ignored)) => Ok(LoadedCluster {
                warnings: lint::warnings(&lint::of_cluster(&cluster), &self.sources),
                cluster,
                ignored,
                sources: self.sources,
            }),
            Err(refusals) => Err(self.sources.diagnostics(&refusals)),
        }
    }
}
