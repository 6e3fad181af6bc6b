//! The packet path allocates nothing: a counting allocator says so. The count is the process's, so there is no test harness, whose
//! threads would be counted too.

mod common;

use std::net::Ipv4Addr;

use overlab_dataplane::encap::{Encapsulation, Ipip, Vxlan};
use overlab_dataplane::wire::{FlowKey, Ipv4Mut, Ipv4View};
use overlab_dataplane::{MacAddr, Packet, Vni};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn node(number: u8) -> Vxlan {
    Vxlan {
        vni: Vni::new(4096).unwrap(),
        port: 4789,
        mac: MacAddr([0x66, 0, 0, 0, 0, number]),
        local: Ipv4Addr::new(10, 0, number, 5),
    }
}

fn main() {
    let inner = &common::packet("01-vxlan4-tcp-syn")[50..];
    let (a, b) = (node(1), node(2));
    let vxlan = a.template(b.local, b.mac);
    let ipip = Ipip::template(a.local, b.local);
    let mut packet = Packet::from_bytes(inner);
    let mut hash = 0;

    let _profiler = dhat::Profiler::builder().testing().build();
    for round in 0..1000 {
        packet.fill(inner);
        hash ^= FlowKey::of(&Ipv4View::parse(packet.bytes()).unwrap()).hash();
        Ipv4Mut::new(packet.bytes_mut()).unwrap().decrement_ttl();
        Ipip.push(&ipip, &mut packet, round).unwrap();
        a.push(&vxlan, &mut packet, round).unwrap();
        assert!(b.recognises(&Ipv4View::parse(packet.bytes()).unwrap()));
        b.pull(&mut packet).unwrap();
        Ipip.pull(&mut packet).unwrap();
    }
    let allocations = dhat::HeapStats::get().total_blocks;
    assert_eq!(
        allocations, 0,
        "reading, changing, encapsulating and decapsulating allocate nothing"
    );
    assert_eq!(packet.bytes().len(), inner.len());
    assert_eq!(hash, 0, "the same flow has the same hash each time");
}
