//! TCP in virtual time: two stacks on one wire. Every byte is read by pnet.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use overlab_dataplane::fields::{FieldPath, FieldRef, Origin};
use overlab_dataplane::route::RouteProtocol;
use overlab_dataplane::wire::IcmpError;
use overlab_dataplane::wire::icmp::error_packet;
use overlab_dataplane::{Instant, Mtu, Packet};
use overlab_simulator::backend::{
    Backend, FlowEvent, FlowStart, HostAction, HostEvent, PortConfig, PortId, Sim, Stack, StackDevice, StackId, StackRoute,
};
use overlab_simulator::observe::ConnectionEvent;
use overlab_simulator::scenario::{Endpoint, Flow, FlowId, PathMtuDiscovery, Reply, Transport};
use pnet::packet::Packet as _;
use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet};
use pnet::packet::ipv6::Ipv6Packet;
use pnet::packet::tcp::{TcpFlags, TcpOptionNumbers, TcpPacket, ipv4_checksum, ipv6_checksum};
use rstest::rstest;

const V4: [&str; 2] = ["10.65.1.2", "10.65.2.2"];
const V6: [&str; 2] = ["fd00:65:1::2", "fd00:65:2::2"];
/// One way.
const DELAY: Duration = Duration::from_millis(5);
const A: StackId = StackId(0);
const B: StackId = StackId(1);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn stack(id: u32, mtu: u16) -> Stack {
    let route = |destination: &str| StackRoute {
        destination: destination.parse().unwrap(),
        gateway: None,
        onlink: true,
        protocol: RouteProtocol::BOOT,
        metric: 0,
        mtu: None,
    };
    let own = |of: [&str; 2], length| format!("{}/{length}", of[id as usize]).parse().unwrap();
    Stack {
        id: StackId(id),
        name: format!("w{id}").into(),
        devices: vec![StackDevice {
            port: PortId(id),
            name: "eth0".into(),
            config: PortConfig {
                addresses: vec![own(V4, 32), own(V6, 128)],
                mtu: Mtu::new(mtu).unwrap(),
                routes: vec![route("0.0.0.0/0"), route("::/0")],
            },
        }],
        blackholes: Vec::new(),
        tables: None,
    }
}

/// Three exchanges, 100 ms apart.
fn flow(destination: &str, payload: usize, reply_payload: usize) -> Flow {
    Flow {
        name: "session".into(),
        from: Endpoint::Workload(0),
        to: Some(Endpoint::Workload(1)),
        served_by: Vec::new(),
        source: None,
        destination: ip(destination),
        transport: Transport::Tcp,
        source_port: 40001,
        destination_port: 7000,
        listens: true,
        payload,
        reply_payload,
        start: Instant::ZERO,
        interval: Duration::from_millis(100),
        count: 3,
        path_mtu_discovery: PathMtuDiscovery::Want,
        ttl: 64,
        dscp: 0,
        ecn: 0,
        reply: Reply::Echo,
        probe: false,
        field: FieldRef {
            origin: Origin(0),
            path: FieldPath::default(),
        },
    }
}

/// What the wire does with a packet.
enum Wire {
    Carries,
    Loses,
    /// It is too long, and its sender is told this MTU.
    Refuses(u16),
}

/// A packet that a stack sent.
struct Sent {
    at: Instant,
    from: PortId,
    bytes: Vec<u8>,
}

impl Sent {
    fn segment(&self) -> TcpPacket<'_> {
        TcpPacket::new(&self.bytes[if self.bytes[0] >> 4 == 4 { 20 } else { 40 }..]).unwrap()
    }

    fn data(&self) -> usize {
        self.segment().payload().len()
    }
}

/// What two stacks did.
struct Seen {
    packets: Vec<Sent>,
    events: Vec<(Instant, ConnectionEvent)>,
}

impl Seen {
    fn kinds(&self) -> Vec<ConnectionEvent> {
        self.events.iter().map(|(_, event)| *event).collect()
    }

    fn exchanges(&self) -> usize {
        self.kinds()
            .iter()
            .filter(|event| **event == ConnectionEvent::Exchanged)
            .count()
    }
}

/// Runs a flow for five seconds between two stacks of these MTUs. The wire is asked about each packet, with its number.
fn run(flow: Flow, mtus: [u16; 2], to: Option<StackId>, seed: u64, wire: impl Fn(usize, &Sent) -> Wire) -> Seen {
    let mut sim = Sim::new();
    for (id, mtu) in [0, 1].into_iter().zip(mtus) {
        sim.host(HostAction::Attach(stack(id, mtu))).unwrap();
    }
    let port = flow.destination_port;
    let start = FlowStart {
        id: FlowId(0),
        flow,
        from: A,
        to: to.map(|to| (to, port)).into_iter().collect(),
        seed,
    };
    sim.host(HostAction::Start(start)).unwrap();
    let end = Instant::ZERO.saturating_add(Duration::from_secs(5));
    let (mut seen, mut events) = (
        Seen {
            packets: Vec::new(),
            events: Vec::new(),
        },
        Vec::new(),
    );
    let mut under_way: VecDeque<(Instant, PortId, Packet)> = VecDeque::new();
    while sim.now() < end {
        let next = under_way.front().map_or(end, |(at, ..)| *at);
        sim.wait(Some(next), &mut events).unwrap();
        let now = sim.now();
        while under_way.front().is_some_and(|(at, ..)| *at <= now) {
            let (_, port, packet) = under_way.pop_front().unwrap();
            sim.deliver(port, packet);
        }
        for event in events.drain(..) {
            match event {
                HostEvent::Packet { port, packet } => {
                    let sent = Sent {
                        at: now,
                        from: port,
                        bytes: packet.bytes().to_vec(),
                    };
                    let arrival = now.saturating_add(DELAY);
                    match wire(seen.packets.len(), &sent) {
                        Wire::Carries => under_way.push_back((arrival, PortId(1 - port.0), packet)),
                        Wire::Loses => {}
                        Wire::Refuses(mtu) => {
                            let error = error_packet(IcmpError::TooBig { mtu }, ip("10.65.9.1"), packet.bytes());
                            under_way.push_back((arrival, port, error.unwrap()));
                        }
                    }
                    seen.packets.push(sent);
                }
                HostEvent::Flow {
                    at,
                    event: FlowEvent::Connection(event),
                    ..
                } => seen.events.push((at, event)),
                HostEvent::Flow { .. } => panic!("TCP announces no packet"),
            }
        }
    }
    seen
}

fn undisturbed(flow: Flow, mtus: [u16; 2]) -> Seen {
    run(flow, mtus, Some(B), 1, |_, _| Wire::Carries)
}

#[rstest]
#[case::ipv4(V4[1], [1500, 1500], 1460, 1500)]
#[case::ipv6(V6[1], [1500, 1500], 1440, 1500)]
#[case::a_smaller_receiver(V4[1], [1450, 1400], 1410, 1400)]
#[case::a_smaller_sender(V4[1], [1400, 1450], 1360, 1400)]
fn segments_are_as_long_as_the_smaller_mtu_allows(
    #[case] to: &str,
    #[case] mtus: [u16; 2],
    #[case] offered: u16,
    #[case] longest: usize,
) {
    let seen = undisturbed(flow(to, 20_000, 20_000), mtus);
    assert!(seen.exchanges() >= 2);
    let syn = seen.packets[0].segment();
    let mss = syn
        .get_options_iter()
        .find(|option| option.get_number() == TcpOptionNumbers::MSS);
    assert_eq!(mss.unwrap().payload(), offered.to_be_bytes(), "the own MTU less 40 or 60");
    for side in [PortId(0), PortId(1)] {
        let sent = seen.packets.iter().filter(|sent| sent.from == side);
        assert_eq!(sent.map(|sent| sent.bytes.len()).max(), Some(longest), "{side:?}");
    }
}

#[test]
fn every_segment_is_whole_and_carries_df() {
    for to in [V4[1], V6[1]] {
        let seen = undisturbed(flow(to, 200, 4000), [1500, 1500]);
        for sent in &seen.packets {
            let segment = sent.segment();
            let expected = match Ipv4Packet::new(&sent.bytes).filter(|ip| ip.get_version() == 4) {
                Some(ip) => {
                    assert_eq!(ip.get_flags(), Ipv4Flags::DontFragment);
                    assert_eq!(ip.get_checksum(), pnet::packet::ipv4::checksum(&ip));
                    ipv4_checksum(&segment, &ip.get_source(), &ip.get_destination())
                }
                None => {
                    let ip = Ipv6Packet::new(&sent.bytes).unwrap();
                    ipv6_checksum(&segment, &ip.get_source(), &ip.get_destination())
                }
            };
            assert_eq!(segment.get_checksum(), expected);
        }
    }
}

#[test]
fn requests_begin_at_multiples_of_the_interval() {
    let seen = undisturbed(flow(V4[1], 200, 4000), [1500, 1500]);
    let requests = seen
        .packets
        .iter()
        .filter(|sent| sent.from == PortId(0) && sent.data() == 200);
    let at: Vec<_> = requests.map(|sent| sent.at.as_nanos() / 1_000_000).collect();
    assert_eq!(at, [10, 100, 200], "the first as soon as the connection is open");
    assert_eq!(seen.kinds()[0], ConnectionEvent::Opened);
}

#[test]
fn one_seed_gives_the_same_bytes_and_another_other_sequence_numbers() {
    let bytes = |seed| {
        let seen = run(flow(V4[1], 200, 4000), [1500, 1500], Some(B), seed, |_, _| Wire::Carries);
        seen.packets.into_iter().map(|sent| sent.bytes).collect::<Vec<_>>()
    };
    let (first, second, third) = (bytes(1), bytes(1), bytes(2));
    assert_eq!(first, second);
    let beginnings = |packets: &[Vec<u8>]| [0, 1].map(|i| TcpPacket::new(&packets[i][20..]).unwrap().get_sequence());
    let [a, b] = beginnings(&first);
    let [c, d] = beginnings(&third);
    assert!(a != c && b != d && a != b, "{a} {b} {c} {d}");
}

#[test]
fn what_is_lost_is_sent_again() {
    for lost in 0..12 {
        let steady = Flow {
            count: 30,
            ..flow(V4[1], 200, 4000)
        };
        let seen = run(steady, [1500, 1500], Some(B), 1, |number, _| match number == lost {
            true => Wire::Loses,
            false => Wire::Carries,
        });
        assert!(
            seen.exchanges() >= 20,
            "packet {lost} was lost: {} exchanges",
            seen.exchanges()
        );
    }
}

#[test]
fn a_lost_syn_is_sent_again_after_a_second() {
    let seen = run(flow(V4[1], 200, 300), [1500, 1500], Some(B), 1, |number, _| match number {
        0 => Wire::Loses,
        _ => Wire::Carries,
    });
    let syns = seen.packets.iter().filter(|sent| sent.segment().get_flags() == TcpFlags::SYN);
    assert_eq!(syns.map(|sent| sent.at.as_nanos() / 1_000_000).collect::<Vec<_>>(), [0, 1000]);
}

#[test]
fn a_narrower_path_makes_segments_smaller_and_resends_at_once() {
    let narrow = |_: usize, sent: &Sent| match sent.bytes.len() > 1300 {
        true => Wire::Refuses(1300),
        false => Wire::Carries,
    };
    let seen = run(flow(V4[1], 200, 20_000), [1500, 1500], Some(B), 1, narrow);
    assert_eq!(seen.exchanges(), 3);
    let refused: Vec<_> = seen.packets.iter().filter(|sent| sent.bytes.len() > 1300).collect();
    assert_eq!(refused.len(), 1, "the first one teaches");
    let again = seen
        .packets
        .iter()
        .find(|sent| sent.bytes.len() == 1300 && sent.segment().get_sequence() == refused[0].segment().get_sequence());
    assert_eq!(
        again.unwrap().at,
        refused[0].at.saturating_add(DELAY),
        "as soon as it is told"
    );
}

#[test]
fn a_narrower_path_that_nobody_tells_of_stalls() {
    let silent = |_: usize, sent: &Sent| match sent.bytes.len() > 1300 {
        true => Wire::Loses,
        false => Wire::Carries,
    };
    let seen = run(flow(V4[1], 200, 20_000), [1500, 1500], Some(B), 1, silent);
    assert_eq!(seen.kinds(), [ConnectionEvent::Opened]);
}

#[test]
fn a_port_without_a_listener_is_refused_by_a_reset() {
    for to in [V4[1], V6[1]] {
        let seen = run(flow(to, 200, 300), [1500, 1500], None, 1, |_, _| Wire::Carries);
        assert_eq!(seen.kinds(), [ConnectionEvent::Reset]);
        let [syn, reset] = &seen.packets[..] else {
            panic!("a SYN and its refusal")
        };
        let (syn, reset) = (syn.segment(), reset.segment());
        assert_eq!(reset.get_flags(), TcpFlags::RST | TcpFlags::ACK);
        assert_eq!(
            (reset.get_sequence(), reset.get_acknowledgement()),
            (0, syn.get_sequence() + 1)
        );
        assert_eq!(
            (reset.get_source(), reset.get_destination()),
            (syn.get_destination(), syn.get_source())
        );
    }
}

#[test]
fn what_a_flow_says_of_its_headers_holds_for_its_sender() {
    let marked = Flow {
        ttl: 9,
        dscp: 46,
        ..flow(V4[1], 200, 300)
    };
    let seen = undisturbed(marked, [1500, 1500]);
    for sent in &seen.packets {
        let ip = Ipv4Packet::new(&sent.bytes).unwrap();
        let expected = if sent.from == PortId(0) { (9, 46) } else { (64, 0) };
        assert_eq!((ip.get_ttl(), ip.get_dscp()), expected);
    }
}
