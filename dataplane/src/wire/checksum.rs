//! The internet checksum, whole and incremental.
//!
//! A *sum* is the one's complement sum of 16-bit words, a *checksum* its complement, as headers carry it. Which bytes a checksum
//! covers is the affair of the header's own module.

use std::net::IpAddr;

use smoltcp::wire::checksum as smol;

/// The one's complement sum of the bytes, an odd last byte padded with zero.
///
/// Source: RFC 1071 section 1.
pub fn sum(bytes: &[u8]) -> u16 {
    smol::data(bytes)
}

/// The sum of several sums.
pub fn combine(sums: &[u16]) -> u16 {
    smol::combine(sums)
}

/// The checksum of bytes whose checksum field is zero.
pub fn of(bytes: &[u8]) -> u16 {
    !sum(bytes)
}

/// Whether bytes that include their checksum are as they were sent.
pub fn is_valid(bytes: &[u8]) -> bool {
    sum(bytes) == u16::MAX
}

/// The checksum after one 16-bit word that it covers has changed from `old` to `new`.
///
/// Source: RFC 1624 section 3, equation 3.
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !combine(&[!checksum, !old, new])
}

/// The sum of the pseudo-header that UDP, TCP and ICMPv6 checksums cover besides the segment of `length` bytes.
///
/// Source: RFC 768, RFC 9293 section 3.1; RFC 8200 section 8.1.
#[inline]
pub fn pseudo_header(source: impl Into<IpAddr>, destination: impl Into<IpAddr>, protocol: u8, length: u16) -> u16 {
    let sum = words(source.into()) + words(destination.into()) + u32::from(protocol) + u32::from(length);
    let folded = (sum >> 16) + (sum & 0xffff);
    (folded >> 16) as u16 + folded as u16
}

/// The sum of an address's 16-bit words, not folded.
#[inline]
fn words(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => (u32::from(address) >> 16) + (u32::from(address) & 0xffff),
        IpAddr::V6(address) => address.segments().into_iter().map(u32::from).sum(),
    }
}

/// A UDP checksum as it is sent, from the sum of all that it covers: a computed zero becomes `0xffff`, since zero means none.
///
/// Source: RFC 768.
pub fn udp_from_sum(sum: u16) -> u16 {
    match !sum {
        0 => u16::MAX,
        checksum => checksum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_worked_example_of_rfc_1071_sums_to_ddf2() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn the_worked_example_of_rfc_1624_updates_dd2f_to_zero() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_ffff() {
        assert_eq!((udp_from_sum(0xffff), udp_from_sum(0xfffe)), (0xffff, 1));
    }

    proptest! {
        #[test]
        fn an_update_gives_what_a_new_computation_gives(mut words in prop::collection::vec(any::<u16>(), 10..40), at in 1..9usize, new: u16) {
            let bytes = |words: &[u16]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>();
            words[0] = 0x4500;
            let before = of(&bytes(&words));
            let old = std::mem::replace(&mut words[at], new);
            prop_assert_eq!(update(before, old, new), pnet::packet::util::checksum(&bytes(&words), usize::MAX));
        }
    }
}
