//! Connection tracking: which connection a packet belongs to, and which way it goes in it. It knows two tuples of each
//! connection, the original one as its first packet came and that of the answers as they come, which differ from one another's
//! mirror image where the connection is translated. What is translated is decided in `nat`.
//!
//! Source: Linux net/netfilter/nf_conntrack_core.c.

mod tuple;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::NatRule;
use crate::Instant;
use crate::wire::ipv4::protocol;
use crate::wire::{IcmpMessage, IpView};

pub(super) use tuple::{TcpFlags, Tuple};

/// Connections that are known at the same time; beyond that, the one that would end first gives way.
///
/// Source: Linux net/netfilter/nf_conntrack_core.c, nf_conntrack_init_start (`net.netfilter.nf_conntrack_max`).
const CONNECTIONS_MAX: usize = 65_536;

/// Packets in fragments that are remembered at the same time.
const TRAINS_MAX: usize = 1024;

/// How long a connection is remembered after its last packet.
///
/// Source: Linux net/netfilter/nf_conntrack_proto_udp.c, _icmp.c, _tcp.c and _generic.c.
mod timeout {
    use std::time::Duration;

    pub(super) const UDP: Duration = Duration::from_secs(30);
    /// UDP that was answered and has lasted for [`UDP_STREAM_AGE`].
    pub(super) const UDP_STREAM: Duration = Duration::from_secs(120);
    pub(super) const UDP_STREAM_AGE: Duration = Duration::from_secs(2);
    pub(super) const ICMP: Duration = Duration::from_secs(30);
    pub(super) const TCP_SYN_SENT: Duration = Duration::from_secs(120);
    pub(super) const TCP_SYN_RECEIVED: Duration = Duration::from_secs(60);
    pub(super) const TCP_ESTABLISHED: Duration = Duration::from_secs(432_000);
    pub(super) const TCP_CLOSING: Duration = Duration::from_secs(120);
    pub(super) const TCP_RESET: Duration = Duration::from_secs(10);
    /// For the later fragments of a packet: as long as IPv6 waits for them, the longer of the two.
    pub(super) const FRAGMENTS: Duration = crate::wire::fragment::timeout(crate::Family::V6);
    pub(super) const GENERIC: Duration = Duration::from_secs(600);
}

/// Which way a packet goes in its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// As its first packet.
    Original,
    /// Against it.
    Reply,
}

/// A connection, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionId(u64);

/// What connection tracking says of a packet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Track {
    /// Nothing: it is not tracked, or makes no sense.
    #[default]
    Untracked,
    /// It would begin a connection.
    New(First),
    /// It belongs to a connection.
    Known {
        connection: ConnectionId,
        direction: Direction,
        /// Whether the connection has seen packets both ways, this one counted.
        established: bool,
        /// Whether anything translates the connection.
        translated: bool,
    },
    /// It is an ICMP error about a packet of a connection, and goes in this direction itself.
    Related { connection: ConnectionId, direction: Direction },
}

/// The first packet of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct First {
    /// Its tuple as it came.
    pub(super) original: Tuple,
    /// Its tuple once its destination is translated.
    pub(super) tuple: Tuple,
    pub(super) flags: TcpFlags,
    /// Whether kube-proxy has marked it to be masqueraded.
    pub(super) marked: bool,
}

impl Track {
    /// Whether rules that let answers in let this packet in.
    pub(super) fn is_established(self) -> bool {
        matches!(self, Track::Known { established: true, .. } | Track::Related { .. })
    }

    /// Whether it goes against the first packet of its connection.
    pub(super) fn is_answer(self) -> bool {
        matches!(
            self,
            Track::Known {
                direction: Direction::Reply,
                ..
            } | Track::Related {
                direction: Direction::Reply,
                ..
            }
        )
    }
}

/// One connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    pub(super) original: Tuple,
    pub(super) reply: Tuple,
    /// What translates its source, if anything does.
    pub(super) rule: Option<NatRule>,
    /// Whether its answers come from or to another address or port than its first packet went to or came from.
    pub(super) translated: bool,
    began: Instant,
    replied: bool,
    /// Whether TCP has begun to end it.
    closing: bool,
    expires: Instant,
    /// Its place in the queue: not later than `expires`.
    queued: Instant,
}

/// Source, destination, protocol and identification: what fragments of one packet share.
type Train = (IpAddr, IpAddr, u8, u32);

/// The connections of a node.
#[derive(Debug, Default)]
pub(super) struct Conntrack {
    connections: BTreeMap<ConnectionId, Connection>,
    tuples: BTreeMap<Tuple, (ConnectionId, Direction)>,
    queue: BTreeSet<(Instant, ConnectionId)>,
    /// What the first fragment of a packet showed, and when.
    trains: BTreeMap<Train, (Instant, Tuple)>,
    next: u64,
}

impl Conntrack {
    /// Finds the connection of a packet as it comes in, and keeps it alive.
    ///
    /// Source: Linux net/netfilter/nf_conntrack_core.c, nf_conntrack_in.
    pub(super) fn find(&mut self, now: Instant, packet: &IpView<'_>) -> Track {
        let tuple = match self.tuple(now, packet) {
            Some(tuple) => tuple,
            None => return self.related(now, packet),
        };
        let flags = TcpFlags::of(packet);
        let known = self.tuples.get(&tuple).and_then(|&(id, direction)| {
            let connection = self.connections.get_mut(&id).filter(|c| c.expires > now)?;
            Some((id, direction, connection))
        });
        let Some((id, direction, connection)) = known else {
            return if tuple.may_begin() && !flags.reset {
                Track::New(First {
                    original: tuple,
                    tuple,
                    flags,
                    marked: false,
                })
            } else {
                Track::Untracked
            };
        };
        connection.replied |= direction == Direction::Reply;
        connection.closing |= flags.fin;
        connection.expires = now.saturating_add(connection.timeout(now, flags));
        // A shorter life than before has to be queued anew; a longer one is found when its turn comes.
        if connection.expires < connection.queued {
            self.queue.remove(&(connection.queued, id));
            connection.queued = connection.expires;
            self.queue.insert((connection.queued, id));
        }
        Track::Known {
            connection: id,
            direction,
            established: connection.replied,
            translated: connection.translated,
        }
    }

    /// Begins a connection whose first packet has passed every rule.
    ///
    /// Source: Linux net/netfilter/nf_conntrack_core.c, __nf_conntrack_confirm.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        First { original, flags, .. }: First,
        reply: Tuple,
        rule: Option<NatRule>,
    ) -> Track {
        self.forget_expired(now);
        if self.connections.len() >= CONNECTIONS_MAX
            && let Some((_, first)) = self.queue.pop_first()
        {
            self.remove(first);
        }
        let id = ConnectionId(self.next);
        self.next += 1;
        let mut connection = Connection {
            original,
            reply,
            rule,
            translated: reply != original.inverted(),
            began: now,
            replied: false,
            closing: false,
            expires: now,
            queued: now,
        };
        connection.expires = now.saturating_add(connection.timeout(now, flags));
        connection.queued = connection.expires;
        self.queue.insert((connection.queued, id));
        self.tuples.insert(original, (id, Direction::Original));
        self.tuples.insert(reply, (id, Direction::Reply));
        self.connections.insert(id, connection);
        Track::Known {
            connection: id,
            direction: Direction::Original,
            established: false,
            translated: connection.translated,
        }
    }

    /// A connection.
    pub(super) fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(&id)
    }

    /// Whether no connection has packets with this tuple.
    pub(super) fn is_free(&self, now: Instant, tuple: Tuple) -> bool {
        self.alive(now, tuple).is_none()
    }

    fn alive(&self, now: Instant, tuple: Tuple) -> Option<(ConnectionId, Direction)> {
        let found = *self.tuples.get(&tuple)?;
        self.connections
            .get(&found.0)
            .is_some_and(|c| c.expires > now)
            .then_some(found)
    }

    /// The tuple of a packet; later fragments have that of the first, if it came before them.
    fn tuple(&mut self, now: Instant, packet: &IpView<'_>) -> Option<Tuple> {
        let tuple = Tuple::of(packet);
        if !packet.is_fragment() {
            return tuple;
        }
        let train = (
            packet.source(),
            packet.destination(),
            packet.protocol(),
            packet.identification(),
        );
        if packet.fragment_offset() > 0 {
            let (_, first) = self.trains.get(&train)?;
            return Some(*first);
        }
        if self.trains.len() >= TRAINS_MAX {
            self.trains.retain(|_, (at, _)| now.since(*at) < timeout::FRAGMENTS);
        }
        if self.trains.len() >= TRAINS_MAX {
            self.trains.pop_first();
        }
        self.trains.insert(train, (now, tuple?));
        tuple
    }

    /// The connection that an ICMP error is about.
    ///
    /// Source: Linux net/netfilter/nf_conntrack_proto_icmp.c, nf_conntrack_inet_error.
    fn related(&self, now: Instant, packet: &IpView<'_>) -> Track {
        if !packet.is_icmp() || packet.is_fragment() {
            return Track::Untracked;
        }
        let about = match IcmpMessage::parse(packet) {
            Ok(IcmpMessage::Error { quote, .. }) => Tuple::of(&quote),
            Ok(IcmpMessage::Echo { .. } | IcmpMessage::Other { .. }) | Err(_) => None,
        };
        match about.and_then(|tuple| self.alive(now, tuple.inverted())) {
            Some((connection, direction)) => Track::Related { connection, direction },
            None => Track::Untracked,
        }
    }

    fn forget_expired(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.queue.first().filter(|(at, _)| *at <= now) {
            self.queue.remove(&(at, id));
            match self.connections.get_mut(&id) {
                Some(connection) if connection.expires > now => {
                    connection.queued = connection.expires;
                    self.queue.insert((connection.queued, id));
                }
                Some(_) | None => self.remove(id),
            }
        }
    }

    /// Forgets the connections of which this is not so.
    pub(super) fn retain(&mut self, keep: impl Fn(&Connection) -> bool) {
        let gone = self.connections.iter().filter(|(_, connection)| !keep(connection));
        let gone: Vec<_> = gone.map(|(id, connection)| (*id, connection.queued)).collect();
        for (id, queued) in gone {
            self.queue.remove(&(queued, id));
            self.remove(id);
        }
    }

    fn remove(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        for tuple in [connection.original, connection.reply] {
            if self.tuples.get(&tuple).is_some_and(|(owner, _)| *owner == id) {
                self.tuples.remove(&tuple);
            }
        }
    }
}

impl Connection {
    fn timeout(&self, now: Instant, flags: TcpFlags) -> Duration {
        match self.original.protocol {
            protocol::UDP if self.replied && now.since(self.began) > timeout::UDP_STREAM_AGE => timeout::UDP_STREAM,
            protocol::UDP => timeout::UDP,
            protocol::ICMP | protocol::ICMPV6 => timeout::ICMP,
            protocol::TCP if flags.reset => timeout::TCP_RESET,
            protocol::TCP if self.closing => timeout::TCP_CLOSING,
            protocol::TCP if flags.syn && flags.ack => timeout::TCP_SYN_RECEIVED,
            protocol::TCP if flags.syn => timeout::TCP_SYN_SENT,
            protocol::TCP => timeout::TCP_ESTABLISHED,
            _ => timeout::GENERIC,
        }
    }
}
