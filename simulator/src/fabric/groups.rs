//! What security groups say of the first packet of a connection, by their rules alone: nobody has opened anything for it.

use overlab_dataplane::wire::FlowKey;

use super::NicId;
use super::ports::Ports;
use super::security::Admission;
use crate::scenario::Model;

/// The security groups of a model's cards.
#[derive(Debug)]
pub struct Groups {
    ports: Ports,
}

impl Groups {
    /// The groups of a model at the start.
    pub fn new(model: &Model) -> Groups {
        Groups {
            ports: Ports::new(model, |_| 0),
        }
    }

    /// Whether a card asks any rules.
    pub fn is_guarded(&self, card: NicId) -> bool {
        self.ports[card].guarded
    }

    /// Whether rules let a packet out of a card.
    pub fn let_out(&self, card: NicId, flow: &FlowKey) -> bool {
        !self.is_guarded(card) || self.ports.leaving(card, flow) != Admission::None
    }

    /// Whether rules let a packet of another card into a card.
    pub fn let_in(&self, card: NicId, sender: NicId, flow: &FlowKey) -> bool {
        !self.is_guarded(card) || self.ports.entering(card, Some(sender), flow) != Admission::None
    }

    /// The names of a card's groups.
    pub fn names(&self, card: NicId) -> String {
        self.ports[card].groups.join(", ")
    }
}
