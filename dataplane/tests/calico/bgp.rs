//! BGP: the sessions and routes that follow from its resources.

use crate::bgp_resources::{configuration, filter, peer};
use crate::datastore::{cluster, felix, machine, node, node_spec, pool, read, route, tables, workloads};
use overlab_dataplane::Family;
use overlab_dataplane::calico::{ClusterState, Profile};
use overlab_dataplane::route::{AbsentReason, Owner, bgp_sessions, node_tables};
use rstest::rstest;
use serde_json::{Value, json};

/// Four nodes, the last of them in another subnet, with a pod and a block each; the first is `rr`.
const NODES: [(&str, &str, &str); 4] = [
    ("rr", "10.0.1.4/24", "10.244.0.1"),
    ("a", "10.0.1.5/24", "10.244.0.65"),
    ("b", "10.0.1.6/24", "10.244.0.129"),
    ("c", "10.0.2.7/24", "10.244.0.193"),
];

/// The blocks of `rr`, `a`, `b` and `c`.
const BLOCKS: [&str; 4] = ["10.244.0.0/26", "10.244.0.64/26", "10.244.0.128/26", "10.244.0.192/26"];

fn node_with(name: &str, bgp: Value, labels: Value) -> Value {
    let (_, address, _) = NODES.into_iter().find(|(node, ..)| *node == name).unwrap();
    let mut spec = json!({"ipv4Address": address});
    spec.as_object_mut().unwrap().extend(bgp.as_object().unwrap().clone());
    let mut node = node_spec(name, json!({"bgp": spec}));
    node["metadata"]["labels"] = labels;
    node
}

/// The cluster with one pool and these manifests, which may hold some of the nodes.
fn four(profile: Profile, pool_spec: Value, manifests: &[Value]) -> ClusterState {
    let mut spec = json!({"cidr": "10.244.0.0/16"});
    spec.as_object_mut().unwrap().extend(pool_spec.as_object().unwrap().clone());
    let mut all = vec![pool("p", spec)];
    all.extend(manifests.iter().cloned());
    for (name, address, _) in NODES {
        if !manifests.iter().any(|m| m["kind"] == "Node" && m["metadata"]["name"] == name) {
            all.push(node(name, address));
        }
    }
    let pods = NODES.map(|(node, _, pod)| format!("pod-{node} {node} {pod}"));
    let pods = workloads(&pods.each_ref().map(String::as_str));
    ClusterState::build(profile, read(&all).unwrap(), pods).unwrap()
}

/// How a node reaches a block: `bare` or `ipip` and the gateway; empty if it does not.
fn way(cluster: &ClusterState, node: &str, destination: &str) -> String {
    let (_, address, _) = NODES.into_iter().find(|(name, ..)| *name == node).unwrap();
    let text = route(&tables(cluster, node, address), destination);
    let words: Vec<_> = text.split(' ').collect();
    match words[..] {
        [_, "via", gateway, "dev", "tunl0", "proto", "bird", ..] => format!("ipip {gateway}"),
        [_, "via", gateway, "dev", "eth0", "proto", "bird", ..] => format!("bare {gateway}"),
        _ => text,
    }
}

/// How `a` reaches the blocks of `rr`, `b` and `c`.
fn from_a(cluster: &ClusterState) -> [String; 3] {
    [0, 2, 3].map(|block| way(cluster, "a", BLOCKS[block]))
}

fn no_mesh() -> Value {
    configuration(json!({"nodeToNodeMeshEnabled": false}))
}

fn reflector() -> Value {
    node_with("rr", json!({"routeReflectorClusterID": "1.0.0.1"}), json!({"role": "rr"}))
}

/// Every node that is no reflector peers with those that are.
fn to_reflectors(extra: Value) -> Value {
    let mut spec = json!({"nodeSelector": "!has(role)", "peerSelector": "role == 'rr'"});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    peer("to-rr", spec)
}

const CROSS: fn() -> Value = || json!({"ipipMode": "CrossSubnet"});

#[test]
fn in_a_mesh_the_next_hop_is_the_node_itself() {
    let cluster = four(Profile::V3_32, CROSS(), &[]);
    assert_eq!(from_a(&cluster), ["bare 10.0.1.4", "bare 10.0.1.6", "ipip 10.0.2.7"]);
    let sessions = bgp_sessions(&cluster, "a", Family::V4);
    let peers: Vec<_> = sessions.iter().map(|s| (&*s.peer, s.established, s.client)).collect();
    assert_eq!(peers, [("b", true, false), ("c", true, false), ("rr", true, false)]);
    assert_eq!(bgp_sessions(&cluster, "a", Family::V6), []);
}

#[test]
fn without_a_mesh_and_without_peers_bird_has_no_routes_at_all() {
    let cluster = four(Profile::V3_32, CROSS(), &[no_mesh()]);
    assert_eq!(from_a(&cluster), ["", "", ""]);
    assert_eq!(bgp_sessions(&cluster, "a", Family::V4), []);
    let vxlan = four(Profile::V3_32, json!({"vxlanMode": "Always"}), &[no_mesh()]);
    assert!(from_a(&vxlan).iter().all(|route| route.contains("vxlan.calico")));
}

#[test]
fn a_reflector_takes_no_part_in_the_mesh() {
    let cluster = four(Profile::V3_32, CROSS(), &[reflector()]);
    assert_eq!(from_a(&cluster), ["", "bare 10.0.1.6", "ipip 10.0.2.7"]);
    assert_eq!(bgp_sessions(&cluster, "rr", Family::V4), []);
}

#[test]
fn a_reflector_passes_routes_on_with_their_next_hops() {
    let cluster = four(Profile::V3_32, CROSS(), &[no_mesh(), reflector(), to_reflectors(json!({}))]);
    assert_eq!(from_a(&cluster), ["bare 10.0.1.4", "bare 10.0.1.6", "ipip 10.0.2.7"]);
    assert_eq!(way(&cluster, "rr", BLOCKS[3]), "ipip 10.0.2.7");
    let clients: Vec<_> = bgp_sessions(&cluster, "rr", Family::V4)
        .iter()
        .map(|s| (s.peer.to_string(), s.client))
        .collect();
    assert_eq!(
        clients,
        [("a".to_owned(), true), ("b".to_owned(), true), ("c".to_owned(), true)]
    );
    assert_eq!(bgp_sessions(&cluster, "a", Family::V4).len(), 1);
}

#[test]
fn a_node_without_a_cluster_passes_nothing_on_within_its_as() {
    let hub = node_with("rr", json!({}), json!({"role": "rr"}));
    let cluster = four(Profile::V3_32, CROSS(), &[no_mesh(), hub, to_reflectors(json!({}))]);
    assert_eq!(from_a(&cluster), ["bare 10.0.1.4", "", ""]);
}

#[test]
fn two_reflectors_of_one_cluster_do_not_pass_each_others_clients_on() {
    let second = |cluster: &str| node_with("b", json!({"routeReflectorClusterID": cluster}), json!({"role": "rr2"}));
    let peers = |id: &str| {
        [
            no_mesh(),
            reflector(),
            second(id),
            peer("a", json!({"node": "a", "peerSelector": "role == 'rr'"})),
            peer("c", json!({"node": "c", "peerSelector": "role == 'rr2'"})),
            peer(
                "between",
                json!({"nodeSelector": "role == 'rr'", "peerSelector": "role == 'rr2'"}),
            ),
        ]
    };
    let apart = four(Profile::V3_32, CROSS(), &peers("1.0.0.2"));
    assert_eq!(from_a(&apart), ["bare 10.0.1.4", "bare 10.0.1.6", "ipip 10.0.2.7"]);
    let one = four(Profile::V3_32, CROSS(), &peers("1.0.0.1"));
    assert_eq!(from_a(&one), ["bare 10.0.1.4", "bare 10.0.1.6", ""]);
}

#[test]
fn truth_24_tunnel_and_outer_destination_follow_the_next_hop() {
    let own = [no_mesh(), reflector(), to_reflectors(json!({"nextHopMode": "Self"}))];
    let cluster = four(Profile::V3_32, CROSS(), &own);
    assert_eq!(from_a(&cluster), ["bare 10.0.1.4", "bare 10.0.1.4", "bare 10.0.1.4"]);
    assert_eq!(way(&cluster, "c", BLOCKS[2]), "ipip 10.0.1.4");
    let always = four(Profile::V3_32, json!({"ipipMode": "Always"}), &own);
    assert_eq!(from_a(&always), ["ipip 10.0.1.4", "ipip 10.0.1.4", "ipip 10.0.1.4"]);
    let tables = tables(&cluster, "a", "10.0.1.5/24");
    let to_c = tables.route_to(BLOCKS[3].parse().unwrap()).unwrap();
    assert_eq!(to_c.node.as_deref(), Some("c"));
    let test = to_c.decision.as_ref().unwrap().subnet_test.as_ref().unwrap();
    assert_eq!(
        (&*test.remote.0, test.remote.1, test.same),
        ("rr", "10.0.1.4".parse().ok(), true)
    );
}

/// A router outside the cluster, in its own AS or in theirs; every node peers with it.
fn tor(spec: Value) -> [Value; 2] {
    let mut whole = json!({"peerIP": "10.0.1.1"});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    [no_mesh(), peer("tor", whole)]
}

#[test]
fn a_router_of_another_as_passes_routes_on_with_itself_as_the_next_hop_to_whom_takes_its_own_as() {
    let looped = four(Profile::V3_32, CROSS(), &tor(json!({"asNumber": 65000})));
    assert_eq!(from_a(&looped), ["", "", ""]);
    let allowed = four(
        Profile::V3_32,
        CROSS(),
        &tor(json!({"asNumber": 65000, "numAllowedLocalASNumbers": 1})),
    );
    assert_eq!(from_a(&allowed), ["bare 10.0.1.1", "bare 10.0.1.1", "bare 10.0.1.1"]);
    assert_eq!(way(&allowed, "c", BLOCKS[1]), "ipip 10.0.1.1");
    let own = |name: &str, number: u32| node_with(name, json!({"asNumber": number}), json!({}));
    let racks = [own("rr", 65001), own("a", 65002), own("b", 65003), own("c", 65004)];
    let racks = four(
        Profile::V3_32,
        CROSS(),
        &[&tor(json!({"asNumber": 65000}))[..], &racks].concat(),
    );
    assert_eq!(from_a(&racks), ["bare 10.0.1.1", "bare 10.0.1.1", "bare 10.0.1.1"]);
    let sessions = bgp_sessions(&racks, "a", Family::V4);
    let session = sessions.first().unwrap();
    assert_eq!((&*session.peer, session.as_number, session.established), ("tor", 65000, true));
}

#[test]
fn a_router_of_the_same_as_reflects() {
    let cluster = four(Profile::V3_32, CROSS(), &tor(json!({"asNumber": 64512})));
    assert_eq!(from_a(&cluster), ["bare 10.0.1.4", "bare 10.0.1.6", "ipip 10.0.2.7"]);
}

#[test]
fn a_mesh_is_preferred_to_the_way_over_a_router_of_another_as() {
    let [_, peering] = tor(json!({"asNumber": 65000, "numAllowedLocalASNumbers": 1}));
    let cluster = four(Profile::V3_32, CROSS(), &[peering]);
    assert_eq!(from_a(&cluster), ["bare 10.0.1.4", "bare 10.0.1.6", "ipip 10.0.2.7"]);
}

#[test]
fn what_one_node_of_a_mesh_learns_from_another_as_it_tells_the_others() {
    let alone = node_with(
        "c",
        json!({"asNumber": 65004, "routeReflectorClusterID": "9.9.9.9"}),
        json!({"role": "alone"}),
    );
    let to_c = peer("to-c", json!({"node": "b", "peerSelector": "role == 'alone'"}));
    let cluster = four(Profile::V3_32, CROSS(), &[alone, to_c]);
    assert_eq!(from_a(&cluster), ["bare 10.0.1.4", "bare 10.0.1.6", "ipip 10.0.2.7"]);
    assert_eq!(way(&cluster, "c", BLOCKS[1]), "ipip 10.0.1.6");
}

#[test]
fn a_session_with_the_wrong_as_or_with_one_side_alone_does_not_come_up() {
    let one_sided = json!({"node": "a", "peerIP": "10.0.1.6", "asNumber": 64512, "reversePeering": "Manual"});
    let wrong = json!({"node": "a", "peerIP": "10.0.1.6", "asNumber": 65000});
    let right = json!({"node": "a", "peerIP": "10.0.1.6", "asNumber": 64512});
    for (spec, up) in [(one_sided, false), (wrong, false), (right, true)] {
        let cluster = four(Profile::V3_32, CROSS(), &[no_mesh(), peer("b", spec)]);
        let sessions = bgp_sessions(&cluster, "a", Family::V4);
        assert_eq!(sessions.iter().map(|s| s.established).collect::<Vec<_>>(), [up]);
        assert_eq!(way(&cluster, "a", BLOCKS[2]).is_empty(), !up);
    }
}

#[rstest]
#[case::at_the_source(json!({"nodeSelector": "has(role)"}), json!({"exportV4": [{"action": "Reject", "cidr": "10.244.0.192/26", "matchOperator": "Equal"}]}), ["bare 10.0.1.4", "bare 10.0.1.6", ""])]
#[case::longer_only(json!({}), json!({"exportV4": [{"action": "Accept", "cidr": "10.244.0.0/25", "matchOperator": "In"}, {"action": "Reject", "peerType": "iBGP"}]}), ["bare 10.0.1.4", "", ""])]
#[case::on_import(json!({}), json!({"importV4": [{"action": "Reject", "cidr": "10.244.0.128/25", "matchOperator": "In", "source": "RemotePeers"}]}), ["bare 10.0.1.4", "", ""])]
#[case::other_kind_of_session(json!({}), json!({"exportV4": [{"action": "Reject", "peerType": "eBGP"}]}), ["bare 10.0.1.4", "bare 10.0.1.6", "ipip 10.0.2.7"])]
#[case::other_family(json!({}), json!({"exportV6": [{"action": "Reject"}]}), ["bare 10.0.1.4", "bare 10.0.1.6", "ipip 10.0.2.7"])]
fn a_filter_suppresses_blocks_of_birds_classes(#[case] extra: Value, #[case] rules: Value, #[case] expected: [&str; 3]) {
    let mut extra = extra;
    extra["filters"] = json!(["f"]);
    let from_reflector = extra.get("nodeSelector").is_some();
    let peering = if from_reflector {
        peer(
            "from-rr",
            json!({"nodeSelector": "has(role)", "peerSelector": "!has(role)", "filters": ["f"]}),
        )
    } else {
        to_reflectors(extra)
    };
    let manifests = [no_mesh(), reflector(), peering, filter("f", rules)];
    assert_eq!(from_a(&four(Profile::V3_32, CROSS(), &manifests)), expected);
    let vxlan = four(Profile::V3_32, json!({"vxlanMode": "Always"}), &manifests);
    assert!(from_a(&vxlan).iter().all(|route| route.contains("vxlan.calico")));
}

#[rstest]
#[case(json!({"ipipMode": "Always"}), true)]
#[case(json!({}), true)]
#[case(json!({"vxlanMode": "Always"}), false)]
fn what_is_not_exported_is_not_told_to_a_reflector_either(#[case] spec: Value, #[case] breaks: bool) {
    let mut spec = spec;
    spec["disableBGPExport"] = json!(true);
    let found = from_a(&four(
        Profile::V3_32,
        spec,
        &[no_mesh(), reflector(), to_reflectors(json!({}))],
    ));
    assert!(found.iter().all(|route| route.is_empty() == breaks), "{found:?}");
}

#[test]
fn a_borrowed_address_is_announced_by_its_borrower_but_not_by_the_reflector_that_owns_its_block() {
    let manifests = [no_mesh(), reflector(), to_reflectors(json!({}))];
    let mut all = vec![pool("p", json!({"cidr": "10.244.0.0/16"}))];
    all.extend(manifests);
    all.extend(
        NODES
            .iter()
            .filter(|(name, ..)| *name != "rr")
            .map(|(name, address, _)| node(name, address)),
    );
    let pods = [
        "x rr 10.244.0.1",
        "y a 10.244.0.65",
        "z b 10.244.0.66",
        "w b 10.244.0.2",
        "v b 10.244.0.129",
    ];
    let cluster = cluster(&all, &pods).unwrap();
    assert_eq!(way(&cluster, "a", "10.244.0.66/32"), "bare 10.0.1.6");
    assert_eq!(way(&cluster, "c", "10.244.0.66/32"), "bare 10.0.2.1");
    assert_eq!(way(&cluster, "rr", "10.244.0.2/32"), "bare 10.0.1.6");
    assert_eq!(way(&cluster, "a", "10.244.0.2/32"), "");
}

/// Who programs the route to a block and the blackhole of a block of this node's.
fn owners(cluster: &ClusterState) -> [Option<Owner>; 2] {
    let tables = tables(cluster, "a", "10.0.1.5/24");
    [BLOCKS[3], BLOCKS[1]].map(|block| tables.route_to(block.parse().unwrap()).map(|route| route.owner))
}

const FELIX: Option<Owner> = Some(Owner::Felix);
const BIRD: Option<Owner> = Some(Owner::Bird);

#[rstest]
#[case::the_default("EnabledIPIPOnly", "EnabledNoEncapOnly", FELIX, BIRD)]
#[case::all_of_felix("Enabled", "Disabled", FELIX, FELIX)]
#[case::all_of_bird("Disabled", "Enabled", BIRD, BIRD)]
#[case::crossed("EnabledNoEncapOnly", "EnabledIPIPOnly", BIRD, FELIX)]
#[case::two_writers_of_which_the_lower_metric_wins("Enabled", "Enabled", FELIX, FELIX)]
#[case::two_writers_of_ipip("EnabledIPIPOnly", "Enabled", FELIX, BIRD)]
#[case::none_for_ipip("Disabled", "EnabledNoEncapOnly", None, BIRD)]
#[case::none_at_all("Disabled", "Disabled", None, None)]
#[case::unknown_means_the_default("Felix", "", FELIX, BIRD)]
fn any_pair_of_programmers_is_accepted_and_leaves_what_it_leaves(
    #[case] felixs: &str,
    #[case] birds: &str,
    #[case] ipip: Option<Owner>,
    #[case] no_encap: Option<Owner>,
) {
    let settings = [
        felix("default", json!({"programClusterRoutes": felixs})),
        configuration(json!({"programClusterRoutes": birds})),
    ];
    let found = [json!({"ipipMode": "Always"}), json!({})].map(|spec| owners(&four(Profile::V3_33, spec, &settings)));
    assert_eq!(found, [[ipip, ipip], [no_encap, no_encap]]);
    let vxlan = four(Profile::V3_33, json!({"vxlanMode": "Always"}), &settings);
    assert_eq!(owners(&vxlan), [FELIX, FELIX]);
}

#[rstest]
#[case::not_learned(json!({}), &[no_mesh()], AbsentReason::NotLearned)]
#[case::not_exported(json!({"disableBGPExport": true}), &[], AbsentReason::NotExported)]
#[case::not_exported_to_a_reflector(json!({"disableBGPExport": true}), &[no_mesh(), reflector(), to_reflectors(json!({}))], AbsentReason::NotExported)]
#[case::nobody(json!({"ipipMode": "Always"}), &[configuration(json!({"programClusterRoutes": "Disabled"}))], AbsentReason::NobodyPrograms)]
fn a_route_that_bird_does_not_write_is_absent_for_a_reason(
    #[case] spec: Value,
    #[case] manifests: &[Value],
    #[case] reason: AbsentReason,
) {
    let tables = tables(&four(Profile::V3_32, spec, manifests), "a", "10.0.1.5/24");
    let absent: Vec<_> = tables.absent().map(|absent| (&*absent.node, absent.reason)).collect();
    assert_eq!(absent, [("rr", reason), ("b", reason), ("c", reason)]);
}

#[test]
fn a_next_hop_that_nothing_leads_to_leaves_no_route() {
    let cluster = four(Profile::V3_32, CROSS(), &[no_mesh(), reflector(), to_reflectors(json!({}))]);
    let mut machine = machine("a", "10.0.1.5/24");
    machine.gateways.v4 = None;
    let tables = node_tables(&cluster, &machine);
    let absent: Vec<_> = tables.absent().map(|absent| (&*absent.node, absent.reason)).collect();
    assert_eq!(absent, [("c", AbsentReason::NextHopUnreachable)]);
}

#[test]
fn ipv6_has_sessions_and_routes_of_its_own_without_a_tunnel() {
    let six = |name: &str, extra: Value| {
        let mut bgp = json!({"ipv6Address": format!("fd00::{name}/64")});
        bgp.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        node_spec(name, json!({"bgp": bgp}))
    };
    let reflecting = |id: Value| {
        let mut second = six("b", id);
        second["metadata"]["labels"] = json!({"role": "rr"});
        let nodes = [six("a", json!({})), second, six("c", json!({}))];
        let pods = ["x a fd10::1", "y b fd10::41", "z c fd10::81"];
        let manifests = [
            &[pool("p", json!({"cidr": "fd10::/112"})), no_mesh(), to_reflectors(json!({}))][..],
            &nodes,
        ]
        .concat();
        let cluster = cluster(&manifests, &pods).unwrap();
        let mut machine = machine("a", "10.0.1.5/24");
        machine.nics[0].addresses = vec!["fd00::a/64".parse().unwrap()];
        let tables = node_tables(&cluster, &machine);
        ["fd10::40/122", "fd10::80/122"].map(|block| route(&tables, block))
    };
    let [to_b, to_c] = reflecting(json!({"routeReflectorClusterID": "1.0.0.1"}));
    assert_eq!(to_b, "fd10::40/122 via fd00::b dev eth0 proto bird metric 1024");
    assert_eq!(to_c, "fd10::80/122 via fd00::c dev eth0 proto bird metric 1024");
    assert_eq!(reflecting(json!({})), [to_b, String::new()]);
}
