//! Whose packet is this? Packets are told apart by what is in their bytes, so that both backends attribute them alike: a flow
//! by its port or ICMP identifier, a packet of it by the sequence number that it carries.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use pnet::packet::Packet as _;
use pnet::packet::icmp::{IcmpPacket, IcmpTypes};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::udp::UdpPacket;

use super::headers::wire_packet;
use super::{Direction, PacketKey};
use crate::scenario::{Flow, FlowId, Transport};

/// Fragment trains that are remembered at the same time; beyond that, one gives way.
const TRAINS_MAX: usize = 4096;

/// What all fragments of a packet share (RFC 791 section 3.2).
type Train = (Ipv4Addr, Ipv4Addr, u8, u16);

/// Tells which packet of which flow some bytes are.
#[derive(Debug)]
pub(super) struct Attribution {
    icmp: BTreeMap<u16, FlowId>,
    udp: BTreeMap<(u16, u16), FlowId>,
    trains: BTreeMap<Train, PacketKey>,
    vxlan_port: u16,
}

/// What an ICMP error says, and about which packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ErrorReport {
    /// The packet.
    pub(super) about: PacketKey,
    /// ICMP type.
    pub(super) kind: u8,
    /// ICMP code.
    pub(super) code: u8,
    /// The next-hop MTU of a 3/4.
    pub(super) mtu: Option<u16>,
    /// Who sent the error.
    pub(super) from: IpAddr,
}

impl Attribution {
    /// An attribution over the flows of a scenario.
    pub(super) fn new(flows: &[Flow], vxlan_port: u16) -> Attribution {
        let mut attribution = Attribution {
            icmp: BTreeMap::new(),
            udp: BTreeMap::new(),
            trains: BTreeMap::new(),
            vxlan_port,
        };
        for (i, flow) in flows.iter().enumerate() {
            let id = FlowId(i as u32);
            match flow.transport {
                Transport::Icmp => drop(attribution.icmp.insert(flow.source_port, id)),
                Transport::Udp => drop(attribution.udp.insert((flow.source_port, flow.destination_port), id)),
            }
        }
        attribution
    }

    /// The packet that a bare IPv4 packet, as a stack sent it, is or belongs to.
    pub(super) fn packet(&mut self, bytes: &[u8]) -> Option<PacketKey> {
        let ip = Ipv4Packet::new(bytes).filter(|ip| ip.get_version() == 4)?;
        let train = (
            ip.get_source(),
            ip.get_destination(),
            ip.get_next_level_protocol().0,
            ip.get_identification(),
        );
        if ip.get_fragment_offset() > 0 {
            return self.trains.get(&train).copied();
        }
        let key = self.transport(ip.get_next_level_protocol(), ip.payload())?;
        if ip.get_flags() & pnet::packet::ipv4::Ipv4Flags::MoreFragments != 0 {
            if self.trains.len() >= TRAINS_MAX {
                self.trains.pop_first();
            }
            self.trains.insert(train, key);
        }
        Some(key)
    }

    /// What an ICMP error says, and about which packet, looked for inside the tunnel headers that it quotes.
    pub(super) fn error(&self, bytes: &[u8]) -> Option<ErrorReport> {
        let ip = Ipv4Packet::new(bytes).filter(|ip| ip.get_next_level_protocol() == IpNextHeaderProtocols::Icmp)?;
        let icmp = IcmpPacket::new(ip.payload())?;
        if !matches!(
            icmp.get_icmp_type(),
            IcmpTypes::DestinationUnreachable | IcmpTypes::TimeExceeded
        ) {
            return None;
        }
        let quote = ip.payload().get(8..)?;
        let about = self.quoted(quote)?;
        let (kind, code) = (icmp.get_icmp_type().0, icmp.get_icmp_code().0);
        let mtu = ip
            .payload()
            .get(6..8)
            .map(|b| u16::from_be_bytes([b[0], b[1]]))
            .filter(|_| (kind, code) == (3, 4));
        Some(ErrorReport {
            about,
            kind,
            code,
            mtu,
            from: IpAddr::V4(ip.get_source()),
        })
    }

    fn quoted(&self, quote: &[u8]) -> Option<PacketKey> {
        let outer = Ipv4Packet::new(quote)?;
        let header = usize::from(outer.get_header_length()) * 4;
        let rest = quote.get(header..)?;
        let encap = wire_packet(quote, self.vxlan_port).map(|packet| packet.encap);
        let inner = match encap {
            Some(overlab_dataplane::encap::Encap::Ipip) => rest,
            Some(overlab_dataplane::encap::Encap::Vxlan) => rest.get(8 + 8 + 14..)?,
            Some(overlab_dataplane::encap::Encap::None) | None => {
                return self.transport(outer.get_next_level_protocol(), rest);
            }
        };
        let ip = Ipv4Packet::new(inner)?;
        self.transport(
            ip.get_next_level_protocol(),
            inner.get(usize::from(ip.get_header_length()) * 4..)?,
        )
    }

    fn transport(&self, protocol: IpNextHeaderProtocol, bytes: &[u8]) -> Option<PacketKey> {
        match protocol {
            IpNextHeaderProtocols::Icmp => self.echo(bytes),
            IpNextHeaderProtocols::Udp => self.datagram(bytes),
            _ => None,
        }
    }

    fn echo(&self, bytes: &[u8]) -> Option<PacketKey> {
        let direction = match IcmpPacket::new(bytes)?.get_icmp_type() {
            IcmpTypes::EchoRequest => Direction::Forward,
            IcmpTypes::EchoReply => Direction::Reverse,
            _ => return None,
        };
        let &[_, _, _, _, id_high, id_low, sequence_high, sequence_low] = bytes.first_chunk::<8>()?;
        let flow = *self.icmp.get(&u16::from_be_bytes([id_high, id_low]))?;
        let sequence = match bytes.get(8..).and_then(sequence) {
            Some(sequence) => sequence,
            None => u32::from(u16::from_be_bytes([sequence_high, sequence_low])),
        };
        Some(PacketKey {
            flow,
            direction,
            sequence,
        })
    }

    fn datagram(&self, bytes: &[u8]) -> Option<PacketKey> {
        let udp = UdpPacket::new(bytes)?;
        let (source, destination) = (udp.get_source(), udp.get_destination());
        let forward = self.udp.get(&(source, destination)).map(|flow| (*flow, Direction::Forward));
        let reverse = || self.udp.get(&(destination, source)).map(|flow| (*flow, Direction::Reverse));
        let (flow, direction) = forward.or_else(reverse)?;
        Some(PacketKey {
            flow,
            direction,
            sequence: sequence(bytes.get(8..)?)?,
        })
    }
}

/// The sequence number in front of a flow's payload: eight octets, big-endian.
pub fn sequence(payload: &[u8]) -> Option<u32> {
    u32::try_from(u64::from_be_bytes(*payload.first_chunk::<8>()?)).ok()
}
