//! Reading IP packets of either family with pnet: its header's fields, and what it carries.

use std::net::IpAddr;

use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet};
use pnet::packet::ipv6::{FragmentPacket, Ipv6Packet};

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
