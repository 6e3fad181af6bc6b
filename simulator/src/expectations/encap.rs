//! `encap`: what packets wore when they left their sender's node.

use std::collections::BTreeMap;
use std::sync::Arc;

use overlab_dataplane::encap::Encap;
use overlab_dataplane::fields::{Wrong, word};
use serde_json::Value;

use super::quantity::{NEEDS_RANGE, never_fails};
use super::selection::is_delivered;
use super::{Expectation, Names, Quantity, Selection, Verdict};
use crate::observe::Trace;

const WORDS: [(&str, Encap); 3] = [("none", Encap::None), ("ipip", Encap::Ipip), ("vxlan", Encap::Vxlan)];

#[derive(Debug)]
enum Wears {
    Every(Encap),
    Counts(Vec<(Encap, Quantity)>),
}

pub(super) fn read(value: &Value, _names: &dyn Names) -> Result<Arc<dyn Expectation>, Wrong> {
    let Some(map) = value.as_object() else {
        return Ok(Arc::new(Wears::Every(word(value, &WORDS)?)));
    };
    let counts = map
        .iter()
        .map(|(key, value)| Ok((word(&Value::String(key.clone()), &WORDS)?, Quantity::read(value)?)))
        .collect::<Result<Vec<_>, Wrong>>()?;
    if counts.is_empty() {
        return Err(Wrong::expected(
            "`none`, `ipip`, `vxlan`, or a mapping from these to quantities",
        ));
    }
    let admits = |encap| counts.iter().any(|(wanted, _)| *wanted == encap);
    if WORDS.iter().all(|(_, encap)| admits(*encap)) && !counts.iter().any(|(_, quantity)| quantity.can_fail()) {
        let help = "leave out an encapsulation that must not be there, or give a number that is not always right";
        return Err(never_fails("any packet may wear anything", help));
    }
    Ok(Arc::new(Wears::Counts(counts)))
}

/// What a packet wore at its first hop: none if it was delivered within its node; unknown if it was lost there.
pub(crate) fn worn(trace: &Trace) -> Option<Encap> {
    match trace.first_hop.first() {
        Some(packet) => Some(packet.encap),
        None => is_delivered(trace).then_some(Encap::None),
    }
}

impl Expectation for Wears {
    fn judge(&self, packets: &Selection<'_>) -> Verdict {
        let worn: Vec<_> = packets.packets().filter_map(|trace| Some((trace, worn(trace)?))).collect();
        let total = worn.len() as u64;
        let mut seen: BTreeMap<Encap, u64> = BTreeMap::new();
        for (_, encap) in &worn {
            *seen.entry(*encap).or_default() += 1;
        }
        let expected = match self {
            Wears::Every(encap) => format!("{encap} on every packet"),
            Wears::Counts(counts) => {
                let parts: Vec<_> = counts
                    .iter()
                    .map(|(e, q)| format!("{e}: {}", q.show(packets.ranges())))
                    .collect();
                parts.join(", ")
            }
        };
        if total == 0 {
            return Verdict::never_evaluated(expected, "no packet left its sender's node or was delivered within it");
        }
        let holds = match self {
            Wears::Every(encap) => Some(seen.get(encap) == Some(&total)),
            Wears::Counts(counts) => counts
                .iter()
                .try_fold(seen.keys().all(|e| counts.iter().any(|(c, _)| c == e)), |ok, (e, q)| {
                    Some(ok && q.admits(seen.get(e).copied().unwrap_or(0), total, packets.ranges())?)
                }),
        };
        let offends = |encap: Encap| match self {
            Wears::Every(wanted) => encap != *wanted,
            Wears::Counts(counts) => !counts.iter().any(|(wanted, _)| *wanted == encap),
        };
        let first = worn.iter().find(|(_, encap)| offends(*encap)).or(worn.first());
        let shares: Vec<_> = seen.iter().map(|(encap, n)| format!("{n} of {total} wore {encap}")).collect();
        match holds {
            Some(true) => Verdict::Pass {
                actual: shares.join(", "),
            },
            None => Verdict::Inconclusive {
                reason: NEEDS_RANGE.to_owned(),
            },
            Some(false) => Verdict::Fail {
                code: "E-ENC-01",
                expected,
                actual: match first {
                    Some((trace, encap)) => format!("{}; first {encap} at {}", shares.join(", "), trace.sent_at),
                    None => shares.join(", "),
                },
                packet: first.map(|(trace, _)| trace.key),
            },
        }
    }
}
