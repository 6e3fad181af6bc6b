//! The workloads of a node, and the rules around them.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::DeviceId;
use crate::Mtu;

/// A workload of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalWorkload {
    /// Its name.
    pub name: Arc<str>,
    /// The host side of its veth.
    pub device: DeviceId,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Ranges that it may use as sources besides them (`allowSpoofedSourcePrefixes`).
    pub spoofable: Vec<IpNet>,
    /// The MTU of both veth ends, fixed when the workload was created.
    pub mtu: Mtu,
}

/// What happens to a workload's packet for its own node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndpointToHostAction {
    /// It is dropped, unless it belongs to a connection that the node began.
    #[default]
    Drop,
    /// It is let in.
    Accept,
}

/// Calico's fixed rules around workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkloadRules {
    /// From a workload to its own node.
    pub endpoint_to_host: EndpointToHostAction,
    /// Whether a workload may send UDP to `vxlan_port`.
    pub allow_vxlan: bool,
    /// Whether a workload may send IP protocol 4.
    pub allow_ipip: bool,
}
