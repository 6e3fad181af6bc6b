//! Flows between two stacks, wired back to back.

use std::time::Duration;

use overlab_simulator::backend::{Backend, FlowEvent, HostAction, PortId, SendError, StackId};
use overlab_simulator::observe::Direction;
use overlab_simulator::scenario::{Flow, FlowId, PathMtuDiscovery, Reply, Transport};
use pnet::packet::Packet as _;
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet};
use pnet::packet::udp::UdpPacket;

use crate::Test;
use crate::bench::{Bench, flow, ip, route, workload};

pub(crate) const TESTS: &[Test] = &[
    ("ping_is_answered_by_the_kernel", ping_is_answered_by_the_kernel),
    (
        "udp_is_echoed_and_counted_on_both_sides",
        udp_is_echoed_and_counted_on_both_sides,
    ),
    ("a_flow_without_reply_only_listens", a_flow_without_reply_only_listens),
    ("flows_to_one_port_share_a_listener", flows_to_one_port_share_a_listener),
    (
        "packets_leave_at_their_times_and_never_early",
        packets_leave_at_their_times_and_never_early,
    ),
    ("a_stopped_flow_sends_no_more", a_stopped_flow_sends_no_more),
    ("a_too_long_packet_with_df_is_refused", a_too_long_packet_with_df_is_refused),
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
        "a_learned_path_mtu_stops_the_next_packet",
        a_learned_path_mtu_stops_the_next_packet,
    ),
    ("a_port_unreachable_eats_no_send", a_port_unreachable_eats_no_send),
    ("nothing_comes_unasked", nothing_comes_unasked),
    ("a_deadline_is_kept", a_deadline_is_kept),
    ("a_burst_passes_whole", a_burst_passes_whole),
];

const A: StackId = StackId(1);
const B: StackId = StackId(2);
const LONG_ENOUGH: Duration = Duration::from_millis(100);

fn pair(mtu: u16) -> Bench {
    let stacks = vec![workload(1, "10.65.1.2", mtu), workload(2, "10.65.2.2", mtu)];
    Bench::new(stacks, &[(PortId(1), PortId(2))])
}

fn numbers(received: &[(u32, std::net::IpAddr, usize)]) -> Vec<u32> {
    received.iter().map(|(sequence, ..)| *sequence).collect()
}

fn ping_is_answered_by_the_kernel() -> Option<String> {
    let mut bench = pair(1500);
    bench.start(0, flow(Transport::Icmp, "10.65.2.2", 40001), A, B);
    bench.run(LONG_ENOUGH);
    let expected: Vec<_> = (0..5).map(|n| (n, ip("10.65.2.2"), 64)).collect();
    assert_eq!(bench.received(0, Direction::Reverse), expected);
    assert_eq!(bench.received(0, Direction::Forward), [], "a kernel answers without a socket");
    let identifiers: Vec<_> = bench.packets.iter().map(|(_, packet)| packet[24..26].to_vec()).collect();
    assert_eq!(identifiers, vec![40001u16.to_be_bytes().to_vec(); 10]);
    None
}

fn udp_is_echoed_and_counted_on_both_sides() -> Option<String> {
    let mut bench = pair(1500);
    bench.start(0, flow(Transport::Udp, "10.65.2.2", 40001), A, B);
    bench.run(LONG_ENOUGH);
    let expected = |from| (0..5).map(|n| (n, ip(from), 64)).collect::<Vec<_>>();
    assert_eq!(bench.received(0, Direction::Forward), expected("10.65.1.2"));
    assert_eq!(bench.received(0, Direction::Reverse), expected("10.65.2.2"));
    let answered = |event: &FlowEvent| matches!(event, FlowEvent::Answered { .. });
    assert_eq!(bench.events(0).into_iter().filter(answered).count(), 5);
    let (_, first) = &bench.packets[0];
    let ip = Ipv4Packet::new(first).unwrap();
    let udp = UdpPacket::new(ip.payload()).unwrap();
    assert_eq!((udp.get_source(), udp.get_destination()), (40001, 7000));
    let sum = pnet::packet::udp::ipv4_checksum(&udp, &ip.get_source(), &ip.get_destination());
    assert_eq!(udp.get_checksum(), sum, "checksums are whole, not left to a network card");
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

fn packets_leave_at_their_times_and_never_early() -> Option<String> {
    let mut bench = pair(1500);
    let late = Flow {
        start: overlab_dataplane::Instant::from_nanos(5_000_000),
        interval: Duration::from_micros(700),
        ..flow(Transport::Udp, "10.65.2.2", 40001)
    };
    bench.start(0, late, A, B);
    bench.run(LONG_ENOUGH);
    let sent = bench.flows.iter().filter_map(|(_, at, event)| match event {
        FlowEvent::Sent { sequence } => Some((*sequence, at.as_nanos())),
        FlowEvent::Answered { .. } | FlowEvent::SendRefused { .. } | FlowEvent::Received { .. } | FlowEvent::Connection(_) => {
            None
        }
    });
    let sent: Vec<_> = sent.collect();
    assert_eq!(sent.len(), 5);
    for (sequence, at) in sent {
        let due = 5_000_000 + u64::from(sequence) * 700_000;
        assert!(at >= due, "packet {sequence} was due at {due} ns and sent at {at} ns");
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

fn a_too_long_packet_with_df_is_refused() -> Option<String> {
    for transport in [Transport::Udp, Transport::Icmp] {
        let mut bench = pair(1000);
        let long = Flow {
            payload: 973,
            count: 1,
            path_mtu_discovery: PathMtuDiscovery::Do,
            ..flow(transport, "10.65.2.2", 40001)
        };
        let fitting = Flow {
            payload: 972,
            source_port: 40002,
            ..long.clone()
        };
        bench.start(0, long, A, B);
        bench.start(1, fitting, A, B);
        bench.run(LONG_ENOUGH);
        let refused = FlowEvent::SendRefused {
            direction: Direction::Forward,
            sequence: 0,
            reason: SendError::TooBig,
        };
        assert_eq!(bench.events(0), [FlowEvent::Sent { sequence: 0 }, refused]);
        assert_eq!(
            bench.received(1, Direction::Reverse).len(),
            1,
            "972 B and 28 B of headers fit"
        );
    }
    None
}

fn a_route_mtu_fragments_what_may_be_fragmented() -> Option<String> {
    let mut sender = workload(1, "10.65.1.2", 1500);
    for route in &mut sender.devices[0].config.routes {
        route.mtu = overlab_dataplane::Mtu::new(900);
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
    let lengths: Vec<_> = bench
        .packets
        .iter()
        .filter(|(port, _)| *port == PortId(1))
        .map(|(_, p)| p.len())
        .collect();
    assert_eq!(lengths, [20 + 880, 20 + 1208 - 880]);
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

fn header_fields_are_as_the_flow_wants_them() -> Option<String> {
    use PathMtuDiscovery::{Do, Dont, Probe, Want};
    for (transport, discovery) in [Want, Dont, Do, Probe]
        .into_iter()
        .flat_map(|d| [(Transport::Icmp, d), (Transport::Udp, d)])
    {
        let mut bench = pair(1500);
        let marked = Flow {
            ttl: 7,
            dscp: 46,
            ecn: 1,
            count: 1,
            path_mtu_discovery: discovery,
            ..flow(transport, "10.65.2.2", 40001)
        };
        bench.start(0, marked, A, B);
        bench.run(Duration::from_millis(20));
        let (_, request) = &bench.packets[0];
        let request = Ipv4Packet::new(request).unwrap();
        let fields = (request.get_ttl(), request.get_dscp(), request.get_ecn());
        assert_eq!(fields, (7, 46, 1), "{transport:?} {discovery:?}");
        let dont_fragment = |packet: &Ipv4Packet<'_>| packet.get_flags() & Ipv4Flags::DontFragment != 0;
        assert_eq!(dont_fragment(&request), discovery != Dont, "{transport:?} {discovery:?}");
        if transport == Transport::Udp {
            let (_, answer) = &bench.packets[1];
            let answer = Ipv4Packet::new(answer).unwrap();
            assert_eq!(answer.get_next_level_protocol(), IpNextHeaderProtocols::Udp);
            assert_eq!(
                dont_fragment(&answer),
                discovery != Dont,
                "the answering socket does the same"
            );
            assert_eq!((answer.get_ttl(), answer.get_dscp()), (64, 0), "but has its own TTL and DSCP");
        }
    }
    None
}

/// "Fragmentation needed" (RFC 1191 section 3) about a packet, from a router.
fn too_big(about: &[u8], mtu: u16) -> Vec<u8> {
    use pnet::packet::icmp::{IcmpCode, IcmpTypes, MutableIcmpPacket};
    let about = Ipv4Packet::new(about).unwrap();
    let mut icmp = vec![0; 8 + 28];
    icmp[6..8].copy_from_slice(&mtu.to_be_bytes());
    icmp[8..].copy_from_slice(&about.packet()[..28]);
    let mut view = MutableIcmpPacket::new(&mut icmp).unwrap();
    view.set_icmp_type(IcmpTypes::DestinationUnreachable);
    view.set_icmp_code(IcmpCode::new(4));
    view.set_checksum(pnet::packet::icmp::checksum(&view.to_immutable()));
    ip_packet(&icmp, about.get_source())
}

fn ip_packet(payload: &[u8], destination: std::net::Ipv4Addr) -> Vec<u8> {
    use pnet::packet::ipv4::MutableIpv4Packet;
    let mut bytes = vec![0; 20 + payload.len()];
    let length = bytes.len() as u16;
    let mut view = MutableIpv4Packet::new(&mut bytes).unwrap();
    view.set_version(4);
    view.set_header_length(5);
    view.set_total_length(length);
    view.set_ttl(64);
    view.set_next_level_protocol(IpNextHeaderProtocols::Icmp);
    view.set_source("10.0.0.254".parse().unwrap());
    view.set_destination(destination);
    view.set_payload(payload);
    view.set_checksum(pnet::packet::ipv4::checksum(&view.to_immutable()));
    bytes
}

fn a_learned_path_mtu_stops_the_next_packet() -> Option<String> {
    for transport in [Transport::Udp, Transport::Icmp] {
        let stacks = vec![workload(1, "10.65.1.2", 1500), workload(2, "10.65.2.2", 1500)];
        let mut bench = Bench::new(stacks, &[]);
        let probes = Flow {
            payload: 1400,
            count: 2,
            interval: Duration::from_millis(30),
            path_mtu_discovery: PathMtuDiscovery::Do,
            ..flow(transport, "10.65.2.2", 40001)
        };
        bench.start(0, probes, A, B);
        bench.run(Duration::from_millis(10));
        let error = too_big(&bench.packets[0].1, 1300);
        bench
            .backend
            .deliver(PortId(1), overlab_dataplane::Packet::from_bytes(&error));
        bench.run(LONG_ENOUGH);
        let refused = FlowEvent::SendRefused {
            direction: Direction::Forward,
            sequence: 1,
            reason: SendError::TooBig,
        };
        let sent = |sequence| FlowEvent::Sent { sequence };
        assert_eq!(bench.events(0), [sent(0), sent(1), refused], "{transport:?}");
    }
    None
}

fn a_port_unreachable_eats_no_send() -> Option<String> {
    let mut bench = pair(1500);
    let unheard = Flow {
        destination_port: 9,
        ..flow(Transport::Udp, "10.65.2.2", 40001)
    };
    let start = overlab_simulator::backend::FlowStart {
        id: FlowId(0),
        flow: unheard,
        from: A,
        to: None,
        seed: 0,
    };
    bench.backend.host(HostAction::Start(start)).unwrap();
    bench.run(LONG_ENOUGH);
    let out = bench.packets.iter().filter(|(port, _)| *port == PortId(1)).count();
    assert_eq!(out, 5);
    assert_eq!(bench.events(0), [0, 1, 2, 3, 4].map(|sequence| FlowEvent::Sent { sequence }));
    None
}

fn nothing_comes_unasked() -> Option<String> {
    let mut bench = pair(1500);
    bench.run(Duration::from_millis(300));
    assert!(bench.packets.is_empty());
    assert_eq!(bench.backend.counters(), Default::default());
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
