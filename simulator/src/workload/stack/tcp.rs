//! TCP in a stack: which connection a segment belongs to, the applications at the ends, and the reset where there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use overlab_dataplane::Instant;
use overlab_dataplane::wire::ipv4::protocol;
use overlab_dataplane::wire::{IcmpError, IpView};
use pnet::packet::tcp::{TcpFlags, TcpPacket};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use super::{DEFAULT_TTL, HostStack, Output, Request};
use crate::host::{FlowEvent, FlowStart, HostEvent};
use crate::observe::ConnectionEvent;
use crate::scenario::{Flow, FlowId, PathMtuDiscovery};
use crate::workload::exchange::{Client, Replies, Server, lengths};
use crate::workload::probe;
use crate::workload::tcp_socket::{Ends, Setup, TcpSocket};

/// Bytes of a connection's buffers: twice what is exchanged, within these bounds.
const BUFFER: std::ops::RangeInclusive<usize> = (4 << 10)..=(1 << 20);

/// The listeners and connections of a stack.
#[derive(Debug, Default)]
pub(super) struct Tcp {
    listeners: BTreeMap<u16, Listener>,
    connections: BTreeMap<Ends, Connection>,
    /// When connections do something by themselves.
    timers: BTreeSet<(Instant, Ends)>,
}

#[derive(Debug)]
struct Listener {
    replies: Replies,
    chance: Xoshiro256PlusPlus,
}

#[derive(Debug)]
struct Connection {
    socket: TcpSocket,
    application: Application,
    ttl: u8,
    dscp: u8,
    /// Its timer among the stack's.
    timer: Option<Instant>,
}

#[derive(Debug)]
enum Application {
    Asks { flow: FlowId, client: Client, opened: bool },
    Answers { replies: Replies, server: Server },
}

impl Tcp {
    /// Listens on a flow's port.
    pub(super) fn listen(&mut self, flow: &Flow, seed: u64) {
        let listener = self.listeners.entry(flow.destination_port).or_insert_with(|| Listener {
            replies: Replies::new(),
            chance: Xoshiro256PlusPlus::seed_from_u64(!seed),
        });
        listener.replies.extend([lengths(flow)]);
    }

    /// Takes a connection out, and its timer.
    fn take(&mut self, ends: Ends) -> Option<Connection> {
        let connection = self.connections.remove(&ends)?;
        if let Some(at) = connection.timer {
            self.timers.remove(&(at, ends));
        }
        Some(connection)
    }
}

impl HostStack {
    /// Opens a flow's connection.
    pub fn connect(&mut self, now: Instant, start: &FlowStart, out: &mut Output) {
        let flow = &start.flow;
        let event = |event| HostEvent::Flow {
            flow: start.id,
            at: now,
            event: FlowEvent::Connection(event),
        };
        let Ok(path) = self.path(flow.source, flow.destination, PathMtuDiscovery::Do) else {
            return out.push(event(ConnectionEvent::Failed));
        };
        let ends = Ends {
            local: SocketAddr::new(path.source, flow.source_port),
            remote: SocketAddr::new(flow.destination, flow.destination_port),
        };
        let setup = Setup {
            ends,
            mtu: path.mtu,
            seed: start.seed,
            buffer: buffer(flow.payload, flow.reply_payload),
        };
        let Some(socket) = TcpSocket::connect(setup, now) else {
            return out.push(event(ConnectionEvent::Failed));
        };
        let application = Application::Asks {
            flow: start.id,
            client: Client::new(flow),
            opened: false,
        };
        let connection = Connection {
            socket,
            application,
            ttl: flow.ttl,
            dscp: flow.dscp,
            timer: None,
        };
        self.tcp.connections.insert(ends, connection);
        self.run_connection(now, ends, out);
    }

    /// A flow's application asks no more.
    pub fn stop(&mut self, now: Instant, id: FlowId) {
        for connection in self.tcp.connections.values_mut() {
            if let Application::Asks { flow, client, .. } = &mut connection.application
                && *flow == id
            {
                client.stop(now);
            }
        }
    }

    /// When a connection does something by itself.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.tcp.timers.first().map(|(at, _)| *at)
    }

    /// Lets connections do what is due.
    pub fn advance(&mut self, now: Instant, out: &mut Output) {
        // What a connection does sets its next timer after this instant.
        while let Some(&(_, ends)) = self.tcp.timers.first().filter(|(at, _)| *at <= now) {
            self.run_connection(now, ends, out);
        }
    }

    /// A segment came in.
    pub(super) fn receive_tcp(&mut self, now: Instant, ip: &IpView<'_>, out: &mut Output) {
        let Some(segment) = TcpPacket::new(ip.payload()) else { return };
        let ends = Ends {
            local: SocketAddr::new(ip.destination(), segment.get_destination()),
            remote: SocketAddr::new(ip.source(), segment.get_source()),
        };
        let opens = segment.get_flags() & (TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST) == TcpFlags::SYN;
        if opens && !self.tcp.connections.contains_key(&ends) {
            self.accept(now, ends);
        }
        match self.tcp.connections.get_mut(&ends) {
            Some(connection) => {
                connection.socket.receive(ip.payload());
                self.run_connection(now, ends, out);
            }
            None => self.refuse(ip, &segment, out),
        }
    }

    /// Makes the answering end of a connection, if somebody listens.
    fn accept(&mut self, now: Instant, ends: Ends) {
        let Ok(path) = self.path(Some(ends.local.ip()), ends.remote.ip(), PathMtuDiscovery::Do) else {
            return;
        };
        let Some(listener) = self.tcp.listeners.get_mut(&ends.local.port()) else {
            return;
        };
        let longest = listener.replies.values().map(|(request, reply)| *request.max(reply));
        let setup = Setup {
            ends,
            mtu: path.mtu,
            seed: listener.chance.next_u64(),
            buffer: buffer(longest.max().unwrap_or(0), 0),
        };
        let application = Application::Answers {
            replies: listener.replies.clone(),
            server: Server::default(),
        };
        if let Some(socket) = TcpSocket::listen(setup, now) {
            let connection = Connection {
                socket,
                application,
                ttl: DEFAULT_TTL,
                dscp: 0,
                timer: None,
            };
            self.tcp.connections.insert(ends, connection);
        }
    }

    /// There is no connection that a segment could belong to.
    fn refuse(&mut self, ip: &IpView<'_>, segment: &TcpPacket<'_>, out: &mut Output) {
        if segment.get_flags() & TcpFlags::RST != 0 {
            return;
        }
        let request = segment_to(ip.destination(), ip.source(), DEFAULT_TTL, 0);
        // A stack that has no route back stays silent.
        let _ = self.send_ip(&request, out, |addresses| probe::reset(addresses, segment));
    }

    /// The path to a destination takes less than it was thought to: what is under way is lost.
    pub(super) fn path_narrowed(&mut self, now: Instant, destination: IpAddr, out: &mut Output) {
        let ends = self.tcp.connections.keys().filter(|ends| ends.remote.ip() == destination);
        let ends: Vec<Ends> = ends.copied().collect();
        for ends in ends {
            if let Ok(path) = self.path(Some(ends.local.ip()), destination, PathMtuDiscovery::Do)
                && let Some(connection) = self.tcp.connections.get_mut(&ends)
            {
                connection.socket.set_mtu(path.mtu, now);
                connection.socket.resend(now);
            }
            self.run_connection(now, ends, out);
        }
    }

    /// An ICMP error came back. It ends only a connection that is not open yet, as in Linux (`tcp_v4_err`).
    pub(super) fn failed(&mut self, now: Instant, error: IcmpError, quote: &IpView<'_>, out: &mut Output) {
        let Some(&[p0, p1, p2, p3]) = quote.payload().first_chunk::<4>() else {
            return;
        };
        let ends = Ends {
            local: SocketAddr::new(quote.source(), u16::from_be_bytes([p0, p1])),
            remote: SocketAddr::new(quote.destination(), u16::from_be_bytes([p2, p3])),
        };
        let opening = |connection: &mut Connection| connection.socket.is_opening();
        if quote.protocol() == protocol::TCP
            && self.tcp.connections.get_mut(&ends).is_some_and(opening)
            && let Some(connection) = self.tcp.take(ends)
            && let Application::Asks { flow, .. } = connection.application
        {
            // Linux tells the two apart no more: both are ECONNREFUSED.
            let refused = error == IcmpError::PortUnreachable;
            let event = if refused {
                ConnectionEvent::Reset
            } else {
                ConnectionEvent::Failed
            };
            let event = FlowEvent::Connection(event);
            out.push(HostEvent::Flow { flow, at: now, event });
        }
    }

    /// Lets a connection and its application go on until neither has anything left to do now.
    fn run_connection(&mut self, now: Instant, ends: Ends, out: &mut Output) {
        let Some(mut connection) = self.tcp.take(ends) else {
            return;
        };
        if let Ok(path) = self.path(Some(ends.local.ip()), ends.remote.ip(), PathMtuDiscovery::Do) {
            connection.socket.set_mtu(path.mtu, now);
        }
        loop {
            connection.socket.poll(now);
            while let Some(segment) = connection.socket.sent() {
                let request = segment_to(ends.local.ip(), ends.remote.ip(), connection.ttl, connection.dscp);
                // What does not fit the path any more, or has no route, is lost; the retransmission timer brings it back.
                let _ = self.send_ip(&request, out, |_| segment);
            }
            if !connection.run_application(now, out) {
                break;
            }
        }
        if connection.socket.is_over() {
            if let Application::Asks { flow, .. } = connection.application {
                let event = FlowEvent::Connection(ConnectionEvent::Reset);
                out.push(HostEvent::Flow { flow, at: now, event });
            }
            return;
        }
        // Nothing is due twice at one instant.
        let later = now.saturating_add(std::time::Duration::from_micros(1));
        let timer = connection.socket.deadline(now).into_iter().chain(connection.asks_at()).min();
        connection.timer = timer.map(|at| at.max(later));
        self.tcp.timers.extend(connection.timer.map(|at| (at, ends)));
        self.tcp.connections.insert(ends, connection);
    }
}

impl Connection {
    /// Reads and writes; whether anything was.
    fn run_application(&mut self, now: Instant, out: &mut Output) -> bool {
        let bytes = self.socket.read();
        let is_open = self.socket.is_open();
        let room = self.socket.room();
        let mut tell = |flow, event| {
            let event = FlowEvent::Connection(event);
            out.push(HostEvent::Flow { flow, at: now, event });
        };
        let outgoing = match &mut self.application {
            Application::Asks { flow, client, opened } => {
                if is_open && !*opened {
                    *opened = true;
                    tell(*flow, ConnectionEvent::Opened);
                }
                if client.incoming(now, bytes.len()) {
                    tell(*flow, ConnectionEvent::Exchanged);
                }
                if is_open { client.outgoing(now, room) } else { Vec::new() }
            }
            Application::Answers { replies, server } => {
                server.incoming(replies, &bytes);
                server.outgoing(replies, room)
            }
        };
        let written = self.socket.write(&outgoing);
        match &mut self.application {
            Application::Asks { client, .. } => client.took(written),
            Application::Answers { server, .. } => server.took(written),
        }
        written > 0 || !bytes.is_empty()
    }

    /// When the application wants to ask on an open connection.
    fn asks_at(&self) -> Option<Instant> {
        match &self.application {
            Application::Asks {
                client, opened: true, ..
            } => client.due(),
            Application::Asks { .. } | Application::Answers { .. } => None,
        }
    }
}

fn buffer(request: usize, reply: usize) -> usize {
    (2 * request.max(reply)).clamp(*BUFFER.start(), *BUFFER.end())
}

/// A segment is never split: it carries DF, and fits.
fn segment_to(source: IpAddr, destination: IpAddr, ttl: u8, dscp: u8) -> Request {
    Request {
        source: Some(source),
        destination,
        protocol: protocol::TCP,
        ttl,
        dscp,
        ecn: 0,
        discovery: PathMtuDiscovery::Do,
    }
}
