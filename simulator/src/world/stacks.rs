//! The stacks around the engines: what the tables give them, at the start and whenever they change. A stack has every device
//! that it has at any time of the run, found by name; one that is not there for now has neither addresses nor routes. A machine's
//! own stack has its routes by sharing the tables.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use overlab_dataplane::engine::Ingress;
use overlab_dataplane::route::{LocalWorkload, NodeTables, RouteProtocol};
use overlab_dataplane::{Family, PerFamily};

use super::World;
use crate::host::{HostAction, PortConfig, PortId, StackDevice, StackId, StackRoute};

/// The gateways that Calico gives to workloads.
///
/// Source: Calico cni-plugin/pkg/dataplane/linux/dataplane_linux.go.
const WORKLOAD_GATEWAY: PerFamily<IpAddr> = PerFamily {
    v4: IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)),
    v6: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0xecee, 0xeeff, 0xfeee, 0xeeee)),
};

impl World {
    /// A machine works from these tables from here on, and so do its own stack and those of its workloads.
    pub(super) fn set_tables(&mut self, index: usize, tables: &Arc<NodeTables>) {
        let machine = &mut self.machines[index];
        machine.engine.set_tables(tables.clone());
        self.set_own_devices(index, tables);
        self.set_workloads(index, tables);
    }

    fn set_own_devices(&mut self, index: usize, tables: &Arc<NodeTables>) {
        let machine = &mut self.machines[index];
        let stack = &self.stacks[machine.stack.0 as usize];
        let ports: BTreeMap<_, _> = stack.devices.iter().map(|device| (&device.name, device.port)).collect();
        let port = |name| ports.get(name).copied();
        machine.own_ports = tables.devices.iter().map(|device| port(&device.name)).collect();
        let there: BTreeMap<_, _> = tables.devices.iter().map(|device| (&device.name, device)).collect();
        let config = |device: &StackDevice| match there.get(&device.name) {
            Some(there) => PortConfig {
                addresses: there.addresses.clone(),
                mtu: there.mtu,
                routes: Vec::new(),
            },
            None => absent(&device.config),
        };
        let configs = stack.devices.iter().map(config).collect();
        let own = machine.stack;
        self.configure(own, configs, Some(tables));
    }

    /// Workloads that are no longer behind a device of the machine have nothing behind theirs, unless another machine has them.
    fn set_workloads(&mut self, index: usize, tables: &NodeTables) {
        let devices = vec![None; tables.devices.len()];
        let before = std::mem::replace(&mut self.machines[index].workload_ports, devices);
        for port in before.iter().flatten() {
            let attached = &mut self.ports[port.0 as usize].attached;
            *attached = attached.filter(|(machine, _)| *machine != index);
        }
        for workload in &tables.workloads {
            let Some(stack) = self.workloads.get(&workload.name).copied() else {
                continue;
            };
            let port = self.stacks[stack.0 as usize].devices[0].port;
            self.ports[port.0 as usize].attached = Some((index, Ingress::Device(workload.device)));
            self.machines[index].workload_ports[usize::from(workload.device.0)] = Some(port);
            self.configure(stack, vec![workload_config(workload)], None);
        }
        for port in before.into_iter().flatten() {
            self.detach_unless_attached(port);
        }
    }

    fn detach_unless_attached(&mut self, port: PortId) {
        let port = &self.ports[port.0 as usize];
        if port.attached.is_none()
            && let Some(stack) = self.workloads.get(&port.stack.name).copied()
        {
            let config = absent(&self.stacks[stack.0 as usize].devices[0].config);
            self.configure(stack, vec![config], None);
        }
    }

    /// Gives a stack's devices, in their order, what they are to have, and asks for it if that changes anything.
    fn configure(&mut self, id: StackId, configs: Vec<PortConfig>, tables: Option<&Arc<NodeTables>>) {
        let stack = &mut self.stacks[id.0 as usize];
        let same_tables = stack.tables.as_ref().map(Arc::as_ptr) == tables.map(Arc::as_ptr);
        if same_tables && stack.devices.iter().map(|device| &device.config).eq(&configs) {
            return;
        }
        for (device, config) in stack.devices.iter_mut().zip(configs) {
            device.config = config;
        }
        stack.tables = tables.cloned();
        self.actions.push(HostAction::Configure(stack.clone()));
    }
}

/// What a device has that is not there.
fn absent(config: &PortConfig) -> PortConfig {
    PortConfig {
        addresses: Vec::new(),
        mtu: config.mtu,
        routes: Vec::new(),
    }
}

/// What a workload's interface has.
fn workload_config(workload: &LocalWorkload) -> PortConfig {
    let addresses: Vec<IpNet> = workload.addresses.iter().copied().map(IpNet::from).collect();
    let default_route = |address: &IpNet| default_route(Family::of_net(*address));
    PortConfig {
        routes: addresses.iter().map(default_route).collect(),
        addresses,
        mtu: workload.mtu,
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
