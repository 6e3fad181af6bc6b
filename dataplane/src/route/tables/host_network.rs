//! What a machine is before Calico touches it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::{Mtu, PerFamily};

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
