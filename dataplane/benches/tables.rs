//! What the tables of a large cluster cost: 5,000 nodes with a block each and 100,000 workloads, in IP in IP and in VXLAN, read
//! from manifests as a datastore dump has them. Times are on one core; the figures of one run belong together.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::time::Instant;

use ipnet::IpNet;
use overlab_dataplane::calico::{ClusterState, Profile, Reading, Resource, WorkloadRequest};
use overlab_dataplane::fields::{FieldPath, FieldRef, Origin};
use overlab_dataplane::route::{HostNetwork, Nic, NodeTables, Resolver, RpFilter, node_tables};
use overlab_dataplane::{Mtu, PerFamily};
use serde_json::{Value, json};

const NODES: usize = 5_000;
const WORKLOADS_OF_EACH: usize = 20;
/// The variable that names the case of a process.
const CASE: &str = "OVERLAB_BENCH_CASE";
/// Changes of which the middle one is told.
const CHANGES: usize = 101;

/// Each case runs in a process of its own, so that its memory is its own too.
fn main() {
    let cases = [
        ("VXLAN CrossSubnet", Profile::V3_32, json!({"vxlanMode": "CrossSubnet"})),
        (
            "IPIP CrossSubnet, Felix's",
            Profile::V3_33,
            json!({"ipipMode": "CrossSubnet"}),
        ),
        ("IPIP CrossSubnet, BIRD's", Profile::V3_32, json!({"ipipMode": "CrossSubnet"})),
        ("no encapsulation, BIRD's", Profile::V3_32, json!({})),
    ];
    if let Ok(case) = std::env::var(CASE) {
        let (name, profile, spec) = case
            .parse()
            .ok()
            .and_then(|case: usize| cases.into_iter().nth(case))
            .expect("a case");
        println!("\n{name}, {profile}");
        return measure(profile, spec);
    }
    println!("{NODES} nodes, {} workloads, one block each", NODES * WORKLOADS_OF_EACH);
    let this = std::env::current_exe().expect("a program has a path");
    for case in 0..cases.len() {
        let status = std::process::Command::new(&this).env(CASE, case.to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "a case failed");
    }
}

fn measure(profile: Profile, spec: Value) {
    let cluster = timed("load and validate", || load(profile, spec));
    let hosts: Vec<_> = (0..NODES).map(host).collect();
    let before = resident();
    let mut resolver = Resolver::new(cluster);
    let tables: Vec<_> = timed("tables of all nodes", || {
        hosts.iter().map(|host| resolver.tables(host)).collect()
    });
    let routes: usize = tables.iter().map(|tables: &NodeTables| tables.routes().count()).sum();
    println!("  {routes} routes in {} MiB", resident().saturating_sub(before) >> 10);

    let anew = median(3, |_| {
        let started = Instant::now();
        std::hint::black_box(node_tables(resolver.cluster(), &hosts[0]));
        started.elapsed().as_nanos()
    });
    let kept = changes(&mut resolver, &hosts[0], "the old tables of all nodes are still held");
    drop(tables);
    let dropped = changes(&mut resolver, &hosts[0], "no old tables are held");
    println!("  one node after a change of one block, anew: {:.1} us", anew as f64 / 1e3);
    println!(
        "  that is {}x and {}x the incremental way",
        anew / kept.max(1),
        anew / dropped.max(1)
    );
}

/// The middle cost of a change of one block with all tables of one node after it.
fn changes(resolver: &mut Resolver, host: &HostNetwork, state: &str) -> u128 {
    let mut held: Option<NodeTables> = None;
    let cost = median(CHANGES, |i| {
        let mut block = resolver
            .cluster()
            .blocks()
            .values()
            .nth(NODES / 2)
            .expect("there are blocks")
            .clone();
        block.affinity = Some(name(i * 7 % NODES));
        let started = Instant::now();
        resolver.set_block(block);
        let tables = resolver.tables(host);
        let cost = started.elapsed().as_nanos();
        held = state.starts_with("the old").then_some(tables);
        cost
    });
    drop(held);
    println!("  one node after a change of one block, {state}: {:.1} us", cost as f64 / 1e3);
    cost
}

fn median(times: usize, mut once: impl FnMut(usize) -> u128) -> u128 {
    let mut costs: Vec<_> = (0..times).map(&mut once).collect();
    costs.sort_unstable();
    costs[times / 2]
}

/// The memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0)
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    println!("  {what}: {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
    result
}

fn name(node: usize) -> std::sync::Arc<str> {
    format!("node-{node:04}").into()
}

/// 200 nodes to a subnet of 24 bits.
fn address(node: usize) -> String {
    format!("10.0.{}.{}", node / 200, 10 + node % 200)
}

fn host(node: usize) -> HostNetwork {
    HostNetwork {
        name: name(node),
        nics: vec![Nic {
            name: "eth0".into(),
            addresses: vec![format!("{}/24", address(node)).parse().expect("an address")],
            mtu: Mtu::new(1500).expect("an MTU"),
        }],
        gateways: PerFamily {
            v4: format!("10.0.{}.1", node / 200).parse().ok(),
            v6: None,
        },
        rp_filter: RpFilter::Off,
        kernel: None,
    }
}

fn blocks() -> Vec<IpNet> {
    let pool: IpNet = "10.128.0.0/12".parse().expect("a range");
    pool.subnets(26).expect("blocks fit").take(NODES).collect()
}

fn load(profile: Profile, spec: Value) -> ClusterState {
    let mut pool = json!({"cidr": "10.128.0.0/12", "natOutgoing": true});
    pool.as_object_mut()
        .expect("an object")
        .extend(spec.as_object().cloned().unwrap_or_default());
    let object = |kind: &str, name: &str, spec: &Value| json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let blocks = blocks();
    let mut objects = vec![object("IPPool", "pool", &pool)];
    for (node, cidr) in blocks.iter().enumerate() {
        let spec = json!({"bgp": {"ipv4Address": format!("{}/24", address(node))}});
        objects.push(object("Node", &name(node), &spec));
        let spec = json!({"cidr": cidr, "affinity": format!("host:{}", name(node)), "strictAffinity": false, "unallocated": [], "allocations": [], "attributes": []});
        let mut block = object("IPAMBlock", &cidr.to_string().replace(['.', '/'], "-"), &spec);
        block["apiVersion"] = json!("crd.projectcalico.org/v1");
        objects.push(block);
    }
    let read = |object: &Value| Resource::read(object, Origin(0)).expect("the objects are right");
    let resources = objects.iter().flat_map(read).map(|reading| match reading {
        Reading::Resource(resource) => resource,
        Reading::Ignored { kind, .. } => panic!("{kind} is not ignored"),
    });
    let workloads = (0..NODES * WORKLOADS_OF_EACH).map(|i| WorkloadRequest {
        name: format!("workload-{i}").into(),
        node: name(i / WORKLOADS_OF_EACH),
        addresses: blocks[i / WORKLOADS_OF_EACH]
            .hosts()
            .skip(1 + i % WORKLOADS_OF_EACH)
            .take(1)
            .collect(),
        pool: None,
        origin: FieldRef {
            origin: Origin(0),
            path: FieldPath::dotted("spec.workloads").index(i),
        },
    });
    ClusterState::build(profile, resources.collect(), workloads.collect()).expect("the cluster is right")
}
