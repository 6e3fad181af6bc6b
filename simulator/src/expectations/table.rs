//! `has` and `lacks`: a row of a table with certain fields is there, or is not.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, boolean, integer, suggestion, text, word};
use serde_json::{Map, Value};

use super::{Claim, Expectation, Selection, Verdict};
use crate::rows::{Keys, Shape, Table};
use crate::scenario::knobs::KNOBS;

/// The claims about tables.
pub const TABLE_CLAIMS: [&str; 2] = ["has", "lacks"];

/// Reads the claims about a table among the keys of a mapping.
pub fn read_table_claims(fields: &mut Fields<'_>, table: Table, refusals: &mut Vec<Refusal>) -> Vec<Claim> {
    let mut claims = Vec::new();
    for key in TABLE_CLAIMS {
        let field = fields.field(key);
        let row = fields
            .value(key)
            .and_then(|value| row(value, field.clone(), table.keys(), refusals));
        let there = key == "has";
        claims.extend(row.map(|wanted| Claim {
            key,
            field,
            expectation: Arc::new(Rows { wanted, there }),
        }));
    }
    claims
}

/// The fields of a row that are asked for, in the spelling of the table.
fn row(value: &Value, at: FieldRef, keys: Keys, refusals: &mut Vec<Refusal>) -> Option<Map<String, Value>> {
    let known: Vec<_> = keys.iter().map(|(name, _)| *name).collect();
    mapping(value, at, &known, refusals, |place, value, field, refusals| {
        self::value(value, field, keys.get(place)?.1, refusals)
    })
}

fn knobs(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> Option<Map<String, Value>> {
    let known: Vec<_> = KNOBS.iter().map(|knob| knob.name).collect();
    mapping(value, at, &known, refusals, |place, value, field, refusals| {
        let read = KNOBS.get(place)?.read(value);
        read.map_err(|wrong| refusals.push(wrong.at(field, value))).ok()
    })
}

/// Reads a mapping whose keys are among the known ones; `read` gets the place of a key among them, and its value.
fn mapping(
    value: &Value,
    at: FieldRef,
    known: &[&str],
    refusals: &mut Vec<Refusal>,
    read: impl Fn(usize, &Value, FieldRef, &mut Vec<Refusal>) -> Option<Value>,
) -> Option<Map<String, Value>> {
    let Some(map) = value.as_object().filter(|map| !map.is_empty()) else {
        let wrong = Wrong::expected("a mapping from fields of a row to values");
        refusals.push(wrong.help(format!("the fields are {}", known.join(", "))).at(at, value));
        return None;
    };
    let before = refusals.len();
    let mut wanted = Map::new();
    for (name, value) in map {
        let field = FieldRef {
            origin: at.origin,
            path: at.path.key(name),
        };
        match known.iter().position(|known| known == name) {
            Some(place) => wanted.extend(read(place, value, field, refusals).map(|value| (name.clone(), value))),
            None => refusals.push(unknown(name, field, known)),
        }
    }
    (refusals.len() == before).then_some(wanted)
}

fn unknown(name: &str, field: FieldRef, known: &[&str]) -> Refusal {
    let refusal = Refusal::new("K-UNKNOWN", field, format!("a row has no field `{name}`"))
        .at_key()
        .why("no row could have it");
    match suggestion(name, known.iter().copied()) {
        Some(near) => refusal.help(format!("did you mean `{near}`?")),
        None => refusal.help(format!("the fields are {}", known.join(", "))),
    }
}

fn value(value: &Value, at: FieldRef, shape: Shape, refusals: &mut Vec<Refusal>) -> Option<Value> {
    match (value, shape) {
        (Value::Null, _) => Some(Value::Null),
        (Value::Array(items), _) => {
            let place = |index| FieldRef {
                origin: at.origin,
                path: at.path.index(index),
            };
            let items = items.iter().enumerate();
            let read: Vec<_> = items
                .map(|(index, item)| self::value(item, place(index), shape, refusals))
                .collect();
            read.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
        }
        (value, Shape::Row(keys)) => row(value, at, keys, refusals).map(Value::Object),
        (value, Shape::Knobs) => knobs(value, at, refusals).map(Value::Object),
        (value, shape) => single(value, shape).map_err(|wrong| refusals.push(wrong.at(at, value))).ok(),
    }
}

fn single(value: &Value, shape: Shape) -> Result<Value, Wrong> {
    Ok(match shape {
        Shape::Text | Shape::Row(_) | Shape::Knobs => text(value)?.into(),
        Shape::Address => match address(value)? {
            single if single.prefix_len() == single.max_prefix_len() => single.addr().to_string().into(),
            range => {
                let wrong = Wrong::rule("K-VALUE", format!("{range} is a range, and here stands one address"));
                return Err(wrong.help(format!("write `{}`", range.addr())));
            }
        },
        Shape::Net => address(value)?.to_string().into(),
        Shape::Range => range(value)?.to_string().into(),
        Shape::Source => match range(value)? {
            single if single.prefix_len() == single.max_prefix_len() => single.addr().to_string().into(),
            range => range.to_string().into(),
        },
        Shape::Number => integer(value, 0, u64::MAX)?.into(),
        Shape::Flag => boolean(value)?.into(),
        Shape::Word(words) => {
            let words: Vec<_> = words.iter().map(|word| (*word, *word)).collect();
            word(value, &words)?.into()
        }
    })
}

/// An address with its prefix length, the longest where none is written.
fn address(value: &Value) -> Result<IpNet, Wrong> {
    let text = text(value)?;
    let single = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let net = text.parse().ok().or_else(single);
    net.ok_or_else(|| Wrong::expected("an address such as 10.0.1.11, or a range such as 10.0.1.0/24"))
}

fn range(value: &Value) -> Result<IpNet, Wrong> {
    let net = address(value)?;
    if net == net.trunc() {
        return Ok(net);
    }
    let wrong = Wrong::rule("K-VALUE", format!("{net} is an address in a range, and no range"));
    Err(wrong.help(format!("did you mean `{}`?", net.trunc())))
}

/// A row with these fields is there, or is not.
#[derive(Debug)]
struct Rows {
    wanted: Map<String, Value>,
    there: bool,
}

/// Whether a found value is what is asked for: a mapping needs only the fields that are asked for, and a list anywhere that which is
/// no list itself.
fn fits(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => wanted.iter().all(|(key, value)| has(found, key, value)),
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.len() == found.len() && wanted.iter().zip(found).all(|(wanted, found)| fits(wanted, found))
        }
        (wanted, Value::Array(found)) => found.iter().any(|found| fits(wanted, found)),
        (wanted, found) => wanted == found,
    }
}

fn has(row: &Map<String, Value>, key: &str, wanted: &Value) -> bool {
    fits(wanted, row.get(key).unwrap_or(&Value::Null))
}

/// As `kind ipip, decision.pool blue`.
fn show(row: &Map<String, Value>) -> String {
    let mut parts = Vec::new();
    let mut waiting: Vec<(String, &Value)> = row.iter().rev().map(|(key, value)| (key.clone(), value)).collect();
    while let Some((path, value)) = waiting.pop() {
        match value {
            Value::Object(inner) => waiting.extend(inner.iter().rev().map(|(key, value)| (format!("{path}.{key}"), value))),
            Value::String(text) => parts.push(format!("{path} {text}")),
            Value::Null => parts.push(format!("{path} absent")),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                parts.push(format!("{path} {}", value.to_string().replace('"', "").replace(',', ", ")));
            }
        }
    }
    parts.join(", ")
}

/// A row with all that it holds, without its reasons unless they are asked for.
fn whole(row: &Map<String, Value>, wanted: &Map<String, Value>) -> String {
    let told = |key: &String, value: &Value| wanted.contains_key(key) || !(value.is_null() || value.is_object());
    let told = row.iter().filter(|(key, value)| told(key, value));
    show(&told.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// A row as messages tell it.
pub(crate) fn show_row(row: &Value) -> String {
    row.as_object().map_or_else(String::new, |row| whole(row, &Map::new()))
}

impl Rows {
    /// What the row that has most of the fields, and of several the one that has the first of them, has instead of the others.
    fn nearest(&self, rows: &[&Map<String, Value>]) -> String {
        let misses = |row: &Map<String, Value>| {
            let misses: Vec<bool> = self.wanted.iter().map(|(key, value)| !has(row, key, value)).collect();
            (misses.iter().filter(|miss| **miss).count(), misses)
        };
        let Some(row) = rows.iter().min_by_key(|row| misses(row)) else {
            return String::new();
        };
        let differs = |key: &String| self.wanted.get(key).is_some_and(|wanted| !has(row, key, wanted));
        let absent = self.wanted.keys().filter(|key| !row.contains_key(*key));
        let instead = row
            .iter()
            .filter(|(key, _)| differs(key))
            .map(|(key, value)| (key.clone(), value.clone()));
        let instead: Map<_, _> = instead.chain(absent.map(|key| (key.clone(), Value::Null))).collect();
        match rows.len() {
            1 => format!("its one row has {}", show(&instead)),
            several => format!("the nearest of {several} rows has {}", show(&instead)),
        }
    }
}

impl Expectation for Rows {
    fn judge(&self, selection: &Selection<'_>) -> Verdict {
        let rows: Vec<_> = selection.rows().iter().filter_map(Value::as_object).collect();
        let found = rows
            .iter()
            .find(|row| self.wanted.iter().all(|(key, value)| has(row, key, value)));
        let which = if self.there { "a row" } else { "no row" };
        let expected = format!("{which} with {}", show(&self.wanted));
        if rows.is_empty() {
            return Verdict::never_evaluated(expected, "the table has no row");
        }
        let fail = |code, actual| Verdict::Fail {
            code,
            expected: expected.clone(),
            actual,
            packet: None,
        };
        match (self.there, found) {
            (true, Some(_)) => Verdict::Pass {
                actual: match rows.len() {
                    1 => format!("its one row has {}", show(&self.wanted)),
                    several => format!("a row of {several} has {}", show(&self.wanted)),
                },
            },
            (false, None) => Verdict::Pass {
                actual: match rows.len() {
                    1 => format!("its one row lacks {}", show(&self.wanted)),
                    several => format!("none of {several} rows has {}", show(&self.wanted)),
                },
            },
            (true, None) => fail("E-TBL-01", self.nearest(&rows)),
            (false, Some(row)) => fail("E-TBL-02", format!("there is one: {}", whole(row, &self.wanted))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({"mtu": 1480}), true)]
    #[case(json!({"mtu": 1450}), false)]
    #[case(json!({"addresses": "10.0.0.2/32"}), true)]
    #[case(json!({"addresses": ["10.0.0.2/32"]}), false)]
    #[case(json!({"addresses": ["10.0.0.1/32", "10.0.0.2/32"]}), true)]
    #[case(json!({"decision": {"pool": "blue"}}), true)]
    #[case(json!({"decision": {"pool": "blue", "mode": "Never"}}), false)]
    #[case(json!({"devices": {"name": "tunl0", "mtu": 1480}}), true)]
    #[case(json!({"devices": {"name": "tunl0", "mtu": 1500}}), false)]
    #[case(json!({"workload": null, "reason": null}), true)]
    #[case(json!({"mtu": null}), false)]
    fn a_row_has_what_is_asked_for_however_deep_it_lies(#[case] wanted: Value, #[case] expected: bool) {
        let row = json!({"mtu": 1480, "addresses": ["10.0.0.1/32", "10.0.0.2/32"], "workload": null,
            "decision": {"pool": "blue", "mode": "Always"}, "devices": [{"name": "eth0", "mtu": 1500}, {"name": "tunl0", "mtu": 1480}]});
        assert_eq!(fits(&wanted, &row), expected);
    }
}
