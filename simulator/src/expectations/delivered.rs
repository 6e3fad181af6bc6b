//! `delivered`: how many packets reached their destination socket whole.

use std::sync::Arc;

use overlab_dataplane::fields::Wrong;
use serde_json::Value;

use super::quantity::NEEDS_RANGE;
use super::{Expectation, Names, Quantity, Selection, Verdict};

#[derive(Debug)]
enum Delivered {
    All,
    None,
    Count(Quantity),
}

pub(super) fn read(value: &Value, _names: &dyn Names) -> Result<Arc<dyn Expectation>, Wrong> {
    Ok(Arc::new(match value.as_str() {
        Some("all") => Delivered::All,
        Some("none") => Delivered::None,
        Some(text) if !text.ends_with('%') => {
            return Err(Wrong::expected(
                "`all`, `none`, or a quantity such as `3`, `80%` or `{min: 3}`",
            ));
        }
        Some(_) | None => Delivered::Count(Quantity::read(value)?.that_can_fail()?),
    }))
}

impl Expectation for Delivered {
    fn judge(&self, packets: &Selection<'_>) -> Verdict {
        let attempts: Vec<_> = packets.attempts().collect();
        let sent = attempts.len() as u64;
        let count = attempts.iter().filter(|(_, delivered)| *delivered).count() as u64;
        let (expected, code, holds, offending) = match self {
            Delivered::All => ("all".to_owned(), "E-DLV-01", Some(count == sent), false),
            Delivered::None => ("none".to_owned(), "E-DLV-03", Some(count == 0), true),
            Delivered::Count(q) => (
                match q.exceeded(count, sent, packets.ranges()) {
                    Some(least) => format!("{} exactly; `{least}` takes more", q.show(packets.ranges())),
                    None => q.show(packets.ranges()),
                },
                "E-DLV-02",
                q.admits(count, sent, packets.ranges()),
                false,
            ),
        };
        let actual = format!("{count} of {sent} were delivered");
        if sent == 0 {
            return Verdict::never_evaluated(expected, packets.nothing_sent());
        }
        match holds {
            Some(true) => Verdict::Pass { actual },
            None => Verdict::Inconclusive {
                reason: NEEDS_RANGE.to_owned(),
            },
            Some(false) if packets.unknown() > 0 => Verdict::Inconclusive {
                reason: packets.why_unknown(),
            },
            Some(false) => {
                let first = attempts
                    .iter()
                    .find(|(_, delivered)| *delivered == offending)
                    .or(attempts.first());
                let packet = first.map(|(trace, delivered)| if *delivered { *trace } else { packets.lost_in(trace) });
                Verdict::Fail {
                    code,
                    expected,
                    actual,
                    packet: packet.map(|trace| trace.key),
                }
            }
        }
    }
}
