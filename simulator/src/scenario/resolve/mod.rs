//! From a scenario as written to the [`Model`] that it means: defaults filled, names resolved, units typed.
//!
//! Truth and belief meet here and stay apart: [`underlay`] and [`machines`] read the wires, [`belief`] puts the datastore
//! together from manifests and, where there is none, from the wires. Every refusal is collected before anything is given up.

mod addresses;
mod agents;
mod belief;
mod cards;
mod cast;
mod expect;
mod faults;
mod flows;
mod gateways;
mod header;
mod learned;
mod load;
mod machines;
mod matrix;
mod names;
mod permute;
mod provided;
mod rewire;
mod routes;
mod security;
mod services;
mod table;
mod time;
mod timeline;
mod underlay;
mod versions;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};

use overlab_dataplane::Instant;
use overlab_dataplane::calico::{self, ClusterState, Deletion, Profile, Resource};
use overlab_dataplane::fields::{FieldRef, Fields, Refusal};

use super::file::Written;
use super::model::{Model, Order};
use super::{rollout, variant};
use cast::Cast;
use names::Names;

pub(super) use belief::check_by_felix;
pub(super) use matrix::CLASSES;
pub(super) use names::check as check_name;

/// What a key that is known and not modelled is refused with.
const NOT_MODELLED: &str = "K-NOT-MODELLED";

/// Resolves a scenario, of which this is wrong already.
///
/// # Errors
/// Everything in it that is wrong.
pub(super) fn resolve(written: &Written, mut refusals: Vec<Refusal>) -> Result<Model, Vec<Refusal>> {
    let model = read(written, &mut refusals);
    match model {
        Some(model) if refusals.is_empty() => {
            let course = rollout::course(&model);
            Ok(Model {
                table_changes: course.changes,
                rewirings: rewire::checked(&model, &course.checks),
                ..model
            })
        }
        Some(_) | None => Err(refusals),
    }
}

fn read(written: &Written, refusals: &mut Vec<Refusal>) -> Option<Model> {
    let document = written.scenario.as_ref()?;
    let mut root = Fields::new(&document.value, written.root(), refusals);
    root.ignore(&["apiVersion", "kind"]);
    let mut metadata = root.fields("metadata", refusals);
    let (name, title) = header::metadata(&mut metadata, refusals);
    metadata.finish(refusals);
    let mut spec = root.fields("spec", refusals);
    let run = header::run(&mut spec, refusals);
    refuse_misplaced(&mut spec, refusals);
    variant::check(&mut spec, refusals);

    let mut names = Names::default();
    let mut wires = underlay::read(&mut spec, &mut names, refusals);
    gateways::read(&mut spec, &mut wires, &mut names, refusals);
    let mut machines = machines::read(&mut spec, &wires, &mut names, refusals);
    routes::resolve(&mut wires, &machines, refusals);
    provided::finish(&mut wires, &machines, refusals);
    let timeline = timeline::read(&mut spec, &mut names, refusals);
    let clock = time::Clock::read(&mut spec, run.duration, &timeline, refusals);
    let requests = workloads::read(&mut spec, &wires, &machines, &clock, &mut names, refusals);
    let mut notes = wires.notes.clone();
    let sound = refusals.is_empty();
    let cluster = belief::cluster(
        written,
        run.profile,
        &machines.nodes,
        sound.then_some(&requests[..]),
        &mut notes,
        refusals,
    );
    if let Some(cluster) = &cluster {
        belief::source_destination_checks(cluster, &wires.underlays, &mut machines.nodes, &mut notes);
        belief::note_addresses(cluster, &requests, &mut notes);
        notes.extend(learned::learn(
            cluster,
            &mut wires.underlays,
            &mut wires.gateways,
            &machines.nodes,
        ));
    }
    let orders = permute::read(&mut spec, refusals);
    let reversed = match orders.iter().any(|(order, _)| *order == Order::Reverse) && cluster.is_some() {
        true => belief::reversed(written, run.profile, &machines.nodes, &requests, refusals),
        false => None,
    };

    let reader = versions::Reader {
        written,
        entries: &timeline,
        nodes: &machines.nodes,
        profile: run.profile,
        end: clock.end,
    };
    let outages = reader.outages(refusals);
    let versions = cluster.as_ref().map(|cluster| reader.versions(cluster, &requests, refusals));
    let versions = versions.unwrap_or_default();
    let first = cluster.iter().map(|cluster| (Instant::ZERO, cluster));
    let later = versions.iter().map(|version| (version.at, &version.cluster));
    let clusters: Vec<_> = first.chain(later).collect();
    let mut cast = Cast::new(wires, machines, requests, &clusters);
    cast.add_places(timeline.iter().map(|entry| &*entry.name));
    let mut flows = flows::read(&mut spec, &cast, &clock, refusals);
    let faults = faults::read(&timeline, &cast, &flows, refusals);
    let settings: Vec<_> = timeline.iter().flat_map(|entry| entry.settings(refusals)).collect();
    let mut rewirings = rewire::rewirings(written, &settings, &cast, refusals);
    for (wires, cluster) in rewirings.iter_mut().zip(cluster.iter().cycle()) {
        learned::learn(cluster, &mut wires.underlays, &mut wires.gateways, &wires.nodes);
    }
    let mut expectations = match written.at_rest {
        true => Vec::new(),
        false => expect::read(&mut spec, &cast, &clock, &mut flows, refusals),
    };
    expectations.extend(
        orders
            .into_iter()
            .map(|(order, field)| permute::expectation(order, field, &clock)),
    );
    let at = root.field("spec");
    let flows = flows.finish(&clusters, &cast, &at, refusals);
    spec.finish(refusals);
    root.finish(refusals);

    Some(Model {
        name,
        title,
        seed: run.seed,
        duration: clock.end.since(Instant::ZERO),
        backends: run.backends,
        underlays: cast.underlays,
        gateways: cast.gateways,
        nodes: cast.nodes,
        hosts: cast.hosts,
        workloads: cast.workloads,
        faults: faults.faults,
        flow_faults: faults.flow_faults,
        rewirings,
        table_changes: Vec::new(),
        flows,
        expectations,
        cluster: cluster?,
        reversed,
        versions,
        outages,
        notes,
        accepted_lints: run.accepted_lints,
        wire: run.wire,
    })
}

/// Refuses keys of what is written elsewhere.
fn refuse_misplaced(spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) {
    let elsewhere = [
        ("faults", "write `timeline: [{name: NAME, at: 1s, fault: {…}}]`"),
        (
            "environment",
            "write calico-node's DaemonSet, with its `env`, as a manifest behind the scenario",
        ),
    ];
    for (key, help) in elsewhere {
        spec.withhold(&[key]);
        if spec.value(key).is_some() {
            let refusal = Refusal::new("K-UNKNOWN", spec.field(key), format!("a scenario has no key `{key}`"));
            refusals.push(refusal.at_key().help(help));
        }
    }
}

/// Refuses keys that scenarios have and that nothing here can do.
fn refuse_unmodelled(fields: &mut Fields<'_>, keys: &[&'static str], refusals: &mut Vec<Refusal>) {
    fields.withhold(keys);
    for key in keys {
        if fields.value(key).is_some() {
            refusals.push(
                not_modelled(fields.field(key), &format!("`{key}`"))
                    .at_key()
                    .help(format!("remove `{key}`")),
            );
        }
    }
}

fn not_modelled(field: FieldRef, what: &str) -> Refusal {
    Refusal::new(NOT_MODELLED, field, format!("{what} is not modelled"))
        .why("what is not modelled is refused, since a guess would look like a result")
}

/// Judges manifests as applied to a datastore that holds the first `there` of them already. If it is pruned, the objects there
/// that are not applied again are deleted; how many is returned.
///
/// # Errors
/// Everything in them that is wrong, and everything that Calico would not take.
pub(super) fn update(written: &Written, there: usize, prune: bool, profile: Profile) -> Result<Vec<String>, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let (old, new) = written.manifests.split_at(there.min(written.manifests.len()));
    let mut resources = |documents| of_both_forms_calicos(belief::of_documents(documents, &mut refusals).resources);
    let (old, new) = (resources(old), resources(new));
    let mut there_once: BTreeMap<_, &FieldRef> = BTreeMap::new();
    for object in &old {
        if let Some(first) = there_once.insert((object.kind(), object.name()), object.at()) {
            let message = format!("{} {:?} is there twice before the update", object.kind(), &**object.name());
            let refusal = Refusal::new("K-DUPLICATE", object.at().clone(), message).why("a datastore holds one object of a name");
            refusals.push(
                refusal
                    .help("give `--update` one dump of each kind")
                    .related(first.clone(), "the first one"),
            );
        }
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let after = calico::update(&old, &new, profile)?;
    let keys: BTreeSet<_> = new.iter().map(|object| (object.kind(), object.name())).collect();
    let missing = old
        .iter()
        .filter(|object| prune && !keys.contains(&(object.kind(), object.name())));
    let deletions: Vec<Deletion> = missing.map(Deletion::of).collect();
    calico::delete(&after, &deletions, profile)?;
    Ok(deletions.iter().map(|gone| format!("{} {}", gone.kind, gone.name)).collect())
}

/// How many objects of which kind do not take part. What is wrong with the others is told elsewhere.
pub(super) fn ignored(written: &Written) -> BTreeMap<String, usize> {
    belief::objects(written, &mut Vec::new()).ignored
}

/// A dump may hold a node in both of its forms: of these Calico's own counts.
fn of_both_forms_calicos(mut resources: Vec<Resource>) -> Vec<Resource> {
    let calicos = |resource: &Resource| matches!(resource, Resource::Node(node) if node.through_api());
    let own: BTreeSet<_> = resources
        .iter()
        .filter(|object| calicos(object))
        .map(|node| node.name().clone())
        .collect();
    resources.retain(|object| !matches!(object, Resource::Node(_)) || calicos(object) || !own.contains(object.name()));
    resources
}

/// The cluster of bare manifests, and how many objects of each kind do not take part.
///
/// # Errors
/// Everything in them that is wrong.
pub(super) fn bare(written: &Written, profile: Profile) -> Result<(ClusterState, BTreeMap<String, usize>), Vec<Refusal>> {
    let mut refusals = Vec::new();
    let belief::Read { resources, ignored } = belief::objects(written, &mut refusals);
    let resources = of_both_forms_calicos(resources);
    match refusals.is_empty() {
        true => Ok((ClusterState::build(profile, resources, Vec::new())?, ignored)),
        false => Err(refusals),
    }
}
