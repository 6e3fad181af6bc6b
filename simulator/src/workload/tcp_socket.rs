//! One end of a TCP connection in virtual time: smoltcp's socket, on an interface of its own. It is told the time and the MTU of
//! its path, takes segments in and gives segments out.
//!
//! Congestion control is Reno, which counts in whole bytes. Linux uses CUBIC, which over short paths grows as Reno does (RFC 9438
//! section 4.3).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use overlab_dataplane::{Instant, Mtu};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::probe::{Addresses, Header, packet};

/// Linux delays an acknowledgement by this much at least (`TCP_DELACK_MIN`).
const ACK_DELAY: time::Duration = time::Duration::from_millis(40);

/// How often the own clock is put forward to reach the retransmission timer: another timer may come first, once.
const TIMERS: usize = 3;

/// The two addresses of a connection, as its own stack sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ends {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// What an end is made of, whichever side it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) ends: Ends,
    pub(super) mtu: Mtu,
    /// Where the initial sequence number comes from.
    pub(super) seed: u64,
    /// Bytes of each of its two buffers.
    pub(super) buffer: usize,
}

/// Segments on their way into and out of a socket, as IP packets.
#[derive(Debug)]
struct Wire {
    mtu: Mtu,
    received: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

/// One end of a connection.
pub(super) struct TcpSocket {
    setup: Setup,
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// Microseconds that the own clock is ahead.
    ahead: i64,
}

impl std::fmt::Debug for TcpSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpSocket")
            .field("setup", &self.setup)
            .finish_non_exhaustive()
    }
}

impl TcpSocket {
    /// The end that opens a connection; none if the addresses cannot have one.
    pub(super) fn connect(setup: Setup, now: Instant) -> Option<TcpSocket> {
        let mut tcp = TcpSocket::new(setup, now);
        let Ends { local, remote } = setup.ends;
        let socket = tcp.sockets.get_mut::<Socket<'_>>(tcp.handle);
        socket.connect(tcp.interface.context(), remote, local).ok()?;
        Some(tcp)
    }

    /// The end that waits for one; none if the address cannot have one.
    pub(super) fn listen(setup: Setup, now: Instant) -> Option<TcpSocket> {
        let mut tcp = TcpSocket::new(setup, now);
        tcp.socket().listen(setup.ends.local).ok()?;
        Some(tcp)
    }

    fn new(setup: Setup, now: Instant) -> TcpSocket {
        let mut wire = Wire {
            mtu: setup.mtu,
            received: VecDeque::new(),
            sent: VecDeque::new(),
        };
        let buffer = || SocketBuffer::new(vec![0; setup.buffer]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_congestion_control(CongestionControl::Reno);
        socket.set_ack_delay(Some(ACK_DELAY));
        // Linux holds a short segment back only behind another short one, which an application that writes whole messages never
        // meets (`tcp_nagle_check`).
        socket.set_nagle_enabled(false);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        TcpSocket {
            interface: interface(&setup, &mut wire, time(now, 0)),
            setup,
            wire,
            sockets,
            handle,
            ahead: 0,
        }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// The path takes packets of this length. smoltcp asks for it only when an interface is made.
    pub(super) fn set_mtu(&mut self, mtu: Mtu, now: Instant) {
        if mtu != self.wire.mtu {
            self.wire.mtu = mtu;
            self.interface = interface(&self.setup, &mut self.wire, time(now, self.ahead));
        }
    }

    /// A segment came in, with its IP addresses left out.
    pub(super) fn receive(&mut self, segment: &[u8]) {
        let Ends { local, remote } = self.setup.ends;
        let Some(addresses) = Addresses::new(remote.ip(), local.ip()) else {
            return;
        };
        self.wire.received.push_back(packet(addresses, Header::of_tcp(), segment));
    }

    /// Lets everything happen that is due.
    pub(super) fn poll(&mut self, now: Instant) {
        self.interface.poll(time(now, self.ahead), &mut self.wire, &mut self.sockets);
    }

    /// What is not acknowledged is sent again at once, as Linux does when the path turns out to be narrower
    /// (`tcp_simple_retransmit`): the own clock is put forward to the retransmission timer.
    pub(super) fn resend(&mut self, now: Instant) {
        for _ in 0..TIMERS {
            let unacknowledged = self.socket().send_queue() > 0;
            let Some(at) = self.deadline(now).filter(|_| unacknowledged && self.wire.sent.is_empty()) else {
                return;
            };
            self.ahead += i64::try_from(at.since(now).as_micros()).unwrap_or(0);
            self.poll(now);
        }
    }

    /// The next segment that leaves, without its IP header.
    pub(super) fn sent(&mut self) -> Option<Vec<u8>> {
        let mut packet = self.wire.sent.pop_front()?;
        let header = if self.setup.ends.local.is_ipv4() { 20 } else { 40 };
        Some(packet.split_off(header.min(packet.len())))
    }

    /// When something happens by itself.
    pub(super) fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(time(now, self.ahead), &self.sockets)?;
        let micros = u64::try_from(at.total_micros().saturating_sub(self.ahead)).unwrap_or(0);
        Some(Instant::from_nanos(micros.saturating_mul(1000)))
    }

    /// Bytes that the buffer has room for.
    pub(super) fn room(&mut self) -> usize {
        let socket = self.socket();
        socket.send_capacity() - socket.send_queue()
    }

    /// Writes what the buffer has room for.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        self.socket().send_slice(bytes).unwrap_or(0)
    }

    /// Reads everything that is there.
    pub(super) fn read(&mut self) -> Vec<u8> {
        let socket = self.socket();
        let mut bytes = vec![0; socket.recv_queue()];
        let length = socket.recv_slice(&mut bytes).unwrap_or(0);
        bytes.truncate(length);
        bytes
    }

    /// Whether the handshake is over, as seen from here.
    pub(super) fn is_open(&mut self) -> bool {
        self.socket().may_send()
    }

    /// Whether it waits for the other end's first answer.
    pub(super) fn is_opening(&mut self) -> bool {
        self.socket().state() == State::SynSent
    }

    /// Whether there is no connection any more, or none came of it.
    pub(super) fn is_over(&mut self) -> bool {
        matches!(self.socket().state(), State::Closed | State::Listen)
    }
}

fn time(now: Instant, ahead: i64) -> time::Instant {
    let micros = i64::try_from(now.as_nanos() / 1000).unwrap_or(i64::MAX);
    time::Instant::from_micros(micros.saturating_add(ahead))
}

/// An interface with one address and one route.
fn interface(setup: &Setup, wire: &mut Wire, now: time::Instant) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = setup.seed;
    let mut interface = Interface::new(config, wire, now);
    let Ends { local, remote } = setup.ends;
    interface.update_ip_addrs(|addresses| {
        // There is room for two.
        let _ = addresses.push(IpCidr::new(
            IpAddress::from(local.ip()),
            if local.is_ipv4() { 32 } else { 128 },
        ));
    });
    let routes = interface.routes_mut();
    // There is room for two; the next hop is never looked for on a medium of IP packets.
    let _ = match remote.ip() {
        IpAddr::V4(next) => routes.add_default_ipv4_route(next),
        IpAddr::V6(next) => routes.add_default_ipv6_route(next),
    };
    interface
}

/// One packet in.
struct Received(Vec<u8>);

/// Room for one packet out.
struct Room<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl phy::TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut packet = vec![0; length];
        let result = write(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl phy::Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: time::Instant) -> Option<(Received, Room<'_>)> {
        let packet = self.received.pop_front()?;
        Some((Received(packet), Room(&mut self.sent)))
    }

    fn transmit(&mut self, _: time::Instant) -> Option<Room<'_>> {
        Some(Room(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = usize::from(self.mtu.bytes());
        capabilities
    }
}
