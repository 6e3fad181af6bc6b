//! `gap`: the longest stretch of the window, its ends included, in which nothing was sent that was delivered.

use std::sync::Arc;

use overlab_dataplane::Instant;
use overlab_dataplane::fields::Wrong;
use serde_json::Value;

use super::quantity::{NEEDS_RANGE, seconds};
use super::{Expectation, Names, Quantity, Selection, Verdict};
use crate::observe::PacketKey;

#[derive(Debug)]
struct Gap {
    span: Quantity,
}

pub(super) fn read(value: &Value, _names: &dyn Names) -> Result<Arc<dyn Expectation>, Wrong> {
    let span = Quantity::read_time(value)?.that_can_fail()?;
    Ok(Arc::new(Gap { span }))
}

/// A stretch without a delivered packet.
#[derive(Clone, Copy)]
struct Stretch {
    from: Instant,
    to: Instant,
}

impl Stretch {
    fn nanos(self) -> u64 {
        self.to.as_nanos().saturating_sub(self.from.as_nanos())
    }
}

/// The longest stretch of a window between two of these instants, or between one and an end of the window.
fn longest(from: Instant, to: Instant, mut delivered: Vec<Instant>) -> Stretch {
    delivered.sort_unstable();
    let starts = std::iter::once(from).chain(delivered.iter().copied());
    let ends = delivered.iter().copied().chain(std::iter::once(to));
    let stretches = starts.zip(ends).map(|(from, to)| Stretch { from, to });
    let first_longest = |a: Stretch, b: Stretch| if b.nanos() > a.nanos() { b } else { a };
    stretches.reduce(first_longest).unwrap_or(Stretch { from, to })
}

impl Expectation for Gap {
    fn judge(&self, packets: &Selection<'_>) -> Verdict {
        let (window, ranges) = (packets.window(), packets.ranges());
        let attempts: Vec<_> = packets.attempts().collect();
        let expected = self.span.show(ranges);
        if attempts.is_empty() {
            return Verdict::never_evaluated(expected, packets.nothing_sent());
        }
        let delivered = attempts.iter().filter(|(_, delivered)| *delivered);
        let gap = longest(window.from, window.to, delivered.map(|(trace, _)| trace.sent_at).collect());
        let actual = format!("{}, from {} to {}", seconds(gap.nanos()), gap.from, gap.to);
        match self.span.admits(gap.nanos(), 0, ranges) {
            Some(true) => Verdict::Pass { actual },
            None => Verdict::Inconclusive {
                reason: NEEDS_RANGE.to_owned(),
            },
            Some(false) => {
                let inside = |at: Instant| gap.from <= at && at < gap.to;
                let lost = attempts.iter().find(|(trace, delivered)| !delivered && inside(trace.sent_at));
                let packet: Option<PacketKey> = lost.or(attempts.first()).map(|(trace, _)| trace.key);
                Verdict::Fail {
                    code: "E-GAP-01",
                    expected,
                    actual,
                    packet,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(delivered: &[u64]) -> (u64, u64) {
        let at = Instant::from_nanos;
        let gap = longest(at(10), at(20), delivered.iter().copied().map(at).collect());
        (gap.from.as_nanos(), gap.to.as_nanos())
    }

    #[test]
    fn the_ends_of_the_window_bound_a_gap_as_packets_do() {
        assert_eq!(gap(&[]), (10, 20));
        assert_eq!(gap(&[17]), (10, 17));
        assert_eq!(gap(&[12]), (12, 20));
        assert_eq!(gap(&[10, 19, 13]), (13, 19));
        assert_eq!(gap(&[15]), (10, 15), "of two that are equal, the first");
    }
}
