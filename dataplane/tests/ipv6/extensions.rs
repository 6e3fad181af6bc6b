//! Extension headers of IPv6, that of fragments among them.

use overlab_dataplane::wire::fragment::{Reassembly, ReassemblyError, split, timeout};
use overlab_dataplane::wire::{FlowKey, IpView, Ipv6Header, Ipv6View, Reassembler};
use overlab_dataplane::{Family, Instant, Mtu, Packet};
use rstest::rstest;

use super::{POD_A, POD_B};

/// A packet of these headers, each with the number of what follows, in front of eight bytes of UDP.
fn with_extensions(first: u8, headers: &[u8]) -> Vec<u8> {
    let udp = [0x9c, 0x40, 0x13, 0x88, 0, 8, 0, 0];
    let ip = Ipv6Header::new(POD_A, POD_B, first, headers.len() + udp.len());
    [&ip.to_bytes()[..], headers, &udp].concat()
}

#[rstest]
#[case::none(17, &[], 17, 40)]
#[case::hop_by_hop(0, &[17, 0, 1, 4, 0, 0, 0, 0], 17, 48)]
#[case::destination_options_of_16_b(60, &[17, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 17, 56)]
#[case::routing_behind_hop_by_hop(0, &[43, 0, 1, 4, 0, 0, 0, 0, 17, 0, 4, 0, 0, 0, 0, 0], 17, 56)]
#[case::atomic_fragment(44, &[17, 0, 0, 0, 0, 0, 0, 1], 17, 48)]
#[case::later_fragment_ends_the_chain(44, &[60, 0, 0, 8, 0, 0, 0, 1, 17, 0, 1, 4, 0, 0, 0, 0], 60, 48)]
#[case::cut_short(60, &[17, 9, 1, 4, 0, 0, 0, 0], 60, 40)]
fn the_chain_of_extension_headers_leads_to_the_protocol(
    #[case] first: u8,
    #[case] headers: &[u8],
    #[case] protocol: u8,
    #[case] header_len: usize,
) {
    let bytes = with_extensions(first, headers);
    let view = Ipv6View::parse(&bytes).unwrap();
    assert_eq!((view.protocol(), view.header_len()), (protocol, header_len));
    assert_eq!(view.payload(), &bytes[header_len..]);
}

#[test]
fn ports_are_found_behind_extension_headers_but_not_in_fragments() {
    let ports = |bytes: &[u8]| FlowKey::of(&IpView::parse(bytes).unwrap()).ports;
    assert_eq!(ports(&with_extensions(0, &[17, 0, 1, 4, 0, 0, 0, 0])), Some((40000, 5000)));
    assert_eq!(ports(&with_extensions(44, &[17, 0, 0, 1, 0, 0, 0, 1])), None);
}

#[test]
fn hop_by_hop_options_are_repeated_in_each_fragment_and_stand_before_the_fragment_header() {
    let mut bytes = with_extensions(0, &[17, 0, 1, 4, 0, 0, 0, 0]);
    bytes.extend([9; 1992]);
    let length = (bytes.len() - 40) as u16;
    bytes[4..6].copy_from_slice(&length.to_be_bytes());
    let whole = Packet::from_bytes(&bytes);
    let mut fragments = Vec::new();
    split(&whole, Mtu::new(1280).unwrap(), 5, &mut fragments).unwrap();
    let mut reassembler = Reassembler::default();
    let mut last = Reassembly::Pending;
    for fragment in fragments {
        assert_eq!(fragment.bytes()[6], 0);
        assert_eq!(fragment.bytes()[40..48], [44, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(fragment.bytes()[48], 17);
        last = reassembler.push(Instant::ZERO, fragment);
    }
    assert_eq!(last, Reassembly::Complete(whole));
}

/// A fragment of offset and length in bytes.
fn piece(offset: u16, len: usize, more: bool) -> Packet {
    let word = (offset | u16::from(more)).to_be_bytes();
    let fragment = [17, 0, word[0], word[1], 0, 0, 0, 9];
    let ip = Ipv6Header::new(POD_A, POD_B, 44, 8 + len);
    Packet::from_bytes(&[&ip.to_bytes()[..], &fragment, &vec![7; len]].concat())
}

#[rstest]
#[case::e13_overlap(piece(8, 16, false), ReassemblyError::Overlap)]
#[case::no_multiple_of_8(piece(16, 13, true), ReassemblyError::Inconsistent)]
fn a_bad_ipv6_fragment_takes_the_whole_datagram_with_it(#[case] bad: Packet, #[case] reason: ReassemblyError) {
    let mut reassembler = Reassembler::default();
    assert_eq!(reassembler.push(Instant::ZERO, piece(0, 16, true)), Reassembly::Pending);
    let Reassembly::Failed(failure) = reassembler.push(Instant::ZERO, bad) else {
        panic!("it is refused")
    };
    assert_eq!((failure.reason, failure.fragments.len()), (reason, 2));
    assert_eq!(reassembler.next_deadline(), None);
}

#[test]
fn e15_ipv6_fragments_wait_for_60_s() {
    let mut reassembler = Reassembler::default();
    reassembler.push(Instant::ZERO, piece(0, 16, true));
    let deadline = Instant::from_nanos(60_000_000_000);
    assert_eq!(reassembler.next_deadline(), Some(deadline));
    assert_eq!(deadline, Instant::ZERO.saturating_add(timeout(Family::V6)));
    assert_eq!(reassembler.expire(Instant::from_nanos(59_999_999_999)), []);
    assert_eq!(reassembler.expire(deadline)[0].reason, ReassemblyError::Timeout);
}
