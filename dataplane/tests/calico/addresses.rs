//! Who gets which address: workloads and tunnels, from which block, in both families.

use overlab_dataplane::calico::ClusterState;
use rstest::rstest;
use serde_json::{Value, json};

use crate::datastore::{cluster, node, pool};

/// The addresses of a workload, with blanks between them.
fn workload(cluster: &ClusterState, name: &str) -> String {
    let addresses = &cluster.endpoints()[name].addresses;
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// The addresses of a node's `tunl0`, `vxlan.calico` and `vxlan-v6.calico`; `-` for none.
fn tunnels(cluster: &ClusterState, name: &str) -> String {
    let node = &cluster.nodes()[name];
    let text = |address: Option<String>| address.unwrap_or_else(|| "-".to_owned());
    let ipip = text(node.ipip_tunnel.map(|a| a.to_string()));
    let [v4, v6] = [node.vxlan_tunnel.v4, node.vxlan_tunnel.v6].map(|a| text(a.map(|a| a.to_string())));
    format!("{ipip} {v4} {v6}")
}

fn dual_stack() -> Vec<Value> {
    vec![
        pool("four", json!({"cidr": "10.0.0.0/16"})),
        pool("six", json!({"cidr": "fd00:10::/64", "vxlanMode": "Always"})),
        node("a", "172.16.0.1/24"),
    ]
}

#[rstest]
#[case::none_stated("x a", "10.0.0.0 fd00:10::1")]
#[case::one_stated("x a 10.0.0.9", "10.0.0.9 fd00:10::1")]
#[case::other_stated("x a fd00:10::9", "10.0.0.0 fd00:10::9")]
#[case::both_stated_in_any_order("x a fd00:10::9 10.0.0.9", "10.0.0.9 fd00:10::9")]
#[case::pool_of_one_family("x a pool=four", "10.0.0.0")]
#[case::pool_of_the_other_family("x a 10.0.0.9 pool=six", "10.0.0.9 fd00:10::1")]
fn a_workload_has_one_address_of_each_family_that_has_a_pool(#[case] request: &str, #[case] addresses: &str) {
    assert_eq!(workload(&cluster(&dual_stack(), &[request]).unwrap(), "x"), addresses);
}

#[test]
fn a_node_without_ipv6_record_has_a_tunnel_address_of_an_ipv6_vxlan_pool() {
    assert_eq!(tunnels(&cluster(&dual_stack(), &[]).unwrap(), "a"), "- - fd00:10::");
}
