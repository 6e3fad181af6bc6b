//! Faults of the timeline: whose packets they concern, and what they do to them.

use std::collections::BTreeSet;
use std::time::Duration;

use overlab_dataplane::Instant;
use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, integer, suggestion, text, word};
use serde_json::Value;

use super::cast::Cast;
use super::flows::Flows;
use super::timeline::{Entry, What};
use crate::fabric::{Bottleneck, DropReason, Effect, Fault, NicId, Scope};
use crate::scenario::model::{self, Card, FlowFault, FlowId};
use crate::scenario::quantity::{bit_rate, duration, mtu, share, size};

/// Bytes that wait in front of a rate, unless the fault says otherwise.
const QUEUE: u64 = 256 << 10;

/// How long overtaken packets are held back, unless the fault says otherwise.
const HELD_BACK: Duration = Duration::from_millis(1);

/// What the entries do to packets on their way.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) faults: Vec<Fault>,
    pub(super) flow_faults: Vec<FlowFault>,
}

/// Reads what the faults of the timeline do.
pub(super) fn read(entries: &[Entry<'_>], cast: &Cast, flows: &Flows, refusals: &mut Vec<Refusal>) -> Faults {
    let mut faults = Faults::default();
    for entry in entries {
        if let Some((What::Fault, value)) = entry.what {
            let fields = Fields::new(value, entry.at_key("fault"), refusals);
            fault(entry, fields, cast, flows, &mut faults, refusals);
        }
    }
    check_contradictions(&faults.faults, entries, refusals);
    faults
}

fn fault(
    entry: &Entry<'_>,
    mut fields: Fields<'_>,
    cast: &Cast,
    flows: &Flows,
    faults: &mut Faults,
    refusals: &mut Vec<Refusal>,
) {
    let before = refusals.len();
    if fields.value("flow").is_some() {
        faults.flow_faults.extend(flow_fault(entry, fields, flows, refusals));
        return;
    }
    let scopes = scopes(&mut fields, cast, refusals);
    let effect = effect(&mut fields, refusals);
    let at = fields.at().clone();
    fields.finish(refusals);
    if refusals.len() > before {
        return;
    }
    if scopes.is_empty() {
        refusals.push(Refusal::new("E-FAULT", at, "the fault concerns nobody").help(
            "say whose packets: `between: [az-a, az-b]`, `from` and `to`, `on: a1`, `down: a1` or `partition: [[a1], [b1]]`",
        ));
    } else if effect == Effect::default() && scopes.iter().all(|(_, cut)| cut.is_none()) {
        refusals.push(
            Refusal::new("E-FAULT", at, "the fault does nothing")
                .help("say what happens: `loss: 5%`, `delay: 20ms`, `rate: 10Mbit/s`, `mtu: 1400`, `icmp: drop` ..."),
        );
    }
    faults.faults.extend(scopes.into_iter().map(|(scope, cut)| Fault {
        name: entry.name.clone(),
        from: entry.at,
        until: entry.until,
        scope,
        effect: Effect { cut, ..effect.clone() },
    }));
}

/// Packets of a flow that are lost by their number.
fn flow_fault(entry: &Entry<'_>, mut fields: Fields<'_>, flows: &Flows, refusals: &mut Vec<Refusal>) -> Option<FlowFault> {
    let declared = flows.list.iter().enumerate().filter(|(_, flow)| !flow.probe);
    let names: Vec<&str> = declared.clone().map(|(_, flow)| &*flow.name).collect();
    let flow = fields.parse("flow", refusals, |value| {
        let name = text(value)?;
        let place = declared.clone().find(|(_, flow)| *flow.name == *name);
        place.map(|(place, _)| FlowId(place as u32)).ok_or_else(|| {
            let wrong = Wrong::rule("E-FLOW", format!("unknown flow {name:?}"));
            match suggestion(name, names.iter().copied()) {
                Some(near) => wrong.help(format!("did you mean `{near}`?")),
                None => wrong.help("name a flow of the scenario"),
            }
        })
    });
    let reverse = fields
        .parse("direction", refusals, |v| word(v, &[("forward", false), ("reverse", true)]))
        .unwrap_or(false);
    let at = fields.at().clone();
    let mut numbers = BTreeSet::new();
    for (field, value) in fields.items("drop", refusals) {
        match integer(value, 1, u64::from(u32::MAX)) {
            Ok(number) => drop(numbers.insert(u32::try_from(number).unwrap_or(u32::MAX))),
            Err(wrong) => refusals.push(wrong.at(field, value)),
        }
    }
    fields.finish(refusals);
    if numbers.is_empty() {
        refusals.push(
            Refusal::new("E-FAULT", at, "the fault takes no packet").help("add `drop: [1, 2, 3]`, counted from its beginning"),
        );
    }
    Some(FlowFault {
        name: entry.name.clone(),
        from: entry.at,
        until: entry.until,
        flow: flow?,
        reverse,
        numbers,
    })
}

type Scopes = Vec<(Scope, Option<DropReason>)>;

/// Whose packets a fault concerns, and whether it lets nothing pass.
fn scopes(fields: &mut Fields<'_>, cast: &Cast, refusals: &mut Vec<Refusal>) -> Scopes {
    let mut scopes = Scopes::new();
    let everybody: BTreeSet<NicId> = model::cards(&cast.nodes, &cast.hosts).map(|(nic, ..)| nic).collect();
    let mut add = |from: BTreeSet<NicId>, to: BTreeSet<NicId>, both_ways, cut| {
        scopes.push((Scope { from, to, both_ways }, cut));
    };
    let between = fields.parse("between", refusals, |value| match value.as_array().map(Vec::as_slice) {
        Some([a, b]) => Ok((cards(a, cast)?, cards(b, cast)?)),
        Some(_) | None => Err(Wrong::expected("a list of two, as `[az-a, az-b]`")),
    });
    if let Some((a, b)) = between {
        refusals.extend(to_itself(&a, &b, fields.field("between")));
        add(a, b, true, None);
    }
    let (from, to) = (
        fields.parse("from", refusals, |v| cards(v, cast)),
        fields.parse("to", refusals, |v| cards(v, cast)),
    );
    if let (Some(from), Some(to)) = (&from, &to) {
        refusals.extend(to_itself(from, to, fields.field("to")));
    }
    if from.is_some() || to.is_some() {
        let (from, to) = (
            from.unwrap_or_else(|| everybody.clone()),
            to.unwrap_or_else(|| everybody.clone()),
        );
        add(from, to, false, None);
    }
    if let Some(on) = fields.parse("on", refusals, |v| cards(v, cast)) {
        add(on, everybody.clone(), true, None);
    }
    if let Some((down, reason)) = fields.parse("down", refusals, |v| down(v, cast)) {
        add(down, everybody, true, Some(reason));
    }
    let parts = parts(fields, cast, refusals);
    for (i, part) in parts.iter().enumerate() {
        for other in parts.iter().skip(i + 1) {
            add(part.clone(), other.clone(), true, Some(DropReason::Injected));
        }
    }
    scopes
}

/// The parts that nothing passes between.
fn parts(fields: &mut Fields<'_>, cast: &Cast, refusals: &mut Vec<Refusal>) -> Vec<BTreeSet<NicId>> {
    let parts = fields.items("partition", refusals);
    let parts: Vec<BTreeSet<NicId>> = parts
        .into_iter()
        .map(|(field, value)| {
            let names = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            let mut part = BTreeSet::new();
            for name in &names {
                match cards(name, cast) {
                    Ok(cards) => part.extend(cards),
                    Err(wrong) => refusals.push(wrong.at(field.clone(), name)),
                }
            }
            part
        })
        .collect();
    for (i, part) in parts.iter().enumerate() {
        for other in parts.iter().skip(i + 1) {
            if let Some(nic) = part.intersection(other).next() {
                let machine = cast.nodes.iter().chain(&cast.hosts).nth(nic.machine as usize);
                let name = machine.map_or("a machine", |machine| &machine.name);
                let refusal = Refusal::new("E-FAULT", fields.field("partition"), format!("{name} is in two parts")).at_key();
                refusals.push(refusal.help("let each machine be in one part at most"));
            }
            refusals.extend(to_itself(part, other, fields.field("partition")));
        }
    }
    parts
}

/// Refuses a fault between a machine and itself.
fn to_itself(from: &BTreeSet<NicId>, to: &BTreeSet<NicId>, field: FieldRef) -> Option<Refusal> {
    let machines: BTreeSet<u32> = from.iter().chain(to).map(|nic| nic.machine).collect();
    let refusal = Refusal::new("E-FAULT", field, "no packet goes from a machine to itself over the wires").at_key();
    let refusal = refusal.help("name two machines, or `on: NAME` for all that one sends and gets");
    (machines.len() == 1).then_some(refusal)
}

/// The cards that a name stands for: one (`a1/eth0`), a machine's, or those of a subnet or of a whole underlay.
fn cards(value: &Value, cast: &Cast) -> Result<BTreeSet<NicId>, Wrong> {
    let name = text(value)?;
    let of_wires = |card: &Card| {
        // A card whose underlay was refused lies nowhere.
        let wires = cast.underlays.get(card.underlay);
        let within = wires.and_then(|wires| Some((wires, &*wires.subnets.get(card.subnet)?.name)));
        within.is_some_and(|(wires, within)| {
            name == within || name == &*wires.name || name.split_once('/') == Some((&wires.name, within))
        })
    };
    let all = || model::cards(&cast.nodes, &cast.hosts);
    let cards: BTreeSet<NicId> = all()
        .filter(|(_, machine, card)| {
            name == &*machine.name || name.split_once('/') == Some((&machine.name, &card.name)) || of_wires(card)
        })
        .map(|(nic, ..)| nic)
        .collect();
    if !cards.is_empty() {
        return Ok(cards);
    }
    let machines = cast.nodes.iter().chain(&cast.hosts).map(|machine| machine.name.to_string());
    let others = all().filter(|(nic, ..)| nic.card > 0);
    let others = others.map(|(_, machine, card)| format!("{}/{}", machine.name, card.name));
    let subnets = cast
        .underlays
        .iter()
        .flat_map(|u| u.subnets.iter().map(|s| s.name.to_string()));
    let known: Vec<String> = machines.chain(others).chain(subnets).collect();
    let wrong = Wrong::rule("E-FAULT", format!("no link leads to {name:?}"))
        .why("a fault lies between nodes, hosts, cards (`a1/eth1`), subnets or underlays of the scenario");
    Err(match suggestion(name, known.iter().map(String::as_str)) {
        Some(near) => wrong.help(format!("did you mean `{near}`?")),
        None => wrong.help("name a node, a host, a subnet or an underlay"),
    })
}

/// Whose links are down: a machine's own means that the machine is.
fn down(value: &Value, cast: &Cast) -> Result<(BTreeSet<NicId>, DropReason), Wrong> {
    let name = text(value)?;
    let is_machine = cast.nodes.iter().chain(&cast.hosts).any(|machine| *machine.name == *name);
    let reason = if is_machine {
        DropReason::NodeDown
    } else {
        DropReason::LinkDown
    };
    Ok((cards(value, cast)?, reason))
}

fn effect(fields: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> Effect {
    let rate = fields.parse("rate", refusals, bit_rate);
    let queue = fields.parse("queue", refusals, |v| size(v, 68, 1 << 30));
    let reorder = fields.parse("reorder", refusals, share);
    let held_back = fields.parse("heldBack", refusals, duration);
    for (key, there, needed, of) in [
        ("queue", queue.is_some(), "rate", rate.is_some()),
        ("heldBack", held_back.is_some(), "reorder", reorder.is_some()),
    ] {
        if there && !of {
            let refusal = Refusal::new("E-FAULT", fields.field(key), format!("`{key}` without `{needed}`")).at_key();
            refusals.push(refusal.help(format!("add `{needed}`, or remove `{key}`")));
        }
    }
    Effect {
        cut: None,
        loss: fields.parse("loss", refusals, share).unwrap_or_default(),
        duplicate: fields.parse("duplicate", refusals, share).unwrap_or_default(),
        corrupt: fields.parse("corrupt", refusals, share).unwrap_or_default(),
        mark: fields.parse("mark", refusals, share).unwrap_or_default(),
        reorder: reorder.unwrap_or_default(),
        held_back: held_back.unwrap_or(if reorder.is_some() { HELD_BACK } else { Duration::ZERO }),
        delay: fields.parse("delay", refusals, duration).unwrap_or_default(),
        jitter: fields.parse("jitter", refusals, duration).unwrap_or_default(),
        bottleneck: rate.map(|bits_per_second| Bottleneck {
            bits_per_second,
            queue: queue.map_or(QUEUE, |bytes| bytes as u64),
        }),
        mtu: fields.parse("mtu", refusals, |v| mtu(v, u16::MAX)),
        no_icmp_errors: fields.parse("icmp", refusals, |v| word(v, &[("drop", true), ("pass", false)])) == Some(true),
    }
}

/// Refuses two faults that say different things of the same packets at the same time.
fn check_contradictions(faults: &[Fault], entries: &[Entry<'_>], refusals: &mut Vec<Refusal>) {
    for (i, fault) in faults.iter().enumerate() {
        let contradicts = |other: &&Fault| {
            let rates = fault.effect.bottleneck.is_some() && other.effect.bottleneck.is_some();
            let sizes = fault.effect.mtu.is_some() && other.effect.mtu.is_some();
            (rates || sizes) && fault.name != other.name && overlap(fault, other) && fault.scope.meets(&other.scope)
        };
        if let Some(other) = faults.iter().take(i).find(contradicts) {
            let field = |name: &str| {
                entries
                    .iter()
                    .find(|entry| *entry.name == *name)
                    .map(|entry| entry.field.clone())
            };
            refusals.push(
                Refusal::new(
                    "E-FAULT",
                    field(&fault.name).unwrap_or_default(),
                    format!(
                        "`{}` and `{}` give the same packets two rates or sizes at the same time",
                        fault.name, other.name
                    ),
                )
                .help("let one end before the other begins, or make one fault of them")
                .related(field(&other.name).unwrap_or_default(), "the other fault"),
            );
        }
    }
}

fn overlap(a: &Fault, b: &Fault) -> bool {
    let before = |until: Option<Instant>, from: Instant| until.is_some_and(|until| until <= from);
    !before(a.until, b.from) && !before(b.until, a.from)
}
