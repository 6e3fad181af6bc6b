//! What one packet shows of its connection.

use std::net::IpAddr;

use crate::wire::ipv4::protocol;
use crate::wire::{IcmpMessage, IpView};

/// What a packet shows of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) struct Tuple {
    pub(in crate::engine) source: IpAddr,
    pub(in crate::engine) destination: IpAddr,
    pub(in crate::engine) protocol: u8,
    /// The ports of TCP and UDP. An echo request has its identifier as source port, the reply as destination port. Zero for
    /// other protocols.
    pub(in crate::engine) ports: (u16, u16),
}

impl Tuple {
    /// The tuple of the answers to these packets, if nobody translates them.
    pub(in crate::engine) fn inverted(self) -> Tuple {
        Tuple {
            source: self.destination,
            destination: self.source,
            ports: (self.ports.1, self.ports.0),
            ..self
        }
    }

    /// None for a fragment that is not the first, for ICMP other than echo, and for what is cut short.
    pub(super) fn of(packet: &IpView<'_>) -> Option<Tuple> {
        let ports = match packet.protocol() {
            _ if packet.fragment_offset() > 0 => return None,
            protocol::TCP | protocol::UDP => {
                let [s0, s1, d0, d1] = *packet.payload().first_chunk()?;
                (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]))
            }
            _ if packet.is_icmp() => match IcmpMessage::unverified(packet.family(), packet.payload()) {
                Ok(IcmpMessage::Echo { reply, identifier, .. }) if reply => (0, identifier),
                Ok(IcmpMessage::Echo { identifier, .. }) => (identifier, 0),
                Ok(IcmpMessage::Error { .. } | IcmpMessage::Other { .. }) | Err(_) => return None,
            },
            _ => (0, 0),
        };
        Some(Tuple {
            source: packet.source(),
            destination: packet.destination(),
            protocol: packet.protocol(),
            ports,
        })
    }

    /// Whether a packet with this tuple may begin a connection: an echo reply may not.
    ///
    /// Source: Linux net/netfilter/nf_conntrack_proto_icmp.c, nf_conntrack_icmp_packet.
    pub(super) fn may_begin(self) -> bool {
        !matches!(self.protocol, protocol::ICMP | protocol::ICMPV6) || self.ports.1 == 0
    }
}

/// The flags of a TCP segment that end or begin a connection; none are set for other protocols.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct TcpFlags {
    pub(super) syn: bool,
    pub(super) ack: bool,
    pub(super) fin: bool,
    pub(super) reset: bool,
}

impl TcpFlags {
    pub(super) fn of(packet: &IpView<'_>) -> TcpFlags {
        let byte = packet.payload().get(13).copied();
        let flags = byte.filter(|_| packet.protocol() == protocol::TCP && packet.fragment_offset() == 0);
        let has = |bit: u8| flags.is_some_and(|flags| flags & bit != 0);
        TcpFlags {
            syn: has(2),
            ack: has(16),
            fin: has(1),
            reset: has(4),
        }
    }
}
