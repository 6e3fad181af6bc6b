//! The packet path allocates nothing: a counting allocator says so. The count is the process's, so there is no test harness, whose
//! threads would be counted too.

#[path = "common/cluster.rs"]
mod cluster;

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

fn main() {
    let (none, ipip, vxlan) = (json!({}), json!({"ipipMode": "Always"}), json!({"vxlanMode": "Always"}));
    let cases = [
        (Family::V4, &none),
        (Family::V4, &ipip),
        (Family::V4, &vxlan),
        (Family::V6, &none),
        (Family::V6, &vxlan),
    ];
    for length in [64, 1430] {
        for (family, pool) in cases {
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
            assert_eq!(
                allocations, 0,
                "{family} {pool} at {length} B: a packet costs no allocation once warm"
            );
            assert_eq!(packet.bytes().len(), length);
        }
    }
    println!("no allocation a packet: forward, encapsulate, decapsulate, deliver");
}
