//! From dumps of a real cluster to a scenario that runs: what Calico believes is taken as it is, the wires are guessed, and what
//! the model predicts becomes what is expected. Every guess is marked where it stands.

mod flows;
mod objects;
mod pods;
mod predict;
mod services;
mod wires;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use flows::Pair;
use objects::Objects;

use crate::backend::BackendError;
use crate::observe::Capture;
use crate::run::attempt;
use crate::scenario::{BackendKind, Diagnostic, Machine, Model, Written, read};

/// How much is imported.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Workloads of one node.
    pub pods_per_node: usize,
    /// Workloads in all: a matrix grows with their square.
    pub pods: usize,
}

/// A scenario made of dumps.
#[derive(Debug)]
pub struct Imported {
    /// The file.
    pub text: String,
    /// How many objects of which kind take no part.
    pub left_out: BTreeMap<String, usize>,
    /// What else should be known of it, one sentence each.
    pub notes: Vec<String>,
}

/// Makes a scenario of dumps.
///
/// # Errors
/// What is wrong with the objects that take part; or, if the scenario made of them does not resolve, why, and its text with it.
pub fn import(written: &Written, name: &str, limits: Limits) -> Result<Imported, (Vec<Diagnostic>, Option<String>)> {
    let mut objects = Objects::sort(written).map_err(|diagnostics| (diagnostics, None))?;
    let unknown = |((kind, path), count): (&(String, String), &usize)| {
        let others = match count {
            1 => String::new(),
            count => format!(" ({count} times)"),
        };
        format!("{kind}: `{path}` is not known here and left out{others}")
    };
    let mut notes: Vec<String> = objects.unknown_keys.iter().map(unknown).collect();
    let Some(wires) = wires::guess(&objects, &mut notes) else {
        let help = "add `kubectl get nodes -o yaml`";
        let nothing = Diagnostic::of_file("F-NODES", "the dumps", "no node has an address", help);
        return Err((vec![nothing], None));
    };
    let pods = pods::choose(&objects, &wires, limits, &mut notes);
    if pods.len() < 2 {
        let help = "add `kubectl get pods -A -o yaml`, or the IPPools for pods to be made up";
        let nothing = Diagnostic::of_file("F-PODS", "the dumps", "there are no two pods to send between", help);
        return Err((vec![nothing], None));
    }
    services::keep(&mut objects, &wires, &pods, &mut notes);
    let manifests = write::manifests(&objects, &wires);
    let mut pairs = flows::choose(&wires, &pods);
    let unfilled = predict::probes(&pairs);
    let text = |pairs: &[Pair<'_>], expected: &str, turned: Option<&str>| {
        let sent = flows::text(pairs) + expected + &flows::variant(pairs, turned);
        write::scenario(name, &wires, &pods, &sent) + &manifests
    };
    let draft = text(&pairs, &unfilled, None);
    let loaded = read("the imported scenario", draft.clone()).and_then(Written::resolve);
    let mut loaded = loaded.map_err(|diagnostics| (diagnostics, Some(draft)))?;
    flows::fill(&mut loaded.model, &mut pairs);
    leave_idle_nodes_out(&mut loaded.model);
    let mut predicted = || {
        let run = attempt(&loaded, BackendKind::Sim, Capture::off())?;
        let first = predict::expectations(&loaded.model, &run.traces);
        flows::turn(&mut loaded.model, &pairs);
        let run = attempt(&loaded, BackendKind::Sim, Capture::off())?;
        Ok::<_, BackendError>((first, predict::expectations(&loaded.model, &run.traces)))
    };
    let (expected, turned) = predicted().unwrap_or_else(|error| {
        notes.push(format!("nothing is predicted, since the run failed: {error}"));
        (unfilled.clone(), unfilled)
    });
    let turned = Some(&*turned).filter(|turned| *turned != expected);
    Ok(Imported {
        text: text(&pairs, &expected, turned),
        left_out: objects.left_out,
        notes,
    })
}

/// Takes the machines away that no packet between workloads can come by: a large cluster has a few workloads here and thousands
/// of nodes. What Calico knows of them, and what follows from that for the others, stays.
fn leave_idle_nodes_out(model: &mut Model) {
    let busy: BTreeSet<usize> = model.workloads.iter().map(|workload| workload.node).collect();
    let reflects = |node: &Machine| {
        let record = model.cluster.nodes().get(&node.name);
        record.is_some_and(|node| node.route_reflector_cluster.is_some())
    };
    let kept = |(place, node): &(usize, &Machine)| busy.contains(place) || reflects(node);
    let kept: Vec<usize> = model.nodes.iter().enumerate().filter(kept).map(|(place, _)| place).collect();
    model.nodes = kept.iter().map(|place| model.nodes[*place].clone()).collect();
    for workload in &mut model.workloads {
        workload.node = kept.partition_point(|place| *place < workload.node);
    }
}
