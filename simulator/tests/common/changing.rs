//! A cluster whose tables change during a run, as it is told by hand: what a machine works from at an instant is what it would
//! have in another scenario over the same wires.

use std::net::IpAddr;
use std::sync::Arc;

use overlab_dataplane::Instant;
use overlab_dataplane::route::NodeTables;
use overlab_simulator::observe::{Direction, Disposition, Trace};
use overlab_simulator::scenario::{Loaded, Model, TableChange, load};
use overlab_simulator::world;

/// Its nodes, by their places among the machines.
pub(crate) const A1: usize = 0;
pub(crate) const B1: usize = 1;
pub(crate) const B2: usize = 2;

/// What differs from one scenario to the other.
#[derive(Clone, Copy)]
pub(crate) struct Written {
    /// The modes of the pool.
    pub(crate) pool: &'static str,
    /// Lines of `workloads`.
    pub(crate) workloads: &'static str,
    /// Lines of `flows`.
    pub(crate) flows: &'static str,
}

const PODS: &str = "    pod-a: {node: a1, ip: 192.168.1.9}\n    pod-b: {node: b1, ip: 192.168.2.9}\n";

/// IPIP between all nodes, and a packet every 10 ms for a second.
pub(crate) const TO_POD_B: Written = Written {
    pool: "ipipMode: Always, vxlanMode: Never",
    workloads: PODS,
    flows: "    ab: {from: pod-a, to: pod-b, proto: udp, dport: 7, rate: 100/s, reply: none}\n",
};

pub(crate) const FROM_POD_B: Written = Written {
    flows: "    ba: {from: pod-b, to: pod-a, proto: udp, dport: 7, rate: 100/s, reply: none}\n",
    ..TO_POD_B
};

pub(crate) fn model(written: Written) -> Model {
    loaded(written).model
}

pub(crate) fn loaded(written: Written) -> Loaded {
    let Written { pool, workloads, flows } = written;
    let blocks: String = [("192.168.1.0/26", "a1"), ("192.168.2.0/26", "b1"), ("192.168.3.0/26", "b2")]
        .iter()
        .map(|(cidr, node)| {
            let name = cidr.replace(['.', '/'], "-");
            format!(
                "---\napiVersion: crd.projectcalico.org/v1\nkind: IPAMBlock\nmetadata: {{name: {name}}}\n\
                 spec: {{cidr: {cidr}, affinity: 'host:{node}', allocations: [], unallocated: [], attributes: []}}\n"
            )
        })
        .collect();
    let text = format!(
        "apiVersion: overlab.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: changing}}\nspec:\n  \
         underlay: {{main: {{preset: onprem, subnets: {{az-a: {{}}, az-b: {{}}}}}}}}\n  \
         nodes:\n    a1: {{subnet: az-a}}\n    b1: {{subnet: az-b}}\n    b2: {{subnet: az-b}}\n  \
         workloads:\n{workloads}  flows:\n{flows}  expect:\n    - {{flow: \"*\", delivered: all}}\n\
         ---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: pool}}\n\
         spec: {{cidr: 192.168.0.0/16, {pool}}}\n{blocks}"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changing.yaml");
    std::fs::write(&path, text).unwrap();
    load(&path).unwrap_or_else(|diagnostics| panic!("{}", diagnostics.iter().map(ToString::to_string).collect::<String>()))
}

/// The tables that a machine has in a scenario.
pub(crate) fn tables(model: &Model, machine: usize) -> Arc<NodeTables> {
    world::tables(model)[machine].first().clone()
}

pub(crate) fn millis(at: u64) -> Instant {
    Instant::from_nanos(at * 1_000_000)
}

/// From an instant on a machine has these tables.
pub(crate) fn change(model: &mut Model, at: Instant, machine: usize, tables: Arc<NodeTables>) {
    model.table_changes.push(TableChange {
        at,
        machine,
        tables,
        cause: Arc::from("by hand"),
    });
}

/// The same tables without the route to a prefix.
pub(crate) fn without_route(tables: &NodeTables, prefix: &str) -> Arc<NodeTables> {
    let prefix = prefix.parse().unwrap();
    assert!(tables.route_to(prefix).is_some());
    let routes: Vec<_> = tables.routes().filter(|route| route.destination != prefix).cloned().collect();
    Arc::new(tables.clone().with_routes(routes))
}

/// The route to pod-b's block is gone from a1 between 300 ms and 500 ms.
pub(crate) fn route_gone_for_a_time() -> Model {
    let mut changing = model(TO_POD_B);
    let before = tables(&changing, A1);
    change(&mut changing, millis(300), A1, without_route(&before, "192.168.2.0/26"));
    change(&mut changing, millis(500), A1, before);
    changing
}

fn with_vxlan(written: Written) -> Model {
    let pool = "ipipMode: Never, vxlanMode: Always";
    model(Written { pool, ..written })
}

/// IPIP becomes VXLAN, at the sender at 500 ms and at the receiver at 600 ms.
pub(crate) fn other_tunnels() -> Model {
    let mut changing = model(TO_POD_B);
    let after = with_vxlan(TO_POD_B);
    change(&mut changing, millis(500), A1, tables(&after, A1));
    change(&mut changing, millis(600), B1, tables(&after, B1));
    changing
}

/// At 500 ms b2 leaves its tunnel to b1, its neighbour, while a process of its own sends; and the source addresses before and after.
pub(crate) fn other_sources() -> (Model, [IpAddr; 2]) {
    let written = Written {
        flows: "    own: {from: b2, to: pod-b, proto: udp, dport: 7, rate: 100/s, reply: none}\n",
        ..TO_POD_B
    };
    let mut changing = model(written);
    let pool = "ipipMode: CrossSubnet, vxlanMode: Never";
    let after = tables(&model(Written { pool, ..written }), B2);
    let address = |device: &str| {
        let device = after.devices.iter().find(|found| &*found.name == device).unwrap();
        device.addresses[0].addr()
    };
    let sources = [address("tunl0"), address("eth0")];
    change(&mut changing, millis(500), B2, after);
    (changing, sources)
}

/// There is no pod-b on b1 between 200 ms and 700 ms.
pub(crate) fn workload_gone_for_a_time(written: Written) -> Model {
    let mut changing = model(written);
    let alone = model(Written {
        workloads: "    pod-a: {node: a1, ip: 192.168.1.9}\n",
        flows: "    out: {from: pod-a, to: a1}\n",
        ..written
    });
    let before = tables(&changing, B1);
    change(&mut changing, millis(200), B1, tables(&alone, B1));
    change(&mut changing, millis(700), B1, before);
    changing
}

/// At 400 ms pod-b moves from b1 to b2. The sender learns of it at 600 ms only: until then b1 sends it on.
pub(crate) fn workload_that_moves() -> Model {
    let mut changing = model(TO_POD_B);
    let after = model(Written {
        workloads: "    pod-a: {node: a1, ip: 192.168.1.9}\n    pod-b: {node: b2, ip: 192.168.2.9}\n",
        ..TO_POD_B
    });
    for (at, node) in [(400, B1), (400, B2), (600, A1)] {
        change(&mut changing, millis(at), node, tables(&after, node));
    }
    changing
}

/// The nodes that a packet passed.
pub(crate) fn nodes(trace: &Trace) -> String {
    let nodes = trace.path().into_iter().filter(|place| ["a1", "b1", "b2"].contains(place));
    nodes.collect::<Vec<_>>().join(" ")
}

/// Packets of a direction in their order, with the reason and the place of those that were lost.
pub(crate) fn fates(traces: &[Trace], direction: Direction) -> Vec<(u32, String)> {
    let of_direction = traces.iter().filter(|trace| trace.key.direction == direction);
    let fate = |trace: &Trace| match &trace.disposition {
        Disposition::Delivered { .. } => "delivered".to_owned(),
        Disposition::Dropped { reason, place, .. } => format!("{reason}@{place}"),
        Disposition::Unknown => "unknown".to_owned(),
    };
    of_direction.map(|trace| (trace.key.sequence, fate(trace))).collect()
}

/// The fates that follow one another, each once, with the numbers of its packets.
pub(crate) fn stretches(fates: &[(u32, String)]) -> Vec<(String, std::ops::RangeInclusive<u32>)> {
    let mut stretches: Vec<(String, std::ops::RangeInclusive<u32>)> = Vec::new();
    for (sequence, fate) in fates {
        match stretches.last_mut() {
            Some((last, numbers)) if last == fate => *numbers = *numbers.start()..=*sequence,
            Some(_) | None => stretches.push((fate.clone(), *sequence..=*sequence)),
        }
    }
    stretches
}
