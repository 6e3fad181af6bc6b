//! What a node costs a packet: forward and encapsulate on the sender's node, decapsulate and deliver on the receiver's, for 64 B and
//! 1430 B of inner packet, over IPv4 and IPv6. `none` is the yardstick of each group: the figures to keep are ratios to it within one run.

#[path = "../tests/common/cluster.rs"]
mod cluster;

use divan::{Bencher, black_box};
use overlab_dataplane::engine::{Engine, Ingress, Out, Outcome};
use overlab_dataplane::{Family, Instant, Packet};
use serde_json::{Value, json};

use cluster::{CARD, NODES, Udp, pod_device, tables};

/// Encapsulation, with a 6 over IPv6, and bytes of the inner packet.
const CASES: [&str; 10] = [
    "none/64",
    "none/1430",
    "ipip/64",
    "ipip/1430",
    "vxlan/64",
    "vxlan/1430",
    "none6/64",
    "none6/1430",
    "vxlan6/64",
    "vxlan6/1430",
];

fn main() {
    divan::main();
}

/// A case's family, pool and packet from pod-a to pod-c.
fn setting(case: &str) -> (Family, Value, Vec<u8>) {
    let (name, size) = case.split_once('/').expect("cases have two parts");
    let (family, name) = name.strip_suffix('6').map_or((Family::V4, name), |name| (Family::V6, name));
    let sent = Udp {
        length: size.parse().expect("the second part is a size"),
        ..Udp::of(family, NODES[0].3, NODES[2].3)
    };
    (family, pool(name), sent.build())
}

fn pool(name: &str) -> Value {
    match name {
        "ipip" => json!({"ipipMode": "Always"}),
        "vxlan" => json!({"vxlanMode": "Always"}),
        _ => json!({}),
    }
}

fn packet_of(out: Option<Out>) -> Packet {
    match out {
        Some(Out::Transmit { packet, .. } | Out::Deliver { packet, .. }) => packet,
        None => panic!("the packet was lost"),
    }
}

/// Forward, encapsulate and transmit. Refilling the buffer is part of the figure, and the same for each encapsulation.
#[divan::bench(args = CASES)]
fn send(bencher: Bencher<'_, '_>, case: &str) {
    let (family, pool, sent) = setting(case);
    let [a, ..] = tables(family, pool, json!({}));
    let pod = Ingress::Device(pod_device(&a));
    let (mut engine, mut outcome) = (Engine::new(a), Outcome::default());
    let mut packet = Some(Packet::from_bytes(&sent));
    bencher.bench_local(|| {
        let mut fresh = packet.take().expect("the packet comes back each time");
        fresh.fill(black_box(&sent));
        engine.handle(Instant::ZERO, pod, fresh, &mut outcome);
        packet = Some(packet_of(outcome.out.pop()));
    });
}

/// Decapsulate and deliver.
#[divan::bench(args = CASES)]
fn receive(bencher: Bencher<'_, '_>, case: &str) {
    let (family, pool, sent) = setting(case);
    let [a, _, c] = tables(family, pool, json!({}));
    let pod = Ingress::Device(pod_device(&a));
    let (mut sender, mut engine, mut outcome) = (Engine::new(a), Engine::new(c), Outcome::default());
    sender.handle(Instant::ZERO, pod, Packet::from_bytes(&sent), &mut outcome);
    let wire = packet_of(outcome.out.pop()).bytes().to_vec();
    let mut packet = Some(Packet::from_bytes(&wire));
    bencher.bench_local(|| {
        let mut fresh = packet.take().expect("the packet comes back each time");
        fresh.fill(black_box(&wire));
        engine.handle(Instant::ZERO, Ingress::Device(CARD), fresh, &mut outcome);
        packet = Some(packet_of(outcome.out.pop()));
    });
}
