//! From the model to a world that has not begun: tables of every machine, ports, stacks, flows.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use overlab_dataplane::engine::{Engine, Ingress, Outcome};
use overlab_dataplane::route::{
    Device, DeviceId, DeviceKind, HostNetwork, Nic, NodeTables, Owner, Resolver, RouteKind, RouteProtocol, host_tables,
};
use overlab_dataplane::{Family, Instant, PerFamily};

use super::queue::Queue;
use super::{Change, Machine, Port, World};
use crate::fabric::{self, Fabric, NicId};
use crate::host::{Blackhole, FlowStart, PortConfig, PortId, Stack, StackDevice, StackId, StackRoute};
use crate::observe::{Capture, History, Observer, Place, PlaceKind, TapId};
use crate::scenario::{self, Endpoint, FlowId, Model};
use crate::topology::Topology;

/// The gateways that Calico gives to workloads.
///
/// Source: Calico cni-plugin/pkg/dataplane/linux/dataplane_linux.go.
const WORKLOAD_GATEWAY: PerFamily<IpAddr> = PerFamily {
    v4: IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)),
    v6: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0xecee, 0xeeff, 0xfeee, 0xeeee)),
};

/// What a machine's kernel knows before Calico touches it.
fn host_network(model: &Model, machine: &scenario::Machine) -> HostNetwork {
    let subnet = &model.underlays[machine.underlay].subnets[machine.subnet];
    HostNetwork {
        name: machine.name.clone(),
        nics: vec![Nic {
            name: Arc::from("eth0"),
            addresses: machine.addresses.iter().flatten().copied().collect(),
            mtu: machine.mtu,
        }],
        gateways: subnet.gateway,
        rp_filter: machine.rp_filter,
    }
}

/// The fabrics that follow one another.
fn rewirings(model: &Model, topology: &Topology) -> VecDeque<(Instant, Change)> {
    let fabric = |wires| Change::Wires(Box::new(Fabric::new(&model.rewired(wires), topology)));
    model.rewirings.iter().map(|wires| (wires.at, fabric(wires))).collect()
}

/// The tables of every machine: nodes first, then hosts.
pub fn tables(model: &Model) -> Vec<Arc<NodeTables>> {
    let mut resolver = Resolver::new(model.cluster.clone());
    let nodes = model.nodes.iter().map(|node| resolver.tables(&host_network(model, node)));
    let hosts = model.hosts.iter().map(|host| host_tables(&host_network(model, host)));
    nodes.chain(hosts).map(Arc::new).collect()
}

impl World {
    /// The world of a model at the start of time, with every table converged.
    pub fn new(model: &Model, topology: &Topology, capture: Capture) -> World {
        let tables = tables(model);
        let vxlan_port = tables.first().map_or(0, |tables| tables.vxlan_port);
        let mut world = World {
            machines: Vec::new(),
            ports: Vec::new(),
            fabric: Fabric::new(model, topology),
            queue: Queue::default(),
            changes: rewirings(model, topology),
            flow_faults: model.flow_faults.iter().map(|fault| (fault.clone(), 0)).collect(),
            observer: Observer::new(&model.flows, vxlan_port),
            capture,
            vxlan_port,
            outcome: Outcome::default(),
            fabric_out: fabric::Output::default(),
            deliveries: Vec::new(),
            stacks: Vec::new(),
            starts: Vec::new(),
            unsent: model.flows.iter().map(|flow| u64::from(flow.count)).sum(),
        };
        for (index, tables) in tables.into_iter().enumerate() {
            let kind = if index < model.nodes.len() {
                PlaceKind::Node
            } else {
                PlaceKind::Host
            };
            world.add_machine(tables, kind);
        }
        world.add_flows(model);
        world
    }

    fn add_machine(&mut self, tables: Arc<NodeTables>, kind: PlaceKind) {
        let index = self.machines.len();
        let place = Place {
            kind,
            name: tables.node.clone(),
        };
        let own_ports = self.add_own_stack(index, &tables, &place);
        let workload_ports = tables
            .devices
            .iter()
            .map(|device| self.add_workload_stack(index, &tables, device))
            .collect();
        let card = tables
            .devices
            .iter()
            .position(|device| device.kind == DeviceKind::Nic)
            .unwrap_or(0);
        self.machines.push(Machine {
            tap: self
                .capture
                .interface(&format!("{}/eth0", tables.node), "the node's network card, on the underlay"),
            engine: Engine::new(tables.clone()),
            tables: History::new(tables),
            place,
            nic: NicId(index as u32),
            card: DeviceId(card as u16),
            own_ports,
            workload_ports,
        });
    }

    fn add_port(&mut self, machine: usize, ingress: Ingress, stack: &Place, tap: Option<TapId>) -> PortId {
        self.ports.push(Port {
            machine,
            ingress,
            stack: stack.clone(),
            tap,
        });
        PortId(self.ports.len() as u32 - 1)
    }

    fn add_own_stack(&mut self, machine: usize, tables: &NodeTables, place: &Place) -> Vec<PortId> {
        let mut devices = Vec::new();
        for (i, device) in tables.devices.iter().enumerate() {
            let port = self.add_port(machine, Ingress::Host, place, None);
            let config = own_config(tables, DeviceId(i as u16), device);
            devices.push(StackDevice {
                port,
                name: device.name.clone(),
                config,
            });
        }
        let ports = devices.iter().map(|device| device.port).collect();
        let blackholes = tables.routes().filter(|route| route.kind == RouteKind::Blackhole);
        let blackholes = blackholes.map(|route| Blackhole {
            destination: route.destination,
            protocol: route.protocol,
            metric: route.metric,
        });
        let blackholes = blackholes.collect();
        let id = StackId(self.stacks.len() as u32);
        self.stacks.push(Stack {
            id,
            name: tables.node.clone(),
            devices,
            blackholes,
        });
        ports
    }

    fn add_workload_stack(&mut self, machine: usize, tables: &NodeTables, device: &Device) -> Option<PortId> {
        let name = device.workload.as_ref()?;
        let (index, workload) = tables
            .workloads
            .iter()
            .enumerate()
            .find(|(_, workload)| workload.name == *name)?;
        let device_id = tables.workloads.get(index).map(|workload| workload.device)?;
        let place = Place {
            kind: PlaceKind::Workload,
            name: name.clone(),
        };
        let tap = self.capture.interface(&format!("{name}/eth0"), "the workload's interface");
        let port = self.add_port(machine, Ingress::Device(device_id), &place, Some(tap));
        let addresses: Vec<IpNet> = workload.addresses.iter().map(|address| IpNet::from(*address)).collect();
        let config = PortConfig {
            routes: addresses
                .iter()
                .map(|address| default_route(Family::of_net(*address)))
                .collect(),
            addresses,
            mtu: workload.mtu,
        };
        let devices = vec![StackDevice {
            port,
            name: Arc::from("eth0"),
            config,
        }];
        let id = StackId(self.stacks.len() as u32);
        self.stacks.push(Stack {
            id,
            name: name.clone(),
            devices,
            blackholes: Vec::new(),
        });
        Some(port)
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
                let to = flow.to.and_then(stack);
                self.starts.push(FlowStart {
                    id: FlowId(i as u32),
                    flow: flow.clone(),
                    from,
                    to,
                });
            }
        }
    }
}

/// A workload's default route.
fn default_route(family: Family) -> StackRoute {
    let destination = match family {
        Family::V4 => IpNet::V4(Ipv4Net::default()),
        Family::V6 => IpNet::V6(Ipv6Net::default()),
    };
    StackRoute {
        destination,
        gateway: Some(*WORKLOAD_GATEWAY.get(family)),
        onlink: true,
        protocol: RouteProtocol::BOOT,
        metric: 0,
        mtu: None,
    }
}

/// What a machine's own stack has on a device: the addresses, MTU and routes of its tables. The kernel makes connected routes
/// by itself.
fn own_config(tables: &NodeTables, id: DeviceId, device: &Device) -> PortConfig {
    let routes = tables
        .routes()
        .filter(|route| route.device == Some(id) && !(route.owner == Owner::Kernel && route.gateway.is_none()))
        .map(|route| StackRoute {
            destination: route.destination,
            gateway: route.gateway,
            onlink: route.onlink,
            protocol: route.protocol,
            metric: route.metric,
            mtu: route.mtu,
        })
        .collect();
    PortConfig {
        addresses: device.addresses.clone(),
        mtu: device.mtu,
        routes,
    }
}
