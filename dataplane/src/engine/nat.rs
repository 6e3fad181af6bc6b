//! Address translation, where Linux has it: destinations as packets come in (PREROUTING) or are sent by the node itself (OUTPUT),
//! sources as they leave (POSTROUTING) or reach the node itself (INPUT). Both are decided on the first packet of a connection:
//! sources here, destinations in `service`.
//!
//! Source: Calico felix/rules/nat.go; Linux net/netfilter/nf_nat_core.c.

use std::net::{IpAddr, SocketAddr};

use super::conntrack::{Direction, First, Track, Tuple};
use super::{DropReason, Engine, NatRule, Outcome, Step};
use crate::Family;
use crate::route::{Device, DeviceId, DeviceKind, NatRules, NodeTables};
use crate::wire::ipv4::protocol;
use crate::wire::translate::{End, set_end, set_quoted_end};
use crate::wire::{FlowKey, IpView};
use crate::{Instant, Packet};

/// What a rule wants of a first packet.
struct Wish {
    rule: NatRule,
    address: IpAddr,
    /// The ports that it allows, for protocols that have some.
    ports: Option<(u16, u16)>,
    /// Whether it takes another port although the connection's own is free.
    draws: bool,
}

impl Engine {
    /// Finds the connection of a packet that comes in, or that the node sends, and gives it the destination that this has: an
    /// answer the true one.
    pub(super) fn track(&mut self, now: Instant, packet: &mut Packet, outcome: &mut Outcome) {
        self.tracked = match IpView::unverified(packet.bytes()) {
            Ok(view) if self.tables.forwarding && !self.is_untracked(&view) => self.conntrack.find(now, &view),
            Ok(_) | Err(_) => Track::Untracked,
        };
        self.mark = false;
        self.translate(End::Destination, packet, outcome);
    }

    /// Whether Calico exempts a packet from tracking: UDP to the VXLAN port.
    ///
    /// Source: Calico felix/rules/static.go, StaticRawPreroutingChain and StaticRawOutputChain.
    fn is_untracked(&self, packet: &IpView<'_>) -> bool {
        *self.tables.vxlan_untracked.get(packet.family()) && self.is_vxlan(packet)
    }

    /// Notes a connection whose first packet has reached the node itself.
    pub(super) fn accept(&mut self, now: Instant) {
        if let Track::New(first) = self.tracked {
            self.conntrack.begin(now, first, first.tuple.inverted(), None);
        }
    }

    /// Gives an answer that has reached the node itself the source that its connection was opened to.
    pub(super) fn input(&mut self, packet: &mut Packet, outcome: &mut Outcome) {
        if self.tracked.is_answer() {
            self.translate(End::Source, packet, outcome);
        }
    }

    /// Notes a connection whose first packet leaves by a device, translated as the rules want it, and gives a packet of a
    /// translated one its new source. False if the packet is lost.
    pub(super) fn postrouting(
        &mut self,
        now: Instant,
        device: DeviceId,
        next_hop: Option<IpAddr>,
        packet: &mut Packet,
        outcome: &mut Outcome,
    ) -> bool {
        if let Track::New(first) = self.tracked {
            let wish = self.wish(first, device, next_hop);
            let reply = match &wish {
                Some(wish) => self.free_reply(now, first.tuple, wish),
                None => Some(first.tuple.inverted()),
            };
            let Some(reply) = reply else {
                Engine::drop_packet(outcome, DropReason::NoNatMapping, Some(device));
                return false;
            };
            let rule = wish.map(|wish| wish.rule);
            self.tracked = self.conntrack.begin(now, first, reply, rule);
            // Calico's chain comes first: what it masquerades never reaches kube-proxy's, which would take the mark off.
            self.mark = first.marked && rule != Some(NatRule::ServiceMasquerade);
        }
        self.translate(End::Source, packet, outcome);
        true
    }

    /// The first rule that matches a first packet.
    ///
    /// Source: Calico felix/rules/static.go, StaticNATPostroutingChains, for the order, and `chainInsertMode`, which puts it before
    /// that of kube-proxy (pkg/proxy/iptables/proxier.go, KUBE-POSTROUTING).
    fn wish(&self, first: First, device: DeviceId, next_hop: Option<IpAddr>) -> Option<Wish> {
        let tuple = first.tuple;
        let rules = self.tables.nat.get(Family::of(tuple.source));
        let output = self.tables.device(device)?;
        let toward = next_hop.unwrap_or(tuple.destination);
        self.outgoing(rules, tuple, output, toward)
            .or_else(|| self.tunnel_source(rules, tuple, output, toward))
            .or_else(|| self.service_masquerade(first, output, toward))
    }

    /// `MASQUERADE --random-fully` of what is marked.
    fn service_masquerade(&self, first: First, output: &Device, toward: IpAddr) -> Option<Wish> {
        first.marked.then_some(Wish {
            rule: NatRule::ServiceMasquerade,
            address: self.address_of(output, toward)?,
            ports: None,
            draws: true,
        })
    }

    /// Source: Calico felix/rules/nat.go, makeNATOutgoingRuleIPTables.
    fn outgoing(&self, rules: &NatRules, tuple: Tuple, output: &Device, toward: IpAddr) -> Option<Wish> {
        let pool = *rules.masquerade.iter().find(|pool| pool.contains(&tuple.source))?;
        let stays = rules.pools.iter().any(|pool| pool.contains(&tuple.destination));
        let exempt = rules.exempt.as_ref().is_some_and(|hosts| hosts.contains(&tuple.destination));
        let elsewhere = rules.interface.as_ref().is_some_and(|name| !matches_name(name, &output.name));
        if stays || exempt || elsewhere {
            return None;
        }
        Some(Wish {
            rule: NatRule::Outgoing { pool },
            address: rules.address.or_else(|| self.address_of(output, toward))?,
            ports: rules.ports,
            draws: false,
        })
    }

    /// Source: Calico felix/rules/static.go, StaticNATPostroutingChains.
    fn tunnel_source(&self, rules: &NatRules, tuple: Tuple, output: &Device, toward: IpAddr) -> Option<Wish> {
        let is_tunnel = matches!(output.kind, DeviceKind::Ipip | DeviceKind::Vxlan);
        let is_local = self.tables.device_with(tuple.source).is_some();
        let is_its_own = output.addresses.iter().any(|net| net.addr() == tuple.source);
        if !is_tunnel || !is_local || is_its_own {
            return None;
        }
        Some(Wish {
            rule: NatRule::TunnelSource,
            address: self.address_of(output, toward)?,
            ports: rules.tunnel_ports.filter(|_| tuple.protocol == protocol::UDP),
            draws: false,
        })
    }

    /// The address that masquerading takes for an output device and next hop: the device's own that is on one subnet with the next
    /// hop, else its first, else the node's first.
    ///
    /// Source: Linux net/netfilter/nf_nat_masquerade.c, nf_nat_masquerade_ipv4; net/ipv4/devinet.c, inet_select_addr.
    fn address_of(&self, output: &Device, toward: IpAddr) -> Option<IpAddr> {
        let near = output.addresses.iter().find(|net| net.contains(&toward));
        let any = std::iter::once(output).chain(&self.tables.devices);
        let first = any
            .flat_map(|device| &device.addresses)
            .find(|net| net.addr().is_ipv4() == toward.is_ipv4());
        near.or(first).map(|net| net.addr())
    }

    /// Forgets connections that are masqueraded as an address that its device does not have by these tables.
    ///
    /// Source: Linux net/netfilter/nf_nat_masquerade.c, inet_cmp.
    pub(super) fn forget_masqueraded(&mut self, after: &NodeTables) {
        let before = &self.tables;
        self.conntrack.retain(|connection| {
            let own = connection.reply.destination;
            let is_masqueraded = match connection.rule {
                Some(NatRule::TunnelSource | NatRule::ServiceMasquerade) => true,
                Some(NatRule::Outgoing { .. }) => before.nat.get(Family::of(own)).address.is_none(),
                Some(NatRule::Service) | None => false,
            };
            !is_masqueraded || holder(before, own).is_none_or(|device| holder(after, own) == Some(device))
        });
    }

    /// The tuple of the answers to a connection that is to be translated: with its own port if that is allowed and free, else with
    /// the next one that is. Where a port is drawn, a hash of the connection stands for chance. None if there is none.
    ///
    /// Source: Linux net/netfilter/nf_nat_core.c, get_unique_tuple, but for the port where the search begins, which Linux draws.
    fn free_reply(&self, now: Instant, tuple: Tuple, wish: &Wish) -> Option<Tuple> {
        let own = tuple.ports.0;
        let (first, last) = match tuple.protocol {
            protocol::TCP | protocol::UDP => wish.ports.unwrap_or(like(own)),
            protocol::ICMP | protocol::ICMPV6 => (0, u16::MAX),
            _ => (own, own),
        };
        let keeps = !wish.draws && (wish.ports.is_none() || (first..=last).contains(&own));
        let size = u32::from(last.saturating_sub(first)) + 1;
        let start = match wish.draws {
            true => draw(tuple, size),
            false => u32::from(own.wrapping_sub(first)),
        };
        let others = (0..size).filter_map(|step| u16::try_from(u32::from(first) + (start + step) % size).ok());
        let ports = std::iter::once(own).filter(|_| keeps).chain(others);
        ports
            .map(|port| Tuple {
                destination: wish.address,
                ports: (tuple.ports.1, port),
                ..tuple.inverted()
            })
            .find(|reply| self.conntrack.is_free(now, *reply))
    }

    /// Gives one end of a packet of a translated connection what it has beyond the node: of its packets the ends that the answers
    /// come from and to, of the answers those that the first packet had. In an ICMP error the quoted packet, which went the other
    /// way, is changed alike.
    ///
    /// Source: Linux net/netfilter/nf_nat_core.c, nf_nat_packet; nf_nat_proto.c, nf_nat_icmp_reply_translation.
    fn translate(&self, end: End, packet: &mut Packet, outcome: &mut Outcome) {
        let (id, direction, is_error) = match self.tracked {
            Track::Known {
                connection,
                direction,
                translated: true,
                ..
            } => (connection, direction, false),
            Track::Related { connection, direction } => (connection, direction, true),
            Track::Known { .. } | Track::Untracked | Track::New(..) => return,
        };
        let Some(connection) = self.conntrack.connection(id).filter(|c| c.translated) else {
            return;
        };
        let (before, after) = match direction {
            Direction::Original => (connection.original, connection.reply.inverted()),
            Direction::Reply => (connection.reply, connection.original.inverted()),
        };
        let of = |tuple: Tuple| match end {
            End::Source => (tuple.source, tuple.ports.0),
            End::Destination => (tuple.destination, tuple.ports.1),
        };
        let (from, to) = (of(before), of(after));
        let called = (direction == Direction::Original) == (end == End::Destination);
        let rule = if called { Some(NatRule::Service) } else { connection.rule };
        let Some(rule) = rule.filter(|_| from != to) else { return };
        if is_error {
            set_quoted_end(packet.bytes_mut(), end.other(), to.0, port_of(before, to.1));
            set_end(packet.bytes_mut(), end, to.0, None);
        } else {
            set_end(packet.bytes_mut(), end, to.0, port_of(before, to.1));
        }
        outcome.steps.push(Step::Translated {
            end,
            from: SocketAddr::from(from),
            to: SocketAddr::from(to),
            rule,
        });
    }
}

/// A port, if packets of the tuple's protocol have some.
pub(super) fn port_of(tuple: Tuple, port: u16) -> Option<u16> {
    let has_ports = matches!(
        tuple.protocol,
        protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6
    );
    has_ports.then_some(port)
}

/// A number below a bound that follows from a connection.
pub(super) fn draw(tuple: Tuple, bound: u32) -> u32 {
    let key = FlowKey {
        source: tuple.source,
        destination: tuple.destination,
        protocol: tuple.protocol,
        ports: Some(tuple.ports),
    };
    let product = u64::from(key.hash(0)) * u64::from(bound);
    (product >> 32) as u32
}

/// The name of the device that has an address.
fn holder(tables: &NodeTables, address: IpAddr) -> Option<&str> {
    let device = tables.device(tables.device_with(address)?)?;
    Some(&device.name)
}

/// Whether a device has this name, or one that begins like it where it ends in `+`.
///
/// Source: iptables(8), `--out-interface`.
fn matches_name(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('+') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// The ports that may stand for one whose range is not limited: as privileged as itself.
///
/// Source: Linux net/netfilter/nf_nat_core.c, nf_nat_l4proto_unique_tuple.
const fn like(port: u16) -> (u16, u16) {
    match port {
        0..512 => (1, 511),
        512..1024 => (600, 1023),
        1024.. => (1024, u16::MAX),
    }
}
