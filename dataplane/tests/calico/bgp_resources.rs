//! The resources of BGP: what Calico refuses of them, and the settings that they hold.

use overlab_dataplane::calico::{ClusterRoutes, ClusterState, Profile};
use rstest::rstest;
use serde_json::{Value, json};

use crate::datastore::{cluster, node, node_spec, only, read};

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

pub(crate) fn configuration(spec: Value) -> Value {
    object("BGPConfiguration", "default", spec)
}

pub(crate) fn peer(name: &str, spec: Value) -> Value {
    object("BGPPeer", name, spec)
}

pub(crate) fn filter(name: &str, spec: Value) -> Value {
    object("BGPFilter", name, spec)
}

/// One rule of a filter's `exportV4`.
fn rule(rule: Value) -> Value {
    json!({"exportV4": [rule]})
}

#[rstest]
#[case::password("BGPConfiguration", json!({"nodeToNodeMeshEnabled": false, "nodeMeshPassword": {}}), "BGP-MESH", "spec.nodeMeshPassword")]
#[case::restart("BGPConfiguration", json!({"nodeToNodeMeshEnabled": false, "nodeMeshMaxRestartTime": "2m"}), "BGP-MESH", "spec.nodeMeshMaxRestartTime")]
#[case::bind("BGPConfiguration", json!({"bindMode": "nodeip"}), "K-VALUE", "spec.bindMode")]
#[case::as_number("BGPConfiguration", json!({"asNumber": "1.2.3"}), "K-VALUE", "spec.asNumber")]
#[case::unknown("BGPConfiguration", json!({"nodeToNodeMesh": true}), "K-UNKNOWN", "spec.nodeToNodeMesh")]
#[case::nodes("BGPPeer", json!({"node": "a", "nodeSelector": "all()", "peerSelector": "all()"}), "BGP-EXCLUSIVE", "spec.nodeSelector")]
#[case::peers("BGPPeer", json!({"peerIP": "10.0.0.1", "peerSelector": "all()"}), "BGP-EXCLUSIVE", "spec.peerSelector")]
#[case::as_of_nodes("BGPPeer", json!({"asNumber": 1, "peerSelector": "all()"}), "BGP-EXCLUSIVE", "spec.peerSelector")]
#[case::no_as("BGPPeer", json!({"peerIP": "10.0.0.1"}), "K-MISSING", "spec")]
#[case::workloads("BGPPeer", json!({"localWorkloadSelector": "all()"}), "BGP-WORKLOADS", "spec.localWorkloadSelector")]
#[case::gateway("BGPPeer", json!({"peerIP": "10.0.0.1", "asNumber": 1, "reachableBy": "fd00::1"}), "BGP-REACHABLE-BY", "spec.reachableBy")]
#[case::gateway_alone("BGPPeer", json!({"peerSelector": "all()", "reachableBy": "10.0.0.1"}), "BGP-REACHABLE-BY", "spec.reachableBy")]
#[case::next_hop("BGPPeer", json!({"peerSelector": "all()", "keepOriginalNextHop": true, "nextHopMode": "Self"}), "BGP-EXCLUSIVE", "spec.nextHopMode")]
#[case::mode("BGPPeer", json!({"peerSelector": "all()", "nextHopMode": "self"}), "K-VALUE", "spec.nextHopMode")]
#[case::source("BGPPeer", json!({"peerSelector": "all()", "sourceAddress": "NodeIP"}), "K-VALUE", "spec.sourceAddress")]
#[case::reverse("BGPPeer", json!({"peerSelector": "all()", "reversePeering": "Off"}), "K-VALUE", "spec.reversePeering")]
#[case::selector("BGPPeer", json!({"peerSelector": "rack =="}), "BGP-SELECTOR", "spec.peerSelector")]
#[case::address("BGPPeer", json!({"peerIP": "tor", "asNumber": 1}), "K-VALUE", "spec.peerIP")]
#[case::action("BGPFilter", rule(json!({})), "K-MISSING", "spec.exportV4[0]")]
#[case::cidr_alone("BGPFilter", rule(json!({"action": "Accept", "cidr": "10.0.0.0/8"})), "BGP-CIDR", "spec.exportV4[0].cidr")]
#[case::operator_alone("BGPFilter", rule(json!({"action": "Accept", "matchOperator": "In"})), "BGP-CIDR", "spec.exportV4[0].matchOperator")]
#[case::length_alone("BGPFilter", rule(json!({"action": "Accept", "prefixLength": {"min": 8}})), "BGP-CIDR", "spec.exportV4[0].prefixLength")]
#[case::family("BGPFilter", rule(json!({"action": "Accept", "cidr": "fd00::/8", "matchOperator": "In"})), "K-VALUE", "spec.exportV4[0].cidr")]
#[case::operation("BGPFilter", rule(json!({"action": "Reject", "operations": [{}]})), "BGP-OPERATIONS", "spec.exportV4[0].operations")]
#[case::interface("BGPFilter", rule(json!({"action": "Accept", "interface": "cali*"})), "K-NOT-MODELLED", "spec.exportV4[0].interface")]
#[case::communities("BGPFilter", rule(json!({"action": "Accept", "communities": {}})), "K-NOT-MODELLED", "spec.exportV4[0].communities")]
fn what_calico_rejects_of_bgp_is_refused_in_both_forms(
    #[case] kind: &str,
    #[case] spec: Value,
    #[case] code: &str,
    #[case] field: &str,
) {
    for api in ["projectcalico.org/v3", "crd.projectcalico.org/v1"] {
        let mut manifest = object(kind, "default", spec.clone());
        manifest["apiVersion"] = json!(api);
        let refusal = only(read(&[manifest]));
        let found = (refusal.code, refusal.field.path.to_string());
        assert_eq!(found, (code, field.to_owned()), "{refusal:#?}");
        assert!(
            refusal.help.is_some() || code == "K-VALUE" || code == "K-NOT-MODELLED",
            "{refusal:#?}"
        );
    }
}

#[rstest]
#[case("BGPConfiguration", json!({"nodeMeshPassword": {}, "bindMode": "NodeIP", "communities": [], "serviceClusterIPs": [{"cidr": "10.96.0.0/12"}]}))]
#[case("BGPPeer", json!({"nodeSelector": "rack == 'r1'", "peerIP": "10.0.0.1:1790", "asNumber": "64512", "sourceAddress": "None", "password": {}}))]
#[case("BGPPeer", json!({"node": "", "peerIP": "", "peerSelector": "all()", "keepOriginalNextHop": false, "nextHopMode": "Keep"}))]
#[case("BGPPeer", json!({"peerIP": "fd00::1", "asNumber": 1, "filters": ["f"], "numAllowedLocalASNumbers": 1, "ttlSecurity": 3}))]
#[case("BGPFilter", json!({"exportV4": [{"action": "Reject"}], "importV6": [{"action": "Accept", "cidr": "fd00::/8", "matchOperator": "In", "prefixLength": {"min": 64, "max": 128}}]}))]
fn what_calico_accepts_of_bgp_is_read(#[case] kind: &str, #[case] spec: Value) {
    assert_eq!(read(&[object(kind, "default", spec)]).map(|read| read.len()), Ok(1));
}

#[test]
fn the_mesh_is_a_setting_of_all_nodes_and_a_filter_must_be_there() {
    let own = object("BGPConfiguration", "node.a", json!({"nodeToNodeMeshEnabled": false}));
    let refusal = only(read(&[own]));
    assert_eq!(
        (refusal.code, refusal.field.path.to_string()),
        ("BGP-GLOBAL", "spec.nodeToNodeMeshEnabled".into())
    );
    let manifests = [
        peer("p", json!({"peerSelector": "all()", "filters": ["no-pods", "nopods"]})),
        filter("no-pods", rule(json!({"action": "Reject"}))),
    ];
    let refusal = only(cluster(&manifests, &[]));
    assert_eq!(
        (refusal.code, refusal.field.path.to_string()),
        ("K-UNKNOWN", "spec.filters[1]".into())
    );
    assert!(refusal.help.unwrap().contains("no-pods"));
}

#[test]
fn a_node_has_the_as_of_its_record_else_the_global_one() {
    let own = node_spec("b", json!({"bgp": {"ipv4Address": "10.0.0.2/24", "asNumber": 65001}}));
    let plain = cluster(&[node("a", "10.0.0.1/24")], &[]).unwrap();
    assert_eq!(plain.bgp_configuration("a").as_number, 64512);
    let set = [
        configuration(json!({"asNumber": "1.10", "listenPort": 1790})),
        node("a", "10.0.0.1/24"),
        own,
    ];
    let set = cluster(&set, &[]).unwrap();
    let numbers = ["a", "b"].map(|node| set.bgp_configuration(node).as_number);
    assert_eq!(numbers, [65546, 65001]);
    assert_eq!(set.bgp_configuration("a").listen_port, 1790);
    assert!(set.bgp_configuration("a").mesh);
}

#[rstest]
#[case(Profile::V3_22, None, (true, true))]
#[case(Profile::V3_32, None, (true, true))]
#[case(Profile::V3_32, Some("Disabled"), (false, false))]
#[case(Profile::V3_32, Some("EnabledIPIPOnly"), (true, true))]
#[case(Profile::V3_33, None, (false, true))]
#[case(Profile::V3_33, Some("Enabled"), (true, true))]
#[case(Profile::V3_33, Some("Disabled"), (false, false))]
#[case(Profile::V3_33, Some("EnabledIPIPOnly"), (true, false))]
#[case(Profile::V3_33, Some("EnabledNoEncapOnly"), (false, true))]
#[case(Profile::V3_33, Some("enabled"), (false, true))]
fn bird_programs_the_classes_that_its_configuration_names_in_words_that_its_version_knows(
    #[case] profile: Profile,
    #[case] value: Option<&str>,
    #[case] (ipip, no_encap): (bool, bool),
) {
    let manifests: Vec<Value> = value
        .map(|value| configuration(json!({"programClusterRoutes": value})))
        .into_iter()
        .collect();
    let cluster = ClusterState::build(profile, read(&manifests).unwrap(), Vec::new()).unwrap();
    assert_eq!(cluster.bird_routes("a"), ClusterRoutes { ipip, no_encap });
}

#[rstest]
#[case(Profile::V3_22, "programClusterRoutes", json!("Enabled"))]
#[case(Profile::V3_22, "ipv4NormalRoutePriority", json!(1000))]
fn a_version_refuses_what_it_does_not_know_yet(#[case] profile: Profile, #[case] key: &str, #[case] value: Value) {
    let manifests = [configuration(json!({key: value}))];
    let refusal = only(ClusterState::build(profile, read(&manifests).unwrap(), Vec::new()));
    assert_eq!(
        (refusal.code, refusal.field.path.to_string()),
        ("K-VERSION", format!("spec.{key}"))
    );
}
