//! ICMP errors of the node's own: when one is due, from which address it comes, and how many a receiver gets. They take the
//! output path like any other packet of the node.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Engine, IcmpKind, Outcome, Step};
use crate::Instant;
use crate::wire::{IcmpError, Ipv4View, icmp};

/// `net.ipv4.icmp_ratelimit`: one error to a receiver in this time.
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
    receivers: BTreeMap<Ipv4Addr, (Instant, Duration)>,
}

impl Limiter {
    fn admit(&mut self, now: Instant, receiver: Ipv4Addr) -> bool {
        if self.receivers.len() >= RECEIVERS_MAX {
            self.receivers.retain(|_, (last, _)| now.since(*last) < INTERVAL * BURST);
        }
        let (last, saved) = self.receivers.entry(receiver).or_insert((now, INTERVAL * BURST));
        *saved = (*saved + now.since(*last)).min(INTERVAL * BURST);
        *last = now;
        match saved.checked_sub(INTERVAL) {
            Some(left) => {
                *saved = left;
                true
            }
            None => false,
        }
    }
}

impl Engine {
    /// Tells the sender of a packet what became of it, if RFC 1812 section 4.3.2.7 and the limit allow it.
    ///
    /// The source is the address that was asked, if it is the node's; else the one that the route back to the sender gives.
    /// Source: Linux net/ipv4/icmp.c, __icmp_send.
    pub(super) fn reply(&mut self, now: Instant, error: IcmpError, about: &[u8], outcome: &mut Outcome) {
        let Ok(header) = Ipv4View::unverified(about) else { return };
        let (sender, asked) = (header.source(), header.destination());
        let source = match self.tables.device_with(IpAddr::V4(asked)) {
            Some(_) => Some(IpAddr::V4(asked)),
            None => self.tables.source_for(IpAddr::V4(sender)),
        };
        let Some(IpAddr::V4(source)) = source else { return };
        let Some(answer) = icmp::error_packet(error, source, about) else {
            return;
        };
        let unlimited = matches!(error, IcmpError::FragmentationNeeded { .. });
        if !unlimited && !self.limiter.admit(now, sender) {
            return outcome.steps.push(Step::IcmpSuppressed);
        }
        // The error's own way is not part of what happened to the packet that it is about.
        let (steps, drop, out) = (outcome.steps.len(), outcome.drop, outcome.out.len());
        self.originate(now, answer, outcome);
        outcome.steps.truncate(steps);
        outcome.drop = drop;
        if outcome.out.len() > out {
            outcome.steps.push(Step::IcmpSent {
                icmp: kind(error),
                to: IpAddr::V4(sender),
            });
        }
    }
}

fn kind(error: IcmpError) -> IcmpKind {
    match error {
        IcmpError::DestinationUnreachable { code } => IcmpKind {
            kind: 3,
            code,
            mtu: None,
        },
        IcmpError::FragmentationNeeded { mtu } => IcmpKind {
            kind: 3,
            code: 4,
            mtu: Some(mtu),
        },
        IcmpError::TimeExceeded { code } => IcmpKind {
            kind: 11,
            code,
            mtu: None,
        },
    }
}
