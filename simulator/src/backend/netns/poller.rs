//! Waiting for devices and sockets: one epoll, with a timer beside them because epoll itself only counts milliseconds.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use overlab_dataplane::Family;

use super::prober::Listening;
use crate::backend::{PortId, StackId};
use crate::scenario::FlowId;

/// Events that are fetched at once.
const EVENTS: usize = 256;

/// What is ready to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The time is up.
    Timer,
    /// A device.
    Port(PortId),
    /// The socket of a flow's sender.
    Sender(FlowId),
    /// A listening socket.
    Listener(Listening),
    /// The TCP socket of a flow's sender.
    Client(FlowId),
    /// A listening TCP socket.
    Acceptor(Listening),
    /// An accepted TCP connection.
    Accepted(u32),
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timeout {
    /// Until something is ready.
    Never,
    /// For this long at most.
    After(Duration),
}

impl Timeout {
    /// Only look.
    pub(super) const NONE: Timeout = Timeout::After(Duration::ZERO);
}

/// An epoll with a timer.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: Epoll,
    timer: TimerFd,
    events: Vec<EpollEvent>,
}

impl Poller {
    pub(super) fn new() -> io::Result<Poller> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, Source::Timer.encode()))?;
        Ok(Poller {
            epoll,
            timer,
            events: vec![EpollEvent::empty(); EVENTS],
        })
    }

    /// Watches a descriptor until it is closed.
    pub(super) fn watch(&self, descriptor: BorrowedFd<'_>, source: Source) -> io::Result<()> {
        Ok(self
            .epoll
            .add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, source.encode()))?)
    }

    /// Watches a stream until it is closed, and tells once whenever there is something new to read, or new room to write.
    pub(super) fn watch_stream(&self, descriptor: BorrowedFd<'_>, source: Source) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        Ok(self.epoll.add(descriptor, EpollEvent::new(flags, source.encode()))?)
    }

    /// Watches a descriptor also for room to write, or no longer so.
    pub(super) fn watch_for_room(&self, descriptor: BorrowedFd<'_>, source: Source, room: bool) -> io::Result<()> {
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLOUT, room);
        Ok(self.epoll.modify(descriptor, &mut EpollEvent::new(flags, source.encode()))?)
    }

    /// Waits, and lists what is ready, the timer left out. A signal ends the wait early, with nothing ready.
    pub(super) fn wait(&mut self, timeout: Timeout, ready: &mut Vec<Source>) -> io::Result<()> {
        ready.clear();
        let limit = match timeout {
            Timeout::NONE => EpollTimeout::ZERO,
            Timeout::Never => {
                self.timer.unset()?;
                EpollTimeout::NONE
            }
            Timeout::After(span) => {
                let once = Expiration::OneShot(TimeSpec::from_duration(span));
                self.timer.set(once, TimerSetTimeFlags::empty())?;
                EpollTimeout::NONE
            }
        };
        let count = match self.epoll.wait(&mut self.events, limit) {
            Err(Errno::EINTR) => 0,
            result => result?,
        };
        ready.extend(
            self.events
                .iter()
                .take(count)
                .filter_map(|event| Source::decode(event.data()))
                .filter(|source| *source != Source::Timer),
        );
        Ok(())
    }
}

impl Source {
    /// Eight bits of kind, sixteen of port, thirty-two of identity.
    fn encode(self) -> u64 {
        let (kind, port, identity) = match self {
            Source::Timer => (0, 0, 0),
            Source::Port(PortId(port)) => (1, 0, port),
            Source::Sender(FlowId(flow)) => (2, 0, flow),
            Source::Listener(Listening { stack, family, port }) => match family {
                Family::V4 => (3, port, stack.0),
                Family::V6 => (4, port, stack.0),
            },
            Source::Client(FlowId(flow)) => (5, 0, flow),
            Source::Acceptor(Listening { stack, family, port }) => match family {
                Family::V4 => (6, port, stack.0),
                Family::V6 => (7, port, stack.0),
            },
            Source::Accepted(connection) => (8, 0, connection),
        };
        kind << 48 | u64::from(port) << 32 | u64::from(identity)
    }

    fn decode(data: u64) -> Option<Source> {
        let (port, identity) = ((data >> 32) as u16, data as u32);
        let listening = |family| Listening {
            stack: StackId(identity),
            family,
            port,
        };
        match data >> 48 {
            0 => Some(Source::Timer),
            1 => Some(Source::Port(PortId(identity))),
            2 => Some(Source::Sender(FlowId(identity))),
            3 => Some(Source::Listener(listening(Family::V4))),
            4 => Some(Source::Listener(listening(Family::V6))),
            5 => Some(Source::Client(FlowId(identity))),
            6 => Some(Source::Acceptor(listening(Family::V4))),
            7 => Some(Source::Acceptor(listening(Family::V6))),
            8 => Some(Source::Accepted(identity)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_comes_back_from_its_number() {
        let most = u32::MAX;
        let listening = |stack, family, port| Listening {
            stack: StackId(stack),
            family,
            port,
        };
        for source in [
            Source::Timer,
            Source::Port(PortId(most)),
            Source::Sender(FlowId(most)),
            Source::Listener(listening(most, Family::V6, u16::MAX)),
            Source::Listener(listening(1, Family::V4, 2)),
            Source::Client(FlowId(most)),
            Source::Acceptor(listening(most, Family::V6, u16::MAX)),
            Source::Acceptor(listening(1, Family::V4, 2)),
            Source::Accepted(most),
        ] {
            assert_eq!(Source::decode(source.encode()), Some(source));
        }
        assert_eq!(Source::decode(u64::MAX), None);
    }
}
