//! The tables of one node: all that its engine knows, and what `ip route` on it would show.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::Mtus;
use super::routes::Routes;
use crate::calico::Recorded;
use crate::fields::FieldRef;
use crate::{MacAddr, Mtu, PerFamily, Vni};

/// A device of a node, by its place in [`NodeTables::devices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u16);

/// A route of a node, by its number in these very tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub(super) u32);

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    /// This number, unless it is boot's, which stands for `usual`.
    ///
    /// Source: Calico felix/config/config_params.go, DeviceRouteProtocol.
    pub(super) fn or(self, usual: RouteProtocol) -> RouteProtocol {
        if self == RouteProtocol::BOOT { usual } else { self }
    }
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
    /// The source address that the node's own packets take by it (`src`).
    pub source: Option<IpAddr>,
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

/// "Is the other node in my subnet?": the prefix of [`NodeTables::recorded`] against the remote record's address, nothing else.
///
/// Source: Calico felix/calc/l3_route_resolver.go, nodeInOurSubnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetTest {
    /// The remote node and its recorded address, if recorded.
    pub remote: (Arc<str>, Option<IpAddr>, Option<FieldRef>),
    /// Whether the other address is that of a BGP next hop which is not the node that has the destination. The name is then
    /// that of the next hop: a node, or a peering with somebody outside.
    pub of_next_hop: bool,
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

/// What a node translates as packets leave it, in one address family.
///
/// Source: Calico felix/rules/nat.go, makeNATOutgoingRuleIPTables; felix/dataplane/linux/masq_mgr.go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatRules {
    /// Ranges of pools with `natOutgoing`: the sources that are masqueraded.
    pub masquerade: Arc<[IpNet]>,
    /// Ranges of all pools: the destinations that are left alone.
    pub pools: Arc<[IpNet]>,
    /// Addresses of nodes that are left alone too (`natOutgoingExclusions: IPPoolsAndHostIPs`).
    pub exempt: Option<Arc<BTreeSet<IpAddr>>>,
    /// The source to translate to (`natOutgoingAddress`); the address of the output device unless configured.
    pub address: Option<IpAddr>,
    /// Source ports that TCP and UDP are translated to, first and last (`natPortRange`).
    pub ports: Option<(u16, u16)>,
    /// The output device that the rule is limited to (`iptablesNATOutgoingInterfaceFilter`).
    pub interface: Option<Arc<str>>,
    /// Source ports, first and last, that UDP of the node's own is masqueraded to on its way into a tunnel; all where none.
    pub tunnel_ports: Option<(u16, u16)>,
}

/// A destination on another node to which there is no route, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// The block, or the borrowed address.
    pub destination: IpNet,
    /// The node that it belongs to.
    pub node: Arc<str>,
    /// Why nothing routes it.
    pub reason: AbsentReason,
    /// What made it a candidate, and where it is declared.
    pub at: FieldRef,
}

/// Why a destination on another node has no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AbsentReason {
    /// It lies in no pool whose addresses are routed.
    NoPool,
    /// The node that has it is not in the datastore.
    UnknownNode,
    /// No component programs the routes of its pool's class here.
    NobodyPrograms,
    /// Its encapsulation is turned off on this node.
    EncapsulationOff,
    /// This node has no tunnel end of its own.
    NoLocalVtep,
    /// The node that has it has no tunnel end.
    NoRemoteVtep,
    /// The node that has it has no recorded address in this family.
    NoNodeAddress,
    /// This node has no card that carries its recorded address.
    NoParentDevice,
    /// No BGP session brings it: BGP is off, there is no path of sessions, or a filter stops it.
    NotLearned,
    /// Its pool is not announced (`disableBGPExport`).
    NotExported,
    /// BGP brings it, but nothing leads to its next hop.
    NextHopUnreachable,
}

impl AbsentReason {
    /// The reason in a few words.
    pub const fn meaning(self) -> &'static str {
        match self {
            AbsentReason::NoPool => "in no routed pool",
            AbsentReason::UnknownNode => "its node is unknown",
            AbsentReason::NobodyPrograms => "nobody programs routes of this class",
            AbsentReason::EncapsulationOff => "the encapsulation is off on this node",
            AbsentReason::NoLocalVtep => "this node has no VTEP",
            AbsentReason::NoRemoteVtep => "its node has no VTEP",
            AbsentReason::NoNodeAddress => "its node has no recorded address of this family",
            AbsentReason::NoParentDevice => "no card carries this node's recorded address",
            AbsentReason::NotLearned => "no BGP session brings it",
            AbsentReason::NotExported => "its pool is not exported to BGP",
            AbsentReason::NextHopUnreachable => "nothing leads to its BGP next hop",
        }
    }
}

impl fmt::Display for AbsentReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.meaning())
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
    /// Whether connection tracking leaves UDP to the VXLAN port alone.
    pub vxlan_untracked: PerFamily<bool>,
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

/// What a machine asks of the way back to the source of a packet that comes in by one of its network cards or tunnels, over IPv4.
///
/// Source: Linux Documentation/networking/ip-sysctl.rst, `rp_filter`; RFC 3704.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RpFilter {
    /// Nothing (0), the kernel's own default.
    #[default]
    Off,
    /// It leads through the device that the packet came in by (1).
    Strict,
    /// There is one (2).
    Loose,
}

/// The truth about a machine's kernel before Calico touches it: its network cards and its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostNetwork {
    /// The machine.
    pub name: Arc<str>,
    /// Its network cards; the first is the one that Calico uses.
    pub nics: Vec<Nic>,
    /// The gateways of its default routes.
    pub gateways: PerFamily<Option<IpAddr>>,
    /// Its reverse-path filter.
    pub rp_filter: RpFilter,
}

/// A network card as its kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// `eth0`, `eth1`, ...
    pub name: Arc<str>,
    /// Its addresses, each with the prefix length of the subnet that it is on.
    pub addresses: Vec<IpNet>,
    /// Its MTU.
    pub mtu: Mtu,
}
