//! A node's routes, why each is as it is, and why a destination has none.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::DeviceId;
use crate::Mtu;
use crate::encap::Encap;
use crate::fields::FieldRef;

/// A route of a node, by its number in these very tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub(in crate::route) u32);

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
    pub(in crate::route) fn or(self, usual: RouteProtocol) -> RouteProtocol {
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
    pub encapsulation: Encap,
    /// The mode of that encapsulation.
    pub mode: Mode,
    /// The same-subnet test, if the mode asks it.
    pub subnet_test: Option<SubnetTest>,
    /// The block, borrowed address or workload that made the destination a candidate, and where it is declared.
    pub destination: Option<FieldRef>,
}

/// "Is the other node in my subnet?": the prefix of [`NodeTables::recorded`](super::NodeTables::recorded) against the remote record's address, nothing else.
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
