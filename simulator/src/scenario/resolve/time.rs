//! Instants and windows: when things start, end, and are looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use overlab_dataplane::Instant;
use overlab_dataplane::fields::{Fields, Refusal, Wrong, suggestion};
use serde_json::Value;

use super::names;
use crate::scenario::model::{Flow, Window};
use crate::scenario::quantity;

/// The run's length, and the windows that have names.
pub(super) struct Clock {
    pub(super) end: Instant,
    phases: BTreeMap<String, Window>,
}

/// The name of the window that is the whole run.
const ALL: &str = "all";

impl Clock {
    /// Reads `phases`.
    pub(super) fn read(spec: &mut Fields<'_>, duration: Duration, refusals: &mut Vec<Refusal>) -> Clock {
        let mut clock = Clock {
            end: Instant::ZERO.saturating_add(duration),
            phases: BTreeMap::new(),
        };
        clock.phases.insert(ALL.to_owned(), clock.whole());
        for (name, field, value) in spec.entries("phases", refusals) {
            names::check("phase", name, &field, refusals);
            match clock.bounds(value) {
                Ok((from, to)) => {
                    let label = name.into();
                    clock.phases.insert(name.to_owned(), Window { label, from, to });
                }
                Err(wrong) => refusals.push(wrong.at(field, value)),
            }
        }
        clock
    }

    /// The whole run.
    pub(super) fn whole(&self) -> Window {
        Window {
            label: ALL.into(),
            from: Instant::ZERO,
            to: self.end,
        }
    }

    /// Reads a window: the name of a phase, or its two bounds.
    pub(super) fn window(&self, value: &Value) -> Result<Window, Wrong> {
        let Some(name) = value.as_str() else {
            let (from, to) = self.bounds(value)?;
            return Ok(Window::between(from, to));
        };
        self.phases.get(name).cloned().ok_or_else(|| {
            let wrong = Wrong::rule("E-PHASE", format!("unknown phase {name:?}"));
            let known = || self.phases.keys().map(String::as_str);
            match suggestion(name, known()) {
                Some(near) => wrong.help(format!("did you mean `{near}`?")),
                None => wrong.help(format!(
                    "the phases are {}; a window is also `[0s, 1s]`",
                    known().collect::<Vec<_>>().join(", ")
                )),
            }
        })
    }

    fn bounds(&self, value: &Value) -> Result<(Instant, Instant), Wrong> {
        let expected = || Wrong::expected("a window such as `[0s, 1s]`, or the name of a phase");
        let Some([from, to]) = value.as_array().map(Vec::as_slice) else {
            return Err(expected());
        };
        let (from, to) = (instant(from)?, instant(to)?);
        if from >= to {
            return Err(Wrong::rule("E-WINDOW", "the window ends before it begins")
                .why("a window holds its first instant and not its last")
                .help("write the earlier time first"));
        }
        if from >= self.end || to > self.end {
            return Err(Wrong::rule(
                "E-WINDOW",
                format!("the window goes beyond the run, which ends at {}", self.end),
            )
            .why("nothing is sent after the run's end, so nothing could be judged there")
            .help("use earlier times, or a longer `duration`"));
        }
        Ok((from, to))
    }

    /// Reads an instant before the end of the run.
    pub(super) fn instant(&self, value: &Value) -> Result<Instant, Wrong> {
        let at = instant(value)?;
        if at < self.end {
            return Ok(at);
        }
        Err(
            Wrong::rule("E-WINDOW", format!("{at} is not within the run, which ends at {}", self.end))
                .help("use an earlier time, or a longer `duration`"),
        )
    }
}

impl Window {
    /// A window without a name, labelled as `[0.000,1.000)`.
    pub(super) fn between(from: Instant, to: Instant) -> Window {
        let seconds = |at: Instant| at.to_string().trim_end_matches(" s").to_owned();
        Window {
            label: format!("[{},{})", seconds(from), seconds(to)).into(),
            from,
            to,
        }
    }

    /// Whether a flow sends anything in it.
    pub(super) fn holds_packets_of(&self, flow: &Flow) -> bool {
        let interval = flow.interval.as_nanos().max(1);
        let before = u128::from(self.from.as_nanos().saturating_sub(flow.start.as_nanos())).div_ceil(interval);
        let next = u128::from(flow.start.as_nanos()) + before * interval;
        before < u128::from(flow.count) && next < u128::from(self.to.as_nanos())
    }
}

fn instant(value: &Value) -> Result<Instant, Wrong> {
    match value.as_str() {
        Some(text) if text.starts_with(|c: char| c.is_alphabetic()) => {
            let event = text.split(['+', '-', '.']).next().unwrap_or(text);
            Err(Wrong::rule("E-EVENT", format!("unknown event {event:?}"))
                .why("events are declared in `timeline`, which is not modelled yet")
                .help("write a time since the start of the run, as `1s`"))
        }
        Some(_) | None => Ok(Instant::ZERO.saturating_add(quantity::duration(value)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn clock() -> Clock {
        let spec = json!({"phases": {"early": ["0s", "1s"]}});
        let mut refusals = Vec::new();
        let mut fields = Fields::new(&spec, Default::default(), &mut refusals);
        let clock = Clock::read(&mut fields, Duration::from_secs(10), &mut refusals);
        assert_eq!(refusals, []);
        clock
    }

    #[test]
    fn a_window_is_a_phase_or_two_bounds() {
        assert_eq!(clock().window(&json!("early")).unwrap().to.as_nanos(), 1_000_000_000);
        assert_eq!(&*clock().window(&json!(["1.5s", "3s"])).unwrap().label, "[1.500,3.000)");
        assert_eq!(clock().window(&json!("all")).unwrap().to, clock().end);
    }

    #[test]
    fn windows_that_hold_nothing_are_refused() {
        for window in [
            json!(["2s", "1s"]),
            json!(["1s", "1s"]),
            json!(["9s", "11s"]),
            json!("late"),
            json!(["0s"]),
            json!(["switch", "1s"]),
        ] {
            assert!(clock().window(&window).is_err(), "{window}");
        }
    }
}
