//! Headers as an independent reader (pnet) finds them in a packet's bytes: what expectations judge is never what our own codec
//! believes that it wrote.

use std::net::IpAddr;

use overlab_dataplane::encap::Encap;
use overlab_dataplane::wire::print::HeaderStack;
use pnet::packet::Packet as _;
use pnet::packet::ethernet::{EtherTypes, EthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet};
use pnet::packet::udp::UdpPacket;
use pnet::packet::vxlan::VxlanPacket;

use super::{IpHeader, WirePacket};

// IP in IP is protocol 4, which pnet calls `Ipv4`; its `IpIp` is IANA's "ipip", 94.

/// The flag octet of a VXLAN header with a valid VNI (RFC 7348 section 5).
const VXLAN_FLAG_I: u8 = 0x08;

/// Reads the headers of an IPv4 packet. UDP to `vxlan_port` is taken to be VXLAN. None if it is no IPv4 packet.
pub fn wire_packet(bytes: &[u8], vxlan_port: u16) -> Option<WirePacket> {
    let outer = Ipv4Packet::new(bytes).filter(|packet| packet.get_version() == 4)?;
    let mut packet = WirePacket {
        length: usize::from(outer.get_total_length()),
        encap: Encap::None,
        outer: ip_header(&outer),
        ports: None,
        vni: None,
        inner: None,
        line: HeaderStack {
            packet: bytes,
            vxlan_port,
        }
        .to_string(),
    };
    if packet.outer.later_fragment {
        // A later fragment shows no header but the outermost; for IPIP the protocol number still tells.
        if outer.get_next_level_protocol() == IpNextHeaderProtocols::Ipv4 {
            packet.encap = Encap::Ipip;
        }
        return Some(packet);
    }
    match outer.get_next_level_protocol() {
        IpNextHeaderProtocols::Ipv4 => {
            packet.encap = Encap::Ipip;
            packet.inner = Ipv4Packet::new(outer.payload()).map(|inner| ip_header(&inner));
        }
        IpNextHeaderProtocols::Udp => {
            let udp = UdpPacket::new(outer.payload())?;
            packet.ports = Some((udp.get_source(), udp.get_destination()));
            if udp.get_destination() == vxlan_port
                && let Some(vxlan) = VxlanPacket::new(udp.payload()).filter(|v| v.get_flags() & VXLAN_FLAG_I != 0)
            {
                packet.encap = Encap::Vxlan;
                packet.vni = Some(vxlan.get_vni());
                packet.inner = EthernetPacket::new(vxlan.payload())
                    .filter(|frame| frame.get_ethertype() == EtherTypes::Ipv4)
                    .and_then(|frame| Some(ip_header(&Ipv4Packet::new(frame.payload())?)));
            }
        }
        _ => {}
    }
    Some(packet)
}

fn ip_header(packet: &Ipv4Packet<'_>) -> IpHeader {
    let later_fragment = packet.get_fragment_offset() > 0;
    IpHeader {
        source: IpAddr::V4(packet.get_source()),
        destination: IpAddr::V4(packet.get_destination()),
        protocol: packet.get_next_level_protocol().0,
        ttl: packet.get_ttl(),
        dont_fragment: packet.get_flags() & Ipv4Flags::DontFragment != 0,
        dscp: packet.get_dscp(),
        ecn: packet.get_ecn(),
        later_fragment,
        fragment: later_fragment || packet.get_flags() & Ipv4Flags::MoreFragments != 0,
    }
}
