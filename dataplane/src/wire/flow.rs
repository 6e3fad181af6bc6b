//! What makes packets one flow, and the number that spreads flows over paths.

use std::net::IpAddr;

use super::IpView;
use super::ipv4::protocol;

/// The source ports that a Linux node uses for tunnels: `net.ipv4.ip_local_port_range`, of which the last is never used.
pub const SOURCE_PORTS: (u16, u16) = (32768, 60999);

/// The dynamic ports, which RFC 7348 section 5 would have; the last is never used either.
pub const DYNAMIC_PORTS: (u16, u16) = (49152, 65535);

/// The five-tuple of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The number of the protocol above IP.
    pub protocol: u8,
    /// Source and destination port of TCP and UDP; none for other protocols and for every fragment, the first one included, so
    /// that all pieces of one packet are one flow.
    pub ports: Option<(u16, u16)>,
}

impl FlowKey {
    /// The key of a packet.
    ///
    /// Source: Linux net/core/flow_dissector.c, __skb_flow_dissect.
    pub fn of(packet: &IpView<'_>) -> FlowKey {
        let has_ports = matches!(packet.protocol(), protocol::TCP | protocol::UDP) && !packet.is_fragment();
        let ports = packet
            .payload()
            .first_chunk()
            .filter(|_| has_ports)
            .map(|&[s0, s1, d0, d1]| (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])));
        FlowKey {
            source: packet.source(),
            destination: packet.destination(),
            protocol: packet.protocol(),
            ports,
        }
    }

    /// The key of the opposite direction.
    #[must_use]
    pub fn reversed(self) -> FlowKey {
        FlowKey {
            source: self.destination,
            destination: self.source,
            ports: self.ports.map(|(source, destination)| (destination, source)),
            ..self
        }
    }

    /// A number for a packet of the flow that has this flow label, 0 where it has none: then the number is the same in both
    /// directions. A label takes the place of the ports, and since each end chooses its own, directions differ.
    ///
    /// It has no key: every run, node and machine computes the same one, where Linux seeds its own at boot, so that nobody may
    /// expect a certain value of a real node.
    ///
    /// Source: Linux net/core/flow_dissector.c, __flow_hash_consistentify, for the symmetry; __skb_flow_dissect with
    /// FLOW_DISSECTOR_F_STOP_AT_FLOW_LABEL for the label.
    pub fn hash(self, flow_label: u32) -> u32 {
        let (source_port, destination_port) = self.ports.filter(|_| flow_label == 0).unwrap_or_default();
        let ends = [(word(self.source), source_port), (word(self.destination), destination_port)];
        let [low, high] = if ends[0] <= ends[1] { ends } else { [ends[1], ends[0]] };
        let ports = u64::from(low.1) << 32 | u64::from(high.1) << 16 | u64::from(self.protocol);
        let hash = [low.0, high.0, ports | u64::from(flow_label) << 16]
            .into_iter()
            .fold(SEED, mix);
        (hash >> 32) as u32
    }
}

/// Any odd number with about as many ones as zeros: the fraction of the golden ratio.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

const fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(SEED);
    product ^ product >> 29
}

/// An address in one word; both halves of an IPv6 address count.
fn word(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => u64::from(u32::from(address)),
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            mix((bits >> 64) as u64, bits as u64)
        }
    }
}

/// The UDP source port of a flow with this hash, from `low` up to, but not including, `high`.
///
/// Source: Linux include/net/udp.h, udp_flow_src_port.
pub const fn source_port(hash: u32, (low, high): (u16, u16)) -> u16 {
    let folded = (hash ^ hash << 16) as u64;
    let span = high.saturating_sub(low) as u64;
    low + ((folded * span) >> 32) as u16
}
