//! A node with two network cards: which of them routes use, and what the recorded address decides.

use overlab_dataplane::calico::{ClusterState, Profile};
use overlab_dataplane::route::{HostNetwork, Nic, NodeTables, RpFilter, host_tables, node_tables};
use overlab_dataplane::{Mtu, PerFamily};
use rstest::rstest;
use serde_json::{Value, json};

use crate::datastore::{cluster, felix, node, pool, read, route, workloads};

/// A machine on 10.0.1.0/24 and, by its second card, on 10.0.2.0/24; the default gateways are the first one's.
fn host() -> HostNetwork {
    let nic = |name: &str, addresses: [&str; 2], mtu| Nic {
        name: name.into(),
        addresses: addresses.map(|address| address.parse().unwrap()).into(),
        mtu: Mtu::new(mtu).unwrap(),
    };
    HostNetwork {
        name: "a".into(),
        nics: vec![
            nic("eth0", ["10.0.1.5/24", "fd00:1::5/64"], 1500),
            nic("eth1", ["10.0.2.5/24", "fd00:2::5/64"], 1400),
        ],
        gateways: PerFamily {
            v4: "10.0.1.1".parse().ok(),
            v6: "fd00:1::1".parse().ok(),
        },
        rp_filter: RpFilter::Off,
        kernel: None,
    }
}

/// Node a, recorded with this address, and node b on the second card's subnet; a pod on each.
fn of(record: &str, spec: Value, more: &[Value]) -> NodeTables {
    let mut manifests = vec![pool("pool", spec), node("a", record), node("b", "10.0.2.6/24")];
    manifests.extend_from_slice(more);
    let cluster = cluster(&manifests, &["pod-a a 10.244.0.10", "pod-b b 10.244.0.70"]).unwrap();
    node_tables(&cluster, &host())
}

fn vxlan_parent(tables: &NodeTables) -> &str {
    let device = tables.devices.iter().find(|device| &*device.name == "vxlan.calico").unwrap();
    &tables.device(device.parent.unwrap()).unwrap().name
}

const B: &str = "10.244.0.64/26";

#[rstest]
#[case::neighbour_by_the_first("10.0.1.9", "eth0", "", "10.0.1.5", 1500)]
#[case::neighbour_by_the_second("10.0.2.9", "eth1", "", "10.0.2.5", 1400)]
#[case::anybody_else("10.0.3.9", "eth0", "10.0.1.1", "10.0.1.5", 1500)]
#[case::neighbour_by_the_first_v6("fd00:1::9", "eth0", "", "fd00:1::5", 1500)]
#[case::neighbour_by_the_second_v6("fd00:2::9", "eth1", "", "fd00:2::5", 1400)]
#[case::anybody_else_v6("fd00:3::9", "eth0", "fd00:1::1", "fd00:1::5", 1500)]
fn the_destination_decides_card_gateway_source_and_mtu(
    #[case] destination: &str,
    #[case] device: &str,
    #[case] gateway: &str,
    #[case] source: &str,
    #[case] mtu: u16,
) {
    let tables = host_tables(&host());
    let destination = destination.parse().unwrap();
    let (_, route) = tables.lookup(destination).unwrap();
    assert_eq!(&*tables.device(route.device.unwrap()).unwrap().name, device);
    assert_eq!(route.gateway, gateway.parse().ok());
    assert_eq!(tables.source_for(destination), source.parse().ok());
    assert_eq!(tables.route_mtu(route), Mtu::new(mtu));
}

#[test]
fn of_two_cards_on_one_subnet_the_first_has_the_route() {
    let mut host = host();
    host.nics[1].addresses = vec!["10.0.1.6/24".parse().unwrap()];
    let tables = host_tables(&host);
    let expected = "10.0.1.0/24 dev eth0 proto kernel scope link src 10.0.1.5";
    assert_eq!(route(&tables, "10.0.1.0/24"), expected);
}

// BIRD looks for the next hop among the node's own routes; Felix has its bare routes on the card with the recorded address.
#[test]
fn a_bare_route_is_on_the_connected_card_by_bird_and_on_the_parent_by_felix() {
    let birds = of("10.0.1.5/24", json!({"cidr": "10.244.0.0/16"}), &[]);
    assert_eq!(
        route(&birds, B),
        "10.244.0.64/26 via 10.0.2.6 dev eth1 proto bird metric 1024"
    );
    let all = felix("default", json!({"programClusterRoutes": "Enabled"}));
    let felixs = |record| of(record, json!({"cidr": "10.244.0.0/16"}), std::slice::from_ref(&all));
    let (first, second) = (felixs("10.0.1.5/24"), felixs("10.0.2.5/24"));
    assert_eq!(route(&first, B), "10.244.0.64/26 via 10.0.2.6 dev eth0 proto 80 onlink");
    assert_eq!(route(&second, B), "10.244.0.64/26 via 10.0.2.6 dev eth1 proto 80 onlink");
}

#[test]
fn the_same_subnet_test_asks_the_recorded_address_and_no_other_card() {
    let crossing = json!({"cidr": "10.244.0.0/16", "vxlanMode": "CrossSubnet"});
    let apart = of("10.0.1.5/24", crossing.clone(), &[]);
    assert_eq!(
        route(&apart, B),
        "10.244.0.64/26 via 10.244.0.64 dev vxlan.calico onlink mtu 1350"
    );
    let together = of("10.0.2.5/24", crossing, &[]);
    assert_eq!(route(&together, B), "10.244.0.64/26 via 10.0.2.6 dev eth1 proto 80 onlink");
}

#[test]
fn the_vxlan_device_is_linked_to_the_card_with_the_recorded_address() {
    let always = json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"});
    for (record, card) in [("10.0.1.5/24", "eth0"), ("10.0.2.5/24", "eth1")] {
        let tables = of(record, always.clone(), &[]);
        assert_eq!(vxlan_parent(&tables), card);
        let local = tables.vxlan.v4.as_ref().unwrap().local;
        assert_eq!(tables.source_for("10.0.2.6".parse().unwrap()), "10.0.2.5".parse().ok());
        assert_eq!(
            format!("{local}/24"),
            record,
            "the outer source is the recorded address, whatever card it leaves by"
        );
    }
}

#[test]
fn a_record_that_is_on_no_card_leaves_felix_without_a_parent() {
    let manifests = [
        pool("pool", json!({"cidr": "10.244.0.0/16", "vxlanMode": "Always"})),
        node("a", "10.0.9.5/24"),
    ];
    let cluster = ClusterState::build(Profile::V3_32, read(&manifests).unwrap(), workloads(&["pod-a a"])).unwrap();
    let tables = node_tables(&cluster, &host());
    assert!(tables.vxlan.v4.is_none());
    assert!(tables.devices.iter().all(|device| device.parent.is_none()));
}
