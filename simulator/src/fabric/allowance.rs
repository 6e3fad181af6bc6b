//! What a provider grants a network card and no more: fragments and bits of one flow, by the clock.

use std::collections::BTreeMap;
use std::time::Duration;

use overlab_dataplane::wire::{FlowKey, IpView};
use overlab_dataplane::{Instant, Packet};

use super::port::Refused;
use super::{DropReason, Knobs};

/// The time over which fragments are counted.
const FRAGMENTS_OVER: Duration = Duration::from_secs(1);

/// The time over which a flow's bits are counted: short, so that a burst counts as one.
const BITS_OVER: Duration = Duration::from_millis(100);

/// Flows whose bits are counted at the same time.
const FLOWS_MAX: usize = 4096;

/// Counts within stretches of time that follow each other from the start of the run on.
#[derive(Debug, Default)]
struct Meter {
    stretch: u128,
    taken: u64,
}

impl Meter {
    /// Whether there is room for so many more in the stretch that holds `now`.
    fn takes(&mut self, now: Instant, over: Duration, amount: u64, limit: u64) -> bool {
        let stretch = now.since(Instant::ZERO).as_nanos() / over.as_nanos().max(1);
        if stretch != self.stretch {
            *self = Meter { stretch, taken: 0 };
        }
        let room = self.taken.saturating_add(amount) <= limit;
        if room {
            self.taken += amount;
        }
        room
    }
}

/// The allowances of a card.
///
/// Sources: AWS ENA driver, "Linux best practices" (`pps_allowance_exceeded`: fragments in a second); AWS EC2 user guide, "Network
/// bandwidth" (a flow is a five-tuple, for other protocols than TCP and UDP a three-tuple).
#[derive(Debug, Default)]
pub(super) struct Allowances {
    fragment_rate: Option<u32>,
    flow_rate: Option<u64>,
    fragments: Meter,
    flows: BTreeMap<FlowKey, Meter>,
}

impl Allowances {
    pub(super) fn of(knobs: &Knobs) -> Allowances {
        Allowances {
            fragment_rate: knobs.fragment_rate,
            flow_rate: knobs.flow_rate,
            ..Allowances::default()
        }
    }

    /// Takes over what was counted before the allowances were changed.
    pub(super) fn succeed(&mut self, earlier: Allowances) {
        (self.fragments, self.flows) = (earlier.fragments, earlier.flows);
    }

    /// Why a packet is one too many, if it is.
    pub(super) fn exceeded(&mut self, now: Instant, packet: &Packet, header: &IpView<'_>) -> Option<Refused> {
        if let Some(limit) = self.fragment_rate.filter(|_| header.is_fragment())
            && !self.fragments.takes(now, FRAGMENTS_OVER, 1, u64::from(limit))
        {
            let text = format!("the interface has sent its {limit} fragments of this second");
            return Some((DropReason::RateLimited, text));
        }
        let rate = self.flow_rate?;
        let (flow, bits) = (FlowKey::of(header), packet.wire_bytes() as u64 * 8);
        if self.flows.len() >= FLOWS_MAX {
            self.flows.pop_first();
        }
        let granted = rate / (FRAGMENTS_OVER.as_millis() / BITS_OVER.as_millis()) as u64;
        let meter = self.flows.entry(flow).or_default();
        (!meter.takes(now, BITS_OVER, bits, granted)).then(|| {
            let text = format!("the flow has taken its {granted} bits of these {} ms", BITS_OVER.as_millis());
            (DropReason::RateLimited, text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_of_time_has_room_for_its_limit_and_the_next_one_again() {
        let mut meter = Meter::default();
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        let taken: Vec<bool> = [0, 1, 999, 1000, 1001, 1002]
            .map(|millis| meter.takes(at(millis), FRAGMENTS_OVER, 1, 2))
            .into();
        assert_eq!(taken, [true, true, false, true, true, false]);
    }

    #[test]
    fn what_is_too_much_takes_no_room() {
        let mut meter = Meter::default();
        assert!(!meter.takes(Instant::ZERO, BITS_OVER, 11, 10));
        assert!(meter.takes(Instant::ZERO, BITS_OVER, 10, 10));
    }
}
