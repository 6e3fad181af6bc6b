//! Encapsulations: they write and read bytes, from one prebuilt header template a route, and decide nothing.
//!
//! Which route a packet takes, whether it fits, from whom tunnel packets are taken and what a refusal leads to: all that is
//! the engine's. A new encapsulation is one new file with an [`Encapsulation`], and one more [`Encap`].

mod ipip;
mod template;
mod vxlan;

pub use ipip::Ipip;
pub use template::Template;
pub use vxlan::Vxlan;

use std::fmt;
use std::net::IpAddr;

use crate::wire::{Ecn, IpMut, IpView, Malformed, VxlanError};
use crate::{Family, MacAddr, Packet, Vni};

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

    /// What the tunnel headers add to each packet over an underlay of this family, in bytes of IP: 20 for IPIP, which is for IPv4
    /// alone; 50 and 70 for VXLAN, whose inner Ethernet header counts and whose outer one does not.
    pub const fn overhead(self, underlay: Family) -> u16 {
        match (self, underlay) {
            (Encap::None, _) => 0,
            (Encap::Ipip, _) => 20,
            (Encap::Vxlan, Family::V4) => 50,
            (Encap::Vxlan, Family::V6) => 70,
        }
    }
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

/// Whose word holds where Linux and the RFCs differ about tunnels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// Linux does it so.
    #[default]
    Linux,
    /// An RFC says so.
    Rfc,
}

impl Wire {
    /// The outer ECN field of a packet with this inner one; by RFC 6040 section 4.1 it is the same.
    const fn outer_ecn(self, inner: Ecn) -> Ecn {
        match self {
            Wire::Linux => inner.encapsulate(),
            Wire::Rfc => inner,
        }
    }
}

/// A node's end of a tunnel: what a tunnel device does to bytes. A packet is handled in place, and nothing is allocated while
/// its headroom lasts.
pub trait Encapsulation: fmt::Debug + Send + Sync {
    /// Its name.
    fn encap(&self) -> Encap;

    /// Whether a whole packet, addressed to this node, is one of this tunnel.
    fn recognises(&self, outer: &IpView<'_>) -> bool;

    /// Puts the tunnel headers of a route in front of a whole packet without link padding. The template must come from this
    /// encapsulation. An outer IPv6 header has no place for an identification.
    ///
    /// Of a super-packet, the lengths in the outer headers are nominal: they count all of it and stay at 65535, and the outer UDP
    /// checksum is 0. Whoever cuts it for the wire writes each piece's own.
    ///
    /// # Errors
    /// If the packet does not begin with an IP header of the template's family; nothing is changed then.
    fn push(&self, template: &Template, packet: &mut Packet, identification: u16) -> Result<(), Malformed>;

    /// Validates all that a kernel validates, in its order, and takes the tunnel headers off by moving an offset. What is left is
    /// a valid IP packet without padding, its ECN field changed as RFC 6040 says. Fragments must have been reassembled
    /// before.
    ///
    /// # Errors
    /// If the packet is not to be taken out of the tunnel; nothing is changed then.
    fn pull(&self, packet: &mut Packet) -> Result<Pulled, DecapError>;
}

/// What was on the outside of a packet that came out of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The outer source address.
    pub outer_source: IpAddr,
    /// The outer destination address.
    pub outer_destination: IpAddr,
    /// Whether the outer ECN field has changed the inner one.
    pub ecn_changed: bool,
}

/// Why a packet is not taken out of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecapError {
    /// A header is none, outside or inside.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The outer UDP checksum is wrong: over IPv4 0 is not, over IPv6 it is.
    #[error("outer UDP checksum {found:#06x} is wrong")]
    BadChecksum {
        /// The checksum.
        found: u16,
    },
    /// The VXLAN flag I is clear.
    #[error("VXLAN flag I needed, found flags {found:#04x}")]
    NoIFlag {
        /// The flags.
        found: u8,
    },
    /// A reserved bit of the VXLAN header is set.
    #[error("VXLAN reserved bits must be 0, found {found:#x}")]
    ReservedBits {
        /// The header as a number, with flag I and the network identifier masked out.
        found: u64,
    },
    /// No device has this VXLAN network identifier.
    #[error("VNI {needed} needed, found {found}")]
    UnknownVni {
        /// The device's.
        needed: Vni,
        /// The packet's.
        found: Vni,
    },
    /// The inner frame is for another MAC address, or for many.
    #[error("inner destination {needed} needed, found {found}")]
    WrongInnerMac {
        /// The device's.
        needed: MacAddr,
        /// The frame's destination.
        found: MacAddr,
    },
    /// The inner frame has the device's own MAC address as source: it went in a circle.
    #[error("inner source {found} is the device's own")]
    OwnInnerMac {
        /// The frame's source.
        found: MacAddr,
    },
    /// The inner frame is tagged, or carries something that is not IP.
    #[error("inner EtherType 0x0800 or 0x86dd needed, found {found:#06x}")]
    InnerEtherType {
        /// The EtherType.
        found: u16,
    },
    /// Congestion was signalled outside to a transport that does not take part (RFC 6040 section 4.2).
    #[error("outer CE on an inner Not-ECT packet")]
    TunnelEcn,
}

impl From<VxlanError> for DecapError {
    fn from(error: VxlanError) -> DecapError {
        match error {
            VxlanError::Malformed(malformed) => DecapError::Malformed(malformed),
            VxlanError::NoIFlag { found } => DecapError::NoIFlag { found },
            VxlanError::ReservedBits { found } => DecapError::ReservedBits { found },
        }
    }
}

/// What is to be done to a packet that has been validated, to get at the packet inside.
struct Strip {
    headers: usize,
    inner_len: usize,
    ecn: Option<Ecn>,
    outer_source: IpAddr,
    outer_destination: IpAddr,
}

impl Strip {
    /// `ecn` is the inner field as it is to be.
    fn new(headers: usize, outer: &IpView<'_>, inner: &IpView<'_>, ecn: Ecn) -> Strip {
        Strip {
            headers,
            inner_len: inner.total_len(),
            ecn: (ecn != inner.ecn()).then_some(ecn),
            outer_source: outer.source(),
            outer_destination: outer.destination(),
        }
    }

    fn apply(self, packet: &mut Packet) -> Pulled {
        packet.pull(self.headers);
        packet.truncate(self.inner_len);
        if let (Some(ecn), Some(mut inner)) = (self.ecn, IpMut::new(packet.bytes_mut())) {
            inner.set_ecn(ecn);
        }
        Pulled {
            outer_source: self.outer_source,
            outer_destination: self.outer_destination,
            ecn_changed: self.ecn.is_some(),
        }
    }
}

/// What a header of `header_len` bytes is followed by: as far as its length field says, or, since that is nominal there, to the
/// end of a super-packet.
fn contents<'a>(packet: &Packet, bytes: &'a [u8], header_len: usize, bounded: &'a [u8]) -> &'a [u8] {
    match packet.segmentation() {
        Some(_) => bytes.get(header_len..).unwrap_or_default(),
        None => bounded,
    }
}
