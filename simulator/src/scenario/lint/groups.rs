//! Security groups that concern nobody.

use super::{Found, Lint, Subject};
use crate::fabric::DEFAULT_GROUP;
use crate::scenario::model::Machine;

pub(super) const GROUP_ON_NO_CARD: Lint = Lint {
    id: "GROUP_ON_NO_CARD",
    why: "rules of a group hold for the cards that are in it, and cards that the scenario puts into none are in the default group",
    remedy: "put nodes into it (`groups: [NAME]`), or name the group `default`",
    link: "https://docs.aws.amazon.com/vpc/latest/userguide/default-security-group.html",
    find: on_no_card,
};

/// Groups of underlays none of whose cards is ever in a group.
fn on_no_card(subject: &Subject<'_>, found: &mut Found) {
    let Some(model) = subject.wires.map(|wires| wires.model) else {
        return;
    };
    let later = model
        .rewirings
        .iter()
        .flat_map(|wires| wires.nodes.iter().chain(&wires.hosts));
    let machines: Vec<&Machine> = model.nodes.iter().chain(&model.hosts).chain(later).collect();
    for (place, underlay) in model.underlays.iter().enumerate() {
        let cards = machines.iter().flat_map(|machine| &machine.cards);
        let mut cards = cards.filter(|card| card.underlay == place).peekable();
        let Some(first) = cards.peek().map(|card| card.field.clone()) else {
            continue;
        };
        if cards.any(|card| !card.groups.is_empty()) {
            continue;
        }
        let groups = underlay.security_groups.keys().filter(|group| ***group != *DEFAULT_GROUP);
        found.extend(groups.map(|group| {
            let message = format!(
                "group {group} of {} is on no card: all of them are in the default one",
                underlay.name
            );
            (first.clone(), message)
        }));
    }
}
