//! Faults: what happens to packets on the way between cards, besides what the wires themselves do. A fault knows cards and times;
//! of flows, tunnels and Calico it knows nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use overlab_dataplane::wire::{Ecn, IpMut, IpView};
use overlab_dataplane::{Family, Instant, Mtu, Packet};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use super::{DropReason, NicId};
use crate::observe::{Place, PlaceKind};
use crate::random;

/// A share of packets, in parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share(pub u32);

/// Whose packets a fault concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Cards that send.
    pub from: BTreeSet<NicId>,
    /// Cards that receive.
    pub to: BTreeSet<NicId>,
    /// Whether the other direction is concerned too.
    pub both_ways: bool,
}

impl Scope {
    /// Whether some packet is concerned by both.
    pub fn meets(&self, other: &Scope) -> bool {
        let pairs = |from: &BTreeSet<NicId>, to: &BTreeSet<NicId>| !self.from.is_disjoint(from) && !self.to.is_disjoint(to);
        pairs(&other.from, &other.to) || (self.both_ways || other.both_ways) && pairs(&other.to, &other.from)
    }

    /// Whether a packet between two cards is concerned. What a router sends itself comes from no card.
    pub fn holds(&self, sender: Option<NicId>, receiver: NicId) -> bool {
        let one_way = |from: NicId, to: NicId| self.from.contains(&from) && self.to.contains(&to);
        match sender {
            Some(sender) => one_way(sender, receiver) || self.both_ways && one_way(receiver, sender),
            None => self.to.contains(&receiver) || self.both_ways && self.from.contains(&receiver),
        }
    }
}

/// A rate with the queue in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bottleneck {
    /// Bits in a second, of IP packets.
    pub bits_per_second: u64,
    /// Bytes that may wait.
    pub queue: u64,
}

/// What a fault does to the packets that it concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Nothing passes, for this reason.
    pub cut: Option<DropReason>,
    /// Lost.
    pub loss: Share,
    /// Delivered twice.
    pub duplicate: Share,
    /// One bit wrong.
    pub corrupt: Share,
    /// Marked with CE, if they are ECN-capable; others pass as they are.
    pub mark: Share,
    /// Overtaken by those behind them.
    pub reorder: Share,
    /// How long those that are overtaken are held back.
    pub held_back: Duration,
    /// Later by this much.
    pub delay: Duration,
    /// Later by up to this much more, each on its own.
    pub jitter: Duration,
    /// Not faster than this.
    pub bottleneck: Option<Bottleneck>,
    /// Not longer than this.
    pub mtu: Option<Mtu>,
    /// ICMP errors are lost.
    pub no_icmp_errors: bool,
}

/// A fault: what happens to whose packets from when to when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name, which is the place of what it takes.
    pub name: Arc<str>,
    /// From then on.
    pub from: Instant,
    /// Until then; none for the rest of the run.
    pub until: Option<Instant>,
    /// Whose packets.
    pub scope: Scope,
    /// What.
    pub effect: Effect,
}

/// A fault with what it remembers.
#[derive(Debug)]
pub(super) struct Active {
    fault: Fault,
    place: Place,
    chance: Xoshiro256PlusPlus,
    /// By direction: when the bottleneck has sent everything that waits.
    busy_until: BTreeMap<bool, Instant>,
}

/// What a fault leaves of a packet.
pub(super) enum Fate {
    /// It goes on, later and perhaps changed, and once more if it was doubled.
    Pass {
        delay: Duration,
        twice: bool,
        corrupt: bool,
        mark: bool,
    },
    /// It is lost, with the fault as its place.
    Lost(DropReason, String),
}

impl Active {
    /// A fault and the stream of its chances, which follows from the run's seed and its name alone.
    pub(super) fn new(fault: Fault, seed: u64) -> Active {
        let word = random::stream(seed, &format!("fault {}", fault.name));
        Active {
            place: Place {
                kind: PlaceKind::Fault,
                name: fault.name.clone(),
            },
            fault,
            chance: Xoshiro256PlusPlus::seed_from_u64(word),
            busy_until: BTreeMap::new(),
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn concerns(&self, now: Instant, sender: Option<NicId>, receiver: NicId) -> bool {
        let active = self.fault.from <= now && self.fault.until.is_none_or(|until| now < until);
        active && self.fault.scope.holds(sender, receiver)
    }

    /// What becomes of a packet that leaves for a card.
    pub(super) fn judge(&mut self, now: Instant, receiver: NicId, packet: &Packet) -> Fate {
        let effect = self.fault.effect.clone();
        let lost = |reason, text: &str| Fate::Lost(reason, format!("fault {}: {text}", self.fault.name));
        if let Some(reason) = effect.cut {
            return lost(reason, "nothing passes");
        }
        if effect.no_icmp_errors && is_icmp_error(packet) {
            return lost(DropReason::Injected, "ICMP errors do not pass");
        }
        if let Some(mtu) = effect.mtu.filter(|mtu| !mtu.fits(packet.longest_wire_packet())) {
            let text = format!("{} B is more than its {mtu} B", packet.longest_wire_packet());
            return lost(DropReason::TooBig, &text);
        }
        if self.draw(effect.loss) {
            return Fate::Lost(DropReason::Injected, format!("fault {}: lost", self.fault.name));
        }
        let Some(queued) = self.queue(now, receiver, packet) else {
            return Fate::Lost(DropReason::QueueFull, format!("fault {}: the queue is full", self.fault.name));
        };
        let overtaken = self.draw(effect.reorder);
        let held = if overtaken { effect.held_back } else { Duration::ZERO };
        Fate::Pass {
            delay: queued + effect.delay + held + self.up_to(effect.jitter),
            twice: self.draw(effect.duplicate),
            corrupt: self.draw(effect.corrupt),
            mark: self.draw(effect.mark),
        }
    }

    /// How long a packet waits for the bottleneck and passes it; none if the queue has no room for it.
    fn queue(&mut self, now: Instant, receiver: NicId, packet: &Packet) -> Option<Duration> {
        let Some(Bottleneck { bits_per_second, queue }) = self.fault.effect.bottleneck else {
            return Some(Duration::ZERO);
        };
        let bytes = packet.wire_bytes() as u64;
        let busy = self.busy_until.entry(self.fault.scope.to.contains(&receiver)).or_default();
        let waiting = busy.since(now);
        let queued = waiting.as_nanos() * u128::from(bits_per_second) / 8_000_000_000;
        if queued + u128::from(bytes) > u128::from(queue) && !waiting.is_zero() {
            return None;
        }
        let nanos = u128::from(bytes) * 8_000_000_000 / u128::from(bits_per_second.max(1));
        let through = waiting + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        *busy = now.saturating_add(through);
        Some(through)
    }

    /// Draws a lot. A share of nothing draws none, so that it moves no other lot.
    fn draw(&mut self, share: Share) -> bool {
        share.0 > 0 && self.chance.next_u64() % 1_000_000 < u64::from(share.0)
    }

    fn up_to(&mut self, span: Duration) -> Duration {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        match nanos {
            0 => Duration::ZERO,
            _ => Duration::from_nanos(self.chance.next_u64() % nanos.saturating_add(1)),
        }
    }
}

/// Turns the last bit of a packet.
pub(super) fn corrupt(packet: &mut Packet) {
    if let Some(last) = packet.bytes_mut().last_mut() {
        *last ^= 1;
    }
}

/// Says in the outermost header of a packet that there is congestion, if that says that the transport listens.
///
/// Source: RFC 3168 section 5.
pub(super) fn mark(packet: &mut Packet) {
    let is_capable = IpView::unverified(packet.bytes()).is_ok_and(|header| header.ecn() != Ecn::NotEct);
    if let Some(mut header) = IpMut::new(packet.bytes_mut()).filter(|_| is_capable) {
        header.set_ecn(Ecn::Ce);
    }
}

fn is_icmp_error(packet: &Packet) -> bool {
    IpView::unverified(packet.bytes()).is_ok_and(|header| {
        let is_error = |kind: &u8| match header.family() {
            Family::V4 => [3, 11, 12].contains(kind),
            // Errors are the types below 128 (RFC 4443 section 2.1).
            Family::V6 => *kind < 128,
        };
        header.is_icmp() && header.payload().first().is_some_and(is_error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nic(machine: u32) -> NicId {
        NicId { machine, card: 0 }
    }

    fn fault(effect: Effect) -> Active {
        let cards = |machines: &[u32]| machines.iter().copied().map(nic).collect();
        let scope = Scope {
            from: cards(&[0]),
            to: cards(&[1, 2]),
            both_ways: true,
        };
        let fault = Fault {
            name: "lossy".into(),
            from: Instant::from_nanos(10),
            until: Some(Instant::from_nanos(20)),
            scope,
            effect,
        };
        Active::new(fault, 7)
    }

    fn packet(bytes: usize) -> Packet {
        Packet::from_bytes(&vec![0x45; bytes])
    }

    #[test]
    fn a_fault_concerns_its_cards_and_its_time_only() {
        let fault = fault(Effect::default());
        let concerns = |at, from: u32, to: u32| fault.concerns(Instant::from_nanos(at), Some(nic(from)), nic(to));
        assert!(concerns(10, 0, 1) && concerns(19, 2, 0));
        assert!(!concerns(9, 0, 1) && !concerns(20, 0, 1), "its end is not in it");
        assert!(!concerns(15, 1, 2) && !concerns(15, 3, 0));
    }

    #[test]
    fn chances_follow_from_seed_and_name() {
        let lost = |seed| {
            let mut fault = fault(Effect {
                loss: Share(250_000),
                ..Effect::default()
            });
            fault = Active::new(fault.fault, seed);
            let is_lost = |_| matches!(fault.judge(Instant::from_nanos(10), nic(1), &packet(100)), Fate::Lost(..));
            (0..1000).map(is_lost).collect::<Vec<_>>()
        };
        assert_eq!(lost(1), lost(1));
        assert_ne!(lost(1), lost(2));
        let count = lost(1).iter().filter(|lost| **lost).count();
        assert!((180..320).contains(&count), "{count} of 1000");
    }

    #[test]
    fn a_bottleneck_sends_one_packet_after_the_other_until_its_queue_is_full() {
        let mut fault = fault(Effect {
            bottleneck: Some(Bottleneck {
                bits_per_second: 8_000_000,
                queue: 2000,
            }),
            ..Effect::default()
        });
        let mut send = || match fault.judge(Instant::from_nanos(10), nic(1), &packet(1000)) {
            Fate::Pass { delay, .. } => Some(delay.as_millis()),
            Fate::Lost(reason, _) => {
                assert_eq!(reason, DropReason::QueueFull);
                None
            }
        };
        assert_eq!([send(), send(), send()], [Some(1), Some(2), None]);
    }
}
