//! IP in IP, as Calico's `tunl0` does it.
//!
//! ```text
//! | outer IPv4 20: protocol 4, DSCP 0; TTL and DF of the inner packet | inner IPv4 ...
//! ```

use std::net::Ipv4Addr;

use super::template::{INSIDE_LEN, Outer, OuterV4, Variable};
use super::{DecapError, Encap, Encapsulation, Pulled, Strip, Template, Wire, contents};
use crate::Packet;
use crate::wire::ipv4::{DEFAULT_TTL, protocol};
use crate::wire::{IpView, Ipv4View, Malformed};

/// A node's `tunl0`.
///
/// Source: RFC 2003; Linux net/ipv4/ip_tunnel.c, ip_tunnel_xmit and ip_tunnel_rcv. By RFC 2003 section 3.1 the DSCP would be that of
/// the inner packet and the TTL one that reaches the far end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ipip;

impl Ipip {
    /// The template of a route to a remote node. The source is the address that the node's kernel picks for that destination.
    pub fn template(source: Ipv4Addr, destination: Ipv4Addr) -> Template {
        Template {
            outer: Outer::V4(OuterV4::new(source, destination, protocol::IPIP)),
            inside: [0; INSIDE_LEN],
            udp_sum: 0,
            wire: Wire::Linux,
        }
    }
}

impl Encapsulation for Ipip {
    fn encap(&self) -> Encap {
        Encap::Ipip
    }

    fn recognises(&self, outer: &IpView<'_>) -> bool {
        matches!(outer, IpView::V4(outer) if outer.protocol() == protocol::IPIP)
    }

    fn push(&self, template: &Template, packet: &mut Packet, identification: u16) -> Result<(), Malformed> {
        let bytes = packet.bytes();
        let inner = Ipv4View::unverified(bytes)?;
        let variable = Variable {
            payload_len: bytes.len(),
            identification,
            dont_fragment: inner.dont_fragment(),
            ttl: match template.wire {
                Wire::Linux => inner.ttl(),
                Wire::Rfc => DEFAULT_TTL,
            },
            dscp: match template.wire {
                Wire::Linux => 0,
                Wire::Rfc => inner.dscp(),
            },
            ecn: template.wire.outer_ecn(inner.ecn()),
            flow_label: 0,
        };
        template.outer.prepend(packet, variable);
        Ok(())
    }

    fn pull(&self, packet: &mut Packet) -> Result<Pulled, DecapError> {
        let bytes = packet.bytes();
        let outer = Ipv4View::parse(bytes)?;
        let inside = contents(packet, bytes, outer.header_len(), outer.payload());
        let ecn = Ipv4View::unverified(inside)?
            .ecn()
            .decapsulate(outer.ecn())
            .ok_or(DecapError::TunnelEcn)?;
        let inner = Ipv4View::parse(inside)?;
        Ok(Strip::new(outer.header_len(), &outer.into(), &inner.into(), ecn).apply(packet))
    }
}
