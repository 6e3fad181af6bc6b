//! What stateful filters remember: the connections that a port or a firewall has let through, and for how long. What begins one is
//! for those to say.

use std::collections::BTreeMap;
use std::time::Duration;

use overlab_dataplane::Instant;
use overlab_dataplane::wire::ipv4::protocol;
use overlab_dataplane::wire::{FlowKey, IcmpMessage, IpView};

/// For how long a silent connection still counts as one.
///
/// Source: AWS EC2 user guide, "Security group connection tracking".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleTimes {
    /// TCP.
    pub tcp: Duration,
    /// UDP and ICMP.
    pub datagrams: Duration,
    /// Every other protocol, which is known by its addresses alone.
    pub others: Duration,
}

/// What a connection is known by: its five-tuple, or addresses and protocol where there are no ports. An exchange of echoes has an
/// identifier as well, and a direction: that of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Connection {
    flow: FlowKey,
    echo: Option<u16>,
}

impl Connection {
    /// The connection that a packet belongs to.
    pub(super) fn of(header: &IpView<'_>) -> Connection {
        let flow = FlowKey::of(header);
        if !header.is_icmp() || header.fragment_offset() > 0 {
            return Connection { flow, echo: None };
        }
        match IcmpMessage::unverified(header.family(), header.payload()) {
            Ok(IcmpMessage::Echo { reply, identifier, .. }) => Connection {
                flow: if reply { flow.reversed() } else { flow },
                echo: Some(identifier),
            },
            Ok(IcmpMessage::Error { .. } | IcmpMessage::Other { .. }) | Err(_) => Connection { flow, echo: None },
        }
    }

    /// What its packets may be remembered by.
    fn names(self) -> impl Iterator<Item = Connection> {
        let back = self.echo.is_none().then(|| Connection {
            flow: self.flow.reversed(),
            ..self
        });
        std::iter::once(self).chain(back)
    }
}

/// The connections that a port has let through, in either direction.
#[derive(Debug, Default)]
pub(super) struct ConnectionTable {
    seen: BTreeMap<Connection, Instant>,
}

/// Connections that are remembered at the same time.
const CONNECTIONS_MAX: usize = 65_536;

impl ConnectionTable {
    /// Whether a packet belongs to a connection that was let through and is not forgotten; its life begins anew then.
    pub(super) fn holds(&mut self, now: Instant, connection: Connection, idle: &IdleTimes) -> bool {
        for name in connection.names() {
            if let Some(last) = self.seen.get_mut(&name)
                && now.since(*last) <= idle.of(name.flow.protocol)
            {
                *last = now;
                return true;
            }
        }
        false
    }

    /// Remembers the connection of a packet that a rule has let through, unless there are `limit` already.
    pub(super) fn remember(&mut self, now: Instant, connection: Connection, idle: &IdleTimes, limit: Option<u32>) -> bool {
        let limit = limit.map_or(CONNECTIONS_MAX, |limit| limit as usize);
        if self.seen.len() >= limit.min(CONNECTIONS_MAX) {
            self.seen.retain(|seen, last| now.since(*last) <= idle.of(seen.flow.protocol));
        }
        let room = self.seen.len() < limit || limit >= CONNECTIONS_MAX;
        if room {
            self.seen.insert(connection, now);
        }
        room
    }
}

impl IdleTimes {
    fn of(&self, number: u8) -> Duration {
        match number {
            protocol::TCP => self.tcp,
            protocol::UDP | protocol::ICMP | protocol::ICMPV6 => self.datagrams,
            _ => self.others,
        }
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{IcmpEchoHeader, Icmpv4Type, PacketBuilder};

    use super::*;

    const IDLE: IdleTimes = IdleTimes {
        tcp: Duration::from_secs(350),
        datagrams: Duration::from_secs(180),
        others: Duration::from_secs(600),
    };

    fn flow(source: &str, destination: &str, protocol: u8, ports: Option<(u16, u16)>) -> FlowKey {
        FlowKey {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol,
            ports,
        }
    }

    fn by(flow: FlowKey) -> Connection {
        Connection { flow, echo: None }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn another_protocol_is_known_by_its_addresses_for_ten_minutes() {
        let (there, back) = (flow("10.0.0.1", "10.0.0.2", 4, None), flow("10.0.0.2", "10.0.0.1", 4, None));
        let mut port = ConnectionTable::default();
        assert!(!port.holds(at(0), by(back), &IDLE));
        port.remember(at(0), by(there), &IDLE, None);
        assert!(port.holds(at(600), by(back), &IDLE));
        assert!(port.holds(at(1200), by(back), &IDLE), "each packet begins its life anew");
        assert!(!port.holds(at(1801), by(back), &IDLE));
    }

    /// Source: Linux net/netfilter/nf_conntrack_proto_icmp.c: a request is never an answer, and a reply answers its own identifier.
    #[test]
    fn a_reply_answers_its_own_request_and_a_request_answers_nothing() {
        let echo = |from: u8, to: u8, reply: bool, identifier: u16| {
            let builder = PacketBuilder::ipv4([10, 0, 0, from], [10, 0, 0, to], 64);
            let header = IcmpEchoHeader { id: identifier, seq: 0 };
            let kind = if reply {
                Icmpv4Type::EchoReply(header)
            } else {
                Icmpv4Type::EchoRequest(header)
            };
            let mut bytes = Vec::new();
            builder.icmpv4(kind).write(&mut bytes, b"payload").unwrap();
            Connection::of(&IpView::unverified(&bytes).unwrap())
        };
        let mut port = ConnectionTable::default();
        port.remember(at(0), echo(1, 2, false, 7), &IDLE, None);
        assert!(port.holds(at(1), echo(2, 1, true, 7), &IDLE));
        assert!(port.holds(at(1), echo(1, 2, false, 7), &IDLE));
        assert!(!port.holds(at(1), echo(2, 1, false, 7), &IDLE), "a request of the other side");
        assert!(!port.holds(at(1), echo(2, 1, true, 8), &IDLE), "a reply to another request");
        assert!(
            !port.holds(at(1), echo(1, 2, true, 7), &IDLE),
            "a reply to what was never asked"
        );
    }

    #[test]
    fn the_way_back_of_vxlan_is_a_connection_of_its_own() {
        let there = flow("10.0.0.1", "10.0.0.2", protocol::UDP, Some((40000, 4789)));
        let back = flow("10.0.0.2", "10.0.0.1", protocol::UDP, Some((40000, 4789)));
        let mut port = ConnectionTable::default();
        port.remember(at(0), by(there), &IDLE, None);
        assert!(port.holds(at(1), by(there.reversed()), &IDLE));
        assert!(!port.holds(at(1), by(back), &IDLE));
    }

    #[test]
    fn a_port_that_tracks_its_connections_takes_no_other_until_one_is_forgotten() {
        let nth = |n: u16| flow("10.0.0.1", "10.0.0.2", protocol::UDP, Some((n, 4789)));
        let mut port = ConnectionTable::default();
        assert!(port.remember(at(0), by(nth(1)), &IDLE, Some(1)));
        assert!(!port.remember(at(180), by(nth(2)), &IDLE, Some(1)));
        assert!(port.remember(at(181), by(nth(2)), &IDLE, Some(1)));
    }
}
