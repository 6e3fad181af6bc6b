//! The presets: how each kind of underlay treats packets, as data. A new preset is one file and one line in [`Preset::ALL`].

use std::time::Duration;

use overlab_dataplane::Mtu;

mod aws;
mod onprem;

/// How a packet on a subnet finds its next device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L2 {
    /// A real Ethernet segment: whoever answers ARP for the next hop gets the packet.
    BroadcastDomain,
    /// Unicast only, to the MAC of a known interface of the same subnet; nothing is flooded.
    MacSwitchedUnicast,
}

/// What an underlay router does with a destination that it has no route for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// Nothing.
    Silent,
    /// It answers with ICMP net unreachable (RFC 1812 section 4.3.3.1).
    NetUnreachable,
}

/// How an underlay treats packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// How a packet finds its next device on a subnet.
    pub l2: L2,
    /// What the router does without a route.
    pub no_route: NoRoute,
    /// Whether the router takes one from the TTL, and can be seen in a traceroute.
    pub router_decrements_ttl: bool,
    /// Whether a network card's port checks addresses, unless the scenario says otherwise.
    pub source_destination_check: bool,
    /// The MTU of cards and segments, unless the scenario says otherwise.
    pub mtu: Mtu,
    /// The host number of the first node in a subnet that only counts its nodes.
    pub first_node: u32,
    /// One way, between two cards of a subnet.
    pub delay_same_subnet: Duration,
    /// One way, between cards of two subnets.
    pub delay_cross_subnet: Duration,
}

/// A kind of underlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preset {
    /// An AWS VPC.
    Aws,
    /// L2 segments joined by a router that knows no workload addresses.
    Onprem,
}

impl Preset {
    /// Every preset with its name.
    pub const ALL: &[(&str, Preset)] = &[("aws", Preset::Aws), ("onprem", Preset::Onprem)];

    /// How it treats packets.
    pub fn knobs(self) -> Knobs {
        match self {
            Preset::Aws => aws::knobs(),
            Preset::Onprem => onprem::knobs(),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Aws => "aws",
            Preset::Onprem => "onprem",
        }
    }
}
