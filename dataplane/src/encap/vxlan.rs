//! VXLAN, as Calico's `vxlan.calico` and `vxlan-v6.calico` do it: each carries over its own IP version what is of that version.
//!
//! ```text
//! | outer IPv4 20: TTL 64, DF 0, DSCP 0 | UDP 8: port from the inner flow > 4789 | VXLAN 8: I, VNI | Ethernet 14 | inner IPv4 ...
//! | outer IPv6 40: hop limit 64, DSCP 0, flow label 0 | UDP 8 | VXLAN 8 | Ethernet 14 | inner IPv6 ...
//! ```

use std::net::IpAddr;

use super::template::{INSIDE_LEN, Outer, OuterV4, OuterV6, Variable};
use super::{DecapError, Encap, Encapsulation, Pulled, Strip, Template, Wire, contents};
use crate::wire::ethernet::{self, ether_type};
use crate::wire::ipv4::{DEFAULT_TTL, length_field, protocol};
use crate::wire::{EthernetView, FlowKey, IpView, Malformed, UdpHeader, UdpView, checksum, flow, udp, vxlan};
use crate::{Family, MacAddr, Packet, Vni};

/// A node's `vxlan.calico` or `vxlan-v6.calico`.
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
    pub local: IpAddr,
    /// Whose rules it follows. By RFC 7348 section 5 reserved bits are taken as they come, source ports are of the dynamic range and
    /// the UDP checksum is 0 over IPv4; by RFC 6438 section 3 the outer flow label is the flow's.
    pub wire: Wire,
}

impl Vxlan {
    /// The template of a route to the remote device with this MAC address, on the node with this address; none if that is of
    /// another family than this node's.
    pub fn template(&self, destination: IpAddr, mac: MacAddr) -> Option<Template> {
        let (outer, ether_type) = match (self.local, destination) {
            (IpAddr::V4(local), IpAddr::V4(destination)) => {
                let outer = OuterV4::new(local, destination, protocol::UDP);
                (Outer::V4(outer), ether_type::IPV4)
            }
            (IpAddr::V6(local), IpAddr::V6(destination)) => {
                let outer = OuterV6::new(local, destination, protocol::UDP);
                (Outer::V6(outer), ether_type::IPV6)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        let mut inside = [0; INSIDE_LEN];
        let (header, frame) = inside.split_at_mut(vxlan::HEADER_LEN);
        header.copy_from_slice(&vxlan::header(self.vni));
        frame.copy_from_slice(&ethernet::header(mac, self.mac, ether_type));
        let pseudo_header = checksum::pseudo_header(self.local, destination, protocol::UDP, 0);
        Some(Template {
            outer,
            inside,
            udp_sum: checksum::combine(&[pseudo_header, self.port, checksum::sum(&inside)]),
            wire: self.wire,
        })
    }
}

impl Encapsulation for Vxlan {
    fn encap(&self) -> Encap {
        Encap::Vxlan
    }

    fn recognises(&self, outer: &IpView<'_>) -> bool {
        outer.protocol() == protocol::UDP
            && outer.family() == Family::of(self.local)
            && !outer.is_fragment()
            && UdpView::unverified(outer.payload()).is_ok_and(|udp| udp.destination_port() == self.port)
    }

    fn push(&self, template: &Template, packet: &mut Packet, identification: u16) -> Result<(), Malformed> {
        let bytes = packet.bytes();
        let inner = IpView::unverified_as(template.family(), bytes)?;
        let ecn = self.wire.outer_ecn(inner.ecn());
        let hash = FlowKey::of(&inner).hash(inner.flow_label());
        let (ports, flow_label) = match self.wire {
            Wire::Linux => (flow::SOURCE_PORTS, 0),
            Wire::Rfc => (flow::DYNAMIC_PORTS, hash),
        };
        let source_port = flow::source_port(hash, ports);
        let udp_len = udp::HEADER_LEN + INSIDE_LEN + bytes.len();
        let length = length_field(udp_len);
        let is_left_out = self.wire == Wire::Rfc && template.family() == Family::V4;
        let checksum = match packet.segmentation() {
            Some(_) => 0,
            None if is_left_out => 0,
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
        let variable = Variable {
            payload_len: udp_len,
            identification,
            dont_fragment: false,
            ttl: DEFAULT_TTL,
            dscp: 0,
            ecn,
            flow_label,
        };
        template.outer.prepend(packet, variable);
        Ok(())
    }

    fn pull(&self, packet: &mut Packet) -> Result<Pulled, DecapError> {
        let bytes = packet.bytes();
        let outer = IpView::parse(bytes)?;
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
        if self.wire == Wire::Linux {
            vxlan::check_reserved(inside)?;
        }
        if frame.source() == self.mac {
            return Err(DecapError::OwnInnerMac { found: self.mac });
        }
        let family = match frame.ether_type() {
            ether_type::IPV4 => Family::V4,
            ether_type::IPV6 => Family::V6,
            found => return Err(DecapError::InnerEtherType { found }),
        };
        let ecn = IpView::unverified_as(family, frame.payload())?
            .ecn()
            .decapsulate(outer.ecn())
            .ok_or(DecapError::TunnelEcn)?;
        if frame.destination() != self.mac {
            return Err(DecapError::WrongInnerMac {
                needed: self.mac,
                found: frame.destination(),
            });
        }
        let inner = IpView::parse_as(family, frame.payload())?;
        let headers = outer.header_len() + udp::HEADER_LEN + INSIDE_LEN;
        Ok(Strip::new(headers, &outer, &inner, ecn).apply(packet))
    }
}
