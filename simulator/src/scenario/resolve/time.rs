//! Instants and windows: when things start, end, and are looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use overlab_dataplane::Instant;
use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, suggestion};
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
            if name == ALL {
                let refusal = Refusal::new("E-PHASE", field.clone(), "the phase `all` is the whole run").at_key();
                refusals.push(refusal.help("give the phase another name"));
            }
            // A phase that was refused still has its name, so that nobody is refused for using it.
            let (from, to) = clock.bounds(value, &field, refusals).unwrap_or((Instant::ZERO, clock.end));
            let label = name.into();
            clock.phases.insert(name.to_owned(), Window { label, from, to });
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
    pub(super) fn window(&self, value: &Value, at: &FieldRef, refusals: &mut Vec<Refusal>) -> Option<Window> {
        let Some(name) = value.as_str() else {
            let (from, to) = self.bounds(value, at, refusals)?;
            return Some(Window::between(from, to));
        };
        if let Some(window) = self.phases.get(name) {
            return Some(window.clone());
        }
        let known = || self.phases.keys().map(String::as_str);
        let refusal = Refusal::new("E-PHASE", at.clone(), format!("unknown phase {name:?}"))
            .why("a window is the name of a phase, or two times as in `[0s, 1s]`");
        refusals.push(match suggestion(name, known()) {
            Some(near) => refusal.help(format!("did you mean `{near}`?")),
            None => refusal.help(format!("the phases are {}", known().collect::<Vec<_>>().join(", "))),
        });
        None
    }

    fn bounds(&self, value: &Value, at: &FieldRef, refusals: &mut Vec<Refusal>) -> Option<(Instant, Instant)> {
        let Some([from, to]) = value.as_array().map(Vec::as_slice) else {
            let wrong = Wrong::expected("a window such as `[0s, 1s]`, or the name of a phase");
            refusals.push(wrong.at(at.clone(), value));
            return None;
        };
        let mut bound = |value, place| {
            let path = at.path.index(place);
            let field = FieldRef { origin: at.origin, path };
            instant(value).map_err(|wrong| refusals.push(wrong.at(field, value))).ok()
        };
        let (from, to) = (bound(from, 0), bound(to, 1));
        let (from, to) = (from?, to?);
        if from >= to {
            refusals.push(
                Refusal::new("E-WINDOW", at.clone(), "the window ends before it begins")
                    .why("a window holds its first instant and not its last")
                    .help("write the earlier time first"),
            );
            return None;
        }
        if from >= self.end || to > self.end {
            let message = format!("the window goes beyond the run, which ends at {}", self.end);
            refusals.push(
                Refusal::new("E-WINDOW", at.clone(), message)
                    .why("nothing is sent after the run's end, so nothing could be judged there")
                    .help("use earlier times, or a longer `duration`"),
            );
            return None;
        }
        Some((from, to))
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

    fn window(value: Value) -> Option<Window> {
        clock().window(&value, &FieldRef::default(), &mut Vec::new())
    }

    #[test]
    fn a_window_is_a_phase_or_two_bounds() {
        assert_eq!(window(json!("early")).unwrap().to.as_nanos(), 1_000_000_000);
        assert_eq!(&*window(json!(["1.5s", "3s"])).unwrap().label, "[1.500,3.000)");
        assert_eq!(window(json!("all")).unwrap().to, clock().end);
    }

    #[test]
    fn every_phase_but_all_is_declared() {
        let spec = json!({"phases": {"all": ["0s", "1s"]}});
        let mut refusals = Vec::new();
        let mut fields = Fields::new(&spec, Default::default(), &mut refusals);
        Clock::read(&mut fields, Duration::from_secs(10), &mut refusals);
        assert_eq!(refusals.len(), 1);
    }

    #[test]
    fn windows_that_hold_nothing_are_refused() {
        for refused in [
            json!(["2s", "1s"]),
            json!(["1s", "1s"]),
            json!(["9s", "11s"]),
            json!("late"),
            json!(["0s"]),
            json!(["switch", "1s"]),
        ] {
            assert_eq!(window(refused.clone()), None, "{refused}");
        }
    }
}
