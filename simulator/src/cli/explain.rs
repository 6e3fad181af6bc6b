//! `overlab explain`: one packet, hop by hop, with the reason of every decision and where it is written.

mod faults;
mod packet;

use std::io::{self, Write};
use std::path::PathBuf;

use overlab_dataplane::Family;
use overlab_dataplane::encap::Encap;
use overlab_dataplane::engine::{self, Layer};
use overlab_dataplane::route::{NodeTables, RouteId, RouteKind};
use serde_json::{Value, json};

use self::packet::load;
use super::{Exit, refuse};
use crate::observe::{Capture, Direction, Disposition, History, Hop, Step, Trace, changed, icmp_error, missing, reasons, tell};
use crate::run::{Run, attempt, packet_report};
use crate::scenario::{BackendKind, Loaded, Model, Sources, Transport};

/// Shows one packet hop by hop: header stack, size, and why each decision was taken.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  overlab explain scenarios/aws/switch-ipip-to-vxlan.yaml web-a1 web-b1 --size 1500")]
pub(super) struct Args {
    /// The scenario
    path: PathBuf,
    /// The sender: a workload, node or host
    from: String,
    /// The receiver: a workload, node, host or address
    to: String,
    /// The packet's IP length, headers included [default: 92, and 112 over IPv6]; tcp's own is as long as it is
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(36..))]
    size: Option<u16>,
    /// ipv4 or ipv6; without it, the first that both ends have
    #[arg(long, value_name = "FAMILY", value_parser = ["ipv4", "ipv6"])]
    family: Option<String>,
    /// icmp, udp or tcp: of a connection, what opens it and what is answered
    #[arg(long, value_name = "PROTOCOL", default_value = "icmp", value_parser = ["icmp", "udp", "tcp"])]
    proto: String,
    /// The port that udp and tcp are sent to [default: 7]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    dport: Option<u16>,
    /// What the sending socket does about path MTUs
    #[arg(long, value_name = "MODE", default_value = "want", value_parser = ["want", "dont", "do", "probe"])]
    df: String,
    /// The TTL that it is sent with
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u8).range(1..))]
    ttl: u8,
    /// When it is sent: a time, or an event of the timeline and a time before or after it, as switch+3s [default: 0s]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// This variant of the scenario
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Print versioned JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// If the output cannot be written.
pub(super) fn explain(args: &Args, out: &mut dyn Write) -> io::Result<Exit> {
    if args.proto == "tcp" && args.size.is_some() {
        tell!(
            "error: the packet that opens a TCP connection has no size of choice\n  help: leave --size out, or use --proto udp"
        );
        return Ok(Exit::BadInput);
    }
    let loaded = match load(args) {
        Ok(loaded) => loaded,
        Err(diagnostics) => return Ok(refuse(&diagnostics)),
    };
    let run = match attempt(&loaded, BackendKind::Sim, Capture::off()) {
        Ok(mut run) => {
            // A connection has more segments than the two that are asked about.
            run.traces.retain(|trace| trace.key.sequence == 0);
            run
        }
        Err(error) => {
            tell!("error: {error}");
            return Ok(Exit::Internal);
        }
    };
    note_service(&loaded.model, &run);
    match args.json {
        true => print_json(&loaded, &run, out)?,
        false => print_text(args, &loaded, &run, out)?,
    }
    Ok(Exit::Pass)
}

/// Says how a service is asked that an echo request was sent to: kube-proxy translates TCP and UDP alone.
fn note_service(model: &Model, run: &Run) {
    let flow = model.flows.first().filter(|flow| flow.transport == Transport::Icmp);
    let tables = run.tables.first().map(History::first);
    if let Some((flow, tables)) = flow.zip(tables)
        && let Some((.., port)) = tables.services.ports_of(flow.destination).next()
    {
        let (address, service) = (flow.destination, &port.service);
        tell!("note: {address} is service {service}: give --proto and --dport");
    }
}

fn print_json(loaded: &Loaded, run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let packets: Vec<_> = run
        .traces
        .iter()
        .map(|trace| {
            let (model, hops) = (&loaded.model, &trace.hops);
            let why: Vec<_> = hops.iter().map(|hop| why(hop, &loaded.sources)).collect();
            let tables: Vec<_> = hops.iter().map(|hop| tables_json(hop, model)).collect();
            let packet = packet_report(model, trace);
            let faults = faults::on_the_way(model, trace);
            json!({ "packet": packet, "why": why, "tables": tables, "faults": faults, "icmpErrors": icmp_errors(trace) })
        })
        .collect();
    let text = serde_json::to_string_pretty(&json!({ "schema": "overlab.dev/explain/v1", "packets": packets }))?;
    writeln!(out, "{text}")
}

fn print_text(args: &Args, loaded: &Loaded, run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let model = &loaded.model;
    let destination = model
        .flows
        .first()
        .map_or_else(String::new, |flow| flow.destination.to_string());
    let to = if args.to == destination {
        destination
    } else {
        format!("{} {destination}", args.to)
    };
    let size = run.traces.first().map_or(0, |trace| trace.size);
    let profile = model.cluster.profile();
    let start = args.at.as_ref().and(model.flows.first()).map(|flow| flow.start);
    let at = start.map_or_else(String::new, |start| format!(", at {start}"));
    writeln!(
        out,
        "{} > {to}  {}, {} B, df {}, ttl {}{at}  ({profile})",
        args.from, args.proto, size, args.df, args.ttl
    )?;
    for trace in &run.traces {
        let what = match trace.key.direction {
            Direction::Forward => "request",
            Direction::Reverse => "reply",
        };
        writeln!(out, "\n{what}: {}", end(trace))?;
        for fault in faults::on_the_way(model, trace) {
            writeln!(out, "  {fault}")?;
        }
        for hop in &trace.hops {
            print_hop(hop, loaded, out)?;
        }
        for error in icmp_errors(trace) {
            writeln!(out, "  {error}")?;
        }
        if let Disposition::Dropped { reason, .. } = &trace.disposition {
            writeln!(out, "  {reason}: {}", reason.meaning())?;
        }
    }
    Ok(())
}

fn end(trace: &Trace) -> String {
    let wore = trace.first_hop.first().map(|packet| {
        let left: usize = trace.first_hop.iter().map(|packet| packet.length).sum();
        let fragments = if trace.first_hop.len() > 1 {
            format!(" in {} packets", trace.first_hop.len())
        } else {
            String::new()
        };
        let dress = if packet.encap == Encap::None {
            "bare".to_owned()
        } else {
            packet.encap.to_string()
        };
        format!(", {dress} on the wire, {} -> {left} B{fragments}", trace.size)
    });
    let wore = wore.unwrap_or_default();
    match &trace.disposition {
        Disposition::Delivered { .. } => format!("delivered{wore}"),
        Disposition::Dropped { reason, place, .. } => format!("dropped, {reason} at {place}{wore}"),
        Disposition::Unknown => format!("its end is not known{wore}"),
    }
}

fn print_hop(hop: &Hop, loaded: &Loaded, out: &mut dyn Write) -> io::Result<()> {
    let (model, sources) = (&loaded.model, &loaded.sources);
    let micros = hop.at.as_nanos() / 1_000;
    write!(out, "  {:>5}.{:03} ms  {}", micros / 1_000, micros % 1_000, hop.place)?;
    let later = if hop.later_fragment { "  (a later fragment)" } else { "" };
    writeln!(out, "{later}")?;
    if let Some(tables) = hop.tables.as_ref().filter(|_| !model.table_changes.is_empty()) {
        let since = changed(hop, tables, model).unwrap_or_else(|| "as at the start".to_owned());
        writeln!(out, "{:14}tables {since}", "")?;
    }
    let outage = hop.tables.as_ref().and_then(|tables| model.outage(&tables.node, hop.at));
    if let Some(outage) = outage {
        writeln!(out, "{:14}calico-node is down since {}, by {}", "", outage.from, outage.name)?;
    }
    for step in &hop.steps {
        writeln!(out, "{:14}{}", "", tell(step, hop.tables.as_deref()))?;
        for reason in step_reasons(step, hop, sources) {
            writeln!(out, "{:16}because {reason}", "")?;
        }
    }
    for left in &hop.left {
        writeln!(out, "{:14}-> {} B  {}", "", left.length, left.line)?;
    }
    Ok(())
}

/// Since when, and by what, a node had the tables that it worked from in a hop, for machines; null where there are none.
fn tables_json(hop: &Hop, model: &Model) -> Value {
    let Some(tables) = &hop.tables else {
        return Value::Null;
    };
    match model.last_table_change(&tables.node, hop.at) {
        Some(change) => json!({ "sinceNs": change.at.as_nanos(), "cause": &*change.cause }),
        None => json!({ "sinceNs": 0 }),
    }
}

/// The reasons of a hop's decisions, for machines.
fn why(hop: &Hop, sources: &Sources) -> Vec<String> {
    hop.steps.iter().flat_map(|step| step_reasons(step, hop, sources)).collect()
}

fn step_reasons(step: &Step, hop: &Hop, sources: &Sources) -> Vec<String> {
    let (Step::Engine(step), Some(tables)) = (step, hop.tables.as_deref()) else {
        return Vec::new();
    };
    if let engine::Step::Routed { route, destination } = step {
        if tables.route(*route).is_some_and(|route| route.kind == RouteKind::Host) {
            return missing(*destination, tables, sources);
        }
        let route = tables.route(*route).filter(|route| route.kind != RouteKind::Local);
        let decision = route.and_then(|route| route.decision.as_deref());
        return decision.map_or_else(Vec::new, |decision| reasons(decision, tables, sources));
    }
    if let engine::Step::Encapsulated { overhead, route, .. } = step {
        return arithmetic(*route, *overhead, hop, tables);
    }
    Vec::new()
}

/// The sizes around a tunnel header: what the route takes before it, what the card takes after it.
fn arithmetic(route: RouteId, overhead: u16, hop: &Hop, tables: &NodeTables) -> Vec<String> {
    let takes = tables.route(route).and_then(|route| tables.route_mtu(route));
    let card = tables.devices.first().map(|device| (&device.name, device.mtu));
    let split = |step: &Step| matches!(step, Step::Engine(engine::Step::Fragmented { layer: Layer::Outer, .. }));
    let lengths = hop.left.iter().map(|left| left.length);
    let whole = match hop.steps.iter().any(split) {
        // Every fragment but the first repeats the outer header of 20 B.
        true => lengths.sum::<usize>().checked_sub(20 * hop.left.len().saturating_sub(1)),
        false => lengths.max(),
    };
    match (takes, card, whole) {
        (Some(takes), Some((name, mtu)), Some(whole)) => {
            let inner = whole.saturating_sub(usize::from(overhead));
            let fits = if mtu.fits(whole) { "fits" } else { "is more than" };
            vec![format!(
                "{inner} B fits the tunnel's {takes} B, and {inner} + {overhead} = {whole} B {fits} {name}'s {mtu} B"
            )]
        }
        _ => Vec::new(),
    }
}

fn icmp_errors(trace: &Trace) -> Vec<String> {
    let line = |error: &crate::observe::IcmpSeen| {
        let kind = engine::IcmpKind {
            kind: error.kind,
            code: error.code,
            mtu: error.mtu,
        };
        format!(
            "{} learned from {}: {}",
            error.to,
            error.from,
            icmp_error(kind, Family::of(error.from))
        )
    };
    trace.icmp_errors.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use overlab_dataplane::Instant;

    use super::*;
    use crate::scenario::TableChange;
    use crate::world;

    /// A packet a second after the start, when the tables of its sender's node have changed and the receiver's have not.
    fn explained(print: impl FnOnce(&Args, &Loaded, &Run, &mut Vec<u8>) -> io::Result<()>) -> String {
        let args = Args {
            path: concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../scenarios/aws/ipip-crosssubnet-check-off-delivered.yaml"
            )
            .into(),
            from: "web-a1".to_owned(),
            to: "web-b1".to_owned(),
            size: None,
            family: None,
            proto: "icmp".to_owned(),
            dport: None,
            df: "want".to_owned(),
            ttl: 64,
            at: Some("100ms".to_owned()),
            variant: None,
            json: false,
        };
        let mut loaded = load(&args).unwrap();
        let tables = world::tables(&loaded.model);
        for (millis, cause) in [(50, "switch"), (60, "switch, seen"), (900, "later")] {
            loaded.model.table_changes.push(TableChange {
                at: Instant::from_nanos(millis * 1_000_000),
                machine: 0,
                tables: tables[0].first().clone(),
                cause: cause.into(),
            });
        }
        let run = attempt(&loaded, BackendKind::Sim, Capture::off()).unwrap();
        let mut out = Vec::new();
        print(&args, &loaded, &run, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_node_says_since_when_and_why_it_has_its_tables() {
        let text = explained(|args, loaded, run, out| print_text(args, loaded, run, out));
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("tables ")).map(str::trim).collect();
        let (sender, receiver) = ("tables since 0.060 s: switch, seen", "tables as at the start");
        assert_eq!(lines, [sender, receiver, receiver, sender]);
        assert!(text.contains(", at 0.100 s"), "{text}");
    }

    #[test]
    fn the_same_is_there_for_machines() {
        let text = explained(|_, loaded, run, out| print_json(loaded, run, out));
        let json: Value = serde_json::from_str(&text).unwrap();
        let packet = &json["packets"][0];
        let hops = packet["packet"]["hops"].as_array().unwrap();
        let tables = packet["tables"].as_array().unwrap();
        let of = |node: &str| &tables[hops.iter().position(|hop| hop["place"] == node).unwrap()];
        assert_eq!(*of("a1"), json!({ "sinceNs": 60_000_000, "cause": "switch, seen" }));
        assert_eq!(*of("b1"), json!({ "sinceNs": 0 }));
        assert_eq!(*of("web-a1"), Value::Null);
    }
}
