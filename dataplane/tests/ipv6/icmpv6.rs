//! ICMPv6: which errors there are, what they are about, and the checksum.

use std::net::Ipv6Addr;

use overlab_dataplane::wire::{IcmpError, IcmpMessage, IpView, Ipv6Header, Malformed, icmp};
use pnet::packet::Packet as _;
use pnet::packet::ipv6::Ipv6Packet;
use rstest::rstest;

use super::common::packet;
use super::{FRAME, INNER, NODE_A, POD_A, POD_B, datagram};

#[rstest]
#[case::g14_too_big(IcmpError::TooBig { mtu: 1400 }, (2, 0), 1400)]
#[case::no_route(IcmpError::NoRoute, (1, 0), 0)]
#[case::prohibited(IcmpError::Prohibited, (1, 1), 0)]
#[case::host_unreachable(IcmpError::HostUnreachable, (1, 3), 0)]
#[case::port_unreachable(IcmpError::PortUnreachable, (1, 4), 0)]
#[case::g16_hop_limit(IcmpError::TtlExpired, (3, 0), 0)]
#[case::reassembly(IcmpError::ReassemblyTimeout, (3, 1), 0)]
#[case::unknown_next_header_points_to_its_name(IcmpError::ProtocolUnreachable, (4, 1), 6)]
fn an_icmpv6_error_has_the_numbers_of_rfc_4443_and_is_read_as_what_it_is(
    #[case] error: IcmpError,
    #[case] numbers: (u8, u8),
    #[case] second_word: u32,
) {
    let about = datagram(100);
    let ours = icmp::error_packet(error, NODE_A, about.bytes()).unwrap();
    let outer = Ipv6Packet::new(ours.bytes()).unwrap();
    let payload = outer.payload();
    assert_eq!((payload[0], payload[1]), numbers);
    assert_eq!(
        u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]),
        second_word
    );
    let view = IpView::parse(ours.bytes()).unwrap();
    let Ok(IcmpMessage::Error { error: read, quote }) = IcmpMessage::parse(&view) else {
        panic!("it is an error")
    };
    assert_eq!((read, quote.destination()), (error, POD_B.into()));
}

/// An ICMPv6 packet of a type between two addresses.
fn message(kind: u8, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let ip = Ipv6Header::new(source, destination, 58, 8);
    [&ip.to_bytes()[..], &[kind, 0, 0, 0, 0, 0, 0, 0]].concat()
}

const MULTICAST: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const BIG: IcmpError = IcmpError::TooBig { mtu: 1280 };

#[rstest]
#[case::about_an_echo(IcmpError::NoRoute, message(128, POD_A, POD_B), true)]
#[case::about_an_error(IcmpError::NoRoute, message(1, POD_A, POD_B), false)]
#[case::about_too_big(BIG, message(2, POD_A, POD_B), false)]
#[case::g15_to_multicast(IcmpError::TtlExpired, message(128, POD_A, MULTICAST), false)]
#[case::g15_to_multicast_but_too_big(BIG, message(128, POD_A, MULTICAST), true)]
#[case::from_multicast(BIG, message(128, MULTICAST, POD_B), false)]
#[case::from_nobody(BIG, message(128, Ipv6Addr::UNSPECIFIED, POD_B), false)]
fn icmpv6_errors_are_sent_only_about_packets_that_may_be_answered(
    #[case] error: IcmpError,
    #[case] about: Vec<u8>,
    #[case] answered: bool,
) {
    assert_eq!(icmp::error_packet(error, NODE_A, &about).is_some(), answered);
}

#[test]
fn g17_an_icmpv6_checksum_covers_the_addresses() {
    let mut bytes = packet(FRAME)[INNER..].to_vec();
    assert!(matches!(
        IcmpMessage::parse(&IpView::parse(&bytes).unwrap()),
        Ok(IcmpMessage::Echo { reply: false, .. })
    ));
    bytes[23] ^= 1;
    assert!(matches!(
        IcmpMessage::parse(&IpView::parse(&bytes).unwrap()),
        Err(Malformed::Checksum { header: "ICMPv6", .. })
    ));
}
