//! Why the fabric loses a packet.

use std::fmt;

/// Why the fabric lost a packet. The list is closed, and each reason has one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// The outermost source (leaving) or destination (entering) is not the port's.
    SrcDstCheck,
    /// No rule of the port's security group admits it.
    SgDeny,
    /// No rule of a firewall admits it.
    FirewallDeny,
    /// The subnet's access list refuses it.
    NaclDeny,
    /// A protocol or port that this fabric never carries.
    FabricBlocked,
    /// The fabric does not carry this fragment.
    FragmentRefused,
    /// A stateful firewall has not seen its connection begin.
    OutOfState,
    /// The internet's edge has no public address for it.
    NoNatMapping,
    /// Its source is not routed back the way that it came.
    RpFilter,
    /// An allowance is used up.
    RateLimited,
    /// A link's queue overflowed.
    QueueFull,
    /// The link or interface is down.
    LinkDown,
    /// The machine is down.
    NodeDown,
    /// A declared fault took it.
    Injected,
    /// The underlay router has no route.
    FabricNoRoute,
    /// Nobody on the segment has the next hop.
    NeighbourFailed,
    /// Longer than the segment or the next one takes.
    TooBig,
    /// The TTL ran out in an underlay router.
    TtlExpired,
    /// Its header is not one that a router may forward.
    Malformed,
    /// It was sent to an underlay router itself, which answers nothing.
    NoListener,
}

impl DropReason {
    /// Every reason.
    pub const ALL: &[DropReason] = &[
        DropReason::SrcDstCheck,
        DropReason::SgDeny,
        DropReason::FirewallDeny,
        DropReason::NaclDeny,
        DropReason::FabricBlocked,
        DropReason::FragmentRefused,
        DropReason::OutOfState,
        DropReason::NoNatMapping,
        DropReason::RpFilter,
        DropReason::RateLimited,
        DropReason::QueueFull,
        DropReason::LinkDown,
        DropReason::NodeDown,
        DropReason::Injected,
        DropReason::FabricNoRoute,
        DropReason::NeighbourFailed,
        DropReason::TooBig,
        DropReason::TtlExpired,
        DropReason::Malformed,
        DropReason::NoListener,
    ];

    /// Its spelling in scenarios and reports.
    pub fn name(self) -> &'static str {
        self.texts().0
    }

    /// What it means, and who says so.
    pub fn meaning(self) -> &'static str {
        self.texts().1
    }

    fn texts(self) -> (&'static str, &'static str) {
        match self {
            DropReason::SrcDstCheck => (
                "src_dst_check",
                "The outermost address is not this interface's. Sources: AWS VPC user guide, elastic network interfaces; Azure, IP forwarding; Google Cloud, canIpForward; OpenStack, port security.",
            ),
            DropReason::SgDeny => (
                "sg_deny",
                "No rule of the port's security group admits it. Source: AWS VPC user guide, security groups.",
            ),
            DropReason::FirewallDeny => (
                "firewall_deny",
                "No rule of a firewall between networks admits it. Source: RFC 2979 section 1.",
            ),
            DropReason::NaclDeny => (
                "nacl_deny",
                "The subnet's stateless access list refuses it. Source: AWS VPC user guide, network ACLs.",
            ),
            DropReason::FabricBlocked => (
                "fabric_blocked",
                "A protocol or port that this fabric never carries. Source: Azure virtual networks FAQ; Google Cloud firewalls.",
            ),
            DropReason::FragmentRefused => (
                "fragment_refused",
                "The fabric does not carry this fragment. Source: Azure TCP/IP performance tuning.",
            ),
            DropReason::OutOfState => (
                "out_of_state",
                "A stateful firewall has not seen its connection begin. Source: Linux net/netfilter/nf_conntrack_core.c.",
            ),
            DropReason::NoNatMapping => (
                "no_nat_mapping",
                "The internet's edge has no public address for it. Source: AWS VPC user guide, internet gateways.",
            ),
            DropReason::RpFilter => (
                "rp_filter",
                "Its source is not routed back the way that it came. Source: RFC 3704 section 2.",
            ),
            DropReason::RateLimited => (
                "rate_limited",
                "An allowance is used up. Source: AWS EC2 user guide, \"Monitor network performance\" (ENA).",
            ),
            DropReason::QueueFull => ("queue_full", "A link's queue overflowed. Source: the scenario's timeline."),
            DropReason::LinkDown => ("link_down", "The link or interface is down. Source: the scenario's timeline."),
            DropReason::NodeDown => ("node_down", "The machine is down. Source: the scenario's timeline."),
            DropReason::Injected => ("injected", "A declared fault took it. Source: the scenario's timeline."),
            DropReason::FabricNoRoute => (
                "fabric_no_route",
                "The underlay router has no route. Source: RFC 1812 section 4.3.3.1; AWS VPC user guide, route tables.",
            ),
            DropReason::NeighbourFailed => (
                "neighbour_failed",
                "Nobody answers ARP for the next hop. Source: RFC 1812 section 4.3.3.1.",
            ),
            DropReason::TooBig => (
                "too_big",
                "Longer than the next segment takes, and not to be split. Source: RFC 1191 section 4.",
            ),
            DropReason::TtlExpired => (
                "ttl_expired",
                "The TTL ran out in an underlay router. Source: RFC 1812 section 5.3.1.",
            ),
            DropReason::Malformed => (
                "malformed",
                "Not a header that a router may forward. Source: RFC 1812 section 5.2.2.",
            ),
            DropReason::NoListener => (
                "no_listener",
                "Sent to an underlay router itself, which answers nothing here.",
            ),
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
