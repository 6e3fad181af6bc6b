//! What is probably not meant in later versions of the datastore.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Before, Finding, Subject, Wires, all};
use crate::scenario::model::{Machine, Model, Version};
use crate::scenario::resolve::check_by_felix;

/// Adds what each event brings, were it for a while.
pub(super) fn add(model: &Model, findings: &mut Vec<Finding>) {
    let mut known: BTreeSet<(&str, String)> = findings.iter().map(|one| (one.lint.id, one.message.clone())).collect();
    let mut before = &model.cluster;
    for (place, version) in model.versions.iter().enumerate() {
        let nodes: Vec<Machine> = model.nodes.iter().map(|node| under(model, version, node)).collect();
        let later = &model.versions[place..];
        let new = all(&Subject {
            cluster: &version.cluster,
            wires: Some(Wires { model, nodes: &nodes }),
            before: Some(Before {
                cluster: before,
                renewed: later.iter().flat_map(|version| &version.renewed).map(Arc::as_ref).collect(),
            }),
        });
        for finding in new {
            if known.insert((finding.lint.id, finding.message.clone())) {
                findings.push(Finding {
                    message: format!("from {} on, {}", version.name, finding.message),
                    event: Some(version.field.clone()),
                    ..finding
                });
            }
        }
        before = &version.cluster;
    }
}

/// A node once its Felix has started under a version.
fn under(model: &Model, version: &Version, node: &Machine) -> Machine {
    let check = check_by_felix(&version.cluster, &model.underlays, node);
    Machine {
        source_destination_check: check.unwrap_or(node.source_destination_check),
        ..node.clone()
    }
}
