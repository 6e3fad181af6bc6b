//! The faults in a packet's way, whether or not they took it: one that takes packets by chance may have spared this one.

use overlab_dataplane::{Instant, engine};

use crate::fabric::{Fault, NicId};
use crate::observe::{Hop, PlaceKind, Step, Trace};
use crate::scenario::Model;

/// What each fault does that was active between two machines of a packet's way while it was on it.
pub(super) fn on_the_way(model: &Model, trace: &Trace) -> Vec<String> {
    let is_machine = |kind| matches!(kind, PlaceKind::Node | PlaceKind::Host);
    let on_machines = trace.hops.iter().filter(|hop| is_machine(hop.place.kind));
    let hops: Vec<_> = on_machines
        .filter_map(|hop| Some((hop, machine(model, &hop.place.name)?)))
        .collect();
    let concerns = |fault: &&Fault| {
        let mut pairs = hops.windows(2).filter_map(|pair| match pair {
            [(left, from), (came, to)] if from != to => {
                let from = NicId {
                    machine: *from,
                    card: card(left, false),
                };
                let to = NicId {
                    machine: *to,
                    card: card(came, true),
                };
                Some(((left.at, from), (came.at, to)))
            }
            _ => None,
        });
        pairs.any(|((left, from), (came, to))| is_active(fault, left, came) && fault.scope.holds(Some(from), to))
    };
    model.faults.iter().filter(concerns).map(tell).collect()
}

fn machine(model: &Model, name: &str) -> Option<u32> {
    let place = model
        .nodes
        .iter()
        .chain(&model.hosts)
        .position(|machine| *machine.name == *name)?;
    u32::try_from(place).ok()
}

/// The card that a packet came into a machine by, or left it by: the first, if nothing is told of one.
fn card(hop: &Hop, came: bool) -> u16 {
    let card = hop.steps.iter().find_map(|step| match step {
        Step::Engine(engine::Step::Received { device }) if came => Some(device.0),
        Step::Engine(engine::Step::Transmitted { device, .. }) if !came => Some(device.0),
        Step::Engine(_) | Step::Fabric(_) | Step::Stack(_) | Step::Dropped(_) => None,
    });
    card.unwrap_or_default()
}

fn is_active(fault: &Fault, left: Instant, came: Instant) -> bool {
    fault.from <= came && fault.until.is_none_or(|until| left < until)
}

fn tell(fault: &Fault) -> String {
    let until = fault.until.map_or_else(|| "the end".to_owned(), |until| until.to_string());
    format!("fault {} from {} to {until}: {}", fault.name, fault.from, fault.effect)
}
