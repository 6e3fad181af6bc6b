//! Machines on the wires: nodes, counted or named, and hosts outside the cluster, each with its network cards.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, text, word};
use overlab_dataplane::route::{Kernel, RpFilter};
use serde_json::Value;

use super::cards::CardDraft;
use super::names::Names;
use super::refuse_unmodelled;
use super::underlay::Wires;
use crate::scenario::model::Machine;

/// Every machine.
pub(super) struct Machines {
    pub(super) nodes: Vec<Machine>,
    pub(super) hosts: Vec<Machine>,
    /// Nodes that a subnet counts; each gets a workload if the scenario names none.
    pub(super) counted: Vec<usize>,
    /// The places of nodes by their names.
    pub(super) places: BTreeMap<Arc<str>, usize>,
    /// Who has which address.
    pub(super) addresses: BTreeMap<IpAddr, FieldRef>,
}

/// A machine before the addresses of its cards are known.
struct Draft {
    name: String,
    cards: Vec<CardDraft>,
    rp_filter: RpFilter,
    kernel: Option<Kernel>,
    field: FieldRef,
}

/// Reads `nodes` and `hosts`, and makes the nodes that subnets count.
pub(super) fn read(spec: &mut Fields<'_>, wires: &Wires, names: &mut Names, refusals: &mut Vec<Refusal>) -> Machines {
    let mut nodes = counted(wires);
    let count = nodes.len();
    for (name, field, value) in spec.entries("nodes", refusals) {
        let mut fields = Fields::new(value, field, refusals);
        let mut draft = draft(name, &mut fields, wires, refusals);
        draft.kernel = fields.parse("kernel", refusals, kernel);
        draft.rp_filter = fields.parse("rpFilter", refusals, rp_filter).unwrap_or_default();
        refuse_unmodelled(&mut fields, &["quirks", "dataplane"], refusals);
        fields.finish(refusals);
        nodes.push(draft);
    }
    let mut hosts = Vec::new();
    for (name, field, value) in spec.entries("hosts", refusals) {
        let mut fields = Fields::new(value, field, refusals);
        hosts.push(draft(name, &mut fields, wires, refusals));
        fields.finish(refusals);
    }
    // Where something was refused, it may be the nodes.
    if nodes.is_empty() && !wires.underlays.is_empty() && refusals.is_empty() {
        refusals.push(
            Refusal::new("K-MISSING", spec.field("nodes"), "the scenario has no nodes")
                .help("add `nodes: N` to a subnet, or `nodes: {a1: {subnet: az-a}}` to `spec`"),
        );
    }
    nodes
        .iter()
        .for_each(|draft| names.claim("node", &draft.name, &draft.field, refusals));
    hosts
        .iter()
        .for_each(|draft| names.claim("host", &draft.name, &draft.field, refusals));

    let mut addresses = BTreeMap::new();
    for card in nodes.iter().chain(&hosts).flat_map(|draft| &draft.cards) {
        card.check_addresses(wires, &mut addresses, refusals);
    }
    let mut place = |draft: Draft| Machine {
        cards: draft
            .cards
            .into_iter()
            .enumerate()
            .map(|(number, card)| card.resolve((&draft.name, number), wires, &mut addresses, refusals))
            .collect(),
        name: Arc::from(draft.name),
        rp_filter: draft.rp_filter,
        kernel: draft.kernel,
        field: draft.field,
    };
    let nodes: Vec<Machine> = nodes.into_iter().map(&mut place).collect();
    // Of two that share a name, which is refused, the first has it.
    let places = nodes.iter().enumerate().rev().map(|(place, node)| (node.name.clone(), place));
    Machines {
        places: places.collect(),
        nodes,
        hosts: hosts.into_iter().map(&mut place).collect(),
        counted: (0..count).collect(),
        addresses,
    }
}

/// The nodes of subnets with `nodes: N`: `a1`, `a2` in `az-a`.
fn counted(wires: &Wires) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for counted in &wires.counted {
        let subnet = &wires.underlays[counted.underlay].subnets;
        let Some(subnet) = subnet.get(counted.subnet) else { continue };
        let stem = subnet.name.rsplit('-').next().unwrap_or(&subnet.name);
        drafts.extend((1..=counted.count).map(|number| Draft {
            name: format!("{stem}{number}"),
            cards: vec![CardDraft::on((counted.underlay, counted.subnet), counted.field.clone())],
            rp_filter: RpFilter::Off,
            kernel: None,
            field: counted.field.clone(),
        }));
    }
    drafts
}

/// Reads a machine: the keys of its first card are its own, and those of the others stand in `interfaces`.
fn draft(name: &str, fields: &mut Fields<'_>, wires: &Wires, refusals: &mut Vec<Refusal>) -> Draft {
    let mut cards = vec![CardDraft::read(fields, wires, refusals)];
    for (name, field, value) in fields.entries("interfaces", refusals) {
        let mut fields = Fields::new(value, field.clone(), refusals);
        let card = CardDraft::read(&mut fields, wires, refusals);
        fields.finish(refusals);
        let expected = format!("eth{}", cards.len());
        match name == expected {
            true => cards.push(card),
            false => refusals.push(misnamed(name, field, &expected)),
        }
    }
    Draft {
        name: name.to_owned(),
        cards,
        rp_filter: RpFilter::Off,
        kernel: None,
        field: fields.at().clone(),
    }
}

/// A card that is not the next one by its name.
fn misnamed(name: &str, field: FieldRef, expected: &str) -> Refusal {
    let refusal = Refusal::new("E-CARD", field, format!("a card `{name}` where `{expected}` is due")).at_key();
    match name {
        "eth0" => refusal
            .why("`eth0` is the card that the machine's own keys describe")
            .help(format!("write its keys beside `interfaces`, or call this one `{expected}`")),
        _ => refusal
            .why("the cards of a machine are eth0, which its own keys describe, eth1, eth2 and so on, in their order")
            .help(format!("call it `{expected}`")),
    }
}

fn rp_filter(value: &Value) -> Result<RpFilter, Wrong> {
    word(
        value,
        &[
            ("off", RpFilter::Off),
            ("strict", RpFilter::Strict),
            ("loose", RpFilter::Loose),
        ],
    )
}

/// Reads a version as text: a number would lose the end of 5.10.
fn kernel(value: &Value) -> Result<Kernel, Wrong> {
    let wrong = || {
        Wrong::expected("a version of Linux in quotes, as \"5.4\"")
            .help("write what `uname -r` prints, or the two numbers it begins with")
    };
    text(value).ok().and_then(Kernel::read).ok_or_else(wrong)
}
