//! Workloads as they are asked for; the datastore gives them their addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use overlab_dataplane::Instant;
use overlab_dataplane::calico::WorkloadRequest;
use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, integer, suggestion, text};
use serde_json::Value;

use super::addresses;
use super::machines::Machines;
use super::names::Names;
use super::refuse_unmodelled;
use super::time::Clock;
use super::underlay::Wires;
use crate::scenario::model::Machine;

/// A workload, and the place of its node.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) node: usize,
    /// When it is made.
    pub(super) created: Instant,
    pub(super) request: WorkloadRequest,
}

/// Reads `workloads`. Without that key, every node that a subnet counts has one.
pub(super) fn read(
    spec: &mut Fields<'_>,
    wires: &Wires,
    machines: &Machines,
    clock: &Clock,
    names: &mut Names,
    refusals: &mut Vec<Refusal>,
) -> Vec<Request> {
    let mut requests = Vec::new();
    if spec.value("workloads").is_none() {
        for node in &machines.counted {
            let machine = &machines.nodes[*node];
            let name = format!("pod-{}", machine.name);
            names.claim("workload", &name, &machine.field, refusals);
            requests.push(request(name, (*node, machine), Vec::new(), None, &machine.field));
        }
    }
    for (name, field, value) in spec.entries("workloads", refusals) {
        let fields = Fields::new(value, field, refusals);
        requests.extend(read_one(name, fields, wires, machines, clock, names, refusals));
    }
    requests
}

fn read_one(
    name: &str,
    mut fields: Fields<'_>,
    wires: &Wires,
    machines: &Machines,
    clock: &Clock,
    names: &mut Names,
    refusals: &mut Vec<Refusal>,
) -> Vec<Request> {
    let node = fields.require("node", refusals, |v| find_node(v, machines));
    let ip = addresses::ips(&mut fields, refusals);
    let pool = fields.parse("pool", refusals, text).map(Arc::from);
    let count = fields.parse("count", refusals, |v| integer(v, 1, 1000));
    let created = fields
        .parse("createdAt", refusals, |v| clock.instant(v))
        .unwrap_or(Instant::ZERO);
    refuse_unmodelled(&mut fields, &["labels", "namespace"], refusals);
    let (at, count_at) = (fields.at().clone(), fields.field("count"));
    fields.finish(refusals);
    let fixed: Vec<IpAddr> = ip.values.iter().flatten().copied().collect();
    if !fixed.is_empty() && count.is_some_and(|count| count > 1) {
        let refusal = Refusal::new("E-COUNT", count_at, "several workloads cannot share one `ip`");
        refusals.push(refusal.help("remove `ip`, or `count`"));
    }
    for (ip, at) in ip.values.iter().zip(ip.fields.iter()) {
        if let Some(ip) = *ip {
            check_address(ip, at, wires, machines, refusals);
        }
    }
    let all: Vec<String> = match count {
        None => vec![name.to_owned()],
        Some(count) => (1..=count).map(|number| format!("{name}-{number}")).collect(),
    };
    all.iter().for_each(|name| names.claim("workload", name, &at, refusals));
    // A workload whose node was refused is put onto any other, so that flows can name it.
    let node = node.unwrap_or_default();
    let Some(machine) = machines.nodes.get(node) else {
        return Vec::new();
    };
    all.into_iter()
        .map(|name| Request {
            created,
            ..request(name, (node, machine), fixed.clone(), pool.clone(), &at)
        })
        .collect()
}

fn request(name: String, on: (usize, &Machine), addresses: Vec<IpAddr>, pool: Option<Arc<str>>, at: &FieldRef) -> Request {
    Request {
        node: on.0,
        created: Instant::ZERO,
        request: WorkloadRequest {
            name: name.into(),
            node: on.1.name.clone(),
            addresses,
            pool,
            origin: at.clone(),
        },
    }
}

/// The workloads that are there at an instant, on nodes that the datastore knows.
pub(super) fn there(requests: &[Request], at: Instant, unrecorded: &BTreeSet<String>) -> Vec<WorkloadRequest> {
    let there = |one: &&Request| one.created <= at && !unrecorded.contains(&*one.request.node);
    requests.iter().filter(there).map(|one| one.request.clone()).collect()
}

fn find_node(value: &Value, machines: &Machines) -> Result<usize, Wrong> {
    let name = text(value)?;
    machines.places.get(name).copied().ok_or_else(|| {
        let known = || machines.nodes.iter().map(|node| &*node.name);
        let wrong = Wrong::rule("E-NODE", format!("unknown node {name:?}")).why("a workload runs on a node of the scenario");
        match suggestion(name, known()) {
            Some(near) => wrong.help(format!("did you mean `{near}`?")),
            None => wrong.help(format!("the nodes are {}", known().collect::<Vec<_>>().join(", "))),
        }
    })
}

/// A workload on an address of the wires could never be told from the machine that has it.
fn check_address(ip: IpAddr, at: &FieldRef, wires: &Wires, machines: &Machines, refusals: &mut Vec<Refusal>) {
    if let Some(machine) = machines.addresses.get(&ip) {
        refusals.push(
            Refusal::new("E-ADDR", at.clone(), format!("{ip} is there twice"))
                .why("an address belongs to one machine or workload only")
                .help("use an address of an IPPool")
                .related(machine.clone(), "first here"),
        );
    } else if let Some(subnet) = wires
        .underlays
        .iter()
        .flat_map(|u| &u.subnets)
        .find(|s| s.gateway.iter().flatten().any(|gateway| *gateway == ip))
    {
        refusals.push(
            Refusal::new(
                "E-ADDR",
                at.clone(),
                format!("{ip} is the router's address in {}", subnet.cidrs()),
            )
            .help("use an address of an IPPool"),
        );
    }
}
