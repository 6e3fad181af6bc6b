//! `overlab cost`, held against figures worked out by hand.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

const POOL: &str = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: pool}\n";

/// A scenario of two zones with an MTU, and a pool.
fn scenario(mtu: u16, pool: &str) -> String {
    format!(
        "apiVersion: overlab.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: zones}}\nspec:\n  underlay:\n    main: {{preset: aws, \
         mtu: {mtu}, subnets: {{az-a: {{nodes: 2}}, az-b: {{nodes: 1}}}}}}\n---\n{POOL}spec: {pool}\n"
    )
}

fn traffic(spec: &str) -> String {
    format!("apiVersion: overlab.dev/v1alpha1\nkind: Traffic\nmetadata: {{name: shop}}\nspec: {spec}\n")
}

const CROSS_SUBNET: &str = "{cidr: 192.168.0.0/16, ipipMode: CrossSubnet}";
const TERABYTE: &str = "{flows: [{from: pod-a1, to: pod-b1, volume: 1TB}]}";

/// A folder of files, and the command in it.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new(scenario: &str, traffic: &str) -> Desk {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("scenario.yaml"), scenario).unwrap();
        fs::write(folder.path().join("traffic.yaml"), traffic).unwrap();
        Desk { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Exit code, standard output and standard error.
    fn cost(&self, more: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overlab"));
        command.current_dir(self.folder.path());
        command
            .args(["cost", "scenario.yaml", "--traffic", "traffic.yaml"])
            .args(more);
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// The row of a mode in JSON.
    fn row(&self, encapsulation: &str, mode: &str, more: &[&str]) -> Value {
        let (code, out, err) = self.cost(&[&["--json"], more].concat());
        assert_eq!(code, 0, "{err}");
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(json["schema"], "overlab.dev/cost/v1");
        let mut rows = json["modes"].as_array().unwrap().iter();
        let row = rows.find(|row| row["encapsulation"] == encapsulation && row["mode"] == mode);
        row.unwrap_or_else(|| panic!("{encapsulation} {mode} in {out}")).clone()
    }
}

/// 1 TB of TCP payload between two zones, in full segments: 10^12 B over 1460 B is 684931506.8 packets, and so on; each header of
/// a tunnel costs 0.02 USD for 10^9 B, one half on each side.
#[rstest]
#[case::bare(1500, "none", "Never", 684_931_507, 0, 0)]
#[case::ipip(1500, "ipip", "Always", 694_444_445, 13_888_888_900, 277_777_778)]
#[case::ipip_cross(1500, "ipip", "CrossSubnet", 694_444_445, 13_888_888_900, 277_777_778)]
#[case::vxlan(1500, "vxlan", "Always", 709_219_859, 35_460_992_950, 709_219_859)]
#[case::jumbo_ipip(9001, "ipip", "Always", 111_844_313, 2_236_886_260, 44_737_725)]
#[case::jumbo_vxlan(9001, "vxlan", "Always", 112_220_851, 5_611_042_550, 112_220_851)]
fn a_terabyte_between_zones_costs_so_much(
    #[case] mtu: u16,
    #[case] encapsulation: &str,
    #[case] mode: &str,
    #[case] packets: u64,
    #[case] tunnel_bytes: u64,
    #[case] nano: u64,
) {
    let desk = Desk::new(&scenario(mtu, CROSS_SUBNET), &traffic(TERABYTE));
    let row = desk.row(encapsulation, mode, &[]);
    assert_eq!(
        (&row["packets"], &row["tunnelBytes"]),
        (&packets.into(), &tunnel_bytes.into())
    );
    assert_eq!(row["nanoTunnelCost"], nano);
    let wire = 1_000_000_000_000 + 40 * packets + tunnel_bytes;
    assert_eq!(row["wireBytes"], wire);
    // Twenty billionths of a dollar for each 1000 B, rounded.
    assert_eq!(row["nanoCost"], (wire * 2 + 50) / 100);
    assert_eq!(row["present"], encapsulation == "ipip" && mode == "CrossSubnet");
}

/// 100 GB in datagrams of 200 B inside a zone are 500,000,000 packets; 7 GB spread over the four pairs between zones, in segments
/// of 500 B, are 14,000,000.
#[test]
fn the_text_shows_each_mode_and_distance_and_says_what_crosssubnet_saves() {
    let spec = "{flows: [{from: pod-a1, to: pod-a2, volume: 100GB, proto: udp, size: 228B}, {class: cross-subnet, volume: 7GB, \
                size: 540B}]}";
    let desk = Desk::new(&scenario(1500, CROSS_SUBNET), &traffic(spec));
    let (code, out, _) = desk.cost(&[]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(out, @"
    zones  shop in a month, prices as of 2026
      mode                          packets  tunnel             wire          headers            USD    for headers
        Never                     514000000   0.0 %       121.560 GB         0.000 GB          0.151          0.000
          same-zone               500000000   0.0 %       114.000 GB         0.000 GB          0.000          0.000
          cross-zone               14000000   0.0 %         7.560 GB         0.000 GB          0.151          0.000
      * ipip CrossSubnet          514000000   2.7 %       121.840 GB         0.280 GB          0.157          0.006
          same-zone               500000000   0.0 %       114.000 GB         0.000 GB          0.000          0.000
          cross-zone               14000000 100.0 %         7.840 GB         0.280 GB          0.157          0.006
        ipip Always               514000000 100.0 %       131.840 GB        10.280 GB          0.157          0.006
          same-zone               500000000 100.0 %       124.000 GB        10.000 GB          0.000          0.000
          cross-zone               14000000 100.0 %         7.840 GB         0.280 GB          0.157          0.006
        vxlan CrossSubnet         514000000   2.7 %       122.260 GB         0.700 GB          0.165          0.014
          same-zone               500000000   0.0 %       114.000 GB         0.000 GB          0.000          0.000
          cross-zone               14000000 100.0 %         8.260 GB         0.700 GB          0.165          0.014
        vxlan Always              514000000 100.0 %       147.260 GB        25.700 GB          0.165          0.014
          same-zone               500000000 100.0 %       139.000 GB        25.000 GB          0.000          0.000
          cross-zone               14000000 100.0 %         8.260 GB         0.700 GB          0.165          0.014
      note  `*` is how the pools are; acknowledgements are not counted, nor is it asked whether packets arrive
      note  prices of aws: duckbillgroup.com, AWS cross-AZ data transfer costs more than AWS says; awsnegotiations.com
      note  CrossSubnet saves no money here: what is billed is what crosses subnets, which it encapsulates too
    ");
}

#[test]
fn subnets_of_one_zone_are_one_zone() {
    let spec = "{zones: {az-a: use1-az1, az-b: use1-az1}, flows: [{from: pod-a1, to: pod-b1, volume: 1TB}]}";
    let desk = Desk::new(&scenario(1500, CROSS_SUBNET), &traffic(spec));
    let row = desk.row("vxlan", "Always", &[]);
    assert_eq!(
        (&row["nanoCost"], &row["encapsulatedPackets"]),
        (&0.into(), &709_219_859.into())
    );
    assert_eq!(row["distances"]["same-zone"]["packets"], 709_219_859);
}

/// One underlay in each of two regions: the sender alone is billed, 0.02 USD for 10^9 B.
#[test]
fn between_regions_the_sender_is_billed() {
    let wires = "east: {preset: aws, cidr: 10.1.0.0/16, subnets: {e: {cidr: 10.1.1.0/24}}}\n    \
                 west: {preset: aws, cidr: 10.2.0.0/16, subnets: {w: {cidr: 10.2.1.0/24}}}";
    let text = format!(
        "apiVersion: overlab.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: regions}}\nspec:\n  underlay:\n    {wires}\n  nodes:\n    \
         e1: {{subnet: east/e, ip: 10.1.1.11}}\n    w1: {{subnet: west/w, ip: 10.2.1.11}}\n  workloads:\n    a: {{node: e1, ip: \
         192.168.10.2}}\n    b: {{node: w1, ip: 192.168.20.2}}\n---\n{POOL}spec: {CROSS_SUBNET}\n"
    );
    let spec = "{regions: {east: us-east-1, west: eu-west-1}, flows: [{from: a, to: b, volume: 1000kB, size: 1040B}]}";
    let row = Desk::new(&text, &traffic(spec)).row("vxlan", "Always", &[]);
    // 1000 packets of 1040 B and 50 B of tunnel.
    assert_eq!(row["distances"]["cross-region"]["wireBytes"], 1_090_000);
    assert_eq!(row["nanoCost"], 1_090_000 * 20 / 1000);
}

#[test]
fn over_ipv6_there_is_no_ip_in_ip_and_vxlan_adds_70_bytes() {
    let text = scenario(1500, "{cidr: fd00:10::/48, vxlanMode: Always}");
    let text = text.replace("preset: aws,", "preset: onprem, cidr: 'fd00:1::/48',");
    let text = text.replace("{nodes: 2}", "{nodes: 2, cidr: 'fd00:1:0:1::/64'}");
    let text = text.replace("{nodes: 1}", "{nodes: 1, cidr: 'fd00:1:0:2::/64'}");
    let spec = "{flows: [{from: pod-a1, to: pod-b1, volume: 137kB}]}";
    let desk = Desk::new(&text, &traffic(spec));
    // 1370 B of payload behind 60 B of headers fit into 1430 B.
    let row = desk.row("vxlan", "Always", &[]);
    assert_eq!((&row["packets"], &row["tunnelBytes"]), (&100.into(), &7000.into()));
    assert!(row["nanoCost"].is_null(), "nobody bills a data centre's own wires by a list");
    let (_, out, _) = desk.cost(&[]);
    assert!(!out.contains("ipip"), "{out}");
    assert!(out.contains("no price is known of onprem for cross-zone"), "{out}");
}

#[test]
fn other_prices_can_be_given() {
    let desk = Desk::new(&scenario(1500, CROSS_SUBNET), &traffic(TERABYTE));
    let prices = "apiVersion: overlab.dev/v1alpha1\nkind: Prices\nmetadata: {name: ours}\nspec: {currency: EUR, asOf: '2026-11', clouds: \
                  {aws: {source: our contract, nanoPerGB: {cross-zone: {sender: 5000000, receiver: 0}}}}}\n";
    fs::write(desk.path("prices.yaml"), prices).unwrap();
    let row = desk.row("vxlan", "Always", &["--prices", "prices.yaml"]);
    assert_eq!(
        row["nanoTunnelCost"],
        35_460_992_950_u64 * 5 / 1000 + 1,
        "177304964.75 is rounded"
    );
    let (_, out, _) = desk.cost(&["--prices", "prices.yaml"]);
    assert!(out.contains("EUR") && out.contains("prices of aws: our contract"), "{out}");
}

/// The blocks of YAML on the page of costs: the traffic, then the prices.
fn examples() -> Vec<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cost.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1);
    blocks.map(|block| block.split_once("```").unwrap().0.to_owned()).collect()
}

/// 35.461 GB of headers at 0.005 EUR on both sides.
#[test]
fn the_page_s_prices_are_taken() {
    let desk = Desk::new(&scenario(1500, CROSS_SUBNET), &traffic(TERABYTE));
    fs::write(desk.path("prices.yaml"), &examples()[1]).unwrap();
    let row = desk.row("vxlan", "Always", &["--prices", "prices.yaml"]);
    assert_eq!(row["nanoTunnelCost"], 354_609_930);
    let (_, out, _) = desk.cost(&["--prices", "prices.yaml"]);
    assert!(
        out.contains("EUR") && out.contains("prices of aws: our contract of November 2026"),
        "{out}"
    );
}

/// The zones of the page are one, and its regions two.
#[test]
fn the_page_s_traffic_is_taken() {
    let wires = "east: {preset: aws, cidr: 10.1.0.0/16, subnets: {az-a: {}, az-b: {}}}\n    west: {preset: aws, cidr: 10.2.0.0/16, subnets: \
                 {w: {}}}";
    let text = format!(
        "apiVersion: overlab.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: page}}\nspec:\n  underlay:\n    {wires}\n  nodes: {{n1: \
         {{subnet: az-a}}, n2: {{subnet: az-b}}, n3: {{subnet: w}}}}\n  workloads: {{web-a1: {{node: n1}}, web-b1: {{node: n2}}, web-w1: \
         {{node: n3}}}}\n---\n{POOL}spec: {CROSS_SUBNET}\n"
    );
    let row = Desk::new(&text, &examples()[0]).row("ipip", "CrossSubnet", &[]);
    assert_eq!(row["distances"]["same-zone"]["nanoCost"], 0);
    assert!(
        row["distances"]["cross-region"]["nanoCost"]
            .as_u64()
            .is_some_and(|cost| cost > 0)
    );
}

/// The operator's own spelling of a pool's mode is changed as an IPPool's is.
#[test]
fn an_installation_s_pools_are_compared_too() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/guide/installation-vxlan-cross-subnet.yaml");
    let spec = "{flows: [{class: same-subnet, volume: 1GB}, {class: cross-subnet, volume: 1GB}]}";
    let desk = Desk::new(&fs::read_to_string(root).unwrap(), &traffic(spec));
    let shares = [
        ("none", "Never", false, false),
        ("ipip", "CrossSubnet", false, true),
        ("ipip", "Always", true, true),
        ("vxlan", "CrossSubnet", false, true),
        ("vxlan", "Always", true, true),
    ];
    for (encapsulation, mode, near, far) in shares {
        let row = desk.row(encapsulation, mode, &[]);
        let in_tunnels = |distance: &str| {
            let sum = &row["distances"][distance];
            (sum["encapsulatedPackets"] == sum["packets"], sum["encapsulatedPackets"] == 0)
        };
        assert_eq!(in_tunnels("same-zone"), (near, !near), "{encapsulation} {mode}");
        assert_eq!(in_tunnels("cross-zone"), (far, !far), "{encapsulation} {mode}");
        assert_eq!(row["present"], (encapsulation, mode) == ("vxlan", "CrossSubnet"));
    }
}

/// The tables of each mode say what is encapsulated: what is turned off is in no tunnel.
#[test]
fn what_is_turned_off_is_not_paid_for() {
    let text = scenario(1500, CROSS_SUBNET)
        + "---\napiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {vxlanEnabled: false}\n";
    let row = Desk::new(&text, &traffic(TERABYTE)).row("vxlan", "Always", &[]);
    assert_eq!(row["tunnelBytes"], 0);
    assert_eq!(
        row["unroutedPackets"].as_u64().is_some_and(|packets| packets > 0),
        row["wireBytes"] == 0
    );
}

#[rstest]
#[case::unknown_name("{flows: [{from: pod-a9, to: pod-b1, volume: 1TB}]}", "E-ENDPOINT", "did you mean `pod-a")]
#[case::no_volume("{flows: [{from: pod-a1, to: pod-b1}]}", "K-MISSING", "add `volume:`")]
#[case::a_fraction_of_a_byte("{flows: [{from: pod-a1, to: pod-b1, volume: 0.5B}]}", "K-VALUE", "a size from 1B")]
#[case::too_small(
    "{flows: [{from: pod-a1, to: pod-b1, volume: 1TB, size: 20B}]}",
    "K-VALUE",
    "a size from 61B"
)]
#[case::nobody_lies_so("{flows: [{class: same-node, volume: 1TB}]}", "E-CLASS", "name another class")]
#[case::no_flows("{}", "K-MISSING", "add `flows`")]
#[case::unknown_subnet(
    "{zones: {az-z: one}, flows: [{from: pod-a1, to: pod-b1, volume: 1TB}]}",
    "E-NAME",
    "did you mean `az-"
)]
#[case::unknown_key(
    "{flows: [{from: pod-a1, to: pod-b1, volume: 1TB, rate: 5}]}",
    "K-UNKNOWN",
    "known keys are"
)]
#[case::another_family(
    "{flows: [{from: pod-a1, to: pod-b1, volume: 1TB, family: ipv6}]}",
    "E-FAMILY",
    "another `family`"
)]
fn a_traffic_matrix_that_means_nothing_is_refused(#[case] spec: &str, #[case] code: &str, #[case] help: &str) {
    let desk = Desk::new(&scenario(1500, CROSS_SUBNET), &traffic(spec));
    let (exit, out, err) = desk.cost(&[]);
    assert_eq!((exit, out.as_str()), (2, ""));
    assert!(err.contains(&format!("error[{code}]")), "{err}");
    assert!(err.contains(help), "{help}: {err}");
    assert!(err.contains("traffic.yaml"), "{err}");
}

#[rstest]
#[case::a_fraction(
    "{aws: {source: x, nanoPerGB: {cross-zone: {sender: 0.01, receiver: 0}}}}",
    "0.01 for 10^9 B is 10000000"
)]
#[case::no_such_cloud("{awz: {source: x}}", "did you mean `aws`?")]
#[case::no_such_distance(
    "{aws: {source: x, nanoPerGB: {crosszone: {sender: 1, receiver: 0}}}}",
    "did you mean `cross-zone`?"
)]
#[case::nobody_says_so("{aws: {nanoPerGB: {}}}", "add `source:`")]
fn prices_that_mean_nothing_are_refused(#[case] clouds: &str, #[case] help: &str) {
    let desk = Desk::new(&scenario(1500, CROSS_SUBNET), &traffic(TERABYTE));
    let prices = format!(
        "apiVersion: overlab.dev/v1alpha1\nkind: Prices\nmetadata: {{name: ours}}\nspec: {{currency: EUR, asOf: '2026', clouds: {clouds}}}\n"
    );
    fs::write(desk.path("prices.yaml"), prices).unwrap();
    let (exit, _, err) = desk.cost(&["--prices", "prices.yaml"]);
    assert_eq!(exit, 2);
    assert!(err.contains(help), "{err}");
}

#[test]
fn what_is_no_scenario_has_no_pool_or_is_another_document_is_refused() {
    let bare = format!("{POOL}spec: {CROSS_SUBNET}\n");
    let wires = "{main: {preset: aws, subnets: {az-a: {}}}}, nodes: {n1: {subnet: az-a}, n2: {subnet: az-a}}";
    let without_pool = format!(
        "apiVersion: overlab.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: bare}}\nspec: {{underlay: {wires}, workloads: {{}}}}\n"
    );
    let between_nodes = traffic("{flows: [{from: n1, to: n2, volume: 1TB}]}");
    for (text, matrix, code) in [
        (&bare, traffic(TERABYTE), "F-SCENARIO"),
        (&without_pool, between_nodes, "E-POOL"),
        (&scenario(1500, CROSS_SUBNET), bare.clone(), "K-VALUE"),
        (&scenario(1500, CROSS_SUBNET), String::new(), "F-KIND"),
    ] {
        let (exit, _, err) = Desk::new(text, &matrix).cost(&[]);
        assert_eq!(exit, 2);
        assert!(err.contains(&format!("error[{code}]")), "{code}: {err}");
    }
}
