//! Quantities that claims hold counts against: exact ones, ranges, shares of what was sent.

use std::cmp::Ordering;

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
    /// How a count of so many sent lies to it. A share is not rounded: 5 of 7 are less than 72%.
    fn compare(self, count: u64, sent: u64) -> Ordering {
        match self {
            Bound::Count(n) | Bound::Time(n) => count.cmp(&n),
            Bound::Share(ppm) => (u128::from(count) * 1_000_000).cmp(&(u128::from(sent) * u128::from(ppm))),
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

impl Range {
    /// Whether nothing lies outside of it.
    fn holds_everything(self) -> bool {
        let from_nothing = matches!(self.min, None | Some(Bound::Count(0) | Bound::Share(0) | Bound::Time(0)));
        let to_everything = matches!(self.max, None | Some(Bound::Share(1_000_000)));
        from_nothing && to_everything
    }
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

    /// Reads a quantity of bytes, as `200B`, `{min: 60B}` or `{is: 80B, netns: {min: 60B}}`.
    ///
    /// # Errors
    /// If the value is none of these, or its bounds contradict each other.
    pub(super) fn read_bytes(value: &Value) -> Result<Quantity, Wrong> {
        Quantity::read_with(value, |value| super::overhead::bytes(value).map(Bound::Count))
    }

    /// The quantity, if some count lies outside of it.
    ///
    /// # Errors
    /// If none does.
    pub(super) fn that_can_fail(self) -> Result<Quantity, Wrong> {
        match self.can_fail() {
            true => Ok(self),
            false => Err(never_fails(
                "every count lies within this",
                "use a higher `min`, or remove the claim",
            )),
        }
    }

    /// Whether some count lies outside of it.
    pub(super) fn can_fail(self) -> bool {
        !self.exact.holds_everything() && !self.ranged.is_some_and(Range::holds_everything)
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
        let above = range.min.is_none_or(|min| min.compare(count, sent).is_ge());
        let below = range.max.is_none_or(|max| max.compare(count, sent).is_le());
        Some(above && below)
    }

    /// What to write, if more came than an exact share that was likely meant as the least.
    pub(super) fn exceeded(&self, count: u64, sent: u64, ranges: bool) -> Option<String> {
        let range = if ranges { self.ranged? } else { self.exact };
        let share = range
            .min
            .filter(|min| range.max == Some(*min) && matches!(min, Bound::Share(_)))?;
        share
            .compare(count, sent)
            .is_gt()
            .then(|| format!("{{min: {}}}", share.show()))
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

/// The refusal of a claim that would hold whatever happens.
pub(super) fn never_fails(message: &str, help: &str) -> Wrong {
    Wrong::rule("E-EXP-06", message).why("the claim could never fail").help(help)
}

/// Why a claim of an exact count is not judged where counts cannot be exact.
pub(super) const NEEDS_RANGE: &str =
    "an exact count is not judged in real time; write `{is: N, netns: N}`, or a range behind `netns` for what a kernel decides";

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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    /// Of seven that were sent.
    #[rstest]
    #[case(json!(5), 5, Some(true), None)]
    #[case(json!("80%"), 5, Some(false), None)]
    #[case(json!({"min": "80%"}), 5, Some(false), Some(false))]
    #[case(json!({"min": "80%"}), 6, Some(true), Some(true))]
    #[case(json!({"max": "80%"}), 5, Some(true), Some(true))]
    #[case(json!({"max": "80%"}), 6, Some(false), Some(false))]
    #[case(json!({"min": 2, "max": "71.4286%"}), 5, Some(true), Some(true))]
    #[case(json!({"is": 5, "netns": {"min": 4}}), 4, Some(false), Some(true))]
    #[case(json!({"is": {"min": 5}, "netns": "100%"}), 6, Some(true), Some(false))]
    fn a_count_is_held_against_what_is_exact_or_against_a_range(
        #[case] value: Value,
        #[case] count: u64,
        #[case] exact: Option<bool>,
        #[case] ranged: Option<bool>,
    ) {
        let quantity = Quantity::read(&value).unwrap();
        assert_eq!(
            (quantity.admits(count, 7, false), quantity.admits(count, 7, true)),
            (exact, ranged)
        );
    }

    #[rstest]
    #[case(json!({}))]
    #[case(json!(-1))]
    #[case(json!(1.5))]
    #[case(json!("3"))]
    #[case(json!("%"))]
    #[case(json!("-1%"))]
    #[case(json!("100.0001%"))]
    #[case(json!("1.00001%"))]
    #[case(json!({"min": "80%", "max": "20%"}))]
    #[case(json!({"is": 5, "min": 4}))]
    #[case(json!({"netns": 5}))]
    #[case(json!({"is": {"is": 5}}))]
    fn what_is_no_quantity_is_refused(#[case] value: Value) {
        assert!(Quantity::read(&value).is_err(), "{value}");
    }

    #[test]
    fn bytes_have_a_unit_and_are_no_share() {
        let bytes = |value| Quantity::read_bytes(&value).ok();
        assert_eq!(bytes(json!("80B")), bytes(json!(80)));
        assert!(bytes(json!({"is": "80B", "netns": {"min": "60B", "max": 80}})).is_some());
        assert_eq!(bytes(json!({"min": "80%"})), None);
    }

    #[test]
    fn a_quantity_that_holds_everything_claims_nothing() {
        let can_fail = |value| Quantity::read(&value).unwrap().that_can_fail().is_ok();
        assert!(!can_fail(json!({"min": 0})) && !can_fail(json!({"min": "0%"})));
        assert!(!can_fail(json!({"min": "0%", "max": "100%"})) && !can_fail(json!({"max": "100%"})));
        assert!(!can_fail(json!({"is": 5, "netns": {"min": 0}})));
        assert!(can_fail(json!({"min": 0, "max": 3})) && can_fail(json!(0)));
    }
}
