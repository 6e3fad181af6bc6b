//! The knobs of an underlay: what its preset says of how it treats packets, each with a name under which a scenario may say
//! otherwise. Mostly they stand for what providers do not document, or change from account to account.

use std::time::Duration;

use overlab_dataplane::Mtu;
use overlab_dataplane::fields::{Fields, Refusal, Wrong, boolean, integer, text, word};
use serde_json::{Value, json};

use super::quantity::{any_duration, bit_rate, mtu, size};
use crate::fabric::{DefaultGroup, FragmentPolicy, GroupMatch, Knobs, L2, NoRoute, Preset, RpFilter};

/// One knob.
pub struct Knob {
    /// Its key below `knobs` of an underlay.
    pub name: &'static str,
    show: fn(&Knobs) -> Value,
    set: fn(&mut Knobs, &Value) -> Result<(), Wrong>,
}

impl Knob {
    /// How an underlay has it.
    pub fn show(&self, knobs: &Knobs) -> Value {
        (self.show)(knobs)
    }

    /// A value that it can have, in the spelling in which it is shown.
    ///
    /// # Errors
    /// If it is no such value.
    pub fn read(&self, value: &Value) -> Result<Value, Wrong> {
        let mut knobs = Preset::Onprem.knobs();
        (self.set)(&mut knobs, value)?;
        Ok(self.show(&knobs))
    }
}

const L2S: &[(&str, L2)] = &[
    ("broadcastDomain", L2::BroadcastDomain),
    ("macSwitchedUnicast", L2::MacSwitchedUnicast),
    ("none", L2::None),
];
const NO_ROUTES: &[(&str, NoRoute)] = &[("silent", NoRoute::Silent), ("netUnreachable", NoRoute::NetUnreachable)];
const RP_FILTERS: &[(&str, RpFilter)] = &[
    ("off", RpFilter::Off),
    ("loose", RpFilter::Loose),
    ("strict", RpFilter::Strict),
];
const FRAGMENT_POLICIES: &[(&str, FragmentPolicy)] = &[
    ("pass", FragmentPolicy::Pass),
    ("inOrder", FragmentPolicy::InOrder),
    ("drop", FragmentPolicy::Drop),
];
const REFERENCES: &[(&str, GroupMatch)] = &[
    ("senderInterface", GroupMatch::SenderCard),
    ("sourceAddress", GroupMatch::SourceAddress),
];

/// Every knob.
pub const KNOBS: &[Knob] = &[
    Knob {
        name: "l2",
        show: |k| spelling(L2S, k.l2),
        set: |k, v| put(&mut k.l2, word(v, L2S)),
    },
    Knob {
        name: "noRoute",
        show: |k| spelling(NO_ROUTES, k.no_route),
        set: |k, v| put(&mut k.no_route, word(v, NO_ROUTES)),
    },
    Knob {
        name: "rpFilter",
        show: |k| spelling(RP_FILTERS, k.rp_filter),
        set: |k, v| put(&mut k.rp_filter, word(v, RP_FILTERS)),
    },
    Knob {
        name: "routerDecrementsTtl",
        show: |k| k.router_decrements_ttl.into(),
        set: |k, v| put(&mut k.router_decrements_ttl, boolean(v)),
    },
    Knob {
        name: "routerFragments",
        show: |k| k.router_splits.into(),
        set: |k, v| put(&mut k.router_splits, boolean(v)),
    },
    Knob {
        name: "routerSendsTooBig",
        show: |k| k.router_tells_size.into(),
        set: |k, v| put(&mut k.router_tells_size, boolean(v)),
    },
    Knob {
        name: "icmpQuote",
        show: |k| or_none(k.icmp_quote.map(|bytes| format!("{bytes}B"))),
        set: |k, v| put(&mut k.icmp_quote, unless_none(v, |v| size(v, 1, usize::from(u16::MAX)))),
    },
    Knob {
        name: "routeQuota",
        show: |k| or_none(k.route_quota),
        set: |k, v| put(&mut k.route_quota, unless_none(v, |v| count(v).map(|n| n as usize))),
    },
    Knob {
        name: "clearsDscp",
        show: |k| k.clears_dscp.into(),
        set: |k, v| put(&mut k.clears_dscp, boolean(v)),
    },
    Knob {
        name: "protocols",
        show: |k| all_or(&k.protocols),
        set: |k, v| put(&mut k.protocols, protocols(v)),
    },
    Knob {
        name: "reservedSourcePorts",
        show: |k| json!(k.reserved_source_ports),
        set: |k, v| put(&mut k.reserved_source_ports, numbers(v, u64::from(u16::MAX))),
    },
    Knob {
        name: "blockedUdpPorts",
        show: |k| json!(k.blocked_udp_ports),
        set: |k, v| put(&mut k.blocked_udp_ports, numbers(v, u64::from(u16::MAX))),
    },
    Knob {
        name: "fragmentsAt",
        show: |k| or_none(k.splits_at.map(Mtu::bytes)),
        set: |k, v| put(&mut k.splits_at, unless_none(v, |v| mtu(v, u16::MAX))),
    },
    Knob {
        name: "dropsDfAbove",
        show: |k| or_none(k.drops_df_above.map(Mtu::bytes)),
        set: |k, v| put(&mut k.drops_df_above, unless_none(v, |v| mtu(v, u16::MAX))),
    },
    Knob {
        name: "fragmentPolicy",
        show: |k| spelling(FRAGMENT_POLICIES, k.fragment_policy),
        set: |k, v| put(&mut k.fragment_policy, word(v, FRAGMENT_POLICIES)),
    },
    Knob {
        name: "fragmentRate",
        show: |k| or_none(k.fragment_rate.map(|count| format!("{count}/s"))),
        set: |k, v| put(&mut k.fragment_rate, unless_none(v, per_second)),
    },
    Knob {
        name: "flowRate",
        show: |k| or_none(k.flow_rate.map(|bits| format!("{bits}bit/s"))),
        set: |k, v| put(&mut k.flow_rate, unless_none(v, bit_rate)),
    },
    Knob {
        name: "breaksInnerChecksums",
        show: |k| k.breaks_inner_checksums.into(),
        set: |k, v| put(&mut k.breaks_inner_checksums, boolean(v)),
    },
    Knob {
        name: "defaultGroup",
        show: |k| match &k.security.default {
            DefaultGroup::Open => "open".into(),
            DefaultGroup::Members => "members".into(),
            DefaultGroup::Underlay(protocols) => json!({ "underlay": all_or(protocols) }),
        },
        set: |k, v| put(&mut k.security.default, default_group(v)),
    },
    Knob {
        name: "defaultGroupCoversRoutes",
        show: |k| k.security.covers_routes.into(),
        set: |k, v| put(&mut k.security.covers_routes, boolean(v)),
    },
    Knob {
        name: "groupReference",
        show: |k| spelling(REFERENCES, k.security.group_match),
        set: |k, v| put(&mut k.security.group_match, word(v, REFERENCES)),
    },
    Knob {
        name: "groupsTrackIcmpErrors",
        show: |k| k.security.tracks_icmp_errors.into(),
        set: |k, v| put(&mut k.security.tracks_icmp_errors, boolean(v)),
    },
    Knob {
        name: "openFlowsUntracked",
        show: |k| k.security.leaves_open_flows_untracked.into(),
        set: |k, v| put(&mut k.security.leaves_open_flows_untracked, boolean(v)),
    },
    Knob {
        name: "trackedConnections",
        show: |k| or_none(k.security.connections),
        set: |k, v| put(&mut k.security.connections, unless_none(v, count)),
    },
    Knob {
        name: "idleTcp",
        show: |k| time(k.security.idle.tcp),
        set: |k, v| put(&mut k.security.idle.tcp, any_duration(v)),
    },
    Knob {
        name: "idleDatagrams",
        show: |k| time(k.security.idle.datagrams),
        set: |k, v| put(&mut k.security.idle.datagrams, any_duration(v)),
    },
    Knob {
        name: "idleOthers",
        show: |k| time(k.security.idle.others),
        set: |k, v| put(&mut k.security.idle.others, any_duration(v)),
    },
];

/// Reads `knobs` of an underlay over what its preset says.
pub(super) fn read(underlay: &mut Fields<'_>, knobs: &mut Knobs, refusals: &mut Vec<Refusal>) {
    let mut fields = underlay.fields("knobs", refusals);
    for knob in KNOBS {
        fields.parse(knob.name, refusals, |value| (knob.set)(knobs, value));
    }
    fields.finish(refusals);
}

fn put<T>(place: &mut T, value: Result<T, Wrong>) -> Result<(), Wrong> {
    *place = value?;
    Ok(())
}

fn spelling<T: PartialEq>(words: &[(&'static str, T)], value: T) -> Value {
    let named = words.iter().find(|(_, word)| *word == value);
    named.map_or("", |(name, _)| name).into()
}

fn or_none<T: Into<Value>>(value: Option<T>) -> Value {
    value.map_or_else(|| "none".into(), Into::into)
}

/// A list of protocol numbers as it is written, `all` for the empty one.
pub fn all_or(numbers: &[u8]) -> Value {
    match numbers.is_empty() {
        true => "all".into(),
        false => json!(numbers),
    }
}

/// A time as it is written, in the largest unit in which it is a whole number.
pub fn time(time: Duration) -> Value {
    let nanos = time.as_nanos();
    let (count, unit) = match nanos {
        _ if nanos.is_multiple_of(1_000_000_000) => (nanos / 1_000_000_000, "s"),
        _ if nanos.is_multiple_of(1_000_000) => (nanos / 1_000_000, "ms"),
        _ if nanos.is_multiple_of(1_000) => (nanos / 1_000, "us"),
        _ => (nanos, "ns"),
    };
    format!("{count}{unit}").into()
}

fn unless<T: Default>(value: &Value, word: &str, read: impl Fn(&Value) -> Result<T, Wrong>) -> Result<T, Wrong> {
    match value.as_str() == Some(word) {
        true => Ok(T::default()),
        false => read(value),
    }
}

fn unless_none<T>(value: &Value, read: impl Fn(&Value) -> Result<T, Wrong>) -> Result<Option<T>, Wrong> {
    unless(value, "none", |value| read(value).map(Some)).map_err(|wrong| wrong.help("or write `none`"))
}

/// Reads a list of protocol numbers, or `all`, which is the empty one.
///
/// # Errors
/// If it is neither.
pub(super) fn protocols(value: &Value) -> Result<Vec<u8>, Wrong> {
    unless(value, "all", |value| numbers(value, u64::from(u8::MAX)))
}

fn count(value: &Value) -> Result<u32, Wrong> {
    let number = integer(value, 1, 1_000_000)?;
    u32::try_from(number).map_err(|_| Wrong::expected("a number up to 1000000"))
}

fn per_second(value: &Value) -> Result<u32, Wrong> {
    let count = text(value).ok().and_then(|text| text.strip_suffix("/s")?.parse::<u32>().ok());
    count
        .filter(|count| *count > 0)
        .ok_or_else(|| Wrong::expected("a number in a second, such as `1024/s`"))
}

fn numbers<T: TryFrom<u64>>(value: &Value, max: u64) -> Result<Vec<T>, Wrong> {
    let expected = || Wrong::expected(format!("a list of numbers from 0 to {max}"));
    let items = value.as_array().ok_or_else(expected)?;
    let number = |item: &Value| T::try_from(integer(item, 0, max)?).map_err(|_| expected());
    items.iter().map(number).collect()
}

fn default_group(value: &Value) -> Result<DefaultGroup, Wrong> {
    if let Some(protocols) = value.get("underlay") {
        return self::protocols(protocols).map(DefaultGroup::Underlay);
    }
    match word(value, &[("open", 0), ("members", 1), ("underlay", 2)])? {
        0 => Ok(DefaultGroup::Open),
        1 => Ok(DefaultGroup::Members),
        _ => Ok(DefaultGroup::Underlay(Vec::new())),
    }
}

#[cfg(test)]
mod tests {
    use overlab_dataplane::fields::FieldRef;
    use rstest::rstest;

    use super::*;

    #[test]
    fn every_knob_takes_what_it_shows_and_shows_what_it_took() {
        for (_, preset) in Preset::ALL {
            for knob in KNOBS {
                let shown = knob.show(&preset.knobs());
                let mut other = Preset::Gcp.knobs();
                (knob.set)(&mut other, &shown).unwrap_or_else(|wrong| panic!("{} {shown}: {wrong:?}", knob.name));
                assert_eq!(knob.show(&other), shown, "{}", knob.name);
            }
        }
    }

    #[rstest]
    #[case(json!({"routeQuota": 0}), "K-VALUE knobs.routeQuota")]
    #[case(json!({"protocols": [256]}), "K-VALUE knobs.protocols")]
    #[case(json!({"fragmentPolicy": "never"}), "K-VALUE knobs.fragmentPolicy")]
    #[case(json!({"fragmentRate": 1024}), "K-VALUE knobs.fragmentRate")]
    #[case(json!({"fragmentRate": "0/s"}), "K-VALUE knobs.fragmentRate")]
    #[case(json!({"icmpQuote": "0B"}), "K-VALUE knobs.icmpQuote")]
    #[case(json!({"fragmentsAt": 20}), "K-VALUE knobs.fragmentsAt")]
    #[case(json!({"routeQuotas": 10}), "K-UNKNOWN knobs.routeQuotas")]
    fn what_a_knob_cannot_be_is_refused(#[case] knobs: Value, #[case] expected: &str) {
        let value = json!({ "knobs": knobs });
        let mut refusals = Vec::new();
        let mut fields = Fields::new(&value, FieldRef::default(), &mut refusals);
        read(&mut fields, &mut Preset::Aws.knobs(), &mut refusals);
        let refused: Vec<_> = refusals.iter().map(|r| format!("{} {}", r.code, r.field.path)).collect();
        assert_eq!(refused, [expected]);
    }
}
