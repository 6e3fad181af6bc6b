//! Expectations about tables: which table of whom, and when.

use overlab_dataplane::Instant;
use overlab_dataplane::fields::{Fields, Refusal, Wrong, suggestion, text, word};
use serde_json::Value;

use super::cast::Cast;
use super::expect::{misplaced, only_of_packets};
use super::time::Clock;
use crate::expectations::{TABLE_CLAIMS, read_table_claims};
use crate::rows::Table;
use crate::scenario::model::{Expectation, Subject, Window};

/// Reads an entry about a table.
pub(super) fn of_table(mut entry: Fields<'_>, cast: &Cast, clock: &Clock, refusals: &mut Vec<Refusal>) -> Option<Expectation> {
    let table = entry.parse("table", refusals, |value| word(value, &Table::ALL));
    let machine = machine(&mut entry, table, cast, refusals);
    let at = match entry.value("at") {
        None => Some(Instant::ZERO),
        Some(_) => entry.parse("at", refusals, |value| clock.instant(value)),
    };
    misplaced(
        &mut entry,
        "during",
        "`during` is for packets",
        "write `at: 1s`; a table is looked at in one instant",
        refusals,
    );
    only_of_packets(&mut entry, "table", refusals);
    let field = entry.at().clone();
    let before = refusals.len();
    let claims = match table {
        Some(table) => read_table_claims(&mut entry, table, refusals),
        None => {
            entry.ignore(&TABLE_CLAIMS);
            Vec::new()
        }
    };
    if table.is_some() && claims.is_empty() && refusals.len() == before {
        refusals.push(
            Refusal::new("E-EXP-03", field.clone(), "the expectation claims nothing")
                .why("it could never fail")
                .help("add `has: {FIELD: VALUE}` or `lacks: {FIELD: VALUE}`"),
        );
    }
    entry.finish(refusals);
    let (table, machine, at) = (table?, machine?, at?);
    let label = match machine {
        Some((_, name)) => format!("{table} of {name}"),
        None => table.to_string(),
    };
    Some(Expectation {
        label: label.into(),
        subject: Subject::Table {
            table,
            machine: machine.map(|(place, _)| place),
        },
        window: Window {
            label: at.to_string().into(),
            from: at,
            to: at,
        },
        claims,
        reverse: None,
        field,
    })
}

/// Whose table it is, by place and name; none of a table that is no node's.
#[expect(clippy::option_option, reason = "what was refused is apart from what is nobody's")]
fn machine<'c>(
    entry: &mut Fields<'_>,
    table: Option<Table>,
    cast: &'c Cast,
    refusals: &mut Vec<Refusal>,
) -> Option<Option<(usize, &'c str)>> {
    match table {
        Some(table) if !table.is_of_node() => {
            let message = format!("`{table}` is no table of a node");
            misplaced(entry, "node", &message, "remove `node`", refusals);
            Some(None)
        }
        Some(_) => entry.require("node", refusals, |value| find(value, cast)).map(Some),
        None => {
            entry.ignore(&["node"]);
            None
        }
    }
}

fn find<'c>(value: &Value, cast: &'c Cast) -> Result<(usize, &'c str), Wrong> {
    let name = text(value)?;
    let machines = || cast.nodes.iter().chain(&cast.hosts).map(|machine| &*machine.name);
    machines().enumerate().find(|(_, known)| *known == name).ok_or_else(|| {
        let wrong =
            Wrong::rule("E-NODE", format!("unknown node {name:?}")).why("tables are those of nodes and hosts of the scenario");
        match suggestion(name, machines()) {
            Some(near) => wrong.help(format!("did you mean `{near}`?")),
            None => wrong.help(format!("the nodes are {}", machines().collect::<Vec<_>>().join(", "))),
        }
    })
}
