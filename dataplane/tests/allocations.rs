//! The packet path allocates nothing: a counting allocator says so. The count is the process's, so all runs on one thread, where
//! the standard harness has one of its own.

#[path = "common/cluster.rs"]
mod cluster;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use overlab_dataplane::engine::{Engine, Ingress, Out, Outcome};
use overlab_dataplane::{Family, Instant, Packet};
use serde_json::{Value, json};

use cluster::{CARD, NODES, Udp, pod_device, tables};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// A packet on its way from pod-a to pod-c: forwarded and encapsulated by one engine, decapsulated and delivered by the other.
struct Way {
    a: Engine,
    c: Engine,
    pod: Ingress,
    outcome: Outcome,
}

impl Way {
    fn new(family: Family, pool: Value) -> Way {
        let [a, _, c] = tables(family, pool, json!({}));
        let pod = Ingress::Device(pod_device(&a));
        Way {
            a: Engine::new(a),
            c: Engine::new(c),
            pod,
            outcome: Outcome::default(),
        }
    }

    fn carry(&mut self, packet: Packet) -> Packet {
        self.a.handle(Instant::ZERO, self.pod, packet, &mut self.outcome);
        let Some(Out::Transmit { packet, .. }) = self.outcome.out.pop() else {
            panic!("it leaves the node")
        };
        self.c.handle(Instant::ZERO, Ingress::Device(CARD), packet, &mut self.outcome);
        let Some(Out::Deliver { packet, .. }) = self.outcome.out.pop() else {
            panic!("it arrives")
        };
        packet
    }
}

/// Sends packets of one kind until everything is warm, then counts.
fn costs_no_allocation(family: Family, pool: &Value, length: usize) -> Result<(), Failed> {
    let mut way = Way::new(family, pool.clone());
    let sent = Udp {
        length,
        ..Udp::of(family, NODES[0].3, NODES[2].3)
    }
    .build();
    // Without encapsulation nothing leads from one subnet to the other but the wire, which is the test's own.
    let mut packet = way.carry(Packet::from_bytes(&sent));
    let profiler = dhat::Profiler::builder().testing().build();
    for _ in 0..1000 {
        packet.fill(&sent);
        packet = way.carry(packet);
    }
    let allocations = dhat::HeapStats::get().total_blocks;
    drop(profiler);
    if allocations != 0 {
        return Err(format!("1000 packets cost {allocations} allocations once warm").into());
    }
    if packet.bytes().len() != length {
        return Err("another packet arrived than was sent".into());
    }
    Ok(())
}

fn main() -> ExitCode {
    let modes = [
        ("none", json!({})),
        ("ipip", json!({"ipipMode": "Always"})),
        ("vxlan", json!({"vxlanMode": "Always"})),
    ];
    let mut trials = Vec::new();
    for length in [64, 1430] {
        for (mode, pool) in &modes {
            for family in Family::ALL {
                if family == Family::V6 && *mode == "ipip" {
                    continue;
                }
                let pool = pool.clone();
                trials.push(Trial::test(
                    format!("{mode}_over_{family}_at_{length}_B_costs_no_allocation"),
                    move || costs_no_allocation(family, &pool, length),
                ));
            }
        }
    }
    let arguments = Arguments {
        test_threads: Some(1),
        ..Arguments::from_args()
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}
