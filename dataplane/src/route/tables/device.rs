//! The network devices of a node.

use std::sync::Arc;

use ipnet::IpNet;

use crate::Mtu;

/// A device of a node, by its place in [`NodeTables::devices`](super::NodeTables::devices).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u16);

/// What a device is to the node's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A network card: the node's place on an underlay subnet.
    Nic,
    /// The host side of a workload's veth (`cali...`).
    Workload,
    /// `tunl0`.
    Ipip,
    /// `vxlan.calico`.
    Vxlan,
}

/// A network device of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The name in the node: `eth0`, `tunl0`, `vxlan.calico`, `cali` and 11 hex digits.
    pub name: Arc<str>,
    /// What it is.
    pub kind: DeviceKind,
    /// Its MTU, in bytes of IP.
    pub mtu: Mtu,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
    /// The workload behind it, for a workload's device.
    pub workload: Option<Arc<str>>,
    /// The network card that a VXLAN device is linked to: the one with the node's recorded address.
    pub parent: Option<DeviceId>,
}
