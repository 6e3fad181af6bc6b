//! Why the fabric loses a packet.

use std::fmt;

/// Why the fabric lost a packet. The list is closed, and each reason has one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// The outermost source (leaving) or destination (entering) is not the port's. Source: AWS VPC user guide, elastic network
    /// interfaces, source/destination checking.
    SrcDstCheck,
    /// The underlay router has no route.
    FabricNoRoute,
    /// Nobody on the segment has the next hop.
    NeighbourFailed,
    /// Longer than the segment or the next one takes.
    TooBig,
    /// The TTL ran out in an underlay router.
    TtlExpired,
    /// Its header is not one that a router may forward. Source: RFC 1812 section 5.2.2.
    Malformed,
    /// It was sent to an underlay router itself, which answers nothing.
    NoListener,
}

impl DropReason {
    /// Every reason.
    pub const ALL: &[DropReason] = &[
        DropReason::SrcDstCheck,
        DropReason::FabricNoRoute,
        DropReason::NeighbourFailed,
        DropReason::TooBig,
        DropReason::TtlExpired,
        DropReason::Malformed,
        DropReason::NoListener,
    ];

    /// Its spelling in scenarios and reports.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::SrcDstCheck => "src_dst_check",
            DropReason::FabricNoRoute => "fabric_no_route",
            DropReason::NeighbourFailed => "neighbour_failed",
            DropReason::TooBig => "too_big",
            DropReason::TtlExpired => "ttl_expired",
            DropReason::Malformed => "malformed",
            DropReason::NoListener => "no_listener",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
