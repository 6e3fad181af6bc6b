//! The canonical text of a scenario: short enough to be reviewed, complete enough that a change of behaviour shows.
//!
//! Not here: positions in files, notes and wall times, which change without anything that happened being different; and the file
//! format and place of goldens.

use crate::layout::{columns, seconds};
use crate::render::packet_lines;
use crate::{FlowRow, ScenarioReport, Status, TableChangeReport};

/// No golden is longer than this, in lines. What has no room is counted, never dropped in silence.
const LIMIT: usize = 150;

/// A change of tables is shown in full if it has no more entries than this, else in numbers.
const ENTRIES_SHOWN: usize = 4;

/// Changes of tables have no more lines than this, so that there is room for the traces.
const CHANGES_SHOWN: usize = 40;

/// A scenario as canonical text: header, flow table, expectations, the tables of every node, and one trace for each distinct fate.
pub fn golden(scenario: &ScenarioReport) -> String {
    let mut lines = vec![format!("{}  {}  seed {}", scenario.label(), scenario.profile, scenario.seed)];
    section(&mut lines, "flows", flow_table(&scenario.flows));
    section(&mut lines, "expectations", expectations(scenario));
    for table in &scenario.tables {
        section(&mut lines, &table.node, table.lines.clone());
    }
    if !scenario.changes.is_empty() {
        section(&mut lines, "changes", changes(&scenario.changes));
    }
    for (index, fate) in scenario.fates.iter().enumerate() {
        let trace = packet_lines(&fate.packet);
        let left_out = scenario.fates.len() - index;
        if lines.len() + trace.len() + 4 > LIMIT {
            section(&mut lines, &format!("{left_out} more fates, see the JSON report"), Vec::new());
            break;
        }
        section(&mut lines, &format!("{} x {}", fate.count, fate.fate), trace);
    }
    lines.join("\n") + "\n"
}

fn section(lines: &mut Vec<String>, title: &str, body: Vec<String>) {
    lines.push(String::new());
    lines.push(format!("== {title}"));
    lines.extend(body);
}

fn flow_table(flows: &[FlowRow]) -> Vec<String> {
    let header = [
        "flow",
        "window",
        "sent",
        "back",
        "lost",
        "encap(fwd/rev)",
        "B/pkt",
        "first-drop",
    ];
    let mut rows: Vec<Vec<String>> = flows.iter().map(flow_row).collect();
    rows.sort();
    rows.insert(0, header.map(str::to_owned).to_vec());
    columns(&rows)
}

fn flow_row(row: &FlowRow) -> Vec<String> {
    let encap = |counts: &std::collections::BTreeMap<String, u64>| {
        let parts: Vec<String> = counts.iter().map(|(kind, count)| format!("{kind}:{count}")).collect();
        if parts.is_empty() { "-".to_owned() } else { parts.join(",") }
    };
    let overhead = match row.overhead {
        Some((least, most)) if least == most => least.to_string(),
        Some((least, most)) => format!("{least}-{most}"),
        None => "-".to_owned(),
    };
    let drop = row
        .first_drop
        .as_ref()
        .map(|drop| format!("{} {}@{}", seconds(drop.at_ns), drop.reason, drop.place));
    vec![
        row.flow.clone(),
        row.window.clone(),
        row.sent.to_string(),
        row.back.to_string(),
        row.lost.to_string(),
        format!("{}/{}", encap(&row.encap_forward), encap(&row.encap_reverse)),
        overhead,
        drop.unwrap_or_else(|| "-".to_owned()),
    ]
}

/// One line for each change of a node's tables.
fn changes(changes: &[TableChangeReport]) -> Vec<String> {
    let row = |change: &TableChangeReport| {
        let (time, node) = (seconds(change.at_ns), change.node.clone());
        vec![time, node, change.cause.clone(), what(change)]
    };
    let shown: Vec<_> = changes.iter().take(CHANGES_SHOWN).map(row).collect();
    let mut lines = columns(&shown);
    match changes.len().saturating_sub(CHANGES_SHOWN) {
        0 => {}
        left_out => lines.push(format!("{left_out} more, see the JSON report")),
    }
    lines
}

/// `-192.168.2.0/26 ipip, +192.168.2.0/26 vxlan, ~allow ipip`; `-12 +12 ~1` if there is much.
fn what(change: &TableChangeReport) -> String {
    let kinds = [('-', &change.removed), ('+', &change.added), ('~', &change.altered)];
    let entries: usize = kinds.iter().map(|(_, entries)| entries.len()).sum();
    let all = kinds.iter().flat_map(|(sign, entries)| {
        let each = entries.iter().map(move |entry| format!("{sign}{entry}"));
        each.collect::<Vec<_>>()
    });
    let counts = kinds.iter().filter(|(_, entries)| !entries.is_empty());
    match entries {
        0 => "nothing".to_owned(),
        1..=ENTRIES_SHOWN => all.collect::<Vec<_>>().join(", "),
        _ => counts
            .map(|(sign, entries)| format!("{sign}{}", entries.len()))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn expectations(scenario: &ScenarioReport) -> Vec<String> {
    let rows: Vec<Vec<String>> = scenario
        .expectations
        .iter()
        .map(|e| {
            let verdict = match e.status {
                Status::Pass => "pass",
                Status::Inconclusive => "inconclusive",
                Status::Fail => "fail",
                Status::Error => "error",
            };
            vec![
                verdict.to_owned(),
                e.label.clone(),
                e.window.clone(),
                e.claim.clone(),
                e.actual.clone(),
            ]
        })
        .collect();
    columns(&rows)
}
