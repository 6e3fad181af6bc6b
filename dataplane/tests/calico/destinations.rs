//! What a node has routes to, and what the pools around a destination make of it.

use crate::datastore::{cluster, machine, node, node_spec, pool, printed, read, route, tables, workloads};
use overlab_dataplane::calico::{ClusterState, IpPool, Profile};
use overlab_dataplane::route::{AbsentReason, NodeTables, Resolver, RouteKind};
use rstest::rstest;
use serde_json::{Value, json};

/// A block with its allocations: for each, the address's place in the block and the node that uses it, if recorded.
fn block(cidr: &str, affinity: Option<&str>, allocations: &[(usize, Option<&str>)]) -> Value {
    let mut places = vec![Value::Null; 64];
    let mut attributes = Vec::new();
    for (place, node) in allocations {
        places[*place] = json!(attributes.len());
        attributes.push(match node {
            Some(node) => json!({"handle_id": format!("h{cidr}{place}"), "secondary": {"node": node}}),
            None => json!({"handle_id": format!("h{cidr}{place}")}),
        });
    }
    json!({"apiVersion": "crd.projectcalico.org/v1", "kind": "IPAMBlock", "metadata": {"name": cidr.replace(['.', '/'], "-")},
        "spec": {"cidr": cidr, "affinity": affinity.map(|node| format!("host:{node}")), "strictAffinity": false, "unallocated": [],
                 "allocations": places, "attributes": attributes}})
}

/// Nodes a, b and c, each in a subnet of its own, seen from a.
fn seen_from_a(more: &[Value]) -> NodeTables {
    let mut manifests = vec![
        pool("p", json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"})),
        node("a", "10.0.1.5/24"),
        node_spec(
            "b",
            json!({"bgp": {"ipv4Address": "10.0.2.6/24"}, "ipv4VXLANTunnelAddr": "10.244.9.0"}),
        ),
        node_spec(
            "c",
            json!({"bgp": {"ipv4Address": "10.0.3.7/24"}, "ipv4VXLANTunnelAddr": "10.244.9.64"}),
        ),
    ];
    manifests.push(block("10.244.9.0/26", Some("b"), &[(0, Some("b"))]));
    manifests.push(block("10.244.9.64/26", Some("c"), &[(0, Some("c"))]));
    manifests.extend_from_slice(more);
    tables(&cluster(&manifests, &[]).unwrap(), "a", "10.0.1.5/24")
}

fn to(tables: &NodeTables, destination: &str) -> Option<String> {
    let route = tables.route_to(destination.parse().unwrap())?;
    route.node.as_deref().map(str::to_owned)
}

#[test]
fn a_block_without_affinity_is_routed_address_by_address() {
    let a = seen_from_a(&[block("10.244.1.0/26", None, &[(1, Some("b")), (2, None), (3, Some("c"))])]);
    assert_eq!(to(&a, "10.244.1.0/26"), None);
    assert_eq!(to(&a, "10.244.1.1/32").as_deref(), Some("b"));
    assert_eq!(to(&a, "10.244.1.2/32"), None);
    assert_eq!(to(&a, "10.244.1.3/32").as_deref(), Some("c"));
}

#[test]
fn an_empty_block_is_routed_whole_and_what_its_node_uses_of_it_has_no_route_of_its_own() {
    let a = seen_from_a(&[
        block("10.244.1.0/26", Some("b"), &[]),
        block("10.244.2.0/26", Some("b"), &[(1, Some("b")), (2, Some("c")), (3, Some("a"))]),
    ]);
    assert_eq!(to(&a, "10.244.1.0/26").as_deref(), Some("b"));
    assert_eq!(to(&a, "10.244.2.0/26").as_deref(), Some("b"));
    assert_eq!(to(&a, "10.244.2.1/32"), None);
    assert_eq!(to(&a, "10.244.2.2/32").as_deref(), Some("c"));
    assert_eq!(to(&a, "10.244.2.3/32"), None, "what this node borrows is no other's");
    let (_, winner) = a.lookup("10.244.2.3".parse().unwrap()).unwrap();
    assert_eq!(
        winner.node.as_deref(),
        Some("b"),
        "without a workload there, the block's route wins"
    );
}

#[test]
fn a_nodes_own_address_is_no_destination_though_a_pool_and_a_block_hold_it() {
    let inside = node_spec(
        "d",
        json!({"bgp": {"ipv4Address": "10.244.1.9/24"}, "addresses": [{"address": "10.244.1.8", "type": "InternalIP"}]}),
    );
    let a = seen_from_a(&[
        block("10.244.1.0/26", None, &[(8, Some("b")), (9, Some("b")), (10, Some("b"))]),
        inside,
    ]);
    assert_eq!(to(&a, "10.244.1.8/32"), None);
    assert_eq!(to(&a, "10.244.1.9/32"), None);
    assert_eq!(to(&a, "10.244.1.10/32").as_deref(), Some("b"));
}

#[test]
fn a_borrowed_tunnel_address_is_on_the_device_and_one_in_its_nodes_block_is_not_routed() {
    let borrower = node_spec(
        "d",
        json!({"bgp": {"ipv4Address": "10.0.4.8/24"}, "ipv4VXLANTunnelAddr": "10.244.9.5"}),
    );
    let a = seen_from_a(&[borrower]);
    assert_eq!(route(&a, "10.244.9.5/32"), "10.244.9.5 dev vxlan.calico scope link mtu 1450");
    assert_eq!(to(&a, "10.244.9.0/32"), None);
}

#[rstest]
#[case::no_pool(block("10.99.0.0/26", Some("b"), &[]), "10.99.0.0/26", AbsentReason::NoPool)]
#[case::no_such_node(block("10.244.1.0/26", Some("gone"), &[]), "10.244.1.0/26", AbsentReason::UnknownNode)]
#[case::no_tunnel_end(block("10.244.1.0/26", Some("mute"), &[]), "10.244.1.0/26", AbsentReason::NoRemoteVtep)]
fn a_block_that_cannot_be_routed_is_absent_for_its_reason(
    #[case] block: Value,
    #[case] destination: &str,
    #[case] reason: AbsentReason,
) {
    let a = seen_from_a(&[block, node_spec("mute", json!({}))]);
    let mut reasons = a.absent().filter(|gone| gone.destination.to_string() == destination);
    assert_eq!(reasons.next().map(|gone| gone.reason), Some(reason));
}

/// What a cluster of nodes a and b knows of b's block, with pools as they may be written past the rules of creation.
fn under(pools: &[(&str, Value)], profile: Profile) -> NodeTables {
    let manifests = [
        pool("p", json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"})),
        node_spec(
            "a",
            json!({"bgp": {"ipv4Address": "10.0.1.5/24"}, "ipv4VXLANTunnelAddr": "10.244.9.0"}),
        ),
        node_spec(
            "b",
            json!({"bgp": {"ipv4Address": "10.0.1.6/24"}, "ipv4VXLANTunnelAddr": "10.244.9.64"}),
        ),
        block("10.244.1.0/26", Some("b"), &[]),
        block("10.244.9.0/26", Some("a"), &[(0, Some("a"))]),
    ];
    let cluster = ClusterState::build(profile, read(&manifests).unwrap(), Vec::new()).unwrap();
    let mut resolver = Resolver::new(cluster);
    resolver.tables(&machine("a", "10.0.1.5/24"));
    resolver.change(|cluster| {
        cluster.remove_pool("p");
        for (name, spec) in pools {
            cluster.set_pool(made(name, spec));
        }
    });
    resolver.tables(&machine("a", "10.0.1.5/24"))
}

fn made(name: &str, spec: &Value) -> IpPool {
    cluster(&[pool(name, spec.clone())], &[]).unwrap().pools()[name].clone()
}

fn kind(tables: &NodeTables) -> Option<RouteKind> {
    tables.route_to("10.244.1.0/26".parse().unwrap()).map(|route| route.kind)
}

#[test]
fn the_most_specific_pools_encapsulation_wins() {
    let outer = ("outer", json!({"cidr": "10.244.0.0/16", "ipipMode": "Always"}));
    let inner = ("inner", json!({"cidr": "10.244.1.0/24", "vxlanMode": "Always"}));
    assert_eq!(kind(&under(&[outer.clone(), inner], Profile::V3_33)), Some(RouteKind::Vxlan));
    let services = ("inner", json!({"cidr": "10.244.1.0/24", "allowedUses": ["LoadBalancer"]}));
    assert_eq!(kind(&under(&[outer, services], Profile::V3_33)), Some(RouteKind::Ipip));
}

#[test]
fn an_inner_pool_cannot_undo_that_an_outer_one_asks_for_the_subnet() {
    let outer = ("outer", json!({"cidr": "10.244.0.0/16", "vxlanMode": "CrossSubnet"}));
    let inner = ("inner", json!({"cidr": "10.244.1.0/24", "vxlanMode": "Always"}));
    assert_eq!(
        kind(&under(std::slice::from_ref(&inner), Profile::V3_32)),
        Some(RouteKind::Vxlan)
    );
    assert_eq!(kind(&under(&[outer, inner], Profile::V3_32)), Some(RouteKind::Direct));
}

#[test]
fn of_two_pools_with_one_range_the_first_by_name_counts() {
    let ipip = json!({"cidr": "10.244.0.0/16", "ipipMode": "Always"});
    let vxlan = json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"});
    let kind = |a: &Value, b: &Value| kind(&under(&[("a", a.clone()), ("b", b.clone())], Profile::V3_33));
    assert_eq!(kind(&ipip, &vxlan), Some(RouteKind::Ipip));
    assert_eq!(kind(&vxlan, &ipip), Some(RouteKind::Vxlan));
}

#[test]
fn with_its_pool_deleted_a_block_is_reached_by_nobody_and_no_longer_spared_from_translation() {
    let other = (
        "other",
        json!({"cidr": "10.99.0.0/16", "vxlanMode": "Always", "natOutgoing": true}),
    );
    let a = under(&[other], Profile::V3_32);
    assert_eq!(kind(&a), None);
    let reasons: Vec<_> = a.absent().map(|gone| gone.reason).collect();
    assert!(
        !reasons.is_empty() && reasons.iter().all(|reason| *reason == AbsentReason::NoPool),
        "{reasons:?}"
    );
    assert_eq!(*a.nat.v4.pools, ["10.99.0.0/16".parse().unwrap()]);
    assert!(!printed(&a).iter().any(|line| line.contains("proto 80")));
}

#[test]
fn translation_spares_every_pool_but_from_v3_33_not_those_of_services_alone() {
    let pools = [
        pool("one", json!({"cidr": "10.244.0.0/16", "natOutgoing": true})),
        pool("off", json!({"cidr": "10.0.0.0/16", "disabled": true})),
        pool(
            "services",
            json!({"cidr": "10.99.0.0/24", "allowedUses": ["LoadBalancer"], "natOutgoing": true}),
        ),
        pool("six", json!({"cidr": "fd00:244::/64", "natOutgoing": true})),
        node("a", "10.0.1.5/24"),
    ];
    let texts = |profile| {
        let cluster = ClusterState::build(profile, read(&pools).unwrap(), workloads(&[])).unwrap();
        let a = tables(&cluster, "a", "10.0.1.5/24");
        let text = |ranges: &[ipnet::IpNet]| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let nat = a.nat;
        (
            [&nat.v4.masquerade, &nat.v4.pools, &nat.v6.masquerade, &nat.v6.pools].map(|ranges| text(ranges)),
            nat.v4.tunnel_ports,
        )
    };
    let six = "fd00:244::/64";
    assert_eq!(
        texts(Profile::V3_32),
        (
            [
                "10.99.0.0/24 10.244.0.0/16",
                "10.0.0.0/16 10.99.0.0/24 10.244.0.0/16",
                six,
                six
            ]
            .map(str::to_owned),
            None
        )
    );
    assert_eq!(
        texts(Profile::V3_33),
        (
            ["10.244.0.0/16", "10.0.0.0/16 10.244.0.0/16", six, six].map(str::to_owned),
            Some((4790, 65535))
        )
    );
}
