//! Flows between two stacks, wired back to back, in both families.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use overlab_dataplane::{Instant, Mtu, Packet};
use overlab_simulator::backend::{Backend, FlowEvent, FlowStart, HostAction, PortId, SendError, StackId};
use overlab_simulator::observe::Direction;
use overlab_simulator::scenario::PathMtuDiscovery::{self, Do, Dont, Probe, Want};
use overlab_simulator::scenario::{Flow, FlowId, Reply, Transport};
use pnet::packet::icmp::{IcmpCode, IcmpTypes, MutableIcmpPacket};
use pnet::packet::icmpv6::{Icmpv6Code, Icmpv6Types, MutableIcmpv6Packet};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet, MutableIpv4Packet};
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet::packet::udp::UdpPacket;

use crate::Test;
use crate::bench::{Bench, device, dual, flow, ip, route, stack, workload};

pub(crate) const TESTS: &[Test] = &[
    ("ping_is_answered_by_the_kernel", ping_is_answered_by_the_kernel),
    (
        "udp_is_echoed_and_counted_on_both_sides",
        udp_is_echoed_and_counted_on_both_sides,
    ),
    ("a_flow_without_reply_only_listens", a_flow_without_reply_only_listens),
    ("flows_to_one_port_share_a_listener", flows_to_one_port_share_a_listener),
    (
        "packets_leave_at_their_times_however_late_the_driver_is",
        packets_leave_at_their_times_however_late_the_driver_is,
    ),
    ("a_stopped_flow_sends_no_more", a_stopped_flow_sends_no_more),
    (
        "a_too_long_packet_is_refused_or_split_at_its_origin",
        a_too_long_packet_is_refused_or_split_at_its_origin,
    ),
    (
        "a_route_mtu_fragments_what_may_be_fragmented",
        a_route_mtu_fragments_what_may_be_fragmented,
    ),
    ("no_route_is_said_so", no_route_is_said_so),
    (
        "header_fields_are_as_the_flow_wants_them",
        header_fields_are_as_the_flow_wants_them,
    ),
    (
        "a_learned_path_mtu_stops_the_next_packet_or_splits_it",
        a_learned_path_mtu_stops_the_next_packet_or_splits_it,
    ),
    ("a_port_unreachable_eats_no_send", a_port_unreachable_eats_no_send),
    (
        "each_datagram_that_nobody_takes_is_told",
        each_datagram_that_nobody_takes_is_told,
    ),
    ("nothing_comes_unasked", nothing_comes_unasked),
    ("a_deadline_is_kept", a_deadline_is_kept),
    ("a_burst_passes_whole", a_burst_passes_whole),
];

const A: StackId = StackId(1);
const B: StackId = StackId(2);
const LONG_ENOUGH: Duration = Duration::from_millis(100);

/// The two ends in a family.
#[derive(Clone, Copy)]
struct Ends {
    here: &'static str,
    there: &'static str,
    /// Bytes of the IP header.
    header: usize,
}

const V4: Ends = Ends {
    here: "10.65.1.2",
    there: "10.65.2.2",
    header: 20,
};
const V6: Ends = Ends {
    here: "fd00:65:1::2",
    there: "fd00:65:2::2",
    header: 40,
};

/// Each family and transport, with each of these treatments of path MTUs.
fn every_way(discoveries: &[PathMtuDiscovery]) -> Vec<(Ends, Transport, PathMtuDiscovery)> {
    let mut ways = Vec::new();
    for ends in [V4, V6] {
        for discovery in discoveries {
            ways.extend([Transport::Icmp, Transport::Udp].map(|transport| (ends, transport, *discovery)));
        }
    }
    ways
}

fn pair(mtu: u16) -> Bench {
    wired(mtu, &[(PortId(1), PortId(2))])
}

fn wired(mtu: u16, wires: &[(PortId, PortId)]) -> Bench {
    let stacks = vec![dual(1, V4.here, V6.here, mtu), dual(2, V4.there, V6.there, mtu)];
    Bench::new(stacks, wires)
}

/// Carries packets until so many answers have come to a flow, or far longer than that should take.
fn run_until(bench: &mut Bench, id: u32, answers: usize) {
    for _ in 0..250 {
        bench.run(Duration::from_millis(20));
        if bench.received(id, Direction::Reverse).len() >= answers {
            return;
        }
    }
}

fn numbers(received: &[(u32, IpAddr, usize)]) -> Vec<u32> {
    received.iter().map(|(sequence, ..)| *sequence).collect()
}

/// The lengths of what left by a port.
fn lengths(bench: &Bench, port: u32) -> Vec<usize> {
    let out = bench.packets.iter().filter(|(at, _)| *at == PortId(port));
    out.map(|(_, packet)| packet.len()).collect()
}

fn ping_is_answered_by_the_kernel() -> Option<String> {
    for ends in [V4, V6] {
        let mut bench = pair(1500);
        bench.start(0, flow(Transport::Icmp, ends.there, 40001), A, B);
        run_until(&mut bench, 0, 5);
        let expected: Vec<_> = (0..5).map(|n| (n, ip(ends.there), 64)).collect();
        assert_eq!(bench.received(0, Direction::Reverse), expected);
        assert_eq!(bench.received(0, Direction::Forward), [], "a kernel answers without a socket");
        let identifier = ends.header + 4..ends.header + 6;
        let identifiers: Vec<_> = bench
            .packets
            .iter()
            .map(|(_, packet)| packet[identifier.clone()].to_vec())
            .collect();
        assert_eq!(identifiers, vec![40001u16.to_be_bytes().to_vec(); 10]);
    }
    None
}

/// Over both families at once, to one port number.
fn udp_is_echoed_and_counted_on_both_sides() -> Option<String> {
    let mut bench = pair(1500);
    let flows = [(0, 40001, V4), (1, 40002, V6)];
    for (id, port, ends) in flows {
        bench.start(id, flow(Transport::Udp, ends.there, port), A, B);
    }
    for (id, port, ends) in flows {
        run_until(&mut bench, id, 5);
        let expected = |from| (0..5).map(|n| (n, ip(from), 64)).collect::<Vec<_>>();
        assert_eq!(bench.received(id, Direction::Forward), expected(ends.here));
        assert_eq!(bench.received(id, Direction::Reverse), expected(ends.there));
        let answered = |event: &FlowEvent| matches!(event, FlowEvent::Answered { .. });
        assert_eq!(bench.events(id).into_iter().filter(answered).count(), 5);
        let mut requests = bench.packets.iter().map(|(_, packet)| packet);
        let request = requests.find(|packet| packet[ends.header..ends.header + 2] == u16::to_be_bytes(port));
        let udp = UdpPacket::new(&request.unwrap()[ends.header..]).unwrap();
        assert_eq!((udp.get_source(), udp.get_destination()), (port, 7000));
        let sum = match (ip(ends.here), ip(ends.there)) {
            (IpAddr::V4(here), IpAddr::V4(there)) => pnet::packet::udp::ipv4_checksum(&udp, &here, &there),
            (IpAddr::V6(here), IpAddr::V6(there)) => pnet::packet::udp::ipv6_checksum(&udp, &here, &there),
            ends => panic!("{ends:?} are of two families"),
        };
        assert_eq!(udp.get_checksum(), sum, "checksums are whole, not left to a network card");
    }
    None
}

fn a_flow_without_reply_only_listens() -> Option<String> {
    let mut bench = pair(1500);
    let silent = Flow {
        reply: Reply::None,
        ..flow(Transport::Udp, "10.65.2.2", 40001)
    };
    bench.start(0, silent, A, B);
    bench.run(LONG_ENOUGH);
    assert_eq!(bench.received(0, Direction::Forward).len(), 5);
    assert_eq!(bench.packets.len(), 5);
    None
}

fn flows_to_one_port_share_a_listener() -> Option<String> {
    let mut bench = pair(1500);
    bench.start(0, flow(Transport::Udp, "10.65.2.2", 40001), A, B);
    bench.start(1, flow(Transport::Udp, "10.65.2.2", 40002), A, B);
    bench.run(LONG_ENOUGH);
    for id in [0, 1] {
        assert_eq!(numbers(&bench.received(id, Direction::Forward)), [0, 1, 2, 3, 4]);
        assert_eq!(numbers(&bench.received(id, Direction::Reverse)), [0, 1, 2, 3, 4]);
    }
    None
}

#[expect(clippy::disallowed_methods, reason = "the driver is made late on purpose")]
fn packets_leave_at_their_times_however_late_the_driver_is() -> Option<String> {
    let mut bench = pair(1500);
    let flow = Flow {
        start: Instant::from_nanos(5_000_000),
        interval: Duration::from_micros(700),
        ..flow(Transport::Udp, "10.65.2.2", 40001)
    };
    bench.start(0, flow, A, B);
    // In between the driver has something to do, and is not there when it should be.
    for _ in 0..20 {
        bench.run(Duration::from_micros(500));
        std::thread::sleep(Duration::from_millis(10));
    }
    let sent = bench
        .flows
        .iter()
        .filter(|(_, _, event)| matches!(event, FlowEvent::Sent { .. }));
    let sent: Vec<_> = sent.map(|(_, at, _)| at.as_nanos()).collect();
    assert_eq!(sent, [5_000_000, 5_700_000, 6_400_000, 7_100_000, 7_800_000]);
    let is_received = |event: &FlowEvent| {
        matches!(
            event,
            FlowEvent::Received {
                direction: Direction::Forward,
                ..
            }
        )
    };
    let received: Vec<_> = bench.flows.iter().filter(|(.., event)| is_received(event)).collect();
    assert_eq!(received.len(), sent.len());
    for ((_, at, _), sent) in received.into_iter().zip(sent) {
        let took = at.as_nanos() - sent;
        assert!(took < 5_000_000, "what the driver was away for was counted: {took} ns");
    }
    None
}

fn a_stopped_flow_sends_no_more() -> Option<String> {
    let mut bench = pair(1500);
    let endless = Flow {
        count: u32::MAX,
        ..flow(Transport::Udp, "10.65.2.2", 40001)
    };
    bench.start(0, endless, A, B);
    bench.run(Duration::from_millis(10));
    bench.backend.host(HostAction::Stop { flow: FlowId(0) }).unwrap();
    let sent = |bench: &Bench| {
        let events = bench.events(0);
        events.iter().filter(|event| matches!(event, FlowEvent::Sent { .. })).count()
    };
    let before = sent(&bench);
    bench.run(Duration::from_millis(20));
    assert!(before > 0);
    assert_eq!(sent(&bench), before);
    assert_eq!(
        bench.received(0, Direction::Reverse).len(),
        before,
        "what was under way is answered"
    );
    None
}

fn a_too_long_packet_is_refused_or_split_at_its_origin() -> Option<String> {
    for (ends, transport, discovery) in every_way(&[Want, Dont, Do, Probe]) {
        let mut bench = pair(1400);
        let most = 1400 - ends.header - 8;
        let long = Flow {
            payload: most + 1,
            count: 1,
            path_mtu_discovery: discovery,
            ..flow(transport, ends.there, 40001)
        };
        let fitting = Flow {
            payload: most,
            source_port: 40002,
            ..long.clone()
        };
        bench.start(0, long, A, B);
        bench.start(1, fitting, A, B);
        run_until(&mut bench, 1, 1);
        let context = format!("{} {transport:?} {discovery:?}", ends.there);
        if matches!(discovery, Do | Probe) {
            let refused = FlowEvent::SendRefused {
                direction: Direction::Forward,
                sequence: 0,
                reason: SendError::TooBig,
            };
            assert_eq!(bench.events(0), [FlowEvent::Sent { sequence: 0 }, refused], "{context}");
            assert_eq!(lengths(&bench, 1), [1400], "{context}");
        } else {
            run_until(&mut bench, 0, 1);
            // Pieces of a multiple of 8 bytes behind a header, and behind a fragment header over IPv6.
            let sent = match ends.header {
                20 => [20 + 1376, 20 + 5, 1400],
                _ => [48 + 1352, 48 + 9, 1400],
            };
            assert_eq!(lengths(&bench, 1), sent, "{context}");
            assert_eq!(bench.received(0, Direction::Reverse).len(), 1, "{context}");
        }
        assert_eq!(bench.received(1, Direction::Reverse).len(), 1, "{context}: {most} B fit");
    }
    None
}

fn a_route_mtu_fragments_what_may_be_fragmented() -> Option<String> {
    let mut sender = workload(1, "10.65.1.2", 1500);
    for route in &mut sender.devices[0].config.routes {
        route.mtu = Mtu::new(900);
    }
    let stacks = vec![sender, workload(2, "10.65.2.2", 1500)];
    let mut bench = Bench::new(stacks, &[(PortId(1), PortId(2))]);
    let long = Flow {
        payload: 1200,
        count: 1,
        ..flow(Transport::Udp, "10.65.2.2", 40001)
    };
    bench.start(0, long, A, B);
    bench.run(LONG_ENOUGH);
    assert_eq!(lengths(&bench, 1), [20 + 880, 20 + 1208 - 880]);
    assert_eq!(bench.received(0, Direction::Forward), [(0, ip("10.65.1.2"), 1200)]);
    None
}

fn no_route_is_said_so() -> Option<String> {
    let mut sender = workload(1, "10.65.1.2", 1500);
    sender.devices[0].config.routes = vec![route("10.65.2.0/26", None)];
    let mut bench = Bench::new(vec![sender, workload(2, "10.65.2.2", 1500)], &[(PortId(1), PortId(2))]);
    bench.start(0, flow(Transport::Icmp, "10.99.0.1", 40001), A, B);
    bench.run(LONG_ENOUGH);
    let refused = FlowEvent::SendRefused {
        direction: Direction::Forward,
        sequence: 0,
        reason: SendError::NoRoute,
    };
    assert_eq!(bench.events(0)[..2], [FlowEvent::Sent { sequence: 0 }, refused]);
    assert!(bench.packets.is_empty());
    None
}

/// TTL, traffic class and DF, which IPv6 has not.
fn fields(packet: &[u8]) -> (u8, u8, Option<bool>) {
    match packet[0] >> 4 {
        4 => {
            let packet = Ipv4Packet::new(packet).unwrap();
            let dont_fragment = packet.get_flags() & Ipv4Flags::DontFragment != 0;
            let class = packet.get_dscp() << 2 | packet.get_ecn();
            (packet.get_ttl(), class, Some(dont_fragment))
        }
        _ => {
            let packet = Ipv6Packet::new(packet).unwrap();
            (packet.get_hop_limit(), packet.get_traffic_class(), None)
        }
    }
}

fn header_fields_are_as_the_flow_wants_them() -> Option<String> {
    for (ends, transport, discovery) in every_way(&[Want, Dont, Do, Probe]) {
        let mut bench = pair(1500);
        let marked = Flow {
            ttl: 7,
            dscp: 46,
            ecn: 1,
            count: 1,
            path_mtu_discovery: discovery,
            ..flow(transport, ends.there, 40001)
        };
        bench.start(0, marked, A, B);
        run_until(&mut bench, 0, 1);
        let context = format!("{} {transport:?} {discovery:?}", ends.there);
        let df = (ends.header == 20).then_some(discovery != Dont);
        assert_eq!(fields(&bench.packets[0].1), (7, 46 << 2 | 1, df), "{context}");
        // A kernel answers an echo with the class that it was asked with; an application has its own class and TTL, and
        // the answering socket does the same about path MTUs.
        let (ttl, class, answered_df) = fields(&bench.packets[1].1);
        let echoed = transport == Transport::Icmp;
        assert_eq!((ttl, class), (64, if echoed { 46 << 2 | 1 } else { 0 }), "{context}");
        assert!(echoed || answered_df == df, "{context}");
    }
    None
}

/// What a router says about a packet that is too big: RFC 1191 section 3, RFC 4443 section 3.2.
fn too_big(about: &[u8], mtu: u16) -> Vec<u8> {
    if about[0] >> 4 == 6 {
        return too_big_v6(about, mtu);
    }
    let mut bytes = vec![0; 20 + 8 + 28];
    let length = bytes.len() as u16;
    let (header, icmp) = bytes.split_at_mut(20);
    icmp[6..8].copy_from_slice(&mtu.to_be_bytes());
    icmp[8..].copy_from_slice(&about[..28]);
    let mut view = MutableIcmpPacket::new(icmp).unwrap();
    view.set_icmp_type(IcmpTypes::DestinationUnreachable);
    view.set_icmp_code(IcmpCode::new(4));
    view.set_checksum(pnet::packet::icmp::checksum(&view.to_immutable()));
    let mut view = MutableIpv4Packet::new(header).unwrap();
    view.set_version(4);
    view.set_header_length(5);
    view.set_total_length(length);
    view.set_ttl(64);
    view.set_next_level_protocol(IpNextHeaderProtocols::Icmp);
    view.set_source(Ipv4Addr::new(10, 0, 0, 254));
    view.set_destination(Ipv4Packet::new(about).unwrap().get_source());
    view.set_checksum(pnet::packet::ipv4::checksum(&view.to_immutable()));
    bytes
}

fn too_big_v6(about: &[u8], mtu: u16) -> Vec<u8> {
    let destination = Ipv6Packet::new(about).unwrap().get_source();
    let source = "fd00::fe".parse().unwrap();
    let quote = &about[..about.len().min(1280 - 48)];
    let mut bytes = vec![0; 48 + quote.len()];
    let (header, icmp) = bytes.split_at_mut(40);
    icmp[4..8].copy_from_slice(&u32::from(mtu).to_be_bytes());
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

fn a_learned_path_mtu_stops_the_next_packet_or_splits_it() -> Option<String> {
    for (ends, transport, discovery) in every_way(&[Do, Want]) {
        let mut bench = wired(1500, &[]);
        let probes = Flow {
            payload: 1400,
            count: 3,
            interval: Duration::from_millis(250),
            path_mtu_discovery: discovery,
            ..flow(transport, ends.there, 40001)
        };
        bench.start(0, probes, A, B);
        bench.run(Duration::from_millis(50));
        let about = bench.packets[0].1.clone();
        if ends.header == 40 {
            // Less than the least MTU of IPv6 is no path's (RFC 8201 section 4).
            bench.backend.deliver(PortId(1), Packet::from_bytes(&too_big(&about, 1279)));
        }
        bench.run(Duration::from_millis(250));
        bench.backend.deliver(PortId(1), Packet::from_bytes(&too_big(&about, 1300)));
        bench.run(Duration::from_millis(300));
        let context = format!("{} {transport:?} {discovery:?}", ends.there);
        let whole = ends.header + 8 + 1400;
        let sent = lengths(&bench, 1);
        if discovery == Do {
            assert_eq!(sent, [whole, whole], "{context}");
            let refused = FlowEvent::SendRefused {
                direction: Direction::Forward,
                sequence: 2,
                reason: SendError::TooBig,
            };
            assert_eq!(bench.events(0).last(), Some(&refused), "{context}");
        } else {
            let pieces = match ends.header {
                20 => [20 + 1280, 20 + 128],
                _ => [48 + 1248, 48 + 160],
            };
            assert_eq!(sent, [whole, whole, pieces[0], pieces[1]], "{context}");
        }
    }
    None
}

/// Sends datagrams to a port that nobody listens on.
fn send_unheard(ends: Ends, count: u32) -> Bench {
    let mut bench = pair(1500);
    let start = FlowStart {
        id: FlowId(0),
        flow: Flow {
            count,
            ..flow(Transport::Udp, ends.there, 40001)
        },
        from: A,
        to: Vec::new(),
        seed: 0,
    };
    bench.backend.host(HostAction::Start(start)).unwrap();
    bench.run(LONG_ENOUGH);
    bench
}

fn a_port_unreachable_eats_no_send() -> Option<String> {
    let bench = send_unheard(V4, 5);
    let out = bench.packets.iter().filter(|(port, _)| *port == PortId(1)).count();
    assert_eq!(out, 5);
    assert_eq!(bench.events(0), [0, 1, 2, 3, 4].map(|sequence| FlowEvent::Sent { sequence }));
    None
}

fn each_datagram_that_nobody_takes_is_told() -> Option<String> {
    for ends in [V4, V6] {
        let bench = send_unheard(ends, 20);
        assert_eq!(lengths(&bench, 2).len(), 20, "errors to {}", ends.here);
    }
    None
}

fn nothing_comes_unasked() -> Option<String> {
    let routes = vec![route("fd00:65:2::/122", None)];
    let tunnel = device(3, "vxlan-v6.calico", "fd00:65:3::/128", 1430, routes);
    let stacks = vec![dual(1, V4.here, V6.here, 1500), stack(3, "a1", vec![tunnel])];
    let mut bench = Bench::new(stacks, &[]);
    bench.run(Duration::from_millis(300));
    assert!(bench.packets.is_empty(), "{:?}", bench.packets);
    assert_eq!(bench.backend.counters().lost, 0);
    None
}

fn a_deadline_is_kept() -> Option<String> {
    let mut bench = pair(1500);
    bench.run(Duration::from_micros(1));
    let mut shortest = u128::MAX;
    for _ in 0..20 {
        let before = bench.backend.now();
        let deadline = before.saturating_add(Duration::from_micros(300));
        bench.backend.wait(Some(deadline), &mut Vec::new()).unwrap();
        let after = bench.backend.now();
        assert!(after >= deadline);
        shortest = shortest.min(after.since(before).as_nanos());
    }
    assert!(shortest < 1_000_000, "the best of twenty waits for 300 µs took {shortest} ns");
    None
}

fn a_burst_passes_whole() -> Option<String> {
    for transport in [Transport::Udp, Transport::Icmp] {
        let mut bench = pair(9000);
        let burst = Flow {
            payload: 8900,
            interval: Duration::ZERO,
            count: 2000,
            ..flow(transport, "10.65.2.2", 40001)
        };
        bench.start(0, burst, A, B);
        for _ in 0..100 {
            bench.run(LONG_ENOUGH);
            if bench.received(0, Direction::Reverse).len() == 2000 {
                break;
            }
        }
        let expected: Vec<u32> = (0..2000).collect();
        assert_eq!(numbers(&bench.received(0, Direction::Reverse)), expected, "{transport:?}");
    }
    None
}
