//! The datastore through the run: a version of it from each event on that changes objects or workloads.

use std::collections::BTreeSet;
use std::sync::Arc;

use overlab_dataplane::Instant;
use overlab_dataplane::calico::{self, ClusterState, Deletion, Profile, Resource};
use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, suggestion, text};
use serde_json::Value;

use super::belief::{self, Known};
use super::timeline::{Entry, What};
use super::workloads::{self, Request};
use crate::scenario::file::{Document, Written};
use crate::scenario::model::{Machine, Rollout, Version};
use crate::scenario::stage::Stage;

/// What is needed to read versions.
pub(super) struct Reader<'a> {
    pub(super) written: &'a Written,
    pub(super) entries: &'a [Entry<'a>],
    pub(super) nodes: &'a [Machine],
    pub(super) profile: Profile,
    /// The end of the run.
    pub(super) end: Instant,
}

/// What makes a version.
enum Cause<'a> {
    Stage(&'a Stage),
    /// A workload that moves to a node, or is made anew on its own.
    Workload {
        place: usize,
        node: Option<usize>,
    },
    /// Workloads that are made then.
    Created,
}

/// An instant at which a version begins, the name of it, and why.
struct Beginning<'a> {
    at: Instant,
    name: Arc<str>,
    field: FieldRef,
    rollout: Rollout,
    cause: Cause<'a>,
}

impl Reader<'_> {
    /// The versions after the first one.
    pub(super) fn versions(&self, first: &ClusterState, requests: &[Request], refusals: &mut Vec<Refusal>) -> Vec<Version> {
        let mut requests = requests.to_vec();
        let mut versions: Vec<Version> = Vec::new();
        let mut known = Known::new();
        let (mut manifests, mut unrecorded) = (&self.written.manifests, &self.written.unrecorded);
        for Beginning {
            at,
            name,
            field,
            rollout,
            cause,
        } in self.beginnings(&requests, refusals)
        {
            let mut renewed = BTreeSet::new();
            match cause {
                Cause::Stage(stage) => {
                    if !self.judge(manifests, stage, &field, &mut known, refusals) {
                        return versions;
                    }
                    (manifests, unrecorded) = (&stage.manifests, &stage.unrecorded);
                }
                Cause::Workload { place, node } => {
                    let moved = &mut requests[place];
                    if let Some(wrong) = self.cannot_be(at, moved, node, unrecorded) {
                        refusals.push(wrong.at(field, &Value::Null));
                        return versions;
                    }
                    renewed.insert(moved.request.name.clone());
                    if let Some(node) = node {
                        moved.node = node;
                        moved.request.node = self.nodes[node].name.clone();
                    }
                }
                Cause::Created => {
                    if let Some(refusal) = self.made_nowhere(at, &requests) {
                        refusals.push(refusal);
                        return versions;
                    }
                }
            }
            let resources = belief::resources(self.written, manifests, self.nodes, unrecorded, &mut known, refusals);
            let Some(resources) = resources else { return versions };
            let there = workloads::there(&requests, at, unrecorded);
            let before = versions.last().map_or(first, |version| &version.cluster);
            match before.succeed(resources, there) {
                Ok(cluster) => versions.push(Version {
                    name,
                    field,
                    at,
                    cluster,
                    rollout,
                    renewed,
                }),
                Err(more) => {
                    refusals.extend(more);
                    return versions;
                }
            }
        }
        versions
    }

    /// Why a workload can be neither moved nor made anew at an instant.
    fn cannot_be(&self, at: Instant, workload: &Request, node: Option<usize>, unrecorded: &BTreeSet<String>) -> Option<Wrong> {
        let name = &workload.request.name;
        let wrong = |text: String, help: &str| Some(Wrong::rule("E-EVENT", text).help(help));
        if at < workload.created {
            let text = format!("{name} is made later, at {}", workload.created);
            return wrong(text, "use a later time, or an earlier `createdAt`");
        }
        let to = &self.nodes[node.unwrap_or(workload.node)].name;
        if unrecorded.contains(&**to) {
            return wrong(format!("{to} is no node of the cluster then"), "let the node join first");
        }
        if node == Some(workload.node) {
            return wrong(format!("{name} is on {to} already"), "name another node, or write `recreate`");
        }
        None
    }

    /// A workload that is made on a machine that is no node then.
    fn made_nowhere(&self, at: Instant, requests: &[Request]) -> Option<Refusal> {
        let stages = self.written.stages.iter().rev();
        let stage = stages.into_iter().find(|stage| self.entries[stage.event].at <= at);
        let unrecorded = stage.map_or(&self.written.unrecorded, |stage| &stage.unrecorded);
        let made = |one: &&Request| one.created == at && unrecorded.contains(&*one.request.node);
        let request = &requests.iter().find(made)?.request;
        let field = FieldRef {
            path: request.origin.path.key("createdAt"),
            ..request.origin.clone()
        };
        let text = format!(
            "{} is made on {}, which is no node of the cluster then",
            request.name, request.node
        );
        let refusal = Refusal::new("E-EVENT", field, text);
        Some(refusal.help("make it at another time, or on another node"))
    }

    fn beginnings(&self, requests: &[Request], refusals: &mut Vec<Refusal>) -> Vec<Beginning<'_>> {
        let mut all = Vec::new();
        let mut created: BTreeSet<Instant> = requests.iter().map(|one| one.created).collect();
        created.remove(&Instant::ZERO);
        for at in created {
            let made: Vec<&Request> = requests.iter().filter(|one| one.created == at).collect();
            let names: Vec<&str> = made.iter().map(|one| &*one.request.name).collect();
            all.push(Beginning {
                at,
                name: names.join(", ").into(),
                field: made.first().map(|one| one.request.origin.clone()).unwrap_or_default(),
                rollout: self.at_once(),
                cause: Cause::Created,
            });
        }
        for (place, entry) in self.entries.iter().enumerate() {
            let stage = self.written.stages.iter().find(|stage| stage.event == place);
            if let Some(stage) = stage {
                all.push(Beginning {
                    at: entry.at,
                    name: entry.name.clone(),
                    field: entry.place(),
                    rollout: self.rollout(entry, refusals),
                    cause: Cause::Stage(stage),
                });
            }
            if let Some((What::Workload, value)) = entry.what
                && let Some((place, node)) = self.workload_event(entry, value, requests, refusals)
            {
                all.push(Beginning {
                    at: entry.at,
                    name: entry.name.clone(),
                    field: entry.place(),
                    rollout: self.at_once(),
                    cause: Cause::Workload { place, node },
                });
            }
            if let Some((What::Node, value)) = entry.what {
                let mut fields = Fields::new(value, entry.at_key("node"), refusals);
                fields.require("join", refusals, |value| find(value, self.nodes));
                fields.finish(refusals);
            }
        }
        all.sort_by_key(|beginning| beginning.at);
        all
    }

    /// Whether a deletion is for Calico to judge: of an object that is there; of a pool, which need not have a manifest; of a node
    /// that is no machine. All others are of kinds that take no part, or of nodes that are derived from the wires.
    fn takes_part(&self, deletion: &Deletion, there: &[Resource]) -> bool {
        let Deletion { kind, name, .. } = deletion;
        let is_machine = || self.nodes.iter().any(|node| node.name == *name);
        there.iter().any(|object| object.kind() == &**kind && object.name() == name)
            || &**kind == "IPPool"
            || (&**kind == "Node" && !is_machine())
    }

    /// Whether an event does something to objects that take part, and Calico takes it.
    fn judge(
        &self,
        before: &[Document],
        stage: &Stage,
        event: &FieldRef,
        known: &mut Known,
        refusals: &mut Vec<Refusal>,
    ) -> bool {
        let wrong = refusals.len();
        let changed = stage
            .manifests
            .iter()
            .filter(|document| stage.changed.contains(&document.origin));
        let changed: Vec<_> = changed.cloned().collect();
        let belief::Read { resources: new, ignored } = belief::of_documents(&changed, refusals);
        if refusals.len() > wrong {
            return false;
        }
        if let Some(kind) = ignored.keys().next().filter(|_| new.is_empty()) {
            let refusal = Refusal::new("E-EVENT", event.clone(), format!("nothing here reads objects of kind {kind}")).at_key();
            let refusal = refusal.why("an event that changes nothing would look like one that changes no result");
            refusals.push(refusal.help("remove the event, or apply an object that takes part, as an IPPool"));
            return false;
        }
        let old = belief::known_resources(before, known, refusals);
        let judged = calico::update(&old, &new, self.profile).and_then(|there| {
            let deletions = stage.deleted.iter().filter(|deletion| self.takes_part(deletion, &there));
            calico::delete(&there, &deletions.cloned().collect::<Vec<_>>(), self.profile)
        });
        refusals.extend(judged.err().unwrap_or_default());
        refusals.len() == wrong
    }

    fn workload_event(
        &self,
        entry: &Entry<'_>,
        value: &Value,
        requests: &[Request],
        refusals: &mut Vec<Refusal>,
    ) -> Option<(usize, Option<usize>)> {
        let mut fields = Fields::new(value, entry.at_key("workload"), refusals);
        let names = || requests.iter().map(|one| &*one.request.name);
        let workload = |value: &Value| {
            let name = text(value)?;
            names().position(|known| known == name).ok_or_else(|| {
                let wrong = Wrong::rule("E-EVENT", format!("unknown workload {name:?}"));
                match suggestion(name, names()) {
                    Some(near) => wrong.help(format!("did you mean `{near}`?")),
                    None => wrong.help("name a workload of the scenario"),
                }
            })
        };
        let moved = fields.parse("move", refusals, workload);
        let recreated = fields.parse("recreate", refusals, workload);
        let to = fields.parse("to", refusals, |value| find(value, self.nodes));
        let at = fields.at().clone();
        fields.finish(refusals);
        match (moved, to, recreated) {
            (Some(place), Some(node), None) => Some((place, Some(node))),
            (None, None, Some(place)) => Some((place, None)),
            _ => {
                let refusal = Refusal::new("E-EVENT", at, "it is not said what happens to which workload");
                refusals.push(refusal.help("write `workload: {move: NAME, to: NODE}` or `workload: {recreate: NAME}`"));
                None
            }
        }
    }
}

/// The node of a name.
pub(super) fn find(value: &Value, nodes: &[Machine]) -> Result<usize, Wrong> {
    let name = text(value)?;
    let known = || nodes.iter().map(|node| &*node.name);
    nodes.iter().position(|node| *node.name == *name).ok_or_else(|| {
        let wrong = Wrong::rule("E-NODE", format!("unknown node {name:?}"));
        match suggestion(name, known()) {
            Some(near) => wrong.help(format!("did you mean `{near}`?")),
            None => wrong.help(format!("the nodes are {}", known().collect::<Vec<_>>().join(", "))),
        }
    })
}
