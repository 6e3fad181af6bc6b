//! Felix's settings: what may be written, which layer wins, and what the versions make of it.

use overlab_dataplane::calico::{ClusterRoutes, ClusterState, FelixConfiguration, Profile, RouteSource, Settings};
use overlab_dataplane::fields::{FieldPath, FieldRef, Origin, Refusal};
use overlab_dataplane::route::RouteProtocol;
use overlab_dataplane::{Mtu, PerFamily};
use rstest::rstest;
use serde_json::{Value, json};

use crate::datastore::{felix, node, only, pool, read};

fn build(profile: Profile, configurations: &[(&str, Value)]) -> Result<ClusterState, Vec<Refusal>> {
    let mut manifests = vec![node("a", "10.0.0.1/24"), node("b", "10.0.0.2/24")];
    manifests.extend(configurations.iter().map(|(name, spec)| felix(name, spec.clone())));
    ClusterState::build(profile, read(&manifests)?, Vec::new())
}

fn settings(spec: Value) -> Settings {
    build(Profile::V3_32, &[("default", spec)]).unwrap().settings("a")
}

#[rstest]
#[case::unknown(json!({"vxlanMtu": 1400}), "K-UNKNOWN", "spec.vxlanMtu", "`vxlanMTU`")]
#[case::tiny_mtu(json!({"ipipMTU": 67}), "K-VALUE", "spec.ipipMTU", "")]
#[case::port(json!({"vxlanPort": 0}), "K-VALUE", "spec.vxlanPort", "")]
#[case::vni(json!({"vxlanVNI": 16777216}), "K-VALUE", "spec.vxlanVNI", "")]
#[case::source(json!({"routeSource": "WorkloadIP"}), "K-VALUE", "spec.routeSource", "`WorkloadIPs`")]
#[case::nat_address(json!({"natOutgoingAddress": "fd00::1"}), "K-VALUE", "spec.natOutgoingAddress", "")]
#[case::ports(json!({"natPortRange": "9:5"}), "K-VALUE", "spec.natPortRange", "")]
#[case::no_port(json!({"natPortRange": "http"}), "K-VALUE", "spec.natPortRange", "")]
#[case::exclusions(json!({"natOutgoingExclusions": "ippoolsonly"}), "K-VALUE", "spec.natOutgoingExclusions", "`IPPoolsOnly`")]
#[case::external(json!({"externalNodesList": ["fd00::/64"]}), "K-VALUE", "spec.externalNodesList", "")]
#[case::route_address(json!({"deviceRouteSourceAddressIPv6": "10.0.0.1"}), "K-VALUE", "spec.deviceRouteSourceAddressIPv6", "")]
#[case::protocol(json!({"deviceRouteProtocol": 256}), "K-VALUE", "spec.deviceRouteProtocol", "")]
#[case::metric(json!({"ipv4NormalRoutePriority": 0}), "K-VALUE", "spec.ipv4NormalRoutePriority", "")]
#[case::spoofing(json!({"workloadSourceSpoofing": "any"}), "K-VALUE", "spec.workloadSourceSpoofing", "`Any`")]
#[case::loops(json!({"serviceLoopPrevention": "drop"}), "K-VALUE", "spec.serviceLoopPrevention", "`Drop`")]
#[case::features(json!({"featureDetectOverride": "ChecksumOffloadBroken=maybe"}), "K-VALUE", "spec.featureDetectOverride", "")]
#[case::wireguard(json!({"wireguardEnabled": true}), "K-NOT-MODELLED", "spec.wireguardEnabled", "remove")]
#[case::bpf(json!({"bpfEnabled": true}), "K-NOT-MODELLED", "spec.bpfEnabled", "remove")]
#[case::no_forwarding(json!({"ipForwarding": "Disabled"}), "K-NOT-MODELLED", "spec.ipForwarding", "remove")]
#[case::host_firewall(json!({"defaultEndpointToHostAction": "Return"}), "K-NOT-MODELLED", "spec.defaultEndpointToHostAction", "`Accept`")]
fn a_felix_configuration_that_is_wrong_or_would_be_guessed_at_is_refused(
    #[case] spec: Value,
    #[case] code: &str,
    #[case] field: &str,
    #[case] help: &str,
) {
    let refusal = only(read(&[felix("default", spec)]));
    assert_eq!(
        (refusal.code, refusal.field.path.to_string().as_str()),
        (code, field),
        "{refusal:#?}"
    );
    assert!(
        help.is_empty() || refusal.help.as_ref().is_some_and(|h| h.contains(help)),
        "{refusal:#?}"
    );
}

#[test]
fn harmless_felix_settings_are_tolerated() {
    let spec = json!({"logSeverityScreen": "Info", "reportingInterval": "0s", "bpfEnabled": false, "bpfLogLevel": "",
                      "prometheusMetricsEnabled": true, "usageReportingEnabled": false, "healthPort": 9099, "floatingIPs": "Disabled",
                      "featureDetectOverride": "ChecksumOffloadBroken=true,SNATFullyRandom=", "serviceLoopPrevention": "Disabled",
                      "removeExternalRoutes": false, "ipv4ElevatedRoutePriority": 100});
    assert_eq!(read(&[felix("default", spec)]).map(|read| read.len()), Ok(1));
}

#[test]
fn every_setting_reaches_the_node() {
    let found = settings(
        json!({"mtuIfacePattern": "^bond", "externalNodesList": ["10.9.0.0/16", "192.0.2.7"],
        "natOutgoingAddress": "192.0.2.1", "natPortRange": "32768:65535", "natOutgoingExclusions": "IPPoolsAndHostIPs",
        "iptablesNATOutgoingInterfaceFilter": "eth0", "routeSource": "workloadips", "deviceRouteSourceAddress": "10.0.0.1",
        "deviceRouteSourceAddressIPv6": "fd00::1", "deviceRouteProtocol": 99, "ipv4NormalRoutePriority": 7,
        "routeSyncDisabled": true, "workloadSourceSpoofing": "Any", "programClusterRoutes": "Enabled"}),
    );
    assert_eq!(found.mtu_iface_pattern.as_deref(), Some("^bond"));
    let external: Vec<_> = found.external_nodes.iter().map(ToString::to_string).collect();
    assert_eq!(external, ["10.9.0.0/16", "192.0.2.7/32"]);
    assert_eq!(found.nat_outgoing_address.v4, "192.0.2.1".parse().ok());
    assert_eq!((found.nat_ports, found.nat_exempts_hosts), (Some((32768, 65535)), true));
    assert_eq!(found.nat_interface.as_deref(), Some("eth0"));
    assert_eq!(found.route_source, RouteSource::WorkloadIps);
    let sources = PerFamily {
        v4: "10.0.0.1".parse().ok(),
        v6: "fd00::1".parse().ok(),
    };
    assert_eq!(found.route_source_address, sources);
    assert_eq!((found.route_protocol, found.normal_route_metric), (RouteProtocol(99), 7));
    assert!(found.route_sync_disabled && found.honour_spoofing);
    assert!(found.felix_routes.ipip && found.felix_routes.no_encap);
}

#[test]
fn an_empty_text_and_a_zero_take_back_what_a_weaker_layer_set() {
    let global = json!({"natOutgoingAddress": "192.0.2.1", "vxlanMTU": 1300, "iptablesNATOutgoingInterfaceFilter": "eth0"});
    let own = json!({"natOutgoingAddress": "", "vxlanMTU": 0, "iptablesNATOutgoingInterfaceFilter": ""});
    let cluster = build(Profile::V3_32, &[("default", global), ("node.a", own)]).unwrap();
    let (a, b) = (cluster.settings("a"), cluster.settings("b"));
    assert_eq!(
        (a.nat_outgoing_address.v4, a.vxlan_mtu.v4, a.nat_interface),
        (None, None, None)
    );
    assert_eq!(
        (b.nat_outgoing_address.v4, b.vxlan_mtu.v4),
        ("192.0.2.1".parse().ok(), Mtu::new(1300))
    );
}

#[rstest]
#[case::before_v3_33_felix_has_none(Profile::V3_32, None, false, false)]
#[case::all(Profile::V3_32, Some("Enabled"), true, true)]
#[case::none(Profile::V3_33, Some("Disabled"), false, false)]
#[case::from_v3_33_felix_has_ipip(Profile::V3_33, None, true, false)]
#[case::only_ipip(Profile::V3_33, Some("EnabledIPIPOnly"), true, false)]
#[case::only_no_encap(Profile::V3_33, Some("EnabledNoEncapOnly"), false, true)]
#[case::not_yet_a_value(Profile::V3_32, Some("EnabledNoEncapOnly"), false, false)]
#[case::no_value(Profile::V3_33, Some("enabled"), true, false)]
fn which_routes_felix_programs_depends_on_version_and_setting(
    #[case] profile: Profile,
    #[case] stated: Option<&str>,
    #[case] ipip: bool,
    #[case] no_encap: bool,
) {
    let spec = stated.map_or(json!({}), |text| json!({"programClusterRoutes": text}));
    let cluster = build(profile, &[("default", spec)]).unwrap();
    assert_eq!(cluster.settings("a").felix_routes, ClusterRoutes { ipip, no_encap });
}

#[rstest]
#[case(json!({"natOutgoingExclusions": "IPPoolsOnly"}), "spec.natOutgoingExclusions", "v3.31")]
#[case(json!({"programClusterRoutes": "Disabled"}), "spec.programClusterRoutes", "v3.31")]
#[case(json!({"ipv4NormalRoutePriority": 1024}), "spec.ipv4NormalRoutePriority", "v3.32")]
#[case(json!({"vxlanMTUV6": 0}), "spec.vxlanMTUV6", "v3.23")]
fn a_field_that_the_version_does_not_have_is_refused_with_the_version_that_has_it(
    #[case] spec: Value,
    #[case] field: &str,
    #[case] version: &str,
) {
    assert!(build(Profile::V3_32, &[("default", spec.clone())]).is_ok());
    let refusal = only(build(Profile::V3_22, &[("default", spec)]));
    assert_eq!((refusal.code, refusal.field.path.to_string().as_str()), ("K-VERSION", field));
    assert!(
        refusal
            .help
            .as_ref()
            .is_some_and(|h| h.contains(version) && h.contains("calico/v3.32")),
        "{refusal:#?}"
    );
}

fn environment(variables: &[(&str, &str)]) -> (FelixConfiguration, Vec<Refusal>) {
    let place = |name: &str| FieldRef {
        origin: Origin(7),
        path: FieldPath::root().key(name),
    };
    let mut refusals = Vec::new();
    let variables = variables.iter().map(|(name, text)| (*name, *text, place(name)));
    let felix = FelixConfiguration::from_environment(variables, &mut refusals);
    (felix, refusals)
}

#[test]
fn the_environment_sets_felix_by_the_names_of_its_parameters() {
    let (felix, refusals) = environment(&[
        ("FELIX_IPINIPENABLED", "true"),
        ("felix_vxlanmtu", "1400"),
        ("FELIX_IPINIPMTU", "none"),
        ("FELIX_EXTERNALNODESCIDRLIST", "10.9.0.0/16, 192.0.2.7"),
        ("FELIX_DEFAULTENDPOINTTOHOSTACTION", "ACCEPT"),
        ("FELIX_NATPORTRANGE", "100:200"),
        ("FELIX_LOGSEVERITYSCREEN", "info"),
        ("FELIX_ROUTESOURCE", ""),
        ("IP", "autodetect"),
    ]);
    assert_eq!(refusals, []);
    assert_eq!(
        (felix.ipip_enabled, felix.vxlan_mtu, felix.ipip_mtu),
        (Some(true), Some(Mtu::new(1400)), Some(None))
    );
    assert_eq!(felix.external_nodes.map(|list| list.len()), Some(2));
    assert_eq!((felix.nat_ports, felix.route_source), (Some((100, 200)), None));
}

#[rstest]
#[case("FELIX_VXLANMTU", "big", "K-VALUE")]
#[case("FELIX_IPINIPENABLED", "maybe", "K-VALUE")]
#[case("FELIX_BPFENABLED", "true", "K-NOT-MODELLED")]
fn a_variable_that_felix_cannot_use_is_refused_at_its_place(#[case] name: &str, #[case] text: &str, #[case] code: &str) {
    let (_, refusals) = environment(&[(name, text)]);
    let found: Vec<_> = refusals.iter().map(|r| (r.code, r.field.path.to_string())).collect();
    assert_eq!(found, [(code, name.to_owned())]);
}

#[test]
fn without_configuration_the_pools_turn_encapsulations_on() {
    let manifests = [
        node("a", "10.0.0.1/24"),
        pool("p", json!({"cidr": "10.1.0.0/16", "vxlanMode": "Always"})),
    ];
    let found = ClusterState::build(Profile::V3_32, read(&manifests).unwrap(), Vec::new())
        .unwrap()
        .settings("a");
    assert!(found.vxlan.v4 && !found.vxlan.v6 && !found.ipip);
    assert_eq!(
        (found.vxlan_port, found.vni.get(), found.route_protocol),
        (4789, 4096, RouteProtocol::BOOT)
    );
}
