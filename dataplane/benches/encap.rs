//! What a tunnel header costs: push and pull for each encapsulation, for 64 B and 1430 B of inner packet, VXLAN over both families.

use std::net::{IpAddr, Ipv4Addr};

use divan::{Bencher, black_box};
use overlab_dataplane::encap::{Encapsulation, Ipip, Template, Vxlan, Wire};
use overlab_dataplane::wire::{Ipv4Header, Ipv6Header};
use overlab_dataplane::{Family, MacAddr, Packet, Vni};

const SIZES: [usize; 2] = [64, 1430];

fn main() {
    divan::main();
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, number, 5)
}

fn local(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => address(number).into(),
        Family::V6 => address(number).to_ipv6_mapped().into(),
    }
}

fn node(family: Family, number: u8) -> Vxlan {
    Vxlan {
        vni: Vni::from_bytes([0, 0x10, 0]),
        port: 4789,
        mac: MacAddr([0x66, 0, 0, 0, 0, number]),
        local: local(family, number),
        wire: Wire::Linux,
    }
}

/// A UDP packet of `size` bytes, its ports zero.
fn inner(family: Family, size: usize) -> Packet {
    let (from, to) = (Ipv4Addr::new(192, 168, 0, 2), Ipv4Addr::new(192, 168, 1, 2));
    let bytes = match family {
        Family::V4 => [
            &Ipv4Header::new(from, to, 17, size - 20).to_bytes()[..],
            &vec![0x5a; size - 20],
        ]
        .concat(),
        Family::V6 => {
            let header = Ipv6Header::new(from.to_ipv6_mapped(), to.to_ipv6_mapped(), 17, size - 40);
            [&header.to_bytes()[..], &vec![0x5a; size - 40]].concat()
        }
    };
    Packet::from_bytes(&bytes)
}

/// The headers that a push wrote are taken off again by moving an offset, which costs next to nothing.
fn push(bencher: Bencher<'_, '_>, end: &dyn Encapsulation, template: Template, size: usize) {
    let mut packet = inner(template.family(), size);
    let overhead = usize::from(end.encap().overhead(template.family()));
    bencher.bench_local(|| {
        let pushed = end.push(black_box(&template), black_box(&mut packet), 1).is_ok();
        packet.pull(overhead) && pushed
    });
}

/// The headers that a pull took off are still in the headroom, and come back by moving the offset again.
fn pull(bencher: Bencher<'_, '_>, end: &dyn Encapsulation, sender: &dyn Encapsulation, template: Template, size: usize) {
    let mut packet = inner(template.family(), size);
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
fn pull_ipip(bencher: Bencher<'_, '_>, size: usize) {
    pull(bencher, &Ipip, &Ipip, Ipip::template(address(1), address(2)), size);
}

/// The ends of a tunnel over a family, and the template from the first to the second.
fn tunnel(family: Family) -> (Vxlan, Vxlan, Template) {
    let (a, b) = (node(family, 1), node(family, 2));
    let template = a.template(b.local, b.mac).expect("both are of one family");
    (a, b, template)
}

#[divan::bench(args = SIZES)]
fn push_vxlan(bencher: Bencher<'_, '_>, size: usize) {
    let (a, _, template) = tunnel(Family::V4);
    push(bencher, &a, template, size);
}

#[divan::bench(args = SIZES)]
fn push_vxlan6(bencher: Bencher<'_, '_>, size: usize) {
    let (a, _, template) = tunnel(Family::V6);
    push(bencher, &a, template, size);
}

#[divan::bench(args = SIZES)]
fn pull_vxlan(bencher: Bencher<'_, '_>, size: usize) {
    let (a, b, template) = tunnel(Family::V4);
    pull(bencher, &b, &a, template, size);
}

#[divan::bench(args = SIZES)]
fn pull_vxlan6(bencher: Bencher<'_, '_>, size: usize) {
    let (a, b, template) = tunnel(Family::V6);
    pull(bencher, &b, &a, template, size);
}
