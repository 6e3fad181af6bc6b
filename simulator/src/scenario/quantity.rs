//! Quantities with units, read exactly: what would have to be rounded is refused.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use overlab_dataplane::fields::{Wrong, text, word};
use overlab_dataplane::{Family, Mtu};
use serde_json::Value;

use crate::fabric::Share;

/// Units of time, in nanoseconds.
const TIME: &[(&str, u128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Units of length, in bytes.
const SIZE: &[(&str, u128)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// A decimal number: `digits` / 10^`scale`.
#[derive(Clone, Copy)]
struct Decimal {
    digits: u128,
    scale: u32,
}

impl Decimal {
    /// Splits a decimal number off the beginning of a text.
    fn split(text: &str) -> Option<(Decimal, &str)> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || number.len() > 18 || number.ends_with('.') || fraction.contains('.') {
            return None;
        }
        let digits = format!("{whole}{fraction}").parse().ok()?;
        let scale = u32::try_from(fraction.len()).ok()?;
        Some((Decimal { digits, scale }, rest))
    }

    fn denominator(self) -> u128 {
        10u128.pow(self.scale)
    }

    /// The number times a unit, if that is a whole number.
    fn times(self, unit: u128) -> Option<u128> {
        let product = self.digits.checked_mul(unit)?;
        product
            .is_multiple_of(self.denominator())
            .then(|| product / self.denominator())
    }
}

fn unit(name: &str, units: &[(&str, u128)]) -> Option<u128> {
    units.iter().find(|(known, _)| *known == name).map(|(_, size)| *size)
}

/// Reads a span of time, as `10ms`, `1.5s`, `1m30s` or `0`.
///
/// # Errors
/// If it is none, has no unit, is finer than a nanosecond, or is longer than a day.
pub(crate) fn duration(value: &Value) -> Result<Duration, Wrong> {
    let time = any_duration(value)?;
    match time <= Duration::from_secs(24 * 3600) {
        true => Ok(time),
        false => Err(Wrong::expected("a time such as `10ms`, `1.5s` or `0`").why("the longest time is 24h")),
    }
}

/// Reads a span of time as [`duration`] does, of any length.
///
/// # Errors
/// If it is none, has no unit, or is finer than a nanosecond.
pub(super) fn any_duration(value: &Value) -> Result<Duration, Wrong> {
    let expected = || Wrong::expected("a time such as `10ms`, `1.5s` or `0`");
    match value {
        Value::Number(n) if n.as_u64() == Some(0) => return Ok(Duration::ZERO),
        Value::Number(n) => {
            return Err(expected()
                .why("a time without a unit could mean anything")
                .help(format!("write `{n}s` or `{n}ms`")));
        }
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {}
    }
    let written = text(value).map_err(|_| expected())?;
    if written == "0" {
        return Ok(Duration::ZERO);
    }
    let mut nanos = 0u128;
    let mut rest = written;
    while !rest.is_empty() {
        let (number, after) = Decimal::split(rest).ok_or_else(expected)?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let Some(unit) = unit(name, TIME) else {
            return Err(expected().help(match name {
                "" => format!("write `{written}s` or `{written}ms`"),
                _ => "the units are ns, us, ms, s, m and h".to_owned(),
            }));
        };
        nanos += number.times(unit).ok_or_else(|| {
            Wrong::rule("K-ROUND", format!("`{written}` is no whole number of nanoseconds")).help("use fewer digits")
        })?;
        rest = after;
    }
    u64::try_from(nanos)
        .ok()
        .map(Duration::from_nanos)
        .filter(|_| !written.is_empty())
        .ok_or_else(expected)
}

/// Reads a length in bytes, as `1000B`, `1KiB` or `1000`, between two bounds, both included.
///
/// # Errors
/// If it is none, no whole number of bytes, or out of bounds.
pub(super) fn size(value: &Value, min: usize, max: usize) -> Result<usize, Wrong> {
    let expected = || {
        let wrong = Wrong::expected(format!("a size from {min}B to {max}B, such as `{}B`", 64.clamp(min, max)));
        let name = value.as_str().and_then(|text| Some(Decimal::split(text)?.1));
        match name.filter(|name| !name.is_empty() && unit(name, SIZE).is_none()) {
            Some(_) => wrong.help("the units are B, kB, MB, GB and TB, and KiB, MiB, GiB and TiB of powers of 1024"),
            None => wrong,
        }
    };
    let bytes = match value {
        Value::Number(n) => n.as_u64().map(u128::from),
        Value::String(text) => {
            Decimal::split(text).and_then(|(number, name)| number.times(unit(if name.is_empty() { "B" } else { name }, SIZE)?))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    bytes
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|bytes| (min..=max).contains(bytes))
        .ok_or_else(expected)
}

/// Reads an MTU, as `9001` or `9001B`, up to `max`.
///
/// # Errors
/// If it is none, or out of bounds.
pub(super) fn mtu(value: &Value, max: u16) -> Result<Mtu, Wrong> {
    let wrong = || {
        Wrong::expected(format!("an MTU from {} to {max}", Mtu::MIN))
            .why(format!("IPv4 needs {} B, and this network carries at most {max} B", Mtu::MIN))
            .help(format!("write a number such as {}", max.min(1500)))
    };
    let bytes = size(value, usize::from(Mtu::MIN.bytes()), usize::from(max)).map_err(|_| wrong())?;
    u16::try_from(bytes).ok().and_then(Mtu::new).ok_or_else(wrong)
}

/// Reads a rate, as `100/s`, and gives the time between two packets.
///
/// # Errors
/// If it is none, is zero, or its interval is no whole number of nanoseconds.
pub(super) fn rate(value: &Value) -> Result<Duration, Wrong> {
    let expected = || Wrong::expected("a rate such as `100/s`");
    let written = text(value).map_err(|_| expected().help("write packets per second as `10/s`"))?;
    let (number, per) = Decimal::split(written).ok_or_else(expected)?;
    let per = per.strip_prefix('/').and_then(|name| unit(name, TIME)).ok_or_else(expected)?;
    if number.digits == 0 {
        return Err(expected().why("a rate of zero never sends anything"));
    }
    let nanos = per * number.denominator();
    if !nanos.is_multiple_of(number.digits) {
        return Err(Wrong::rule(
            "K-ROUND",
            format!("`{written}` gives no whole number of nanoseconds between two packets"),
        )
        .why("times are exact to the nanosecond, and nothing is rounded")
        .help("take a rate that divides 1000000000, such as 2/s, 10/s, 25/s or 100/s"));
    }
    u64::try_from(nanos / number.digits)
        .map(Duration::from_nanos)
        .map_err(|_| expected())
}

/// Reads a share of packets, as `5%` or `0.1%`.
///
/// # Errors
/// If it is none, is above 100%, or is no whole number of millionths.
pub(super) fn share(value: &Value) -> Result<Share, Wrong> {
    let expected = || Wrong::expected("a share from 0% to 100%, such as `5%`");
    let written = text(value).map_err(|_| expected())?;
    let number = Decimal::split(written)
        .filter(|(_, rest)| *rest == "%")
        .ok_or_else(expected)?
        .0;
    let millionths = number.times(10_000).ok_or_else(|| {
        Wrong::rule("K-ROUND", format!("`{written}` is no whole number of millionths")).help("use fewer digits")
    })?;
    u32::try_from(millionths)
        .ok()
        .filter(|share| *share <= 1_000_000)
        .map(Share)
        .ok_or_else(expected)
}

/// Units of rate, in bits in a second.
const BITS: &[(&str, u128)] = &[
    ("bit/s", 1),
    ("kbit/s", 1_000),
    ("Mbit/s", 1_000_000),
    ("Gbit/s", 1_000_000_000),
];

/// Reads a rate in bits in a second, as `10Mbit/s`.
///
/// # Errors
/// If it is none, is zero or above 1 Tbit/s, or is no whole number of bits.
pub(super) fn bit_rate(value: &Value) -> Result<u64, Wrong> {
    let expected = || Wrong::expected("a rate such as `10Mbit/s`").help("the units are bit/s, kbit/s, Mbit/s and Gbit/s");
    let written = text(value).map_err(|_| expected())?;
    let bits = Decimal::split(written).and_then(|(number, name)| number.times(unit(name, BITS)?));
    let bits = bits.and_then(|bits| u64::try_from(bits).ok());
    bits.filter(|bits| (1..=1_000_000_000_000).contains(bits))
        .ok_or_else(expected)
}

/// Reads an address of either family.
///
/// # Errors
/// If it is none.
pub(super) fn address(value: &Value) -> Result<IpAddr, Wrong> {
    let expected = || Wrong::expected("an address such as 10.0.1.11 or fd00:1::11");
    let text = text(value).map_err(|_| expected())?;
    text.parse().map_err(|_| match text.split_once('/') {
        Some((address, _)) => expected().help(format!("write `{address}`; the prefix length is the subnet's")),
        None => expected(),
    })
}

/// Reads a prefix of either family, all of whose host bits are zero.
///
/// # Errors
/// If it is none.
pub(super) fn cidr(value: &Value) -> Result<IpNet, Wrong> {
    let expected = || Wrong::expected("a prefix such as 10.0.1.0/24 or fd00:1::/64");
    let net: IpNet = text(value).map_err(|_| expected())?.parse().map_err(|_| expected())?;
    if net.trunc() == net {
        return Ok(net);
    }
    Err(Wrong::rule("E-CIDR", format!("{net} has bits set beyond its prefix length"))
        .why(format!(
            "/{} leaves {} bits for hosts, and in a prefix they are zero",
            net.prefix_len(),
            net.max_prefix_len() - net.prefix_len()
        ))
        .help(format!("did you mean `{}`?", net.trunc())))
}

/// Reads the name of an address family.
///
/// # Errors
/// If it is none.
pub(super) fn family(value: &Value) -> Result<Family, Wrong> {
    word(value, &[("ipv4", Family::V4), ("ipv6", Family::V6)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_read_exactly() {
        for (text, nanos) in [
            ("10ms", 10_000_000),
            ("1.5s", 1_500_000_000),
            ("1m30s", 90_000_000_000),
            ("0", 0),
            ("0.1us", 100),
            ("7µs", 7_000),
        ] {
            assert_eq!(duration(&json!(text)).unwrap().as_nanos(), nanos, "{text}");
        }
        assert_eq!(duration(&json!(0)).unwrap(), Duration::ZERO);
    }

    #[test]
    fn times_that_would_round_or_have_no_unit_are_refused() {
        for value in [
            json!(5),
            json!(1.5),
            json!("5"),
            json!("0.1ns"),
            json!("1 s"),
            json!("-1s"),
            json!("1M"),
            json!(""),
            json!("1.s"),
            json!("25h"),
            json!("1e3s"),
            json!(".5s"),
        ] {
            assert!(duration(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn rates_are_intervals_and_nothing_rounds() {
        assert_eq!(rate(&json!("100/s")).unwrap(), Duration::from_millis(10));
        assert_eq!(rate(&json!("0.5/s")).unwrap(), Duration::from_secs(2));
        assert_eq!(rate(&json!("6/m")).unwrap(), Duration::from_secs(10));
        for text in ["3/s", "0/s", "10", "10/", "10/d", "/s"] {
            assert!(rate(&json!(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_units_and_bounds() {
        assert_eq!(size(&json!("1KiB"), 8, 2000).unwrap(), 1024);
        assert_eq!(size(&json!("0.5kB"), 8, 2000).unwrap(), 500);
        assert_eq!(size(&json!(64), 8, 2000).unwrap(), 64);
        for value in [
            json!("7B"),
            json!("2001"),
            json!("10 B"),
            json!("0.3B"),
            json!("10Mb"),
            json!(-1),
        ] {
            assert!(size(&value, 8, 2000).is_err(), "{value}");
        }
    }

    #[test]
    fn a_prefix_with_host_bits_is_refused_with_the_right_one() {
        assert_eq!(cidr(&json!("10.0.1.0/24")).unwrap().to_string(), "10.0.1.0/24");
        let refusal = cidr(&json!("10.0.1.5/24"))
            .unwrap_err()
            .at(Default::default(), &json!("10.0.1.5/24"));
        assert_eq!(refusal.help.as_deref(), Some("did you mean `10.0.1.0/24`?"));
    }
}
