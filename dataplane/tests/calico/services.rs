//! Services and EndpointSlices: what is read, what is refused, and where connections lead.

use overlab_dataplane::calico::{ClusterState, Reading, Resource};
use overlab_dataplane::fields::{Origin, Refusal};
use overlab_dataplane::route::{Kernel, ServiceProtocol, Services, node_tables};
use rstest::rstest;
use serde_json::{Value, json};

use crate::datastore::{cluster, felix, machine, node, only, pool};

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

fn slice(name: &str, service: &str, body: Value) -> Value {
    let mut slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}}});
    slice.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    slice
}

fn built(manifests: &[Value]) -> Result<ClusterState, Vec<Refusal>> {
    cluster(manifests, &[])
}

/// Where connections to a port of the cluster IP lead.
fn endpoints(manifests: &[Value], address: &str, protocol: ServiceProtocol, port: u16) -> Vec<String> {
    let services = Services::of(&built(manifests).unwrap());
    let found = services.at(address.parse().unwrap(), protocol, port);
    found.map_or_else(Vec::new, |port| port.endpoints.iter().map(ToString::to_string).collect())
}

#[rstest]
#[case::headless(json!({"clusterIP": "None", "selector": {"app": "web"}}))]
#[case::a_name(json!({"type": "ExternalName", "externalName": "example.org", "clusterIP": ""}))]
#[case::none_given_yet(json!({"ports": [{"port": 80}]}))]
fn a_service_without_a_cluster_ip_does_nothing(#[case] spec: Value) {
    let readings = Resource::read(&service("web", spec), Origin(0)).unwrap();
    assert!(matches!(&readings[..], [Reading::Ignored { kind, .. }] if kind == "Service"));
}

#[rstest]
#[case::of_nobody(json!({"metadata": {"name": "x"}}))]
#[case::of_names(json!({"addressType": "FQDN"}))]
fn a_slice_that_serves_no_service_here_does_nothing(#[case] body: Value) {
    let readings = Resource::read(&slice("web-1", "web", body), Origin(0)).unwrap();
    assert!(matches!(&readings[..], [Reading::Ignored { .. }]));
}

#[rstest]
#[case::no_address(service("web", json!({"clusterIP": "10.96.0"})), "K-VALUE", "spec.clusterIP")]
#[case::another(service("web", json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.2"]})), "K-VALUE", "spec.clusterIPs[0]")]
#[case::of_one_family(service("web", json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "10.96.0.2"]})), "K-VALUE", "spec.clusterIPs[0]")]
#[case::port(service("web", json!({"clusterIP": "10.96.0.1", "ports": [{"port": 0}]})), "K-VALUE", "spec.ports[0].port")]
#[case::transport(service("web", json!({"clusterIP": "10.96.0.1", "ports": [{"port": 1, "protocol": "tcp"}]})), "K-VALUE", "spec.ports[0].protocol")]
#[case::twice(service("web", json!({"clusterIP": "10.96.0.1", "ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]})), "K-DUPLICATE", "spec.ports")]
#[case::kind(service("web", json!({"clusterIP": "10.96.0.1", "type": "clusterip"})), "K-VALUE", "spec.type")]
#[case::affinity(service("web", json!({"clusterIP": "10.96.0.1", "sessionAffinity": "Client"})), "K-VALUE", "spec.sessionAffinity")]
#[case::key(service("web", json!({"clusterIP": "10.96.0.1", "port": 80})), "K-UNKNOWN", "spec.port")]
#[case::endpoint(slice("web-1", "web", json!({"endpoints": [{"addresses": ["fd00::1"]}]})), "K-VALUE", "endpoints[0].addresses[0]")]
#[case::no_first_cluster_ip(service("web", json!({"clusterIPs": ["10.96.0.1"]})), "K-MISSING", "spec")]
#[case::of_many(service("web", json!({"clusterIP": "224.0.0.1"})), "K-VALUE", "spec.clusterIP")]
#[case::of_nobody(service("web", json!({"clusterIP": "0.0.0.0"})), "K-VALUE", "spec.clusterIP")]
#[case::of_the_sender(slice("web-1", "web", json!({"endpoints": [{"addresses": ["127.0.0.1"]}]})), "K-VALUE", "endpoints[0].addresses[0]")]
#[case::of_the_link(slice("web-1", "web", json!({"addressType": "IPv6", "endpoints": [{"addresses": ["fe80::1"]}]})), "K-VALUE", "endpoints[0].addresses[0]")]
#[case::names_twice(service("web", json!({"clusterIP": "10.96.0.1", "ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]})), "K-DUPLICATE", "spec.ports")]
#[case::without_names(service("web", json!({"clusterIP": "10.96.0.1", "ports": [{"port": 1}, {"port": 2}]})), "K-DUPLICATE", "spec.ports")]
#[case::a_spec(slice("web-1", "web", json!({"spec": {"endpoints": [{"addresses": ["10.0.0.1"]}]}})), "K-UNKNOWN", "spec")]
#[case::condition(slice("web-1", "web", json!({"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": "yes"}}]})), "K-VALUE", "endpoints[0].conditions.ready")]
fn what_the_api_would_not_take_is_refused(#[case] manifest: Value, #[case] code: &str, #[case] field: &str) {
    let refusal = only(built(&[manifest]));
    assert_eq!(
        (refusal.code, refusal.field.path.to_string().as_str()),
        (code, field),
        "{refusal:#?}"
    );
}

#[test]
fn a_cluster_ip_is_one_services() {
    let spec = json!({"clusterIP": "10.96.0.1"});
    let refusal = only(built(&[service("a", spec.clone()), service("b", spec)]));
    assert_eq!((refusal.code, refusal.field.origin), ("K-DUPLICATE", Origin(1)));
}

#[test]
fn ports_find_their_endpoints_by_name_and_transport_in_every_slice_of_the_service() {
    let manifests = [
        service(
            "dns",
            json!({"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd96::a"], "ports": [
                {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": "dns"},
                {"name": "metrics", "port": 9153, "targetPort": 9153, "nodePort": 30153},
                {"name": "signals", "protocol": "SCTP", "port": 5},
            ]}),
        ),
        slice(
            "dns-1",
            "dns",
            json!({"endpoints": [{"addresses": ["10.1.0.5"]}, {"addresses": ["10.1.0.9"], "conditions": {"ready": true}}],
            "ports": [{"name": "dns", "protocol": "UDP", "port": 5353}, {"name": "metrics", "port": 9153}]}),
        ),
        slice(
            "dns-2",
            "dns",
            json!({"endpoints": [{"addresses": ["10.1.0.7"]}], "ports": [{"name": "dns", "protocol": "UDP", "port": 5354}]}),
        ),
        slice(
            "dns-3",
            "dns",
            json!({"addressType": "IPv6", "endpoints": [{"addresses": ["fd00::5"]}],
            "ports": [{"name": "dns", "protocol": "UDP", "port": 5353}]}),
        ),
        slice(
            "other-1",
            "other",
            json!({"endpoints": [{"addresses": ["10.1.0.8"]}], "ports": [{"name": "dns", "protocol": "UDP", "port": 5353}]}),
        ),
    ];
    let at = |address, protocol, port| endpoints(&manifests, address, protocol, port);
    assert_eq!(
        at("10.96.0.10", ServiceProtocol::Udp, 53),
        ["10.1.0.5:5353", "10.1.0.7:5354", "10.1.0.9:5353"]
    );
    assert_eq!(
        at("10.96.0.10", ServiceProtocol::Tcp, 9153),
        ["10.1.0.5:9153", "10.1.0.9:9153"]
    );
    assert_eq!(at("fd96::a", ServiceProtocol::Udp, 53), ["[fd00::5]:5353"]);
    let none: [&str; 0] = [];
    assert_eq!(at("10.96.0.10", ServiceProtocol::Tcp, 53), none);
}

#[test]
fn slices_of_older_clusters_are_read_too() {
    let endpoint = json!({"addresses": ["10.1.0.5"], "topology": {"kubernetes.io/hostname": "n1"}});
    let mut older = slice("web-1", "web", json!({"endpoints": [endpoint], "ports": [{"port": 8080}]}));
    older["apiVersion"] = json!("discovery.k8s.io/v1beta1");
    let manifests = [
        service("web", json!({"clusterIP": "10.96.0.1", "ports": [{"port": 80}]})),
        older,
    ];
    assert_eq!(
        endpoints(&manifests, "10.96.0.1", ServiceProtocol::Tcp, 80),
        ["10.1.0.5:8080"]
    );
}

#[test]
fn endpoints_that_end_serve_on_where_no_other_is_left() {
    let endpoint = |address: &str, ready, serving, terminating| {
        let conditions = json!({"ready": ready, "serving": serving, "terminating": terminating});
        json!({"addresses": [address], "conditions": conditions})
    };
    let with = |all: &[Value]| {
        let ports = json!([{"port": 8080}]);
        let manifests = [
            service("web", json!({"clusterIP": "10.96.0.1", "ports": [{"port": 80}]})),
            slice("web-1", "web", json!({"endpoints": all, "ports": ports})),
        ];
        endpoints(&manifests, "10.96.0.1", ServiceProtocol::Tcp, 80)
    };
    let (ending, broken) = (
        endpoint("10.1.0.1", false, true, true),
        endpoint("10.1.0.2", false, false, false),
    );
    let ready = endpoint("10.1.0.3", true, true, false);
    assert_eq!(with(&[ending.clone(), broken.clone(), ready]), ["10.1.0.3:8080"]);
    assert_eq!(with(&[ending, broken.clone()]), ["10.1.0.1:8080"]);
    assert_eq!(with(&[broken]), [""; 0]);
}

/// Felix turns checksum offload off where it knows the kernel to spoil translated packets, unless it is told that nothing is broken.
#[rstest]
#[case::recent(None, "ChecksumOffloadBroken=false", false)]
#[case::mended(Some(Kernel(5, 8)), "ChecksumOffloadBroken=false", false)]
#[case::ten_is_more_than_eight(Some(Kernel(5, 10)), "ChecksumOffloadBroken=false", false)]
#[case::old_and_seen(Some(Kernel(5, 7)), "", false)]
#[case::old_and_said(Some(Kernel(4, 18)), "ChecksumOffloadBroken=true", false)]
#[case::old_and_denied(Some(Kernel(5, 7)), "SNATFullyRandom=true, ChecksumOffloadBroken=false,", true)]
#[case::left_to_felix_again(Some(Kernel(5, 7)), "ChecksumOffloadBroken=", false)]
fn a_node_spoils_what_it_translates_only_on_an_old_kernel_whose_offload_is_on(
    #[case] kernel: Option<Kernel>,
    #[case] overrides: &str,
    #[case] spoils: bool,
) {
    let manifests = [
        pool("p", json!({"cidr": "10.1.0.0/16", "vxlanMode": "Always"})),
        node("a", "10.0.0.5/24"),
        felix("node.a", json!({ "featureDetectOverride": overrides })),
    ];
    let mut host = machine("a", "10.0.0.5/24");
    host.kernel = kernel;
    assert_eq!(
        node_tables(&built(&manifests).unwrap(), &host).spoils_translated_vxlan,
        spoils
    );
}
