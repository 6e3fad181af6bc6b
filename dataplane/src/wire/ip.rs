//! An IP packet of either version: what forwarding, filtering and answering ask of a header without asking for its version.

use std::net::IpAddr;

use super::ipv4::protocol;
use super::{Ecn, Ipv4Mut, Ipv4View, Ipv6Mut, Ipv6View, Malformed};
use crate::Family;

/// A packet whose header has been validated, of the version that its first byte states.
#[derive(Clone, Copy, Debug)]
pub enum IpView<'a> {
    /// IPv4.
    V4(Ipv4View<'a>),
    /// IPv6.
    V6(Ipv6View<'a>),
}

impl<'a> From<Ipv4View<'a>> for IpView<'a> {
    fn from(view: Ipv4View<'a>) -> IpView<'a> {
        IpView::V4(view)
    }
}

impl<'a> From<Ipv6View<'a>> for IpView<'a> {
    fn from(view: Ipv6View<'a>) -> IpView<'a> {
        IpView::V6(view)
    }
}

/// Asks the header of whichever version it is.
macro_rules! ask {
    ($packet:expr, $view:ident => $v4:expr, $v6:expr) => {
        match $packet {
            IpView::V4($view) => $v4,
            IpView::V6($view) => $v6,
        }
    };
}

impl<'a> IpView<'a> {
    /// Reads a packet and validates it; see [`Ipv4View::parse`] and [`Ipv6View::parse`].
    ///
    /// # Errors
    /// As theirs; a packet of no known version is refused as no IPv4.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<IpView<'a>, Malformed> {
        IpView::parse_as(version(bytes), bytes)
    }

    /// As [`IpView::parse`], of this version.
    ///
    /// # Errors
    /// As there, and for another version.
    #[inline]
    pub fn parse_as(family: Family, bytes: &'a [u8]) -> Result<IpView<'a>, Malformed> {
        match family {
            Family::V4 => Ipv4View::parse(bytes).map(IpView::V4),
            Family::V6 => Ipv6View::parse(bytes).map(IpView::V6),
        }
    }

    /// Reads a packet that may have been cut short, or was validated before; see [`Ipv4View::unverified`] and
    /// [`Ipv6View::unverified`].
    ///
    /// # Errors
    /// As theirs; a packet of no known version is refused as no IPv4.
    #[inline]
    pub fn unverified(bytes: &'a [u8]) -> Result<IpView<'a>, Malformed> {
        IpView::unverified_as(version(bytes), bytes)
    }

    /// As [`IpView::unverified`], of this version: what stands in front of it said so.
    ///
    /// # Errors
    /// As there, and for another version.
    #[inline]
    pub fn unverified_as(family: Family, bytes: &'a [u8]) -> Result<IpView<'a>, Malformed> {
        match family {
            Family::V4 => Ipv4View::unverified(bytes).map(IpView::V4),
            Family::V6 => Ipv6View::unverified(bytes).map(IpView::V6),
        }
    }

    /// The version.
    #[inline]
    pub fn family(&self) -> Family {
        match self {
            IpView::V4(_) => Family::V4,
            IpView::V6(_) => Family::V6,
        }
    }

    /// The source address.
    #[inline]
    pub fn source(&self) -> IpAddr {
        ask!(self, view => view.source().into(), view.source().into())
    }

    /// The destination address.
    #[inline]
    pub fn destination(&self) -> IpAddr {
        ask!(self, view => view.destination().into(), view.destination().into())
    }

    /// The number of the protocol above; see [`protocol`].
    #[inline]
    pub fn protocol(&self) -> u8 {
        ask!(self, view => view.protocol(), view.protocol())
    }

    /// Whether the protocol above is this version's ICMP.
    #[inline]
    pub fn is_icmp(&self) -> bool {
        let icmp = match self {
            IpView::V4(_) => protocol::ICMP,
            IpView::V6(_) => protocol::ICMPV6,
        };
        self.protocol() == icmp
    }

    /// The time to live, or hop limit.
    #[inline]
    pub fn ttl(&self) -> u8 {
        ask!(self, view => view.ttl(), view.hop_limit())
    }

    /// The differentiated services code point, 0 to 63.
    #[inline]
    pub fn dscp(&self) -> u8 {
        ask!(self, view => view.dscp(), view.dscp())
    }

    /// The ECN field.
    #[inline]
    pub fn ecn(&self) -> Ecn {
        ask!(self, view => view.ecn(), view.ecn())
    }

    /// The flow label of an IPv6 packet; 0 for IPv4, which has none.
    #[inline]
    pub fn flow_label(&self) -> u32 {
        match self {
            IpView::V4(_) => 0,
            IpView::V6(view) => view.flow_label(),
        }
    }

    /// Whether no router may fragment the packet; none ever may with IPv6 (RFC 8200 section 5).
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        match self {
            IpView::V4(view) => view.dont_fragment(),
            IpView::V6(_) => true,
        }
    }

    /// What fragments of one packet share; 0 for an IPv6 packet without a fragment header.
    #[inline]
    pub fn identification(&self) -> u32 {
        ask!(self, view => view.identification().into(), view.fragment().map_or(0, |fragment| fragment.identification))
    }

    /// Whether fragments behind this one belong to the same packet.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        ask!(self, view => view.more_fragments(), view.fragment().is_some_and(|fragment| fragment.more_fragments))
    }

    /// Where in the whole packet's data this one's begin, in bytes; 0 for a packet in one piece.
    #[inline]
    pub fn fragment_offset(&self) -> usize {
        ask!(self, view => view.fragment_offset(), view.fragment().map_or(0, |fragment| fragment.offset))
    }

    /// Whether this is a piece of a larger packet.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        match self {
            IpView::V4(view) => view.is_fragment(),
            IpView::V6(view) => view
                .fragment()
                .is_some_and(|fragment| fragment.more_fragments || fragment.offset > 0),
        }
    }

    /// The length of header and payload that the header states, in bytes.
    #[inline]
    pub fn total_len(&self) -> usize {
        ask!(self, view => view.total_len(), view.total_len())
    }

    /// The length of the header with options or extension headers, in bytes.
    #[inline]
    pub fn header_len(&self) -> usize {
        ask!(self, view => view.header_len(), view.header_len())
    }

    /// What the protocol above gets, to the end that the header states or, in an unverified view, to the last byte that is there.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        ask!(self, view => view.payload(), view.payload())
    }
}

/// The version that the first byte states; IPv4 for all that is neither.
#[inline]
fn version(bytes: &[u8]) -> Family {
    match bytes.first() {
        Some(first) if first >> 4 == 6 => Family::V6,
        _ => Family::V4,
    }
}

/// The fixed header of a validated packet of either version, to be changed in place.
#[derive(Debug)]
pub enum IpMut<'a> {
    /// IPv4.
    V4(Ipv4Mut<'a>),
    /// IPv6.
    V6(Ipv6Mut<'a>),
}

impl<'a> IpMut<'a> {
    /// The header at the front of these bytes; none if it is not all there.
    #[inline]
    pub fn new(bytes: &'a mut [u8]) -> Option<IpMut<'a>> {
        match version(bytes) {
            Family::V4 => Ipv4Mut::new(bytes).map(IpMut::V4),
            Family::V6 => Ipv6Mut::new(bytes).map(IpMut::V6),
        }
    }

    /// Takes one hop off the TTL or hop limit and returns what is left; 0 stays.
    #[inline]
    pub fn decrement_ttl(&mut self) -> u8 {
        match self {
            IpMut::V4(header) => header.decrement_ttl(),
            IpMut::V6(header) => header.decrement_hop_limit(),
        }
    }

    /// Sets the ECN field and leaves the DSCP as it is.
    #[inline]
    pub fn set_ecn(&mut self, ecn: Ecn) {
        match self {
            IpMut::V4(header) => header.set_ecn(ecn),
            IpMut::V6(header) => header.set_ecn(ecn),
        }
    }

    /// Sets the DSCP to zero and leaves the ECN field as it is.
    #[inline]
    pub fn clear_dscp(&mut self) {
        match self {
            IpMut::V4(header) => header.clear_dscp(),
            IpMut::V6(header) => header.clear_dscp(),
        }
    }

    /// Sets the source address, if it is of the packet's version; a checksum of the protocol above that covers it is not touched.
    #[inline]
    pub fn set_source(&mut self, source: IpAddr) {
        match (self, source) {
            (IpMut::V4(header), IpAddr::V4(source)) => header.set_source(source),
            (IpMut::V6(header), IpAddr::V6(source)) => header.set_source(source),
            (IpMut::V4(_), IpAddr::V6(_)) | (IpMut::V6(_), IpAddr::V4(_)) => {}
        }
    }

    /// Sets the destination address, if it is of the packet's version; a checksum of the protocol above that covers it is not
    /// touched.
    #[inline]
    pub fn set_destination(&mut self, destination: IpAddr) {
        match (self, destination) {
            (IpMut::V4(header), IpAddr::V4(destination)) => header.set_destination(destination),
            (IpMut::V6(header), IpAddr::V6(destination)) => header.set_destination(destination),
            (IpMut::V4(_), IpAddr::V6(_)) | (IpMut::V6(_), IpAddr::V4(_)) => {}
        }
    }
}
