//! A workbench: stacks whose ports are wired to one another, with nothing in between.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use overlab_dataplane::fields::{FieldPath, FieldRef, Origin};
use overlab_dataplane::route::RouteProtocol;
use overlab_dataplane::{Instant, Mtu};
use overlab_simulator::backend::netns::Netns;
use overlab_simulator::backend::{
    Backend, FlowEvent, FlowStart, HostAction, HostEvent, PortConfig, PortId, Stack, StackDevice, StackId, StackRoute,
};
use overlab_simulator::observe::Direction;
use overlab_simulator::scenario::{Endpoint, Flow, FlowId, PathMtuDiscovery, Reply, Transport};

/// A run in progress, and everything that was seen of it.
pub(crate) struct Bench {
    pub(crate) backend: Netns,
    wires: BTreeMap<PortId, PortId>,
    /// Packets with the port that they left through, in order.
    pub(crate) packets: Vec<(PortId, Vec<u8>)>,
    /// What flows did, in order.
    pub(crate) flows: Vec<(FlowId, Instant, FlowEvent)>,
}

impl Bench {
    /// A bench with these stacks and wires between their ports.
    pub(crate) fn new(stacks: Vec<Stack>, wires: &[(PortId, PortId)]) -> Bench {
        let mut backend = Netns::new().unwrap();
        for stack in stacks {
            backend.host(HostAction::Attach(stack)).unwrap();
        }
        Bench {
            backend,
            wires: wires.iter().flat_map(|&(a, b)| [(a, b), (b, a)]).collect(),
            packets: Vec::new(),
            flows: Vec::new(),
        }
    }

    /// Starts a flow, numbered as it comes.
    pub(crate) fn start(&mut self, id: u32, flow: Flow, from: StackId, to: StackId) {
        let port = flow.destination_port;
        let start = FlowStart {
            id: FlowId(id),
            flow,
            from,
            to: vec![(to, port)],
            seed: 0,
        };
        self.backend.host(HostAction::Start(start)).unwrap();
    }

    /// Gives a stack what another one has, with the same devices.
    pub(crate) fn become_like(&mut self, stack: &Stack) {
        self.backend.host(HostAction::Configure(stack.clone())).unwrap();
    }

    /// Carries packets for a while.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.backend.now().saturating_add(span);
        let mut events = Vec::new();
        while self.backend.now() < end {
            self.backend.wait(Some(end), &mut events).unwrap();
            for event in events.drain(..) {
                match event {
                    HostEvent::Flow { flow, at, event } => self.flows.push((flow, at, event)),
                    HostEvent::Packet { port, packet } => {
                        self.packets.push((port, packet.bytes().to_vec()));
                        if let Some(&other) = self.wires.get(&port) {
                            self.backend.deliver(other, packet);
                        }
                    }
                }
            }
        }
    }

    /// The numbers, sources and payload lengths that sockets got in one direction.
    pub(crate) fn received(&self, id: u32, way: Direction) -> Vec<(u32, IpAddr, usize)> {
        let of_flow = self.flows.iter().filter(|(flow, ..)| *flow == FlowId(id));
        of_flow
            .filter_map(|(_, _, event)| match event {
                FlowEvent::Received {
                    direction,
                    sequence,
                    from,
                    payload,
                } if *direction == way => Some((*sequence, *from, *payload)),
                FlowEvent::Received { .. }
                | FlowEvent::Connection(_)
                | FlowEvent::Sent { .. }
                | FlowEvent::Answered { .. }
                | FlowEvent::SendRefused { .. } => None,
            })
            .collect()
    }

    /// What a flow did, without the times.
    pub(crate) fn events(&self, id: u32) -> Vec<FlowEvent> {
        let of_flow = self.flows.iter().filter(|(flow, ..)| *flow == FlowId(id));
        of_flow.map(|(_, _, event)| *event).collect()
    }
}

/// An address.
pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A stack without blackholes.
pub(crate) fn stack(id: u32, name: &str, devices: Vec<StackDevice>) -> Stack {
    Stack {
        id: StackId(id),
        name: name.into(),
        devices,
        blackholes: Vec::new(),
        tables: None,
    }
}

/// A device.
pub(crate) fn device(port: u32, name: &str, address: &str, mtu: u16, routes: Vec<StackRoute>) -> StackDevice {
    StackDevice {
        port: PortId(port),
        name: name.into(),
        config: PortConfig {
            addresses: vec![address.parse().unwrap()],
            mtu: Mtu::new(mtu).unwrap(),
            routes,
        },
    }
}

/// A route by its prefix and gateway.
pub(crate) fn route(destination: &str, gateway: Option<&str>) -> StackRoute {
    StackRoute {
        destination: destination.parse().unwrap(),
        gateway: gateway.map(ip),
        onlink: gateway.is_some(),
        protocol: RouteProtocol::BOOT,
        metric: 0,
        mtu: None,
    }
}

/// A workload as Calico makes it: one address of its own, everything else through 169.254.1.1.
pub(crate) fn workload(id: u32, address: &str, mtu: u16) -> Stack {
    let gateway = StackRoute {
        onlink: false,
        ..route("0.0.0.0/0", Some("169.254.1.1"))
    };
    let routes = vec![gateway, route("169.254.1.1/32", None)];
    let name = format!("w{id}");
    stack(id, &name, vec![device(id, "eth0", &format!("{address}/32"), mtu, routes)])
}

/// A workload with both families: everything of IPv6 goes to Calico's link-local gateway.
pub(crate) fn dual(id: u32, v4: &str, v6: &str, mtu: u16) -> Stack {
    let mut made = workload(id, v4, mtu);
    let config = &mut made.devices[0].config;
    config.addresses.push(format!("{v6}/128").parse().unwrap());
    config.routes.push(route("::/0", Some("fe80::ecee:eeff:feee:eeee")));
    made
}

/// A flow of five packets, one each millisecond.
pub(crate) fn flow(transport: Transport, destination: &str, port: u16) -> Flow {
    Flow {
        name: "probe".into(),
        from: Endpoint::Workload(0),
        to: Some(Endpoint::Workload(1)),
        served_by: Vec::new(),
        source: None,
        destination: ip(destination),
        transport,
        source_port: port,
        destination_port: match transport {
            Transport::Udp | Transport::Tcp => 7000,
            Transport::Icmp => 0,
        },
        listens: true,
        payload: 64,
        reply_payload: 64,
        start: Instant::ZERO,
        interval: Duration::from_millis(1),
        count: 5,
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

/// Prints how long it takes to make and to drop a hundred stacks, several times.
pub(crate) fn measure() -> ! {
    let clock = || {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
        Duration::from(now)
    };
    for _ in 0..5 {
        let stacks = (1..=100).map(|id| workload(id, &Ipv4Addr::from(0x0a41_0000 + id).to_string(), 1450));
        let mut bench = Bench::new(stacks.collect(), &[]);
        let begin = clock();
        bench.backend.ready().unwrap();
        let made = clock();
        drop(bench);
        println!("100 stacks: made in {:?}, dropped in {:?}", made - begin, clock() - made);
    }
    std::process::exit(0)
}
