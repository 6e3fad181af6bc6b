//! `overhead`: the IP bytes that leaving the sender's node added to a packet. VXLAN's inner Ethernet header counts, the
//! underlay's own does not.

use std::sync::Arc;

use overlab_dataplane::fields::{Wrong, suggestion};
use serde_json::Value;

use super::quantity::NEEDS_RANGE;
use super::selection::is_delivered;
use super::{Expectation, Names, Quantity, Selection, Verdict};
use crate::observe::Trace;

#[derive(Debug)]
struct Overhead {
    per_packet: Option<u64>,
    total: Option<Quantity>,
}

pub(super) fn read(value: &Value, _names: &dyn Names) -> Result<Arc<dyn Expectation>, Wrong> {
    let usage = || Wrong::expected("`{perPacket: 20B}` or `{total: 200B}`");
    let map = value.as_object().filter(|map| !map.is_empty()).ok_or_else(usage)?;
    let mut overhead = Overhead {
        per_packet: None,
        total: None,
    };
    for (key, value) in map {
        match key.as_str() {
            "perPacket" => overhead.per_packet = Some(bytes(value)?),
            "total" => overhead.total = Some(Quantity::read_bytes(value)?.that_can_fail()?),
            other => {
                let wrong = Wrong::rule("K-UNKNOWN", format!("unknown key `{other}` in `overhead`"));
                let near = suggestion(other, ["perPacket", "total"]).unwrap_or("perPacket");
                return Err(wrong.help(format!("did you mean `{near}`?")));
            }
        }
    }
    Ok(Arc::new(overhead))
}

/// `20B`, or a bare number of bytes.
pub(super) fn bytes(value: &Value) -> Result<u64, Wrong> {
    let text = value.as_str().and_then(|text| text.strip_suffix('B')).map(str::trim);
    value
        .as_u64()
        .or_else(|| text?.parse().ok())
        .ok_or_else(|| Wrong::expected("a number of bytes, as `20B`"))
}

/// The bytes that leaving its node added; none for a packet that was lost before.
pub(crate) fn added(trace: &Trace) -> Option<i64> {
    if trace.first_hop.is_empty() {
        return is_delivered(trace).then_some(0);
    }
    let left: usize = trace.first_hop.iter().map(|packet| packet.length).sum();
    Some(i64::try_from(left).unwrap_or(i64::MAX) - i64::try_from(trace.size).unwrap_or(i64::MAX))
}

impl Expectation for Overhead {
    fn judge(&self, packets: &Selection<'_>) -> Verdict {
        let added: Vec<_> = packets.packets().filter_map(|trace| Some((trace, added(trace)?))).collect();
        let expected = match (self.per_packet, &self.total) {
            (Some(b), Some(q)) => format!("{b} B a packet, {} B in all", q.show(packets.ranges())),
            (Some(b), None) => format!("{b} B a packet"),
            (None, Some(q)) => format!("{} B in all", q.show(packets.ranges())),
            (None, None) => String::new(),
        };
        if added.is_empty() {
            return Verdict::never_evaluated(expected, "no packet left its sender's node or was delivered within it");
        }
        let sum: i64 = added.iter().map(|(_, b)| b).sum();
        let wrong = self
            .per_packet
            .and_then(|want| added.iter().find(|(_, b)| u64::try_from(*b) != Ok(want)));
        let in_all = match self.total {
            None => Some(true),
            Some(quantity) => quantity.admits(u64::try_from(sum).unwrap_or(0), 0, packets.ranges()),
        };
        let least = added.iter().map(|(_, b)| *b).min().unwrap_or(0);
        let most = added.iter().map(|(_, b)| *b).max().unwrap_or(0);
        let range = if least == most {
            format!("{least}")
        } else {
            format!("{least} to {most}")
        };
        let actual = format!("{range} B a packet, {sum} B in all");
        match (wrong, in_all) {
            (None, Some(true)) => Verdict::Pass { actual },
            (None, None) => Verdict::Inconclusive {
                reason: NEEDS_RANGE.to_owned(),
            },
            (wrong, _) => {
                let packet = wrong.or(added.first()).map(|(trace, _)| trace.key);
                Verdict::Fail {
                    code: "E-OVH-01",
                    expected,
                    actual,
                    packet,
                }
            }
        }
    }
}
