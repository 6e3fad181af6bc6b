//! What holds for every cluster: what CrossSubnet means, and that the order of manifests means nothing.

use std::collections::BTreeMap;

use ipnet::IpNet;
use overlab_dataplane::calico::{Allocation, Block, ClusterState, Profile};
use overlab_dataplane::fields::FieldRef;
use overlab_dataplane::route::{Absent, DeviceId, HostNetwork, NodeTables, Owner, Resolver, Route, RouteKind, node_tables};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::datastore::{cluster, felix, machine, node, pool, printed, read, workloads};

/// Machines with recorded addresses 10.0.x.y/len, all different; the wires are as recorded.
fn machines() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::btree_map((0u8..3, 2u8..250), 22u8..=32, 2..6).prop_map(|nodes| {
        let text = |((x, y), len): ((u8, u8), u8)| format!("10.0.{x}.{y}/{len}");
        nodes.into_iter().map(text).collect()
    })
}

fn manifests_for(addresses: &[String], spec: &Value) -> Vec<Value> {
    let nodes = addresses
        .iter()
        .enumerate()
        .map(|(i, address)| node(&format!("n{i}"), address));
    std::iter::once(pool("p", spec.clone())).chain(nodes).collect()
}

fn cluster_of(profile: Profile, addresses: &[String], spec: &Value) -> ClusterState {
    let pods: Vec<_> = (0..addresses.len()).map(|i| format!("w{i} n{i} 10.244.{i}.1")).collect();
    let pods: Vec<_> = pods.iter().map(String::as_str).collect();
    ClusterState::build(profile, read(&manifests_for(addresses, spec)).unwrap(), workloads(&pods)).unwrap()
}

fn hosts_of(addresses: &[String]) -> Vec<HostNetwork> {
    let hosts = addresses.iter().enumerate();
    hosts.map(|(i, address)| machine(&format!("n{i}"), address)).collect()
}

fn all_tables(cluster: &ClusterState, addresses: &[String]) -> Vec<NodeTables> {
    let hosts = hosts_of(addresses);
    hosts.iter().map(|host| node_tables(cluster, host)).collect()
}

/// Everything of a node that a change of blocks can change, its routes found one by one in the order of their prefixes.
fn seen(tables: &NodeTables) -> (Vec<Route>, Vec<Absent>) {
    let routes: Vec<_> = tables.routes().cloned().collect();
    assert!(routes.is_sorted_by_key(|route| route.destination));
    assert!(routes.iter().all(|route| route.node.as_ref() != Some(&tables.node)));
    assert!(tables.absent().all(|absent| absent.node != tables.node));
    for route in &routes {
        assert_eq!(tables.route_to(route.destination), Some(route));
        let (id, longest) = tables.lookup(route.destination.addr()).unwrap();
        assert_eq!(tables.route(id), Some(longest));
        assert!(longest.destination.prefix_len() >= route.destination.prefix_len());
    }
    (routes, tables.absent().cloned().collect())
}

/// Felix's routes of one node and those of its BIRD, of two to one prefix the better one, and Felix's of equals.
fn joined(felix: &NodeTables, bird: &NodeTables) -> BTreeMap<IpNet, Route> {
    let rank = |route: &Route| (route.kind != RouteKind::Local, route.metric);
    let of_felix = felix.routes().filter(|route| route.owner != Owner::Bird);
    let mut joined: BTreeMap<IpNet, Route> = of_felix.map(|route| (route.destination, route.clone())).collect();
    for route in bird.routes().filter(|route| route.owner == Owner::Bird) {
        let name = route.device.map(|device| &bird.device(device).unwrap().name);
        let here = (0..)
            .map(DeviceId)
            .zip(&felix.devices)
            .find(|(_, device)| Some(&device.name) == name);
        let device = here.map(|(place, _)| place);
        let is_better = joined.get(&route.destination).is_none_or(|other| rank(route) < rank(other));
        if is_better && device.is_some() == name.is_some() {
            joined.insert(route.destination, Route { device, ..route.clone() });
        }
    }
    joined
}

/// A change of a block: its place among a few, whose it is to be, and who uses its first addresses. A node that is not there
/// has no block, and without any node the block goes.
type Change = (u8, Option<u8>, Vec<(u8, Option<u8>)>);

fn change() -> impl Strategy<Value = Change> {
    let node = || proptest::option::of(0u8..7);
    (0u8..6, node(), proptest::collection::vec((0u8..3, node()), 0..4))
}

fn apply(resolver: &mut Resolver, (place, affinity, allocations): &Change) {
    // The last block is a single address: that of the first workload, in a block of its own.
    let cidr: IpNet = match place {
        5 => "10.244.8.1/32".parse().unwrap(),
        place => format!("10.244.{place}.0/26").parse().unwrap(),
    };
    if affinity.is_none() && allocations.is_empty() {
        return resolver.remove_block(cidr);
    }
    let name = |node: &u8| format!("n{node}").into();
    let allocation = |(place, node): &(u8, Option<u8>)| {
        let address = cidr.hosts().nth(usize::from(*place))?;
        let allocation = Allocation {
            node: node.as_ref().map(name),
            handle: format!("h{place}").into(),
            at: FieldRef::default(),
        };
        Some((address, allocation))
    };
    resolver.set_block(Block {
        cidr,
        affinity: affinity.as_ref().map(name),
        allocations: allocations.iter().filter_map(allocation).collect(),
        unallocated: Vec::new(),
        at: FieldRef::default(),
    });
}

/// Pools of one mode each, with workloads' addresses as destinations or blocks, and a tunnel address that is borrowed.
fn settings() -> impl Strategy<Value = (Profile, Value, Value)> {
    let mode = prop_oneof![Just("Never"), Just("Always"), Just("CrossSubnet")];
    let field = prop_oneof![Just("ipipMode"), Just("vxlanMode")];
    let source = prop_oneof![3 => Just("CalicoIPAM"), 1 => Just("WorkloadIPs")];
    let profile = prop_oneof![Just(Profile::V3_22), Just(Profile::V3_32), Just(Profile::V3_33)];
    (profile, field, mode, source).prop_map(|(profile, field, mode, source)| {
        (
            profile,
            json!({"cidr": "10.244.0.0/16", field: mode}),
            json!({"routeSource": source}),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tables_kept_through_changes_are_those_made_anew(
        addresses in machines(),
        (profile, spec, felix_spec) in settings(),
        changes in proptest::collection::vec(change(), 1..12),
    ) {
        let mut manifests = manifests_for(&addresses, &spec);
        manifests.push(felix("default", felix_spec));
        let pods: Vec<_> = (0..addresses.len()).map(|i| format!("w{i} n{i} 10.244.{i}.1")).collect();
        let pods: Vec<_> = pods.iter().map(String::as_str).collect();
        let cluster = ClusterState::build(profile, read(&manifests).unwrap(), workloads(&pods)).unwrap();
        let hosts = hosts_of(&addresses);
        let mut resolver = Resolver::new(cluster);
        let mut held = Vec::new();
        for change in &changes {
            apply(&mut resolver, change);
            for host in &hosts {
                let kept = resolver.tables(host);
                let anew = node_tables(resolver.cluster(), host);
                prop_assert_eq!(seen(&kept), seen(&anew), "{} after {:?}", host.name, change);
                held.push((seen(&kept), kept));
            }
        }
        for (then, tables) in held {
            prop_assert_eq!(then, seen(&tables), "tables that were handed out have changed");
        }
    }
}

proptest! {
    #[test]
    fn nodes_that_share_routes_have_those_that_each_would_have_alone(
        addresses in machines(),
        (profile, spec, _) in settings(),
    ) {
        let cluster = cluster_of(profile, &addresses, &spec);
        let mut together = Resolver::new(cluster.clone());
        for host in &hosts_of(&addresses) {
            prop_assert_eq!(seen(&together.tables(host)), seen(&Resolver::new(cluster.clone()).tables(host)));
        }
    }

    #[test]
    fn nodes_whose_bird_lags_have_the_routes_that_each_would_join_alone(
        addresses in machines(),
        (profile, spec, _) in settings(),
        (_, bird_spec, _) in settings(),
        changes in proptest::collection::vec((any::<bool>(), change()), 0..12),
        restarted in any::<bool>(),
    ) {
        let (now, before) = (cluster_of(profile, &addresses, &spec), cluster_of(profile, &addresses, &bird_spec));
        let started = if restarted { now.clone() } else { before.clone() };
        let (mut felix, mut bird) = (Resolver::new(now), Resolver::new(before));
        for (heard_by_bird, change) in &changes {
            apply(if *heard_by_bird { &mut bird } else { &mut felix }, change);
        }
        for host in &hosts_of(&addresses) {
            let settings = started.felix_start(&host.name).settings;
            let of_felix = felix.tables_under(host, settings.clone());
            let of_bird = bird.tables_under(host, settings.clone());
            let joined = joined(&of_felix, &of_bird);
            let (routes, absent) = seen(&bird.with_bird(of_felix.clone(), host, settings));
            let still_absent = of_felix.absent().filter(|absent| !joined.contains_key(&absent.destination));
            prop_assert_eq!(absent, still_absent.cloned().collect::<Vec<_>>(), "{}", host.name);
            prop_assert_eq!(routes, joined.into_values().collect::<Vec<_>>(), "{}", host.name);
        }
    }

    #[test]
    fn cross_subnet_is_always_across_subnets_and_never_within_one(
        addresses in machines(),
        field in prop_oneof![Just("ipipMode"), Just("vxlanMode")],
        profile in prop_oneof![Just(Profile::V3_32), Just(Profile::V3_33)],
    ) {
        let under = |mode: &str| {
            let cluster = cluster_of(profile, &addresses, &json!({"cidr": "10.244.0.0/16", field: mode}));
            all_tables(&cluster, &addresses)
        };
        let (never, always, cross) = (under("Never"), under("Always"), under("CrossSubnet"));
        for (i, local) in addresses.iter().enumerate() {
            let subnet: IpNet = local.parse().unwrap();
            for (j, remote) in addresses.iter().enumerate().filter(|(j, _)| *j != i) {
                let remote: IpNet = remote.parse().unwrap();
                let pod = format!("10.244.{j}.1").parse().unwrap();
                let kind = |tables: &[NodeTables]| tables[i].lookup(pod).unwrap().1.kind;
                let like = if subnet.contains(&remote.addr()) { &never } else { &always };
                prop_assert_eq!(kind(&cross), kind(like), "{} to {}", local, remote);
            }
        }
    }

    #[test]
    fn the_order_of_the_resources_does_not_matter(
        (sorted, shuffled) in machines().prop_flat_map(|addresses| {
            let spec = json!({"cidr": "10.244.0.0/16", "vxlanMode": "CrossSubnet"});
            let mut manifests = manifests_for(&addresses, &spec);
            manifests.push(pool("q", json!({"cidr": "10.245.0.0/16", "ipipMode": "Always"})));
            manifests.push(felix("default", json!({"vxlanMTU": 1300})));
            manifests.extend(held());
            (Just((addresses, manifests.clone())), Just(manifests).prop_shuffle())
        })
    ) {
        let (addresses, manifests) = sorted;
        let pods = ["one n0", "two n1", "three n0"];
        let shown = |manifests: &[Value]| {
            let cluster = cluster(manifests, &pods).unwrap();
            let tables = all_tables(&cluster, &addresses);
            let tables: Vec<_> = tables
                .iter()
                .map(|t| (printed(t), t.devices.clone(), t.vxlan.clone(), t.ipip.clone(), t.vxlan_allowed.clone(), t.nat.clone()))
                .collect();
            (tables, addresses_in(&cluster))
        };
        prop_assert_eq!(shown(&manifests), shown(&shuffled));
    }
}

/// What a datastore holds beside pools and nodes: a block with a borrowed address, one that is nobody's, claims on blocks that
/// are there and that are not, and workloads in both forms, one of them in both at once.
fn held() -> Vec<Value> {
    let crd = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "crd.projectcalico.org/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let block = |name: &str, cidr: &str, affinity: Value| {
        let attributes =
            json!([{"handle_id": "h0", "secondary": {"node": "n0"}}, {"handle_id": "h1", "secondary": {"node": "n1"}}]);
        crd(
            "IPAMBlock",
            name,
            json!({"cidr": cidr, "affinity": affinity, "allocations": [0, 1], "attributes": attributes}),
        )
    };
    let claim = |name: &str, cidr: &str, node: &str| {
        crd(
            "BlockAffinity",
            name,
            json!({"cidr": cidr, "node": node, "state": "confirmed"}),
        )
    };
    let endpoint = |name: &str, node: &str, address: &str| {
        json!({"apiVersion": "projectcalico.org/v3", "kind": "WorkloadEndpoint", "metadata": {"name": name, "namespace": "default"},
               "spec": {"node": node, "pod": name, "interfaceName": format!("cali{name}"), "ipNetworks": [format!("{address}/32")]}})
    };
    let pod = |name: &str, node: &str, address: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
               "spec": {"nodeName": node}, "status": {"phase": "Running", "podIPs": [{"ip": address}]}})
    };
    vec![
        block("b-7", "10.244.7.0/26", json!("host:n0")),
        block("b-8", "10.244.8.0/26", Value::Null),
        claim("c-7", "10.244.7.0/26", "n0"),
        claim("c-9", "10.244.9.0/26", "n1"),
        claim("c-5", "10.245.5.0/26", "n0"),
        endpoint("red", "n0", "10.244.7.9"),
        pod("red", "n0", "10.244.7.9"),
        pod("blue", "n1", "10.244.7.10"),
        endpoint("green", "n1", "10.245.5.3"),
        pod("grey", "n1", "10.244.10.2"),
        endpoint("white", "n0", "10.244.10.1"),
    ]
}

/// Every address that somebody has, with who and where.
fn addresses_in(cluster: &ClusterState) -> Vec<String> {
    let holders = cluster.blocks().values().flat_map(|block| {
        let node = block.affinity.as_deref().unwrap_or("nobody");
        block.allocations.iter().map(move |(address, a)| {
            let user = a.node.as_deref().unwrap_or("nobody");
            format!("{address} of {}'s {node} used on {user} by {}", block.cidr, a.handle)
        })
    });
    holders.collect()
}
