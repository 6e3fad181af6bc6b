//! `dropped`: which packets were lost, why and where; these drops and no others.

use std::collections::BTreeMap;
use std::sync::Arc;

use overlab_dataplane::fields::{Wrong, suggestion};
use serde_json::Value;

use super::quantity::{NEEDS_RANGE, never_fails};
use super::{Expectation, Names, Quantity, Selection, Verdict};
use crate::observe::{Disposition, DropReason, PacketKey};

#[derive(Debug)]
enum Dropped {
    None,
    /// At least one, and all of them match.
    Only(Matcher),
    /// So many of each, and no others.
    Counts(Vec<(Matcher, Quantity)>),
}

/// `any`, `REASON` or `REASON@PLACE`.
#[derive(Debug)]
struct Matcher {
    text: String,
    reason: Option<String>,
    place: Option<String>,
}

impl Matcher {
    fn read(text: &str, names: &dyn Names) -> Result<Matcher, Wrong> {
        let (reason, place) = match text.split_once('@') {
            Some((reason, place)) => (reason, Some(place)),
            None => (text, None),
        };
        let known = DropReason::names();
        if reason != "any" && !known.contains(&reason) {
            let wrong = Wrong::rule("K-VALUE", format!("unknown drop reason `{reason}`"));
            return Err(match suggestion(reason, known.iter().copied()) {
                Some(near) => wrong.help(format!("did you mean `{near}`?")),
                None => wrong.help(format!("drop reasons are {}", known.join(", "))),
            });
        }
        if let Some(place) = place.filter(|place| !names.places().contains(place)) {
            let wrong = Wrong::rule("K-VALUE", format!("unknown place `{place}`"));
            return Err(match suggestion(place, names.places()) {
                Some(near) => wrong.help(format!("did you mean `{near}`?")),
                None => wrong.help("a place is a workload, node, host, `node/device`, `node/eni`, underlay or `underlay/subnet`"),
            });
        }
        let reason = (reason != "any").then(|| reason.to_owned());
        Ok(Matcher {
            text: text.to_owned(),
            reason,
            place: place.map(str::to_owned),
        })
    }

    fn admits(&self, reason: DropReason, place: &str) -> bool {
        self.reason.as_deref().is_none_or(|wanted| wanted == reason.name())
            && self.place.as_deref().is_none_or(|wanted| wanted == place)
    }
}

pub(super) fn read(value: &Value, names: &dyn Names) -> Result<Arc<dyn Expectation>, Wrong> {
    if let Some(text) = value.as_str() {
        return Ok(Arc::new(if text == "none" {
            Dropped::None
        } else {
            Dropped::Only(Matcher::read(text, names)?)
        }));
    }
    let map = value
        .as_object()
        .filter(|map| !map.is_empty())
        .ok_or_else(|| Wrong::expected("`none`, a drop reason, or a mapping from `REASON` or `REASON@PLACE` to a quantity"))?;
    let counts = map
        .iter()
        .map(|(key, value)| Ok((Matcher::read(key, names)?, Quantity::read(value)?)))
        .collect::<Result<Vec<_>, Wrong>>()?;
    let admits_all = |(matcher, _): &(Matcher, Quantity)| matcher.reason.is_none() && matcher.place.is_none();
    if counts.iter().any(admits_all) && !counts.iter().any(|(_, quantity)| quantity.can_fail()) {
        let help = "write `none`, a drop reason, or a number that is not always right";
        return Err(never_fails("any packet may be lost or not", help));
    }
    Ok(Arc::new(Dropped::Counts(counts)))
}

impl Dropped {
    fn show(&self, ranges: bool) -> String {
        match self {
            Dropped::None => "none".to_owned(),
            Dropped::Only(matcher) => format!("{} only", matcher.text),
            Dropped::Counts(counts) => {
                let parts: Vec<_> = counts.iter().map(|(m, q)| format!("{} {}", q.show(ranges), m.text)).collect();
                parts.join(", ")
            }
        }
    }
}

impl Expectation for Dropped {
    fn judge(&self, packets: &Selection<'_>) -> Verdict {
        let ranges = packets.ranges();
        let expected = self.show(ranges);
        let sent = packets.packets().count() as u64;
        if sent == 0 {
            return Verdict::never_evaluated(expected, packets.nothing_sent());
        }
        let drops: Vec<(PacketKey, DropReason, &str)> = packets
            .packets()
            .filter_map(|trace| match &trace.disposition {
                Disposition::Dropped { reason, place, .. } => Some((trace.key, *reason, &*place.name)),
                Disposition::Delivered { .. } | Disposition::Unknown => None,
            })
            .collect();
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        for (_, reason, place) in &drops {
            *seen.entry(format!("{reason}@{place}")).or_default() += 1;
        }
        let actual = if seen.is_empty() {
            "none were dropped".to_owned()
        } else {
            seen.iter()
                .map(|(what, n)| format!("{n} {what}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let stray = |matchers: &[&Matcher]| drops.iter().find(|(_, r, p)| !matchers.iter().any(|m| m.admits(*r, p)));
        let (holds, packet) = match self {
            Dropped::None => (Some(drops.is_empty()), drops.first()),
            Dropped::Only(matcher) => {
                let stray = stray(&[matcher]);
                (Some(!drops.is_empty() && stray.is_none()), stray)
            }
            Dropped::Counts(counts) => {
                let stray = stray(&counts.iter().map(|(m, _)| m).collect::<Vec<_>>());
                let mut holds = Some(stray.is_none());
                for (matcher, quantity) in counts {
                    let count = drops.iter().filter(|(_, r, p)| matcher.admits(*r, p)).count() as u64;
                    holds = holds.and_then(|so_far| Some(so_far && quantity.admits(count, sent, ranges)?));
                }
                (holds, stray.or(drops.first()))
            }
        };
        match holds {
            Some(true) if packets.unknown() == 0 => Verdict::Pass { actual },
            Some(true) | Some(false) if packets.unknown() > 0 => Verdict::Inconclusive {
                reason: packets.why_unknown(),
            },
            None => Verdict::Inconclusive {
                reason: NEEDS_RANGE.to_owned(),
            },
            Some(_) => {
                let first = packets.packets().next().map(|trace| trace.key);
                Verdict::Fail {
                    code: "E-DRP-01",
                    expected,
                    actual,
                    packet: packet.map(|(key, ..)| *key).or(first),
                }
            }
        }
    }
}
