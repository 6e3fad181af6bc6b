//! The UDP header.

use std::net::IpAddr;

use super::ipv4::protocol;
use super::{Malformed, checksum};

/// The header's length in bytes.
pub const HEADER_LEN: usize = 8;

/// A datagram; bytes behind its stated length are left out.
#[derive(Clone, Copy, Debug)]
pub struct UdpView<'a> {
    header: &'a [u8; HEADER_LEN],
    bytes: &'a [u8],
    payload: &'a [u8],
}

impl<'a> UdpView<'a> {
    /// Reads a datagram and validates its length, but not its checksum, which needs the addresses.
    ///
    /// # Errors
    /// If the length is less than a header's, or more than there is.
    ///
    /// Source: RFC 768; Linux net/ipv4/udp.c, __udp4_lib_rcv.
    pub fn parse(bytes: &'a [u8]) -> Result<UdpView<'a>, Malformed> {
        let view = UdpView::unverified(bytes)?;
        if view.len() < HEADER_LEN {
            return Err(Malformed::TotalLength {
                header: "UDP",
                needed: HEADER_LEN,
                found: view.len(),
            });
        }
        if bytes.len() < view.len() {
            return Err(Malformed::Truncated {
                header: "UDP",
                needed: view.len(),
                found: bytes.len(),
            });
        }
        Ok(view)
    }

    /// Reads a datagram that may have been cut short, as those quoted in ICMP errors and first fragments are.
    ///
    /// # Errors
    /// If the header is not all there.
    pub fn unverified(bytes: &'a [u8]) -> Result<UdpView<'a>, Malformed> {
        let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Malformed::Truncated {
            header: "UDP",
            needed: HEADER_LEN,
            found: bytes.len(),
        })?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]])).max(HEADER_LEN);
        let bytes = bytes.get(..length).unwrap_or(bytes);
        let payload = bytes.get(HEADER_LEN..).unwrap_or_default();
        Ok(UdpView { header, bytes, payload })
    }

    /// The source port.
    pub fn source_port(&self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    /// The destination port.
    pub fn destination_port(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// The length of header and payload that the header states, in bytes.
    #[expect(clippy::len_without_is_empty, reason = "it is a header's field; a datagram is never empty")]
    pub fn len(&self) -> usize {
        usize::from(u16::from_be_bytes([self.header[4], self.header[5]]))
    }

    /// The checksum; 0 if the sender computed none.
    pub fn checksum(&self) -> u16 {
        u16::from_be_bytes([self.header[6], self.header[7]])
    }

    /// Whether the checksum fits this datagram between these addresses; over IPv4 also if it is 0, not computed.
    ///
    /// Source: RFC 768; RFC 6935 section 5.
    pub fn verify_checksum(&self, source: impl Into<IpAddr>, destination: impl Into<IpAddr>) -> bool {
        let source = source.into();
        if self.checksum() == 0 {
            return source.is_ipv4();
        }
        let length = super::ipv4::length_field(self.bytes.len());
        let pseudo = checksum::pseudo_header(source, destination, protocol::UDP, length);
        checksum::combine(&[pseudo, checksum::sum(self.bytes)]) == u16::MAX
    }

    /// The payload, to the end that the length states.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// A header, as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpHeader {
    /// The source port.
    pub source_port: u16,
    /// The destination port.
    pub destination_port: u16,
    /// The length of header and payload, in bytes.
    pub length: u16,
    /// The checksum; 0 if none is computed.
    pub checksum: u16,
}

impl UdpHeader {
    /// The header of a datagram with this payload, its checksum computed.
    ///
    /// A payload beyond 65527 bytes does not fit into the length field, which then stays at 65535.
    pub fn new(source: (impl Into<IpAddr>, u16), destination: (impl Into<IpAddr>, u16), payload: &[u8]) -> UdpHeader {
        let length = super::ipv4::length_field(HEADER_LEN.saturating_add(payload.len()));
        let header = UdpHeader {
            source_port: source.1,
            destination_port: destination.1,
            length,
            checksum: 0,
        };
        let pseudo = checksum::pseudo_header(source.0, destination.0, protocol::UDP, length);
        let sum = checksum::combine(&[pseudo, checksum::sum(&header.to_bytes()), checksum::sum(payload)]);
        UdpHeader {
            checksum: checksum::udp_from_sum(sum),
            ..header
        }
    }

    /// The header's bytes.
    pub const fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let [s0, s1] = self.source_port.to_be_bytes();
        let [d0, d1] = self.destination_port.to_be_bytes();
        let [l0, l1] = self.length.to_be_bytes();
        let [c0, c1] = self.checksum.to_be_bytes();
        [s0, s1, d0, d1, l0, l1, c0, c1]
    }
}
