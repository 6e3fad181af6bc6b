//! The Ethernet header, as it stands inside VXLAN and on TAP devices; there is no FCS.

use super::Malformed;
use crate::MacAddr;

/// The header's length in bytes, without a VLAN tag.
pub const HEADER_LEN: usize = 14;

/// What follows an Ethernet header.
pub mod ether_type {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// An 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
}

/// A header, ready to be put in front of a payload.
pub const fn header(destination: MacAddr, source: MacAddr, ether_type: u16) -> [u8; HEADER_LEN] {
    let [d0, d1, d2, d3, d4, d5] = destination.0;
    let [s0, s1, s2, s3, s4, s5] = source.0;
    let [t0, t1] = ether_type.to_be_bytes();
    [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1]
}

/// A frame.
#[derive(Clone, Copy, Debug)]
pub struct EthernetView<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> EthernetView<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// If there are fewer bytes than a header has.
    pub fn parse(bytes: &'a [u8]) -> Result<EthernetView<'a>, Malformed> {
        let (header, payload) = bytes.split_first_chunk().ok_or(Malformed::Truncated {
            header: "Ethernet",
            needed: HEADER_LEN,
            found: bytes.len(),
        })?;
        Ok(EthernetView { header, payload })
    }

    /// The destination address.
    pub fn destination(&self) -> MacAddr {
        let [a, b, c, d, e, g, ..] = *self.header;
        MacAddr([a, b, c, d, e, g])
    }

    /// The source address.
    pub fn source(&self) -> MacAddr {
        let [_, _, _, _, _, _, a, b, c, d, e, g, ..] = *self.header;
        MacAddr([a, b, c, d, e, g])
    }

    /// What the payload is; see [`ether_type`].
    pub fn ether_type(&self) -> u16 {
        let [.., high, low] = *self.header;
        u16::from_be_bytes([high, low])
    }

    /// All behind the header.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}
