//! `connection`: what became of a flow's TCP connection.

use std::fmt;
use std::sync::Arc;

use overlab_dataplane::fields::{Wrong, word};
use serde_json::Value;

use super::{Expectation, Names, Selection, Verdict};
use crate::observe::ConnectionEvent;

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
            packet: packets.first_of(flow).map(|trace| trace.key),
        }
    }
}
