//! Tables from manifests alone.

use predicates::str::contains;
use rstest::rstest;
use serde_json::{Value, json};

use crate::{command, json, overlab};

const WORKED_EXAMPLE: &str = "simulator/tests/fixtures/manifests/worked-example.yaml";

fn table(kind: &str) -> Value {
    let plan = json(&["plan", WORKED_EXAMPLE, "--node", "a", "--json", "--table", kind]);
    assert_eq!(plan["schema"], "overlab.dev/plan/v1");
    plan["nodes"][0][kind].clone()
}

fn row(rows: &Value, destination: &str) -> Value {
    let mut rows = rows.as_array().unwrap().iter();
    rows.find(|row| row["destination"] == destination).unwrap().clone()
}

#[test]
fn the_text_reads_as_ip_route_ip_neigh_and_bridge_fdb_do() {
    overlab(&["plan", WORKED_EXAMPLE, "--node", "a"])
        .code(0)
        .stdout(contains("route   blackhole 10.244.0.0/26 proto 80"))
        .stdout(contains("route   10.244.0.64/26 via 10.0.1.6 dev eth0 proto 80 onlink"))
        .stdout(contains(
            "route   10.244.0.128/26 via 10.244.0.128 dev vxlan.calico onlink mtu 1450",
        ))
        .stdout(contains(
            "neigh   10.244.0.128 dev vxlan.calico lladdr 66:84:a5:16:84:1b PERMANENT",
        ))
        .stdout(contains(
            "fdb     66:84:a5:16:84:1b dev vxlan.calico dst 10.0.2.7 self permanent",
        ))
        .stdout(contains("allow   vxlan (udp 4789, vni 4096) from 10.0.1.6, 10.0.2.7"));
}

#[test]
fn a_tunnel_route_has_every_field_and_its_reasons() {
    let expected = json!({
        "destination": "10.244.0.128/26", "kind": "vxlan", "gateway": "10.244.0.128", "device": "vxlan.calico", "node": "c",
        "sameSubnet": false, "owner": "felix", "protocol": 3, "onlink": true, "metric": 0, "mtu": 1450,
        "decision": {
            "pool": "pool", "encapsulation": "vxlan", "mode": "CrossSubnet", "declaredAt": format!("{WORKED_EXAMPLE}:5:40"),
            "subnetTest": {
                "local": {"node": "a", "address": "10.0.1.5/24"}, "remote": {"node": "c", "address": "10.0.2.7"}, "nextHop": false,
                "same": false,
            },
        },
    });
    assert_eq!(row(&table("routes"), "10.244.0.128/26"), expected);
}

#[rstest]
#[case("10.244.0.0/26", "blackhole", "felix", false, Value::Null)]
#[case("10.244.0.64/26", "direct", "felix", true, json!("10.0.1.6"))]
#[case("10.0.1.0/24", "host", "kernel", false, Value::Null)]
#[case("0.0.0.0/0", "host", "kernel", false, json!("10.0.1.1"))]
fn every_kind_of_route_is_there(
    #[case] destination: &str,
    #[case] kind: &str,
    #[case] owner: &str,
    #[case] same_subnet: bool,
    #[case] gateway: Value,
) {
    let row = row(&table("routes"), destination);
    assert_eq!(
        (&row["kind"], &row["owner"], &row["sameSubnet"], &row["gateway"]),
        (&json!(kind), &json!(owner), &json!(same_subnet), &gateway)
    );
}

#[test]
fn tunnel_ends_allow_lists_and_mtus_are_tables_of_their_own() {
    let ends = table("vteps");
    let end = json!({
        "node": "c", "address": "10.244.0.128", "mac": "66:84:a5:16:84:1b", "nodeAddress": "10.0.2.7", "family": "ipv4",
        "device": "vxlan.calico",
    });
    assert_eq!(ends[1], end);
    assert_eq!(
        table("allow"),
        json!({"ipip": null, "vxlan": ["10.0.1.6", "10.0.2.7"], "vxlanV6": null})
    );
    let mtu = table("mtu");
    let figures = ["host", "ipip", "vxlan", "vxlanV6", "workload"].map(|key| mtu[key].as_u64().unwrap());
    assert_eq!(figures, [1500, 1480, 1450, 1430, 1450]);
    assert_eq!(mtu["devices"][1], json!({"name": "vxlan.calico", "mtu": 1450}));
}

#[test]
fn the_cards_mtu_is_what_is_said() {
    overlab(&["plan", WORKED_EXAMPLE, "--node", "a", "--mtu", "9001", "--table", "mtu"])
        .code(0)
        .stdout(contains("device  vxlan.calico mtu 8951"));
    overlab(&["plan", WORKED_EXAMPLE, "--mtu", "60"])
        .code(2)
        .stderr(contains("68 to 65535"));
}

#[test]
fn pools_have_calicos_keys_and_their_place() {
    let plan = json(&["plan", WORKED_EXAMPLE, "--json", "--table", "pools"]);
    let pool = json!({
        "name": "pool", "cidr": "10.244.0.0/16", "ipipMode": "Never", "vxlanMode": "CrossSubnet", "natOutgoing": true,
        "disabled": false, "disableBGPExport": false, "blockSize": 26, "nodeSelector": "all()", "namespaceSelector": null,
        "allowedUses": ["Workload", "Tunnel"], "assignmentMode": "Automatic", "declaredAt": format!("{WORKED_EXAMPLE}:2:1"),
    });
    assert_eq!(plan["pools"], json!([pool]));
}

#[test]
fn files_folders_and_standard_input_are_one_stream() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(crate::root().join(WORKED_EXAMPLE)).unwrap();
    let (pool, rest) = text.split_once("---\n").unwrap();
    std::fs::write(
        folder.path().join("a.json"),
        r#"{"apiVersion": "v1", "kind": "List", "items": []}"#,
    )
    .unwrap();
    std::fs::write(folder.path().join("pool.yaml"), pool).unwrap();
    let split = command(&["plan", folder.path().to_str().unwrap(), "-", "--json", "--table", "vteps"])
        .write_stdin(rest)
        .assert()
        .code(0);
    let split: Value = serde_json::from_slice(&split.get_output().stdout).unwrap();
    let whole = json(&["plan", WORKED_EXAMPLE, "--json", "--table", "vteps"]);
    assert_eq!(split, whole);
}

#[test]
fn a_node_recorded_alone_in_its_prefix_keeps_a_way_out() {
    let node = |name: &str, ip: &str| {
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nstatus: {{addresses: [{{type: InternalIP, address: {ip}}}]}}\n"
        )
    };
    let text = format!("{}{}", node("a", "10.0.1.5"), node("b", "10.0.1.6"));
    command(&["plan", "-", "--node", "a", "--table", "routes"])
        .write_stdin(text)
        .assert()
        .code(0)
        .stdout(contains("route   default via 169.254.1.1 dev eth0 onlink"))
        .stdout(contains("route   10.0.1.5 dev eth0 proto kernel scope link"));
}

#[test]
fn an_unknown_node_is_told_the_nearest() {
    overlab(&["plan", WORKED_EXAMPLE, "--node", "bb"])
        .code(2)
        .stderr(contains("did you mean `b`?"));
}

/// The pools that come of an Installation, of calico-node's environment, and of manifests.
#[rstest]
#[case::installation(
    "apiVersion: operator.tigera.io/v1\nkind: Installation\nmetadata: {name: default}\nspec: {calicoNetwork: {ipPools: \
    [{cidr: 10.5.0.0/16, encapsulation: VXLANCrossSubnet}]}}\n",
    "10.5.0.0/16",
    "Never",
    "CrossSubnet",
    true
)]
#[case::environment(
    "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: calico-node, namespace: kube-system}\nspec: {template: {spec: \
    {containers: [{name: calico-node, env: [{name: CALICO_IPV4POOL_CIDR, value: 10.6.1.0/16}, {name: CALICO_IPV4POOL_IPIP, value: \
    always}]}]}}}\n",
    "10.6.0.0/16",
    "Always",
    "Never",
    true
)]
#[case::manifest(
    "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: default-ipv4-ippool}\nspec: {cidr: 10.7.0.0/16}\n",
    "10.7.0.0/16",
    "Never",
    "Never",
    false
)]
fn pools_come_of_whatever_installs_calico(
    #[case] manifests: &str,
    #[case] cidr: &str,
    #[case] ipip: &str,
    #[case] vxlan: &str,
    #[case] nat: bool,
) {
    let planned = command(&["plan", "-", "--json", "--table", "pools"])
        .write_stdin(manifests)
        .assert()
        .code(0);
    let plan: Value = serde_json::from_slice(&planned.get_output().stdout).unwrap();
    let pool = &plan["pools"][0];
    let facts = ["name", "cidr", "ipipMode", "vxlanMode", "natOutgoing"].map(|key| pool[key].clone());
    assert_eq!(
        facts,
        [
            json!("default-ipv4-ippool"),
            json!(cidr),
            json!(ipip),
            json!(vxlan),
            json!(nat)
        ]
    );
    assert!(pool["declaredAt"].as_str().unwrap().starts_with("<stdin>:"), "{pool}");
}
