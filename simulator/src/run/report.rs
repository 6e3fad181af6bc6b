//! From a run to its report: plain data, in the words of scenarios.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use overlab_dataplane::encap::Encap;
use overlab_dataplane::route::{NodeTables, VxlanTunnel};
use overlab_reports::{
    Advice, DispositionReport, ExpectationReport, FateReport, FirstDrop, FlowRow, HopReport, PacketReport, Problem,
    ScenarioReport, Status, TableReport, WireReport,
};

use super::changes::changes;
use super::judge::{Judged, selected};
use super::{Run, judge};
use crate::expectations::{Scope, Verdict, added, worn};
use crate::observe::{Direction, Disposition, PacketKey, PlaceKind, Trace, tell};
use crate::scenario::{Diagnostic, Expectation, FlowId, Loaded, Model, glob_matches};

/// How a scenario was run.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The file, as it was named.
    pub file: &'a Path,
    /// Which variant of it.
    pub variant: Option<&'a str>,
    /// `sim` or `netns`.
    pub backend: &'static str,
    /// Whether counts are held against ranges.
    pub ranges: bool,
    /// Only verdicts whose label this glob matches.
    pub expect: Option<&'a str>,
    /// Whether the report is to hold the tables of every machine and how they change: in a large cluster by far the most of it.
    pub tables: bool,
}

/// The report of a scenario that ran.
pub fn report(loaded: &Loaded, run: &Run, context: &Context<'_>) -> ScenarioReport {
    let model = &loaded.model;
    let mut report = empty(model, context);
    report.lints = loaded.warnings.iter().map(Diagnostic::line).collect();
    let wanted = |judged: &Judged<'_>| {
        context
            .expect
            .is_none_or(|glob| glob_matches(glob, &judged.expectation.label))
    };
    let judged = judge(loaded, run, context.ranges);
    report.expectations = judged
        .iter()
        .filter(|judged| wanted(judged))
        .map(|judged| verdict(loaded, run, context, judged))
        .collect();
    report.status = report.expectations.iter().map(|e| e.status).max().unwrap_or(Status::Pass);
    report.flows = rows(model, &run.traces);
    if context.tables {
        report.tables = run.tables.iter().map(|tables| table(tables.first())).collect();
        report.changes = changes(model, run);
    }
    report.fates = fates(model, &run.traces);
    report
}

/// The report of a scenario that this host cannot run.
pub fn inconclusive(loaded: &Loaded, context: &Context<'_>, reason: String, remedy: Option<String>) -> ScenarioReport {
    let problem = Some(Problem { reason, remedy });
    ScenarioReport {
        status: Status::Inconclusive,
        problem,
        ..empty(&loaded.model, context)
    }
}

/// As many things that are wrong with a scenario are named in its report.
const NAMED: usize = 20;

/// The report of a scenario that is wrong.
pub fn refused(context: &Context<'_>, diagnostics: &[Diagnostic]) -> ScenarioReport {
    let named = diagnostics.iter().take(NAMED).map(|d| format!("{}: {}", d.place, d.message));
    let more = diagnostics.len().saturating_sub(NAMED);
    let rest = (more > 0).then(|| format!("and {more} more, which `overlab check` shows"));
    let reason = named.chain(rest).collect::<Vec<_>>().join("\n");
    let name = context.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    ScenarioReport {
        name,
        status: Status::Error,
        problem: Some(Problem { reason, remedy: None }),
        ..blank(context)
    }
}

/// What can be told of a scenario before it runs.
fn empty(model: &Model, context: &Context<'_>) -> ScenarioReport {
    ScenarioReport {
        name: model.name.to_string(),
        title: model.title.clone(),
        profile: model.cluster.profile().to_string(),
        seed: model.seed,
        duration_ns: u64::try_from(model.duration.as_nanos()).unwrap_or(u64::MAX),
        notes: model.notes.clone(),
        ..blank(context)
    }
}

/// What can be told of a file before it is read.
fn blank(context: &Context<'_>) -> ScenarioReport {
    ScenarioReport {
        name: String::new(),
        variant: context.variant.map(str::to_owned),
        title: None,
        file: context.file.display().to_string(),
        profile: String::new(),
        backend: context.backend.to_owned(),
        dataplane: "engine".to_owned(),
        seed: 0,
        duration_ns: 0,
        status: Status::Pass,
        problem: None,
        golden: None,
        expectations: Vec::new(),
        flows: Vec::new(),
        tables: Vec::new(),
        changes: Vec::new(),
        fates: Vec::new(),
        notes: Vec::new(),
        lints: Vec::new(),
    }
}

fn verdict(loaded: &Loaded, run: &Run, context: &Context<'_>, judged: &Judged<'_>) -> ExpectationReport {
    let place = loaded.sources.place(&judged.claim.field);
    let place = place.map(|place| match &place.excerpt {
        Some(excerpt) => format!("{}:{}", place.file, excerpt.line),
        None => place.file.to_string(),
    });
    let side = if judged.scope == Scope::Reverse { "reverse " } else { "" };
    let mut report = ExpectationReport {
        id: format!(
            "{}.{}{}",
            judged.index + 1,
            if side.is_empty() { "" } else { "reverse." },
            judged.claim.key
        ),
        label: judged.expectation.label.to_string(),
        window: judged.expectation.window.label.to_string(),
        claim: format!("{side}{}", judged.claim.key),
        status: Status::Pass,
        code: None,
        expected: None,
        actual: String::new(),
        place: place.unwrap_or_default(),
        packet: None,
        advice: Advice::default(),
    };
    match &judged.verdict {
        Verdict::Pass { actual } => report.actual.clone_from(actual),
        Verdict::Inconclusive { reason } => {
            report.status = Status::Inconclusive;
            report.actual.clone_from(reason);
        }
        Verdict::Fail {
            code,
            expected,
            actual,
            packet,
        } => {
            report.status = Status::Fail;
            report.code = Some((*code).to_owned());
            report.expected = Some(expected.clone());
            report.actual.clone_from(actual);
            let trace = packet.and_then(|key| find(&run.traces, key));
            report.packet = trace.map(|trace| packet_report(&loaded.model, trace));
            report.advice = advice(loaded, context, judged, trace);
        }
    }
    report
}

/// What would help: where the cause stands, the rule behind it, what to try, how to see it again.
fn advice(loaded: &Loaded, context: &Context<'_>, judged: &Judged<'_>, trace: Option<&Trace>) -> Advice {
    let told = trace.map(|trace| crate::observe::advice(trace, loaded)).unwrap_or_default();
    let replay = format!(
        "overlab run {}{} --backend {} --seed {} --expect '{}'",
        context.file.display(),
        context.variant.map_or_else(String::new, |name| format!(" --variant {name}")),
        context.backend,
        loaded.model.seed,
        judged.expectation.label
    );
    Advice {
        cause: told.cause,
        rule: told.rule,
        remedy: told.remedy,
        replay: Some(replay),
    }
}

fn find(traces: &[Trace], key: PacketKey) -> Option<&Trace> {
    traces
        .binary_search_by(|trace| trace.key.cmp(&key))
        .ok()
        .and_then(|index| traces.get(index))
}

/// A packet with all its hops.
pub fn packet_report(model: &Model, trace: &Trace) -> PacketReport {
    let hops = trace.hops.iter().map(|hop| HopReport {
        at_ns: hop.at.as_nanos(),
        place: hop.place.to_string(),
        steps: hop.steps.iter().map(|step| tell(step, hop.tables.as_deref())).collect(),
        left: hop
            .left
            .iter()
            .map(|left| WireReport {
                length: left.length as u64,
                line: left.line.clone(),
            })
            .collect(),
    });
    PacketReport {
        flow: flow_name(model, trace.key.flow),
        direction: trace.key.direction.to_string(),
        sequence: u64::from(trace.key.sequence),
        sent_at_ns: trace.sent_at.as_nanos(),
        size: trace.size as u64,
        disposition: match &trace.disposition {
            Disposition::Delivered { at } => DispositionReport::Delivered { at_ns: at.as_nanos() },
            Disposition::Dropped { reason, place, at } => DispositionReport::Dropped {
                reason: reason.to_string(),
                place: place.to_string(),
                at_ns: at.as_nanos(),
            },
            Disposition::Unknown => DispositionReport::Unknown,
        },
        hops: hops.collect(),
    }
}

fn flow_name(model: &Model, id: FlowId) -> String {
    model
        .flows
        .get(id.0 as usize)
        .map_or_else(String::new, |flow| flow.name.to_string())
}

/// The flow table: a row for each flow, and one for each class of a matrix.
fn rows(model: &Model, traces: &[Trace]) -> Vec<FlowRow> {
    let probes = |e: &&Expectation| {
        e.subject
            .flows()
            .iter()
            .any(|id| model.flows.get(id.0 as usize).is_some_and(|flow| flow.probe))
    };
    let whole = format!("[0.000,{}.{:03})", model.duration.as_secs(), model.duration.subsec_millis());
    let flows = model
        .flows
        .iter()
        .enumerate()
        .filter(|(_, flow)| !flow.probe)
        .map(|(i, flow)| {
            let packets = traces.iter().filter(move |trace| trace.key.flow == FlowId(i as u32));
            row(&flow.name, &whole, packets)
        });
    let classes = model.expectations.iter().filter(probes);
    let classes = classes.map(|class| row(&class.label, &class.window.label, selected(class, traces)));
    let mut rows: Vec<_> = flows.chain(classes).collect();
    rows.dedup_by(|a, b| a.flow == b.flow && a.window == b.window);
    rows
}

fn row<'t>(flow: &str, window: &str, packets: impl Iterator<Item = &'t Trace>) -> FlowRow {
    let mut row = FlowRow {
        flow: flow.to_owned(),
        window: window.to_owned(),
        sent: 0,
        back: 0,
        lost: 0,
        encap_forward: BTreeMap::new(),
        encap_reverse: BTreeMap::new(),
        overhead: None,
        first_drop: None,
    };
    let mut first_lost = None;
    for trace in packets {
        let delivered = matches!(trace.disposition, Disposition::Delivered { .. });
        let encaps = match trace.key.direction {
            Direction::Forward => {
                row.sent += 1;
                &mut row.encap_forward
            }
            Direction::Reverse => {
                row.back += u64::from(delivered);
                &mut row.encap_reverse
            }
        };
        row.lost += u64::from(!delivered);
        if let Some(encap) = worn(trace) {
            *encaps.entry(encap.to_string()).or_default() += 1;
        }
        if let Some(bytes) = added(trace).and_then(|bytes| u64::try_from(bytes).ok()) {
            let (least, most) = row.overhead.unwrap_or((bytes, bytes));
            row.overhead = Some((least.min(bytes), most.max(bytes)));
        }
        if let Disposition::Dropped { reason, place, .. } = &trace.disposition
            && first_lost.is_none_or(|at| trace.sent_at < at)
        {
            first_lost = Some(trace.sent_at);
            let (at_ns, reason, place) = (trace.sent_at.as_nanos(), reason.to_string(), place.to_string());
            row.first_drop = Some(FirstDrop { at_ns, reason, place });
        }
    }
    row
}

/// A node's routes, as `ip route` prints them, and whom its tunnels listen to.
fn table(tables: &Arc<NodeTables>) -> TableReport {
    let mut lines: Vec<String> = tables.routes().map(|route| tables.text(route).to_string()).collect();
    if let Some(ipip) = &tables.ipip {
        lines.push(format!("allow ipip from {}", ipip.allowed));
    }
    for (vxlan, allowed) in tables.vxlan.iter().zip(tables.vxlan_allowed.iter()) {
        for vtep in vxlan.iter().flat_map(VxlanTunnel::remotes) {
            lines.push(format!(
                "vtep {} {} at {} ({})",
                vtep.address, vtep.mac, vtep.node_address, vtep.node
            ));
        }
        lines.extend(allowed.as_ref().map(|allowed| format!("allow vxlan from {allowed}")));
    }
    TableReport {
        node: tables.node.to_string(),
        lines,
    }
}

/// One packet for each way to end: what it wore, what that cost, how it ended, and what kinds of places it passed.
fn fates(model: &Model, traces: &[Trace]) -> Vec<FateReport> {
    type Key = (Option<Encap>, Option<i64>, String, Vec<PlaceKind>);
    let mut order: Vec<(Key, FateReport)> = Vec::new();
    for trace in traces {
        let end = match &trace.disposition {
            Disposition::Delivered { .. } => "delivered".to_owned(),
            Disposition::Dropped { reason, place, .. } => format!("{reason}@{place}"),
            Disposition::Unknown => "unknown".to_owned(),
        };
        let kinds = trace.hops.iter().map(|hop| hop.place.kind).collect();
        let key: Key = (worn(trace), added(trace), end, kinds);
        match order.iter_mut().find(|(known, _)| *known == key) {
            Some((_, fate)) => fate.count += 1,
            None => {
                let encap = key
                    .0
                    .map_or_else(|| "lost before it left".to_owned(), |encap| encap.to_string());
                let fate = match key.1 {
                    Some(bytes) => format!("{encap}, {bytes} B, {}", key.2),
                    None => format!("{encap}, {}", key.2),
                };
                order.push((
                    key,
                    FateReport {
                        fate,
                        count: 1,
                        packet: packet_report(model, trace),
                    },
                ));
            }
        }
    }
    order.into_iter().map(|(_, fate)| fate).collect()
}
