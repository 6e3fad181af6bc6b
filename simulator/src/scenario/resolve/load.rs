//! How much a flow sends at a time, and when.

use std::time::Duration;

use overlab_dataplane::Instant;
use overlab_dataplane::fields::{Fields, Refusal, Wrong, integer};
use serde_json::Value;

use super::flows::{DEFAULT_INTERVAL, LARGEST_PAYLOAD, MOST_PACKETS, SMALLEST_PAYLOAD};
use super::time::Clock;
use crate::scenario::model::Transport;
use crate::scenario::quantity;

/// The longest request or reply over TCP.
const LARGEST_MESSAGE: usize = 1 << 30;
/// About what a TCP segment holds where packets have 1500 B.
const USUAL_SEGMENT: usize = 1400;

/// What is sent at one time: the payload of a packet, or a request and its reply.
#[derive(Default)]
pub(super) struct Load {
    pub(super) payload: Option<usize>,
    /// As long as the payload unless it is said.
    pub(super) reply: Option<usize>,
    every: Option<Duration>,
}

impl Load {
    /// Reads `payload` or `exchange`.
    pub(super) fn read(fields: &mut Fields<'_>, transport: Transport, refusals: &mut Vec<Refusal>) -> Load {
        let largest = match transport {
            Transport::Icmp | Transport::Udp => LARGEST_PAYLOAD,
            Transport::Tcp => LARGEST_MESSAGE,
        };
        if transport == Transport::Tcp
            && let Some(value) = fields.value("exchange")
        {
            for key in ["payload", "rate"] {
                fields.parse(key, refusals, |_| twice_said(key));
            }
            return Load::exchange(Fields::new(value, fields.field("exchange"), refusals), refusals);
        }
        fields.parse("exchange", refusals, no_exchange);
        let payload = fields.parse("payload", refusals, |v| quantity::size(v, SMALLEST_PAYLOAD, largest));
        Load {
            payload,
            ..Load::default()
        }
    }

    fn exchange(mut fields: Fields<'_>, refusals: &mut Vec<Refusal>) -> Load {
        let load = Load {
            payload: fields.require("request", refusals, |v| quantity::size(v, SMALLEST_PAYLOAD, LARGEST_MESSAGE)),
            reply: fields.require("reply", refusals, |v| quantity::size(v, 1, LARGEST_MESSAGE)),
            every: fields.parse("every", refusals, |v| match quantity::duration(v)? {
                Duration::ZERO => Err(Wrong::expected("a time above zero, such as `50ms`")),
                every => Ok(every),
            }),
        };
        fields.finish(refusals);
        load
    }

    /// About how many packets it takes, each with an acknowledgement where it is TCP's.
    fn packets(&self) -> u128 {
        let segments = |bytes: Option<usize>| bytes.unwrap_or(0).div_ceil(USUAL_SEGMENT);
        match self.reply {
            Some(_) => 2 * (segments(self.payload) + segments(self.reply)) as u128,
            None => 1,
        }
    }
}

fn twice_said(key: &str) -> Result<(), Wrong> {
    let said = if key == "rate" { "every" } else { "request" };
    Err(Wrong::rule("E-FLOW", format!("`{key}` stands beside `exchange`")).help(format!("write it as `{said}` of the exchange")))
}

fn no_exchange(_: &Value) -> Result<(), Wrong> {
    Err(Wrong::rule("E-FLOW", "only TCP has exchanges")
        .why("UDP and ICMP are sent at their times, whatever comes back")
        .help("use `payload` and `rate`, or `proto: tcp`"))
}

/// First packet, interval and number of packets.
pub(super) fn times(
    fields: &mut Fields<'_>,
    clock: &Clock,
    load: &Load,
    refusals: &mut Vec<Refusal>,
) -> Option<(Instant, Duration, u32)> {
    let before = refusals.len();
    let start = fields.parse("start", refusals, |v| clock.instant(v)).unwrap_or(Instant::ZERO);
    let stop = fields.parse("stop", refusals, |v| stop(v, start, clock)).unwrap_or(clock.end);
    let rate = fields.parse("rate", refusals, quantity::rate);
    let interval = load.every.or(rate).unwrap_or(DEFAULT_INTERVAL);
    let fitting = stop.since(start).as_nanos().div_ceil(interval.as_nanos().max(1));
    let count = fields
        .parse("count", refusals, |v| count(v, fitting, stop))
        .map(u128::from)
        .unwrap_or(fitting);
    if refusals.len() > before {
        return None;
    }
    let packets = count * load.packets();
    if packets > MOST_PACKETS {
        refusals.push(
            Refusal::new(
                "E-FLOW",
                fields.at().clone(),
                format!("the flow would send {packets} packets"),
            )
            .why(format!("every packet is traced, so that a flow has at most {MOST_PACKETS}"))
            .help("use a lower rate, a `count`, an earlier `stop`, or shorter exchanges"),
        );
    }
    Some((start, interval, u32::try_from(count).ok()?))
}

fn stop(value: &Value, start: Instant, clock: &Clock) -> Result<Instant, Wrong> {
    let stop = clock.read_instant(value)?;
    if stop <= start {
        return Err(
            Wrong::rule("E-FLOW", format!("the flow stops at {stop}, before it sends anything"))
                .help(format!("use a time after its start at {start}")),
        );
    }
    if stop > clock.end {
        return Err(Wrong::rule(
            "E-FLOW",
            format!("the flow stops at {stop}, after the run's end at {}", clock.end),
        )
        .why("sending ends with the run")
        .help("use an earlier time, or a longer `duration`"));
    }
    Ok(stop)
}

fn count(value: &Value, fitting: u128, stop: Instant) -> Result<u64, Wrong> {
    let count = integer(value, 1, u64::from(u32::MAX))?;
    if u128::from(count) <= fitting {
        return Ok(count);
    }
    Err(
        Wrong::rule("E-FLOW", format!("only {fitting} of {count} packets are sent before {stop}"))
            .why("packets are sent at the flow's rate from its start on, and none at or after its end")
            .help("use a higher `rate`, a lower `count`, or a longer `duration`"),
    )
}
