//! ICMP errors of the node's own: when one is due, from which address it comes, and how many a receiver gets. They take the
//! output path like any other packet of the node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::{Engine, IcmpKind, Outcome, Step};
use crate::wire::{IcmpError, IpView, icmp};
use crate::{Family, Instant};

/// `net.ipv4.icmp_ratelimit` and `net.ipv6.icmp.ratelimit`: one error to a receiver in this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// So many errors a receiver gets at once after a silence.
///
/// Source: Linux net/ipv4/inetpeer.c, XRLIM_BURST_FACTOR.
const BURST: u32 = 6;

/// Receivers that are remembered at the same time.
const RECEIVERS_MAX: usize = 4096;

/// The limit of errors a receiver: a bucket of saved time.
///
/// Source: Linux net/ipv4/inetpeer.c, inet_peer_xrlim_allow.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    receivers: BTreeMap<IpAddr, (Instant, Duration)>,
}

impl Limiter {
    fn admit(&mut self, now: Instant, receiver: IpAddr, interval: Duration) -> bool {
        if self.receivers.len() >= RECEIVERS_MAX {
            self.receivers.retain(|_, (last, _)| now.since(*last) < INTERVAL * BURST);
        }
        let most = interval * BURST;
        let (last, saved) = self.receivers.entry(receiver).or_insert((now, most));
        *saved = (*saved + now.since(*last)).min(most);
        *last = now;
        match saved.checked_sub(interval) {
            Some(left) => {
                *saved = left;
                true
            }
            None => false,
        }
    }
}

impl Engine {
    /// Tells the sender of a packet what became of it, if RFC 1812 section 4.3.2.7 or RFC 4443 section 2.4, and the limit, allow it.
    ///
    /// The source is the address that was asked, if it is the node's; else the one that the route back to the sender gives.
    /// Source: Linux net/ipv4/icmp.c, __icmp_send; net/ipv6/icmp.c, icmp6_send.
    pub(super) fn reply(&mut self, now: Instant, error: IcmpError, about: &[u8], outcome: &mut Outcome) {
        let Ok(header) = IpView::unverified(about) else { return };
        let (sender, asked) = (header.source(), header.destination());
        let source = match self.tables.device_with(asked) {
            Some(_) => Some(asked),
            None => self.tables.source_for(sender),
        };
        let Some(answer) = source.and_then(|source| icmp::error_packet(error, source, about)) else {
            return;
        };
        // Path MTU discovery is not limited, in either family.
        let unlimited = matches!(error, IcmpError::TooBig { .. });
        if !unlimited && !self.limiter.admit(now, sender, self.interval(sender)) {
            return outcome.steps.push(Step::IcmpSuppressed);
        }
        // The error's own way is not part of what happened to the packet that it is about.
        let (steps, drop, out) = (outcome.steps.len(), outcome.drop, outcome.out.len());
        self.originate(now, answer, outcome);
        outcome.steps.truncate(steps);
        outcome.drop = drop;
        if outcome.out.len() > out {
            outcome.steps.push(Step::IcmpSent {
                icmp: kind(error, Family::of(sender)),
                to: sender,
            });
        }
    }

    /// How long a receiver waits for the next error. Over IPv6 a wide prefix, behind which there are many, gets more of them.
    ///
    /// Source: Linux net/ipv6/icmp.c, icmpv6_xrlim_allow.
    fn interval(&self, receiver: IpAddr) -> Duration {
        let prefix_len = self
            .tables
            .lookup(receiver)
            .map_or(0, |(_, route)| route.destination.prefix_len());
        match receiver {
            IpAddr::V4(_) => INTERVAL,
            IpAddr::V6(_) => INTERVAL / (1 << ((128 - u32::from(prefix_len)) >> 5)),
        }
    }
}

fn kind(error: IcmpError, family: Family) -> IcmpKind {
    let (kind, code) = error.numbers(family);
    let mtu = if let IcmpError::TooBig { mtu } = error {
        Some(mtu)
    } else {
        None
    };
    IcmpKind { kind, code, mtu }
}
