//! A report as text, for people: a line for each expectation, and what led to each failure.

use std::io::{self, Write};

use super::Renderer;
use crate::layout::{columns, seconds};
use crate::{
    Advice, Case, DispositionReport, ExpectationReport, GoldenReport, GoldenStatus, PacketReport, Report, ScenarioReport, Status,
};

/// Text for a terminal or a log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text {
    /// Whether verdicts are coloured.
    pub colour: bool,
}

impl Renderer for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn render(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        for scenario in &report.scenarios {
            self.scenario(scenario, out)?;
        }
        writeln!(out, "{}", summary_line(report))
    }
}

impl Text {
    fn scenario(&self, scenario: &ScenarioReport, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", heading(scenario))?;
        for lint in &scenario.lints {
            writeln!(out, "  lint    {lint}")?;
        }
        let cases: Vec<Case<'_>> = scenario.cases().collect();
        let rows: Vec<Vec<String>> = cases.iter().map(row).collect();
        let width = cases.iter().map(|case| word(case.status()).len()).max().unwrap_or(0);
        for (index, (case, line)) in cases.iter().zip(columns(&rows)).enumerate() {
            writeln!(out, "  {}  {line}", self.verdict(case.status(), width))?;
            if case.status() != Status::Pass {
                let rest = cases.get(index + 1);
                for line in told_once(case, index.checked_sub(1).and_then(|before| cases.get(before)), rest) {
                    writeln!(out, "        {line}")?;
                }
            }
        }
        if let Some(problem) = scenario
            .problem
            .as_ref()
            .filter(|_| !cases.iter().any(|case| matches!(case, Case::Run(..))))
        {
            writeln!(out, "  reason  {}", problem.reason)?;
            if let Some(remedy) = &problem.remedy {
                writeln!(out, "  try     {remedy}")?;
            }
        }
        writeln!(out)
    }

    /// The verdict, padded to `width`.
    fn verdict(&self, status: Status, width: usize) -> String {
        let colour = match status {
            Status::Pass => "32",
            Status::Inconclusive => "33",
            Status::Fail => "31",
            Status::Error => "31;1",
        };
        let padded = format!("{:<width$}", word(status));
        if self.colour {
            format!("\x1b[{colour}m{padded}\x1b[0m")
        } else {
            padded
        }
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Pass => "PASS",
        Status::Inconclusive => "INCONCLUSIVE",
        Status::Fail => "FAIL",
        Status::Error => "ERROR",
    }
}

fn heading(scenario: &ScenarioReport) -> String {
    let name = scenario.label();
    let ScenarioReport {
        file,
        profile,
        backend,
        dataplane,
        seed,
        ..
    } = scenario;
    let title = scenario.title.as_ref().map(|title| format!("  {title}")).unwrap_or_default();
    format!(
        "{name}{title}\n  {file}  {profile}  {backend}/{dataplane}  seed {seed}  {} s",
        seconds(scenario.duration_ns)
    )
}

/// `24 expectations: 20 pass, 4 fail, 0 inconclusive      exit 1`. Errors are named only if there are any.
fn summary_line(report: &Report) -> String {
    let summary = &report.summary;
    let errors = if summary.error > 0 {
        format!(", {} error", summary.error)
    } else {
        String::new()
    };
    format!(
        "{} expectations: {} pass, {} fail, {} inconclusive{errors}      exit {}",
        summary.cases, summary.pass, summary.fail, summary.inconclusive, report.exit_code
    )
}

/// The columns of a case after its verdict.
fn row(case: &Case<'_>) -> Vec<String> {
    match case {
        Case::Expectation(e) => {
            let code = e.code.as_ref().map(|code| format!("{code}  ")).unwrap_or_default();
            vec![
                e.label.clone(),
                e.window.clone(),
                e.claim.clone(),
                format!("{code}{}", e.message()),
            ]
        }
        Case::Golden(golden) => vec!["golden".to_owned(), String::new(), String::new(), golden_message(golden)],
        Case::Run(_, problem) => vec!["run".to_owned(), String::new(), String::new(), problem.reason.clone()],
    }
}

/// What the comparison with a golden gave, as a phrase.
pub(super) fn golden_message(golden: &GoldenReport) -> String {
    let file = &golden.file;
    match golden.status {
        GoldenStatus::Same => format!("equals {file}"),
        GoldenStatus::Differs => format!("differs from {file}"),
        GoldenStatus::Missing => format!("{file} is missing; accept this run with --bless"),
        GoldenStatus::Blessed => format!("{file} was accepted"),
    }
}

/// The lines below a case that did not pass.
pub(super) fn detail(case: Case<'_>) -> Vec<String> {
    told_once(&case, None, None)
}

/// As [`detail`], but a packet that the case before showed, and advice that the case behind will give, are left out: failures of one cause
/// tell it once, at their end.
fn told_once(case: &Case<'_>, before: Option<&Case<'_>>, behind: Option<&Case<'_>>) -> Vec<String> {
    match case {
        Case::Expectation(e) => {
            let mut lines = vec![format!("at      {}", e.place)];
            if let Some(packet) = e
                .packet
                .as_ref()
                .filter(|packet| failed(before).and_then(|e| e.packet.as_ref()) != Some(*packet))
            {
                lines.extend(packet_lines(packet));
            }
            if failed(behind).is_none_or(|next| next.advice != e.advice) {
                lines.extend(advice_lines(&e.advice));
            }
            lines
        }
        Case::Golden(golden) => golden.diff.iter().flat_map(|diff| diff.lines()).map(str::to_owned).collect(),
        Case::Run(_, problem) => problem.remedy.iter().map(|remedy| format!("try     {remedy}")).collect(),
    }
}

fn failed<'a>(case: Option<&Case<'a>>) -> Option<&'a ExpectationReport> {
    match case? {
        Case::Expectation(expectation) => Some(*expectation).filter(|e| e.status != Status::Pass),
        Case::Golden(_) | Case::Run(..) => None,
    }
}

fn advice_lines(advice: &Advice) -> Vec<String> {
    let lines = [
        ("cause", &advice.cause),
        ("rule", &advice.rule),
        ("try", &advice.remedy),
        ("replay", &advice.replay),
    ];
    lines
        .into_iter()
        .filter_map(|(key, text)| Some(format!("{key:<6}  {}", text.as_ref()?)))
        .collect()
}

/// A packet's identity and fate, then its hops.
pub(crate) fn packet_lines(packet: &PacketReport) -> Vec<String> {
    let PacketReport {
        flow,
        direction,
        sequence,
        size,
        ..
    } = packet;
    let fate = match &packet.disposition {
        DispositionReport::Delivered { at_ns } => format!("delivered at {} s", seconds(*at_ns)),
        DispositionReport::Dropped { reason, place, at_ns } => format!("dropped {reason}@{place} at {} s", seconds(*at_ns)),
        DispositionReport::Unknown => "nobody knows its fate".to_owned(),
    };
    let sent = seconds(packet.sent_at_ns);
    let mut lines = vec![format!(
        "packet  {flow} {direction} {sequence}, {size} B, sent at {sent} s, {fate}"
    )];
    lines.extend(hop_lines(packet));
    lines
}

fn hop_lines(packet: &PacketReport) -> Vec<String> {
    let mut rows = Vec::new();
    for hop in &packet.hops {
        let (mut at, mut place) = (seconds(hop.at_ns), hop.place.clone());
        let left = hop.left.iter().map(|wire| format!("-> {} B  {}", wire.length, wire.line));
        for text in hop.steps.iter().cloned().chain(left) {
            rows.push(vec![String::new(), std::mem::take(&mut at), std::mem::take(&mut place), text]);
        }
        if !at.is_empty() {
            rows.push(vec![String::new(), at, place]);
        }
    }
    columns(&rows)
}
