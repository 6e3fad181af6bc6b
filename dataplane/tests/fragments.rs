//! Fragmentation and reassembly, and which packets an ICMP error may be about.

use std::net::Ipv4Addr;
use std::time::Duration;

use overlab_dataplane::wire::fragment::{MEMORY_MAX, Reassembly, ReassemblyError, split, timeout};
use overlab_dataplane::wire::{Ecn, IcmpError, Ipv4Header, Ipv4Mut, Ipv4View, Reassembler, icmp};
use overlab_dataplane::{Family, Instant, Mtu, Packet, Tag};
use proptest::prelude::*;
use rstest::rstest;

const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 2);
const DESTINATION: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);

fn header(payload_len: usize) -> Ipv4Header {
    Ipv4Header {
        identification: 0x1234,
        ..Ipv4Header::new(SOURCE, DESTINATION, 17, payload_len)
    }
}

fn packet_of(header: &Ipv4Header, payload: &[u8]) -> Packet {
    Packet::from_bytes(&[&header.to_bytes()[..], payload].concat())
}

fn whole(payload_len: usize) -> Packet {
    let payload: Vec<u8> = (0..payload_len).map(|i| (i % 251) as u8).collect();
    packet_of(&header(payload_len), &payload)
}

/// A fragment of offset and length in bytes.
fn piece(offset: usize, len: usize, more_fragments: bool, ecn: Ecn) -> Packet {
    let header = Ipv4Header {
        fragment_offset: (offset / 8) as u16,
        more_fragments,
        ecn,
        ..header(len)
    };
    packet_of(&header, &vec![7; len])
}

fn split_at(packet: &Packet, mtu: u16) -> Vec<Packet> {
    let mut fragments = Vec::new();
    split(packet, Mtu::new(mtu).unwrap(), 0, &mut fragments).unwrap();
    fragments
}

/// Offset, payload length and MF of each.
fn shape(fragments: &[Packet]) -> Vec<(usize, usize, bool)> {
    let views = fragments.iter().map(|f| Ipv4View::parse(f.bytes()).unwrap());
    views
        .map(|v| (v.fragment_offset(), v.payload().len(), v.more_fragments()))
        .collect()
}

fn push_all(reassembler: &mut Reassembler, fragments: impl IntoIterator<Item = Packet>) -> Reassembly {
    let mut last = Reassembly::Pending;
    for fragment in fragments {
        assert_eq!(last, Reassembly::Pending);
        last = reassembler.push(Instant::ZERO, fragment);
    }
    last
}

fn reason(reassembly: &Reassembly) -> Option<ReassemblyError> {
    match reassembly {
        Reassembly::Failed(failure) => Some(failure.reason),
        Reassembly::Pending | Reassembly::Complete(_) => None,
    }
}

#[test]
fn a_packet_that_fits_is_not_split() {
    assert_eq!(shape(&split_at(&whole(1480), 1500)), [(0, 1480, false)]);
}

#[test]
fn fragments_are_as_few_as_possible_and_multiples_of_8() {
    assert_eq!(
        shape(&split_at(&whole(3000), 1500)),
        [(0, 1480, true), (1480, 1480, true), (2960, 40, false)]
    );
    assert_eq!(shape(&split_at(&whole(1000), 576)), [(0, 552, true), (552, 448, false)]);
}

#[test]
fn a_middle_fragment_split_again_keeps_more_fragments_on_its_last_piece() {
    let fragments = split_at(&whole(3000), 1500);
    assert_eq!(shape(&split_at(&fragments[1], 1000)), [(1480, 976, true), (2456, 504, true)]);
    assert_eq!(shape(&split_at(&fragments[2], 68)), [(2960, 40, false)]);
}

#[test]
fn fragments_keep_the_tag() {
    let mut packet = whole(3000);
    packet.set_tag(Tag(7));
    let fragments = split_at(&packet, 1500);
    assert!(fragments.iter().all(|f| f.tag() == Tag(7)));
    let Reassembly::Complete(joined) = push_all(&mut Reassembler::default(), fragments) else {
        panic!("all fragments are there");
    };
    assert_eq!(joined.tag(), Tag(7));
}

#[test]
fn later_fragments_carry_only_the_options_with_the_copied_flag() {
    // Record route (7, not copied), then a router alert (148, copied).
    let options = [7, 4, 4, 0, 148, 4, 0, 0];
    let mut bytes = [&header(108).to_bytes()[..], &options, &[9; 100]].concat();
    (bytes[0], bytes[10], bytes[11]) = (0x47, 0, 0);
    let checksum = pnet::packet::util::checksum(&bytes[..28], usize::MAX);
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    let fragments = split_at(&Packet::from_bytes(&bytes), 68);
    let options_of = |f: &Packet| Ipv4View::parse(f.bytes()).unwrap().options().to_vec();
    assert_eq!(options_of(&fragments[0]), options);
    assert_eq!(options_of(&fragments[1]), [1, 1, 1, 1, 148, 4, 0, 0]);
    assert_eq!(shape(&fragments), [(0, 40, true), (40, 40, true), (80, 20, false)]);
}

proptest! {
    #[test]
    fn fragments_in_any_order_with_duplicates_make_the_packet_again(
        payload_len in 1usize..5000, mtu in 68u16..1500, order: u64,
    ) {
        let packet = whole(payload_len);
        let mut fragments = split_at(&packet, mtu);
        let pieces = fragments.len();
        if pieces > 1 {
            for round in 0..pieces {
                fragments.swap(round, (order.rotate_left(round as u32) % pieces as u64) as usize);
            }
            fragments.insert(1, fragments[0].clone());
        }
        let mut reassembler = Reassembler::default();
        let Reassembly::Complete(joined) = push_all(&mut reassembler, fragments) else {
            return Err(TestCaseError::fail("all fragments are there"));
        };
        prop_assert_eq!(joined.bytes(), packet.bytes());
        prop_assert_eq!(reassembler.next_deadline(), None);
    }

    #[test]
    fn reassembly_never_panics_whatever_the_fragments(
        pieces in prop::collection::vec((0usize..8192, 0usize..2000, any::<bool>(), 0u8..4), 1..20),
    ) {
        let mut reassembler = Reassembler::default();
        for (offset, len, more, ecn) in pieces {
            reassembler.push(Instant::ZERO, piece(offset * 8, len, more, Ecn::from_bits(ecn)));
        }
        reassembler.expire(Instant::ZERO.saturating_add(timeout(Family::V4)));
        prop_assert_eq!(reassembler.next_deadline(), None);
    }
}

#[rstest]
#[case::overlap_by_a_part(vec![(0, 64, true), (56, 64, true)], ReassemblyError::Overlap)]
#[case::a_hole_and_more(vec![(0, 64, true), (128, 64, true), (56, 80, true)], ReassemblyError::Overlap)]
#[case::two_ends(vec![(64, 40, false), (128, 40, false)], ReassemblyError::Inconsistent)]
#[case::beyond_the_end(vec![(64, 40, false), (128, 40, true)], ReassemblyError::Inconsistent)]
#[case::end_before_the_rest(vec![(128, 40, true), (64, 40, false)], ReassemblyError::Inconsistent)]
#[case::empty(vec![(64, 0, true)], ReassemblyError::Inconsistent)]
#[case::too_long(vec![(0, 32_000, true), (32_000, 33_520, false)], ReassemblyError::TooLong(65_540))]
fn fragments_that_contradict_one_another_are_all_dropped(
    #[case] pieces: Vec<(usize, usize, bool)>,
    #[case] expected: ReassemblyError,
) {
    let count = pieces.len();
    let mut reassembler = Reassembler::default();
    let result = push_all(
        &mut reassembler,
        pieces.into_iter().map(|(at, len, more)| piece(at, len, more, Ecn::NotEct)),
    );
    let Reassembly::Failed(failure) = result else {
        panic!("{result:?}");
    };
    assert_eq!((failure.reason, failure.fragments.len()), (expected, count));
    assert_eq!(reassembler.next_deadline(), None);
}

/// RFC 3168 section 5.3 and Linux's ip_frag_ecn_table; none is refused.
#[rstest]
#[case(Ecn::Ect0, Ecn::Ce, Some(Ecn::Ce))]
#[case(Ecn::Ce, Ecn::Ect1, Some(Ecn::Ce))]
#[case(Ecn::Ect0, Ecn::Ect1, Some(Ecn::Ect0))]
#[case(Ecn::NotEct, Ecn::NotEct, Some(Ecn::NotEct))]
#[case(Ecn::NotEct, Ecn::Ce, None)]
#[case(Ecn::Ect0, Ecn::NotEct, None)]
fn the_whole_has_the_congestion_of_its_fragments(#[case] first: Ecn, #[case] last: Ecn, #[case] expected: Option<Ecn>) {
    let result = push_all(
        &mut Reassembler::default(),
        [piece(0, 64, true, first), piece(64, 8, false, last)],
    );
    match &result {
        Reassembly::Complete(joined) => {
            assert_eq!(Some(Ipv4View::parse(joined.bytes()).unwrap().ecn()), expected);
        }
        Reassembly::Failed(_) | Reassembly::Pending => {
            assert_eq!((expected, reason(&result)), (None, Some(ReassemblyError::MixedEcn)));
        }
    }
}

#[test]
fn after_30_s_all_that_waited_is_given_up_the_first_fragment_first() {
    let mut reassembler = Reassembler::default();
    let start = Instant::from_nanos(5);
    let deadline = start.saturating_add(Duration::from_secs(30));
    reassembler.push(start, piece(64, 64, true, Ecn::NotEct));
    reassembler.push(start.saturating_add(Duration::from_secs(20)), piece(0, 64, true, Ecn::NotEct));
    assert_eq!(reassembler.next_deadline(), Some(deadline));
    assert_eq!(reassembler.expire(Instant::from_nanos(deadline.as_nanos() - 1)), []);
    let failures = reassembler.expire(deadline);
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].reason, ReassemblyError::Timeout);
    assert_eq!(shape(&failures[0].fragments), [(0, 64, true), (64, 64, true)]);
}

#[test]
fn memory_is_bounded_and_free_again_after_the_timeout() {
    let mut reassembler = Reassembler::default();
    let first_of = |identification: usize| {
        let mut fragment = piece(0, 32_000, true, Ecn::NotEct);
        Ipv4Mut::new(fragment.bytes_mut())
            .unwrap()
            .set_identification(identification as u16);
        fragment
    };
    let admitted = (0..1000)
        .filter(|&id| reassembler.push(Instant::ZERO, first_of(id)) == Reassembly::Pending)
        .count();
    assert!((MEMORY_MAX / 33_000..=MEMORY_MAX / 32_000).contains(&admitted), "{admitted}");
    assert_eq!(
        reason(&reassembler.push(Instant::ZERO, first_of(1000))),
        Some(ReassemblyError::MemoryFull)
    );
    let later = Instant::ZERO.saturating_add(timeout(Family::V4));
    assert_eq!(reassembler.expire(later).len(), admitted);
    assert_eq!(reassembler.push(later, first_of(1000)), Reassembly::Pending);
}

/// A change to a UDP packet, and whether an error about it may be sent (RFC 1812 section 4.3.2.7).
#[rstest]
#[case::udp(header(8), [0; 8], true)]
#[case::echo(Ipv4Header { protocol: 1, ..header(8) }, [8, 0, 0, 0, 0, 0, 0, 0], true)]
#[case::icmp_unreachable(Ipv4Header { protocol: 1, ..header(8) }, [3, 0, 0, 0, 0, 0, 0, 0], false)]
#[case::icmp_time_exceeded(Ipv4Header { protocol: 1, ..header(8) }, [11, 0, 0, 0, 0, 0, 0, 0], false)]
#[case::icmp_of_an_unknown_type(Ipv4Header { protocol: 1, ..header(8) }, [40, 0, 0, 0, 0, 0, 0, 0], false)]
#[case::first_fragment(Ipv4Header { more_fragments: true, ..header(8) }, [0; 8], true)]
#[case::later_fragment(Ipv4Header { fragment_offset: 1, ..header(8) }, [0; 8], false)]
#[case::to_multicast(Ipv4Header { destination: Ipv4Addr::new(224, 0, 0, 9), ..header(8) }, [0; 8], false)]
#[case::to_broadcast(Ipv4Header { destination: Ipv4Addr::BROADCAST, ..header(8) }, [0; 8], false)]
#[case::from_net_0(Ipv4Header { source: Ipv4Addr::UNSPECIFIED, ..header(8) }, [0; 8], false)]
#[case::from_loopback(Ipv4Header { source: Ipv4Addr::LOCALHOST, ..header(8) }, [0; 8], false)]
#[case::from_multicast(Ipv4Header { source: Ipv4Addr::new(239, 1, 1, 1), ..header(8) }, [0; 8], false)]
#[case::from_class_e(Ipv4Header { source: Ipv4Addr::new(250, 1, 1, 1), ..header(8) }, [0; 8], false)]
fn errors_are_sent_only_about_packets_that_may_be_answered(
    #[case] header: Ipv4Header,
    #[case] payload: [u8; 8],
    #[case] answered: bool,
) {
    let about = packet_of(&header, &payload);
    let error = IcmpError::TtlExpired;
    let packet = icmp::error_packet(error, Ipv4Addr::new(10, 0, 0, 1), about.bytes());
    assert_eq!(packet.is_some(), answered);
}
