//! What a node costs a packet: forward and encapsulate on the sender's node, decapsulate and deliver on the receiver's, for 64 B and
//! 1450 B of inner packet. `none` is the yardstick of each group: the figures to keep are ratios to it within one run.

#[path = "../tests/common/cluster.rs"]
mod cluster;

use divan::{Bencher, black_box};
use overlab_dataplane::engine::{Engine, Ingress, Out, Outcome};
use overlab_dataplane::{Instant, Packet};
use serde_json::{Value, json};

use cluster::{CARD, NODES, Udp, pod_device, tables};

/// Encapsulation, and bytes of the inner packet.
const CASES: [&str; 6] = ["none/64", "none/1450", "ipip/64", "ipip/1450", "vxlan/64", "vxlan/1450"];

fn main() {
    divan::main();
}

/// A case's pool and packet length.
fn setting(case: &str) -> (Value, usize) {
    let (name, size) = case.split_once('/').expect("cases have two parts");
    (pool(name), size.parse().expect("the second part is a size"))
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
    let (pool, size) = setting(case);
    let [a, ..] = tables(pool, json!({}));
    let pod = Ingress::Device(pod_device(&a));
    let (mut engine, mut outcome) = (Engine::new(a), Outcome::default());
    let sent = Udp {
        length: size,
        ..Udp::new(NODES[0].3, NODES[2].3)
    }
    .build();
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
    let (pool, size) = setting(case);
    let [a, _, c] = tables(pool, json!({}));
    let pod = Ingress::Device(pod_device(&a));
    let (mut sender, mut engine, mut outcome) = (Engine::new(a), Engine::new(c), Outcome::default());
    let sent = Udp {
        length: size,
        ..Udp::new(NODES[0].3, NODES[2].3)
    }
    .build();
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
