//! The sim backend: virtual time, and small host stacks. It needs no privilege, and the same run gives the same bytes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use overlab_dataplane::{Instant, Packet};

use super::{Backend, BackendError, FlowStart, HostAction, HostEvent, PortId, StackId};
use crate::scenario::{Flow, FlowId, Transport};
use crate::workload::{HostStack, Socket};

/// Virtual time and its stacks.
#[derive(Debug, Default)]
pub struct Sim {
    now: Instant,
    stacks: BTreeMap<StackId, HostStack>,
    ports: BTreeMap<PortId, StackId>,
    flows: BTreeMap<FlowId, FlowStart>,
    /// Stacks with TCP.
    timed: BTreeSet<StackId>,
    /// Packets to be sent, and connections to be opened: when, of which flow, which one.
    sends: BinaryHeap<Reverse<(Instant, FlowId, u32)>>,
    /// What stacks did since the last wait.
    events: Vec<HostEvent>,
}

impl Sim {
    /// A backend at the start of time.
    pub fn new() -> Sim {
        Sim::default()
    }

    fn start(&mut self, start: FlowStart) {
        let socket = |sender, destination_port| Socket {
            id: start.id,
            flow: Flow {
                destination_port,
                ..start.flow.clone()
            },
            sender,
            seed: start.seed,
        };
        if let Some(stack) = self.stacks.get_mut(&start.from) {
            stack.open(socket(true, start.flow.destination_port));
        }
        for (to, port) in &start.to {
            if let Some(stack) = self.stacks.get_mut(to) {
                stack.open(socket(false, *port));
            }
        }
        if start.flow.transport == Transport::Tcp {
            self.timed.extend(start.to.iter().map(|(to, _)| *to).chain([start.from]));
        }
        if start.flow.count > 0 {
            self.sends.push(Reverse((start.flow.start, start.id, 0)));
        }
        self.flows.insert(start.id, start);
    }

    /// When a stack does something by itself.
    fn next_timer(&self) -> Option<Instant> {
        let stacks = self.timed.iter().filter_map(|id| self.stacks.get(id));
        stacks.filter_map(HostStack::next_deadline).min()
    }

    fn advance_timers(&mut self) {
        for id in &self.timed {
            if let Some(stack) = self.stacks.get_mut(id) {
                stack.advance(self.now, &mut self.events);
            }
        }
    }

    fn send_due(&mut self) {
        while let Some(Reverse((at, id, sequence))) = self.sends.peek().copied() {
            if at > self.now {
                return;
            }
            self.sends.pop();
            let Some(start) = self.flows.get(&id) else { continue };
            if start.flow.transport == Transport::Tcp {
                if let Some(stack) = self.stacks.get_mut(&start.from) {
                    stack.connect(self.now, start, &mut self.events);
                }
                continue;
            }
            if let Some(stack) = self.stacks.get_mut(&start.from) {
                stack.send(self.now, id, &start.flow, sequence, &mut self.events);
            }
            if sequence + 1 < start.flow.count {
                let next = start.flow.start.saturating_add(start.flow.interval * (sequence + 1));
                self.sends.push(Reverse((next, id, sequence + 1)));
            }
        }
    }
}

impl Backend for Sim {
    fn now(&self) -> Instant {
        self.now
    }

    fn wait(&mut self, deadline: Option<Instant>, events: &mut Vec<HostEvent>) -> Result<(), BackendError> {
        if self.events.is_empty() {
            let next_send = self.sends.peek().map(|Reverse((at, ..))| *at);
            let now = self.now;
            let next = deadline.into_iter().chain(next_send).chain(self.next_timer()).min();
            self.now = now.max(next.unwrap_or(now));
            // What the driver does at its deadline comes before what is sent at it.
            if self.now == now || Some(self.now) != deadline {
                self.send_due();
                self.advance_timers();
            }
        }
        events.append(&mut self.events);
        Ok(())
    }

    fn deliver(&mut self, port: PortId, packet: Packet) {
        if let Some(stack) = self.ports.get(&port).and_then(|stack| self.stacks.get_mut(stack)) {
            stack.receive(self.now, packet, &mut self.events);
        }
    }

    fn host(&mut self, action: HostAction) -> Result<(), BackendError> {
        match action {
            HostAction::Attach(stack) => {
                self.ports.extend(stack.devices.iter().map(|device| (device.port, stack.id)));
                self.stacks.insert(stack.id, HostStack::new(stack));
            }
            HostAction::Configure(stack) => {
                if let Some(there) = self.stacks.get_mut(&stack.id) {
                    there.configure(stack);
                }
            }
            HostAction::Detach { stack } => {
                self.stacks.remove(&stack);
                self.ports.retain(|_, owner| *owner != stack);
            }
            HostAction::Start(start) => self.start(start),
            HostAction::Stop { flow } => {
                self.sends.retain(|Reverse((_, id, _))| *id != flow);
                if let Some(stack) = self.flows.get(&flow).and_then(|start| self.stacks.get_mut(&start.from)) {
                    stack.stop(self.now, flow);
                }
            }
        }
        Ok(())
    }
}
