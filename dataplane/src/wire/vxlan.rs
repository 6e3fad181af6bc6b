//! The VXLAN header. What it accepts is what Linux accepts, which is stricter than RFC 7348.
//!
//! ```text
//! | flags 1 (only I, 0x08) | reserved 3 | VNI 3 | reserved 1 |
//! ```

use super::Malformed;
use crate::Vni;

/// The header's length in bytes.
pub const HEADER_LEN: usize = 8;

/// The UDP port that IANA gives to VXLAN.
pub const PORT: u16 = 4789;

const FLAG_I: u8 = 0x08;

/// Why a VXLAN header is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VxlanError {
    /// The header is cut short.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The I flag is clear: the network identifier means nothing.
    #[error("VXLAN flag I needed, found flags {found:#04x}")]
    NoIFlag {
        /// The flags.
        found: u8,
    },
    /// A reserved bit is set; RFC 7348 ignores it, Linux drops the packet.
    #[error("VXLAN reserved bits must be 0, found {found:#x}")]
    ReservedBits {
        /// The header as a number, with flag I and the network identifier masked out.
        found: u64,
    },
}

/// The header of a packet of this network.
///
/// Source: RFC 7348 section 5.
pub const fn header(vni: Vni) -> [u8; HEADER_LEN] {
    let [_, a, b, c] = vni.get().to_be_bytes();
    [FLAG_I, 0, 0, 0, a, b, c, 0]
}

/// Reads the header at the front of these bytes.
///
/// # Errors
/// If it is cut short, its I flag is clear, or a reserved bit is set.
///
/// Source: Linux drivers/net/vxlan/vxlan_core.c, vxlan_rcv; RFC 7348 section 5 would take reserved bits.
pub fn parse(bytes: &[u8]) -> Result<Vni, VxlanError> {
    let vni = network(bytes)?;
    check_reserved(bytes)?;
    Ok(vni)
}

/// The network of the header at the front of these bytes, its reserved bits not looked at: Linux drops a packet of an unknown
/// network before it looks at them.
///
/// # Errors
/// If the header is cut short, or its I flag is clear.
pub fn network(bytes: &[u8]) -> Result<Vni, VxlanError> {
    let &[flags, _, _, _, a, b, c, _] = fixed(bytes)?;
    if flags & FLAG_I == 0 {
        return Err(VxlanError::NoIFlag { found: flags });
    }
    Ok(Vni::from_bytes([a, b, c]))
}

/// Whether all reserved bits of the header at the front of these bytes are clear.
///
/// # Errors
/// If one is set, or the header is cut short.
pub fn check_reserved(bytes: &[u8]) -> Result<(), VxlanError> {
    let &[flags, a, b, c, _, _, _, last] = fixed(bytes)?;
    match u64::from_be_bytes([flags & !FLAG_I, a, b, c, 0, 0, 0, last]) {
        0 => Ok(()),
        found => Err(VxlanError::ReservedBits { found }),
    }
}

fn fixed(bytes: &[u8]) -> Result<&[u8; HEADER_LEN], Malformed> {
    bytes.first_chunk().ok_or(Malformed::Truncated {
        header: "VXLAN",
        needed: HEADER_LEN,
        found: bytes.len(),
    })
}
