//! Flows: who sends what to whom, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use overlab_dataplane::calico::ClusterState;
use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, integer, text, word};
use overlab_dataplane::{Family, Instant};
use serde_json::Value;

use super::addresses::unroutable;
use super::cast::Cast;
use super::load::{self, Load};
use super::names;
use super::services;
use super::time::Clock;
use crate::scenario::model::{Endpoint, Flow, PathMtuDiscovery, Reply, Transport};
use crate::scenario::quantity;

/// A payload begins with the packet's sequence number.
pub(super) const SMALLEST_PAYLOAD: usize = 8;
/// What one IPv4 packet holds after its own header and UDP's or ICMP's (RFC 791 section 3.1).
pub(super) const LARGEST_PAYLOAD: usize = 65_507;
/// The same for IPv6, whose packets are held to the same length in all.
const LARGEST_PAYLOAD_V6: usize = LARGEST_PAYLOAD - 20;
pub(super) const DEFAULT_PAYLOAD: usize = 64;
/// Ten packets a second.
pub(super) const DEFAULT_INTERVAL: Duration = Duration::from_millis(100);
/// The TTL of Linux.
pub(super) const DEFAULT_TTL: u8 = 64;
/// Every packet is traced, in some ten kilobytes, so that the flows of a scenario send no more than this together.
pub(super) const MOST_PACKETS: u128 = 400_000;
pub(super) const MOST_FLOWS: usize = 10_000;

/// Source ports and ICMP identifiers: below the ephemeral ports of Linux, above those of services.
const PORTS: std::ops::Range<u32> = 10_000..30_000;

/// The flows of a scenario while they are read: a source port of 0 is yet to be given.
#[derive(Default)]
pub(super) struct Flows {
    pub(super) list: Vec<Flow>,
    /// Every flow that is declared, refused ones too.
    pub(super) declared: Vec<String>,
    /// The probes of matrices between two.
    pub(super) probes: BTreeMap<(Endpoint, Endpoint), Vec<usize>>,
}

/// Reads `flows`.
pub(super) fn read(spec: &mut Fields<'_>, cast: &Cast, clock: &Clock, refusals: &mut Vec<Refusal>) -> Flows {
    let mut flows = Flows::default();
    for (name, field, value) in spec.entries("flows", refusals) {
        names::check("flow", name, &field, refusals);
        flows.declared.push(name.to_owned());
        let before = refusals.len();
        let mut fields = Fields::new(value, field, refusals);
        let flow = read_one(name, &mut fields, cast, clock, refusals);
        fields.finish(refusals);
        flows.list.extend(flow.filter(|_| refusals.len() == before));
    }
    flows
}

fn read_one(name: &str, fields: &mut Fields<'_>, cast: &Cast, clock: &Clock, refusals: &mut Vec<Refusal>) -> Option<Flow> {
    let from = fields.require("from", refusals, |v| cast.find(text(v)?));
    let to = fields.require("to", refusals, |v| destination(v, cast));
    let family = fields.parse("family", refusals, quantity::family);
    let source = fields.parse("source", refusals, |v| unicast(quantity::address(v)?));
    let transport = fields.parse("proto", refusals, transport).unwrap_or(Transport::Icmp);
    let load = Load::read(fields, transport, refusals);
    let ports = ports(fields, transport, refusals);
    let listens = listens(fields, transport, refusals);
    let reply = fields.parse("reply", refusals, |v| reply(v, transport)).unwrap_or_default();
    let times = load::times(fields, clock, &load, refusals);
    let discovery = fields.parse("df", refusals, |v| discovery(v, transport)).unwrap_or_default();
    let mut bits = |key, min, max, default| {
        fields
            .parse(key, refusals, |v| integer(v, min, max).map(low_byte))
            .unwrap_or(default)
    };
    let (ttl, dscp) = (bits("ttl", 1, 255, DEFAULT_TTL), bits("dscp", 0, 63, 0));
    let ecn = match transport {
        Transport::Icmp | Transport::Udp => bits("ecn", 0, 3, 0),
        Transport::Tcp => fields.parse("ecn", refusals, no_ecn).unwrap_or(0),
    };
    let (from, to) = (from?, to?);
    let (to, destination) = fields.parse("to", refusals, |_| receiver(from, to, family, cast))?;
    fields.parse("payload", refusals, |_| match load.payload {
        Some(payload) if transport != Transport::Tcp && destination.is_ipv6() && payload > LARGEST_PAYLOAD_V6 => {
            Err(Wrong::expected(format!("at most {LARGEST_PAYLOAD_V6}B over IPv6"))
                .why("no IP packet here is longer than 65535 B"))
        }
        Some(_) | None => Ok(()),
    });
    fields.parse("source", refusals, |_| match source {
        Some(source) if source.is_ipv6() != destination.is_ipv6() => Err(Wrong::rule(
            "E-FAMILY",
            format!("{source} and {destination} are of two families"),
        )
        .why("a packet has addresses of one family")),
        Some(_) | None => Ok(()),
    });
    if Some(from) == to {
        refusals.push(
            Refusal::new("E-FLOW", fields.field("to"), format!("flow `{name}` goes to its own sender"))
                .why("such packets never leave the sender's stack")
                .help("name another workload, node or host"),
        );
    }
    let (start, interval, count) = times?;
    Some(Flow {
        name: name.into(),
        from,
        to,
        served_by: Vec::new(),
        source,
        destination,
        transport,
        source_port: ports.0.unwrap_or(0),
        destination_port: ports.1.unwrap_or(0),
        listens,
        payload: load.payload.unwrap_or(DEFAULT_PAYLOAD),
        reply_payload: load.reply.or(load.payload).unwrap_or(DEFAULT_PAYLOAD),
        start,
        interval,
        count,
        path_mtu_discovery: discovery,
        ttl,
        dscp,
        ecn,
        reply,
        probe: false,
        field: fields.at().clone(),
    })
}

fn low_byte(number: u64) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// Whom a flow goes to, before its family is known.
#[derive(Clone, Copy)]
enum To {
    Somebody(Endpoint),
    Address(IpAddr),
}

fn destination(value: &Value, cast: &Cast) -> Result<To, Wrong> {
    let name = text(value)?;
    let Ok(address) = name.parse::<IpAddr>() else {
        return cast.find(name).map(To::Somebody);
    };
    unicast(address)
        .map(To::Address)
        .map_err(|wrong| wrong.why("a flow has one receiver"))
}

fn unicast(address: IpAddr) -> Result<IpAddr, Wrong> {
    match unroutable(address) {
        None => Ok(address),
        Some(_) => Err(Wrong::expected("the unicast address of some machine")),
    }
}

/// The receiver and its address, of a family that the sender has too.
fn receiver(from: Endpoint, to: To, family: Option<Family>, cast: &Cast) -> Result<(Option<Endpoint>, IpAddr), Wrong> {
    let address = match to {
        To::Somebody(to) => return Ok((Some(to), cast.meeting(from, to, family)?)),
        To::Address(address) => address,
    };
    let of_address = Family::of(address);
    if family.is_some_and(|family| family != of_address) {
        return Err(Wrong::rule("E-FAMILY", format!("{address} is an {of_address} address")).help("remove `family`"));
    }
    if cast.sound && cast.address_of(from, of_address).is_none() {
        let message = format!("`{}` has no {of_address} address", cast.name(from));
        return Err(Wrong::rule("E-FAMILY", message).why("a packet has addresses of one family"));
    }
    Ok((cast.owner(address), address))
}

fn no_ecn(_: &Value) -> Result<u8, Wrong> {
    Err(Wrong::rule("E-FLOW", "TCP sets the ECN bits of its segments itself")
        .why("both ends would first agree to use them, which is not modelled")
        .help("remove `ecn`, or use `proto: udp`"))
}

pub(super) fn transport(value: &Value) -> Result<Transport, Wrong> {
    word(
        value,
        &[("icmp", Transport::Icmp), ("udp", Transport::Udp), ("tcp", Transport::Tcp)],
    )
}

fn discovery(value: &Value, transport: Transport) -> Result<PathMtuDiscovery, Wrong> {
    let discovery = word(
        value,
        &[
            ("want", PathMtuDiscovery::Want),
            ("dont", PathMtuDiscovery::Dont),
            ("do", PathMtuDiscovery::Do),
            ("probe", PathMtuDiscovery::Probe),
        ],
    )?;
    match (transport, discovery) {
        (Transport::Tcp, PathMtuDiscovery::Dont | PathMtuDiscovery::Do | PathMtuDiscovery::Probe) => Err(Wrong::rule(
            "E-FLOW",
            "TCP discovers its path's MTU: it sets DF, and sends what fits",
        )
        .why("that is what Linux does unless it is told otherwise, and all that is modelled")
        .help("remove `df`")),
        (Transport::Icmp | Transport::Udp | Transport::Tcp, _) => Ok(discovery),
    }
}

/// Whether the receiver has a socket on the flow's port.
fn listens(fields: &mut Fields<'_>, transport: Transport, refusals: &mut Vec<Refusal>) -> bool {
    let listens = fields.parse("listen", refusals, |v| match (v.as_bool(), transport) {
        (Some(_), Transport::Icmp) => Err(Wrong::rule("E-FLOW", "nobody listens for echo requests")
            .why("the kernel of every machine answers them by itself")
            .help("use `proto: udp` or `proto: tcp`, or remove `listen`")),
        (Some(listens), Transport::Udp | Transport::Tcp) => Ok(listens),
        (None, _) => Err(Wrong::expected("`true` or `false`")),
    });
    listens.unwrap_or(true)
}

fn reply(value: &Value, transport: Transport) -> Result<Reply, Wrong> {
    match (word(value, &[("echo", Reply::Echo), ("none", Reply::None)])?, transport) {
        (Reply::None, Transport::Icmp) => Err(Wrong::rule("E-FLOW", "an ICMP flow is always answered")
            .why("the kernel of every machine answers echo requests by itself")
            .help("use `proto: udp`, or remove `reply`")),
        (_, Transport::Tcp) => Err(Wrong::rule("E-FLOW", "a TCP request always has a reply")
            .why("the next request waits for it")
            .help("remove `reply`; `exchange` says how long the reply is, from 1 B on")),
        (reply, Transport::Icmp | Transport::Udp) => Ok(reply),
    }
}

/// Source and destination port, as far as they are given.
fn ports(fields: &mut Fields<'_>, transport: Transport, refusals: &mut Vec<Refusal>) -> (Option<u16>, Option<u16>) {
    let port = |value: &Value| integer(value, 1, 65_535).map(|port| u16::try_from(port).unwrap_or(u16::MAX));
    let no_port = |_: &Value| Err(Wrong::rule("E-FLOW", "ICMP has no ports").help("add `proto: udp`, or remove the port"));
    match transport {
        Transport::Udp | Transport::Tcp => (fields.parse("sport", refusals, port), fields.require("dport", refusals, port)),
        Transport::Icmp => (
            fields.parse("sport", refusals, no_port),
            fields.parse("dport", refusals, no_port),
        ),
    }
}

impl Flows {
    /// Finds who is behind services, gives out source ports, and refuses what nothing here could carry. The clusters are those of the
    /// run.
    pub(super) fn finish(
        mut self,
        clusters: &[(Instant, &ClusterState)],
        cast: &Cast,
        at: &FieldRef,
        refusals: &mut Vec<Refusal>,
    ) -> Vec<Flow> {
        if self.list.len() > MOST_FLOWS {
            let message = format!("the scenario has more than {MOST_FLOWS} flows");
            let help = "use fewer workloads, or `matrix: {from: …, to: …}`";
            refusals.push(Refusal::new("E-FLOW", at.clone(), message).help(help));
            return Vec::new();
        }
        let sent: u128 = self.list.iter().map(|flow| u128::from(flow.count)).sum();
        if sent > MOST_PACKETS {
            let message = format!("the scenario's flows would send {sent} packets");
            let refusal = Refusal::new("E-FLOW", at.clone(), message)
                .why(format!(
                    "every packet is traced, so that they send at most {MOST_PACKETS} together"
                ))
                .help("use lower rates, a `count`, a shorter `duration`, or a smaller matrix");
            refusals.push(refusal);
            return Vec::new();
        }
        services::resolve(&mut self.list, clusters, cast, refusals);
        self.give_ports(clusters.first().map(|(_, cluster)| *cluster), refusals);
        self.list
    }

    /// Source ports follow from names, so that both backends attribute packets alike and a new flow moves no other's port,
    /// unless the two collide: then the later one moves on.
    fn give_ports(&mut self, cluster: Option<&ClusterState>, refusals: &mut Vec<Refusal>) {
        let mut taken: BTreeSet<u16> = self.list.iter().map(|flow| flow.destination_port).collect();
        taken.extend(self.list.iter().flat_map(|flow| &flow.served_by).map(|(_, port)| *port));
        if let Some(cluster) = cluster {
            taken.extend(cluster.nodes().keys().map(|node| cluster.settings(node).vxlan_port));
        }
        let mut fixed: Vec<(u16, Arc<str>, FieldRef)> = Vec::new();
        for flow in self.list.iter().filter(|flow| flow.source_port != 0) {
            let field = FieldRef {
                origin: flow.field.origin,
                path: flow.field.path.key("sport"),
            };
            if let Some((port, name, first)) = fixed.iter().find(|(port, ..)| *port == flow.source_port) {
                refusals.push(
                    Refusal::new(
                        "E-FLOW",
                        field.clone(),
                        format!("source port {port} is flow `{name}`'s already"),
                    )
                    .why("packets are told apart by their source port")
                    .help("use another port, or none: it then follows from the flow's name")
                    .related(first.clone(), "first here"),
                );
            }
            taken.insert(flow.source_port);
            fixed.push((flow.source_port, flow.name.clone(), field));
        }
        for flow in self.list.iter_mut().filter(|flow| flow.source_port == 0) {
            let mut port = PORTS.start + hash(&flow.name) % (PORTS.end - PORTS.start);
            while !taken.insert(low_word(port)) {
                port = if port + 1 < PORTS.end { port + 1 } else { PORTS.start };
            }
            flow.source_port = low_word(port);
        }
    }
}

fn low_word(port: u32) -> u16 {
    u16::try_from(port).expect("the range of source ports fits into 16 bits")
}

/// FNV-1a, 32 bits: the same on every machine and in every release.
fn hash(name: &str) -> u32 {
    name.bytes()
        .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
