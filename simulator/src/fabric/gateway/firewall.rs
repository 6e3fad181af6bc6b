//! A firewall between networks: what its rules admit, and what belongs to a connection that it has seen begin.
//!
//! Source: Linux net/netfilter/nf_conntrack_core.c and nf_conntrack_proto_*.c, for what begins a connection.

use ipnet::IpNet;
use overlab_dataplane::Instant;
use overlab_dataplane::wire::ipv4::protocol;
use overlab_dataplane::wire::{FlowKey, IcmpMessage, IpView};

use super::super::connections::{Connection, ConnectionTable, IdleTimes};
use super::super::port::{Refused, describe, quoted};
use super::super::security::Traffic;
use crate::fabric::DropReason;

/// A rule: what may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallRule {
    /// From where; none for everywhere.
    pub from: Option<IpNet>,
    /// To where; none for everywhere.
    pub to: Option<IpNet>,
    /// What.
    pub traffic: Traffic,
}

/// What a firewall lets pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firewall {
    /// What may pass; none for everything.
    pub rules: Option<Vec<FirewallRule>>,
    /// Whether answers need no rule, and what is no beginning of a connection needs one.
    pub stateful: bool,
    /// How long a silent connection is remembered.
    pub idle: IdleTimes,
}

/// A firewall with what it remembers.
#[derive(Debug)]
pub(super) struct FirewallState {
    firewall: Firewall,
    connections: ConnectionTable,
}

impl Firewall {
    /// Whether its rules let a packet pass, were it the first that the firewall sees.
    pub fn admits(&self, flow: &FlowKey) -> bool {
        let Some(rules) = &self.rules else { return true };
        rules.iter().any(|rule| rule.admits(flow))
    }
}

impl FirewallRule {
    fn admits(&self, flow: &FlowKey) -> bool {
        let within = |range: &Option<IpNet>, address| range.is_none_or(|range| range.contains(address));
        within(&self.from, &flow.source) && within(&self.to, &flow.destination) && self.traffic.holds(flow)
    }
}

impl FirewallState {
    pub(super) fn new(firewall: Firewall) -> FirewallState {
        FirewallState {
            firewall,
            connections: ConnectionTable::default(),
        }
    }

    pub(super) fn succeed(&mut self, earlier: FirewallState) {
        self.connections = earlier.connections;
    }

    /// Why a packet does not pass, if it does not.
    pub(super) fn refused(&mut self, now: Instant, header: &IpView<'_>) -> Option<Refused> {
        let (flow, idle) = (FlowKey::of(header), self.firewall.idle);
        let (connection, stateful) = (Connection::of(header), self.firewall.stateful);
        if stateful {
            // An ICMP error belongs to the connection that it is about.
            let about = quoted(header).map_or(connection, |quote| Connection::of(&quote));
            if self.connections.holds(now, about, &idle) {
                return None;
            }
        }
        if !self.firewall.admits(&flow) {
            let text = format!("firewall: no rule lets {} pass", describe(&flow));
            return Some((DropReason::FirewallDeny, text));
        }
        if !stateful {
            return None;
        }
        if !begins(header) {
            let text = format!(
                "firewall: {} belongs to no connection that it has seen begin",
                describe(&flow)
            );
            return Some((DropReason::OutOfState, text));
        }
        self.connections.remember(now, connection, &idle, None);
        None
    }
}

/// Whether a packet may begin a connection: TCP does with SYN, ICMP with an echo request, everything else with any packet.
fn begins(header: &IpView<'_>) -> bool {
    const FLAGS: usize = 13;
    const SYN_ACK: u8 = 0x12;
    const SYN: u8 = 0x02;
    match header.protocol() {
        _ if header.fragment_offset() > 0 => true,
        protocol::TCP => header.payload().get(FLAGS).is_some_and(|flags| flags & SYN_ACK == SYN),
        _ if header.is_icmp() => matches!(
            IcmpMessage::unverified(header.family(), header.payload()),
            Ok(IcmpMessage::Echo { reply: false, .. })
        ),
        _ => true,
    }
}
