//! Flows over IPv6 between two stacks, wired back to back.

use std::time::Duration;

use overlab_dataplane::Packet;
use overlab_dataplane::route::RouteProtocol;
use overlab_simulator::backend::{Backend, Blackhole, FlowEvent, PortId, SendError, Stack, StackId};
use overlab_simulator::observe::Direction;
use overlab_simulator::scenario::{Flow, PathMtuDiscovery, Transport};
use pnet::packet::Packet as _;
use pnet::packet::icmpv6::{Icmpv6Code, Icmpv6Types, MutableIcmpv6Packet};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet::packet::udp::UdpPacket;

use crate::Test;
use crate::bench::{Bench, device, flow, ip, route, stack, workload};

pub(crate) const TESTS: &[Test] = &[
    (
        "ping_over_ipv6_is_answered_by_the_kernel",
        ping_over_ipv6_is_answered_by_the_kernel,
    ),
    (
        "a_stack_that_gets_ipv6_later_sends_over_it_until_it_goes",
        a_stack_that_gets_ipv6_later_sends_over_it_until_it_goes,
    ),
    (
        "udp_over_both_families_shares_a_port_number",
        udp_over_both_families_shares_a_port_number,
    ),
    (
        "ipv6_fields_are_as_the_flow_wants_them",
        ipv6_fields_are_as_the_flow_wants_them,
    ),
    (
        "a_too_long_ipv6_packet_is_refused_or_split_at_its_origin",
        a_too_long_ipv6_packet_is_refused_or_split_at_its_origin,
    ),
    (
        "a_path_mtu_learned_over_ipv6_splits_the_next_packet",
        a_path_mtu_learned_over_ipv6_splits_the_next_packet,
    ),
    ("nothing_of_ipv6_comes_unasked", nothing_of_ipv6_comes_unasked),
];

const A: StackId = StackId(1);
const B: StackId = StackId(2);
const LONG_ENOUGH: Duration = Duration::from_millis(100);
const HERE: &str = "fd00:65:1::2";
const THERE: &str = "fd00:65:2::2";

/// A workload with both families: everything of IPv6 goes to Calico's link-local gateway.
fn dual(id: u32, v4: &str, v6: &str, mtu: u16) -> Stack {
    let mut made = workload(id, v4, mtu);
    let config = &mut made.devices[0].config;
    config.addresses.push(format!("{v6}/128").parse().unwrap());
    config.routes.push(route("::/0", Some("fe80::ecee:eeff:feee:eeee")));
    made
}

fn pair(mtu: u16) -> Bench {
    let stacks = vec![dual(1, "10.65.1.2", HERE, mtu), dual(2, "10.65.2.2", THERE, mtu)];
    Bench::new(stacks, &[(PortId(1), PortId(2))])
}

/// Carries packets until so many answers have come to a flow, or far longer than that should take.
fn run_until(bench: &mut Bench, id: u32, answers: usize) {
    for _ in 0..50 {
        bench.run(LONG_ENOUGH);
        if bench.received(id, Direction::Reverse).len() >= answers {
            return;
        }
    }
}

fn ping_over_ipv6_is_answered_by_the_kernel() -> Option<String> {
    let mut bench = pair(1500);
    bench.start(0, flow(Transport::Icmp, THERE, 40001), A, B);
    run_until(&mut bench, 0, 5);
    let expected: Vec<_> = (0..5).map(|n| (n, ip(THERE), 64)).collect();
    assert_eq!(bench.received(0, Direction::Reverse), expected);
    let identifiers: Vec<_> = bench.packets.iter().map(|(_, packet)| packet[44..46].to_vec()).collect();
    assert_eq!(identifiers, vec![40001u16.to_be_bytes().to_vec(); 10]);
    None
}

/// Until then the stack had no address, so that it was made without IPv6; and then it loses all again.
fn a_stack_that_gets_ipv6_later_sends_over_it_until_it_goes() -> Option<String> {
    let there = dual(2, "10.65.2.2", THERE, 1500);
    let mut here = dual(1, "10.65.1.2", HERE, 1500);
    here.blackholes = vec![Blackhole {
        destination: "fd00:65:3::/122".parse().unwrap(),
        protocol: RouteProtocol::BIRD,
        metric: 1024,
    }];
    let mut nowhere = here.clone();
    nowhere.blackholes.clear();
    nowhere.devices[0].config.addresses.clear();
    nowhere.devices[0].config.routes.clear();
    let mut bench = Bench::new(vec![nowhere.clone(), there], &[(PortId(1), PortId(2))]);
    let endless = Flow {
        count: u32::MAX,
        ..flow(Transport::Udp, THERE, 40001)
    };
    bench.start(0, endless, A, B);
    let answers = |bench: &Bench| bench.received(0, Direction::Reverse).len();
    bench.run(Duration::from_millis(20));
    assert_eq!(answers(&bench), 0);
    for round in 1..=2 {
        let before = answers(&bench);
        bench.become_like(&here);
        run_until(&mut bench, 0, before + 5);
        assert!(answers(&bench) >= before + 5, "round {round}");
        bench.become_like(&nowhere);
        // What left before the change is still in the devices' queues.
        bench.run(Duration::from_millis(20));
        let before = answers(&bench);
        bench.run(Duration::from_millis(20));
        assert_eq!(answers(&bench), before, "round {round}");
    }
    None
}

fn udp_over_both_families_shares_a_port_number() -> Option<String> {
    let mut bench = pair(1500);
    bench.start(0, flow(Transport::Udp, "10.65.2.2", 40001), A, B);
    bench.start(1, flow(Transport::Udp, THERE, 40002), A, B);
    run_until(&mut bench, 0, 5);
    run_until(&mut bench, 1, 5);
    for (id, here, there) in [(0, "10.65.1.2", "10.65.2.2"), (1, HERE, THERE)] {
        let expected = |from| (0..5).map(|n| (n, ip(from), 64)).collect::<Vec<_>>();
        assert_eq!(bench.received(id, Direction::Forward), expected(here));
        assert_eq!(bench.received(id, Direction::Reverse), expected(there));
    }
    let (_, packet) = bench.packets.iter().find(|(_, packet)| packet[0] >> 4 == 6).unwrap();
    let ip = Ipv6Packet::new(packet).unwrap();
    let udp = UdpPacket::new(ip.payload()).unwrap();
    let sum = pnet::packet::udp::ipv6_checksum(&udp, &ip.get_source(), &ip.get_destination());
    assert_eq!(udp.get_checksum(), sum, "checksums are whole, not left to a network card");
    None
}

fn ipv6_fields_are_as_the_flow_wants_them() -> Option<String> {
    for transport in [Transport::Icmp, Transport::Udp] {
        let mut bench = pair(1500);
        let marked = Flow {
            ttl: 7,
            dscp: 46,
            ecn: 1,
            count: 1,
            ..flow(transport, THERE, 40001)
        };
        bench.start(0, marked, A, B);
        run_until(&mut bench, 0, 1);
        let fields = |packet: &[u8]| {
            let packet = Ipv6Packet::new(packet).unwrap();
            (packet.get_hop_limit(), packet.get_traffic_class())
        };
        assert_eq!(fields(&bench.packets[0].1), (7, 46 << 2 | 1), "{transport:?}");
        // A kernel answers an echo with the class that it was asked with, an application with its own.
        let answer = if transport == Transport::Icmp { 46 << 2 | 1 } else { 0 };
        assert_eq!(fields(&bench.packets[1].1), (64, answer), "{transport:?}");
    }
    None
}

fn lengths(bench: &Bench, port: u32) -> Vec<usize> {
    let out = bench.packets.iter().filter(|(at, _)| *at == PortId(port));
    out.map(|(_, packet)| packet.len()).collect()
}

fn a_too_long_ipv6_packet_is_refused_or_split_at_its_origin() -> Option<String> {
    use PathMtuDiscovery::{Do, Dont, Probe, Want};
    for (transport, discovery) in [Want, Dont, Do, Probe]
        .into_iter()
        .flat_map(|d| [(Transport::Icmp, d), (Transport::Udp, d)])
    {
        let mut bench = pair(1400);
        let long = Flow {
            payload: 1353,
            count: 1,
            path_mtu_discovery: discovery,
            ..flow(transport, THERE, 40001)
        };
        let fitting = Flow {
            payload: 1352,
            source_port: 40002,
            ..long.clone()
        };
        bench.start(0, long, A, B);
        bench.start(1, fitting, A, B);
        run_until(&mut bench, 1, 1);
        if matches!(discovery, Want | Dont) {
            run_until(&mut bench, 0, 1);
        }
        let sent = lengths(&bench, 1);
        if matches!(discovery, Do | Probe) {
            let refused = FlowEvent::SendRefused {
                direction: Direction::Forward,
                sequence: 0,
                reason: SendError::TooBig,
            };
            assert_eq!(
                bench.events(0),
                [FlowEvent::Sent { sequence: 0 }, refused],
                "{transport:?} {discovery:?}"
            );
            assert_eq!(sent, [1400], "{transport:?} {discovery:?}");
        } else {
            // Pieces of a multiple of 8 bytes behind 40 of header and 8 of fragment header.
            assert_eq!(sent, [48 + 1352, 48 + 9, 1400], "{transport:?} {discovery:?}");
            assert_eq!(bench.received(0, Direction::Reverse).len(), 1, "{transport:?} {discovery:?}");
        }
        assert_eq!(
            bench.received(1, Direction::Reverse).len(),
            1,
            "1352 B and 48 B of headers fit"
        );
    }
    None
}

/// "Packet too big" (RFC 4443 section 3.2) about a packet, from a router.
fn too_big(about: &[u8], mtu: u32) -> Vec<u8> {
    let destination = Ipv6Packet::new(about).unwrap().get_source();
    let source = "fd00::fe".parse().unwrap();
    let quote = &about[..about.len().min(1280 - 48)];
    let mut bytes = vec![0; 48 + quote.len()];
    let (header, icmp) = bytes.split_at_mut(40);
    icmp[4..8].copy_from_slice(&mtu.to_be_bytes());
    icmp[8..].copy_from_slice(quote);
    let length = icmp.len() as u16;
    let mut view = MutableIcmpv6Packet::new(icmp).unwrap();
    view.set_icmpv6_type(Icmpv6Types::PacketTooBig);
    view.set_icmpv6_code(Icmpv6Code::new(0));
    view.set_checksum(pnet::packet::icmpv6::checksum(&view.to_immutable(), &source, &destination));
    let mut view = MutableIpv6Packet::new(header).unwrap();
    view.set_version(6);
    view.set_payload_length(length);
    view.set_hop_limit(64);
    view.set_next_header(IpNextHeaderProtocols::Icmpv6);
    view.set_source(source);
    view.set_destination(destination);
    bytes
}

fn a_path_mtu_learned_over_ipv6_splits_the_next_packet() -> Option<String> {
    for transport in [Transport::Udp, Transport::Icmp] {
        let stacks = vec![dual(1, "10.65.1.2", HERE, 1500), dual(2, "10.65.2.2", THERE, 1500)];
        let mut bench = Bench::new(stacks, &[]);
        let probes = Flow {
            payload: 1400,
            count: 3,
            interval: Duration::from_millis(250),
            ..flow(transport, THERE, 40001)
        };
        bench.start(0, probes, A, B);
        bench.run(Duration::from_millis(50));
        let about = bench.packets[0].1.clone();
        // Less than the least MTU of IPv6 is no path's (RFC 8201 section 4).
        bench.backend.deliver(PortId(1), Packet::from_bytes(&too_big(&about, 1279)));
        bench.run(Duration::from_millis(250));
        bench.backend.deliver(PortId(1), Packet::from_bytes(&too_big(&about, 1300)));
        bench.run(Duration::from_millis(300));
        assert_eq!(lengths(&bench, 1), [1448, 1448, 48 + 1248, 48 + 160], "{transport:?}");
    }
    None
}

fn nothing_of_ipv6_comes_unasked() -> Option<String> {
    let device = device(
        1,
        "vxlan-v6.calico",
        "fd00:65:1::/128",
        1430,
        vec![route("fd00:65:2::/122", None)],
    );
    let mut bench = Bench::new(vec![stack(1, "a1", vec![device])], &[]);
    bench.run(Duration::from_millis(300));
    assert!(bench.packets.is_empty(), "{:?}", bench.packets);
    assert_eq!(bench.backend.counters().lost, 0);
    None
}
