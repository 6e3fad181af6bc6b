//! Stacks as a Calico node has them: their addresses, routes, and what their kernel makes of them.

use std::time::Duration;

use overlab_dataplane::Mtu;
use overlab_dataplane::route::RouteProtocol;
use overlab_simulator::backend::netns::capabilities;
use overlab_simulator::backend::{Backend, BackendError, Blackhole, HostAction, PortId, Stack, StackId, StackRoute};
use overlab_simulator::observe::Direction;
use overlab_simulator::scenario::{Flow, Transport};
use pnet::packet::ipv4::Ipv4Packet;

use crate::Test;
use crate::bench::{Bench, device, dual, flow, ip, route, stack, workload};
use crate::netlink::{self, Seen};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_node_process_sends_from_its_tunnel_address",
        a_node_process_sends_from_its_tunnel_address,
    ),
    (
        "an_answer_comes_from_the_address_that_was_asked",
        an_answer_comes_from_the_address_that_was_asked,
    ),
    (
        "routes_are_in_the_kernel_as_calico_writes_them",
        routes_are_in_the_kernel_as_calico_writes_them,
    ),
    ("a_changed_device_routes_otherwise", a_changed_device_routes_otherwise),
    (
        "a_stack_that_gets_ipv6_later_sends_over_it_until_it_goes",
        a_stack_that_gets_ipv6_later_sends_over_it_until_it_goes,
    ),
    (
        "a_stack_becomes_like_another_whatever_it_was",
        a_stack_becomes_like_another_whatever_it_was,
    ),
    (
        "a_device_name_that_linux_would_cut_is_refused",
        a_device_name_that_linux_would_cut_is_refused,
    ),
    (
        "a_route_that_the_kernel_refuses_is_named",
        a_route_that_the_kernel_refuses_is_named,
    ),
    ("a_detached_stack_is_gone", a_detached_stack_is_gone),
    ("doctor_finds_what_this_run_uses", doctor_finds_what_this_run_uses),
];

const ETH0: u32 = 10;
const TUNL0: u32 = 11;

fn via_tunnel() -> StackRoute {
    StackRoute {
        protocol: RouteProtocol::BIRD,
        ..route("10.65.2.0/26", Some("10.0.0.2"))
    }
}

/// A node under IPIP Always, and its peer behind a tunnel.
fn node() -> Stack {
    let default = StackRoute {
        onlink: false,
        ..route("0.0.0.0/0", Some("10.0.0.254"))
    };
    let devices = vec![
        device(ETH0, "eth0", "10.0.0.1/24", 1500, vec![default]),
        device(TUNL0, "tunl0", "10.65.1.0/32", 1480, vec![via_tunnel()]),
    ];
    Stack {
        blackholes: vec![Blackhole {
            destination: "10.65.1.0/26".parse().unwrap(),
            protocol: RouteProtocol::BIRD,
            metric: 0,
        }],
        ..stack(1, "a1", devices)
    }
}

fn sources(bench: &Bench, port: u32) -> Vec<String> {
    let out = bench.packets.iter().filter(|(at, _)| *at == PortId(port));
    out.map(|(_, packet)| Ipv4Packet::new(packet).unwrap().get_source().to_string())
        .collect()
}

fn a_node_process_sends_from_its_tunnel_address() -> Option<String> {
    let mut bench = Bench::new(vec![node(), workload(2, "10.65.2.2", 1480)], &[(PortId(TUNL0), PortId(2))]);
    for (id, transport) in [(0, Transport::Icmp), (1, Transport::Udp)] {
        bench.start(id, flow(transport, "10.65.2.2", 40001), StackId(1), StackId(2));
    }
    bench.run(Duration::from_millis(100));
    assert_eq!(sources(&bench, TUNL0), vec!["10.65.1.0"; 10]);
    assert_eq!(bench.received(0, Direction::Reverse).len(), 5);
    assert_eq!(bench.received(1, Direction::Forward)[0].1, ip("10.65.1.0"));
    None
}

fn an_answer_comes_from_the_address_that_was_asked() -> Option<String> {
    // The node's way back to the workload is its tunnel, whose own address would be chosen for a new packet.
    let mut bench = Bench::new(vec![node(), workload(2, "10.65.2.2", 1480)], &[(PortId(TUNL0), PortId(2))]);
    bench.start(0, flow(Transport::Udp, "10.0.0.1", 40001), StackId(2), StackId(1));
    bench.run(Duration::from_millis(100));
    assert_eq!(sources(&bench, TUNL0), vec!["10.0.0.1"; 5]);
    assert_eq!(bench.received(0, Direction::Reverse).len(), 5);
    None
}

fn routes_are_in_the_kernel_as_calico_writes_them() -> Option<String> {
    let mut node = node();
    node.devices[1].config.routes.push(StackRoute {
        protocol: RouteProtocol::FELIX,
        metric: 1024,
        mtu: Mtu::new(1400),
        ..route("10.65.3.0/26", Some("10.65.3.1"))
    });
    let mut bench = Bench::new(vec![node], &[]);
    bench.backend.ready().unwrap();
    let found = netlink::routes(bench.backend.namespace_fd(StackId(1)).unwrap());
    let seen = |destination: &str, gateway: Option<&str>, device: Option<&str>| Seen {
        destination: destination.parse().unwrap(),
        gateway: gateway.map(ip),
        device: device.map(str::to_owned),
        protocol: 12,
        onlink: false,
        metric: 0,
        mtu: None,
    };
    let expected = [
        Seen {
            protocol: 3,
            ..seen("0.0.0.0/0", Some("10.0.0.254"), Some("eth0"))
        },
        Seen {
            protocol: 2,
            ..seen("10.0.0.0/24", None, Some("eth0"))
        },
        seen("10.65.1.0/26", None, None),
        Seen {
            onlink: true,
            ..seen("10.65.2.0/26", Some("10.0.0.2"), Some("tunl0"))
        },
        Seen {
            protocol: 80,
            onlink: true,
            metric: 1024,
            mtu: Some(1400),
            ..seen("10.65.3.0/26", Some("10.65.3.1"), Some("tunl0"))
        },
    ];
    assert_eq!(found, expected);
    None
}

fn a_changed_device_routes_otherwise() -> Option<String> {
    let wires = [(PortId(ETH0), PortId(2)), (PortId(TUNL0), PortId(3))];
    let mut bench = Bench::new(vec![node()], &wires);
    let endless = Flow {
        count: 1000,
        ..flow(Transport::Icmp, "10.65.2.2", 40001)
    };
    bench.start(0, endless, StackId(1), StackId(1));
    bench.run(Duration::from_millis(20));
    assert!(!sources(&bench, TUNL0).is_empty() && sources(&bench, ETH0).is_empty());

    let mut changed = node();
    changed.devices[1].config.routes.clear();
    changed.devices[0].config.routes.push(via_tunnel());
    changed.devices[0].config.addresses.push("10.0.0.9/24".parse().unwrap());
    bench.become_like(&changed);
    // What left before the change is still in the devices' queues.
    bench.run(Duration::from_millis(5));
    bench.packets.clear();
    bench.run(Duration::from_millis(20));
    let through = sources(&bench, ETH0);
    assert!(!through.is_empty() && sources(&bench, TUNL0).is_empty());
    assert!(through.iter().all(|source| source == "10.0.0.1"));
    None
}

/// Until then the stack had no address, so that it was made without IPv6; and then it loses all again.
fn a_stack_that_gets_ipv6_later_sends_over_it_until_it_goes() -> Option<String> {
    const HERE: &str = "fd00:65:1::2";
    const THERE: &str = "fd00:65:2::2";
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
    bench.start(0, endless, StackId(1), StackId(2));
    let answers = |bench: &Bench| bench.received(0, Direction::Reverse).len();
    bench.run(Duration::from_millis(20));
    assert_eq!(answers(&bench), 0);
    for round in 1..=2 {
        let before = answers(&bench);
        bench.become_like(&here);
        for _ in 0..250 {
            bench.run(Duration::from_millis(20));
            if answers(&bench) >= before + 5 {
                break;
            }
        }
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

/// What a stack has that came to it from another state is what one has that was made so.
fn a_stack_becomes_like_another_whatever_it_was() -> Option<String> {
    let mut tunnelled = node();
    tunnelled
        .devices
        .push(device(12, "vxlan.calico", "10.65.1.1/32", 1450, vec![]));
    let mut bare = tunnelled.clone();
    bare.blackholes[0].destination = "10.65.1.64/26".parse().unwrap();
    let [uplink, tunnel, vxlan] = &mut bare.devices[..] else {
        unreachable!()
    };
    // The tunnel's address, and its route, go to other devices; the tunnel is left with nothing.
    vxlan.config.addresses = std::mem::take(&mut tunnel.config.addresses);
    uplink.config.routes.append(&mut tunnel.config.routes);
    uplink.config.mtu = Mtu::new(1400).unwrap();
    // A route where a blackhole was.
    uplink.config.routes.push(route("10.65.1.0/26", Some("10.0.0.3")));

    let seen = |bench: &Bench| netlink::routes(bench.backend.namespace_fd(StackId(1)).unwrap());
    let made = |stack: &Stack| {
        let mut bench = Bench::new(vec![stack.clone()], &[]);
        bench.backend.ready().unwrap();
        seen(&bench)
    };
    let (made_tunnelled, made_bare) = (made(&tunnelled), made(&bare));
    assert_ne!(made_tunnelled, made_bare);
    let mut bench = Bench::new(vec![tunnelled.clone()], &[]);
    bench.backend.ready().unwrap();
    for (other, wanted) in [(&bare, &made_bare), (&tunnelled, &made_tunnelled), (&bare, &made_bare)] {
        bench.become_like(other);
        assert_eq!(seen(&bench), *wanted);
    }
    None
}

fn refusal(stack: Stack) -> String {
    match Bench::new(vec![stack], &[]).backend.ready().unwrap_err() {
        error @ BackendError::System { .. } => error.to_string(),
        error @ BackendError::Unavailable { .. } => panic!("{error}"),
    }
}

fn a_device_name_that_linux_would_cut_is_refused() -> Option<String> {
    let message = refusal(stack(
        1,
        "a1",
        vec![device(1, "sixteen-bytes-xx", "10.0.0.1/24", 1500, vec![])],
    ));
    assert!(
        message.contains("sixteen-bytes-xx") && message.contains("has 16"),
        "{message}"
    );
    None
}

fn a_route_that_the_kernel_refuses_is_named() -> Option<String> {
    let unreachable = StackRoute {
        onlink: false,
        ..route("10.65.9.0/26", Some("10.99.0.1"))
    };
    let message = refusal(stack(
        1,
        "a1",
        vec![device(1, "eth0", "10.0.0.1/24", 1500, vec![unreachable])],
    ));
    assert!(
        message.starts_with("failed to add route 10.65.9.0/26 via 10.99.0.1 dev eth0: "),
        "{message}"
    );
    None
}

fn a_detached_stack_is_gone() -> Option<String> {
    let mut bench = Bench::new(vec![node(), workload(2, "10.65.2.2", 1480)], &[]);
    bench.start(0, flow(Transport::Icmp, "10.65.2.2", 40001), StackId(1), StackId(2));
    bench.run(Duration::from_millis(10));
    bench.backend.host(HostAction::Detach { stack: StackId(1) }).unwrap();
    assert!(bench.backend.namespace_fd(StackId(1)).is_none());
    assert!(bench.backend.namespace_fd(StackId(2)).is_some());
    bench
        .backend
        .deliver(PortId(ETH0), overlab_dataplane::Packet::from_bytes(&[0x45; 20]));
    bench.run(Duration::from_millis(10));
    assert_eq!(bench.backend.counters().lost, 1);
    None
}

fn doctor_finds_what_this_run_uses() -> Option<String> {
    let list = capabilities();
    for name in ["network namespaces", "/dev/net/tun"] {
        let found = list.iter().find(|capability| capability.name == name).unwrap();
        assert!(found.available, "{found:?}");
    }
    for capability in list {
        assert_eq!(capability.available, capability.remedy.is_empty(), "{capability:?}");
        assert!(!capability.detail.is_empty(), "{capability:?}");
    }
    None
}
