//! What an engine remembers of its tables changes nothing: it decides as one that has just been given them.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use overlab_dataplane::engine::Ingress;
use overlab_dataplane::route::{DeviceId, NodeTables, Owner, Route, RouteKind, RouteProtocol, RpFilter};
use overlab_dataplane::{Family, Mtu, PerFamily};
use proptest::prelude::*;
use serde_json::json;

use super::cluster::{Udp, like, tables};
use super::{Node, ipip, vxlan};

/// Ends of packets and of routes: pods, tunnels, nodes, routers and strangers. So many share slots of what is remembered.
const ADDRESSES: [&str; 14] = [
    "10.244.0.10",
    "10.244.0.70",
    "10.244.0.140",
    "10.244.0.0",
    "10.244.0.64",
    "10.244.0.128",
    "10.244.9.9",
    "10.0.1.5",
    "10.0.1.6",
    "10.0.2.7",
    "10.0.1.1",
    "10.0.1.69",
    "203.0.113.9",
    "203.0.113.73",
];

/// Lengths of IPv4 prefixes; those of IPv6 take as many of the numbers that differ.
const LENGTHS: [u8; 5] = [0, 8, 16, 24, 32];

const KINDS: [RouteKind; 6] = [
    RouteKind::Local,
    RouteKind::Direct,
    RouteKind::Ipip,
    RouteKind::Vxlan,
    RouteKind::Blackhole,
    RouteKind::Host,
];

/// What happens to the two engines.
#[derive(Clone, Debug)]
enum Event {
    Packet { from: Ingress, sent: Udp },
    Tables(usize),
}

fn address() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&ADDRESSES[..])
}

fn route(family: Family) -> impl Strategy<Value = Route> {
    let to = (address(), prop::sample::select(&LENGTHS[..]));
    let kind = prop::sample::select(&KINDS[..]);
    let gateway = prop::option::weighted(0.7, address());
    let device = prop::option::weighted(0.9, (0..4u16).prop_map(DeviceId));
    let mtu = prop::option::weighted(0.3, (600..1500u16).prop_map(|mtu| Mtu::new(mtu).unwrap()));
    (to, kind, gateway, device, mtu).prop_map(move |((to, length), kind, gateway, device, mtu)| {
        let destination: ipnet::IpNet = like(family, &format!("{to}/{length}")).parse().unwrap();
        Route {
            destination: destination.trunc(),
            kind,
            gateway: gateway.map(|gateway| like(family, gateway).parse().unwrap()),
            device,
            node: None,
            same_subnet: false,
            owner: Owner::Felix,
            protocol: RouteProtocol::FELIX,
            onlink: false,
            metric: 0,
            mtu,
            source: None,
            decision: None,
        }
    })
}

/// Node a's own tables with each pool.
static OWN: LazyLock<PerFamily<Vec<Arc<NodeTables>>>> = LazyLock::new(|| {
    PerFamily::from_fn(|family| {
        let nat = json!({"natOutgoing": true});
        let pools = match family {
            Family::V4 => vec![nat, ipip("Always"), vxlan("CrossSubnet")],
            Family::V6 => vec![nat, vxlan("Always")],
        };
        let felix = json!({"defaultEndpointToHostAction": "Accept"});
        let own = |pool| tables(family, pool, felix.clone()).into_iter().next().unwrap();
        pools.into_iter().map(own).collect()
    })
});

/// These with some routes put over them.
fn any_tables(family: Family) -> impl Strategy<Value = Arc<NodeTables>> {
    let own = prop::sample::select(&OWN.get(family)[..]);
    let rp_filter = prop::sample::select(vec![RpFilter::Off, RpFilter::Strict, RpFilter::Loose]);
    let routes = prop::collection::vec(route(family), 0..6);
    (own, rp_filter, routes).prop_map(move |(own, rp_filter, routes)| {
        let routes = routes.into_iter().chain(own.routes().cloned());
        let mut tables = NodeTables::clone(&own).with_routes(routes);
        tables.rp_filter = rp_filter;
        Arc::new(tables)
    })
}

fn event(family: Family) -> impl Strategy<Value = Event> {
    let from = prop_oneof![
        Just(Ingress::Host),
        (0..4u16).prop_map(|device| Ingress::Device(DeviceId(device)))
    ];
    let sent = (address(), address(), 100..1600usize, 0..4u8, any::<bool>());
    let packet = (from, sent).prop_map(move |(from, (source, destination, length, ttl, dont_fragment))| {
        let sent = Udp {
            length,
            ttl,
            dont_fragment,
            ..Udp::of(family, source, destination)
        };
        Event::Packet { from, sent }
    });
    prop_oneof![8 => packet, 1 => (0..3usize).prop_map(Event::Tables)]
}

fn case() -> impl Strategy<Value = (Vec<Arc<NodeTables>>, Vec<Event>)> {
    prop_oneof![Just(Family::V4), Just(Family::V6)].prop_flat_map(|family| {
        let tables = prop::collection::vec(any_tables(family), 3);
        (tables, prop::collection::vec(event(family), 1..40))
    })
}

proptest! {
    #[test]
    fn an_engine_that_remembers_decides_as_one_that_forgets((tables, events) in case()) {
        let mut remembers = Node::new(tables[0].clone());
        let mut forgets = Node::new(tables[0].clone());
        for event in events {
            match event {
                Event::Tables(choice) => {
                    remembers.engine.set_tables(tables[choice].clone());
                    forgets.engine.set_tables(tables[choice].clone());
                }
                Event::Packet { from, sent } => {
                    let same = forgets.engine.tables().clone();
                    forgets.engine.set_tables(same);
                    let bytes = sent.build();
                    let expected = format!("{:?}", forgets.handle(from, &bytes));
                    let found = format!("{:?}", remembers.handle(from, &bytes));
                    prop_assert_eq!(found, expected, "{:?} {:?}", from, sent);
                }
            }
        }
        prop_assert_eq!(remembers.engine.counters(), forgets.engine.counters());
    }

    /// So much time passes between packets that connections, limits and fragments are forgotten.
    #[test]
    fn an_engine_with_other_tables_decides_as_a_new_one((tables, events) in case()) {
        let mut tables = tables.into_iter().cycle();
        let mut old = Node::new(tables.next().unwrap());
        for event in events {
            match event {
                Event::Tables(_) => old.engine.set_tables(tables.next().unwrap()),
                Event::Packet { from, sent } => {
                    let mut new = Node::new(old.engine.tables().clone());
                    let bytes = sent.build();
                    new.handle(from, &bytes);
                    old.now = old.now.saturating_add(Duration::from_secs(1_000_000));
                    old.handle(from, &bytes);
                    prop_assert_eq!(&old.outcome.steps, &new.outcome.steps, "{:?} {:?}", from, sent);
                    prop_assert_eq!(old.outcome.drop, new.outcome.drop);
                }
            }
        }
    }
}
