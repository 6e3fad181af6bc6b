//! The world: engines and fabric as one state machine. Packets go in by ports and come out by ports; in between time passes
//! only when the driver says so.

mod build;
mod flows;
mod packets;
mod queue;
mod stacks;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use overlab_dataplane::engine::{Engine, Ingress, Outcome};
use overlab_dataplane::route::NodeTables;
use overlab_dataplane::{Instant, Packet, Tag};

use crate::fabric::{self, Fabric, NicId};
use crate::host::{FlowStart, HostAction, HostEvent, PortId, Stack, StackId};
use crate::observe::{Capture, Connections, DropReason, History, Observer, Place, TapId, Trace};
use crate::scenario::FlowFault;
use queue::Queue;

pub use build::tables;

/// A machine with its engine: a node of the cluster, or a host outside it.
#[derive(Debug)]
struct Machine {
    engine: Engine,
    place: Place,
    /// Where each of its network cards is captured; its first devices are these cards.
    taps: Vec<TapId>,
    /// Its own stack.
    stack: StackId,
    /// The port of its own stack for each device of its tables.
    own_ports: Vec<Option<PortId>>,
    /// The port of the workload behind each device of its tables.
    workload_ports: Vec<Option<PortId>>,
}

impl Machine {
    fn tap(&self, nic: NicId) -> TapId {
        self.taps[usize::from(nic.card)]
    }
}

/// What the timeline changes.
#[derive(Debug)]
enum Change {
    /// The wires.
    Wires(Box<Fabric>),
    /// What a machine works from.
    Tables { machine: usize, tables: Arc<NodeTables> },
}

/// What is behind a port.
#[derive(Debug)]
struct Port {
    /// The machine that it leads to, and how packets come into it; nothing while the workload is nowhere.
    attached: Option<(usize, Ingress)>,
    stack: Place,
    tap: Option<TapId>,
}

/// Engines, fabric, and what is under way between them.
#[derive(Debug)]
pub struct World {
    machines: Vec<Machine>,
    ports: Vec<Port>,
    fabric: Fabric,
    queue: Queue,
    /// What is going to change by itself, in the order of its time.
    changes: VecDeque<(Instant, Change)>,
    flow_faults: Vec<(FlowFault, u32)>,
    observer: Observer,
    capture: Capture,
    outcome: Outcome,
    fabric_out: fabric::Output,
    deliveries: Vec<(PortId, Packet)>,
    /// What stacks are to have from here on.
    actions: Vec<HostAction>,
    /// By their identities, as they are.
    stacks: Vec<Stack>,
    /// The stack of each workload, by its name.
    workloads: BTreeMap<Arc<str>, StackId>,
    starts: Vec<FlowStart>,
    /// Packets that applications have yet to send.
    unsent: u64,
    tables: Vec<History<Arc<NodeTables>>>,
}

impl World {
    /// The stacks that a backend has to supply.
    pub fn stacks(&self) -> &[Stack] {
        &self.stacks
    }

    /// The flows that a backend has to run.
    pub fn starts(&self) -> &[FlowStart] {
        &self.starts
    }

    /// The tables of every machine through the run, nodes first.
    pub fn tables(&self) -> &[History<Arc<NodeTables>>] {
        &self.tables
    }

    /// The earliest instant at which something happens by itself.
    pub fn next_deadline(&self) -> Option<Instant> {
        let reassembly = self
            .machines
            .iter()
            .filter_map(|machine| machine.engine.next_deadline())
            .min();
        let change = self.changes.front().map(|(at, _)| *at);
        self.queue.next().into_iter().chain(reassembly).chain(change).min()
    }

    /// Whether nothing is on any wire.
    pub fn is_idle(&self) -> bool {
        self.queue.next().is_none()
    }

    /// Whether everything was sent, and it is known of every packet how it ended.
    pub fn is_settled(&self) -> bool {
        self.unsent == 0 && self.observer.settled()
    }

    /// Takes what stacks are to have from here on; it comes before what has to be handed to them.
    pub fn actions(&mut self) -> std::vec::Drain<'_, HostAction> {
        self.actions.drain(..)
    }

    /// Takes what has to be handed to stacks.
    pub fn deliveries(&mut self) -> std::vec::Drain<'_, (PortId, Packet)> {
        self.deliveries.drain(..)
    }

    /// Ends the run.
    pub fn finish(self) -> (Vec<Trace>, Connections, Capture) {
        let (traces, connections) = self.observer.finish();
        (traces, connections, self.capture)
    }

    /// A stack did something.
    pub fn handle(&mut self, now: Instant, event: HostEvent) {
        match event {
            HostEvent::Packet { port, packet } => self.inject(now, port, packet),
            HostEvent::Flow { flow, at, event } => self.flow_event(flow, at, event),
        }
    }

    /// Lets everything happen that is due. At one instant changes come before arrivals.
    pub fn advance(&mut self, now: Instant) {
        loop {
            let arrival = self.queue.next().filter(|at| *at <= now);
            let change = self.changes.front().map(|(at, _)| *at).filter(|at| *at <= now);
            match (change, arrival) {
                (Some(change), arrival) if arrival.is_none_or(|arrival| change <= arrival) => self.change(),
                (_, Some(at)) => self.arrive(at),
                (_, None) => break,
            }
        }
        for index in 0..self.machines.len() {
            let machine = &mut self.machines[index];
            if machine.engine.next_deadline().is_some_and(|deadline| deadline <= now) {
                for tag in machine.engine.expire(now, &mut self.outcome) {
                    let reason = DropReason::Node(overlab_dataplane::engine::DropReason::ReassemblyFailed);
                    self.observer.dropped(tag, reason, &machine.place, now);
                }
                self.take_outcome(now, index, Tag::NONE, false, false);
            }
        }
    }

    fn change(&mut self) {
        match self.changes.pop_front() {
            Some((_, Change::Wires(fabric))) => {
                let earlier = std::mem::replace(&mut self.fabric, *fabric);
                self.fabric.succeed(earlier);
            }
            Some((_, Change::Tables { machine, tables })) => self.set_tables(machine, &tables),
            None => {}
        }
    }

    fn arrive(&mut self, at: Instant) {
        if let Some(transit) = self.queue.pop_due(at) {
            self.fabric.arrive(transit, &mut self.fabric_out);
            self.take_fabric_output(at);
        }
    }
}
