//! The presets: how each kind of underlay treats packets, as data. A new preset is one file, and its name in [`Preset`].

use std::time::Duration;

use ipnet::Ipv4Net;
use overlab_dataplane::Mtu;

use super::connections::IdleTimes;

mod aws;
mod azure;
mod base;
mod gcp;
mod internet;
mod onprem;
mod openstack;

/// How a packet on a subnet finds its next device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L2 {
    /// A real Ethernet segment: whoever answers ARP for the next hop gets the packet.
    BroadcastDomain,
    /// Unicast only, to the MAC of a known interface of the same subnet; nothing is flooded.
    MacSwitchedUnicast,
    /// The MAC means nothing: every packet is routed by its IP address, within a subnet too.
    None,
}

/// Which addresses of a packet a card's port holds against its own, unless the check is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressCheck {
    /// The source of what leaves.
    pub source: bool,
    /// The destination of what enters.
    pub destination: bool,
}

/// What becomes of fragments on the way to a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentPolicy {
    /// They are carried as everything else.
    Pass,
    /// A fragment that does not follow its predecessor is dropped.
    InOrder,
    /// None is carried.
    Drop,
}

/// Who is in a security group's rule that names a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupMatch {
    /// Packets that a member's card sent, whatever their source address.
    SenderCard,
    /// Packets whose source is a member's address.
    SourceAddress,
}

/// What a card admits that is in no group which the scenario names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefaultGroup {
    /// Everything: there are no groups.
    Open,
    /// Everything from other cards of that kind, and everything out.
    Members,
    /// These protocols from the underlay's own addresses (none means every protocol), and everything out.
    Underlay(Vec<u8>),
}

/// How security groups work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// What holds where the scenario names no group.
    pub default: DefaultGroup,
    /// Whether the underlay's own addresses, where that group means them, are also those that routes lead to machines or beside.
    pub covers_routes: bool,
    /// Who is meant by a group in a rule.
    pub group_match: GroupMatch,
    /// How long a silent connection lives.
    pub idle: IdleTimes,
    /// Whether an ICMP error about a connection that was let through needs no rule.
    pub tracks_icmp_errors: bool,
    /// Whether TCP and UDP flows that rules of both directions open to everybody are let through without being remembered.
    pub leaves_open_flows_untracked: bool,
    /// So many connections a card's port remembers before it drops what would begin another; none for no limit.
    pub connections: Option<u32>,
}

/// What an underlay router does with a destination that it has no route for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// Nothing.
    Silent,
    /// It answers with ICMP net unreachable (RFC 1812 section 4.3.3.1).
    NetUnreachable,
}

/// Which sources an underlay router takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpFilter {
    /// All.
    Off,
    /// Those that it has a route to.
    Loose,
    /// Those that it would route back the way that they came.
    Strict,
}

/// How an underlay treats packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// How a packet finds its next device on a subnet.
    pub l2: L2,
    /// What the router does without a route.
    pub no_route: NoRoute,
    /// Which sources the router takes.
    pub rp_filter: RpFilter,
    /// Whether the router takes one from the TTL, and can be seen in a traceroute.
    pub router_decrements_ttl: bool,
    /// What a network card's port holds against its own addresses while the check is on.
    pub address_check: AddressCheck,
    /// Whether that check is on, unless the scenario says otherwise.
    pub source_destination_check: bool,
    /// The protocols that the fabric carries, by number; none for all.
    pub protocols: Vec<u8>,
    /// UDP source ports that it keeps for itself: packets from them are lost.
    pub reserved_source_ports: Vec<u16>,
    /// UDP destination ports that it does not carry.
    pub blocked_udp_ports: Vec<u16>,
    /// The size at which the fabric itself splits packets without DF that a card has sent; none if it does not.
    pub splits_at: Option<Mtu>,
    /// The size above which the fabric drops what a card has sent with DF; none if it carries it.
    pub drops_df_above: Option<Mtu>,
    /// Whether the router splits packets without DF that are too big for the next subnet; else it drops them.
    pub router_splits: bool,
    /// Whether the router says so when it drops a packet for its size.
    pub router_tells_size: bool,
    /// So many bytes behind the IP header of a packet the router's ICMP errors quote; none for all that fits.
    pub icmp_quote: Option<usize>,
    /// Whether the router sets the DSCP to zero.
    pub clears_dscp: bool,
    /// Whether cards that offload VXLAN write wrong checksums into the TCP and UDP inside it.
    pub breaks_inner_checksums: bool,
    /// What becomes of fragments.
    pub fragment_policy: FragmentPolicy,
    /// So many fragments a card sends in a second, and no more; none for no limit.
    pub fragment_rate: Option<u32>,
    /// Bits in a second that one flow of a card may take: a flow is a five-tuple, and addresses and protocol where there are no
    /// ports; none for no limit.
    pub flow_rate: Option<u64>,
    /// How security groups work.
    pub security: Security,
    /// What `providerID` of nodes begins with there, if anything.
    pub provider_id: Option<&'static str>,
    /// The key of machines for that check, and whether it says that the check is off; none where machines have no such key.
    pub check_key: Option<(&'static str, bool)>,
    /// Whether others know the network by its whole range, and not by its subnets.
    pub known_as_a_whole: bool,
    /// Whether subnets may have route tables of their own.
    pub subnet_route_tables: bool,
    /// Whether the routes to peered networks and to the internet are there by themselves.
    pub provides_routes: bool,
    /// Ranges that lead nowhere by themselves, where there is a route to the internet.
    pub leads_nowhere: Vec<Ipv4Net>,
    /// So many routes to machines a route table holds; none for no limit.
    pub route_quota: Option<usize>,
    /// The largest MTU that can be asked for.
    pub largest_mtu: u16,
    /// Addresses of each subnet, from its first on, that no machine may have: the network's, the router's, and so on.
    pub reserved_addresses: u32,
    /// The shortest and the longest prefix that a subnet may have.
    pub prefix_lengths: (u8, u8),
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
    /// An Azure virtual network.
    Azure,
    /// A Google Cloud VPC.
    Gcp,
    /// Virtual machines on Neutron networks.
    Openstack,
    /// L2 segments joined by a router that knows no workload addresses.
    Onprem,
    /// What lies beyond everybody's gateways.
    Internet,
}

impl Preset {
    /// Every preset with its name.
    pub const ALL: &[(&str, Preset)] = &[
        ("aws", Preset::Aws),
        ("azure", Preset::Azure),
        ("gcp", Preset::Gcp),
        ("openstack", Preset::Openstack),
        ("onprem", Preset::Onprem),
        ("internet", Preset::Internet),
    ];

    /// Every preset's name.
    pub const NAMES: &[&str] = &{
        let mut names = [""; Preset::ALL.len()];
        let mut place = 0;
        while place < names.len() {
            names[place] = Preset::ALL[place].0;
            place += 1;
        }
        names
    };

    /// How it treats packets.
    pub fn knobs(self) -> Knobs {
        match self {
            Preset::Aws => aws::knobs(),
            Preset::Azure => azure::knobs(),
            Preset::Gcp => gcp::knobs(),
            Preset::Openstack => openstack::knobs(),
            Preset::Onprem => onprem::knobs(),
            Preset::Internet => internet::knobs(),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        let named = Preset::ALL.iter().find(|(_, preset)| *preset == self);
        named.map_or("", |(name, _)| name)
    }
}
