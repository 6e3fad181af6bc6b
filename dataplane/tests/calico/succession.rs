//! A datastore after its objects changed: who keeps which address, and what a Felix that has not restarted makes of it.

use crate::datastore::{calico_node, machine, node, pool, printed, read, workloads};
use overlab_dataplane::calico::{ClusterState, Profile};
use overlab_dataplane::route::{NodeTables, Resolver};
use rstest::rstest;
use serde_json::{Value, json};

const PODS: [&str; 3] = ["pod-a A 10.244.0.10", "pod-b B 10.244.0.70", "pod-c C 10.244.0.140"];

fn objects(pools: &[Value]) -> Vec<Value> {
    let nodes = [("A", "10.0.1.5/24"), ("B", "10.0.1.6/24"), ("C", "10.0.2.7/24")];
    pools
        .iter()
        .cloned()
        .chain(nodes.map(|(name, net)| node(name, net)))
        .collect()
}

fn first(profile: Profile, spec: Value) -> ClusterState {
    ClusterState::build(profile, read(&objects(&[pool("p", spec)])).unwrap(), workloads(&PODS)).unwrap()
}

fn then(before: &ClusterState, pools: &[Value]) -> ClusterState {
    before.succeed(read(&objects(pools)).unwrap(), workloads(&PODS)).unwrap()
}

fn ipip() -> Value {
    json!({"cidr": "10.244.0.0/16", "ipipMode": "CrossSubnet"})
}

fn vxlan() -> Value {
    json!({"cidr": "10.244.0.0/16", "ipipMode": "Never", "vxlanMode": "CrossSubnet"})
}

fn tunnels(cluster: &ClusterState, name: &str) -> (Option<String>, Option<String>) {
    let node = &cluster.nodes()[name];
    let text = |address: Option<std::net::IpAddr>| address.map(|address| address.to_string());
    (text(node.ipip_tunnel.map(Into::into)), text(node.vxlan_tunnel.v4))
}

/// A's tables as its Felix, started under `started`, makes them of `now`.
fn tables(started: &ClusterState, now: &ClusterState) -> NodeTables {
    let settings = started.felix_start("A").settings;
    Resolver::new(now.clone()).tables_under(&machine("A", "10.0.1.5/24"), settings)
}

fn to_other_nodes(tables: &NodeTables) -> Vec<String> {
    let others = |line: &String| line.starts_with("10.244.") && line.contains("via");
    printed(tables).into_iter().filter(others).collect()
}

#[test]
fn a_switch_of_encapsulation_moves_the_tunnel_address_since_a_released_one_is_reused_last() {
    let before = first(Profile::V3_33, ipip());
    assert_eq!(tunnels(&before, "A"), (Some("10.244.0.0".to_owned()), None));
    let after = then(&before, &[pool("p", vxlan())]);
    assert_eq!(tunnels(&after, "A"), (None, Some("10.244.0.1".to_owned())));
    let back = then(&after, &[pool("p", ipip())]);
    assert_eq!(tunnels(&back, "A"), (Some("10.244.0.2".to_owned()), None));
    assert_eq!(back.endpoints()["pod-a"].addresses, before.endpoints()["pod-a"].addresses);
}

#[test]
fn an_unchanged_datastore_succeeds_itself() {
    let before = first(Profile::V3_32, vxlan());
    let after = then(&before, &[pool("p", vxlan())]);
    assert_eq!(before.blocks(), after.blocks());
    assert_eq!(before.nodes(), after.nodes());
}

#[test]
fn a_felix_that_has_not_restarted_withdraws_the_old_class_and_cannot_program_the_new_one() {
    let before = first(Profile::V3_33, ipip());
    let after = then(&before, &[pool("p", vxlan())]);
    assert_eq!(to_other_nodes(&tables(&before, &before)).len(), 2);
    assert_eq!(to_other_nodes(&tables(&before, &after)), [""; 0]);
    assert_eq!(
        to_other_nodes(&tables(&after, &after)),
        [
            "10.244.0.64/26 via 10.0.1.6 dev eth0 proto 80 onlink",
            "10.244.0.128/26 via 10.244.0.129 dev vxlan.calico onlink mtu 1450",
        ]
    );
}

#[rstest]
#[case::another_encapsulation(vxlan(), true)]
#[case::another_mode(json!({"cidr": "10.244.0.0/16", "ipipMode": "Always"}), false)]
#[case::nat(json!({"cidr": "10.244.0.0/16", "ipipMode": "CrossSubnet", "natOutgoing": true}), false)]
#[case::disabled_so_that_the_tunnel_address_goes(json!({"cidr": "10.244.0.0/16", "ipipMode": "CrossSubnet", "disabled": true}), true)]
fn felix_restarts_for_what_it_reads_only_once(#[case] spec: Value, #[case] restarts: bool) {
    let before = first(Profile::V3_33, ipip());
    let after = then(&before, &[pool("p", spec)]);
    assert_eq!(before.felix_start("A") != after.felix_start("A"), restarts);
}

#[test]
fn disabling_the_last_pool_of_an_encapsulation_releases_its_tunnel_addresses() {
    let before = first(Profile::V3_32, vxlan());
    let mut spec = vxlan();
    spec["disabled"] = true.into();
    let after = then(&before, &[pool("p", spec)]);
    assert_eq!(tunnels(&after, "B"), (None, None));
    assert_eq!(to_other_nodes(&tables(&before, &after)), [""; 0]);
    let again = then(&after, &[pool("p", vxlan())]);
    assert_eq!(tunnels(&again, "B"), (None, Some("10.244.0.65".to_owned())));
}

#[test]
fn the_blocks_of_a_deleted_pool_are_affine_to_nobody_and_keep_the_addresses_of_living_pods() {
    let before = first(Profile::V3_32, vxlan());
    let after = then(
        &before,
        &[pool("other", json!({"cidr": "10.99.0.0/16", "vxlanMode": "Always"}))],
    );
    let block = &after.blocks()[&"10.244.0.0/26".parse().unwrap()];
    assert_eq!(block.affinity, None);
    assert_eq!(
        block.allocations.keys().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.244.0.10"]
    );
    assert_eq!(tunnels(&after, "A"), (None, Some("10.99.0.0".to_owned())));
}

#[test]
fn a_pod_that_moves_takes_its_address_along_as_a_borrowed_one() {
    let before = first(Profile::V3_32, vxlan());
    let moved = workloads(&["pod-a C 10.244.0.10", PODS[1], PODS[2]]);
    let after = before.succeed(read(&objects(&[pool("p", vxlan())])).unwrap(), moved).unwrap();
    let block = &after.blocks()[&"10.244.0.0/26".parse().unwrap()];
    let allocation = &block.allocations[&"10.244.0.10".parse().unwrap()];
    assert_eq!(
        (block.affinity.as_deref(), allocation.node.as_deref()),
        (Some("A"), Some("C"))
    );
    let way = to_other_nodes(&tables(&after, &after));
    assert_eq!(way[0], "10.244.0.10 via 10.244.0.128 dev vxlan.calico onlink mtu 1450");
}

#[test]
fn bird_may_still_have_the_routes_that_felix_takes_over_later() {
    let before = first(Profile::V3_32, ipip());
    let after = then(&before, &[pool("p", vxlan())]);
    let (felix, bird) = (tables(&before, &after), tables(&before, &before));
    let both = felix.with_bird_of(&bird);
    assert_eq!(to_other_nodes(&both), to_other_nodes(&bird));
    let restarted = tables(&after, &after).with_bird_of(&bird);
    let routes = to_other_nodes(&restarted);
    assert!(
        routes.iter().all(|route| !route.contains("tunl0")),
        "tunl0 is not here: {routes:?}"
    );
}

#[test]
fn workloads_keep_the_mtu_that_they_were_made_with() {
    let before = first(Profile::V3_33, ipip());
    let after = then(&before, &[pool("p", vxlan())]);
    let (old, new) = (tables(&before, &before), tables(&after, &after));
    assert_eq!((old.workloads[0].mtu.bytes(), new.workloads[0].mtu.bytes()), (1480, 1450));
    let kept = new.with_workload_mtus(&old.workloads.iter().map(|made| (made.name.clone(), made.mtu)).collect());
    let device = kept.device(kept.workloads[0].device).unwrap();
    assert_eq!((kept.workloads[0].mtu.bytes(), device.mtu.bytes()), (1480, 1480));
}

/// E1: once calico-node has created its pools, another environment does not change them; an object of their name does.
#[test]
fn pools_of_the_environment_outlive_it() {
    let environment = |range: &str| calico_node(&[("CALICO_IPV4POOL_CIDR", json!(range))]);
    let build =
        |manifests: &[Value]| ClusterState::build(Profile::V3_32, read(&objects(manifests)).unwrap(), Vec::new()).unwrap();
    let before = build(&[environment("10.1.0.0/16")]);
    let then = |manifests: &[Value]| before.succeed(read(&objects(manifests)).unwrap(), Vec::new()).unwrap();
    let pool_of = |cluster: &ClusterState| {
        let pool = &cluster.pools()["default-ipv4-ippool"];
        (cluster.pools().len(), pool.cidr.to_string(), pool.disabled)
    };
    let kept = (1, "10.1.0.0/16".to_owned(), false);
    assert_eq!(pool_of(&then(&[environment("10.9.0.0/16")])), kept);
    assert_eq!(pool_of(&then(&[])), kept);
    let disabled = pool("default-ipv4-ippool", json!({"cidr": "10.1.0.0/16", "disabled": true}));
    assert_eq!(
        pool_of(&then(&[environment("10.9.0.0/16"), disabled])),
        (1, "10.1.0.0/16".to_owned(), true)
    );
}
