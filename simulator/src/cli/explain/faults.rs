//! The faults in a packet's way, whether or not they took it: one that takes packets by chance may have spared this one.

use overlab_dataplane::Instant;

use crate::fabric::{Fault, NicId};
use crate::observe::{PlaceKind, Trace};
use crate::scenario::Model;

/// What each fault does that was active between two machines of a packet's way while it was on it.
pub(super) fn on_the_way(model: &Model, trace: &Trace) -> Vec<String> {
    let machines = || model.nodes.iter().chain(&model.hosts).zip((0..).map(NicId));
    let card = |name: &str| machines().find(|(machine, _)| *machine.name == *name).map(|(_, card)| card);
    let is_machine = |kind| matches!(kind, PlaceKind::Node | PlaceKind::Host);
    let on_machines = trace.hops.iter().filter(|hop| is_machine(hop.place.kind));
    let cards: Vec<_> = on_machines.filter_map(|hop| Some((hop.at, card(&hop.place.name)?))).collect();
    let concerns = |fault: &&Fault| {
        let mut pairs = cards.windows(2).filter_map(|pair| match pair {
            [from, to] if from.1 != to.1 => Some((*from, *to)),
            _ => None,
        });
        pairs.any(|((left, from), (came, to))| is_active(fault, left, came) && fault.scope.holds(Some(from), to))
    };
    model.faults.iter().filter(concerns).map(tell).collect()
}

fn is_active(fault: &Fault, left: Instant, came: Instant) -> bool {
    fault.from <= came && fault.until.is_none_or(|until| left < until)
}

fn tell(fault: &Fault) -> String {
    let until = fault.until.map_or_else(|| "the end".to_owned(), |until| until.to_string());
    format!("fault {} from {} to {until}: {}", fault.name, fault.from, fault.effect)
}
