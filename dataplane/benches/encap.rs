//! What a tunnel header costs: push and pull for each encapsulation, for 64 B and 1450 B of inner packet.

use std::net::Ipv4Addr;

use divan::{Bencher, black_box};
use overlab_dataplane::encap::{Encapsulation, Ipip, Template, Vxlan, Wire};
use overlab_dataplane::wire::Ipv4Header;
use overlab_dataplane::{MacAddr, Packet, Vni};

const SIZES: [usize; 2] = [64, 1450];

fn main() {
    divan::main();
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, number, 5)
}

fn node(number: u8) -> Vxlan {
    Vxlan {
        vni: Vni::from_bytes([0, 0x10, 0]),
        port: 4789,
        mac: MacAddr([0x66, 0, 0, 0, 0, number]),
        local: address(number).into(),
        wire: Wire::Linux,
    }
}

/// A UDP packet of `size` bytes, its ports zero.
fn inner(size: usize) -> Packet {
    let payload = size - 20;
    let header = Ipv4Header::new(Ipv4Addr::new(192, 168, 0, 2), Ipv4Addr::new(192, 168, 1, 2), 17, payload);
    Packet::from_bytes(&[&header.to_bytes()[..], &vec![0x5a; payload]].concat())
}

/// The headers that a push wrote are taken off again by moving an offset, which costs next to nothing.
fn push(bencher: Bencher<'_, '_>, end: &dyn Encapsulation, template: Template, size: usize) {
    let mut packet = inner(size);
    let overhead = usize::from(end.encap().overhead(template.family()));
    bencher.bench_local(|| {
        let pushed = end.push(black_box(&template), black_box(&mut packet), 1).is_ok();
        packet.pull(overhead) && pushed
    });
}

/// The headers that a pull took off are still in the headroom, and come back by moving the offset again.
fn pull(bencher: Bencher<'_, '_>, end: &dyn Encapsulation, sender: &dyn Encapsulation, template: Template, size: usize) {
    let mut packet = inner(size);
    sender.push(&template, &mut packet, 1).ok();
    let overhead = usize::from(end.encap().overhead(template.family()));
    bencher.bench_local(|| {
        let pulled = end.pull(black_box(&mut packet)).is_ok();
        packet.push(overhead);
        pulled
    });
}

#[divan::bench(args = SIZES)]
fn push_ipip(bencher: Bencher<'_, '_>, size: usize) {
    push(bencher, &Ipip, Ipip::template(address(1), address(2)), size);
}

#[divan::bench(args = SIZES)]
fn push_vxlan(bencher: Bencher<'_, '_>, size: usize) {
    let (a, b) = (node(1), node(2));
    push(bencher, &a, a.template(b.local, b.mac).expect("both are of one family"), size);
}

#[divan::bench(args = SIZES)]
fn pull_ipip(bencher: Bencher<'_, '_>, size: usize) {
    pull(bencher, &Ipip, &Ipip, Ipip::template(address(1), address(2)), size);
}

#[divan::bench(args = SIZES)]
fn pull_vxlan(bencher: Bencher<'_, '_>, size: usize) {
    let (a, b) = (node(1), node(2));
    pull(
        bencher,
        &b,
        &a,
        a.template(b.local, b.mac).expect("both are of one family"),
        size,
    );
}
