//! The decision table: for every mode, locality, family, profile and networking backend, the route that a packet takes, its
//! encapsulation and what that adds. It is found by enumeration: tables are computed and asked, nothing is written by hand.

use overlab_dataplane::calico::{ClusterState, Profile};
use overlab_dataplane::encap::Encap;
use overlab_dataplane::route::{HostNetwork, Nic, NodeTables, RouteKind, RpFilter, node_tables};
use overlab_dataplane::{Family, Mtu, PerFamily};
use serde_json::{Value, json};

use crate::datastore::{node_spec, pool, read, workloads};

const MODES: [(&str, &str); 5] = [
    ("Never", "Never"),
    ("Always", "Never"),
    ("CrossSubnet", "Never"),
    ("Never", "Always"),
    ("Never", "CrossSubnet"),
];

/// Two nodes in one subnet and one in another, each with both families.
const NODES: [(&str, &str, &str); 3] = [
    ("a", "10.0.1.5/24", "fd00:1::5/64"),
    ("b", "10.0.1.6/24", "fd00:1::6/64"),
    ("c", "10.0.2.7/24", "fd00:2::7/64"),
];

fn calico_node(backend: &str) -> Value {
    let env = json!([{"name": "CALICO_NETWORKING_BACKEND", "value": backend}, {"name": "NO_DEFAULT_POOLS", "value": "true"}]);
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "calico-node"},
           "spec": {"template": {"spec": {"containers": [{"name": "calico-node", "env": env}]}}}})
}

fn pods(family: Family) -> [(&'static str, &'static str); 3] {
    match family {
        Family::V4 => [("a", "10.244.0.10"), ("b", "10.244.0.70"), ("c", "10.244.0.140")],
        Family::V6 => [("a", "fd00:10:244::a"), ("b", "fd00:10:244::4a"), ("c", "fd00:10:244::8a")],
    }
}

/// Node a's tables, if the profile takes such a pool.
fn tables(profile: Profile, backend: &str, family: Family, (ipip, vxlan): (&str, &str)) -> Option<NodeTables> {
    let cidr = match family {
        Family::V4 => "10.244.0.0/16",
        Family::V6 => "fd00:10:244::/64",
    };
    let mut manifests = vec![
        calico_node(backend),
        pool("pool", json!({"cidr": cidr, "ipipMode": ipip, "vxlanMode": vxlan})),
    ];
    manifests.extend(NODES.map(|(name, v4, v6)| node_spec(name, json!({"bgp": {"ipv4Address": v4, "ipv6Address": v6}}))));
    let pods = pods(family).map(|(node, address)| format!("pod-{node} {node} {address}"));
    let pods: Vec<&str> = pods.iter().map(String::as_str).collect();
    let cluster = ClusterState::build(profile, read(&manifests).ok()?, workloads(&pods)).ok()?;
    let (name, v4, v6) = NODES[0];
    let host = HostNetwork {
        name: name.into(),
        nics: vec![Nic {
            name: "eth0".into(),
            addresses: [v4, v6].map(|net| net.parse().unwrap()).into(),
            mtu: Mtu::new(1500).unwrap(),
        }],
        gateways: PerFamily {
            v4: "10.0.1.1".parse().ok(),
            v6: "fd00:1::1".parse().ok(),
        },
        rp_filter: RpFilter::Off,
        kernel: None,
    };
    Some(node_tables(&cluster, &host))
}

/// What a packet to an address meets: `ipip by bird, +20 B`.
fn decision(tables: &NodeTables, family: Family, address: &str) -> String {
    let (_, route) = tables
        .lookup(address.parse().unwrap())
        .expect("there is always a default route");
    let encapsulation = match route.kind {
        RouteKind::Ipip => Encap::Ipip,
        RouteKind::Vxlan => Encap::Vxlan,
        RouteKind::Local | RouteKind::Direct | RouteKind::Blackhole | RouteKind::Host => Encap::None,
    };
    let overhead = encapsulation.overhead(family);
    if route.kind == RouteKind::Host {
        return "none: left by default".to_owned();
    }
    format!("{} by {}, +{overhead} B", route.kind, route.owner)
}

fn table() -> String {
    let mut lines = vec![format!(
        "{:<12}  {:<5}  {:<4}  {:<17}  {:<18}  {:<22}  cross-subnet",
        "profile", "bgp", "ip", "mode", "same-node", "same-subnet"
    )];
    for profile in Profile::ALL {
        for backend in ["bird", "vxlan", "none"] {
            for family in Family::ALL {
                for (ipip, vxlan) in MODES {
                    let mode = match (ipip, vxlan) {
                        ("Never", "Never") => "no encapsulation".to_owned(),
                        ("Never", mode) => format!("vxlan {mode}"),
                        (mode, _) => format!("ipip {mode}"),
                    };
                    let cells = match tables(profile, backend, family, (ipip, vxlan)) {
                        Some(tables) => pods(family).map(|(_, address)| decision(&tables, family, address)),
                        None => ["refused".to_owned(), "refused".to_owned(), "refused".to_owned()],
                    };
                    let [node, subnet, across] = cells;
                    lines.push(format!(
                        "{profile:<12}  {backend:<5}  {family:<4}  {mode:<17}  {node:<18}  {subnet:<22}  {across}"
                    ));
                }
            }
        }
    }
    lines.join("\n")
}

#[test]
fn the_decision_table_is_as_it_was_accepted() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../golden/tables");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!("decisions", table()));
}

/// What the table must say whatever else it says.
#[test]
fn the_rules_that_the_table_rests_on_hold_in_it() {
    let table = table();
    let rows = || {
        table.lines().skip(1).map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect::<Vec<_>>()
        })
    };
    for row in rows() {
        let [_, _, family, mode, node, subnet, across] = row[..] else {
            panic!("{row:?}")
        };
        if node == "refused" {
            assert!(family == "ipv6" && mode != "no encapsulation", "{row:?}");
            continue;
        }
        assert!(node.starts_with("local"), "nothing is encapsulated within a node: {row:?}");
        assert!(
            !mode.contains("CrossSubnet") || !subnet.contains("ipip by") && !subnet.contains("vxlan by"),
            "{row:?}"
        );
        assert!(
            !mode.contains("no encapsulation") || across.ends_with("+0 B") || across.starts_with("none"),
            "{row:?}"
        );
        assert!(
            !mode.starts_with("vxlan") || across.starts_with("vxlan by felix"),
            "VXLAN needs no BGP: {row:?}"
        );
    }
    assert_eq!(rows().count(), 3 * 3 * 2 * 5);
}
