//! `IPPool`: a range of workload addresses and how packets to it travel. Rules between pools are not here.

mod read;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::Selector;
use super::reading::below;
use super::since::Since;
use crate::encap::Encap;
use crate::fields::FieldRef;
use crate::route::Mode;

pub(super) use read::read_cidr;

/// A pool of workload addresses, valid by every rule that concerns it alone.
///
/// Source: Calico api/pkg/apis/projectcalico/v3/ippool.go, IPPoolSpec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpPool {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is declared: an IPPool object, an entry of an Installation, or the environment of calico-node.
    pub at: FieldRef,
    /// Its range.
    pub cidr: IpNet,
    /// When packets to it travel in IP-in-IP.
    pub ipip: Mode,
    /// When packets to it travel in VXLAN.
    pub vxlan: Mode,
    /// Whether traffic from it to addresses outside every pool is masqueraded.
    pub nat_outgoing: bool,
    /// Whether allocation from it has stopped. It routes as before.
    pub disabled: bool,
    /// Whether it is being deleted, which stops allocation as well.
    pub deleting: bool,
    /// The pool that was there first, where this one overlaps it and therefore hands out nothing.
    pub overlapped: Option<Arc<str>>,
    /// Whether BGP keeps its blocks to itself.
    pub disable_bgp_export: bool,
    /// The prefix length of its blocks: 20 to 32 for IPv4, 116 to 128 for IPv6.
    pub block_size: u8,
    /// The nodes that may allocate from it. Routes do not ask.
    pub node_selector: Selector,
    /// The namespaces whose workloads may allocate from it; empty for all.
    pub namespace_selector: Option<Selector>,
    /// What its addresses may be used for.
    pub allowed_uses: AllowedUses,
    /// Whether it is used without being named.
    pub assignment: Assignment,
    pub(super) declared: Declared,
    /// The range as it is written.
    pub(super) written: Arc<str>,
    pub(super) status: Status,
    /// When the object was made, in a form that sorts by age.
    pub(super) created: Option<Arc<str>>,
    pub(super) since: Vec<Since>,
}

/// The kind of object that a pool is declared in; it decides where its fields are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    /// An object that went through Calico's API.
    Manifest,
    /// A CRD, which is written past it.
    Crd,
    Installation,
    /// Variables of calico-node's environment; each field of an IPPool has a place.
    Environment(Arc<BTreeMap<&'static str, FieldRef>>),
}

/// The name of the IPv4 pool that an installation brings.
pub(super) const DEFAULT_V4: &str = "default-ipv4-ippool";
/// The name of the IPv6 pool that an installation brings.
pub(super) const DEFAULT_V6: &str = "default-ipv6-ippool";

/// Whether the pool controller has found that a pool may hand out addresses, in the order in which it looks at pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    Active,
    Terminating,
    #[default]
    New,
}

/// What the addresses of a pool may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedUses {
    /// For workloads.
    pub workload: bool,
    /// For tunnel devices.
    pub tunnel: bool,
    /// For services of type LoadBalancer.
    pub load_balancer: bool,
}

impl Default for AllowedUses {
    fn default() -> AllowedUses {
        AllowedUses {
            workload: true,
            tunnel: true,
            load_balancer: false,
        }
    }
}

/// Whether a pool is used by workloads that do not name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assignment {
    /// It is.
    #[default]
    Automatic,
    /// Only workloads that name it use it.
    Manual,
}

impl IpPool {
    /// A pool with every default.
    pub(super) fn with_defaults(name: Arc<str>, at: FieldRef, cidr: IpNet, declared: Declared) -> IpPool {
        IpPool {
            name,
            at,
            cidr,
            ipip: Mode::Never,
            vxlan: Mode::Never,
            nat_outgoing: false,
            disabled: false,
            deleting: false,
            overlapped: None,
            disable_bgp_export: false,
            block_size: default_block_size(cidr),
            node_selector: Selector::default(),
            namespace_selector: None,
            allowed_uses: AllowedUses::default(),
            assignment: Assignment::Automatic,
            declared,
            written: cidr.to_string().into(),
            status: Status::default(),
            created: None,
            since: Vec::new(),
        }
    }

    /// Whether it went through Calico's API and its rules between objects.
    pub(super) fn through_api(&self) -> bool {
        self.declared != Declared::Crd
    }

    /// Whether calico-node created it by its environment.
    pub(super) fn is_of_environment(&self) -> bool {
        matches!(self.declared, Declared::Environment(_))
    }

    /// The field of this pool at a path of the IPPool object, as `spec.ipipMode`. For a pool that an Installation or
    /// calico-node's environment describes it is the field or the variable that stands for it.
    pub fn field(&self, path: &str) -> FieldRef {
        match (&self.declared, path.strip_prefix("spec.")) {
            (Declared::Manifest | Declared::Crd, _) => below(&self.at, path),
            (Declared::Environment(places), _) => places.get(path).unwrap_or(&self.at).clone(),
            (Declared::Installation, Some("ipipMode" | "vxlanMode")) => below(&self.at, "encapsulation"),
            (Declared::Installation, Some("disabled")) => below(&self.at, "disableNewAllocations"),
            (Declared::Installation, Some(key)) => below(&self.at, key),
            (Declared::Installation, None) => self.at.clone(),
        }
    }

    /// The encapsulation of its destinations. A pool for nothing but LoadBalancer has none, nor has it routes.
    ///
    /// Source: Calico felix/calc/l3_route_resolver.go, poolTypeForPool.
    pub fn encapsulation(&self) -> Encap {
        if self.vxlan != Mode::Never {
            Encap::Vxlan
        } else if self.ipip != Mode::Never {
            Encap::Ipip
        } else {
            Encap::None
        }
    }

    /// The mode of its encapsulation; `Never` without one.
    pub fn mode(&self) -> Mode {
        if self.vxlan == Mode::Never { self.ipip } else { self.vxlan }
    }

    /// Where its mode is declared; the whole spec if it has no encapsulation.
    pub fn mode_field(&self) -> FieldRef {
        self.field(match self.encapsulation() {
            Encap::Vxlan => "spec.vxlanMode",
            Encap::Ipip => "spec.ipipMode",
            Encap::None => "spec",
        })
    }

    /// Whether its addresses are destinations of workload routes.
    pub fn routes(&self) -> bool {
        self.allowed_uses.workload || self.allowed_uses.tunnel
    }

    /// Whether addresses are handed out from it.
    ///
    /// Source: Calico libcalico-go/lib/ipam/ipam.go, determinePools.
    pub fn allocates(&self) -> bool {
        self.closed().is_none()
    }

    /// Why no address is handed out from it, if that is so.
    pub(super) fn closed(&self) -> Option<String> {
        if self.disabled {
            Some("is disabled".to_owned())
        } else if self.deleting {
            Some("is being deleted".to_owned())
        } else {
            self.overlapped.as_ref().map(|first| format!("overlaps pool {first}"))
        }
    }

    /// The block of this pool that an address lies in.
    pub fn block_of(&self, address: IpAddr) -> Option<IpNet> {
        IpNet::new(address, self.block_size)
            .ok()
            .map(|net| net.trunc())
            .filter(|_| self.cidr.contains(&address))
    }
}

/// The prefix length of the blocks of a pool that states none.
pub(super) fn default_block_size(cidr: IpNet) -> u8 {
    if cidr.addr().is_ipv4() { 26 } else { 122 }
}
