//! Reading IP packets of either family with pnet: its header's fields, and what it carries.

use std::net::IpAddr;

use pnet::packet::icmp::{self, IcmpPacket};
use pnet::packet::icmpv6::{self, Icmpv6Packet};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet};
use pnet::packet::ipv6::{FragmentPacket, Ipv6Packet};
use pnet::packet::tcp::{self, TcpPacket};
use pnet::packet::udp::{self, UdpPacket};

use super::IpHeader;

/// A packet as pnet reads it; it may be cut short.
pub(super) struct Ip<'a> {
    pub(super) header: IpHeader,
    /// The length that the header states, its own included.
    pub(super) length: usize,
    /// What all fragments of a packet share.
    pub(super) identification: u32,
    /// Whether more fragments follow.
    pub(super) more_fragments: bool,
    /// What follows the header, extension headers left out.
    pub(super) payload: &'a [u8],
}

impl<'a> Ip<'a> {
    /// Reads a packet; none if it is no IP.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Ip<'a>> {
        match bytes.first()? >> 4 {
            4 => Ip::read_v4(bytes),
            6 => Ip::read_v6(bytes),
            _ => None,
        }
    }

    pub(super) fn protocol(&self) -> IpNextHeaderProtocol {
        IpNextHeaderProtocol(self.header.protocol)
    }

    /// Whether a whole packet carries TCP, UDP or ICMP with a wrong checksum, which no stack takes. A sum of one's complements that is
    /// zero may be written as 0 or as 0xffff: Linux writes the latter behind every protocol whose checksum it leaves to the last moment.
    ///
    /// Source: RFC 9293 section 3.1; RFC 768 (0 stands for none); RFC 8200 section 8.1 (0 is wrong); RFC 792; RFC 4443 section 2.3;
    /// RFC 1624 section 3 (two zeros); Linux net/core/dev.c, `skb_checksum_help`.
    pub(super) fn is_spoiled(&self) -> bool {
        let differ = |(right, found): (u16, u16)| right % u16::MAX != found % u16::MAX;
        !self.header.fragment && (self.lacks_checksum() || self.checksums().is_some_and(differ))
    }

    /// Whether it is UDP over IPv6 without a checksum.
    fn lacks_checksum(&self) -> bool {
        let udp = UdpPacket::new(self.payload).filter(|_| self.protocol() == IpNextHeaderProtocols::Udp);
        self.header.source.is_ipv6() && udp.is_some_and(|datagram| datagram.get_checksum() == 0)
    }

    /// The checksum that there should be, and the one that is there.
    fn checksums(&self) -> Option<(u16, u16)> {
        let ends = (self.header.source, self.header.destination);
        Some(match (self.protocol(), ends) {
            (IpNextHeaderProtocols::Tcp, ends) => {
                let segment = TcpPacket::new(self.payload)?;
                let right = match ends {
                    (IpAddr::V4(source), IpAddr::V4(to)) => tcp::ipv4_checksum(&segment, &source, &to),
                    (IpAddr::V6(source), IpAddr::V6(to)) => tcp::ipv6_checksum(&segment, &source, &to),
                    _ => return None,
                };
                (right, segment.get_checksum())
            }
            (IpNextHeaderProtocols::Udp, ends) => {
                let datagram = UdpPacket::new(self.payload)?;
                let right = match ends {
                    (IpAddr::V4(_), _) if datagram.get_checksum() == 0 => return None,
                    (IpAddr::V4(source), IpAddr::V4(to)) => udp::ipv4_checksum(&datagram, &source, &to),
                    (IpAddr::V6(source), IpAddr::V6(to)) => udp::ipv6_checksum(&datagram, &source, &to),
                    _ => return None,
                };
                (right, datagram.get_checksum())
            }
            (IpNextHeaderProtocols::Icmp, _) => {
                let message = IcmpPacket::new(self.payload)?;
                (icmp::checksum(&message), message.get_checksum())
            }
            (IpNextHeaderProtocols::Icmpv6, (IpAddr::V6(source), IpAddr::V6(to))) => {
                let message = Icmpv6Packet::new(self.payload)?;
                (icmpv6::checksum(&message, &source, &to), message.get_checksum())
            }
            _ => return None,
        })
    }

    fn read_v4(bytes: &'a [u8]) -> Option<Ip<'a>> {
        let packet = Ipv4Packet::new(bytes)?;
        let length = usize::from(packet.get_total_length());
        let payload = bytes.get(usize::from(packet.get_header_length()) * 4..length.min(bytes.len()))?;
        let (later_fragment, more_fragments) = (
            packet.get_fragment_offset() > 0,
            packet.get_flags() & Ipv4Flags::MoreFragments != 0,
        );
        let header = IpHeader {
            source: IpAddr::V4(packet.get_source()),
            destination: IpAddr::V4(packet.get_destination()),
            protocol: packet.get_next_level_protocol().0,
            ttl: packet.get_ttl(),
            dont_fragment: Some(packet.get_flags() & Ipv4Flags::DontFragment != 0),
            dscp: packet.get_dscp(),
            ecn: packet.get_ecn(),
            flow_label: None,
            later_fragment,
            fragment: later_fragment || more_fragments,
        };
        Some(Ip {
            header,
            length,
            identification: u32::from(packet.get_identification()),
            more_fragments,
            payload,
        })
    }

    fn read_v6(bytes: &'a [u8]) -> Option<Ip<'a>> {
        let packet = Ipv6Packet::new(bytes)?;
        let length = Ipv6Packet::minimum_packet_size() + usize::from(packet.get_payload_length());
        let mut payload = bytes.get(Ipv6Packet::minimum_packet_size()..length.min(bytes.len()))?;
        let mut protocol = packet.get_next_header();
        let (mut later_fragment, mut more_fragments, mut identification) = (false, false, 0);
        if protocol == IpNextHeaderProtocols::Ipv6Frag {
            let fragment = FragmentPacket::new(payload)?;
            protocol = fragment.get_next_header();
            // Thirteen bits of offset, two reserved, one flag (RFC 8200 section 4.5).
            later_fragment = fragment.get_fragment_offset_with_flags() >> 3 > 0;
            more_fragments = !fragment.is_last_fragment();
            identification = fragment.get_id();
            payload = payload.get(FragmentPacket::minimum_packet_size()..)?;
        }
        let header = IpHeader {
            source: IpAddr::V6(packet.get_source()),
            destination: IpAddr::V6(packet.get_destination()),
            protocol: protocol.0,
            ttl: packet.get_hop_limit(),
            dont_fragment: None,
            dscp: packet.get_traffic_class() >> 2,
            ecn: packet.get_traffic_class() & 3,
            flow_label: Some(packet.get_flow_label()),
            later_fragment,
            fragment: later_fragment || more_fragments,
        };
        Some(Ip {
            header,
            length,
            identification,
            more_fragments,
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, PacketBuilderStep};
    use rstest::rstest;

    use super::*;

    const PAYLOAD: [u8; 8] = *b"overlays";

    fn v4() -> PacketBuilderStep<etherparse::IpHeaders> {
        PacketBuilder::ipv4([192, 168, 1, 2], [192, 168, 2, 2], 64)
    }

    fn v6() -> PacketBuilderStep<etherparse::IpHeaders> {
        PacketBuilder::ipv6([0xfd; 16], [0xfc; 16], 64)
    }

    fn written<T>(builder: PacketBuilderStep<T>, write: impl FnOnce(PacketBuilderStep<T>, &mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(builder, &mut bytes);
        bytes
    }

    fn is_spoiled(bytes: &[u8]) -> bool {
        Ip::read(bytes).unwrap().is_spoiled()
    }

    #[rstest]
    #[case::tcp(written(v4().tcp(1, 2, 3, 4), |builder, bytes| builder.write(bytes, &PAYLOAD).unwrap()))]
    #[case::tcp_v6(written(v6().tcp(1, 2, 3, 4), |builder, bytes| builder.write(bytes, &PAYLOAD).unwrap()))]
    #[case::udp(written(v4().udp(1, 2), |builder, bytes| builder.write(bytes, &PAYLOAD).unwrap()))]
    #[case::udp_v6(written(v6().udp(1, 2), |builder, bytes| builder.write(bytes, &PAYLOAD).unwrap()))]
    #[case::icmp(written(v4().icmpv4_echo_request(1, 2), |builder, bytes| builder.write(bytes, &PAYLOAD).unwrap()))]
    #[case::icmp_v6(written(v6().icmpv6_echo_request(1, 2), |builder, bytes| builder.write(bytes, &PAYLOAD).unwrap()))]
    fn one_other_byte_spoils_a_checksum(#[case] mut bytes: Vec<u8>) {
        assert!(!is_spoiled(&bytes));
        *bytes.last_mut().unwrap() ^= 1;
        assert!(is_spoiled(&bytes));
    }

    #[rstest]
    #[case::none_was_computed(written(v4().udp(1, 2), |builder, bytes| builder.write(bytes, &PAYLOAD).unwrap()), 26, false)]
    #[case::there_must_be_one(written(v6().udp(1, 2), |builder, bytes| builder.write(bytes, &PAYLOAD).unwrap()), 46, true)]
    fn zero_is_no_checksum_over_ipv4_and_a_wrong_one_over_ipv6(
        #[case] mut bytes: Vec<u8>,
        #[case] at: usize,
        #[case] spoiled: bool,
    ) {
        bytes[at..at + 2].fill(0);
        assert_eq!(is_spoiled(&bytes), spoiled);
    }

    #[rstest]
    #[case::tcp(written(v4().tcp(1, 2, 3, 4), |builder, bytes| builder.write(bytes, &[0; 8]).unwrap()), 36, false)]
    #[case::tcp_v6(written(v6().tcp(1, 2, 3, 4), |builder, bytes| builder.write(bytes, &[0; 8]).unwrap()), 56, false)]
    #[case::udp(written(v4().udp(1, 2), |builder, bytes| builder.write(bytes, &[0; 8]).unwrap()), 26, false)]
    #[case::udp_v6(written(v6().udp(1, 2), |builder, bytes| builder.write(bytes, &[0; 8]).unwrap()), 46, true)]
    #[case::icmp(written(v4().icmpv4_echo_request(1, 2), |builder, bytes| builder.write(bytes, &[0; 8]).unwrap()), 22, false)]
    #[case::icmp_v6(written(v6().icmpv6_echo_request(1, 2), |builder, bytes| builder.write(bytes, &[0; 8]).unwrap()), 42, false)]
    fn a_checksum_of_zero_is_written_in_two_ways(#[case] mut bytes: Vec<u8>, #[case] at: usize, #[case] zero_spoils: bool) {
        // What makes the sum zero is its complement, in a word of the payload that was zero.
        let payload = bytes.len() - 8;
        bytes.copy_within(at..at + 2, payload);
        for (value, spoiled) in [(u16::MAX, false), (0, zero_spoils), (1, true)] {
            bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
            assert_eq!(is_spoiled(&bytes), spoiled, "{value:#06x}");
        }
    }

    #[test]
    fn a_piece_has_no_checksum_of_its_own() {
        let mut bytes = written(v4().udp(1, 2), |builder, bytes| builder.write(bytes, &PAYLOAD).unwrap());
        *bytes.last_mut().unwrap() ^= 1;
        bytes[6] |= 0x20; // more fragments
        assert!(!is_spoiled(&bytes));
    }
}
