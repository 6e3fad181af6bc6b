//! The devices of a node: network cards, tunnels, and one veth a workload.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::vtep::veth_name;
use super::{Device, DeviceId, DeviceKind, HostNetwork, LocalWorkload, Mtus, NodeTables};
use crate::Mtu;
use crate::calico::Endpoint;

/// The network cards of a machine.
pub(super) fn nic_devices(host: &HostNetwork) -> Vec<Device> {
    let card = |nic: &super::Nic| Device {
        name: nic.name.clone(),
        kind: DeviceKind::Nic,
        mtu: nic.mtu,
        addresses: nic.addresses.clone(),
        workload: None,
        parent: None,
    };
    host.nics.iter().map(card).collect()
}

/// `tunl0`, `vxlan.calico` or `vxlan-v6.calico`. Its address is alone in its prefix.
pub(super) fn tunnel_device(name: &str, kind: DeviceKind, address: Option<IpAddr>, mtu: Mtu) -> Device {
    Device {
        name: name.into(),
        kind,
        mtu,
        addresses: address.map(IpNet::from).into_iter().collect(),
        workload: None,
        parent: None,
    }
}

/// Adds a device, if its place can be numbered.
pub(super) fn add(devices: &mut Vec<Device>, device: Device) -> Option<DeviceId> {
    let id = u16::try_from(devices.len()).ok().map(DeviceId)?;
    devices.push(device);
    Some(id)
}

/// Adds the veths of a node's workloads.
pub(super) fn add_workloads<'a>(
    devices: &mut Vec<Device>,
    endpoints: impl Iterator<Item = &'a Endpoint>,
    mtus: &Mtus,
    honour_spoofing: bool,
) -> Vec<LocalWorkload> {
    endpoints
        .filter_map(|endpoint| {
            let device = Device {
                name: endpoint.interface.clone().unwrap_or_else(|| veth_name(&endpoint.name).into()),
                kind: DeviceKind::Workload,
                mtu: mtus.workload,
                addresses: Vec::new(),
                workload: Some(endpoint.name.clone()),
                parent: None,
            };
            Some(LocalWorkload {
                name: endpoint.name.clone(),
                device: add(devices, device)?,
                addresses: endpoint.addresses.clone(),
                spoofable: if honour_spoofing {
                    endpoint.spoofable.clone()
                } else {
                    Vec::new()
                },
                mtu: mtus.workload,
            })
        })
        .collect()
}

impl NodeTables {
    /// The same tables with the MTUs that workloads got when they were made, by name.
    ///
    /// Source: Calico cni-plugin/pkg/dataplane/linux/dataplane_linux.go: nobody touches a veth once it is there.
    #[must_use]
    pub fn with_workload_mtus(mut self, mtus: &BTreeMap<Arc<str>, Mtu>) -> NodeTables {
        for workload in &mut self.workloads {
            let Some(mtu) = mtus.get(&workload.name) else { continue };
            workload.mtu = *mtu;
            if let Some(device) = self.devices.get_mut(usize::from(workload.device.0)) {
                device.mtu = *mtu;
            }
        }
        self
    }
}
