//! The datastore: manifests as they are, and the records that Calico would make of nodes that no manifest describes.

use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use overlab_dataplane::Instant;
use overlab_dataplane::calico::{AwsSrcDstCheck, ClusterState, Node, Profile, Reading, Resource};
use overlab_dataplane::fields::{FieldRef, Origin, Refusal, suggestion};

use super::workloads::{self, Request};
use crate::fabric::Preset;
use crate::scenario::file::{Document, Written};
use crate::scenario::model::{Machine, Underlay};

/// What manifests hold.
#[derive(Default)]
pub(in crate::scenario) struct Read {
    /// What takes part.
    pub(in crate::scenario) resources: Vec<Resource>,
    /// How many objects of each other kind there are; they cannot change any result.
    pub(in crate::scenario) ignored: BTreeMap<String, usize>,
}

/// Every object of every manifest.
pub(in crate::scenario) fn objects(written: &Written, refusals: &mut Vec<Refusal>) -> Read {
    of_documents(&written.manifests, refusals)
}

/// Every object of some of the manifests.
pub(super) fn of_documents(documents: &[Document], refusals: &mut Vec<Refusal>) -> Read {
    let mut read = Read::default();
    for document in documents {
        match Resource::read(&document.value, document.origin) {
            Ok(readings) => readings.into_iter().for_each(|reading| match reading {
                Reading::Resource(resource) => read.resources.push(resource),
                Reading::Ignored { kind, .. } => *read.ignored.entry(kind).or_default() += 1,
            }),
            Err(more) => refusals.extend(more),
        }
    }
    read
}

/// What takes part of documents that were read before.
pub(super) type Known = BTreeMap<Origin, Vec<Resource>>;

/// What takes part of some of the manifests; only those that are not known yet are read.
pub(super) fn known_resources(documents: &[Document], known: &mut Known, refusals: &mut Vec<Refusal>) -> Vec<Resource> {
    let mut resources = Vec::new();
    for document in documents {
        let read = known.entry(document.origin).or_insert_with(|| {
            let document = std::slice::from_ref(document);
            of_documents(document, refusals).resources
        });
        resources.extend_from_slice(read);
    }
    resources
}

/// What the datastore of a scenario holds: manifests, and a record of each machine that no manifest records.
///
/// Nothing if something in them is wrong.
pub(super) fn resources(
    written: &Written,
    documents: &[Document],
    nodes: &[Machine],
    unrecorded: &BTreeSet<String>,
    known: &mut Known,
    refusals: &mut Vec<Refusal>,
) -> Option<Vec<Resource>> {
    let before = refusals.len();
    let resources = known_resources(documents, known, refusals);
    let mut resources = declared(written, resources, nodes, refusals).filter(|_| refusals.len() == before)?;
    // The manifest of a node that joins later counts from then on.
    resources.retain(|resource| !matches!(resource, Resource::Node(node) if unrecorded.contains(&*node.name)));
    let recorded: BTreeSet<Arc<str>> = recorded(&resources).map(|node| node.name.clone()).collect();
    let missing = |machine: &&Machine| !recorded.contains(&machine.name) && !unrecorded.contains(&*machine.name);
    let derived = nodes.iter().filter(missing).filter_map(record);
    resources.extend(derived.map(Resource::Node));
    Some(resources)
}

/// What manifests hold, each of their nodes a machine of the scenario.
fn declared(
    written: &Written,
    mut resources: Vec<Resource>,
    nodes: &[Machine],
    refusals: &mut Vec<Refusal>,
) -> Option<Vec<Resource>> {
    let before = refusals.len();
    complete(written, nodes, &mut resources);
    let wired: BTreeSet<&str> = nodes.iter().map(|machine| &*machine.name).collect();
    for node in recorded(&resources).filter(|node| !wired.contains(&*node.name)) {
        refuse_unwired(node, nodes, refusals);
    }
    (refusals.len() == before).then_some(resources)
}

fn recorded(resources: &[Resource]) -> impl Iterator<Item = &Node> {
    resources.iter().filter_map(|resource| {
        let Resource::Node(node) = resource else { return None };
        Some(node)
    })
}

/// Puts the datastore together. Without `requests` (the wires were refused) only what is wrong among the manifests is found.
pub(super) fn cluster(
    written: &Written,
    profile: Profile,
    nodes: &[Machine],
    requests: Option<&[Request]>,
    notes: &mut Vec<String>,
    refusals: &mut Vec<Refusal>,
) -> Option<ClusterState> {
    let Some(requests) = requests else {
        let resources = of_documents(&written.manifests, refusals).resources;
        let resources = declared(written, resources, nodes, refusals)?;
        refusals.extend(ClusterState::build(profile, resources, Vec::new()).err().unwrap_or_default());
        return None;
    };
    let known = &mut Known::new();
    let resources = resources(written, &written.manifests, nodes, &written.unrecorded, known, refusals)?;
    for machine in nodes {
        let derived = |resource: &Resource| matches!(resource, Resource::Node(node) if node.at == machine.field);
        if resources.iter().any(derived) {
            let nets: Vec<_> = machine
                .primary()
                .addresses
                .iter()
                .flatten()
                .map(ToString::to_string)
                .collect();
            notes.push(format!("node {}: recorded by Calico as {}", machine.name, nets.join(" and ")));
        }
    }
    build(written, profile, resources, requests, refusals)
}

/// The same datastore, put together from its objects in reverse order. Workloads stay in theirs, which decides who borrows.
pub(super) fn reversed(
    written: &Written,
    profile: Profile,
    nodes: &[Machine],
    requests: &[Request],
    refusals: &mut Vec<Refusal>,
) -> Option<ClusterState> {
    let known = &mut Known::new();
    let mut resources = resources(written, &written.manifests, nodes, &written.unrecorded, known, refusals)?;
    resources.reverse();
    build(written, profile, resources, requests, refusals)
}

fn build(
    written: &Written,
    profile: Profile,
    resources: Vec<Resource>,
    requests: &[Request],
    refusals: &mut Vec<Refusal>,
) -> Option<ClusterState> {
    let workloads = workloads::there(requests, Instant::ZERO, &written.unrecorded);
    match ClusterState::build(profile, resources, workloads) {
        Ok(cluster) => Some(cluster),
        Err(more) => {
            refusals.extend(more);
            None
        }
    }
}

/// Gives Node manifests that say only what a variant changes the rest of what Calico would have recorded.
fn complete(written: &Written, machines: &[Machine], resources: &mut [Resource]) {
    for resource in resources {
        if let Resource::Node(node) = resource
            && written.completed.contains(&node.at.origin)
            && let Some(machine) = machines.iter().find(|machine| machine.name == node.name)
        {
            let derived = record(machine);
            node.ipv4 = node.ipv4.or_else(|| derived.as_ref()?.ipv4);
            node.ipv6 = node.ipv6.or_else(|| derived.as_ref()?.ipv6);
        }
    }
}

/// The record that Calico would make of a machine: each address of its first card, with the mask of that.
///
/// Source: Calico node/pkg/lifecycle/startup/autodetection, first-found.
fn record(machine: &Machine) -> Option<Node> {
    let addresses = &machine.primary().addresses;
    let mut nets = addresses.iter().flatten();
    let mut node = Node::derived(machine.name.clone(), *nets.next()?, machine.field.clone());
    if let Some(IpNet::V6(net)) = addresses.v6 {
        node.ipv6 = Some(net);
    }
    Some(node)
}

fn refuse_unwired(node: &Node, machines: &[Machine], refusals: &mut Vec<Refusal>) {
    let known = || machines.iter().map(|machine| &*machine.name);
    let at = FieldRef {
        origin: node.at.origin,
        path: node.at.path.key("metadata").key("name"),
    };
    let refusal = Refusal::new("E-NODE", at, format!("Node `{}` is no node of the scenario", node.name))
        .why("a Node manifest is what Calico recorded of a machine, and this machine has no wires");
    refusals.push(match suggestion(&node.name, known()) {
        Some(near) => refusal.help(format!("did you mean `{near}`?")),
        None => refusal.help(format!(
            "add it to `spec.nodes`, or take one of {}",
            known().collect::<Vec<_>>().join(", ")
        )),
    });
}

/// What Felix sets the check of its node's first interface to when it starts; none if it leaves it alone. It touches no other one.
///
/// Source: Calico felix/aws/ec2_srcdstcheck.go.
pub(in crate::scenario) fn check_by_felix(cluster: &ClusterState, underlays: &[Underlay], node: &Machine) -> Option<bool> {
    if underlays[node.primary().underlay].preset != Preset::Aws || !cluster.nodes().contains_key(&node.name) {
        return None;
    }
    match cluster.settings(&node.name).aws_src_dst_check {
        AwsSrcDstCheck::DoNothing => None,
        AwsSrcDstCheck::Enable => Some(true),
        AwsSrcDstCheck::Disable => Some(false),
    }
}

/// Felix sets the check once, when it starts, so it has the last word.
pub(super) fn source_destination_checks(
    cluster: &ClusterState,
    underlays: &[Underlay],
    nodes: &mut [Machine],
    notes: &mut Vec<String>,
) {
    for node in nodes {
        let Some(check) = check_by_felix(cluster, underlays, node) else {
            continue;
        };
        let card = &mut node.cards[0];
        if card.source_destination_check != check {
            let state = if check { "on" } else { "off" };
            notes.push(format!(
                "node {}: Felix turns the source/destination check {state} (awsSrcDstCheck)",
                node.name
            ));
        }
        card.source_destination_check = check;
    }
}

/// Says which addresses workloads were given.
pub(super) fn note_addresses(cluster: &ClusterState, requests: &[Request], notes: &mut Vec<String>) {
    for Request { request, .. } in requests {
        let endpoint = cluster.endpoints().get(&request.name);
        let given = endpoint.into_iter().flat_map(|endpoint| &endpoint.addresses);
        for address in given.filter(|address| !request.addresses.contains(address)) {
            notes.push(format!("workload {}: {address} on {}", request.name, request.node));
        }
    }
}
