//! Instants and windows: when things start, end, and are looked at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use overlab_dataplane::Instant;
use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, suggestion};
use serde_json::Value;

use super::names;
use super::timeline::Entry;
use crate::scenario::model::{Flow, Transport, Window};
use crate::scenario::quantity;

/// The run's length, and the windows that have names.
pub(super) struct Clock {
    pub(super) end: Instant,
    /// Windows by name. One whose bounds speak of events that are not there has its refusals instead, for whoever uses it: a variant
    /// may remove an event.
    phases: BTreeMap<String, Result<Window, Vec<Refusal>>>,
    /// When events begin and end.
    events: BTreeMap<Arc<str>, (Instant, Option<Instant>)>,
}

/// Sending goes on for this long after the last event.
const AFTER_LAST_EVENT: Duration = Duration::from_secs(1);

/// The name of the window that is the whole run.
const ALL: &str = "all";

impl Clock {
    /// Reads `phases`. A run without `duration` ends a second after the last event.
    pub(super) fn read(
        spec: &mut Fields<'_>,
        duration: Option<Duration>,
        timeline: &[Entry<'_>],
        refusals: &mut Vec<Refusal>,
    ) -> Clock {
        let last = timeline
            .iter()
            .map(|entry| entry.until.unwrap_or(entry.at))
            .max()
            .unwrap_or_default();
        let end = duration.map_or_else(
            || last.saturating_add(AFTER_LAST_EVENT),
            |span| Instant::ZERO.saturating_add(span),
        );
        let mut clock = Clock {
            end,
            phases: BTreeMap::new(),
            events: timeline
                .iter()
                .map(|entry| (entry.name.clone(), (entry.at, entry.until)))
                .collect(),
        };
        for entry in timeline {
            entry.check_end(end, refusals);
        }
        clock.phases.insert(ALL.to_owned(), Ok(clock.whole()));
        for (name, field, value) in spec.entries("phases", refusals) {
            names::check("phase", name, &field, refusals);
            if name == ALL {
                let refusal = Refusal::new("E-PHASE", field.clone(), "the phase `all` is the whole run").at_key();
                refusals.push(refusal.help("give the phase another name"));
            }
            if clock.events.contains_key(name) {
                let refusal = Refusal::new("E-PHASE", field.clone(), format!("an event is called {name:?} too")).at_key();
                let refusal = refusal.why("a window may be the name of either");
                refusals.push(refusal.help("give the phase another name"));
            }
            let mut wrong = Vec::new();
            let bounds = clock.bounds(value, &field, &mut wrong);
            let phase = if wrong.iter().any(|refusal| refusal.code == "E-EVENT") {
                Err(wrong)
            } else {
                // A phase that was refused still has its name, so that nobody is refused for using it.
                refusals.append(&mut wrong);
                let (from, to) = bounds.unwrap_or((Instant::ZERO, clock.end));
                let label = name.into();
                Ok(Window { label, from, to })
            };
            clock.phases.insert(name.to_owned(), phase);
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
        match self.phases.get(name) {
            Some(Ok(window)) => return Some(window.clone()),
            Some(Err(wrong)) => {
                let new: Vec<_> = wrong.iter().filter(|refusal| !refusals.contains(refusal)).cloned().collect();
                refusals.extend(new);
                return None;
            }
            None => {}
        }
        match self.events.get(name) {
            Some((from, Some(to))) => {
                return Some(Window {
                    label: name.into(),
                    from: *from,
                    to: *to,
                });
            }
            Some((_, None)) => {
                let refusal = Refusal::new("E-WINDOW", at.clone(), format!("event {name:?} has no end"));
                refusals.push(
                    refusal
                        .why("a window needs two bounds, and the event has no `for`")
                        .help(format!("write `[{name}, {name}+1s]`, or give the event a `for`")),
                );
                return None;
            }
            None => {}
        }
        let lasting = self.events.iter().filter(|(_, (_, until))| until.is_some());
        let lasting: Vec<&str> = lasting.map(|(name, _)| &**name).collect();
        let known = || self.phases.keys().map(String::as_str).chain(lasting.iter().copied());
        let refusal = Refusal::new("E-PHASE", at.clone(), format!("unknown phase {name:?}"))
            .why("a window is the name of a phase or of an event with `for`, or two times as in `[0s, 1s]`");
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
            self.read_instant(value)
                .map_err(|wrong| refusals.push(wrong.at(field, value)))
                .ok()
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
        let at = self.read_instant(value)?;
        if at < self.end {
            return Ok(at);
        }
        Err(
            Wrong::rule("E-WINDOW", format!("{at} is not within the run, which ends at {}", self.end))
                .help("use an earlier time, or a longer `duration`"),
        )
    }
}

impl Clock {
    /// A time since the start of the run, or an event, `event.end`, and a time before or after it: `switch+3s`.
    pub(super) fn read_instant(&self, value: &Value) -> Result<Instant, Wrong> {
        let Some(written) = value.as_str().filter(|text| text.starts_with(|c: char| c.is_alphabetic())) else {
            return Ok(Instant::ZERO.saturating_add(quantity::duration(value)?));
        };
        if written.contains(' ') {
            let wrong = Wrong::rule("E-EVENT", format!("{written:?} is no instant"));
            return Err(wrong.help("write it without blanks, as `switch+3s`"));
        }
        // Names have hyphens too, so the longest name that the text begins with is meant.
        let begins = |name: &&Arc<str>| {
            written
                .strip_prefix(&***name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', '-', '.']))
        };
        let Some(name) = self.events.keys().filter(begins).max_by_key(|name| name.len()) else {
            let stem = written.split(['+', '.']).next().unwrap_or(written);
            if let Some(Ok(phase)) = self.phases.get(stem) {
                let wrong = Wrong::rule("E-EVENT", format!("`{stem}` is a phase, and this is an instant"));
                return Err(wrong.help(format!("write when it begins or ends: {} or {}", phase.from, phase.to)));
            }
            let wrong = Wrong::rule("E-EVENT", format!("unknown event {stem:?}")).why("events are declared in `timeline`");
            return Err(match suggestion(stem, self.events.keys().map(|name| &**name)) {
                Some(near) => wrong.help(format!("did you mean `{near}`?")),
                None => wrong.help("write a time since the start of the run, as `1s`, or the name of an event"),
            });
        };
        let (from, until) = self.events.get(name).copied().unwrap_or_default();
        let rest = &written[name.len()..];
        let (base, rest) = match rest.strip_prefix(".end") {
            Some(rest) => (until.ok_or_else(|| no_end(name))?, rest),
            None => (from, rest),
        };
        let span = |text: &str| quantity::duration(&Value::from(text));
        match (rest.strip_prefix('+'), rest.strip_prefix('-')) {
            (Some(after), _) => Ok(base.saturating_add(span(after)?)),
            (None, Some(before)) => {
                let nanos = u64::try_from(span(before)?.as_nanos()).unwrap_or(u64::MAX);
                let at = base.as_nanos().checked_sub(nanos).map(Instant::from_nanos);
                at.ok_or_else(|| Wrong::rule("E-WINDOW", format!("{written} is before the start of the run")))
            }
            (None, None) if rest.is_empty() => Ok(base),
            (None, None) => Err(Wrong::expected(
                "an event, `event.end`, or one of them and a time, as `switch+3s`",
            )),
        }
    }
}

fn no_end(event: &str) -> Wrong {
    Wrong::rule("E-EVENT", format!("event {event:?} has no end"))
        .why("only an event with `for` ends")
        .help("give it a `for`, or write a time after its beginning, as `switch+1s`")
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

    /// Whether a flow sends anything in it. When a TCP's segments leave is known only afterwards.
    pub(super) fn holds_packets_of(&self, flow: &Flow) -> bool {
        if flow.transport == Transport::Tcp {
            return flow.start < self.to;
        }
        let interval = flow.interval.as_nanos().max(1);
        let before = u128::from(self.from.as_nanos().saturating_sub(flow.start.as_nanos())).div_ceil(interval);
        let next = u128::from(flow.start.as_nanos()) + before * interval;
        before < u128::from(flow.count) && next < u128::from(self.to.as_nanos())
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
        let clock = Clock::read(&mut fields, Some(Duration::from_secs(10)), &[], &mut refusals);
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
        Clock::read(&mut fields, Some(Duration::from_secs(10)), &[], &mut refusals);
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
