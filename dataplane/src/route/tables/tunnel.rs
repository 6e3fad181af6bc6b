//! A node's tunnel devices, the remote ends of them, and whose packets they let in.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::DeviceId;
use crate::{MacAddr, Vni};

/// A remote VXLAN tunnel end: the neighbour entry `address -> mac` and the FDB entry `mac -> node_address`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vtep {
    /// The node.
    pub node: Arc<str>,
    /// Its tunnel address.
    pub address: IpAddr,
    /// The MAC of its VXLAN device.
    pub mac: MacAddr,
    /// The address of the node: the outer destination.
    pub node_address: IpAddr,
}

/// Whose tunnel packets a node lets in, by their outer source.
///
/// Source: Calico felix/dataplane/linux/ipset_hosts_mgr.go; vxlan_mgr.go, updateNeighborsAndAllowedSources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    /// Addresses of nodes; one set serves every node of a cluster.
    pub hosts: Arc<BTreeSet<IpAddr>>,
    /// The address among them that does not count: the node's own, where the list is of other nodes.
    pub except: Option<IpAddr>,
    /// Ranges outside the cluster (`externalNodesList`).
    pub external: Arc<[IpNet]>,
}

impl AllowList {
    /// Whether packets from this address are let in.
    pub fn contains(&self, source: IpAddr) -> bool {
        let listed = self.hosts.contains(&source) && self.except != Some(source);
        listed || self.external.iter().any(|net| net.contains(&source))
    }

    /// All that is let in: the nodes' addresses that count, then the ranges outside the cluster, in order.
    pub fn entries(&self) -> impl Iterator<Item = IpNet> {
        let hosts = self.hosts.iter().copied().filter(|host| self.except != Some(*host));
        hosts.map(IpNet::from).chain(self.external.iter().copied())
    }
}

/// The entries with commas between them, single addresses without their prefix length; `nobody` if there is none.
impl fmt::Display for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.entries().next().is_none() {
            return f.write_str("nobody");
        }
        for (i, entry) in self.entries().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            if entry.prefix_len() == entry.max_prefix_len() {
                write!(f, "{}", entry.addr())?;
            } else {
                write!(f, "{entry}")?;
            }
        }
        Ok(())
    }
}

/// This node's IPIP device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpipTunnel {
    /// `tunl0`.
    pub device: DeviceId,
    /// Outer sources that are let in.
    pub allowed: AllowList,
}

/// This node's VXLAN device of one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VxlanTunnel {
    /// `vxlan.calico`, or `vxlan-v6.calico`.
    pub device: DeviceId,
    /// The network identifier, 4096 unless configured.
    pub vni: Vni,
    /// The MAC of the device.
    pub mac: MacAddr,
    /// The outer source: the node's own address.
    pub local: IpAddr,
    /// The ends of the whole cluster, this node's included, in the order of their tunnel addresses; one list serves every node.
    pub ends: Arc<[Vtep]>,
}

impl VxlanTunnel {
    /// The ends of the other nodes.
    pub fn remotes(&self) -> impl Iterator<Item = &Vtep> {
        self.ends.iter().filter(|end| end.node_address != self.local)
    }

    /// The other node's end with this tunnel address.
    pub fn remote(&self, address: IpAddr) -> Option<&Vtep> {
        let place = self.ends.binary_search_by_key(&address, |end| end.address).ok()?;
        self.ends.get(place).filter(|end| end.node_address != self.local)
    }
}
