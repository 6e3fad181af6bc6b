//! What the applications of flows did: sent, answered, received, or were refused by their stack.

use overlab_dataplane::{Instant, engine};

use super::World;
use crate::host::{FlowEvent, SendError};
use crate::observe::{Direction, DropReason, PacketKey};
use crate::scenario::FlowId;

impl World {
    pub(super) fn flow_event(&mut self, flow: FlowId, at: Instant, event: FlowEvent) {
        let key = |direction, sequence| PacketKey {
            flow,
            direction,
            sequence,
        };
        match event {
            FlowEvent::Sent { sequence } => {
                self.unsent = self.unsent.saturating_sub(1);
                self.observer.sent(key(Direction::Forward, sequence), at);
            }
            FlowEvent::Connection(event) => self.observer.connection(flow, at, event),
            FlowEvent::Answered { sequence } => self.observer.sent(key(Direction::Reverse, sequence), at),
            FlowEvent::Received {
                direction,
                sequence,
                from,
                ..
            } => {
                self.observer.received(key(direction, sequence), at, Some(from));
            }
            FlowEvent::SendRefused {
                direction,
                sequence,
                reason,
            } => {
                let reason = DropReason::Node(match reason {
                    SendError::TooBig => engine::DropReason::TooBig,
                    SendError::NoRoute | SendError::Other(_) => engine::DropReason::NoRoute,
                });
                let start = self.starts.iter().find(|start| start.id == flow);
                let stack = start.and_then(|start| match direction {
                    Direction::Forward => Some(start.from),
                    Direction::Reverse => start.to.first().map(|(stack, _)| *stack),
                });
                let place = stack
                    .and_then(|stack| self.stacks.iter().find(|s| s.id == stack))
                    .and_then(|stack| {
                        let port = stack.devices.first()?.port;
                        self.ports.get(port.0 as usize).map(|port| port.stack.clone())
                    });
                if let Some(place) = place {
                    self.observer.refused(key(direction, sequence), reason, &place, at);
                }
            }
        }
    }
}
