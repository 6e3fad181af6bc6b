//! Real TCP sockets for flows: they connect at the flow's time, and carry what the applications at their ends ask and answer. How
//! the kernel cuts that into segments is its own affair.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{self, SockaddrStorage};
use overlab_dataplane::{Family, Instant};

use super::clock::Clock;
use super::prober::Listening;
use super::{failed, sockets};
use crate::backend::{BackendError, FlowEvent, FlowStart, HostEvent, StackId};
use crate::observe::ConnectionEvent;
use crate::scenario::FlowId;
use crate::workload::{Client, Replies, Server, lengths};

/// Bytes that are read or written in one go.
const BUFFER: usize = 64 << 10;

/// The TCP sockets of all flows.
#[derive(Debug, Default)]
pub(super) struct Streams {
    opened: BTreeMap<FlowId, Opened>,
    listeners: BTreeMap<Listening, Listener>,
    accepted: BTreeMap<u32, Accepted>,
    /// When a flow connects, or asks again.
    due: BTreeSet<(Instant, FlowId)>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Opened {
    stack: StackId,
    to: SocketAddr,
    socket: TcpStream,
    client: Client,
    state: State,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Opening,
    Open,
}

#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    replies: Replies,
}

#[derive(Debug)]
struct Accepted {
    at: Listening,
    socket: TcpStream,
    server: Server,
}

impl Streams {
    /// Opens the sender's socket of a flow; the calling thread is in the sender's namespace.
    pub(super) fn open_client(&mut self, start: &FlowStart) -> Result<(), BackendError> {
        let FlowStart { id, flow, from, .. } = start;
        let what = format!("open the socket of flow {}", flow.name);
        let opened = Opened {
            stack: *from,
            to: SocketAddr::new(flow.destination, flow.destination_port),
            socket: sockets::stream(flow).map_err(failed(what))?,
            client: Client::new(flow),
            state: State::Closed,
        };
        self.due.insert((flow.start, *id));
        self.opened.insert(*id, opened);
        Ok(())
    }

    /// Opens the receiver's socket of a flow, unless another flow to the same port has done so; the calling thread is in the
    /// receiver's namespace. It says where, if the socket is new.
    pub(super) fn open_listener(
        &mut self,
        start: &FlowStart,
        (stack, port): (StackId, u16),
    ) -> Result<Option<Listening>, BackendError> {
        let flow = &start.flow;
        let at = Listening {
            stack,
            family: Family::of(flow.destination),
            port,
        };
        if let Some(listener) = self.listeners.get_mut(&at) {
            listener.replies.extend([lengths(flow)]);
            return Ok(None);
        }
        let what = format!("listen on TCP port {} for flow {}", at.port, flow.name);
        let listener = Listener {
            socket: sockets::stream_listener(at.family, at.port).map_err(failed(what))?,
            replies: Replies::from([lengths(flow)]),
        };
        self.listeners.insert(at, listener);
        Ok(Some(at))
    }

    /// The descriptor of a flow's sender.
    pub(super) fn client(&self, flow: FlowId) -> Option<BorrowedFd<'_>> {
        self.opened.get(&flow).map(|opened| opened.socket.as_fd())
    }

    /// The descriptor of a listener.
    pub(super) fn listener(&self, at: Listening) -> Option<BorrowedFd<'_>> {
        self.listeners.get(&at).map(|listener| listener.socket.as_fd())
    }

    /// The descriptor of an accepted connection.
    pub(super) fn accepted(&self, id: u32) -> Option<BorrowedFd<'_>> {
        self.accepted.get(&id).map(|accepted| accepted.socket.as_fd())
    }

    /// When a flow connects or asks next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A flow asks no more.
    pub(super) fn stop(&mut self, flow: FlowId, clock: Clock) {
        self.due.retain(|(_, id)| *id != flow);
        if let Some(opened) = self.opened.get_mut(&flow) {
            opened.client.stop(clock.now());
        }
    }

    /// Closes the sockets of a stack.
    pub(super) fn close(&mut self, stack: StackId) {
        self.opened.retain(|_, opened| opened.stack != stack);
        self.listeners.retain(|at, _| at.stack != stack);
        self.accepted.retain(|_, accepted| accepted.at.stack != stack);
        self.due.retain(|(_, id)| self.opened.contains_key(id));
    }

    /// Connects and asks where it is time before `deadline`, and never early.
    pub(super) fn advance(&mut self, clock: Clock, deadline: Option<Instant>, events: &mut Vec<HostEvent>) {
        let now = clock.now();
        let is_due = |at: Instant| at <= now && deadline.is_none_or(|deadline| at < deadline);
        while let Some(&(_, id)) = self.due.first().filter(|(at, _)| is_due(*at)) {
            self.due.pop_first();
            let Some(opened) = self.opened.get_mut(&id).filter(|opened| opened.state == State::Closed) else {
                self.run_client(id, clock, events);
                continue;
            };
            match opened.connect() {
                Ok(()) => opened.state = State::Opening,
                Err(error) => self.end(id, now, &error, events),
            }
        }
    }

    /// Lets a flow's sender do what its socket allows.
    pub(super) fn run_client(&mut self, id: FlowId, clock: Clock, events: &mut Vec<HostEvent>) {
        self.buffer.resize(BUFFER, 0);
        let Some(opened) = self.opened.get_mut(&id) else { return };
        let now = clock.now();
        match opened.run(now, &mut self.buffer, |event| push(events, id, now, event)) {
            Ok(()) => self.due.extend(opened.due().map(|at| (at, id))),
            Err(error) => self.end(id, now, &error, events),
        }
    }

    /// A flow's connection is over.
    fn end(&mut self, id: FlowId, now: Instant, error: &io::Error, events: &mut Vec<HostEvent>) {
        self.opened.remove(&id);
        let reset = matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused);
        let event = if reset {
            ConnectionEvent::Reset
        } else {
            ConnectionEvent::Failed
        };
        push(events, id, now, event);
    }

    /// Accepts the connections that wait at a listener, and names them.
    ///
    /// # Errors
    /// If the socket fails for good.
    pub(super) fn accept(&mut self, at: Listening) -> Result<Vec<u32>, BackendError> {
        let mut new = Vec::new();
        while let Some(listener) = self.listeners.get(&at) {
            let socket = match listener.socket.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // It was reset while it waited.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => continue,
                Err(error) => return Err(failed(format!("accept on TCP port {}", at.port))(error)),
            };
            let what = format!("accept on TCP port {}", at.port);
            socket.set_nonblocking(true).map_err(failed(what))?;
            let id = self.accepted.last_key_value().map_or(0, |(last, _)| last + 1);
            let server = Server::default();
            self.accepted.insert(id, Accepted { at, socket, server });
            new.push(id);
        }
        Ok(new)
    }

    /// Lets the answering end of a connection do what its socket allows.
    pub(super) fn run_server(&mut self, id: u32) {
        self.buffer.resize(BUFFER, 0);
        let Some(accepted) = self.accepted.get_mut(&id) else { return };
        let Some(listener) = self.listeners.get(&accepted.at) else {
            return;
        };
        // What ended it is the sender's to tell.
        if accepted.run(&listener.replies, &mut self.buffer).is_err() {
            self.accepted.remove(&id);
        }
    }
}

impl Opened {
    fn connect(&self) -> io::Result<()> {
        match socket::connect(self.socket.as_raw_fd(), &SockaddrStorage::from(self.to)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn run(&mut self, now: Instant, buffer: &mut [u8], mut tell: impl FnMut(ConnectionEvent)) -> io::Result<()> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.state {
            State::Closed => return Ok(()),
            State::Opening if self.socket.peer_addr().is_err() => return Ok(()),
            State::Opening => {
                self.state = State::Open;
                tell(ConnectionEvent::Opened);
            }
            State::Open => {}
        }
        while let Some(length) = read(&mut self.socket, buffer)? {
            if self.client.incoming(now, length) {
                tell(ConnectionEvent::Exchanged);
            }
        }
        loop {
            let bytes = self.client.outgoing(now, BUFFER);
            match write(&mut self.socket, &bytes)? {
                0 => return Ok(()),
                length => self.client.took(length),
            }
        }
    }

    /// When it wants to ask again.
    fn due(&self) -> Option<Instant> {
        self.client.due().filter(|_| self.state == State::Open)
    }
}

impl Accepted {
    fn run(&mut self, replies: &Replies, buffer: &mut [u8]) -> io::Result<()> {
        while let Some(length) = read(&mut self.socket, buffer)? {
            self.server.incoming(replies, buffer.get(..length).unwrap_or_default());
        }
        loop {
            let bytes = self.server.outgoing(replies, BUFFER);
            match write(&mut self.socket, &bytes)? {
                0 => return Ok(()),
                length => self.server.took(length),
            }
        }
    }
}

/// Bytes that were read; none if there are none yet. The end of the stream is an error: no application closes it.
fn read(socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        return match socket.read(buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}

/// Bytes that were written; 0 if there are none, or there is no room.
fn write(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    loop {
        return match socket.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result,
        };
    }
}

fn push(events: &mut Vec<HostEvent>, flow: FlowId, at: Instant, event: ConnectionEvent) {
    let event = FlowEvent::Connection(event);
    events.push(HostEvent::Flow { flow, at, event });
}
