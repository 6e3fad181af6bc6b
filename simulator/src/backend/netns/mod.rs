//! The backend in real time: stacks are anonymous Linux network namespaces behind TUN devices, flows are sent by real sockets
//! inside them, and everything that passes between two stacks passes through whoever drives this backend.
//!
//! ```text
//!   namespace of a stack                          this process
//!   prober's socket ── kernel ── TUN device ══ descriptor ── wait/deliver ── the driver's world
//! ```
//!
//! One thread does everything but the making of namespaces: it waits on one epoll and runs to completion, with no task, channel
//! or, once warm, allocation per packet. Namespaces, devices and sockets are only ever held by descriptor, so that they are
//! gone when the backend is dropped or the process dies, whichever way. It decides nothing about packets.

mod change;
mod clock;
mod configure;
mod doctor;
mod namespace;
mod poller;
mod prober;
mod receiving;
mod sockets;
mod stacks;
mod streams;
mod sys;
mod tun;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use overlab_dataplane::{Instant, Packet};

pub use doctor::{Capability, capabilities};
pub use namespace::enter_user_namespace;

use self::clock::Clock;
use self::poller::{Poller, Source, Timeout};
use self::prober::{Listening, Prober};
use self::stacks::Stacks;
use self::streams::Streams;
use self::tun::Written;
use super::{Backend, BackendError, FlowStart, HostAction, HostEvent, PortId, StackId};
use crate::scenario::Transport;

/// Packets that are read from one device before the others have their turn.
const BATCH: usize = 64;

/// The most that the clock goes on by while packets are handled, between one look at what is ready and the next.
const STRIDE: Duration = Duration::from_millis(1);

/// The least step of the clock.
const GRAIN: Duration = Duration::from_nanos(1);

/// Packet buffers that are kept for reuse.
const POOL: usize = 1024;

/// Network namespaces, their devices, and the sockets of flows.
///
/// Stacks and flows are collected until the first [`Backend::wait`] (or [`Netns::ready`]); then all stacks are made, all
/// sockets opened, and the clock started, so that no flow waits for another's sockets.
#[derive(Debug)]
pub struct Netns {
    clock: Clock,
    poller: Poller,
    stacks: Stacks,
    starting: Vec<FlowStart>,
    prober: Prober,
    streams: Streams,
    buffer: Vec<u8>,
    pool: Vec<Packet>,
    sources: Vec<Source>,
    counters: Counters,
}

/// What did not pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that stacks sent unasked: multicast, broadcast, or how IPv6 looks for neighbours.
    pub unasked: u64,
    /// Packets that a stack did not take: its queue was full, or its kernel refused them.
    pub lost: u64,
}

impl Netns {
    /// A backend without stacks. It tries, in a namespace that is thrown away, whether it can make any.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] if this process may not make network namespaces or TUN devices.
    pub fn new() -> Result<Netns, BackendError> {
        doctor::probe()?;
        raise_descriptor_limit().map_err(failed("raise the limit of open files"))?;
        Ok(Netns {
            clock: Clock::default(),
            poller: Poller::new().map_err(failed("make an epoll"))?,
            stacks: Stacks::default(),
            starting: Vec::new(),
            prober: Prober::default(),
            streams: Streams::default(),
            buffer: vec![0; usize::from(u16::MAX)],
            pool: Vec::new(),
            sources: Vec::new(),
            counters: Counters::default(),
        })
    }

    /// Makes all stacks that were attached and are not made yet.
    ///
    /// # Errors
    /// If the kernel refuses a namespace, a device, an address or a route.
    pub fn ready(&mut self) -> Result<(), BackendError> {
        self.stacks.make(&self.poller)
    }

    /// The network namespace of a stack that is made, to look into it.
    pub fn namespace_fd(&self, stack: StackId) -> Option<BorrowedFd<'_>> {
        self.stacks.namespace(stack)
    }

    /// What did not pass so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Opens the sockets of flows, in the namespaces of their senders and receivers.
    fn open(&mut self, starts: Vec<FlowStart>) -> Result<(), BackendError> {
        if starts.is_empty() {
            return Ok(());
        }
        let (stacks, prober, streams) = (&self.stacks, &mut self.prober, &mut self.streams);
        let opened = namespace::aside(|| {
            let mut opened = Vec::with_capacity(2 * starts.len());
            for start in &starts {
                for &to in &start.to {
                    stacks.enter(to.0)?;
                    opened.extend(match start.flow.transport {
                        Transport::Icmp => None,
                        Transport::Udp => prober.open_listener(start, to)?.map(Source::Listener),
                        Transport::Tcp => streams.open_listener(start, to)?.map(Source::Acceptor),
                    });
                }
                stacks.enter(start.from)?;
                opened.push(match start.flow.transport {
                    Transport::Icmp | Transport::Udp => prober.open_sender(start).map(|()| Source::Sender(start.id))?,
                    Transport::Tcp => streams.open_client(start).map(|()| Source::Client(start.id))?,
                });
            }
            Ok(opened)
        })?;
        for source in opened {
            self.watch(source).map_err(failed("watch a socket"))?;
        }
        Ok(())
    }

    /// Watches an open socket.
    fn watch(&self, source: Source) -> io::Result<()> {
        let (prober, streams, poller) = (&self.prober, &self.streams, &self.poller);
        let (descriptor, is_stream) = match source {
            Source::Sender(flow) => (prober.sender(flow), false),
            Source::Listener(at) => (prober.listener(at), false),
            Source::Acceptor(at) => (streams.listener(at), false),
            Source::Client(flow) => (streams.client(flow), true),
            Source::Accepted(id) => (streams.accepted(id), true),
            Source::Timer | Source::Port(_) => (None, false),
        };
        match (descriptor, is_stream) {
            (Some(descriptor), true) => poller.watch_stream(descriptor, source),
            (Some(descriptor), false) => poller.watch(descriptor, source),
            (None, _) => Ok(()),
        }
    }

    /// Takes in the connections that wait at a listener.
    fn accept(&mut self, at: Listening) -> Result<(), BackendError> {
        for id in self.streams.accept(at)? {
            self.watch(Source::Accepted(id)).map_err(failed("watch a connection"))?;
        }
        Ok(())
    }

    /// Makes and opens what was collected, then starts the clock.
    fn begin(&mut self) -> Result<(), BackendError> {
        self.ready()?;
        let starts = std::mem::take(&mut self.starting);
        self.open(starts)?;
        self.clock.start();
        Ok(())
    }

    /// Handles the sources that are ready: sockets first, so that an answer's event comes before its packet.
    fn handle(&mut self, events: &mut Vec<HostEvent>) -> Result<(), BackendError> {
        for place in 0..self.sources.len() {
            match self.sources.get(place) {
                Some(Source::Sender(flow)) => self.prober.read_replies(*flow, self.clock, events)?,
                Some(Source::Listener(at)) => self.prober.answer(*at, self.clock, events)?,
                Some(Source::Client(flow)) => self.streams.run_client(*flow, self.clock, events),
                Some(Source::Acceptor(at)) => self.accept(*at)?,
                Some(Source::Accepted(id)) => self.streams.run_server(*id),
                Some(Source::Port(_) | Source::Timer) | None => {}
            }
        }
        for place in 0..self.sources.len() {
            if let Some(&Source::Port(port)) = self.sources.get(place) {
                self.flush(port)?;
                self.read(port, events)?;
            }
        }
        Ok(())
    }

    /// Reads a batch of packets from a device.
    fn read(&mut self, port: PortId, events: &mut Vec<HostEvent>) -> Result<(), BackendError> {
        let Some(device) = self.stacks.device(port) else {
            return Ok(());
        };
        for _ in 0..BATCH {
            let length = device.tun.read(&mut self.buffer);
            let Some(length) = length.map_err(failed(format!("read device {}", device.name)))? else {
                break;
            };
            let bytes = self.buffer.get(..length).unwrap_or_default();
            if !tun::is_asked_for(bytes) {
                self.counters.unasked += 1;
                continue;
            }
            let mut packet = self.pool.pop().unwrap_or_else(|| Packet::with_capacity(length));
            packet.fill(bytes);
            events.push(HostEvent::Packet { port, packet });
        }
        Ok(())
    }

    /// Writes what a device's queue holds, and watches the device for room as long as something is left.
    fn flush(&mut self, port: PortId) -> Result<(), BackendError> {
        let Some(device) = self.stacks.device_mut(port).filter(|device| device.tun.holds()) else {
            return Ok(());
        };
        self.counters.lost += device.tun.flush();
        let room = device.tun.holds();
        let result = self.poller.watch_for_room(device.tun.as_fd(), Source::Port(port), room);
        result.map_err(failed(format!("watch device {}", device.name)))
    }

    /// What the clock must not pass: the driver's `deadline`, and the next packet that is to be sent. What found no room in a socket
    /// no longer waits for its time.
    fn limit(&self, deadline: Option<Instant>) -> Option<Instant> {
        let due = self.prober.next_send().into_iter().chain(self.streams.next_due());
        due.filter(|at| *at > self.clock.now()).chain(deadline).min()
    }

    /// Waits until something is ready, or `limit` is there, and lets the clock go on. What is ready came before what is planned for
    /// the limit.
    fn look(&mut self, limit: Option<Instant>) -> Result<(), BackendError> {
        self.poll(Timeout::NONE)?;
        if self.sources.is_empty() {
            self.clock.pass(STRIDE.min(self.left(limit)));
            self.poll(limit.map_or(Timeout::Never, |_| Timeout::After(self.left(limit))))?;
            let before = if self.sources.is_empty() { Duration::ZERO } else { GRAIN };
            self.clock.pass(self.left(limit).saturating_sub(before));
        } else {
            self.clock.pass(STRIDE.min(self.left(limit).saturating_sub(GRAIN)));
        }
        Ok(())
    }

    fn poll(&mut self, timeout: Timeout) -> Result<(), BackendError> {
        let ready = self.poller.wait(timeout, &mut self.sources);
        ready.map_err(failed("wait for events"))
    }

    /// How long it is until `limit`.
    fn left(&self, limit: Option<Instant>) -> Duration {
        limit.map_or(Duration::MAX, |limit| limit.since(self.clock.now()))
    }
}

impl Backend for Netns {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn wait(&mut self, deadline: Option<Instant>, events: &mut Vec<HostEvent>) -> Result<(), BackendError> {
        self.begin()?;
        let before = events.len();
        loop {
            self.prober.send_due(self.clock, deadline, events);
            self.streams.advance(self.clock, deadline, events);
            if events.len() > before {
                // Packets are read at the instant that they were sent at.
                self.poll(Timeout::NONE)?;
                self.clock.pass(Duration::ZERO);
            } else {
                let limit = self.limit(deadline);
                if limit.is_none() && !self.stacks.has_devices() {
                    return Ok(());
                }
                self.look(limit)?;
            }
            self.handle(events)?;
            if events.len() > before || deadline.is_some_and(|deadline| deadline <= self.clock.now()) {
                return Ok(());
            }
        }
    }

    fn deliver(&mut self, port: PortId, packet: Packet) {
        let Some(device) = self.stacks.device_mut(port) else {
            self.counters.lost += 1;
            return;
        };
        let (written, free) = device.tun.write(packet);
        match written {
            Written::Taken => {}
            Written::Lost => self.counters.lost += 1,
            // Should the watch fail, the next packet that the device sends flushes the queue as well.
            Written::Held => drop(self.poller.watch_for_room(device.tun.as_fd(), Source::Port(port), true)),
        }
        self.pool.extend(free.filter(|_| self.pool.len() < POOL));
    }

    fn host(&mut self, action: HostAction) -> Result<(), BackendError> {
        match action {
            HostAction::Attach(stack) => self.stacks.attach(stack.listed()),
            HostAction::Configure(stack) => return self.stacks.configure(stack.listed()),
            HostAction::Detach { stack } => {
                self.prober.close(stack);
                self.streams.close(stack);
                self.stacks.detach(stack);
            }
            HostAction::Start(start) if self.clock.runs() => {
                self.ready()?;
                return self.open(vec![start]);
            }
            HostAction::Start(start) => self.starting.push(start),
            HostAction::Stop { flow } => {
                self.starting.retain(|start| start.id != flow);
                self.prober.stop(flow);
                self.streams.stop(flow, self.clock);
            }
        }
        Ok(())
    }
}

/// A descriptor for each device and each flow needs more than the customary thousand.
fn raise_descriptor_limit() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}

/// Says what failed, for `map_err`.
fn failed<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> BackendError {
    move |error| BackendError::System {
        what: what.into(),
        source: error.into(),
    }
}

fn unknown(what: String) -> BackendError {
    failed::<io::Error>(what)(io::ErrorKind::NotFound.into())
}
