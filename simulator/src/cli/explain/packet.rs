//! The packet that is asked about: what the command line says, in the scenario's own keys.

use overlab_dataplane::Family;
use serde_json::{Map, Value, json};

use super::Args;
use crate::scenario::{Diagnostic, Loaded, open};

/// Bytes of IP header, and of ICMP or UDP header.
fn headers(family: Family) -> u16 {
    match family {
        Family::V4 => 20 + 8,
        Family::V6 => 40 + 8,
    }
}

/// The payload that a packet has whose size is not said.
const PAYLOAD: u16 = 64;

/// The scenario with the packet alone. What its headers take is known once its family is, so that a packet over IPv6 is made anew.
pub(super) fn load(args: &Args) -> Result<Loaded, Vec<Diagnostic>> {
    let load = |family| {
        let written = open(&[&args.path])?.with_variant(args.variant.as_deref())?;
        let loaded = written.with_packet(flow(args, family), &command(args)).resolve()?;
        let model = loaded.model.with_first_flow_only();
        Ok::<_, Vec<Diagnostic>>(Loaded { model, ..loaded })
    };
    let loaded = load(Family::V4)?;
    match loaded.model.flows.first().map(|flow| Family::of(flow.destination)) {
        Some(Family::V6) if args.size.is_some() => load(Family::V6),
        Some(_) | None => Ok(loaded),
    }
}

/// The flow that is sent, in the scenario's own keys.
fn flow(args: &Args, family: Family) -> Map<String, Value> {
    let mut flow = Map::new();
    let mut set = |key: &str, value: Value| drop(flow.insert(key.to_owned(), value));
    set("from", json!(args.from));
    set("to", json!(args.to));
    set("proto", json!(args.proto));
    if let Some(port) = args.dport.or((args.proto != "icmp").then_some(7)) {
        set("dport", json!(port));
    }
    if args.proto != "tcp" {
        // A packet too short for its headers is refused by the payload that is left.
        let payload = args.size.map_or(PAYLOAD, |size| size.saturating_sub(headers(family)));
        set("payload", json!(format!("{payload}B")));
    }
    if let Some(family) = &args.family {
        set("family", json!(family));
    }
    set("df", json!(args.df));
    set("ttl", json!(args.ttl));
    if let Some(at) = &args.at {
        set("start", json!(at));
    }
    flow
}

/// The command as it was given: the keys of the flow, and what they were given by.
fn command(args: &Args) -> Vec<(&'static str, &'static str, String)> {
    let size = args.size.map(|size| size.to_string());
    let optional = [
        ("payload", "--size", &size),
        ("family", "--family", &args.family),
        ("start", "--at", &args.at),
    ];
    let given = optional
        .into_iter()
        .filter_map(|(key, option, value)| Some((key, option, value.clone()?)));
    let needed = [
        ("", "overlab", "explain".to_owned()),
        ("from", "", args.from.clone()),
        ("to", "", args.to.clone()),
        ("proto", "--proto", args.proto.clone()),
    ];
    needed.into_iter().chain(given).collect()
}
