//! The world: engines and fabric as one state machine. Packets go in by ports and come out by ports; in between time passes
//! only when the driver says so.

mod build;
mod flows;
mod queue;
mod stacks;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use overlab_dataplane::encap::Encap;
use overlab_dataplane::engine::{Drop, Engine, Ingress, Out, Outcome};
use overlab_dataplane::route::{DeviceId, NodeTables};
use overlab_dataplane::wire::IpView;
use overlab_dataplane::{Instant, Packet, Tag};

use crate::fabric::{self, Fabric, NicId};
use crate::host::{FlowStart, HostAction, HostEvent, PortId, Stack, StackId};
use crate::observe::{
    Capture, Connections, Direction, DropReason, History, Hop, Observer, Place, PlaceKind, Step, TapId, Trace, WirePacket,
    wire_packet,
};
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

    /// The fault that takes this packet of a flow by its number, if one does.
    fn taken_by_number(&mut self, now: Instant, packet: &Packet) -> Option<Place> {
        let key = self.observer.key(packet.tag()).filter(|_| !is_later_fragment(packet))?;
        let concerns = |fault: &FlowFault| {
            let reverse = key.direction == Direction::Reverse;
            let active = fault.from <= now && fault.until.is_none_or(|until| now < until);
            active && fault.flow == key.flow && fault.reverse == reverse
        };
        let mut taken = None;
        for (fault, seen) in self.flow_faults.iter_mut().filter(|(fault, _)| concerns(fault)) {
            *seen += 1;
            if fault.numbers.contains(seen) {
                taken = Some(Place {
                    kind: PlaceKind::Fault,
                    name: fault.name.clone(),
                });
            }
        }
        taken
    }

    fn inject(&mut self, now: Instant, id: PortId, mut packet: Packet) {
        let Some(port) = self.ports.get(id.0 as usize) else { return };
        self.observer.left_stack(&mut packet, &port.stack, now);
        if let Some(tap) = port.tap {
            self.capture.packet(tap, now, packet.bytes());
        }
        let later_fragment = is_later_fragment(&packet);
        if packet.tag() != Tag::NONE && port.stack.kind == PlaceKind::Workload {
            let node = port.attached.and_then(|(machine, _)| self.machines.get(machine));
            let vxlan_port = node.map_or(0, |node| node.engine.tables().vxlan_port);
            let left = wire_packet(packet.bytes(), vxlan_port).into_iter().collect();
            let place = port.stack.clone();
            self.observer.hop(
                packet.tag(),
                Hop {
                    at: now,
                    place,
                    later_fragment,
                    steps: Vec::new(),
                    outer: None,
                    tables: None,
                    left,
                },
            );
        }
        match port.attached {
            Some((machine, ingress)) => self.engine(now, machine, ingress, packet, true),
            None => {
                let place = port.stack.clone();
                self.lost_without_interface(now, packet.tag(), place);
            }
        }
    }

    fn engine(&mut self, now: Instant, machine: usize, ingress: Ingress, packet: Packet, first_hop: bool) {
        let tag = packet.tag();
        let later_fragment = tag != Tag::NONE && is_later_fragment(&packet);
        self.machines[machine].engine.handle(now, ingress, packet, &mut self.outcome);
        self.take_outcome(now, machine, tag, later_fragment, first_hop);
    }

    fn take_outcome(&mut self, now: Instant, index: usize, tag: Tag, later_fragment: bool, first_hop: bool) {
        let mut outcome = std::mem::take(&mut self.outcome);
        if tag != Tag::NONE {
            self.observe_outcome(now, index, tag, later_fragment, first_hop, &outcome);
        }
        for out in outcome.out.drain(..) {
            match out {
                Out::Transmit {
                    device,
                    next_hop,
                    packet,
                } => {
                    let taken = if first_hop { self.taken_by_number(now, &packet) } else { None };
                    if let Some(place) = taken {
                        let text = format!("fault {}: lost by its number", place.name);
                        self.lost(now, packet.tag(), place, fabric::DropReason::Injected, Step::Fabric(text));
                        continue;
                    }
                    let nic = NicId {
                        machine: index as u32,
                        card: device.0,
                    };
                    self.capture.packet(self.machines[index].tap(nic), now, packet.bytes());
                    self.fabric.transmit(now, nic, next_hop, packet, &mut self.fabric_out);
                    self.take_fabric_output(now);
                }
                Out::Deliver {
                    device,
                    workload,
                    packet,
                } => self.deliver(now, index, device, workload, packet),
            }
        }
        outcome.clear();
        self.outcome = outcome;
    }

    fn lost_without_interface(&mut self, now: Instant, tag: Tag, place: Place) {
        let step = Step::Stack("the workload's interface is gone".to_owned());
        self.lost(now, tag, place, fabric::DropReason::LinkDown, step);
    }

    fn lost(&mut self, now: Instant, tag: Tag, place: Place, reason: fabric::DropReason, step: Step) {
        let reason = DropReason::Fabric(reason);
        self.observer.dropped(tag, reason, &place, now);
        self.observer.hop(
            tag,
            Hop {
                at: now,
                place,
                later_fragment: false,
                steps: vec![step, Step::Dropped(reason)],
                outer: None,
                tables: None,
                left: Vec::new(),
            },
        );
    }

    fn observe_outcome(
        &mut self,
        now: Instant,
        index: usize,
        tag: Tag,
        later_fragment: bool,
        first_hop: bool,
        outcome: &Outcome,
    ) {
        let machine = &self.machines[index];
        let tables = machine.engine.tables();
        let mut steps: Vec<Step> = outcome.steps.iter().copied().map(Step::Engine).collect();
        if let Some(Drop { reason, device }) = outcome.drop {
            let reason = DropReason::Node(reason);
            let place = match device.and_then(|device| tables.device(device)) {
                Some(device) => Place {
                    kind: PlaceKind::Device,
                    name: Arc::from(format!("{}/{}", tables.node, device.name)),
                },
                None => machine.place.clone(),
            };
            steps.push(Step::Dropped(reason));
            self.observer.dropped(tag, reason, &place, now);
        }
        let mut left: Vec<WirePacket> = Vec::new();
        for out in outcome.out.iter().filter(|out| out.packet().tag() == tag) {
            let Some(headers) = wire_packet(out.packet().bytes(), tables.vxlan_port) else {
                continue;
            };
            if first_hop && matches!(out, Out::Transmit { .. }) {
                self.observer.first_hop(tag, with_train(&left, headers.clone()));
            }
            left.push(with_train(&left, headers));
        }
        let tables = Some(tables.clone());
        self.observer.hop(
            tag,
            Hop {
                at: now,
                place: machine.place.clone(),
                later_fragment,
                steps,
                outer: None,
                tables,
                left,
            },
        );
    }

    fn deliver(&mut self, now: Instant, index: usize, device: DeviceId, workload: bool, packet: Packet) {
        let machine = &self.machines[index];
        let ports = usize::from(device.0);
        let port = match workload {
            true => machine.workload_ports.get(ports).copied().flatten(),
            false => machine.own_ports.get(ports).copied().flatten(),
        };
        let port = port.and_then(|id| Some((id, self.ports.get(id.0 as usize)?)));
        let here = |port: &Port| port.attached.is_some_and(|(machine, _)| machine == index);
        let Some((id, port)) = port.filter(|(_, port)| here(port)) else {
            let device = machine.engine.tables().device(device).map_or("", |device| &device.name);
            let place = Place {
                kind: PlaceKind::Device,
                name: Arc::from(format!("{}/{device}", machine.place.name)),
            };
            return self.lost_without_interface(now, packet.tag(), place);
        };
        if let Some(tap) = port.tap {
            self.capture.packet(tap, now, packet.bytes());
        }
        self.observer.reached_stack(&packet, &port.stack, now);
        if packet.tag() != Tag::NONE && workload {
            let later_fragment = is_later_fragment(&packet);
            let place = port.stack.clone();
            let hop = Hop {
                at: now,
                place,
                later_fragment,
                steps: Vec::new(),
                outer: None,
                tables: None,
                left: Vec::new(),
            };
            self.observer.hop(packet.tag(), hop);
        }
        self.deliveries.push((id, packet));
    }

    fn take_fabric_output(&mut self, now: Instant) {
        let mut out = std::mem::take(&mut self.fabric_out);
        for record in out.records.drain(..) {
            let mut steps = vec![Step::Fabric(record.text)];
            if let Some(reason) = record.dropped {
                steps.push(Step::Dropped(DropReason::Fabric(reason)));
                self.observer
                    .dropped(record.tag, DropReason::Fabric(reason), &record.place, now);
            }
            let (place, later_fragment) = (record.place, record.later_fragment);
            self.observer.hop(
                record.tag,
                Hop {
                    at: now,
                    place,
                    later_fragment,
                    steps,
                    outer: record.outer,
                    tables: None,
                    left: Vec::new(),
                },
            );
        }
        for transit in out.transits.drain(..) {
            self.queue.push(transit);
        }
        for (nic, packet) in out.arrived.drain(..) {
            let index = nic.machine as usize;
            self.capture.packet(self.machines[index].tap(nic), now, packet.bytes());
            let ingress = Ingress::Device(DeviceId(nic.card));
            self.engine(now, index, ingress, packet, false);
        }
        out.transits.append(&mut self.fabric_out.transits);
        self.fabric_out = out;
    }
}

fn is_later_fragment(packet: &Packet) -> bool {
    IpView::unverified(packet.bytes()).is_ok_and(|ip| ip.fragment_offset() > 0)
}

/// A later fragment of a VXLAN packet shows no VXLAN header; it wears what the first fragment of its train wears.
fn with_train(before: &[WirePacket], mut headers: WirePacket) -> WirePacket {
    if headers.outer.later_fragment
        && headers.encap == Encap::None
        && let Some(first) = before.iter().find(|p| p.outer.fragment && !p.outer.later_fragment)
    {
        headers.encap = first.encap;
    }
    headers
}
