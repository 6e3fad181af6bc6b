//! Lints: what is allowed and probably not meant, as the field has met it. A lint looks at what Calico believes and, in a
//! scenario, at the wires; it changes nothing. A new one is a constant beside its kind and a line in [`LINTS`].

mod admission;
mod bgp;
mod clouds;
mod groups;
mod later;
mod mtu;
mod nodes;
mod pools;
mod services;
mod stale;

use std::collections::BTreeSet;

use overlab_dataplane::calico::{ClusterState, IpPool};
use overlab_dataplane::fields::{FieldRef, Refusal, suggestion};
use overlab_dataplane::route::Mode;

use super::diagnostic::{Diagnostic, Severity, Sources};
use super::model::{AcceptedLint, Card, Machine, Model, Underlay};

/// A lint.
#[derive(Debug)]
pub struct Lint {
    /// Its name, in capitals.
    pub id: &'static str,
    /// The rule behind it.
    pub why: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// Where it was met, or is documented.
    pub link: &'static str,
    find: fn(&Subject<'_>, &mut Found),
}

/// Every lint.
pub const LINTS: [&Lint; 24] = [
    &nodes::NODE_ADDRESS_SLASH_32,
    &nodes::NODE_ADDRESS_SLASH_31,
    &nodes::NODE_MASKS_UNEQUAL,
    &nodes::NODE_ADDRESS_NOT_ON_WIRE,
    &nodes::NODE_MASK_WIDER_THAN_WIRE,
    &mtu::MTU_MISMATCH,
    &stale::MTU_STALE_AFTER_SWITCH,
    &mtu::WORKLOAD_MTU_FIXED,
    &mtu::CARD_MTU_ABOVE_SEGMENT,
    &bgp::BGP_NEEDED,
    &bgp::CLUSTER_ROUTES_PAIR,
    &bgp::BGP_EXPORT_DISABLED,
    &bgp::BIRD_READY_WITHOUT_BIRD,
    &pools::VXLAN_ENABLED_STUCK,
    &pools::IPIP_ENABLED_STUCK,
    &pools::NO_TUNNEL_ADDRESS_POOL,
    &pools::WORKLOAD_OUTSIDE_POOLS,
    &pools::BLOCK_OF_NO_NODE,
    &clouds::SRC_DST_CHECK_CROSS_SUBNET,
    &clouds::SRC_DST_CHECK_NO_ENCAPSULATION,
    &clouds::IPIP_IN_AZURE,
    &admission::TUNNEL_NOT_ADMITTED,
    &groups::GROUP_ON_NO_CARD,
    &services::ENDPOINT_OF_NOBODY,
];

/// What is looked at.
struct Subject<'a> {
    cluster: &'a ClusterState,
    /// The wires, where they are known.
    wires: Option<Wires<'a>>,
    /// What was before, where this is a later version of the datastore.
    before: Option<Before<'a>>,
}

/// The version of a datastore before another.
struct Before<'a> {
    cluster: &'a ClusterState,
    /// Workloads that are made anew with the other one or later.
    renewed: BTreeSet<&'a str>,
}

#[derive(Clone, Copy)]
struct Wires<'a> {
    model: &'a Model,
    /// Its nodes, with their checks as Felix sets them.
    nodes: &'a [Machine],
}

impl<'a> Subject<'a> {
    /// The pools whose addresses are routed.
    fn pools(&self) -> impl Iterator<Item = &'a IpPool> {
        self.cluster.pools().values().filter(|pool| pool.routes())
    }

    /// Whether masks of node addresses decide anything: without any pool they may.
    fn asks_for_subnets(&self) -> bool {
        let mut pools = self.pools().peekable();
        pools.peek().is_none() || pools.any(|pool| pool.mode() == Mode::CrossSubnet)
    }

    /// The machines of nodes; none where the wires are not known.
    fn machines(&self) -> impl Iterator<Item = &'a Machine> {
        let is_node = |node: &&Machine| self.cluster.nodes().contains_key(&node.name);
        self.wires.into_iter().flat_map(|wires| wires.nodes).filter(is_node)
    }

    /// The cards of nodes, each with its machine and underlay.
    fn cards(&self) -> impl Iterator<Item = (&'a Machine, &'a Card, &'a Underlay)> {
        let underlay = |card: &Card| self.wires.map(|wires| &wires.model.underlays[card.underlay]);
        let cards = self
            .machines()
            .flat_map(|machine| machine.cards.iter().map(move |card| (machine, card)));
        cards.filter_map(move |(machine, card)| Some((machine, card, underlay(card)?)))
    }
}

/// What a lint found: a place, and what is wrong there.
type Found = Vec<(FieldRef, String)>;

/// What one lint found.
#[derive(Debug)]
pub struct Finding {
    /// The lint.
    pub lint: &'static Lint,
    /// Where.
    pub field: FieldRef,
    /// What, as a lower-case sentence without a full stop.
    pub message: String,
    /// Where the event is written that brings it, unless it is there from the start.
    pub event: Option<FieldRef>,
}

/// What is probably not meant in a cluster of bare manifests.
pub(super) fn of_cluster(cluster: &ClusterState) -> Vec<Finding> {
    all(&Subject {
        cluster,
        wires: None,
        before: None,
    })
}

/// What is probably not meant in a scenario, accepted or not.
pub fn of_model(model: &Model) -> Vec<Finding> {
    let nodes = &model.nodes[..];
    let mut findings = all(&Subject {
        cluster: &model.cluster,
        wires: Some(Wires { model, nodes }),
        before: None,
    });
    later::add(model, &mut findings);
    findings
}

fn all(subject: &Subject<'_>) -> Vec<Finding> {
    let one = |lint: &'static Lint| {
        let mut found = Found::new();
        (lint.find)(subject, &mut found);
        found.into_iter().map(move |(field, message)| Finding {
            lint,
            field,
            message,
            event: None,
        })
    };
    LINTS.into_iter().flat_map(one).collect()
}

/// Takes away what a scenario accepts. A variant changes a part, so that what it does not show may be accepted all the same.
///
/// # Errors
/// What is accepted or expected and is not there.
pub(super) fn unaccepted(model: &Model, is_variant: bool) -> Result<Vec<Finding>, Vec<Refusal>> {
    let mut findings = of_model(model);
    let is_there = |entry: &AcceptedLint| findings.iter().any(|finding| *finding.lint.id == *entry.lint);
    let idle = model.accepted_lints.iter().filter(|entry| !is_there(entry));
    let refusals: Vec<_> = idle
        .filter(|entry| entry.expected || !is_variant)
        .map(|entry| {
            Refusal::new("E-LINT", entry.field.clone(), format!("{} finds nothing here", entry.lint))
                .why("what is accepted without need would hide it when it comes")
                .help("remove the entry")
        })
        .collect();
    findings.retain(|finding| model.accepted_lints.iter().all(|entry| *entry.lint != *finding.lint.id));
    if refusals.is_empty() { Ok(findings) } else { Err(refusals) }
}

/// Findings as warnings, in file order.
pub(super) fn warnings(findings: &[Finding], sources: &Sources) -> Vec<Diagnostic> {
    let refusal = |finding: &Finding| {
        let Lint {
            id, why, remedy, link, ..
        } = finding.lint;
        let (place, related) = match &finding.event {
            Some(event) => (event, Some(&finding.field)),
            None => (&finding.field, None),
        };
        let refusal = Refusal::new(id, place.clone(), finding.message.clone())
            .why(*why)
            .help(format!("{remedy}; see {link}"));
        related
            .into_iter()
            .fold(refusal, |refusal, field| refusal.related(field.clone(), "it is about this"))
    };
    let mut warnings = sources.diagnostics(&findings.iter().map(refusal).collect::<Vec<_>>());
    warnings.iter_mut().for_each(|warning| warning.severity = Severity::Warning);
    warnings
}

/// The id of a lint as it is written.
///
/// # Errors
/// The nearest one, if no lint has this name.
pub(super) fn id(text: &str) -> Result<&'static str, Option<&'static str>> {
    let known = || LINTS.into_iter().map(|lint| lint.id);
    known().find(|id| *id == text).ok_or_else(|| suggestion(text, known()))
}
