//! The ports of all cards, by card, and what security groups say of a packet between two of them. What else a port does is not here.

use std::ops::{Index, IndexMut};

use overlab_dataplane::wire::FlowKey;

use super::NicId;
use super::port::{Port, own_ranges, port};
use super::preset::GroupMatch;
use super::security::{Admission, admission};
use crate::scenario::{Card, Model};

/// The ports of a model's cards, machine by machine.
#[derive(Debug)]
pub(super) struct Ports(Vec<Vec<Port>>);

impl Index<NicId> for Ports {
    type Output = Port;

    fn index(&self, nic: NicId) -> &Port {
        &self.0[nic.machine as usize][usize::from(nic.card)]
    }
}

impl IndexMut<NicId> for Ports {
    fn index_mut(&mut self, nic: NicId) -> &mut Port {
        &mut self.0[nic.machine as usize][usize::from(nic.card)]
    }
}

impl Ports {
    /// The ports of a model. `segment` gives the place of a card's subnet among the segments.
    pub(super) fn new(model: &Model, segment: impl Fn(&Card) -> usize) -> Ports {
        let machines = model.nodes.iter().chain(&model.hosts);
        let of_machine = machines.map(|machine| {
            let cards = machine.cards.iter().enumerate();
            let of_card = cards.map(|(number, card)| {
                let underlay = &model.underlays[card.underlay];
                let own = own_ranges(underlay, &model.gateways);
                port((&machine.name, number, card), underlay, &own, segment(card))
            });
            of_card.collect()
        });
        Ports(of_machine.collect())
    }

    /// Every port with its card.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NicId, &Port)> {
        let machines = self.0.iter().zip(0..);
        machines.flat_map(|(ports, machine)| ports.iter().zip(0..).map(move |(port, card)| (NicId { machine, card }, port)))
    }

    /// Takes over what the ports of the same cards remembered before their rules were changed.
    pub(super) fn succeed(&mut self, earlier: Ports) {
        let earlier = earlier.0.into_iter().flatten();
        for (port, earlier) in self.0.iter_mut().flatten().zip(earlier) {
            port.succeed(earlier);
        }
    }

    /// Whether rules of a card's groups let a packet out.
    pub(super) fn leaving(&self, nic: NicId, flow: &FlowKey) -> Admission {
        let (port, destination) = (&self[nic], flow.destination);
        let member = |group: &str| {
            let mut others = self.0.iter().flatten();
            others.any(|other| other.is_own(destination) && other.is_in(group, port))
        };
        admission((&port.rules.egress, &port.rules.ingress), flow, destination, member)
    }

    /// Whether rules of a card's groups let a packet in. `sender` is the card that sent it, if one did.
    pub(super) fn entering(&self, nic: NicId, sender: Option<NicId>, flow: &FlowKey) -> Admission {
        let (port, source) = (&self[nic], flow.source);
        let member = |group: &str| match port.security.group_match {
            GroupMatch::SenderCard => sender.is_some_and(|sender| self[sender].is_in(group, port)),
            GroupMatch::SourceAddress => {
                let mut others = self.0.iter().flatten();
                others.any(|other| other.is_own(source) && other.is_in(group, port))
            }
        };
        admission((&port.rules.ingress, &port.rules.egress), flow, source, member)
    }
}
