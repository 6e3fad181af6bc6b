//! Expectations: what each entry speaks of, and that it can be evaluated at all.

use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, suggestion, text, word};
use serde_json::Value;

use super::cast::Cast;
use super::flows::Flows;
use super::matrix::{CLASSES, Matrix, id};
use super::table::of_table;
use super::time::Clock;
use crate::expectations::{Claim, INVARIANT, LIST, TABLE_CLAIMS, read_claims, read_invariant};
use crate::scenario::glob::{glob_matches, is_glob};
use crate::scenario::model::{Expectation, FlowId, Reply, Subject, Transport};

/// What an entry can speak of. It names exactly one of them.
const SELECTORS: [&str; 4] = ["flow", "matrix", "table", INVARIANT];

/// Reads `expect`. Matrices add their probes to the flows.
pub(super) fn read(
    spec: &mut Fields<'_>,
    cast: &Cast,
    clock: &Clock,
    flows: &mut Flows,
    refusals: &mut Vec<Refusal>,
) -> Vec<Expectation> {
    let at = spec.field("expect");
    let written = spec.value("expect").is_some();
    let entries = spec.items("expect", refusals);
    if entries.is_empty() && (!written || spec.value("expect").is_some_and(Value::is_array)) {
        refusals.push(
            Refusal::new("E-EXP-01", at, "the scenario expects nothing")
                .why("a run that nothing is expected of would pass whatever happens")
                .help("add `expect: [{flow: NAME, delivered: all}]` to `spec`"),
        );
    }
    let mut expectations = Vec::new();
    for (field, value) in entries {
        let entry = Fields::new(value, field, refusals);
        read_one(entry, cast, clock, flows, &mut expectations, refusals);
    }
    // Probes are packets too, and known only now. Where anything was refused, flows may be missing.
    let unmet = |of: &&Expectation| of.subject == Subject::EveryFlow && !flows.list.iter().any(|f| of.window.holds_packets_of(f));
    if refusals.is_empty() {
        let unmet = expectations.iter().filter(unmet);
        refusals.extend(unmet.map(|of| {
            let message = format!("nothing is sent in the window {}", of.window.label);
            let refusal = Refusal::new("E-EXP-04", of.field.clone(), message);
            refusal
                .why("an expectation about no packet could never fail")
                .help("choose a window in which some flow sends, or add a flow or a matrix")
        }));
    }
    expectations
}

fn read_one(
    mut entry: Fields<'_>,
    cast: &Cast,
    clock: &Clock,
    flows: &mut Flows,
    expectations: &mut Vec<Expectation>,
    refusals: &mut Vec<Refusal>,
) {
    let selectors = SELECTORS.into_iter().filter_map(|key| Some((key, entry.value(key)?)));
    let selectors: Vec<_> = selectors.collect();
    match selectors[..] {
        [("flow", flow)] => expectations.extend(of_flows(entry, flow, cast, clock, flows, refusals)),
        [("matrix", _)] => of_matrix(entry, cast, clock, flows, expectations, refusals),
        [("table", _)] => expectations.extend(of_table(entry, cast, clock, refusals)),
        [_] => expectations.extend(of_invariant(entry, clock, refusals)),
        [(first, _), (second, _), ..] => refusals.push(
            Refusal::new(
                "E-EXP-05",
                entry.field(second),
                format!("`{first}` and `{second}` are both there"),
            )
            .at_key()
            .why("an expectation speaks of one thing")
            .help("make two entries of it"),
        ),
        [] => refusals.push(
            Refusal::new("E-EXP-05", entry.at().clone(), "the expectation selects nothing")
                .why("it could never be evaluated")
                .help("add `flow: NAME`, `matrix: all`, `table: routes` or `invariant: no-loops`"),
        ),
    }
}

/// An entry about flows that the scenario names.
fn of_flows(
    mut entry: Fields<'_>,
    selector: &Value,
    cast: &Cast,
    clock: &Clock,
    flows: &Flows,
    refusals: &mut Vec<Refusal>,
) -> Option<Expectation> {
    let selected = entry.parse("flow", refusals, |v| select(v, flows));
    let window = match entry.value("during") {
        Some(value) => clock.window(value, &entry.field("during"), refusals),
        None => Some(clock.whole()),
    };
    misplaced(
        &mut entry,
        "at",
        "`at` is for a matrix or a table",
        "write `during: [0s, 1s]`, or the name of a phase",
        refusals,
    );
    misplaced(
        &mut entry,
        "classes",
        "`classes` belong to a matrix",
        "write the claims into the entry itself",
        refusals,
    );
    only_of_tables(&mut entry, refusals);
    let (flow_at, during_at, reverse_at, at) = (
        entry.field("flow"),
        entry.field("during"),
        entry.field("reverse"),
        entry.at().clone(),
    );
    let (claims, reverse) = claims(entry, cast, refusals);
    check_connections(claims.iter(), reverse.iter().flatten(), refusals, || {
        let is_tcp = |flow: &FlowId| flows.list[flow.0 as usize].transport == Transport::Tcp;
        selected.iter().flatten().any(is_tcp) || selected.as_ref().is_none_or(Vec::is_empty)
    });
    let (selected, window) = (selected?, window?);
    let sending = |flow: &FlowId| window.holds_packets_of(&flows.list[flow.0 as usize]);
    if !selected.is_empty() && !selected.iter().any(sending) {
        refusals.push(
            Refusal::new(
                "E-EXP-04",
                during_at,
                format!("nothing is sent in the window {}", window.label),
            )
            .why("an expectation about no packet could never fail")
            .help("choose a window in which the flow sends")
            .related(flow_at, "the flow"),
        );
    }
    let answered = |flow: &FlowId| flows.list[flow.0 as usize].reply == Reply::Echo;
    if reverse.is_some() && !selected.is_empty() && !selected.iter().any(answered) {
        refusals.push(
            Refusal::new("E-EXP-04", reverse_at, "nothing is sent in the reverse direction")
                .at_key()
                .why("the flow has `reply: none`")
                .help("remove `reverse`, or `reply: none`"),
        );
    }
    Some(Expectation {
        label: label(selector).into(),
        subject: Subject::Flows(selected),
        window,
        claims,
        reverse,
        field: at,
    })
}

/// An entry about every packet of the run, or of a window.
fn of_invariant(mut entry: Fields<'_>, clock: &Clock, refusals: &mut Vec<Refusal>) -> Option<Expectation> {
    let claim = read_invariant(&mut entry, refusals);
    let label = entry.value(INVARIANT).map(label);
    let window = match entry.value("during") {
        Some(value) => clock.window(value, &entry.field("during"), refusals),
        None => Some(clock.whole()),
    };
    let (help, field) = ("write `during: [0s, 1s]`, or the name of a phase", entry.at().clone());
    misplaced(&mut entry, "at", "`at` is for a matrix or a table", help, refusals);
    only_of_packets(&mut entry, INVARIANT, refusals);
    only_of_tables(&mut entry, refusals);
    entry.finish(refusals);
    Some(Expectation {
        label: label?.into(),
        subject: Subject::EveryFlow,
        window: window?,
        claims: vec![claim?],
        reverse: None,
        field,
    })
}

/// Refuses the claims about packets of flows in an entry that speaks of something else.
pub(super) fn only_of_packets(entry: &mut Fields<'_>, selector: &str, refusals: &mut Vec<Refusal>) {
    let claims = LIST.iter().map(|(key, _)| *key);
    for key in claims.chain(["reverse", "classes"]) {
        let message = format!("`{key}` is about the packets of flows, and the entry selects by `{selector}`");
        misplaced(entry, key, &message, "make an entry with `flow` of it", refusals);
    }
}

/// Refuses what only an entry about a table has.
fn only_of_tables(entry: &mut Fields<'_>, refusals: &mut Vec<Refusal>) {
    for key in TABLE_CLAIMS.into_iter().chain(["node"]) {
        let message = format!("`{key}` is about the rows of a table");
        misplaced(entry, key, &message, "make an entry with `table` of it", refusals);
    }
}

/// An entry about the probes of a matrix: one expectation a class.
fn of_matrix(
    mut entry: Fields<'_>,
    cast: &Cast,
    clock: &Clock,
    flows: &mut Flows,
    expectations: &mut Vec<Expectation>,
    refusals: &mut Vec<Refusal>,
) {
    misplaced(
        &mut entry,
        "during",
        "`during` is for flows",
        "write `at: 1s`; a matrix sends its probes from then on",
        refusals,
    );
    only_of_tables(&mut entry, refusals);
    let matrix = Matrix::read(&mut entry, cast, clock, refusals);
    let classes = entry.entries("classes", refusals);
    if classes.is_empty() {
        let refusal = Refusal::new("E-EXP-03", entry.at().clone(), "the matrix claims nothing");
        refusals.push(
            refusal
                .why("the claims of a matrix stand under the class of pairs that they hold for")
                .help("add `classes: {same-subnet: {delivered: all}, cross-subnet: {delivered: all}}`"),
        );
    }
    entry.finish(refusals);
    for (name, field, value) in classes {
        let class = match word(&Value::String(name.to_owned()), &CLASSES) {
            Ok(class) => class,
            Err(wrong) => {
                refusals.push(wrong.at(field, &Value::String(name.to_owned())).at_key());
                continue;
            }
        };
        let (claims, reverse) = claims(Fields::new(value, field.clone(), refusals), cast, refusals);
        let Some(matrix) = &matrix else { continue };
        check_connections(claims.iter(), reverse.iter().flatten(), refusals, || {
            matrix.transport() == Transport::Tcp
        });
        let probes = matrix.probes(class, cast, flows);
        if probes.is_empty() && cast.sound {
            refusals.push(no_pair(name, &field));
        }
        expectations.push(Expectation {
            label: format!("matrix {name}").into(),
            subject: Subject::Flows(probes),
            window: matrix.window(),
            claims,
            reverse,
            field,
        });
    }
}

fn no_pair(class: &str, field: &FieldRef) -> Refusal {
    Refusal::new("E-EXP-04", field.clone(), format!("no pair of the matrix is {class}"))
        .at_key()
        .why("an expectation about no packet could never fail")
        .help(format!("remove `{class}`, or add workloads or nodes"))
}

/// Refuses what is claimed of connections that there are none of, or of one direction of them.
fn check_connections<'c>(
    claims: impl Iterator<Item = &'c Claim>,
    reverse: impl Iterator<Item = &'c Claim>,
    refusals: &mut Vec<Refusal>,
    has_any: impl Fn() -> bool,
) {
    let of_connection = |claim: &&Claim| claim.key == "connection";
    for claim in claims.filter(of_connection).filter(|_| !has_any()) {
        refusals.push(
            Refusal::new("E-EXP-04", claim.field.clone(), "no flow here has a connection")
                .at_key()
                .why("an expectation that meets nothing could never be evaluated")
                .help("claim it of a flow with `proto: tcp`"),
        );
    }
    for claim in reverse.filter(of_connection) {
        let refusal = Refusal::new("E-EXP-05", claim.field.clone(), "a connection has no direction").at_key();
        refusals.push(refusal.help("move `connection` out of `reverse`"));
    }
}

/// The claims of an entry or class, and those under its `reverse`. It is done with the mapping then.
fn claims(mut fields: Fields<'_>, cast: &Cast, refusals: &mut Vec<Refusal>) -> (Vec<Claim>, Option<Vec<Claim>>) {
    let before = refusals.len();
    let reverse = fields.value("reverse").map(|value| {
        let reverse = Fields::new(value, fields.field("reverse"), refusals);
        finish_claims(reverse, cast, true, refusals)
    });
    let needed = reverse.is_none() || refusals.len() > before;
    (finish_claims(fields, cast, needed, refusals), reverse)
}

fn finish_claims(mut fields: Fields<'_>, cast: &Cast, needed: bool, refusals: &mut Vec<Refusal>) -> Vec<Claim> {
    let before = refusals.len();
    let at = fields.at().clone();
    let claims = read_claims(&mut fields, cast, refusals);
    fields.finish(refusals);
    if needed && claims.is_empty() && refusals.len() == before {
        refusals.push(
            Refusal::new("E-EXP-03", at, "the expectation claims nothing")
                .why("it could never fail")
                .help("add a claim, as `delivered: all` or `encap: none`"),
        );
    }
    claims
}

pub(super) fn misplaced(entry: &mut Fields<'_>, key: &'static str, what: &str, help: &str, refusals: &mut Vec<Refusal>) {
    entry.withhold(&[key]);
    if entry.value(key).is_some() {
        refusals.push(Refusal::new("E-EXP-05", entry.field(key), what).at_key().help(help));
    }
}

/// The flows that a name, a pattern or a list of them selects. A flow that was refused itself is left out.
fn select(value: &Value, flows: &Flows) -> Result<Vec<FlowId>, Wrong> {
    let items = match value {
        Value::Array(items) => items.iter().map(text).collect::<Result<Vec<_>, _>>()?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => vec![text(value)?],
    };
    let mut selected = Vec::new();
    for item in &items {
        let matches = |name: &str| {
            if is_glob(item) {
                glob_matches(item, name)
            } else {
                name == *item
            }
        };
        if !flows.declared.iter().any(|name| matches(name)) {
            return Err(unknown(item, flows));
        }
        let found = flows
            .list
            .iter()
            .enumerate()
            .filter(|(_, flow)| !flow.probe && matches(&flow.name));
        selected.extend(found.map(|(place, _)| id(place)));
    }
    if items.is_empty() {
        return Err(Wrong::expected("at least one flow").why("an expectation about no packet could never fail"));
    }
    selected.sort_unstable();
    selected.dedup();
    Ok(selected)
}

fn unknown(item: &str, flows: &Flows) -> Wrong {
    let wrong = match is_glob(item) {
        true => Wrong::rule("E-FLOW", format!("no flow matches {item:?}")).why("an expectation about no packet could never fail"),
        false => Wrong::rule("E-FLOW", format!("unknown flow {item:?}")).why("expectations speak of the flows of the scenario"),
    };
    match suggestion(item, flows.declared.iter().map(String::as_str)) {
        Some(near) => wrong.help(format!("did you mean `{near}`?")),
        None if flows.declared.is_empty() => wrong.help("add it to `spec.flows`"),
        None => wrong.help(format!("the flows are {}", flows.declared.join(", "))),
    }
}

/// As it is printed: `az`, or `[a, b]`.
fn label(selector: &Value) -> String {
    match selector {
        Value::Array(items) => {
            let names: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            format!("[{}]", names.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            selector.as_str().unwrap_or_default().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_are_printed_as_they_are_written() {
        assert_eq!(label(&json!("az*")), "az*");
        assert_eq!(label(&json!(["a", "b"])), "[a, b]");
    }
}
