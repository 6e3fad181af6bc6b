//! What a node has learned of paths: to which destinations less passes than the route and its device say, and for how long that
//! holds.
//!
//! A tunnel learns of its outer path from ICMP errors about tunnel packets. VXLAN over IPv6 passes on what it knows to the route of
//! the inner destination, where the next packet that is forwarded meets it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::{Engine, Outcome, Step};
use crate::encap::{Encap, Wire};
use crate::route::NodeTables;
use crate::wire::ipv4::{PATH_MTU_MIN, protocol};
use crate::wire::{IcmpError, IcmpMessage, IpView, UdpView, ipv6, vxlan};
use crate::{Family, Instant, Mtu};

/// How long it holds: `net.ipv4.route.mtu_expires` and `net.ipv6.route.mtu_expires`.
const EXPIRY: Duration = Duration::from_secs(600);

/// Destinations that are remembered at the same time.
const DESTINATIONS_MAX: usize = 1024;

/// The path MTUs that a node has learned, by destination.
///
/// Source: Linux net/ipv4/route.c, __ip_rt_update_pmtu and update_or_create_fnhe; net/ipv6/route.c, __ip6_rt_update_pmtu.
#[derive(Debug, Default)]
pub(super) struct Paths {
    learned: BTreeMap<IpAddr, (Mtu, Instant)>,
}

impl Paths {
    /// This MTU, or the one that was learned for a destination if that is less.
    pub(super) fn limit(&self, now: Instant, destination: IpAddr, mtu: Mtu) -> Mtu {
        match self.learned.get(&destination) {
            Some((learned, until)) if now < *until => mtu.min(*learned),
            Some(_) | None => mtu,
        }
    }

    /// Takes note that no more than `reported` bytes pass to a destination, of which its route says `known`. More than what is believed
    /// already is not believed, nor, over IPv6, less than every link carries; over IPv4 what is too little counts as the least.
    /// Gives what holds from now on.
    pub(super) fn learn(&mut self, now: Instant, destination: IpAddr, reported: u16, known: Mtu) -> Option<Mtu> {
        let held = self.limit(now, destination, known);
        let reported = Mtu::new(reported).unwrap_or(Mtu::MIN);
        let mtu = match Family::of(destination) {
            Family::V4 => reported.max(PATH_MTU_MIN.min(held)),
            Family::V6 => Some(reported).filter(|mtu| *mtu >= ipv6::MTU_MIN)?,
        };
        if mtu > held {
            return None;
        }
        if self.learned.len() >= DESTINATIONS_MAX && !self.learned.contains_key(&destination) {
            self.make_room(now);
        }
        self.learned.insert(destination, (mtu, now.saturating_add(EXPIRY)));
        Some(mtu)
    }

    /// Forgets what was learned of destinations that other tables lead elsewhere.
    pub(super) fn follow(&mut self, before: &NodeTables, after: &NodeTables) {
        // As `ip route` prints it: numbers of devices, and what led to a route, are not the kernel's.
        let route = |tables: &NodeTables, to: IpAddr| tables.lookup(to).map(|(_, route)| tables.text(route).to_string());
        self.learned.retain(|to, _| route(before, *to) == route(after, *to));
    }

    /// Forgets what has expired or, if nothing has, what would expire first.
    fn make_room(&mut self, now: Instant) {
        self.learned.retain(|_, (_, until)| now < *until);
        if self.learned.len() >= DESTINATIONS_MAX
            && let Some((&first, _)) = self.learned.iter().min_by_key(|(_, (_, until))| *until)
        {
            self.learned.remove(&first);
        }
    }
}

impl Engine {
    /// An ICMP error for this node, perhaps about one of its tunnel packets: it learns how much passes to the tunnel's far end. By
    /// the RFC it also tells the inner sender of an IP in IP packet. The node's own stack gets the error too.
    ///
    /// Source: Linux net/ipv4/ipip.c, ipip_err; net/ipv4/udp.c, __udp4_lib_err_encap; net/ipv6/udp.c, __udp6_lib_err_encap.
    pub(super) fn hear_of_tunnel(&mut self, now: Instant, packet: &IpView<'_>, outcome: &mut Outcome) {
        let Ok(IcmpMessage::Error { error, quote }) = IcmpMessage::parse(packet) else {
            return;
        };
        if !self.is_own_tunnel_packet(&quote) {
            return;
        }
        if let IcmpError::TooBig { mtu } = error {
            self.learn(now, quote.destination(), mtu, outcome);
        }
        if self.wire == Wire::Rfc
            && quote.protocol() == protocol::IPIP
            && let Some(relayed) = relayed(error)
        {
            self.reply(now, relayed, quote.payload(), outcome);
        }
    }

    /// Takes note of how much passes to a destination, if a route leads there.
    pub(super) fn learn(&mut self, now: Instant, destination: IpAddr, reported: u16, outcome: &mut Outcome) {
        if let Some(via) = self.ask(destination).route
            && let Some(mtu) = self.paths.learn(now, destination, reported, via.mtu)
        {
            outcome.steps.push(Step::PathMtuLearned {
                destination,
                mtu: mtu.bytes(),
            });
        }
    }

    /// Whether what an ICMP error quotes is a packet of one of this node's tunnels. IP in IP is known by its addresses; VXLAN only
    /// where its own header is quoted too, and names the network.
    ///
    /// Source: Linux drivers/net/vxlan/vxlan_core.c, vxlan_err_lookup.
    fn is_own_tunnel_packet(&self, quote: &IpView<'_>) -> bool {
        if self.tables.device_with(quote.source()).is_none() || quote.fragment_offset() > 0 {
            return false;
        }
        match quote.protocol() {
            protocol::IPIP => self.tables.ipip.is_some() && quote.family() == Family::V4,
            protocol::UDP => self.tables.vxlan.get(quote.family()).as_ref().is_some_and(|tunnel| {
                UdpView::unverified(quote.payload()).is_ok_and(|udp| {
                    udp.destination_port() == self.tables.vxlan_port && vxlan::network(udp.payload()) == Ok(tunnel.vni)
                })
            }),
            _ => false,
        }
    }
}

/// What the inner sender is told of an error about the tunnel packet around its own; nothing of what is the tunnel's business
/// alone. It is told of the tunnel as of one link to a host.
///
/// Source: RFC 2003 sections 4 and 5.1.
fn relayed(error: IcmpError) -> Option<IcmpError> {
    match error {
        IcmpError::NoRoute | IcmpError::ProtocolUnreachable => Some(IcmpError::NoRoute),
        IcmpError::HostUnreachable | IcmpError::TtlExpired => Some(IcmpError::HostUnreachable),
        IcmpError::TooBig { mtu } => Some(IcmpError::TooBig {
            mtu: mtu.saturating_sub(Encap::Ipip.overhead(Family::V4)),
        }),
        IcmpError::PortUnreachable | IcmpError::Prohibited | IcmpError::ReassemblyTimeout | IcmpError::Other { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn destinations_are_bounded_and_the_one_that_would_expire_first_gives_way() {
        let mut paths = Paths::default();
        let to = |number: u32| IpAddr::from(Ipv4Addr::from(number));
        let at = |number: u32| Instant::from_nanos(u64::from(number));
        let count = DESTINATIONS_MAX as u32;
        for number in 0..=count {
            // The higher the address, the earlier.
            paths.learn(at(count - number), to(number), 1400, Mtu::MAX);
        }
        assert_eq!(paths.learned.len(), DESTINATIONS_MAX);
        let holds = |number| paths.limit(at(count), to(number), Mtu::MAX) != Mtu::MAX;
        assert!(holds(0) && !holds(count - 1) && holds(count));
        paths.learn(at(count).saturating_add(EXPIRY), to(count + 1), 1400, Mtu::MAX);
        assert_eq!(paths.learned.len(), 1, "what has expired goes first");
    }
}
