//! What a stack makes of ICMP: it answers echo requests, takes replies, learns path MTUs, and tells senders of what nobody takes.

use overlab_dataplane::wire::icmp::error_packet;
use overlab_dataplane::wire::ipv4::PATH_MTU_MIN;
use overlab_dataplane::wire::{IcmpError, IcmpMessage, IpView, ipv6};
use overlab_dataplane::{Family, Instant, Mtu, Packet};

use super::{DEFAULT_TTL, HostStack, Output, Request, Target};
use crate::host::{FlowEvent, HostEvent};
use crate::observe::{Direction, read_stamp};
use crate::scenario::{PathMtuDiscovery, Transport};
use crate::workload::probe;

impl HostStack {
    pub(super) fn receive_icmp(&mut self, now: Instant, ip: &IpView<'_>, out: &mut Output) {
        match IcmpMessage::parse(ip) {
            Ok(IcmpMessage::Echo { reply: false, .. }) => {
                // Linux answers from the address that was asked, with the request's DSCP and ECN, and with DF clear; over either
                // family it splits an answer that is too long.
                let request = Request {
                    source: Some(ip.destination()),
                    destination: ip.source(),
                    protocol: ip.protocol(),
                    ttl: DEFAULT_TTL,
                    dscp: ip.dscp(),
                    ecn: ip.ecn().bits(),
                    discovery: PathMtuDiscovery::Dont,
                };
                // A stack that has no route back stays silent, as a kernel does.
                let _ = self.send_ip(&request, out, |addresses| probe::echo_reply(addresses, ip.payload()));
            }
            Ok(IcmpMessage::Echo {
                reply: true,
                identifier,
                payload,
                ..
            }) => {
                let socket = self
                    .sockets
                    .iter()
                    .find(|s| s.sender && s.flow.transport == Transport::Icmp && s.flow.source_port == identifier);
                if let Some((socket, (_, sequence))) = socket.zip(read_stamp(payload)) {
                    let from = ip.source();
                    let event = FlowEvent::Received {
                        direction: Direction::Reverse,
                        sequence,
                        from,
                        payload: payload.len(),
                    };
                    out.push(HostEvent::Flow {
                        flow: socket.id,
                        at: now,
                        event,
                    });
                }
            }
            Ok(IcmpMessage::Error {
                error: IcmpError::TooBig { mtu },
                quote,
            }) => {
                let mtu = match ip.family() {
                    Family::V4 => Mtu::new(mtu).unwrap_or(Mtu::MIN).max(PATH_MTU_MIN),
                    // Less than the least of IPv6 is no path's MTU (RFC 8201 section 4).
                    Family::V6 => match Mtu::new(mtu).filter(|mtu| *mtu >= ipv6::MTU_MIN) {
                        Some(mtu) => mtu,
                        None => return,
                    },
                };
                let known = self.path_mtus.entry(quote.destination()).or_insert(Mtu::MAX);
                if mtu < *known {
                    *known = mtu;
                    self.path_narrowed(now, quote.destination(), out);
                }
            }
            Ok(IcmpMessage::Error { error, quote }) => self.failed(now, error, &quote, out),
            Ok(IcmpMessage::Other { .. }) | Err(_) => {}
        }
    }

    /// Sends an ICMP error about a packet that was for this stack.
    pub(super) fn answer_error(&mut self, error: IcmpError, ip: &IpView<'_>, packet: &Packet, out: &mut Output) {
        let Some(answer) = error_packet(error, ip.destination(), packet.bytes()) else {
            return;
        };
        if let Some((_, Target::Device { index, .. })) = self.lookup(ip.source())
            && let Some(device) = self.stack.devices.get(index)
        {
            out.push(HostEvent::Packet {
                port: device.port,
                packet: answer,
            });
        }
    }
}
