//! `sourceSeen`: the source address that the destination socket saw.

use std::sync::Arc;

use overlab_dataplane::fields::{Wrong, text};
use serde_json::Value;

use super::selection::is_delivered;
use super::{Address, Expectation, Names, Scope, Selection, Verdict, address};
use crate::observe::Direction;

#[derive(Debug)]
struct SourceSeen {
    address: Address,
}

pub(super) fn read(value: &Value, names: &dyn Names) -> Result<Arc<dyn Expectation>, Wrong> {
    Ok(Arc::new(SourceSeen {
        address: address(text(value)?, names)?,
    }))
}

impl Expectation for SourceSeen {
    fn judge(&self, packets: &Selection<'_>) -> Verdict {
        let speaks_of = |direction| packets.scope() == Scope::Reverse || direction == Direction::Forward;
        let seen: Vec<_> = packets
            .packets()
            .filter(|trace| is_delivered(trace) && speaks_of(trace.key.direction))
            .filter_map(|trace| Some((trace, trace.source_seen?)))
            .collect();
        let wanted = seen
            .first()
            .map_or_else(|| self.address.clone(), |(_, source)| self.address.like(*source));
        let expected = wanted.to_string();
        let total = seen.len();
        if total == 0 {
            return Verdict::never_evaluated(expected, "no packet was delivered");
        }
        match seen.iter().find(|(_, source)| !self.address.is(*source)) {
            None => Verdict::Pass {
                actual: format!("{total} of {total} came from {expected}"),
            },
            Some((trace, source)) => Verdict::Fail {
                code: "E-SRC-01",
                expected,
                actual: format!("the packet at {} came from {source}", trace.sent_at),
                packet: Some(trace.key),
            },
        }
    }
}
