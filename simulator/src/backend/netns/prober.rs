//! Real sockets for flows: they send at the flow's times, and answer as an application would. Echo requests are answered by
//! the kernel itself. What the packets meet between the sockets is not seen here.
//!
//! The first 8 payload bytes carry the packet's number as a big-endian integer; an echo request's own sequence field has its
//! lower 16 bits.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;
use overlab_dataplane::{Family, Instant};

use super::clock::Clock;
use super::{failed, sockets, sys};
use crate::backend::{BackendError, FlowEvent, FlowStart, HostEvent, SendError, StackId};
use crate::observe::{Direction, read_stamp, stamp};
use crate::scenario::{Flow, FlowId, PathMtuDiscovery, Reply, Transport};

/// Packets that are sent or read in one go before other work has its turn.
const BATCH: usize = 64;

/// Bytes of the echo header in front of the payload (RFC 792, "Echo or Echo Reply Message").
const ECHO_HEADER: usize = 8;

/// Where an answering socket listens: a port of every address of a family in a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listening {
    pub(super) stack: StackId,
    pub(super) family: Family,
    pub(super) port: u16,
}

/// The sockets of all flows.
#[derive(Debug, Default)]
pub(super) struct Prober {
    senders: BTreeMap<FlowId, Sender>,
    listeners: BTreeMap<Listening, Listener>,
    due: BTreeSet<(Instant, FlowId)>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Sender {
    flow: Flow,
    stack: StackId,
    /// A UDP socket, or an ICMP echo socket: the same system calls serve both.
    socket: UdpSocket,
    /// The packet without its number, echo header included.
    packet: Vec<u8>,
    next: u32,
}

#[derive(Debug)]
struct Listener {
    socket: UdpSocket,
    family: Family,
    /// Whose datagrams they are, by the port in their stamp: the source port may have been translated on the way.
    flows: BTreeMap<u16, (FlowId, PathMtuDiscovery, Reply)>,
    discovery: PathMtuDiscovery,
    control: Vec<u8>,
}

impl Prober {
    /// Opens the sender's socket of a flow; the calling thread is in the sender's namespace.
    pub(super) fn open_sender(&mut self, start: &FlowStart) -> Result<(), BackendError> {
        let FlowStart { id, flow, from, .. } = start;
        let socket = sockets::sender(flow).map_err(failed(format!("open the socket of flow {}", flow.name)))?;
        if flow.count > 0 {
            self.due.insert((flow.start, *id));
        }
        let sender = Sender {
            flow: flow.clone(),
            stack: *from,
            socket,
            packet: packet_of(flow),
            next: 0,
        };
        self.senders.insert(*id, sender);
        Ok(())
    }

    /// Opens the receiver's socket of a UDP flow, unless another flow to the same port has done so; the calling thread is in
    /// the receiver's namespace. It says where, if the socket is new.
    pub(super) fn open_listener(
        &mut self,
        start: &FlowStart,
        (stack, port): (StackId, u16),
    ) -> Result<Option<Listening>, BackendError> {
        let FlowStart { id, flow, .. } = start;
        let at = Listening {
            stack,
            family: Family::of(flow.destination),
            port,
        };
        let entry = (*id, flow.path_mtu_discovery, flow.reply);
        if let Some(listener) = self.listeners.get_mut(&at) {
            listener.flows.insert(flow.source_port, entry);
            return Ok(None);
        }
        let what = format!("listen on UDP port {} for flow {}", at.port, flow.name);
        let listener = Listener {
            socket: sockets::listener(at.family, at.port).map_err(failed(what))?,
            family: at.family,
            flows: BTreeMap::from([(flow.source_port, entry)]),
            discovery: PathMtuDiscovery::Want,
            control: sockets::control(),
        };
        self.listeners.insert(at, listener);
        Ok(Some(at))
    }

    /// The descriptor of a flow's sender.
    pub(super) fn sender(&self, flow: FlowId) -> Option<BorrowedFd<'_>> {
        self.senders.get(&flow).map(|sender| sender.socket.as_fd())
    }

    /// The descriptor of a listener.
    pub(super) fn listener(&self, at: Listening) -> Option<BorrowedFd<'_>> {
        self.listeners.get(&at).map(|listener| listener.socket.as_fd())
    }

    /// When the next packet is due.
    pub(super) fn next_send(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Sends no more packets of a flow. Its sockets stay, so that what is under way is still answered.
    pub(super) fn stop(&mut self, flow: FlowId) {
        self.due.retain(|(_, id)| *id != flow);
    }

    /// Closes the sockets of a stack.
    pub(super) fn close(&mut self, stack: StackId) {
        self.senders.retain(|_, sender| sender.stack != stack);
        self.listeners.retain(|at, _| at.stack != stack);
        self.due.retain(|(_, id)| self.senders.contains_key(id));
    }

    /// Sends what is due before `deadline`, at most a batch of it, and never early. The packet loop runs on the same thread, so
    /// that the event is there before the packet can be read.
    pub(super) fn send_due(&mut self, clock: Clock, deadline: Option<Instant>, events: &mut Vec<HostEvent>) {
        for _ in 0..BATCH {
            let now = clock.now();
            let is_due = |at: Instant| at <= now && deadline.is_none_or(|deadline| at < deadline);
            let Some(&(at, id)) = self.due.first().filter(|(at, _)| is_due(*at)) else {
                return;
            };
            let Some(sender) = self.senders.get_mut(&id) else {
                self.due.pop_first();
                continue;
            };
            let result = sender.send();
            if matches!(&result, Err(error) if error.kind() == ErrorKind::WouldBlock) {
                // The packets before it are still to be read from the device.
                return;
            }
            let sequence = sender.next;
            push(events, id, now, FlowEvent::Sent { sequence });
            push_refusal(events, id, now, Direction::Forward, sequence, result);
            sender.next += 1;
            self.due.pop_first();
            if sender.next < sender.flow.count {
                self.due.insert((at.saturating_add(sender.flow.interval), id));
            }
        }
    }

    /// Reads the replies that a sender's socket got.
    ///
    /// # Errors
    /// If the socket fails for good.
    pub(super) fn read_replies(&mut self, id: FlowId, clock: Clock, events: &mut Vec<HostEvent>) -> Result<(), BackendError> {
        let Some(sender) = self.senders.get(&id) else {
            return Ok(());
        };
        self.buffer.resize(usize::from(u16::MAX), 0);
        for _ in 0..BATCH {
            let (length, from) = match sender.socket.recv_from(&mut self.buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // An ICMP error about an earlier packet; reading it has cleared it.
                Err(error) if is_about_a_packet(&error) => continue,
                Err(error) => return Err(failed(format!("read the socket of flow {}", sender.flow.name))(error)),
            };
            let header = header(sender.flow.transport);
            let payload = self.buffer.get(header..length).unwrap_or_default();
            push_received(events, id, clock.now(), Direction::Reverse, from.ip(), payload);
        }
        Ok(())
    }

    /// Reads the datagrams that a listener got, and sends them back where the flow asks for it.
    ///
    /// # Errors
    /// If the socket fails for good.
    pub(super) fn answer(&mut self, at: Listening, clock: Clock, events: &mut Vec<HostEvent>) -> Result<(), BackendError> {
        let Some(listener) = self.listeners.get_mut(&at) else {
            return Ok(());
        };
        self.buffer.resize(usize::from(u16::MAX), 0);
        for _ in 0..BATCH {
            let (length, from, to) = match sockets::receive(&listener.socket, &mut self.buffer, &mut listener.control) {
                Ok(Some(received)) => received,
                Ok(None) => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if is_about_a_packet(&error) => continue,
                Err(error) => return Err(failed(format!("read UDP port {}", at.port))(error)),
            };
            let payload = self.buffer.get(..length).unwrap_or_default();
            let flow = read_stamp(payload).and_then(|(port, _)| listener.flows.get(&port));
            let Some(&(id, discovery, reply)) = flow else { continue };
            let now = clock.now();
            let sequence = push_received(events, id, now, Direction::Forward, from.ip(), payload);
            if let (Some(sequence), Reply::Echo) = (sequence, reply) {
                let result = listener.send_back(payload, from, to, discovery);
                push(events, id, now, FlowEvent::Answered { sequence });
                push_refusal(events, id, now, Direction::Reverse, sequence, result);
            }
        }
        Ok(())
    }
}

impl Sender {
    fn send(&mut self) -> io::Result<()> {
        let header = header(self.flow.transport);
        if let Some(field) = self.packet.get_mut(6..8).filter(|_| header > 0) {
            field.copy_from_slice(&(self.next as u16).to_be_bytes());
        }
        if let Some(number) = self.packet.get_mut(header..header + 8) {
            number.copy_from_slice(&stamp(self.flow.source_port, self.next));
        }
        let to = SocketAddr::new(self.flow.destination, self.flow.destination_port);
        again_after_an_old_error(|| self.socket.send_to(&self.packet, to).map(drop))
    }
}

impl Listener {
    /// Sends a payload back from the address that it was sent to, as a server does that listens on all addresses.
    fn send_back(&mut self, payload: &[u8], to: SocketAddr, from: IpAddr, discovery: PathMtuDiscovery) -> io::Result<()> {
        if discovery != self.discovery {
            sys::set_path_mtu_discovery(&self.socket, self.family, discovery)?;
            self.discovery = discovery;
        }
        again_after_an_old_error(|| sockets::send_from(&self.socket, payload, from, to))
    }
}

/// Bytes in front of the payload that are the application's to write.
fn header(transport: Transport) -> usize {
    if transport == Transport::Icmp { ECHO_HEADER } else { 0 }
}

/// A flow's packet with number 0. The kernel fills in an echo request's identifier and checksum.
fn packet_of(flow: &Flow) -> Vec<u8> {
    // RFC 792; RFC 4443 section 4.1.
    let request = if flow.destination.is_ipv4() { 8 } else { 128 };
    let header = header(flow.transport);
    let mut packet = vec![0; header + flow.payload];
    if let Some(kind) = packet.first_mut().filter(|_| header > 0) {
        *kind = request;
    }
    packet
}

/// Sends, and once more if that failed: an ICMP error about an earlier packet waits in the socket and eats the next send.
fn again_after_an_old_error(mut send: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    match send() {
        Err(error) if error.kind() != ErrorKind::WouldBlock => send(),
        result => result,
    }
}

/// Whether an error is an ICMP error about an earlier packet (ip(7), IP_RECVERR), or an interruption.
fn is_about_a_packet(error: &io::Error) -> bool {
    const REPORTED: [i32; 7] = [
        libc::ECONNREFUSED,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::EMSGSIZE,
        libc::EPROTO,
        libc::EHOSTDOWN,
        libc::ENOPROTOOPT,
    ];
    error.kind() == ErrorKind::Interrupted || error.raw_os_error().is_some_and(|number| REPORTED.contains(&number))
}

fn push(events: &mut Vec<HostEvent>, flow: FlowId, at: Instant, event: FlowEvent) {
    events.push(HostEvent::Flow { flow, at, event });
}

/// Reports a packet that a socket got, and says its number; a payload without a number is nobody's.
fn push_received(
    events: &mut Vec<HostEvent>,
    flow: FlowId,
    at: Instant,
    direction: Direction,
    from: IpAddr,
    payload: &[u8],
) -> Option<u32> {
    let (_, sequence) = read_stamp(payload)?;
    let event = FlowEvent::Received {
        direction,
        sequence,
        from,
        payload: payload.len(),
    };
    push(events, flow, at, event);
    Some(sequence)
}

fn push_refusal(
    events: &mut Vec<HostEvent>,
    flow: FlowId,
    at: Instant,
    direction: Direction,
    sequence: u32,
    result: io::Result<()>,
) {
    let Err(error) = result else { return };
    let reason = match error.raw_os_error().unwrap_or_default() {
        libc::EMSGSIZE => SendError::TooBig,
        libc::ENETUNREACH | libc::EHOSTUNREACH => SendError::NoRoute,
        number => SendError::Other(number),
    };
    let event = FlowEvent::SendRefused {
        direction,
        sequence,
        reason,
    };
    push(events, flow, at, event);
}
