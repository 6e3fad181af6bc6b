//! What calico-node's environment and the ConfigMaps beside it bring: pools by rules E1 to E9, the backend, MTUs.

use overlab_dataplane::Family;
use overlab_dataplane::calico::{ClusterState, NetworkingBackend, Node, Profile, Recorded, Resource};
use overlab_dataplane::fields::{FieldRef, Origin};
use rstest::rstest;
use serde_json::{Value, json};

use crate::datastore::{calico_node, cluster, config_map, node, node_spec, only, pool, read};

const V4: &str = "CALICO_IPV4POOL_CIDR";
const V6: &str = "CALICO_IPV6POOL_CIDR";

/// Every pool: its name, range, block size and modes, then `nat` and `export` where they are on, and a selector of some.
fn pools(cluster: &ClusterState) -> Vec<String> {
    let pool = |p: &overlab_dataplane::calico::IpPool| {
        let nat = if p.nat_outgoing { " nat" } else { "" };
        let export = if p.disable_bgp_export { "" } else { " export" };
        let selector = Some(p.node_selector.to_string()).filter(|text| text != "all()");
        let selector = selector.map(|text| format!(" {text}")).unwrap_or_default();
        let (name, cidr, size) = (&p.name, p.cidr, p.block_size);
        format!("{name} {cidr} /{size} {} {}{nat}{export}{selector}", p.ipip, p.vxlan)
    };
    cluster.pools().values().map(pool).collect()
}

/// Environment variables of texts.
fn env(variables: &[(&'static str, &str)]) -> Value {
    calico_node(
        &variables
            .iter()
            .map(|(name, value)| (*name, json!(value)))
            .collect::<Vec<_>>(),
    )
}

#[rstest]
#[case::e4_e7_nothing_stated(&[], &["default-ipv4-ippool 192.168.0.0/16 /26 Never Never nat export"])]
#[case::e5_host_bits_are_masked(&[(V4, "10.0.0.1/16")], &["default-ipv4-ippool 10.0.0.0/16 /26 Never Never nat export"])]
#[case::e3_skipped(&[(V4, "none")], &[])]
#[case::e2_told_to_create_none(&[("NO_DEFAULT_POOLS", "True")], &[])]
#[case::any_case_of_a_mode(&[("CALICO_IPV4POOL_IPIP", "ALWAYS")], &["default-ipv4-ippool 192.168.0.0/16 /26 Always Never nat export"])]
#[case::off(&[("CALICO_IPV4POOL_IPIP", "Off")], &["default-ipv4-ippool 192.168.0.0/16 /26 Never Never nat export"])]
#[case::hyphen(&[("CALICO_IPV4POOL_VXLAN", "cross-subnet")], &["default-ipv4-ippool 192.168.0.0/16 /26 Never CrossSubnet nat export"])]
#[case::e7_switches(&[("CALICO_IPV4POOL_NAT_OUTGOING", "N"), ("CALICO_IPV4POOL_DISABLE_BGP_EXPORT", "on")], &["default-ipv4-ippool 192.168.0.0/16 /26 Never Never"])]
#[case::e6_e8_size_and_selector(&[("CALICO_IPV4POOL_BLOCK_SIZE", "28"), ("CALICO_IPV4POOL_NODE_SELECTOR", "!all()")], &["default-ipv4-ippool 192.168.0.0/16 /28 Never Never nat export !all()"])]
#[case::e9_both_families(&[(V4, "10.1.0.0/16"), (V6, "fd00:10::1/64"), ("CALICO_IPV6POOL_VXLAN", "CrossSubnet")],
    &["default-ipv4-ippool 10.1.0.0/16 /26 Never Never nat export", "default-ipv6-ippool fd00:10::/64 /122 Never CrossSubnet export"])]
#[case::e9_ipv6_switched_off(&[(V6, "fd00:10::/64"), ("FELIX_IPV6SUPPORT", "false")], &["default-ipv4-ippool 192.168.0.0/16 /26 Never Never nat export"])]
fn e3_to_e9_an_environment_becomes_the_pools_that_calico_would_create(
    #[case] variables: &[(&'static str, &str)],
    #[case] expected: &[&str],
) {
    assert_eq!(pools(&cluster(&[env(variables)], &[]).unwrap()), expected);
}

#[test]
fn e1_a_pool_of_the_family_keeps_even_invalid_variables_from_being_read() {
    let invalid = env(&[
        (V4, "ten"),
        ("CALICO_IPV4POOL_IPIP", "yes"),
        ("CALICO_IPV4POOL_BLOCK_SIZE", "huge"),
        (V6, "fd00:10::/64"),
    ]);
    let mine = pool("mine", json!({"cidr": "10.0.0.0/24"}));
    assert_eq!(
        pools(&cluster(&[mine, invalid], &[]).unwrap()),
        [
            "default-ipv6-ippool fd00:10::/64 /122 Never Never export",
            "mine 10.0.0.0/24 /26 Never Never export"
        ]
    );
}

#[rstest]
#[case::e2_none_and_one(&[("NO_DEFAULT_POOLS", "true"), (V6, "fd00::/64")], "E2", V6)]
#[case::e4_no_range(&[(V4, "10.0.0.0")], "E4", V4)]
#[case::e4_range_of_the_other_family(&[(V4, "fd00::/64")], "E4", V4)]
#[case::e6_no_number(&[("CALICO_IPV4POOL_BLOCK_SIZE", "large")], "E6", "CALICO_IPV4POOL_BLOCK_SIZE")]
#[case::e6_out_of_range(&[(V6, "fd00::/64"), ("CALICO_IPV6POOL_BLOCK_SIZE", "64")], "E6", "CALICO_IPV6POOL_BLOCK_SIZE")]
#[case::e8_selector(&[("CALICO_IPV4POOL_NODE_SELECTOR", "zone is a")], "E8", "CALICO_IPV4POOL_NODE_SELECTOR")]
#[case::spelling(&[("CALICO_IPV4POOL_IPIP", "true")], "E-MODE", "CALICO_IPV4POOL_IPIP")]
#[case::both_modes(&[("CALICO_IPV4POOL_IPIP", "Always"), ("CALICO_IPV4POOL_VXLAN", "Always")], "R8", "CALICO_IPV4POOL_VXLAN")]
#[case::too_small(&[(V4, "10.0.0.0/28")], "R12", V4)]
fn an_environment_that_calico_would_not_start_with_is_refused_with_its_variable(
    #[case] variables: &[(&'static str, &str)],
    #[case] code: &str,
    #[case] variable: &str,
) {
    let refusal = only(cluster(&[env(variables)], &[]));
    let place = variables.iter().position(|(name, _)| *name == variable).unwrap();
    assert_eq!(refusal.code, code, "{refusal:#?}");
    assert!(refusal.message.contains(variable), "{refusal:#?}");
    assert_eq!(
        refusal.field.path.to_string(),
        format!("spec.template.spec.containers[1].env[{place}].value")
    );
}

#[test]
fn e4_the_default_range_is_kubeadms_or_one_without_nodes() {
    let kubeadm = |subnets: &str| {
        let text =
            format!("apiVersion: kubeadm.k8s.io/v1beta3\nnetworking:\n  podSubnet: {subnets}\n  serviceSubnet: 10.96.0.0/12\n");
        config_map("kubeadm-config", json!({"ClusterConfiguration": text}))
    };
    let ranges = |manifests: &[Value]| {
        let cluster = cluster(manifests, &[]).unwrap();
        cluster.pools().values().map(|p| p.cidr.to_string()).collect::<Vec<_>>()
    };
    let six = node_spec("six", json!({"bgp": {"ipv6Address": "fd00::5/64"}}));
    let (near, next) = (node("near", "192.168.1.1/24"), node("next", "172.16.9.9/24"));
    assert_eq!(ranges(&[env(&[]), near.clone()]), ["172.16.0.0/16"]);
    assert_eq!(ranges(&[env(&[]), near, next]), ["172.17.0.0/16"]);
    assert_eq!(ranges(&[env(&[]), kubeadm("10.244.0.0/16")]), ["10.244.0.0/16"]);
    assert_eq!(
        ranges(&[env(&[]), kubeadm("\"10.244.0.0/16,fd00:10:244::/56\""), six.clone()]),
        ["10.244.0.0/16", "fd00:10:244::/56"]
    );
    assert_eq!(ranges(&[env(&[]), six]), ["192.168.0.0/16", "fd6f:7665:726c::/48"]);
}

#[test]
fn every_address_of_every_private_range_taken_brings_the_first_again() {
    let mut manifests = vec![env(&[]), node("n0", "192.168.0.9/24")];
    manifests.extend((16..32).map(|i| node(&format!("n{i}"), &format!("172.{i}.0.9/24"))));
    let cluster = cluster(&manifests, &[]).unwrap();
    assert_eq!(cluster.pools()["default-ipv4-ippool"].cidr.to_string(), "192.168.0.0/16");
}

#[test]
fn a_pools_mode_is_found_where_its_variable_is_set() {
    let cluster = cluster(&[env(&[(V4, "10.0.0.0/16"), ("CALICO_IPV4POOL_VXLAN", "Always")])], &[]).unwrap();
    let field = cluster.pools()["default-ipv4-ippool"].mode_field();
    assert_eq!(field.path.to_string(), "spec.template.spec.containers[1].env[1].value");
}

#[rstest]
#[case::unset(&[], NetworkingBackend::Bird)]
#[case::bird(&[("CALICO_NETWORKING_BACKEND", "bird")], NetworkingBackend::Bird)]
#[case::vxlan(&[("CALICO_NETWORKING_BACKEND", "vxlan")], NetworkingBackend::Vxlan)]
#[case::none(&[("CALICO_NETWORKING_BACKEND", "none")], NetworkingBackend::None)]
#[case::case_counts(&[("CALICO_NETWORKING_BACKEND", "VXLAN")], NetworkingBackend::Bird)]
#[case::legacy(&[("CALICO_NETWORKING", "false"), ("CALICO_NETWORKING_BACKEND", "vxlan")], NetworkingBackend::None)]
fn a_backend_is_named_exactly_or_is_bird(#[case] variables: &[(&'static str, &str)], #[case] backend: NetworkingBackend) {
    let cluster = cluster(&[env(variables)], &[]).unwrap();
    assert_eq!(cluster.networking_backend(), backend);
    assert_eq!(cluster.bgp(), backend == NetworkingBackend::Bird);
}

#[test]
fn a_variable_takes_its_value_from_the_config_map_that_it_refers_to() {
    let reference = json!({"configMapKeyRef": {"name": "calico-config", "key": "calico_backend"}});
    let daemon_set = calico_node(&[("CALICO_NETWORKING_BACKEND", reference)]);
    let config = config_map("calico-config", json!({"calico_backend": "vxlan"}));
    let built = cluster(&[daemon_set.clone(), config], &[]).unwrap();
    assert_eq!(built.networking_backend(), NetworkingBackend::Vxlan);
    let probes = built.readiness().unwrap();
    assert!(probes.bird && probes.felix && !probes.bird6);
    let refusal = only(cluster(&[daemon_set], &[]));
    assert_eq!(refusal.code, "K-UNKNOWN");
    assert!(refusal.message.contains("calico_backend"), "{refusal:#?}");
}

#[rstest]
#[case::automatic(json!({"veth_mtu": "0"}), None)]
#[case::through_the_plugin(json!({"veth_mtu": "1400", "cni_network_config": "{\"plugins\": [{\"type\": \"calico\", \"mtu\": __CNI_MTU__}]}"}), Some(1400))]
#[case::the_plugins_own(json!({"veth_mtu": "0", "cni_network_config": "{\"plugins\": [{\"type\": \"portmap\"}, {\"type\": \"calico\", \"mtu\": 1440}]}"}), Some(1440))]
fn m5_the_network_plugins_mtu_is_the_workloads_unless_it_is_zero(#[case] data: Value, #[case] mtu: Option<u16>) {
    let cluster = cluster(&[config_map("calico-config", data), node("a", "10.0.0.1/24")], &[]).unwrap();
    assert_eq!(cluster.settings("a").workload_mtu.map(|mtu| mtu.bytes()), mtu);
}

#[test]
fn objects_of_other_names_are_left_alone() {
    let mut other = env(&[(V4, "ten")]);
    other["metadata"]["name"] = json!("kube-proxy");
    let manifests = [other, config_map("web", json!({"calico_backend": "none"}))];
    assert_eq!(
        cluster(&manifests, &[]).unwrap().networking_backend(),
        NetworkingBackend::Bird
    );
}

#[test]
fn a_second_daemon_set_is_refused_with_the_first_named() {
    let refusal = only(cluster(&[env(&[]), env(&[])], &[]));
    assert_eq!((refusal.code, refusal.field.origin), ("K-DUPLICATE", Origin(1)));
}

#[test]
fn with_backend_none_no_address_is_recorded_but_the_one_of_kubernetes() {
    let derived = Node::derived("a".into(), "10.0.0.1/24".parse().unwrap(), FieldRef::default());
    let build = |backend: &str| {
        let mut resources = read(&[env(&[("CALICO_NETWORKING_BACKEND", backend)])]).unwrap();
        resources.push(Resource::Node(derived.clone()));
        ClusterState::build(Profile::default(), resources, Vec::new()).unwrap()
    };
    let seen = |cluster: &ClusterState| {
        let node = &cluster.nodes()["a"];
        let text = |record: Option<Recorded>| record.map(|record| record.net.to_string());
        (text(node.bgp_address(Family::V4)), text(node.resolver_address(Family::V4)))
    };
    let recorded = Some("10.0.0.1/24".to_owned());
    assert_eq!(seen(&build("vxlan")), (recorded.clone(), recorded));
    assert_eq!(seen(&build("none")), (None, Some("10.0.0.1/32".to_owned())));
}
