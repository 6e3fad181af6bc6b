//! Encapsulations: they write and read bytes, from one prebuilt header template a route, and decide nothing.

use std::fmt;

/// An encapsulation, by name; `None` is a packet as the workload sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encap {
    /// No tunnel header.
    #[default]
    None,
    /// IP in IP (RFC 2003).
    Ipip,
    /// VXLAN (RFC 7348).
    Vxlan,
}

impl Encap {
    /// Every encapsulation, and none.
    pub const ALL: [Encap; 3] = [Encap::None, Encap::Ipip, Encap::Vxlan];
}

impl fmt::Display for Encap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Encap::None => "none",
            Encap::Ipip => "ipip",
            Encap::Vxlan => "vxlan",
        })
    }
}
