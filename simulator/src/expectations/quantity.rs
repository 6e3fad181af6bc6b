//! Quantities that claims hold counts against: exact ones, ranges, shares of what was sent.

use overlab_dataplane::fields::{Fields, Wrong, integer};
use serde_json::Value;

/// A bound: a count, or a share of those sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Count(u64),
    /// In parts per million, so that no float is needed.
    Share(u64),
    /// A span of time, in nanoseconds.
    Time(u64),
}

impl Bound {
    fn of(self, sent: u64) -> u64 {
        match self {
            Bound::Count(n) | Bound::Time(n) => n,
            Bound::Share(ppm) => sent * ppm / 1_000_000,
        }
    }

    fn show(self) -> String {
        match self {
            Bound::Count(n) => n.to_string(),
            Bound::Time(nanos) => seconds(nanos),
            Bound::Share(ppm) if ppm % 10_000 == 0 => format!("{}%", ppm / 10_000),
            Bound::Share(ppm) => format!("{}.{:04}%", ppm / 10_000, ppm % 10_000),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    min: Option<Bound>,
    max: Option<Bound>,
}

/// What a count is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    exact: Range,
    ranged: Option<Range>,
}

impl Quantity {
    /// Reads `N`, `N%`, `{min, max}`, or `{is: N, netns: Q}`.
    ///
    /// # Errors
    /// If the value is none of these, or its bounds contradict each other.
    pub fn read(value: &Value) -> Result<Quantity, Wrong> {
        Quantity::read_with(value, bound)
    }

    /// Reads a quantity of time, as `3.7s`, `{min: 1s, max: 3s}` or `{is: 3.7s, netns: {min: 3s}}`.
    ///
    /// # Errors
    /// If the value is none of these, or its bounds contradict each other.
    pub fn read_time(value: &Value) -> Result<Quantity, Wrong> {
        Quantity::read_with(value, |value| {
            let span = crate::scenario::duration(value)?;
            Ok(Bound::Time(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
        })
    }

    fn read_with(value: &Value, bound: fn(&Value) -> Result<Bound, Wrong>) -> Result<Quantity, Wrong> {
        let range = |value: &Value| range(value, bound);
        let Some(map) = value.as_object() else {
            let bound = bound(value)?;
            return Ok(Quantity {
                exact: Range {
                    min: Some(bound),
                    max: Some(bound),
                },
                ranged: None,
            });
        };
        if map.contains_key("is") {
            only_keys(value, &["is", "netns"])?;
            let exact = map.get("is").map(range).transpose()?.ok_or_else(usage)?;
            let ranged = map.get("netns").map(range).transpose()?;
            return Ok(Quantity { exact, ranged });
        }
        let range = range(value)?;
        Ok(Quantity {
            exact: range,
            ranged: Some(range),
        })
    }

    /// Whether `count` of `sent` is right; none if only a range could be judged here and none is given.
    pub fn admits(&self, count: u64, sent: u64, ranges: bool) -> Option<bool> {
        let range = if ranges { self.ranged? } else { self.exact };
        let above = range.min.is_none_or(|min| count >= min.of(sent));
        let below = range.max.is_none_or(|max| count <= max.of(sent));
        Some(above && below)
    }

    /// As it is printed: `50`, `at least 80%`, `10 to 20`.
    pub fn show(&self, ranges: bool) -> String {
        let range = if ranges {
            self.ranged.unwrap_or(self.exact)
        } else {
            self.exact
        };
        match (range.min, range.max) {
            (Some(min), Some(max)) if min == max => min.show(),
            (Some(min), Some(max)) => format!("{} to {}", min.show(), max.show()),
            (Some(min), None) => format!("at least {}", min.show()),
            (None, Some(max)) => format!("at most {}", max.show()),
            (None, None) => "any number".to_owned(),
        }
    }
}

/// Why a claim of an exact count is not judged where counts cannot be exact.
pub(super) const NEEDS_RANGE: &str =
    "an exact count is not judged in real time; write `{is: N, netns: {min: …, max: …}}` to give a range for it";

/// Seconds with as many decimals as they need, as `3.7 s`.
pub(super) fn seconds(nanos: u64) -> String {
    let decimals = format!("{:09}", nanos % 1_000_000_000);
    match (nanos / 1_000_000_000, decimals.trim_end_matches('0')) {
        (whole, "") => format!("{whole} s"),
        (whole, decimals) => format!("{whole}.{decimals} s"),
    }
}

fn usage() -> Wrong {
    Wrong::expected("a count (`3`), a share (`80%`), a range (`{min: 1, max: 3}`) or `{is: 3, netns: {min: 1}}`")
}

fn only_keys(value: &Value, known: &[&'static str]) -> Result<(), Wrong> {
    let mut refusals = Vec::new();
    let mut fields = Fields::new(value, Default::default(), &mut refusals);
    fields.ignore(known);
    fields.finish(&mut refusals);
    match refusals.pop() {
        None => Ok(()),
        Some(refusal) => {
            let wrong = Wrong::rule("K-UNKNOWN", refusal.message);
            Err(match refusal.help {
                Some(help) => wrong.help(help),
                None => wrong,
            })
        }
    }
}

fn range(value: &Value, bound: fn(&Value) -> Result<Bound, Wrong>) -> Result<Range, Wrong> {
    let Some(map) = value.as_object() else {
        let bound = bound(value)?;
        return Ok(Range {
            min: Some(bound),
            max: Some(bound),
        });
    };
    only_keys(value, &["min", "max"])?;
    let range = Range {
        min: map.get("min").map(bound).transpose()?,
        max: map.get("max").map(bound).transpose()?,
    };
    match (range.min, range.max) {
        (None, None) => Err(usage()),
        (Some(Bound::Count(min)), Some(Bound::Count(max)))
        | (Some(Bound::Share(min)), Some(Bound::Share(max)))
        | (Some(Bound::Time(min)), Some(Bound::Time(max)))
            if min > max =>
        {
            Err(Wrong::rule("K-VALUE", "`min` is above `max`").help("exchange them"))
        }
        _ => Ok(range),
    }
}

fn bound(value: &Value) -> Result<Bound, Wrong> {
    if let Some(percent) = value.as_str().and_then(|text| text.strip_suffix('%')) {
        let (whole, fraction) = percent.split_once('.').unwrap_or((percent, ""));
        let digits = format!("{fraction:0<4}");
        let ppm = whole
            .parse::<u64>()
            .ok()
            .zip(digits.parse::<u64>().ok())
            .filter(|_| fraction.len() <= 4);
        return match ppm.map(|(whole, fraction)| whole.saturating_mul(10_000).saturating_add(fraction)) {
            Some(ppm) if ppm <= 1_000_000 => Ok(Bound::Share(ppm)),
            Some(_) | None => Err(Wrong::expected("a share from 0% to 100%")),
        };
    }
    integer(value, 0, u64::MAX).map(Bound::Count).map_err(|_| usage())
}
