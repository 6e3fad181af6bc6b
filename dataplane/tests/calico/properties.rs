//! What holds for every cluster: what CrossSubnet means, and that the order of manifests means nothing.

use ipnet::IpNet;
use overlab_dataplane::calico::ClusterState;
use overlab_dataplane::route::{NodeTables, node_tables};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::datastore::{cluster, felix, machine, node, pool, printed};

/// Machines with recorded addresses 10.0.x.y/len, all different; the wires are as recorded.
fn machines() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::btree_map((0u8..3, 2u8..250), 22u8..=32, 2..6).prop_map(|nodes| {
        let text = |((x, y), len): ((u8, u8), u8)| format!("10.0.{x}.{y}/{len}");
        nodes.into_iter().map(text).collect()
    })
}

fn manifests_for(addresses: &[String], spec: &Value) -> Vec<Value> {
    let nodes = addresses
        .iter()
        .enumerate()
        .map(|(i, address)| node(&format!("n{i}"), address));
    std::iter::once(pool("p", spec.clone())).chain(nodes).collect()
}

fn cluster_of(addresses: &[String], spec: &Value) -> ClusterState {
    let pods: Vec<_> = (0..addresses.len()).map(|i| format!("w{i} n{i} 10.244.{i}.1")).collect();
    let pods: Vec<_> = pods.iter().map(String::as_str).collect();
    cluster(&manifests_for(addresses, spec), &pods).unwrap()
}

fn all_tables(cluster: &ClusterState, addresses: &[String]) -> Vec<NodeTables> {
    let hosts: Vec<_> = addresses
        .iter()
        .enumerate()
        .map(|(i, a)| machine(&format!("n{i}"), a))
        .collect();
    hosts.iter().map(|host| node_tables(cluster, host)).collect()
}

proptest! {
    #[test]
    fn cross_subnet_is_always_across_subnets_and_never_within_one(
        addresses in machines(),
        field in prop_oneof![Just("ipipMode"), Just("vxlanMode")],
    ) {
        let under = |mode: &str| {
            let cluster = cluster_of(&addresses, &json!({"cidr": "10.244.0.0/16", field: mode}));
            all_tables(&cluster, &addresses)
        };
        let (never, always, cross) = (under("Never"), under("Always"), under("CrossSubnet"));
        for (i, local) in addresses.iter().enumerate() {
            let subnet: IpNet = local.parse().unwrap();
            for (j, remote) in addresses.iter().enumerate().filter(|(j, _)| *j != i) {
                let remote: IpNet = remote.parse().unwrap();
                let pod = format!("10.244.{j}.1").parse().unwrap();
                let kind = |tables: &[NodeTables]| tables[i].lookup(pod).unwrap().1.kind;
                let like = if subnet.contains(&remote.addr()) { &never } else { &always };
                prop_assert_eq!(kind(&cross), kind(like), "{} to {}", local, remote);
            }
        }
    }

    #[test]
    fn the_order_of_the_resources_does_not_matter(
        (sorted, shuffled) in machines().prop_flat_map(|addresses| {
            let spec = json!({"cidr": "10.244.0.0/16", "vxlanMode": "CrossSubnet"});
            let mut manifests = manifests_for(&addresses, &spec);
            manifests.push(pool("q", json!({"cidr": "10.245.0.0/16", "ipipMode": "Always"})));
            manifests.push(felix("default", json!({"vxlanMTU": 1300})));
            (Just((addresses, manifests.clone())), Just(manifests).prop_shuffle())
        })
    ) {
        let (addresses, manifests) = sorted;
        let pods = ["one n0", "two n1", "three n0"];
        let shown = |manifests: &[Value]| {
            let tables = all_tables(&cluster(manifests, &pods).unwrap(), &addresses);
            tables.iter().map(|t| (printed(t), t.devices.clone(), t.vxlan.clone(), t.ipip.clone())).collect::<Vec<_>>()
        };
        prop_assert_eq!(shown(&manifests), shown(&shuffled));
    }
}
