//! The tables of one node: all that its engine knows, and what `ip route` on it would show.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::fields::FieldRef;
use crate::{Fib, MacAddr, Mtu, Vni};

/// A device of a node, by its place in [`NodeTables::devices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u16);

/// A route of a node, by its place in [`NodeTables::routes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u32);

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
}

/// What a route does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    /// To a workload on this node.
    Local,
    /// To another node's workloads, bare, through a network card.
    Direct,
    /// To another node's workloads through `tunl0`.
    Ipip,
    /// To another node's workloads through `vxlan.calico`.
    Vxlan,
    /// To nobody: an address of a local block that no workload has.
    Blackhole,
    /// The node's own: connected subnets and the default route.
    Host,
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RouteKind::Local => "local",
            RouteKind::Direct => "direct",
            RouteKind::Ipip => "ipip",
            RouteKind::Vxlan => "vxlan",
            RouteKind::Blackhole => "blackhole",
            RouteKind::Host => "host",
        })
    }
}

/// Who programs a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The kernel or the node's administrator: connected subnets, the default route.
    Kernel,
    /// Calico's agent.
    Felix,
    /// The BGP daemon.
    Bird,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Owner::Kernel => "kernel",
            Owner::Felix => "felix",
            Owner::Bird => "bird",
        })
    }
}

/// The routing protocol number that `ip route` shows as `proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteProtocol(pub u8);

impl RouteProtocol {
    /// Installed by the kernel.
    pub const KERNEL: RouteProtocol = RouteProtocol(2);
    /// Installed during boot; what Felix leaves on VXLAN tunnel and workload routes.
    pub const BOOT: RouteProtocol = RouteProtocol(3);
    /// Installed by the BIRD daemon.
    pub const BIRD: RouteProtocol = RouteProtocol(12);
    /// Felix's own number.
    pub const FELIX: RouteProtocol = RouteProtocol(80);
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The prefix.
    pub destination: IpNet,
    /// What it does.
    pub kind: RouteKind,
    /// The next hop; none for a connected or a blackhole route. For IPIP it is the tunnel's outer destination, for VXLAN the
    /// remote tunnel address.
    pub gateway: Option<IpAddr>,
    /// The output device; none for a blackhole.
    pub device: Option<DeviceId>,
    /// The node that the destination belongs to, if it is another node's.
    pub node: Option<Arc<str>>,
    /// Whether Calico holds that node to be in this node's subnet. Asked only under a CrossSubnet pool; false elsewhere.
    pub same_subnet: bool,
    /// Who programs it.
    pub owner: Owner,
    /// The protocol number that it carries.
    pub protocol: RouteProtocol,
    /// Whether the gateway is taken to be on the link without asking the connected subnets.
    pub onlink: bool,
    /// The metric; 0 is printed as none.
    pub metric: u32,
    /// The MTU that the route itself carries.
    pub mtu: Option<Mtu>,
    /// Why the route is as it is, for routes that follow from the datastore.
    pub decision: Option<Arc<Decision>>,
}

/// How a pool's mode says whether to encapsulate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Not at all.
    #[default]
    Never,
    /// Whenever the destination is on another node.
    Always,
    /// Only when the other node is outside this node's subnet.
    CrossSubnet,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mode::Never => "Never",
            Mode::Always => "Always",
            Mode::CrossSubnet => "CrossSubnet",
        })
    }
}

/// Why a destination is reached as it is: the facts that decided, and where each stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The pool that contains the destination, with the field that holds its mode; none outside every pool.
    pub pool: Option<(Arc<str>, FieldRef)>,
    /// The pool's encapsulation: `ipip`, `vxlan` or `none`.
    pub encapsulation: crate::encap::Encap,
    /// The mode of that encapsulation.
    pub mode: Mode,
    /// The same-subnet test, if the mode asks it.
    pub subnet_test: Option<SubnetTest>,
    /// The block, borrowed address or workload that made the destination a candidate, and where it is declared.
    pub destination: Option<FieldRef>,
}

/// "Is the other node in my subnet?": the local record's prefix against the remote record's address, nothing else.
///
/// Source: Calico felix/calc/l3_route_resolver.go, nodeInOurSubnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetTest {
    /// The local node and its recorded address with prefix length, if recorded.
    pub local: (Arc<str>, Option<IpNet>, Option<FieldRef>),
    /// The remote node and its recorded address, if recorded.
    pub remote: (Arc<str>, Option<IpAddr>, Option<FieldRef>),
    /// The answer.
    pub same: bool,
}

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

/// This node's IPIP device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpipTunnel {
    /// `tunl0`.
    pub device: DeviceId,
    /// Outer sources that are let in.
    pub allowed: BTreeSet<IpAddr>,
}

/// This node's VXLAN device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VxlanTunnel {
    /// `vxlan.calico`.
    pub device: DeviceId,
    /// The network identifier, 4096 unless configured.
    pub vni: Vni,
    /// The MAC of the device.
    pub mac: MacAddr,
    /// The outer source: the node's own address.
    pub local: IpAddr,
    /// The remote ends, in the order of their tunnel addresses.
    pub remotes: Vec<Vtep>,
    /// Outer sources that are let in.
    pub allowed: BTreeSet<IpAddr>,
}

/// A workload of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalWorkload {
    /// Its name.
    pub name: Arc<str>,
    /// The host side of its veth.
    pub device: DeviceId,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
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

/// All tables of one node.
#[derive(Clone, Debug)]
pub struct NodeTables {
    /// The node.
    pub node: Arc<str>,
    /// Its devices; [`DeviceId`] is the place in here. Network cards come first.
    pub devices: Vec<Device>,
    /// Its routes, in the order of their prefixes; [`RouteId`] is the place in here.
    pub routes: Vec<Route>,
    /// The winning route of each prefix.
    pub fib: Fib<RouteId>,
    /// The IPIP device, if IPIP is on.
    pub ipip: Option<IpipTunnel>,
    /// The VXLAN device, if VXLAN is on and this node has a tunnel end.
    pub vxlan: Option<VxlanTunnel>,
    /// The UDP port of VXLAN, 4789 unless configured; known even where VXLAN is off, since workloads may not use it.
    pub vxlan_port: u16,
    /// The workloads of this node.
    pub workloads: Vec<LocalWorkload>,
    /// The ranges of all pools: whether or not a route covers an address in them, it is a workload's and no outside one.
    pub pools: Vec<IpNet>,
    /// Rules around workloads.
    pub rules: WorkloadRules,
    /// Whether the node forwards at all; a plain host does not.
    pub forwarding: bool,
}

impl NodeTables {
    /// A device.
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        self.devices.get(usize::from(id.0))
    }

    /// A route.
    pub fn route(&self, id: RouteId) -> Option<&Route> {
        self.routes.get(usize::try_from(id.0).ok()?)
    }

    /// The route that wins for a destination.
    pub fn lookup(&self, destination: IpAddr) -> Option<(RouteId, &Route)> {
        let id = *self.fib.best(destination)?;
        Some((id, self.route(id)?))
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

    /// The source address that the node's kernel gives a packet of its own to this destination: the first address of the
    /// winning route's device, else of the first network card.
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
        route
            .device
            .and_then(|id| self.device(id))
            .and_then(same_family)
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

/// The truth about a machine's kernel before Calico touches it: its network cards and its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostNetwork {
    /// The machine.
    pub name: Arc<str>,
    /// Its network cards; the first is the one that Calico uses.
    pub nics: Vec<Nic>,
    /// The gateway of its default route.
    pub gateway: Option<IpAddr>,
}

/// A network card as its kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// `eth0`, `eth1`, ...
    pub name: Arc<str>,
    /// Its address with the prefix length of the subnet that it is on.
    pub address: IpNet,
    /// Its MTU.
    pub mtu: Mtu,
}
