//! What a stack makes of UDP: a datagram finds its socket, which answers where the flow asks for it.

use overlab_dataplane::Instant;
use overlab_dataplane::Packet;
use overlab_dataplane::wire::ipv4::protocol;
use overlab_dataplane::wire::{IcmpError, IpView, UdpView};

use super::{DEFAULT_TTL, HostStack, Output, Request, Socket};
use crate::host::{FlowEvent, HostEvent};
use crate::observe::{Direction, read_stamp};
use crate::scenario::{Reply, Transport};
use crate::workload::probe;

impl HostStack {
    pub(super) fn receive_udp(&mut self, now: Instant, ip: &IpView<'_>, packet: &Packet, out: &mut Output) {
        let Ok(udp) = UdpView::parse(ip.payload()) else { return };
        if !udp.verify_checksum(ip.source(), ip.destination()) {
            return;
        }
        let (source, destination) = (udp.source_port(), udp.destination_port());
        let stamp = read_stamp(udp.payload());
        let end = |socket: &&Socket| {
            let flow = &socket.flow;
            // A listener's peer may have been translated on the way; the stamp says whose packet it is.
            let is_own = match socket.sender {
                true => (flow.source_port, flow.destination_port) == (destination, source),
                false => flow.destination_port == destination && stamp.is_some_and(|(port, _)| port == flow.source_port),
            };
            flow.transport == Transport::Udp && is_own
        };
        let Some(socket) = self.sockets.iter().find(end).cloned() else {
            return self.answer_error(IcmpError::PortUnreachable, ip, packet, out);
        };
        let Some((_, sequence)) = stamp else { return };
        let direction = if socket.sender {
            Direction::Reverse
        } else {
            Direction::Forward
        };
        let from = ip.source();
        let event = FlowEvent::Received {
            direction,
            sequence,
            from,
            payload: udp.payload().len(),
        };
        out.push(HostEvent::Flow {
            flow: socket.id,
            at: now,
            event,
        });
        if !socket.sender && socket.flow.reply == Reply::Echo {
            self.echo(now, &socket, sequence, (ip, &udp), out);
        }
    }

    /// Sends a datagram back to where it came from.
    fn echo(&mut self, now: Instant, socket: &Socket, sequence: u32, (ip, udp): (&IpView<'_>, &UdpView<'_>), out: &mut Output) {
        out.push(HostEvent::Flow {
            flow: socket.id,
            at: now,
            event: FlowEvent::Answered { sequence },
        });
        let request = Request {
            source: Some(ip.destination()),
            destination: ip.source(),
            protocol: protocol::UDP,
            ttl: DEFAULT_TTL,
            dscp: 0,
            ecn: 0,
            discovery: socket.flow.path_mtu_discovery,
        };
        let ports = (udp.destination_port(), udp.source_port());
        let sent = self.send_ip(&request, out, |addresses| probe::datagram(addresses, ports, udp.payload()));
        if let Err(reason) = sent {
            let event = FlowEvent::SendRefused {
                direction: Direction::Reverse,
                sequence,
                reason,
            };
            out.push(HostEvent::Flow {
                flow: socket.id,
                at: now,
                event,
            });
        }
    }
}
