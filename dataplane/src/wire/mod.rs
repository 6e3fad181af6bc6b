//! Headers as bytes: views that validate and never copy, and writers that return arrays.
//!
//! Ethernet, IPv4, IPv6, UDP, VXLAN and ICMP as far as encapsulation needs them, with checksums, ECN, the flow hash, fragmentation and a
//! line to read. It knows no policy: what is encapsulated, dropped or answered is decided by those who call it (`encap` and
//! `engine`). No view panics, whatever the bytes.
//!
//! ```text
//! IPIP        | outer IPv4 20 | inner IPv4 ...
//! VXLAN       | outer IPv4 20 | UDP 8 | VXLAN 8 | inner Ethernet 14 | inner IPv4 ...
//! VXLAN, IPv6 | outer IPv6 40 | UDP 8 | VXLAN 8 | inner Ethernet 14 | inner IPv6 ...
//! ```

pub mod checksum;
mod ecn;
pub mod ethernet;
pub mod flow;
pub mod fragment;
pub mod icmp;
mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod print;
pub mod translate;
pub mod udp;
pub mod vxlan;

pub use ecn::Ecn;
pub use ethernet::EthernetView;
pub use flow::FlowKey;
pub use fragment::Reassembler;
pub use icmp::{IcmpError, IcmpMessage};
pub use ip::{IpMut, IpView};
pub use ipv4::{Ipv4Header, Ipv4Mut, Ipv4View};
pub use ipv6::{Ipv6Header, Ipv6Mut, Ipv6View};
pub use udp::{UdpHeader, UdpView};
pub use vxlan::VxlanError;

/// Why bytes are not the header that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end before the header does, or before the end that the header itself states.
    #[error("{header} needs {needed} B, found {found} B")]
    Truncated {
        /// The header, as `IPv4`.
        header: &'static str,
        /// Bytes that must be there.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The IP version is another one.
    #[error("IP version {needed} needed, found {found}")]
    Version {
        /// The version of the view.
        needed: u8,
        /// The version in the first byte.
        found: u8,
    },
    /// The header's length field says less than the header's fixed part.
    #[error("{header} header length of at least {needed} B needed, found {found} B")]
    HeaderLength {
        /// The header, as `IPv4`.
        header: &'static str,
        /// The length of the fixed part.
        needed: usize,
        /// The length stated.
        found: usize,
    },
    /// The length field of header and payload says less than the header's length.
    #[error("{header} length field of at least {needed} B needed, found {found} B")]
    TotalLength {
        /// The header, as `IPv4`.
        header: &'static str,
        /// The header's length.
        needed: usize,
        /// The length stated.
        found: usize,
    },
    /// The checksum does not fit the bytes that it covers.
    #[error("{header} checksum {needed:#06x} needed, found {found:#06x}")]
    Checksum {
        /// The header, as `IPv4`.
        header: &'static str,
        /// The checksum that would be right.
        needed: u16,
        /// The checksum in the header.
        found: u16,
    },
}
