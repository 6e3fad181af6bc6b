//! Wires that change during a run: what the timeline sets, applied to the scenario as it is written and read again.

use std::collections::BTreeSet;
use std::sync::Arc;

use overlab_dataplane::Instant;
use overlab_dataplane::fields::{FieldPath, FieldRef, Fields, Refusal, Segment};
use serde_json::Value;

use super::cards;
use super::cast::Cast;
use super::gateways;
use super::machines::{self, Machines};
use super::names::Names;
use super::timeline::Setting;
use super::underlay::{self, Wires};
use super::{provided, routes};
use crate::scenario::file::Written;
use crate::scenario::model::{Card, Gateway, Machine, Model, Rewiring};
use crate::scenario::rollout::FelixCheck;
use crate::scenario::tree::{Patch, put};
use crate::scenario::yaml::Positions;

/// The parts of `spec` that are wires.
const WIRES: [&str; 4] = ["underlay.", "gateways.", "nodes.", "hosts."];

/// The wires from each instant on at which something is set or its end is reached.
pub(super) fn rewirings(written: &Written, settings: &[Setting<'_>], cast: &Cast, refusals: &mut Vec<Refusal>) -> Vec<Rewiring> {
    let before = refusals.len();
    for (i, setting) in settings.iter().enumerate() {
        check(setting, &settings[..i], refusals);
        // What another event has set may well be set back.
        let meets = |other: &Setting<'_>| other.path.starts_with(setting.path) || setting.path.starts_with(other.path);
        let alone = settings.iter().enumerate().all(|(j, other)| i == j || !meets(other));
        if alone && sets_what_is_so(written, setting) {
            let refusal = Refusal::new(
                "E-EVENT",
                setting.field.clone(),
                format!("`{}` is that already", setting.path),
            );
            refusals.push(refusal.at_key().help("set another value, or remove the event"));
        }
    }
    let instants = settings.iter().flat_map(|setting| [Some(setting.from), setting.until]);
    let instants: BTreeSet<Instant> = instants.flatten().collect();
    if refusals.len() > before || !cast.sound {
        return Vec::new();
    }
    let mut rewirings = Vec::new();
    for at in instants {
        let is_set = |setting: &&Setting<'_>| setting.from <= at && setting.until.is_none_or(|until| at < until);
        let active: Vec<_> = settings.iter().filter(is_set).collect();
        let rewired = rewired(written, at, &active, cast, refusals);
        rewirings.extend(rewired.map(|wires| Rewiring {
            set_by: set_by(settings, at),
            ..wires
        }));
    }
    rewirings
}

/// The event that sets something at an instant, or else the end of one.
fn set_by(settings: &[Setting<'_>], at: Instant) -> Option<(Arc<str>, FieldRef)> {
    let begun = settings.iter().rfind(|setting| setting.from == at);
    let ended = || settings.iter().rfind(|setting| setting.until == Some(at));
    let begun = begun.map(|setting| (setting.event.clone(), setting.field.clone()));
    begun.or_else(|| Some((format!("{}.end", ended()?.event).into(), ended()?.field.clone())))
}

fn check(setting: &Setting<'_>, earlier: &[Setting<'_>], refusals: &mut Vec<Refusal>) {
    let Setting { path, field, .. } = setting;
    if !WIRES.iter().any(|part| path.starts_with(part)) {
        refusals.push(
            Refusal::new("E-EVENT", field.clone(), format!("`{path}` does not change during a run"))
                .at_key()
                .why("what is set here are wires; the datastore changes by `patch`, `apply` and `delete`")
                .help("set something below `underlay.`, `gateways.`, `nodes.` or `hosts.`"),
        );
    }
    let meets = |other: &&Setting<'_>| {
        let apart = |a: &Setting<'_>, b: &Setting<'_>| a.until.is_some_and(|until| until <= b.from);
        other.path == *path && !apart(setting, other) && !apart(other, setting)
    };
    if let Some(other) = earlier.iter().find(meets) {
        refusals.push(
            Refusal::new("E-EVENT", field.clone(), format!("`{path}` is set twice at the same time"))
                .at_key()
                .help("let one event end before the other begins")
                .related(other.field.clone(), "it is set here"),
        );
    }
}

/// Whether the scenario says as much without the event.
fn sets_what_is_so(written: &Written, setting: &Setting<'_>) -> bool {
    let Some(document) = &written.scenario else { return false };
    let (mut value, mut positions) = (document.value.clone(), written.sources.positions(document.origin).clone());
    set(setting, &mut value, &mut positions) && value == document.value
}

/// Sets what is set; false if the path leads through a list or a word.
fn set(setting: &Setting<'_>, value: &mut Value, positions: &mut Positions) -> bool {
    let places = positions.clone();
    let patch = Patch {
        value: setting.value,
        positions: &places,
        key: places.span,
    };
    put(value, positions, &format!("spec.{}", setting.path), patch).is_ok()
}

fn rewired(
    written: &Written,
    at: Instant,
    active: &[&Setting<'_>],
    cast: &Cast,
    refusals: &mut Vec<Refusal>,
) -> Option<Rewiring> {
    let document = written.scenario.as_ref()?;
    let mut value = document.value.clone();
    let mut positions = written.sources.positions(document.origin).clone();
    for setting in active {
        if !set(setting, &mut value, &mut positions) {
            let refusal = Refusal::new(
                "E-EVENT",
                setting.field.clone(),
                format!("`{}` leads through a list or a word", setting.path),
            );
            refusals.push(refusal.at_key().help("set the list as a whole"));
            return None;
        }
    }
    let mut wrong = Vec::new();
    let (wires, machines) = read(&value, written, &mut wrong);
    let blamed = active.last().map(|setting| setting.field.clone()).unwrap_or_default();
    if let Some(wrong) = wrong.into_iter().next() {
        let leads_through =
            |setting: &&Setting<'_>| format!("spec.{}", setting.path).starts_with(&format!("{}.", wrong.field.path));
        let is_led_through = active.iter().any(leads_through);
        if wrong.code == "K-MISSING" && is_led_through && !is_written(&document.value, &wrong.field.path) {
            let refusal = Refusal::new("E-EVENT", blamed, format!("no `{}` is written", wrong.field.path)).at_key();
            let refusal = refusal.why("machines, cards and subnets stay what they are during a run: nothing new comes");
            refusals.push(refusal.help("set what is written there; the keys of `eth0` are the machine's own, as `nodes.a1.mtu`"));
            return None;
        }
        let refusal = Refusal::new(wrong.code, blamed, format!("then {}", wrong.message));
        refusals.push(wrong.help.into_iter().fold(refusal, Refusal::help));
        return None;
    }
    if let Some((message, help)) = out_of_place(&wires, &machines, cast) {
        refusals.push(Refusal::new("E-EVENT", blamed, message).at_key().help(help));
        return None;
    }
    let mut nodes = machines.nodes;
    let checks_set = keep_checks(&mut nodes, active, cast);
    Some(Rewiring {
        checks_set,
        set_by: None,
        at,
        underlays: wires.underlays,
        gateways: wires.gateways,
        nodes,
        hosts: machines.hosts,
    })
}

/// Whether a document has a field.
fn is_written(document: &Value, path: &FieldPath) -> bool {
    let found = path.0.iter().try_fold(document, |value, segment| match segment {
        Segment::Key(key) => value.get(key),
        Segment::Index(index) => value.get(*index),
    });
    found.is_some()
}

/// What stays as it is through a run and would not, if anything; and what to set instead.
fn out_of_place(wires: &Wires, machines: &Machines, cast: &Cast) -> Option<(&'static str, &'static str)> {
    let names = |gateways: &[Gateway]| gateways.iter().map(|gateway| gateway.name.clone()).collect::<Vec<_>>();
    if names(&wires.gateways) != names(&cast.gateways) {
        return Some(("gateways come and go in no run", "set the routes that lead to them"));
    }
    let same = |new: &[Machine], old: &[Machine]| {
        let place = |card: &Card| (card.name.clone(), card.underlay, card.subnet, card.addresses);
        let key = |machine: &Machine| (machine.name.clone(), machine.cards.iter().map(place).collect::<Vec<_>>());
        new.iter().map(key).eq(old.iter().map(key))
    };
    (!same(&machines.nodes, &cast.nodes) || !same(&machines.hosts, &cast.hosts)).then_some((
        "machines keep their place and address during a run",
        "set properties of their interfaces, groups, routes or sizes",
    ))
}

/// Leaves the checks of first cards as Felix has set them when it started, but for those that are set by name; tells which these are.
fn keep_checks(nodes: &mut [Machine], active: &[&Setting<'_>], cast: &Cast) -> BTreeSet<usize> {
    let mut checks_set = BTreeSet::new();
    for (place, (node, now)) in nodes.iter_mut().zip(&cast.nodes).enumerate() {
        let named = |key: &str| {
            active
                .iter()
                .any(|setting| *setting.path == format!("nodes.{}.{key}", node.name))
        };
        if cards::check_keys().any(|(key, _)| named(key)) {
            checks_set.insert(place);
        } else {
            node.cards[0].source_destination_check = now.primary().source_destination_check;
        }
    }
    checks_set
}

/// The wires with the checks as Felix sets them when it starts during the run. What was said last holds: by the timeline as it
/// sets a check, or by Felix. When the end of what the timeline set has come, Felix's word counts again.
pub(super) fn checked(model: &Model, starts: &[FelixCheck]) -> Vec<Rewiring> {
    let mut felix: Vec<bool> = model
        .nodes
        .iter()
        .map(|node| node.primary().source_destination_check)
        .collect();
    let mut set: Vec<Option<bool>> = vec![None; felix.len()];
    let mut now = Rewiring {
        at: Instant::ZERO,
        underlays: model.underlays.clone(),
        gateways: model.gateways.clone(),
        nodes: model.nodes.clone(),
        hosts: model.hosts.clone(),
        checks_set: BTreeSet::new(),
        set_by: None,
    };
    let rewirings = model.rewirings.iter().map(|wires| wires.at);
    let instants: BTreeSet<Instant> = rewirings.chain(starts.iter().map(|start| start.at)).collect();
    let mut all = Vec::new();
    for at in instants {
        let other = model.rewirings.iter().find(|wires| wires.at == at);
        if let Some(other) = other {
            let mut other = other.clone();
            for (place, node) in other.nodes.iter_mut().enumerate() {
                let check = &mut node.cards[0].source_destination_check;
                let said = other.checks_set.contains(&place).then_some(*check);
                *check = if said == set[place] {
                    now.nodes[place].primary().source_destination_check
                } else {
                    said.unwrap_or(felix[place])
                };
                set[place] = said;
            }
            now = other;
        }
        let mut changed = other.is_some();
        for start in starts.iter().filter(|start| start.at == at) {
            let check = &mut now.nodes[start.node].cards[0].source_destination_check;
            changed |= *check != start.on;
            *check = start.on;
            felix[start.node] = start.on;
        }
        if changed {
            now.at = at;
            now.set_by = other.and_then(|other| other.set_by.clone());
            all.push(now.clone());
        }
    }
    all
}

fn read(value: &Value, written: &Written, refusals: &mut Vec<Refusal>) -> (underlay::Wires, Machines) {
    let mut root = Fields::new(value, written.root(), refusals);
    let mut spec = root.fields("spec", refusals);
    let mut names = Names::default();
    let mut wires = underlay::read(&mut spec, &mut names, refusals);
    gateways::read(&mut spec, &mut wires, &mut names, refusals);
    let machines = machines::read(&mut spec, &wires, &mut names, refusals);
    routes::resolve(&mut wires, &machines, refusals);
    provided::finish(&mut wires, &machines, refusals);
    (wires, machines)
}
