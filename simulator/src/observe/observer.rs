//! The observer: it follows the packets of flows through a run and keeps their traces.

use std::collections::BTreeMap;
use std::net::IpAddr;

use overlab_dataplane::{Instant, Packet, Tag};

use super::attribution::Attribution;
use super::reader::Ip;
use super::segments::Arrival;
use super::{
    ConnectionEvent, Connections, Direction, Disposition, DropReason, Hop, HostDropReason, IcmpSeen, PacketKey, Place, Step,
    Trace, WirePacket,
};
use crate::scenario::{Flow, FlowId, Transport};

/// What no stack takes, and drops without a word.
const BAD_CHECKSUM: DropReason = DropReason::Node(overlab_dataplane::engine::DropReason::BadChecksum);

/// Bytes of IP header, and of ICMP or UDP header, in front of a flow's payload.
fn headers(flow: &Flow) -> usize {
    let ip = if flow.destination.is_ipv4() { 20 } else { 40 };
    ip + 8
}

/// The traces of a run, as they grow.
#[derive(Debug)]
pub struct Observer {
    attribution: Attribution,
    /// Each flow's transport, and the length of its packets.
    packets: Vec<(Transport, usize)>,
    index: BTreeMap<PacketKey, usize>,
    traces: Vec<Trace>,
    connections: Connections,
    unsettled: usize,
}

impl Observer {
    /// An observer of these flows.
    pub fn new(flows: &[Flow], vxlan_ports: Vec<u16>) -> Observer {
        Observer {
            attribution: Attribution::new(flows, vxlan_ports),
            packets: flows
                .iter()
                .map(|flow| (flow.transport, flow.payload + headers(flow)))
                .collect(),
            index: BTreeMap::new(),
            traces: Vec::new(),
            connections: Connections::new(),
            unsettled: 0,
        }
    }

    /// An application handed a packet to its socket.
    pub fn sent(&mut self, key: PacketKey, at: Instant) {
        if self.index.contains_key(&key) {
            return;
        }
        let request = PacketKey {
            direction: Direction::Forward,
            ..key
        };
        let window_at = self.trace(request).map_or(at, |request| request.sent_at);
        let size = self.packets.get(key.flow.0 as usize).map_or(0, |(_, size)| *size);
        self.begin(key, at, window_at, size);
    }

    fn begin(&mut self, key: PacketKey, at: Instant, window_at: Instant, size: usize) {
        self.index.insert(key, self.traces.len());
        self.unsettled += 1;
        self.traces.push(Trace {
            key,
            sent_at: at,
            window_at,
            size,
            hops: Vec::new(),
            first_hop: Vec::new(),
            icmp_errors: Vec::new(),
            source_seen: None,
            disposition: Disposition::Unknown,
        });
    }

    /// A stack put a packet on one of its devices: marks it, so that it can be followed. An echo reply shows that its request
    /// was delivered; an error that its own stack sends about a packet shows that nothing listened.
    pub fn left_stack(&mut self, packet: &mut Packet, stack: &Place, now: Instant) {
        if let Some(key) = self.attribution.packet(packet.bytes()) {
            let answers = key.direction == Direction::Reverse && self.transport(key) == Some(Transport::Icmp);
            if answers && !self.index.contains_key(&key) {
                let request = PacketKey {
                    direction: Direction::Forward,
                    ..key
                };
                self.received(request, now, reply_destination(packet));
                self.sent(key, now);
            }
            if self.transport(key) == Some(Transport::Tcp) {
                self.segment_left(key, packet, stack, now);
            }
            if let Some(index) = self.index.get(&key) {
                packet.set_tag(Tag(*index as u64 + 1));
            }
        } else if let Some(report) = self.attribution.error(packet.bytes()) {
            // Protocol and port unreachable (RFC 792; RFC 4443 section 3.1 and 3.4).
            let nobody = match report.from {
                IpAddr::V4(_) => matches!((report.kind, report.code), (3, 2 | 3)),
                IpAddr::V6(_) => matches!((report.kind, report.code), (1, 4) | (4, 1)),
            };
            if nobody && let Some(index) = self.index.get(&report.about) {
                self.dropped(
                    Tag(*index as u64 + 1),
                    DropReason::Host(HostDropReason::NoListener),
                    stack,
                    now,
                );
            }
        }
    }

    /// No application announces a TCP segment, and each belongs to its own time. What a stack answers shows what it made of a
    /// request to open a connection.
    fn segment_left(&mut self, key: PacketKey, packet: &Packet, stack: &Place, now: Instant) {
        self.begin(key, now, now, packet.bytes().len());
        let answer = self.attribution.segments().answer(key, packet.bytes());
        let from = reply_destination(packet);
        for request in answer.iter().flat_map(|answer| &answer.requests) {
            match self.index.get(request) {
                Some(index) if answer.as_ref().is_some_and(|answer| answer.refused) => {
                    let reason = DropReason::Host(HostDropReason::NoListener);
                    self.dropped(Tag(*index as u64 + 1), reason, stack, now);
                }
                Some(_) => self.received(*request, now, from),
                None => {}
            }
        }
    }

    /// A TCP segment is delivered when it reaches its stack.
    fn segment_arrived(&mut self, key: PacketKey, packet: &Packet, stack: &Place, now: Instant) {
        match self.attribution.segments().arrived(key, packet.bytes()) {
            Some(Arrival::Taken) => {
                let from = super::headers::wire_packet(packet.bytes(), 0).map(|headers| headers.outer.source);
                self.received(key, now, from);
            }
            Some(Arrival::Corrupt) => self.dropped(packet.tag(), BAD_CHECKSUM, stack, now),
            Some(Arrival::Unanswered) | None => {}
        }
    }

    /// A packet reached a stack. One that nobody marked may be an ICMP error about one that somebody did.
    pub fn reached_stack(&mut self, packet: &Packet, stack: &Place, now: Instant) {
        match self.key(packet.tag()) {
            Some(key) if self.transport(key) == Some(Transport::Tcp) => self.segment_arrived(key, packet, stack, now),
            Some(_) if Ip::read(packet.bytes()).is_some_and(|ip| ip.is_spoiled()) => {
                self.dropped(packet.tag(), BAD_CHECKSUM, stack, now);
            }
            Some(_) | None => {}
        }
        if packet.tag() == Tag::NONE
            && let Some(report) = self.attribution.error(packet.bytes())
            && let Some(trace) = self.index.get(&report.about).and_then(|index| self.traces.get_mut(*index))
        {
            let (kind, code, mtu, from) = (report.kind, report.code, report.mtu, report.from);
            trace.icmp_errors.push(IcmpSeen {
                at: now,
                kind,
                code,
                mtu,
                from,
                to: stack.clone(),
            });
        }
    }

    /// A socket got a packet whole.
    pub fn received(&mut self, key: PacketKey, at: Instant, from: Option<IpAddr>) {
        let Some(trace) = self.index.get(&key).and_then(|index| self.traces.get_mut(*index)) else {
            return;
        };
        if trace.disposition == Disposition::Unknown {
            self.unsettled -= 1;
        }
        trace.disposition = Disposition::Delivered { at };
        trace.source_seen = trace.source_seen.or(from);
    }

    /// A packet was lost. Of a packet that was split, the first lost fragment decides.
    pub fn dropped(&mut self, tag: Tag, reason: DropReason, place: &Place, at: Instant) {
        let Some(trace) = self.tagged(tag) else { return };
        if trace.disposition == Disposition::Unknown {
            trace.disposition = Disposition::Dropped {
                reason,
                place: place.clone(),
                at,
            };
            self.unsettled -= 1;
        }
    }

    /// Appends a hop; steps at the place of the last hop join it.
    pub fn hop(&mut self, tag: Tag, hop: Hop) {
        let Some(trace) = self.tagged(tag) else { return };
        match trace.hops.last_mut() {
            Some(last) if last.place == hop.place && last.later_fragment == hop.later_fragment && hop.tables.is_none() => {
                last.steps.extend(hop.steps);
                last.left.extend(hop.left);
            }
            Some(_) | None => trace.hops.push(hop),
        }
    }

    /// A stack would not send a packet that was announced.
    pub fn refused(&mut self, key: PacketKey, reason: DropReason, stack: &Place, at: Instant) {
        let Some(index) = self.index.get(&key) else { return };
        let tag = Tag(*index as u64 + 1);
        let steps = vec![Step::Stack("the stack refused to send it".to_owned()), Step::Dropped(reason)];
        let hop = Hop {
            steps,
            ..Hop::at(at, stack.clone())
        };
        self.hop(tag, hop);
        self.dropped(tag, reason, stack, at);
    }

    /// The packet left the network card of its sender's node.
    pub fn first_hop(&mut self, tag: Tag, packet: WirePacket) {
        if let Some(trace) = self.tagged(tag) {
            trace.first_hop.push(packet);
        }
    }

    /// A flow's TCP connection did something.
    pub fn connection(&mut self, flow: FlowId, at: Instant, event: ConnectionEvent) {
        self.connections.entry(flow).or_default().push((at, event));
    }

    /// Which packet a tag marks.
    pub fn key(&self, tag: Tag) -> Option<PacketKey> {
        let index = usize::try_from(tag.0).ok()?.checked_sub(1)?;
        self.traces.get(index).map(|trace| trace.key)
    }

    /// Whether it is known of every packet how it ended.
    pub fn settled(&self) -> bool {
        self.unsettled == 0
    }

    /// The traces, in the order of flow, direction and number, and what connections did.
    pub fn finish(self) -> (Vec<Trace>, Connections) {
        let mut traces = self.traces;
        traces.sort_by_key(|trace| trace.key);
        (traces, self.connections)
    }

    fn transport(&self, key: PacketKey) -> Option<Transport> {
        self.packets.get(key.flow.0 as usize).map(|(transport, _)| *transport)
    }

    fn trace(&self, key: PacketKey) -> Option<&Trace> {
        self.index.get(&key).and_then(|index| self.traces.get(*index))
    }

    fn tagged(&mut self, tag: Tag) -> Option<&mut Trace> {
        let index = usize::try_from(tag.0).ok()?.checked_sub(1)?;
        self.traces.get_mut(index)
    }
}

/// The address that an answer goes to: the source that the answering stack saw.
fn reply_destination(packet: &Packet) -> Option<IpAddr> {
    super::headers::wire_packet(packet.bytes(), 0).map(|headers| headers.outer.destination)
}
