//! What is probably not meant later: in other versions of the datastore, and on other wires.

use std::collections::BTreeSet;
use std::sync::Arc;

use overlab_dataplane::Instant;
use overlab_dataplane::fields::FieldRef;

use super::{Before, Finding, Subject, Wires, all};
use crate::scenario::model::{Machine, Model, Rewiring, Version};
use crate::scenario::resolve::check_by_felix;

/// What an event has brought.
enum Brought<'m> {
    /// A version of the datastore, by its place.
    Version(usize, &'m Version),
    /// Other wires.
    Wires(&'m Rewiring),
}

/// Adds what each event brings, were it for a while.
pub(super) fn add(model: &Model, findings: &mut Vec<Finding>) {
    let mut known: BTreeSet<(&str, String)> = findings.iter().map(|one| (one.lint.id, one.message.clone())).collect();
    for (at, name, event, brought) in events(model) {
        let wires = model.rewiring_at(at);
        let rewired = wires.map(|wires| model.rewired(wires));
        let then = rewired.as_ref().unwrap_or(model);
        let (cluster, nodes, before) = match brought {
            Brought::Version(place, version) => {
                let set = |node: usize| wires.is_some_and(|wires| wires.checks_set.contains(&node));
                let nodes = then.nodes.iter().enumerate();
                let nodes = nodes.map(|(place, node)| match set(place) {
                    true => node.clone(),
                    false => under(then, version, node),
                });
                let later = &model.versions[place..];
                let before = Before {
                    cluster: place
                        .checked_sub(1)
                        .map_or(&model.cluster, |earlier| &model.versions[earlier].cluster),
                    renewed: later.iter().flat_map(|version| &version.renewed).map(Arc::as_ref).collect(),
                };
                (&version.cluster, nodes.collect(), Some(before))
            }
            Brought::Wires(wires) => (model.cluster_at(at), wires.nodes.clone(), None),
        };
        let new = all(&Subject {
            cluster,
            wires: Some(Wires {
                model: then,
                nodes: &nodes,
            }),
            before,
        });
        for finding in new {
            if known.insert((finding.lint.id, finding.message.clone())) {
                findings.push(Finding {
                    message: format!("from {name} on, {}", finding.message),
                    event: Some(event.clone()),
                    ..finding
                });
            }
        }
    }
}

/// What events bring, with the instant, the event's name and where it is written, in the order of time.
fn events(model: &Model) -> Vec<(Instant, &str, &FieldRef, Brought<'_>)> {
    let versions = model.versions.iter().enumerate();
    let versions =
        versions.map(|(place, version)| (version.at, &*version.name, &version.field, Brought::Version(place, version)));
    let wires = model.rewirings.iter().filter_map(|wires| {
        let (name, field) = wires.set_by.as_ref()?;
        Some((wires.at, &**name, field, Brought::Wires(wires)))
    });
    let mut events: Vec<_> = versions.chain(wires).collect();
    events.sort_by_key(|(at, ..)| *at);
    events
}

/// A node once its Felix has started under a version.
fn under(model: &Model, version: &Version, node: &Machine) -> Machine {
    let mut node = node.clone();
    if let Some(check) = check_by_felix(&version.cluster, &model.underlays, &node) {
        node.cards[0].source_destination_check = check;
    }
    node
}
