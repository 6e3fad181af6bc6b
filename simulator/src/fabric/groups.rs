//! What security groups say of the first packet of a connection, by their rules alone: nobody has opened anything for it.

use overlab_dataplane::wire::FlowKey;

use super::NicId;
use super::port::{Port, build, entering, leaving};
use super::security::Admission;
use crate::scenario::Model;

/// The security groups of a model's cards.
#[derive(Debug)]
pub struct Groups {
    ports: Vec<Port>,
}

impl Groups {
    /// The groups of a model at the start.
    pub fn new(model: &Model) -> Groups {
        let ports = build(model, |_| 0);
        Groups { ports }
    }

    /// Whether a card asks any rules.
    pub fn guard(&self, card: NicId) -> bool {
        self.ports[card.0 as usize].guarded
    }

    /// Whether rules let a packet out of a card.
    pub fn let_out(&self, card: NicId, flow: &FlowKey) -> bool {
        !self.guard(card) || leaving(&self.ports, card, flow) != Admission::None
    }

    /// Whether rules let a packet of another card into a card.
    pub fn let_in(&self, card: NicId, sender: NicId, flow: &FlowKey) -> bool {
        !self.guard(card) || entering(&self.ports, card, Some(sender), flow) != Admission::None
    }

    /// The names of a card's groups.
    pub fn names(&self, card: NicId) -> String {
        self.ports[card.0 as usize].groups.join(", ")
    }
}
