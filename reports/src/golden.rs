//! The canonical text of a scenario: short enough to be reviewed, complete enough that a change of behaviour shows.
//!
//! Not here: positions in files, notes and wall times, which change without anything that happened being different; and the file
//! format and place of goldens.

use crate::layout::{columns, seconds};
use crate::render::packet_lines;
use crate::{FlowRow, ScenarioReport, Status};

/// No golden is longer than this, in lines. What has no room is counted, never dropped in silence.
const LIMIT: usize = 150;

/// A scenario as canonical text: header, flow table, expectations, the tables of every node, and one trace for each distinct fate.
pub fn golden(scenario: &ScenarioReport) -> String {
    let mut lines = vec![format!("{}  {}  seed {}", scenario.label(), scenario.profile, scenario.seed)];
    section(&mut lines, "flows", flow_table(&scenario.flows));
    section(&mut lines, "expectations", expectations(scenario));
    for table in &scenario.tables {
        section(&mut lines, &table.node, table.lines.clone());
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
