//! VXLAN over IPv4, as Calico's `vxlan.calico` does it.
//!
//! ```text
//! | outer IPv4 20: TTL 64, DF 0, DSCP 0 | UDP 8: port from the inner flow > 4789 | VXLAN 8: I, VNI | Ethernet 14 | inner IPv4 ...
//! ```

use std::net::Ipv4Addr;

use super::template::{INSIDE_LEN, Outer};
use super::{DecapError, Encap, Encapsulation, Pulled, Strip, Template, contents};
use crate::wire::ethernet::{self, ether_type};
use crate::wire::ipv4::{DEFAULT_TTL, length_field, protocol};
use crate::wire::{EthernetView, FlowKey, Ipv4View, Malformed, UdpHeader, UdpView, checksum, flow, udp, vxlan};
use crate::{MacAddr, Packet, Vni};

/// A node's `vxlan.calico`.
///
/// Source: RFC 7348; Linux drivers/net/vxlan/vxlan_core.c, vxlan_xmit_one and vxlan_rcv; Calico
/// felix/dataplane/linux/vxlan_mgr.go, device, which leaves all but these four to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// The network identifier, of what is sent and of what is taken.
    pub vni: Vni,
    /// The UDP destination port.
    pub port: u16,
    /// The device's MAC address.
    pub mac: MacAddr,
    /// The outer source: the node's own address.
    pub local: Ipv4Addr,
}

impl Vxlan {
    /// The template of a route to the remote device with this MAC address, on the node with this address.
    pub fn template(&self, destination: Ipv4Addr, mac: MacAddr) -> Template {
        let mut inside = [0; INSIDE_LEN];
        let (header, frame) = inside.split_at_mut(vxlan::HEADER_LEN);
        header.copy_from_slice(&vxlan::header(self.vni));
        frame.copy_from_slice(&ethernet::header(mac, self.mac, ether_type::IPV4));
        let pseudo_header = checksum::pseudo_header(self.local, destination, protocol::UDP, 0);
        Template {
            outer: Outer::new(self.local, destination, protocol::UDP),
            inside,
            udp_sum: checksum::combine(&[pseudo_header, self.port, checksum::sum(&inside)]),
        }
    }
}

impl Encapsulation for Vxlan {
    fn encap(&self) -> Encap {
        Encap::Vxlan
    }

    fn recognises(&self, outer: &Ipv4View<'_>) -> bool {
        outer.protocol() == protocol::UDP
            && !outer.is_fragment()
            && UdpView::unverified(outer.payload()).is_ok_and(|udp| udp.destination_port() == self.port)
    }

    fn push(&self, template: &Template, packet: &mut Packet, identification: u16) -> Result<(), Malformed> {
        let bytes = packet.bytes();
        let inner = Ipv4View::unverified(bytes)?;
        let ecn = inner.ecn().encapsulate();
        let source_port = flow::source_port(FlowKey::of(&inner).hash(), flow::SOURCE_PORTS);
        let udp_len = udp::HEADER_LEN + INSIDE_LEN + bytes.len();
        let length = length_field(udp_len);
        let checksum = match packet.segmentation() {
            Some(_) => 0,
            None => {
                // The length counts twice: in the pseudo-header and in the header.
                let sums = [template.udp_sum, source_port, length, length, checksum::sum(bytes)];
                checksum::udp_from_sum(checksum::combine(&sums))
            }
        };
        let header = UdpHeader {
            source_port,
            destination_port: self.port,
            length,
            checksum,
        };
        packet.prepend(template.inside);
        packet.prepend(header.to_bytes());
        packet.prepend(template.outer.header(udp_len, identification, false, DEFAULT_TTL, ecn));
        Ok(())
    }

    fn pull(&self, packet: &mut Packet) -> Result<Pulled, DecapError> {
        let bytes = packet.bytes();
        let outer = Ipv4View::parse(bytes)?;
        let datagram = contents(packet, bytes, outer.header_len(), outer.payload());
        let udp = UdpView::parse(datagram)?;
        if packet.segmentation().is_none() && !udp.verify_checksum(outer.source(), outer.destination()) {
            return Err(DecapError::BadChecksum { found: udp.checksum() });
        }
        let inside = contents(packet, datagram, udp::HEADER_LEN, udp.payload());
        let found = vxlan::network(inside)?;
        if found != self.vni {
            return Err(DecapError::UnknownVni { needed: self.vni, found });
        }
        let frame = EthernetView::parse(inside.get(vxlan::HEADER_LEN..).unwrap_or_default())?;
        vxlan::check_reserved(inside)?;
        if frame.source() == self.mac {
            return Err(DecapError::OwnInnerMac { found: self.mac });
        }
        if frame.ether_type() != ether_type::IPV4 {
            return Err(DecapError::InnerEtherType {
                found: frame.ether_type(),
            });
        }
        let ecn = Ipv4View::unverified(frame.payload())?
            .ecn()
            .decapsulate(outer.ecn())
            .ok_or(DecapError::TunnelEcn)?;
        if frame.destination() != self.mac {
            return Err(DecapError::WrongInnerMac {
                needed: self.mac,
                found: frame.destination(),
            });
        }
        let inner = Ipv4View::parse(frame.payload())?;
        let headers = outer.header_len() + udp::HEADER_LEN + INSIDE_LEN;
        Ok(Strip::new(headers, &outer, &inner, ecn).apply(packet))
    }
}
