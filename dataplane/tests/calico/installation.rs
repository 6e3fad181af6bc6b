//! What an operator's Installation brings, and refuses: rules A1 to A5.

use overlab_dataplane::calico::{ClusterState, NetworkingBackend, Profile};
use rstest::rstest;
use serde_json::{Value, json};

use crate::datastore::{cluster, installation, node, only, pool, read};

fn whole(spec: Value) -> Value {
    json!({"apiVersion": "operator.tigera.io/v1", "kind": "Installation", "metadata": {"name": "default"}, "spec": spec})
}

fn pools(manifests: &[Value]) -> Vec<String> {
    let cluster = cluster(manifests, &[]).unwrap();
    let text = |p: &overlab_dataplane::calico::IpPool| {
        let nat = if p.nat_outgoing { " nat" } else { "" };
        format!("{} {} /{} {} {}{nat}", p.name, p.cidr, p.block_size, p.ipip, p.vxlan)
    };
    cluster.pools().values().map(text).collect()
}

#[rstest]
#[case::left_to_the_operator(json!({}), &["default-ipv4-ippool 192.168.0.0/16 /26 Always Never nat"])]
#[case::none(json!({"calicoNetwork": {"ipPools": []}}), &[])]
#[case::defaults_of_each_family(json!({"calicoNetwork": {"ipPools": [{"cidr": "10.0.0.0/16"}, {"cidr": "fd00::/64"}]}}),
    &["default-ipv4-ippool 10.0.0.0/16 /26 Always Never nat", "default-ipv6-ippool fd00::/64 /122 Never Never"])]
#[case::second_of_a_family(json!({"calicoNetwork": {"ipPools": [{"cidr": "10.0.0.0/16"}, {"cidr": "10.9.0.0/16", "encapsulation": "None", "natOutgoing": "Disabled", "blockSize": 28}]}}),
    &["10-9-0-0-16 10.9.0.0/16 /28 Never Never", "default-ipv4-ippool 10.0.0.0/16 /26 Always Never nat"])]
#[case::overlay_of_ipv6(json!({"calicoNetwork": {"ipPools": [{"cidr": "fd00::/64", "encapsulation": "VXLANCrossSubnet", "natOutgoing": "Enabled"}]}}),
    &["default-ipv6-ippool fd00::/64 /122 Never CrossSubnet nat"])]
#[case::amazon(json!({"kubernetesProvider": "EKS"}), &["default-ipv4-ippool 172.16.0.0/16 /26 Never Always nat"])]
#[case::amazons_plugin(json!({"kubernetesProvider": "EKS", "cni": {"type": "AmazonVPC"}}), &[])]
#[case::pool_beside_another_plugin(json!({"cni": {"type": "AmazonVPC"}, "calicoNetwork": {"bgp": "Enabled", "ipPools": [{"cidr": "10.0.0.0/16"}]}}),
    &["default-ipv4-ippool 10.0.0.0/16 /26 Never Never nat"])]
fn a1_an_installation_becomes_the_pools_that_the_operator_would_create(#[case] spec: Value, #[case] expected: &[&str]) {
    assert_eq!(pools(&[whole(spec)]), expected);
}

#[test]
fn a1_more_than_25_pools_are_refused() {
    let pools: Vec<Value> = (0..26).map(|i| json!({"cidr": format!("10.{i}.0.0/16")})).collect();
    let refusal = only(cluster(&[installation(json!({"ipPools": pools}))], &[]));
    assert_eq!(
        (refusal.code, refusal.field.path.to_string().as_str()),
        ("A1", "spec.calicoNetwork.ipPools[25]")
    );
}

#[test]
fn a1_an_installations_pool_keeps_the_place_of_its_encapsulation() {
    let network = json!({"ipPools": [{"cidr": "10.0.0.0/16", "encapsulation": "VXLAN", "disableNewAllocations": true}]});
    let cluster = cluster(&[installation(network)], &[]).unwrap();
    let pool = &cluster.pools()["default-ipv4-ippool"];
    assert!(pool.disabled);
    assert_eq!(
        pool.mode_field().path.to_string(),
        "spec.calicoNetwork.ipPools[0].encapsulation"
    );
    assert_eq!(
        pool.field("spec.disabled").path.to_string(),
        "spec.calicoNetwork.ipPools[0].disableNewAllocations"
    );
}

#[test]
fn a_pool_that_is_there_already_stands_for_the_installations() {
    let mine = |mode: &str| pool("mine", json!({"cidr": "10.0.0.0/16", "ipipMode": mode}));
    assert_eq!(
        pools(&[installation(json!({})), mine("Never")]),
        ["mine 10.0.0.0/16 /26 Never Never"]
    );
    let told = installation(json!({"ipPools": [{"cidr": "10.0.0.0/16"}]}));
    assert_eq!(pools(&[told.clone(), mine("Always")]), ["mine 10.0.0.0/16 /26 Always Never"]);
    let refusal = only(cluster(&[told, mine("CrossSubnet")], &[]));
    assert_eq!(refusal.field.path.to_string(), "spec.ipipMode");
    assert!(refusal.related.is_some(), "{refusal:#?}");
}

#[rstest]
#[case::usual(json!({}), NetworkingBackend::Bird)]
#[case::disabled(json!({"calicoNetwork": {"bgp": "Disabled", "ipPools": []}}), NetworkingBackend::Vxlan)]
#[case::amazon(json!({"kubernetesProvider": "EKS"}), NetworkingBackend::Vxlan)]
#[case::another_plugin(json!({"cni": {"type": "AmazonVPC"}}), NetworkingBackend::None)]
#[case::host_local(json!({"cni": {"ipam": {"type": "HostLocal"}}, "calicoNetwork": {"bgp": "Disabled", "ipPools": []}}), NetworkingBackend::None)]
fn a2_bgp_decides_the_backend_and_the_probes(#[case] spec: Value, #[case] backend: NetworkingBackend) {
    let cluster = cluster(&[whole(spec)], &[]).unwrap();
    assert_eq!(cluster.networking_backend(), backend);
    let probes = cluster.readiness().unwrap();
    assert_eq!((probes.felix, probes.bird), (true, backend == NetworkingBackend::Bird));
}

const POOLS: &str = "spec.calicoNetwork.ipPools[0].encapsulation";

#[rstest]
#[case::ipip_without_bgp(json!({"calicoNetwork": {"bgp": "Disabled", "ipPools": [{"cidr": "10.0.0.0/16", "encapsulation": "IPIP"}]}}), "A3", POOLS)]
#[case::plain_without_bgp(json!({"calicoNetwork": {"bgp": "Disabled", "ipPools": [{"cidr": "10.0.0.0/16", "encapsulation": "None"}]}}), "A3", POOLS)]
#[case::vxlan_with_host_local(json!({"cni": {"ipam": {"type": "HostLocal"}}, "calicoNetwork": {"ipPools": [{"cidr": "10.0.0.0/16", "encapsulation": "VXLAN"}]}}), "A3", POOLS)]
#[case::overlay_of_another_plugin(json!({"cni": {"type": "AzureVNET"}, "calicoNetwork": {"ipPools": [{"cidr": "10.0.0.0/16", "encapsulation": "VXLAN"}]}}), "A3", POOLS)]
#[case::spelling(json!({"calicoNetwork": {"ipPools": [{"cidr": "10.0.0.0/16", "encapsulation": "VxlanCrossSubnet"}]}}), "A1", POOLS)]
#[case::host_bits(json!({"calicoNetwork": {"ipPools": [{"cidr": "10.0.0.1/16"}]}}), "R3", "spec.calicoNetwork.ipPools[0].cidr")]
#[case::ipip_v6(json!({"calicoNetwork": {"ipPools": [{"cidr": "fd00::/64", "encapsulation": "IPIP"}]}}), "R9", POOLS)]
#[case::routing_mode(json!({"calicoNetwork": {"clusterRoutingMode": "felix"}}), "K-VALUE", "spec.calicoNetwork.clusterRoutingMode")]
fn an_installation_that_the_operator_rejects_is_refused(#[case] spec: Value, #[case] code: &str, #[case] field: &str) {
    let refusal = only(cluster(&[whole(spec)], &[]));
    assert_eq!(
        (refusal.code, refusal.field.path.to_string().as_str()),
        (code, field),
        "{refusal:#?}"
    );
}

#[test]
fn a3_the_default_pool_needs_bgp_too() {
    assert_eq!(only(cluster(&[installation(json!({"bgp": "Disabled"}))], &[])).code, "A3");
}

#[rstest]
#[case::nobody_says(None, [false, false, true], [false, false, false])]
#[case::bird(Some("BIRD"), [false, false, false], [false, false, false])]
#[case::felix(Some("Felix"), [false, true, true], [false, true, true])]
#[case::felix_for_ipip(Some("FelixIPIPOnly"), [false, false, true], [false, false, false])]
fn a3_without_bgp_a_pool_is_accepted_where_felix_programs_its_routes(
    #[case] mode: Option<&str>,
    #[case] ipip: [bool; 3],
    #[case] none: [bool; 3],
) {
    for (encapsulation, accepted) in [("IPIP", ipip), ("None", none)] {
        let pool = json!({"cidr": "10.0.0.0/16", "encapsulation": encapsulation});
        let mut network = json!({"bgp": "Disabled", "ipPools": [pool]});
        network["clusterRoutingMode"] = json!(mode);
        let build = |profile| ClusterState::build(profile, read(&[installation(network.clone())]).unwrap(), Vec::new());
        assert_eq!(
            Profile::ALL.map(|profile| build(profile).is_ok()),
            accepted,
            "{encapsulation}"
        );
    }
}

#[rstest]
#[case::bird("BIRD", [(false, false), (false, false)], [(true, true), (true, true)])]
#[case::felix("Felix", [(true, true), (true, true)], [(false, false), (false, false)])]
#[case::felix_for_ipip("FelixIPIPOnly", [(false, false), (true, false)], [(true, true), (false, true)])]
fn a4_the_routing_mode_says_who_programs_which_routes(
    #[case] mode: &str,
    #[case] felix: [(bool, bool); 2],
    #[case] bird: [(bool, bool); 2],
) {
    for (i, profile) in [Profile::V3_32, Profile::V3_33].into_iter().enumerate() {
        let manifests = [installation(json!({"clusterRoutingMode": mode})), node("a", "10.0.0.1/24")];
        let cluster = ClusterState::build(profile, read(&manifests).unwrap(), Vec::new()).unwrap();
        let routes = cluster.settings("a").felix_routes;
        assert_eq!((routes.ipip, routes.no_encap), felix[i], "{profile}");
        let routes = cluster.bird_routes("a");
        assert_eq!((routes.ipip, routes.no_encap), bird[i], "{profile}");
    }
}

#[test]
fn a5_the_mtu_is_that_of_ipip_only_with_bgp() {
    for (bgp, ipip) in [("Enabled", Some(1400)), ("Disabled", None)] {
        let network = json!({"bgp": bgp, "mtu": 1400, "ipPools": [{"cidr": "10.0.0.0/16", "encapsulation": "VXLAN"}]});
        let cluster = cluster(&[installation(network), node("a", "10.1.0.1/24")], &[]).unwrap();
        let settings = cluster.settings("a");
        let bytes = |mtu: Option<overlab_dataplane::Mtu>| mtu.map(|mtu| mtu.bytes());
        assert_eq!(bytes(settings.ipip_mtu), ipip);
        assert_eq!(
            [
                bytes(settings.vxlan_mtu.v4),
                bytes(settings.vxlan_mtu.v6),
                bytes(settings.workload_mtu)
            ],
            [Some(1400); 3]
        );
    }
}
