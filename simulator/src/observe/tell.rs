//! Telling what happened, and why: steps as lines, decisions as reasons with the places where they are written, and what may
//! help. It decides nothing.

use std::net::{IpAddr, SocketAddr};

use overlab_dataplane::Family;
use overlab_dataplane::encap::Encap;
use overlab_dataplane::engine::{self, IcmpKind, Layer, NatRule};
use overlab_dataplane::fields::FieldRef;
use overlab_dataplane::route::{Decision, Mode, NodeTables, Route, SubnetTest};
use overlab_dataplane::wire::translate::End;

use super::{Hop, Step};
use crate::scenario::{Model, Sources};

/// One step of a hop as a line.
pub fn tell(step: &Step, tables: Option<&NodeTables>) -> String {
    match (step, tables) {
        (Step::Engine(step), Some(tables)) => engine_step(*step, tables),
        (Step::Engine(step), None) => format!("{step:?}"),
        (Step::Fabric(text) | Step::Stack(text), _) => text.clone(),
        (Step::Dropped(reason), _) => format!("dropped: {reason}"),
    }
}

fn engine_step(step: engine::Step, tables: &NodeTables) -> String {
    let device = |id| tables.device(id).map_or("?", |device| &*device.name);
    match step {
        engine::Step::Received { device: id } => format!("in by {}", device(id)),
        engine::Step::Originated => "sent by the node itself".to_owned(),
        engine::Step::Reassembled { length } => format!("joined from fragments, {length} B"),
        engine::Step::TunnelSourceAllowed { source } => format!("tunnel source {source} is on the allow-list"),
        engine::Step::Decapsulated {
            encap,
            device: id,
            overhead,
        } => {
            format!("{encap} header taken off, -{overhead} B; on by {}", device(id))
        }
        engine::Step::Routed { route, .. } => match tables.route(route) {
            Some(route) => format!("route {} ({})", tables.text(route), route.owner),
            None => "route".to_owned(),
        },
        engine::Step::NoClusterRoute => "no route of the cluster covers it, though a pool does".to_owned(),
        engine::Step::Translated { end, from, to, rule } => {
            let end = match (end, rule) {
                (End::Source, NatRule::Service) => "source of an answer",
                (End::Destination, NatRule::Service) => "destination",
                (End::Source, _) => "source",
                (End::Destination, _) => "destination of an answer",
            };
            let called = if end == "destination" { from } else { to };
            format!("{end} {} ({})", translation(from, to), nat_rule(rule, called, tables))
        }
        engine::Step::NoEndpoint { called } => format!("{called} ({}): no endpoint is ready", service(called, tables)),
        engine::Step::ChecksumSpoiled => "the kernel leaves the UDP checksum as it was before the port changed".to_owned(),
        engine::Step::TtlDecremented { left } => format!("TTL {} -> {left}", u16::from(left) + 1),
        engine::Step::Fragmented { layer, pieces, mtu } => {
            let what = match layer {
                Layer::Inner => "split",
                Layer::Outer => "tunnel packet split",
            };
            format!("{what} into {pieces} to fit {mtu} B")
        }
        engine::Step::Encapsulated {
            encap,
            source,
            destination,
            overhead,
            ..
        } => {
            format!("{encap} header put on, +{overhead} B: {source} > {destination}")
        }
        engine::Step::PathMtuLearned { destination, mtu } => format!("learned: to {destination} pass {mtu} B"),
        engine::Step::Delivered { device: id, workload } => {
            let behind = tables.device(id).and_then(|device| device.workload.as_deref());
            let whom = behind.filter(|_| workload).unwrap_or("the node itself");
            format!("to {whom} by {}", device(id))
        }
        engine::Step::Transmitted { device: id, next_hop } => format!("out by {} to {next_hop}", device(id)),
        engine::Step::IcmpSent { icmp, to } => format!("told {to}: {}", icmp_error(icmp, Family::of(to))),
        engine::Step::IcmpSuppressed => "not told: the limit of ICMP errors is used up".to_owned(),
    }
}

/// What became what, with ports only if they differ.
fn translation(from: SocketAddr, to: SocketAddr) -> String {
    if from.port() == to.port() {
        format!("{} -> {}", from.ip(), to.ip())
    } else {
        format!("{from} -> {to}")
    }
}

/// Why something is translated; `called` is the end that a service is known by.
fn nat_rule(rule: NatRule, called: SocketAddr, tables: &NodeTables) -> String {
    match rule {
        NatRule::Outgoing { pool } => format!("natOutgoing of {pool}, and it goes to no pool"),
        NatRule::TunnelSource => "masqueraded: the source is the node's, but not the tunnel's".to_owned(),
        NatRule::Service => service(called, tables),
        NatRule::ServiceMasquerade => "masqueraded by kube-proxy's mark".to_owned(),
    }
}

/// The service that has a cluster IP.
fn service(called: SocketAddr, tables: &NodeTables) -> String {
    let named = tables.services.ports_of(called.ip()).next();
    named.map_or_else(|| "service".to_owned(), |(.., port)| format!("service {}", port.service))
}

/// What an address is that no rule for services took, if it is a cluster IP: `the cluster IP of service default/web, for tcp 80 alone`.
pub(super) fn unserved(destination: IpAddr, tables: &NodeTables) -> Option<String> {
    let (.., first) = tables.services.ports_of(destination).next()?;
    let ports = tables.services.ports_of(destination);
    let ports: Vec<_> = ports.map(|(protocol, number, _)| format!("{protocol} {number}")).collect();
    let (service, ports) = (&first.service, ports.join(", "));
    Some(format!(
        "{destination} is the cluster IP of service {service}, for {ports} alone"
    ))
}

/// An ICMP error in words, as `fragmentation needed, mtu 1450`.
pub fn icmp_error(icmp: IcmpKind, family: Family) -> String {
    let numbers = (icmp.kind, icmp.code);
    match (family, numbers, icmp.mtu) {
        (Family::V4, (3, 4), Some(mtu)) => format!("fragmentation needed, mtu {mtu}"),
        (Family::V6, (2, _), Some(mtu)) => format!("packet too big, mtu {mtu}"),
        (Family::V4, (3, 0), _) => "net unreachable".to_owned(),
        (Family::V6, (1, 0), _) => "no route".to_owned(),
        (Family::V4, (3, 1), _) => "host unreachable".to_owned(),
        (Family::V6, (1, 3), _) => "address unreachable".to_owned(),
        (Family::V4, (3, 2), _) => "protocol unreachable".to_owned(),
        (Family::V6, (4, 1), _) => "next header not known".to_owned(),
        (Family::V4, (3, 3), _) | (Family::V6, (1, 4), _) => "port unreachable".to_owned(),
        (Family::V4, (3, 13), _) | (Family::V6, (1, 1), _) => "prohibited".to_owned(),
        (Family::V4, (11, 0), _) | (Family::V6, (3, 0), _) => "time exceeded".to_owned(),
        (Family::V4, (11, 1), _) | (Family::V6, (3, 1), _) => "reassembly time exceeded".to_owned(),
        (Family::V4, (kind, code), _) => format!("ICMP {kind}/{code}"),
        (Family::V6, (kind, code), _) => format!("ICMPv6 {kind}/{code}"),
    }
}

/// The route that won in a hop, if one did that follows from the datastore.
pub fn decided(hop: &Hop) -> Option<(&Route, &Decision, &NodeTables)> {
    let tables = hop.tables.as_deref()?;
    hop.steps.iter().find_map(|step| match step {
        Step::Engine(engine::Step::Routed { route, .. }) => {
            let route = tables.route(*route)?;
            Some((route, route.decision.as_deref()?, tables))
        }
        Step::Engine(_) | Step::Fabric(_) | Step::Stack(_) | Step::Dropped(_) => None,
    })
}

/// Why a destination is reached as it is: the pool with its mode, then the subnet test with its arithmetic.
pub fn reasons(decision: &Decision, tables: &NodeTables, sources: &Sources) -> Vec<String> {
    let pool = decision.pool.as_ref().map(|(name, field)| {
        let mode = match decision.encapsulation {
            Encap::None => "no encapsulation".to_owned(),
            Encap::Ipip => format!("ipipMode {}", decision.mode),
            Encap::Vxlan => format!("vxlanMode {}", decision.mode),
        };
        format!("pool {name}  {mode}{}", at(Some(field), sources))
    });
    let pool = pool.unwrap_or_else(|| "in no pool".to_owned());
    std::iter::once(pool)
        .chain(decision.subnet_test.as_ref().map(|test| arithmetic(test, tables, sources)))
        .chain(conclusion(decision))
        .collect()
}

/// Why the cluster has no route to a destination in one of its pools: the block or address that is known, and what is missing.
pub fn missing(destination: IpAddr, tables: &NodeTables, sources: &Sources) -> Vec<String> {
    let known = tables.absent().filter(|absent| absent.destination.contains(&destination));
    let told: Vec<_> = known
        .map(|absent| {
            let place = at(Some(&absent.at), sources);
            let (what, node, why) = (absent.destination, &absent.node, absent.reason.meaning());
            format!("no route to {what} of {node}{place}: {why}")
        })
        .collect();
    match told.is_empty() && tables.is_in_pool(destination) {
        true => vec!["no node has the block that it lies in".to_owned()],
        false => told.into_iter().chain(unserved(destination, tables)).collect(),
    }
}

/// The subnet test: `n1 10.0.1.11/24 (10.0.1.0/24) does not contain n3 10.0.2.11`, each record with its place.
fn arithmetic(test: &SubnetTest, tables: &NodeTables, sources: &Sources) -> String {
    let (remote, remote_address, remote_field) = &test.remote;
    let local = &tables.node;
    let family = remote_address.map_or(Family::V4, Family::of);
    let record = tables.recorded.get(family).as_ref();
    let left = match record.map(|record| record.net) {
        Some(net) => format!("{local} {net} ({})", net.trunc()),
        None => format!("{local}, whose address is not recorded,"),
    };
    let right = match remote_address {
        Some(address) if test.of_next_hop => format!("the BGP next hop {remote} {address}"),
        Some(address) => format!("{remote} {address}"),
        None => format!("{remote}, whose address is not recorded"),
    };
    let verb = if test.same { "contains" } else { "does not contain" };
    format!(
        "{left}{} {verb} {right}{}",
        at(record.map(|record| &record.at), sources),
        at(remote_field.as_ref(), sources)
    )
}

fn conclusion(decision: &Decision) -> Option<String> {
    let text = match (
        decision.encapsulation,
        decision.mode,
        decision.subnet_test.as_ref().map(|test| test.same),
    ) {
        (Encap::None, _, _) | (_, Mode::Never, _) => "bare: the pool has no encapsulation".to_owned(),
        (encap, Mode::Always, _) => format!("{encap}: Always does not ask for the subnet"),
        (_, Mode::CrossSubnet, Some(true)) => "bare: same subnet".to_owned(),
        (encap, Mode::CrossSubnet, Some(false)) => format!("{encap}: another subnet"),
        (_, Mode::CrossSubnet, None) => return None,
    };
    Some(text)
}

/// A place in brackets, as ` [aws.yaml:51]`.
fn at(field: Option<&FieldRef>, sources: &Sources) -> String {
    field
        .and_then(|field| sources.place(field))
        .map_or_else(String::new, |place| match &place.excerpt {
            Some(excerpt) => format!(" [{}:{}]", place.file, excerpt.line),
            None => format!(" [{}]", place.file),
        })
}

/// Since when and by what a node had the tables of a hop, as `since 1.500 s: switch`; none if it has them since the start.
pub fn changed(hop: &Hop, tables: &NodeTables, model: &Model) -> Option<String> {
    let change = model.last_table_change(&tables.node, hop.at)?;
    Some(format!("since {}: {}", change.at, change.cause))
}
