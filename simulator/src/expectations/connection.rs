//! `connection`: what became of a flow's TCP connection.

use std::fmt;
use std::sync::Arc;

use overlab_dataplane::fields::{Wrong, word};
use serde_json::Value;

use super::selection::is_delivered;
use super::{Expectation, Names, Selection, Verdict};
use crate::observe::{ConnectionEvent, Direction, Trace};
use crate::scenario::Flow;

/// How a connection stands at the end of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fortune {
    /// An exchange was completed in the window, and it is open.
    Survives,
    /// The other end reset it, or refused it.
    Resets,
    /// Neither.
    Stalls,
}

impl fmt::Display for Fortune {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

pub(super) fn read(value: &Value, _names: &dyn Names) -> Result<Arc<dyn Expectation>, Wrong> {
    let fortunes = [Fortune::Survives, Fortune::Resets, Fortune::Stalls];
    Ok(Arc::new(word(value, &fortunes.map(|fortune| (fortune.word(), fortune)))?))
}

impl Fortune {
    fn word(self) -> &'static str {
        match self {
            Fortune::Survives => "survives",
            Fortune::Resets => "resets",
            Fortune::Stalls => "stalls",
        }
    }
}

/// The packet that shows best what became of a connection: the last of the other end before it was reset or its last reply was
/// whole; else the first that was lost, or the first one.
fn telling<'a>(fortune: Fortune, packets: &Selection<'a>, flow: &'a Flow) -> Option<&'a Trace> {
    let at_end = |wanted: ConnectionEvent| {
        let (_, events) = packets.connections().find(|(own, _)| std::ptr::eq(*own, flow))?;
        let (at, _) = events.iter().rfind(|(_, event)| *event == wanted)?;
        let answers = packets
            .packets_of(flow)
            .filter(|trace| trace.key.direction == Direction::Reverse);
        answers.filter(|trace| trace.sent_at <= *at).max_by_key(|trace| trace.sent_at)
    };
    let found = match fortune {
        Fortune::Resets => at_end(ConnectionEvent::Reset),
        Fortune::Survives => at_end(ConnectionEvent::Exchanged),
        Fortune::Stalls => packets.packets_of(flow).find(|trace| !is_delivered(trace)),
    };
    found.or_else(|| packets.packets_of(flow).next())
}

impl Expectation for Fortune {
    fn judge(&self, packets: &Selection<'_>) -> Verdict {
        let window = packets.window();
        let mut seen = Vec::new();
        for (flow, events) in packets.connections().filter(|(flow, _)| flow.start < window.to) {
            let before = events.iter().filter(|(at, _)| *at < window.to);
            let has = |wanted: ConnectionEvent| before.clone().any(|(_, event)| *event == wanted);
            let exchanges = before
                .clone()
                .filter(|(at, event)| *at >= window.from && *event == ConnectionEvent::Exchanged);
            let last = exchanges.clone().map(|(at, _)| *at).max();
            let fortune = if has(ConnectionEvent::Reset) {
                Fortune::Resets
            } else if last.is_some() {
                Fortune::Survives
            } else {
                Fortune::Stalls
            };
            seen.push((flow, fortune, (exchanges.count(), last)));
        }
        let Some((flow, fortune, (exchanged, last))) = seen.iter().find(|(_, fortune, _)| fortune != self).or(seen.first())
        else {
            return Verdict::never_evaluated(self.to_string(), "no TCP connection was opened");
        };
        let actual = match fortune {
            Fortune::Survives => {
                let last = last.unwrap_or(window.from);
                format!("{} survives: {exchanged} exchanges completed, the last at {last}", flow.name)
            }
            Fortune::Resets => format!("{} was reset", flow.name),
            Fortune::Stalls => format!("{} stalls: no exchange completed", flow.name),
        };
        if fortune == self {
            let actual = match seen.len() {
                1 => actual,
                all => format!("{all} of {all}, as {actual}"),
            };
            return Verdict::Pass { actual };
        }
        Verdict::Fail {
            code: "E-CON-01",
            expected: self.to_string(),
            actual,
            packet: telling(*fortune, packets, flow).map(|trace| trace.key),
        }
    }
}
