//! Packets on their way between stacks, engines and the fabric, and what is observed of each on the way.

use std::sync::Arc;

use overlab_dataplane::encap::Encap;
use overlab_dataplane::engine::{Drop, Ingress, Out, Outcome};
use overlab_dataplane::route::DeviceId;
use overlab_dataplane::wire::IpView;
use overlab_dataplane::{Instant, Packet, Tag};

use super::{Port, World};
use crate::fabric::{self, NicId};
use crate::host::PortId;
use crate::observe::{Direction, DropReason, Hop, Place, PlaceKind, Step, WirePacket, wire_packet};
use crate::scenario::FlowFault;

impl World {
    /// A stack sends a packet by a port.
    pub(super) fn inject(&mut self, now: Instant, id: PortId, mut packet: Packet) {
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
            let hop = Hop {
                later_fragment,
                left,
                ..Hop::at(now, place)
            };
            self.observer.hop(packet.tag(), hop);
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

    /// Takes up what an engine made of a packet with this tag.
    pub(super) fn take_outcome(&mut self, now: Instant, index: usize, tag: Tag, later_fragment: bool, first_hop: bool) {
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

    fn lost_without_interface(&mut self, now: Instant, tag: Tag, place: Place) {
        let step = Step::Stack("the workload's interface is gone".to_owned());
        self.lost(now, tag, place, fabric::DropReason::LinkDown, step);
    }

    fn lost(&mut self, now: Instant, tag: Tag, place: Place, reason: fabric::DropReason, step: Step) {
        let reason = DropReason::Fabric(reason);
        self.observer.dropped(tag, reason, &place, now);
        let hop = Hop {
            steps: vec![step, Step::Dropped(reason)],
            ..Hop::at(now, place)
        };
        self.observer.hop(tag, hop);
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
        let hop = Hop {
            later_fragment,
            steps,
            tables: Some(tables.clone()),
            left,
            ..Hop::at(now, machine.place.clone())
        };
        self.observer.hop(tag, hop);
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
                later_fragment,
                ..Hop::at(now, place)
            };
            self.observer.hop(packet.tag(), hop);
        }
        self.deliveries.push((id, packet));
    }

    /// Takes up what the fabric has done.
    pub(super) fn take_fabric_output(&mut self, now: Instant) {
        let mut out = std::mem::take(&mut self.fabric_out);
        for record in out.records.drain(..) {
            let mut steps = vec![Step::Fabric(record.text)];
            if let Some(reason) = record.dropped {
                steps.push(Step::Dropped(DropReason::Fabric(reason)));
                self.observer
                    .dropped(record.tag, DropReason::Fabric(reason), &record.place, now);
            }
            let hop = Hop {
                later_fragment: record.later_fragment,
                steps,
                outer: record.outer,
                ..Hop::at(now, record.place)
            };
            self.observer.hop(record.tag, hop);
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
