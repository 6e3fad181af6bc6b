//! Headers as an independent reader (pnet) finds them in a packet's bytes: what expectations judge is never what our own codec
//! believes that it wrote.

use overlab_dataplane::encap::Encap;
use overlab_dataplane::wire::print::HeaderStack;
use pnet::packet::Packet as _;
use pnet::packet::ethernet::{EtherTypes, EthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::udp::UdpPacket;
use pnet::packet::vxlan::VxlanPacket;

use super::reader::Ip;
use super::{IpHeader, WirePacket};

// IP in IP is protocol 4, which pnet calls `Ipv4`; its `IpIp` is IANA's "ipip", 94.

/// The flag octet of a VXLAN header with a valid VNI (RFC 7348 section 5).
const VXLAN_FLAG_I: u8 = 0x08;

/// Reads the outermost header of an IP packet alone. None if it is no IP packet.
pub fn outermost(bytes: &[u8]) -> Option<IpHeader> {
    Ip::read(bytes).map(|ip| ip.header)
}

/// Reads the headers of an IP packet. UDP to `vxlan_port` is taken to be VXLAN. None if it is no IP packet.
pub fn wire_packet(bytes: &[u8], vxlan_port: u16) -> Option<WirePacket> {
    let outer = Ip::read(bytes)?;
    let mut packet = WirePacket {
        length: outer.length,
        encap: Encap::None,
        outer: outer.header,
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
        if outer.protocol() == IpNextHeaderProtocols::Ipv4 {
            packet.encap = Encap::Ipip;
        }
        return Some(packet);
    }
    match outer.protocol() {
        IpNextHeaderProtocols::Ipv4 => {
            packet.encap = Encap::Ipip;
            packet.inner = Ip::read(outer.payload).map(|inner| inner.header);
        }
        IpNextHeaderProtocols::Udp => {
            let udp = UdpPacket::new(outer.payload)?;
            packet.ports = Some((udp.get_source(), udp.get_destination()));
            if udp.get_destination() == vxlan_port
                && let Some(vxlan) = VxlanPacket::new(udp.payload()).filter(|v| v.get_flags() & VXLAN_FLAG_I != 0)
            {
                packet.encap = Encap::Vxlan;
                packet.vni = Some(vxlan.get_vni());
                packet.inner = EthernetPacket::new(vxlan.payload())
                    .filter(|frame| matches!(frame.get_ethertype(), EtherTypes::Ipv4 | EtherTypes::Ipv6))
                    .and_then(|frame| Some(Ip::read(frame.payload())?.header));
            }
        }
        _ => {}
    }
    Some(packet)
}
