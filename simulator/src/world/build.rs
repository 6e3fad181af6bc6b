//! From the model to a world that has not begun: tables of every machine, ports, stacks, flows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use overlab_dataplane::Instant;
use overlab_dataplane::encap::Wire;
use overlab_dataplane::engine::{Engine, Ingress, Outcome};
use overlab_dataplane::route::{Device, DeviceKind, NodeTables, Resolver, host_tables};

use super::queue::Queue;
use super::{Change, Machine, Port, World};
use crate::fabric::{self, Fabric};
use crate::host::{FlowStart, PortConfig, PortId, Stack, StackDevice, StackId};
use crate::observe::{Capture, History, Observer, Place, PlaceKind, TapId};
use crate::scenario::{Endpoint, FlowId, Model, Transport};
use crate::topology::Topology;

/// The tables of every machine through the run: nodes first, then hosts.
pub fn tables(model: &Model) -> Vec<History<Arc<NodeTables>>> {
    let mut resolver = Resolver::new(model.cluster.clone());
    let nodes = model.nodes.iter().map(|node| resolver.tables(&model.host_network(node)));
    let hosts = model.hosts.iter().map(|host| host_tables(&model.host_network(host)));
    let mut tables: Vec<_> = nodes.chain(hosts).map(|tables| History::new(Arc::new(tables))).collect();
    for change in &model.table_changes {
        tables[change.machine].set(change.at, change.tables.clone());
    }
    tables
}

/// What changes by itself, in the order of its time; at one instant the wires come first.
fn changes(model: &Model, topology: &Topology) -> VecDeque<(Instant, Change)> {
    let fabric = |wires| Change::Wires(Box::new(Fabric::new(&model.rewired(wires), topology)));
    let wires = model.rewirings.iter().map(|wires| (wires.at, fabric(wires)));
    let tables = model.table_changes.iter().map(|change| {
        let (machine, tables) = (change.machine, change.tables.clone());
        (change.at, Change::Tables { machine, tables })
    });
    let mut changes: Vec<_> = wires.chain(tables).collect();
    changes.sort_by_key(|(at, _)| *at);
    changes.into()
}

/// Each device that a machine has at any time, as it first has it.
fn devices(tables: &History<Arc<NodeTables>>) -> Vec<&Device> {
    let mut known = BTreeMap::new();
    let all = tables.iter().flat_map(|(_, tables)| &tables.devices);
    all.filter(|device| known.insert(&device.name, ()).is_none()).collect()
}

impl World {
    /// The world of a model at the start of time, with the tables that its machines have then; later ones are queued.
    pub fn new(model: &Model, topology: &Topology, capture: Capture) -> World {
        let histories = tables(model);
        let vxlan_ports: BTreeSet<u16> = histories
            .iter()
            .flat_map(History::iter)
            .map(|(_, tables)| tables.vxlan_port)
            .collect();
        let mut world = World {
            machines: Vec::new(),
            ports: Vec::new(),
            fabric: Fabric::new(model, topology),
            queue: Queue::default(),
            changes: changes(model, topology),
            flow_faults: model.flow_faults.iter().map(|fault| (fault.clone(), 0)).collect(),
            observer: Observer::new(&model.flows, vxlan_ports.into_iter().collect()),
            capture,
            outcome: Outcome::default(),
            fabric_out: fabric::Output::default(),
            deliveries: Vec::new(),
            actions: Vec::new(),
            stacks: Vec::new(),
            workloads: BTreeMap::new(),
            starts: Vec::new(),
            unsent: announced(model),
            tables: Vec::new(),
        };
        for (index, tables) in histories.iter().enumerate() {
            let kind = if index < model.nodes.len() {
                PlaceKind::Node
            } else {
                PlaceKind::Host
            };
            world.add_machine(tables, kind, model.wire);
        }
        for (index, tables) in histories.iter().enumerate() {
            world.set_tables(index, tables.first());
        }
        // The stacks are attached as they are by then.
        world.actions.clear();
        world.tables = histories;
        world.add_flows(model);
        world
    }

    fn add_machine(&mut self, tables: &History<Arc<NodeTables>>, kind: PlaceKind, wire: Wire) {
        let name = tables.first().node.clone();
        let place = Place {
            kind,
            name: name.clone(),
        };
        let attached = Some((self.machines.len(), Ingress::Host));
        let devices = devices(tables);
        let own = devices.iter().map(|device| {
            let port = self.add_port(attached, &place, None);
            stack_device(port, &device.name, device)
        });
        let own = own.collect();
        let stack = self.add_stack(&name, own);
        for device in devices {
            self.add_workload(device);
        }
        let cards = tables.first().devices.iter().filter(|device| device.kind == DeviceKind::Nic);
        let tap = |card: &Device| {
            let name = format!("{name}/{}", card.name);
            self.capture.interface(&name, "the node's network card, on the underlay")
        };
        let taps = cards.map(tap).collect();
        self.machines.push(Machine {
            taps,
            engine: Engine::following(wire, tables.first().clone()),
            place,
            stack,
            own_ports: Vec::new(),
            workload_ports: Vec::new(),
        });
    }

    fn add_port(&mut self, attached: Option<(usize, Ingress)>, stack: &Place, tap: Option<TapId>) -> PortId {
        self.ports.push(Port {
            attached,
            stack: stack.clone(),
            tap,
        });
        PortId(self.ports.len() as u32 - 1)
    }

    fn add_stack(&mut self, name: &Arc<str>, devices: Vec<StackDevice>) -> StackId {
        let id = StackId(self.stacks.len() as u32);
        self.stacks.push(Stack {
            id,
            name: name.clone(),
            devices,
            blackholes: Vec::new(),
            tables: None,
        });
        id
    }

    /// The stack of the workload behind a device, unless it has one already.
    fn add_workload(&mut self, device: &Device) {
        let Some(name) = device.workload.as_ref().filter(|name| !self.workloads.contains_key(*name)) else {
            return;
        };
        let place = Place {
            kind: PlaceKind::Workload,
            name: name.clone(),
        };
        let tap = self.capture.interface(&format!("{name}/eth0"), "the workload's interface");
        let port = self.add_port(None, &place, Some(tap));
        let stack = self.add_stack(name, vec![stack_device(port, "eth0", device)]);
        self.workloads.insert(name.clone(), stack);
    }

    fn add_flows(&mut self, model: &Model) {
        let name = |endpoint: Endpoint| match endpoint {
            Endpoint::Workload(i) => &model.workloads[i].name,
            Endpoint::Node(i) => &model.nodes[i].name,
            Endpoint::Host(i) => &model.hosts[i].name,
        };
        let stack = |endpoint| {
            self.stacks
                .iter()
                .find(|stack| stack.name == *name(endpoint))
                .map(|stack| stack.id)
        };
        for (i, flow) in model.flows.iter().enumerate() {
            if let Some(from) = stack(flow.from) {
                let one = flow.to.map(|to| (to, flow.destination_port));
                let all = one.iter().chain(&flow.served_by).filter(|_| flow.listens);
                let to = all.filter_map(|(to, port)| Some((stack(*to)?, *port))).collect();
                self.starts.push(FlowStart {
                    id: FlowId(i as u32),
                    flow: flow.clone(),
                    from,
                    to,
                    seed: crate::random::stream(model.seed, &format!("flow {}", flow.name)),
                });
            }
        }
    }
}

/// A device of a stack before any tables have given it something.
fn stack_device(port: PortId, name: &str, device: &Device) -> StackDevice {
    StackDevice {
        port,
        name: Arc::from(name),
        config: PortConfig {
            addresses: Vec::new(),
            mtu: device.mtu,
            routes: Vec::new(),
        },
    }
}

/// Packets that applications will announce; those of TCP are the stack's own.
fn announced(model: &Model) -> u64 {
    let flows = model.flows.iter().filter(|flow| flow.transport != Transport::Tcp);
    flows.map(|flow| u64::from(flow.count)).sum()
}
