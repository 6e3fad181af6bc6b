//! TCP flows: real sockets, the kernel's own segments.

use std::time::Duration;

use overlab_dataplane::{Instant, Packet};
use overlab_simulator::backend::{Backend, FlowEvent, FlowStart, HostAction, PortId, StackId};
use overlab_simulator::observe::ConnectionEvent;
use overlab_simulator::scenario::{Flow, FlowId, Transport};
use pnet::packet::Packet as _;
use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet};
use pnet::packet::tcp::{self, TcpFlags, TcpOptionNumbers, TcpPacket};

use crate::Test;
use crate::bench::{Bench, flow, workload};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_request_waits_for_the_reply_before_it",
        a_request_waits_for_the_reply_before_it,
    ),
    ("segments_fill_the_mtu_and_carry_df", segments_fill_the_mtu_and_carry_df),
    (
        "connections_to_one_port_share_a_listener",
        connections_to_one_port_share_a_listener,
    ),
    ("a_port_without_a_listener_resets", a_port_without_a_listener_resets),
    (
        "a_kernel_takes_either_zero_for_a_checksum",
        a_kernel_takes_either_zero_for_a_checksum,
    ),
    (
        "a_connection_whose_other_end_is_gone_stalls",
        a_connection_whose_other_end_is_gone_stalls,
    ),
    ("who_is_stopped_asks_no_more", who_is_stopped_asks_no_more),
];

const A: StackId = StackId(1);
const B: StackId = StackId(2);
const LONG_ENOUGH: Duration = Duration::from_millis(200);

fn pair(mtu: u16) -> Bench {
    let stacks = vec![workload(1, "10.65.1.2", mtu), workload(2, "10.65.2.2", mtu)];
    Bench::new(stacks, &[(PortId(1), PortId(2))])
}

/// Five exchanges, 10 ms apart.
fn exchanges(port: u16, payload: usize, reply_payload: usize) -> Flow {
    Flow {
        payload,
        reply_payload,
        interval: Duration::from_millis(10),
        ..flow(Transport::Tcp, "10.65.2.2", port)
    }
}

fn told(bench: &Bench, id: u32) -> Vec<(ConnectionEvent, Instant)> {
    let of_flow = bench.flows.iter().filter(|(flow, ..)| *flow == FlowId(id));
    of_flow
        .filter_map(|(_, at, event)| match event {
            FlowEvent::Connection(event) => Some((*event, *at)),
            FlowEvent::Sent { .. } | FlowEvent::Answered { .. } | FlowEvent::SendRefused { .. } | FlowEvent::Received { .. } => {
                None
            }
        })
        .collect()
}

fn kinds(bench: &Bench, id: u32) -> Vec<ConnectionEvent> {
    told(bench, id).into_iter().map(|(event, _)| event).collect()
}

fn a_request_waits_for_the_reply_before_it() -> Option<String> {
    let mut bench = pair(1500);
    bench.start(0, exchanges(40001, 200, 4000), A, B);
    bench.run(LONG_ENOUGH);
    let events = told(&bench, 0);
    let expected = [[ConnectionEvent::Opened].as_slice(), &[ConnectionEvent::Exchanged; 5]].concat();
    assert_eq!(kinds(&bench, 0), expected);
    for (number, (_, at)) in events.iter().skip(1).enumerate() {
        let due = number as u64 * 10_000_000;
        assert!(
            at.as_nanos() >= due,
            "exchange {number} is over before its request begins at {due} ns"
        );
    }
    None
}

fn segments_fill_the_mtu_and_carry_df() -> Option<String> {
    let mut bench = pair(1400);
    bench.start(0, exchanges(40001, 200, 20_000), A, B);
    bench.run(LONG_ENOUGH);
    let headers = bench.packets.iter().map(|(_, packet)| Ipv4Packet::new(packet).unwrap());
    let headers: Vec<_> = headers.collect();
    assert!(headers.iter().all(|ip| ip.get_flags() & Ipv4Flags::DontFragment != 0));
    assert_eq!(headers.iter().map(|ip| ip.get_total_length()).max(), Some(1400));
    let syn = TcpPacket::new(headers[0].payload()).unwrap();
    assert_eq!((syn.get_source(), syn.get_destination()), (40001, 7000));
    assert_eq!(syn.get_flags(), TcpFlags::SYN);
    let mss = syn
        .get_options_iter()
        .find(|option| option.get_number() == TcpOptionNumbers::MSS);
    assert_eq!(mss.unwrap().payload(), 1360u16.to_be_bytes(), "the MTU less 40");
    None
}

fn connections_to_one_port_share_a_listener() -> Option<String> {
    let mut bench = pair(1500);
    bench.start(0, exchanges(40001, 200, 300), A, B);
    bench.start(1, exchanges(40002, 3000, 8), A, B);
    bench.run(LONG_ENOUGH);
    for id in [0, 1] {
        let exchanged = kinds(&bench, id).into_iter().filter(|e| *e == ConnectionEvent::Exchanged);
        assert_eq!(exchanged.count(), 5, "flow {id}");
    }
    None
}

fn a_port_without_a_listener_resets() -> Option<String> {
    let mut bench = pair(1500);
    let start = FlowStart {
        id: FlowId(0),
        flow: exchanges(40001, 200, 300),
        from: A,
        to: Vec::new(),
        seed: 0,
    };
    bench.backend.host(HostAction::Start(start)).unwrap();
    bench.run(LONG_ENOUGH);
    assert_eq!(kinds(&bench, 0), [ConnectionEvent::Reset]);
    assert_eq!(bench.packets.len(), 2, "a SYN and its refusal");
    None
}

fn a_kernel_takes_either_zero_for_a_checksum() -> Option<String> {
    const CHECKSUM: usize = 36;
    const WINDOW: usize = 34;
    for (zero, answers) in [(0, true), (u16::MAX, true), (1, false)] {
        let stacks = vec![workload(1, "10.65.1.2", 1500), workload(2, "10.65.2.2", 1500)];
        let mut bench = Bench::new(stacks, &[]);
        bench.start(0, exchanges(40001, 200, 300), A, B);
        bench.run(Duration::from_millis(20));
        let (_, mut syn) = bench.packets.swap_remove(0);
        // The window makes the sum zero.
        syn[WINDOW..WINDOW + 2].fill(0);
        let segment = TcpPacket::new(&syn[20..]).unwrap();
        let ip = Ipv4Packet::new(&syn).unwrap();
        let rest = tcp::ipv4_checksum(&segment, &ip.get_source(), &ip.get_destination());
        syn[WINDOW..WINDOW + 2].copy_from_slice(&rest.to_be_bytes());
        syn[CHECKSUM..CHECKSUM + 2].copy_from_slice(&zero.to_be_bytes());
        bench.packets.clear();
        bench.backend.deliver(PortId(2), Packet::from_bytes(&syn));
        bench.run(Duration::from_millis(20));
        let answered = bench.packets.iter().any(|(port, _)| *port == PortId(2));
        assert_eq!(answered, answers, "{zero:#06x}");
    }
    None
}

fn a_connection_whose_other_end_is_gone_stalls() -> Option<String> {
    let mut bench = pair(1500);
    let endless = Flow {
        count: 1000,
        ..exchanges(40001, 200, 300)
    };
    bench.start(0, endless, A, B);
    bench.run(Duration::from_millis(50));
    bench.backend.host(HostAction::Detach { stack: B }).unwrap();
    let before = kinds(&bench, 0);
    assert!(before.contains(&ConnectionEvent::Exchanged));
    bench.run(LONG_ENOUGH);
    assert_eq!(kinds(&bench, 0), before, "neither an exchange nor a reset");
    None
}

fn who_is_stopped_asks_no_more() -> Option<String> {
    let mut bench = pair(1500);
    let endless = Flow {
        count: 1000,
        ..exchanges(40001, 200, 300)
    };
    bench.start(0, endless, A, B);
    bench.run(Duration::from_millis(55));
    bench.backend.host(HostAction::Stop { flow: FlowId(0) }).unwrap();
    bench.run(Duration::from_millis(50));
    let before = kinds(&bench, 0).len();
    assert!(before > 2);
    bench.run(LONG_ENOUGH);
    assert_eq!(kinds(&bench, 0).len(), before);
    None
}
