//! What a node translates.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

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
