//! `path`: the workloads, nodes, subnets and underlays that delivered packets passed, in order.

use std::sync::Arc;

use overlab_dataplane::fields::{Wrong, suggestion, text};
use serde_json::Value;

use super::quantity::never_fails;
use super::selection::is_delivered;
use super::{Expectation, Names, Scope, Selection, Verdict};
use crate::observe::Direction;

#[derive(Debug)]
struct Path {
    places: Vec<Element>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Element {
    Place(String),
    /// `"..."`: any run of places.
    Any,
}

pub(super) fn read(value: &Value, names: &dyn Names) -> Result<Arc<dyn Expectation>, Wrong> {
    let items = value.as_array().filter(|items| !items.is_empty());
    let items = items.ok_or_else(|| Wrong::expected("a list of places, as `[web-a, a1, main/az-a, a2, web-b]`"))?;
    let known = names.places();
    let places = items
        .iter()
        .map(|item| match text(item)? {
            "..." => Ok(Element::Any),
            name if known.contains(&name) => Ok(Element::Place(name.to_owned())),
            name => {
                let wrong = Wrong::rule("K-VALUE", format!("unknown place `{name}` in the path"));
                Err(match suggestion(name, known.iter().copied()) {
                    Some(near) => wrong.help(format!("did you mean `{near}`?")),
                    None => {
                        wrong.help("a path names workloads, nodes, hosts, underlays, `underlay/subnet`, or `...` for any run")
                    }
                })
            }
        })
        .collect::<Result<Vec<_>, Wrong>>()?;
    if places.iter().all(|place| *place == Element::Any) {
        return Err(never_fails(
            "every path is a run of places",
            "name a place that packets must pass",
        ));
    }
    Ok(Arc::new(Path { places }))
}

fn matches(pattern: &[Element], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((Element::Any, rest)) => (0..=path.len()).any(|skipped| matches(rest, path.get(skipped..).unwrap_or_default())),
        Some((Element::Place(place), rest)) => path
            .split_first()
            .is_some_and(|(first, path)| first == place && matches(rest, path)),
    }
}

fn show(places: &[Element]) -> String {
    let names: Vec<_> = places
        .iter()
        .map(|p| if let Element::Place(name) = p { name } else { "..." })
        .collect();
    names.join(" > ")
}

impl Expectation for Path {
    fn judge(&self, packets: &Selection<'_>) -> Verdict {
        let mut backwards = self.places.clone();
        backwards.reverse();
        let mut total = 0;
        for trace in packets.packets().filter(|trace| is_delivered(trace)) {
            total += 1;
            let mirrored = packets.scope() == Scope::Both && trace.key.direction == Direction::Reverse;
            let wanted = if mirrored { &backwards } else { &self.places };
            let path = trace.path();
            if !matches(wanted, &path) {
                return Verdict::Fail {
                    code: "E-PTH-01",
                    expected: show(wanted),
                    actual: format!(
                        "the {} packet at {} went {}",
                        trace.key.direction,
                        trace.sent_at,
                        path.join(" > ")
                    ),
                    packet: Some(trace.key),
                };
            }
        }
        if total == 0 {
            return Verdict::never_evaluated(show(&self.places), "no packet was delivered");
        }
        Verdict::Pass {
            actual: format!("{total} of {total} went {}", show(&self.places)),
        }
    }
}
