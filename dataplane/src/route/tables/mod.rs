//! The tables of one node: all that its engine knows, and what `ip route` on it would show.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::Mtus;
use super::routes::Routes;
use crate::calico::Recorded;
use crate::{Mtu, PerFamily};

mod device;
mod host_network;
mod nat;
mod route;
mod service;
mod tunnel;
mod workload;

pub use device::{Device, DeviceId, DeviceKind};
pub use host_network::{HostNetwork, Kernel, Nic, RpFilter};
pub use nat::NatRules;
pub use route::{Absent, AbsentReason, Decision, Mode, Owner, Route, RouteId, RouteKind, RouteProtocol, SubnetTest};
pub use service::{ServicePort, ServiceProtocol, Services};
pub use tunnel::{AllowList, IpipTunnel, Vtep, VxlanTunnel};
pub use workload::{EndpointToHostAction, LocalWorkload, WorkloadRules};

/// All tables of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeTables {
    /// The node.
    pub node: Arc<str>,
    /// Its devices; [`DeviceId`] is the place in here. Network cards come first.
    pub devices: Vec<Device>,
    /// The node's own address of a family as Calico recorded it, which the same-subnet rule asks.
    pub recorded: PerFamily<Option<Recorded>>,
    pub(super) routes: Routes,
    /// The IPIP device, if IPIP is on.
    pub ipip: Option<IpipTunnel>,
    /// The VXLAN devices: that of a family, if VXLAN is on in it and this node has a tunnel end.
    pub vxlan: PerFamily<Option<VxlanTunnel>>,
    /// Outer sources that are let in by VXLAN, where it is on, whether or not there is a device.
    pub vxlan_allowed: PerFamily<Option<AllowList>>,
    /// The UDP port of VXLAN, 4789 unless configured; known even where VXLAN is off, since workloads may not use it.
    pub vxlan_port: u16,
    /// The workloads of this node.
    pub workloads: Vec<LocalWorkload>,
    /// The ranges of all pools: whether or not a route covers an address in them, it is a workload's and no outside one.
    pub pools: Vec<IpNet>,
    /// What is translated on the way out.
    pub nat: PerFamily<NatRules>,
    /// The services of the cluster, which all nodes share.
    pub services: Arc<Services>,
    /// Whether connection tracking leaves UDP to the VXLAN port alone.
    pub vxlan_untracked: PerFamily<bool>,
    /// Whether VXLAN packets of the node's own that are translated leave with a wrong UDP checksum: its kernel spoils it, and Felix has
    /// not turned checksum offload off.
    pub spoils_translated_vxlan: bool,
    /// What is asked of the way back to a packet's source.
    pub rp_filter: RpFilter,
    /// Rules around workloads.
    pub rules: WorkloadRules,
    /// The MTUs that follow from cards and configuration.
    pub mtus: Mtus,
    /// Whether the node forwards at all; a plain host does not.
    pub forwarding: bool,
}

impl NodeTables {
    /// A device.
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        self.devices.get(usize::from(id.0))
    }

    /// Whether an address lies in some pool.
    pub fn is_in_pool(&self, address: IpAddr) -> bool {
        self.pools.iter().any(|pool| pool.contains(&address))
    }

    /// The device that holds an address of the node itself.
    pub fn device_with(&self, address: IpAddr) -> Option<DeviceId> {
        let index = self
            .devices
            .iter()
            .position(|d| d.addresses.iter().any(|net| net.addr() == address))?;
        u16::try_from(index).ok().map(DeviceId)
    }

    /// The source address that the node's kernel gives a packet of its own to this destination: the winning route's own, else
    /// the first address of its device, else of the first network card.
    ///
    /// Source: RFC 1122 section 3.3.4.3 and Linux net/ipv4/fib_semantics.c, fib_result_prefsrc.
    pub fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        let same_family = |d: &Device| {
            d.addresses
                .iter()
                .map(IpNet::addr)
                .find(|a| a.is_ipv4() == destination.is_ipv4())
        };
        let (_, route) = self.lookup(destination)?;
        let on_device = || route.device.and_then(|id| self.device(id)).and_then(same_family);
        route
            .source
            .or_else(on_device)
            .or_else(|| self.devices.iter().find_map(same_family))
    }

    /// The MTU that a packet forwarded or sent by this route is held against before encapsulation: the route's own, else its
    /// device's.
    ///
    /// Source: Linux include/net/ip.h, ip_dst_mtu_maybe_forward.
    pub fn route_mtu(&self, route: &Route) -> Option<Mtu> {
        route
            .mtu
            .or_else(|| route.device.and_then(|id| self.device(id)).map(|d| d.mtu))
    }
}
