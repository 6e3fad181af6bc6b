//! What cloud firewalls admit: security groups at a card's port, which are stateful and only allow, and access lists at a
//! subnet's edge, which are stateless and ordered. Both judge the outermost header, as fabrics do; which card or subnet a packet
//! passes is not asked here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use overlab_dataplane::Instant;
use overlab_dataplane::wire::ipv4::protocol;
use overlab_dataplane::wire::{FlowKey, IcmpMessage, IpView};

/// Whom a rule speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Everybody.
    Anyone,
    /// Addresses of a range.
    Range(IpNet),
    /// The cards that are in a group.
    Group(Arc<str>),
}

/// What a rule speaks of: packets of some protocols, and of TCP and UDP those to some ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Protocol numbers; empty for every protocol.
    pub protocols: Vec<u8>,
    /// Destination ports, first and last; none for every port.
    pub ports: Option<RangeInclusive<u16>>,
}

impl Traffic {
    /// Every packet.
    pub const ALL: Traffic = Traffic {
        protocols: Vec::new(),
        ports: None,
    };

    /// A fragment shows no ports, and is held to be of those that are asked for.
    pub(super) fn holds(&self, flow: &FlowKey) -> bool {
        let protocol = self.protocols.is_empty() || self.protocols.contains(&flow.protocol);
        let port = flow
            .ports
            .is_none_or(|(_, port)| self.ports.as_ref().is_none_or(|ports| ports.contains(&port)));
        protocol && port
    }
}

/// A rule of a security group: it lets packets pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRule {
    /// From whom, or to whom.
    pub peers: Peers,
    /// What.
    pub traffic: Traffic,
}

/// A security group: what its members' cards may receive and send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroup {
    /// What comes in.
    pub ingress: Vec<GroupRule>,
    /// What goes out.
    pub egress: Vec<GroupRule>,
}

/// A rule of an access list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclRule {
    /// Whether it lets packets pass, or drops them.
    pub allow: bool,
    /// Sources on the way in, destinations on the way out.
    pub range: IpNet,
    /// What.
    pub traffic: Traffic,
}

/// The access list of a subnet. What no rule names is dropped.
///
/// Source: AWS VPC user guide, "Network ACLs".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// For packets that enter the subnet.
    pub ingress: Vec<AclRule>,
    /// For packets that leave it.
    pub egress: Vec<AclRule>,
}

impl Acl {
    /// Whether a packet may enter the subnet.
    pub fn lets_in(&self, flow: &FlowKey) -> bool {
        first_match(&self.ingress, flow, flow.source)
    }

    /// Whether a packet may leave the subnet.
    pub fn lets_out(&self, flow: &FlowKey) -> bool {
        first_match(&self.egress, flow, flow.destination)
    }
}

fn first_match(rules: &[AclRule], flow: &FlowKey, peer: IpAddr) -> bool {
    let rule = rules
        .iter()
        .find(|rule| rule.range.contains(&peer) && rule.traffic.holds(flow));
    rule.is_some_and(|rule| rule.allow)
}

impl Peers {
    fn is_everybody(&self) -> bool {
        match self {
            Peers::Anyone => true,
            Peers::Range(range) => range.prefix_len() == 0,
            Peers::Group(_) => false,
        }
    }
}

/// Whether rules admit a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// No rule does.
    None,
    /// A rule does.
    ByRule,
    /// TCP or UDP of which rules of both directions speak to everybody, those of the other direction whatever the port.
    Open,
}

/// Whether some rule of its direction admits a packet, with those of the other direction beside them. `is_member` tells whether the
/// other side is in a group, `peer` is its address.
///
/// Source: AWS EC2 user guide, "Security group connection tracking", untracked connections.
pub(super) fn admission(
    (rules, opposite): (&[GroupRule], &[GroupRule]),
    flow: &FlowKey,
    peer: IpAddr,
    is_member: impl Fn(&str) -> bool,
) -> Admission {
    let admits = |rule: &&GroupRule| {
        let named = match &rule.peers {
            Peers::Anyone => true,
            Peers::Range(range) => range.contains(&peer),
            Peers::Group(group) => is_member(group),
        };
        named && rule.traffic.holds(flow)
    };
    let mut admitting = rules.iter().filter(admits).peekable();
    if admitting.peek().is_none() {
        return Admission::None;
    }
    let open = |rule: &GroupRule| rule.peers.is_everybody();
    let has_ports = matches!(flow.protocol, protocol::TCP | protocol::UDP);
    let answers = |rule: &GroupRule| open(rule) && rule.traffic.ports.is_none() && rule.traffic.holds(flow);
    match has_ports && admitting.any(open) && opposite.iter().any(answers) {
        true => Admission::Open,
        false => Admission::ByRule,
    }
}

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
    fn a_rule_admits_its_peers_protocols_and_ports_only() {
        let rule = |peers, protocols: &[u8], ports: Option<RangeInclusive<u16>>| GroupRule {
            peers,
            traffic: Traffic {
                protocols: protocols.to_vec(),
                ports,
            },
        };
        let udp = flow("10.0.0.1", "10.0.0.2", protocol::UDP, Some((40000, 4789)));
        let admitted = |rule| admission((&[rule], &[]), &udp, udp.source, |group| group == "nodes") == Admission::ByRule;
        assert!(admitted(rule(Peers::Anyone, &[], None)));
        assert!(admitted(rule(
            Peers::Range("10.0.0.0/24".parse().unwrap()),
            &[17],
            Some(4789..=4789)
        )));
        assert!(admitted(rule(Peers::Group("nodes".into()), &[4, 17], None)));
        assert!(!admitted(rule(Peers::Group("others".into()), &[17], None)));
        assert!(!admitted(rule(Peers::Anyone, &[4], None)), "94, 4 and 17 are three protocols");
        assert!(!admitted(rule(Peers::Anyone, &[17], Some(8472..=8472))));
        assert!(!admitted(rule(Peers::Range("10.0.1.0/24".parse().unwrap()), &[], None)));
    }

    #[test]
    fn what_both_directions_open_to_everybody_is_open() {
        let rule = |peers, ports| GroupRule {
            peers,
            traffic: Traffic {
                protocols: Vec::new(),
                ports,
            },
        };
        let udp = flow("10.0.0.1", "10.0.0.2", protocol::UDP, Some((40000, 4789)));
        let icmp = flow("10.0.0.1", "10.0.0.2", protocol::ICMP, None);
        let everybody = || rule(Peers::Range("0.0.0.0/0".parse().unwrap()), None);
        let judged = |ingress, egress, flow: &FlowKey| admission((&[ingress], &[egress]), flow, flow.source, |_| true);
        assert_eq!(
            judged(rule(Peers::Anyone, Some(4789..=4789)), everybody(), &udp),
            Admission::Open
        );
        assert_eq!(
            judged(everybody(), rule(Peers::Anyone, Some(4789..=4789)), &udp),
            Admission::ByRule
        );
        assert_eq!(
            judged(rule(Peers::Group("nodes".into()), None), everybody(), &udp),
            Admission::ByRule
        );
        assert_eq!(
            judged(everybody(), everybody(), &icmp),
            Admission::ByRule,
            "ICMP is always tracked"
        );
    }

    #[test]
    fn a_port_that_tracks_its_connections_takes_no_other_until_one_is_forgotten() {
        let nth = |n: u16| flow("10.0.0.1", "10.0.0.2", protocol::UDP, Some((n, 4789)));
        let mut port = ConnectionTable::default();
        assert!(port.remember(at(0), by(nth(1)), &IDLE, Some(1)));
        assert!(!port.remember(at(180), by(nth(2)), &IDLE, Some(1)));
        assert!(port.remember(at(181), by(nth(2)), &IDLE, Some(1)));
    }

    #[test]
    fn the_first_rule_of_an_access_list_decides_and_none_means_no() {
        let rule = |allow, range: &str, protocols: &[u8]| AclRule {
            allow,
            range: range.parse().unwrap(),
            traffic: Traffic {
                protocols: protocols.to_vec(),
                ports: None,
            },
        };
        let acl = Acl {
            ingress: vec![rule(false, "10.0.1.0/24", &[]), rule(true, "10.0.0.0/8", &[6, 17])],
            egress: vec![rule(true, "0.0.0.0/0", &[])],
        };
        let from = |source: &str, protocol| flow(source, "10.0.0.2", protocol, None);
        assert!(acl.lets_in(&from("10.0.2.1", 17)));
        assert!(!acl.lets_in(&from("10.0.1.1", 17)));
        assert!(!acl.lets_in(&from("10.0.2.1", 4)));
        assert!(acl.lets_out(&from("10.0.2.1", 4)));
    }
}
