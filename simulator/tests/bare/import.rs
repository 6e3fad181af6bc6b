//! Dumps of a cluster as a scenario that runs.

use std::fs;
use std::path::Path;

use overlab_simulator::fabric::Preset;
use predicates::prelude::*;
use predicates::str::contains;
use rstest::rstest;
use serde_json::{Value, json};

use crate::{command, json as report, overlab, root};

const DUMP: &str = "simulator/tests/fixtures/dump";

fn imported(arguments: &[&str]) -> String {
    let imported = overlab(&[&["import", DUMP], arguments].concat()).code(0);
    String::from_utf8(imported.get_output().stdout.clone()).unwrap()
}

#[test]
fn a_dump_becomes_a_scenario_that_runs_with_the_predicted_matrix() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cluster.yaml");
    let path = file.to_str().unwrap();
    overlab(&["import", DUMP, "-o", path]).code(0).stdout("");
    let run = report(&["run", path, "--report", "json"]);
    let claims: Vec<_> = run["scenarios"][0]["expectations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            [&one["label"], &one["claim"], &one["status"], &one["actual"]]
                .map(|text| text.as_str().unwrap())
                .join(" ")
        })
        .collect();
    let flow = |class: &str, encap: &str| {
        let one_way = |way: &str| {
            let met = [
                "delivered pass 3 of 3 were delivered".to_owned(),
                format!("encap pass 3 of 3 wore {encap}"),
            ];
            met.map(|met| format!("{class}-{way} {met}"))
        };
        let full = [
            format!("{class}-full delivered pass 3 of 3 were delivered"),
            format!("{class}-full encap pass 6 of 6 wore {encap}"),
            format!("{class}-full fragments pass 6 of 6: none"),
        ];
        [&one_way("there")[..], &one_way("back"), &full].concat()
    };
    let matrix = [
        "matrix cross-subnet delivered pass 48 of 48 were delivered",
        "matrix cross-subnet encap pass 96 of 96 wore ipip",
        "matrix same-subnet delivered pass 12 of 12 were delivered",
        "matrix same-subnet encap pass 24 of 24 wore none",
    ];
    let matrix = matrix.map(str::to_owned);
    let expected = [flow("cross-subnet", "ipip"), flow("same-subnet", "none"), matrix.to_vec()].concat();
    assert_eq!(claims, expected);
    let turned = &run["scenarios"][1];
    assert_eq!(
        (&turned["variant"], &turned["status"]),
        (&json!("back-first"), &json!("pass"))
    );
    overlab(&["check", path, "--deny-lints"]).code(0);
}

/// The page names every option, every provider that tells a preset and every mark of a guess, and shows lines of what is made of this dump.
#[test]
fn the_page_of_imports_is_true() {
    let page = fs::read_to_string(root().join("docs/import.md")).unwrap();
    let help = overlab(&["import", "--help"]).code(0);
    let help = String::from_utf8(help.get_output().stdout.clone()).unwrap();
    let options = help
        .split([' ', ',', '\n'])
        .filter(|word| word.starts_with("--") && *word != "--help");
    let providers = Preset::ALL.iter().filter_map(|(_, preset)| preset.knobs().provider_id);
    let marks = ["# guess", "# made up", "back-first"];
    for word in options.chain(providers).chain(marks) {
        assert!(page.contains(&format!("`{word}")), "{word} is missing");
    }
    let made = imported(&[]);
    let (_, shown) = page.split_once("```yaml\n").unwrap();
    for line in shown.split_once("```").unwrap().0.lines() {
        assert!(made.lines().any(|one| one == line), "{line:?} is not in\n{made}");
    }
}

#[test]
fn guesses_are_marked_and_what_is_known_is_taken_as_it_is() {
    let text = imported(&[]);
    for line in [
        "      preset: aws  # guess: providerID aws:; MTU and source checks are the preset's",
        "        subnet-2: {cidr: \"10.20.2.0/24\"}  # guess: from addresses and recorded masks, in zone eu-west-1b",
        "    ip-10-20-3-11.eu-west-1.compute.internal: {subnet: subnet-3, ip: \"10.20.3.11\"}",
        "    web-4: {node: ip-10-20-3-11.eu-west-1.compute.internal, ip: \"192.168.50.4\"}",
        "  expect:                                # generated: what is predicted now; change it to what must hold",
        "  ipipMode: CrossSubnet",
        "    projectcalico.org/IPv4IPIPTunnelAddr: \"192.168.10.1\"",
        "  awsSrcDstCheck: Disable",
    ] {
        assert!(text.lines().any(|one| one == line), "{line:?} is missing in\n{text}");
    }
}

#[test]
fn nothing_secret_and_no_noise_gets_into_the_scenario() {
    let text = imported(&["--max-pods-per-node", "10"]);
    for never in [
        "Secret",
        "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ==",
        "correct horse",
        "top-secret-token-123",
        "config-map-password",
        "hunter2",
        "managedFields",
        "last-applied",
        "resourceVersion",
        "uid",
        "ebs.csi.aws.com",
        "sizeBytes",
        "migrate-2026-03-02",
        "calico-node-",
    ] {
        assert!(!text.contains(never), "{never:?} is in\n{text}");
    }
}

#[test]
fn what_is_left_out_is_listed() {
    overlab(&["import", DUMP])
        .code(0)
        .stderr(contains("left out: ").and(contains("1 NetworkPolicy, 1 Secret, 1 Service")))
        .stderr(contains("5 of 10 pods are workloads: at most 1 a node and 40 in all"));
    let all = imported(&["--max-pods-per-node", "2"]);
    assert_eq!(all.matches("{node: ip-10-20-").count(), 10);
    assert!(all.contains("same-node: {delivered: all, encap: none}"));
    assert_eq!(imported(&["--max-pods", "3"]).matches("{node: ip-10-20-").count(), 3);
}

#[test]
fn the_same_dump_gives_the_same_bytes() {
    assert_eq!(imported(&[]), imported(&[]));
}

#[test]
fn a_file_that_is_there_is_written_over_only_by_force() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    overlab(&["import", DUMP, "-o", path]).code(2).stderr(contains("--force"));
    assert_eq!(fs::read(&file).unwrap(), b"");
    overlab(&["import", DUMP, "-o", path, "--force"]).code(0);
    assert!(!fs::read(&file).unwrap().is_empty());
}

/// Runs what `import` makes of a text.
fn run_of(dump: &str, folder: &Path) -> Value {
    let file = folder.join("made.yaml");
    command(&["import", "-", "-o", file.to_str().unwrap(), "--force"])
        .write_stdin(dump)
        .assert()
        .code(0);
    report(&["run", file.to_str().unwrap(), "--report", "json"])
}

#[test]
fn a_predicted_loss_is_expected_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let nodes: String = fs::read_to_string(root().join(DUMP).join("nodes.yaml")).unwrap();
    let text = |name: &str| fs::read_to_string(root().join(DUMP).join(name)).unwrap();
    let dump = [
        nodes,
        text("calico.yaml").replace("awsSrcDstCheck: Disable", "awsSrcDstCheck: Enable"),
        text("workloads.json"),
    ];
    let run = run_of(&dump.join("\n---\n"), folder.path());
    let expectations = run["scenarios"][0]["expectations"].as_array().unwrap();
    let of_matrix = |one: &&Value| one["label"].as_str().unwrap().starts_with("matrix");
    let mut dropped = expectations.iter().filter(|one| one["claim"] == "dropped");
    let dropped = dropped.find(of_matrix).unwrap();
    assert_eq!(
        (&dropped["status"], &dropped["label"]),
        (&json!("pass"), &json!("matrix same-subnet"))
    );
    assert!(dropped["actual"].as_str().unwrap().contains("src_dst_check"), "{dropped}");
}

#[test]
fn a_bad_object_is_refused_with_its_place() {
    command(&["import", "-"])
        .write_stdin("apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: a}\nspec: {cidr: 10.0.0.1/16}\n")
        .assert()
        .code(2)
        .stderr(contains("error[R3]").and(contains("<stdin>:4:14")));
    command(&["import", "-"])
        .write_stdin("apiVersion: v1\nkind: List\nitems: []\n")
        .assert()
        .code(2)
        .stderr(contains("no node has an address").and(contains("kubectl get nodes")));
}

/// A tunnel that takes more than the card less its header, as it is configured: small packets pass and full ones are split outside.
#[test]
fn packets_that_fill_the_pods_mtu_meet_an_mtu_that_is_too_large() {
    let folder = tempfile::tempdir().unwrap();
    let felix = "apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {vxlanMTU: 1480}\n";
    let run = run_of(&(dump() + felix), folder.path());
    assert_eq!(run["scenarios"][0]["status"], "pass");
    let text = fs::read_to_string(folder.path().join("made.yaml")).unwrap();
    for line in [
        "    cross-subnet-full: {from: web-y, to: web-x, payload: 1452B, df: do, count: 3, start: 1500ms}",
        "    - {flow: cross-subnet-full, delivered: all, encap: vxlan, fragments: outer}",
        "    - {flow: cross-subnet-there, delivered: all, encap: vxlan}",
        "        cross-subnet: {delivered: all, encap: vxlan}",
    ] {
        assert!(text.lines().any(|one| one == line), "{line:?} is missing in\n{text}");
    }
}

/// Google's firewall has no rule for IP in IP, and takes what comes back for an answer: whichever node is first is not heard.
#[test]
fn each_way_is_once_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let google = dump()
        .replace("status: {addresses", "spec: {providerID: 'gce://p/z/i'}\nstatus: {addresses")
        .replace("vxlanMode", "ipipMode");
    let run = run_of(&google, folder.path());
    let met: Vec<_> = [0, 1]
        .into_iter()
        .flat_map(|case| {
            let expectations = run["scenarios"][case]["expectations"].as_array().unwrap();
            let delivered = expectations.iter().filter(|one| one["claim"] == "delivered").take(2);
            delivered.map(|one| ["label", "status", "actual"].map(|key| one[key].as_str().unwrap()).join(" "))
        })
        .collect();
    assert_eq!(
        met,
        [
            "cross-subnet-there pass 0 of 3 were delivered",
            "cross-subnet-back pass 3 of 3 were delivered",
            "cross-subnet-there pass 3 of 3 were delivered",
            "cross-subnet-back pass 0 of 3 were delivered",
        ]
    );
}

fn service(name: &str, namespace: &str, cluster_ip: &str, endpoints: &[&str]) -> String {
    let endpoint = |address: &&str| {
        json!({"addresses": [address], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "uid": "8f2d"}, "zone": "z"})
            .to_string()
    };
    let endpoints: Vec<_> = endpoints.iter().map(endpoint).collect();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{clusterIP: {cluster_ip}, ports: [{{port: 80, protocol: UDP, targetPort: 8080}}]}}\nstatus: {{loadBalancer: {{}}}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {{name: {name}-x, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}\n\
         endpoints: [{}]\nports: [{{port: 8080, protocol: UDP}}]\n---\n",
        endpoints.join(", ")
    )
}

/// Two services of one name, one that leads to pods and a node of which some are here, and one whose only pod is no workload.
#[test]
fn of_services_the_endpoints_that_are_here_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let services = [
        service("web", "shop", "10.96.0.10", &["192.168.3.1", "192.168.9.9", "10.0.1.5"]),
        service("web", "test", "10.96.0.11", &["192.168.17.1"]),
        service("far", "shop", "10.96.0.12", &["192.168.9.9"]),
    ];
    let made = folder.path().join("made.yaml");
    command(&["import", "-", "-o", made.to_str().unwrap()])
        .write_stdin(dump() + &services.concat())
        .assert()
        .code(0)
        .stderr(contains("left out: 1 EndpointSlice, 1 Service\n"))
        .stderr(contains(
            "3 of 5 endpoints of services are kept: those that are workloads or nodes",
        ));
    let text = fs::read_to_string(&made).unwrap();
    assert!(
        !text.contains("192.168.9.9") && !text.contains("uid") && !text.contains("far"),
        "{text}"
    );
    let asks = "  flows:\n    asks: {from: web-y, to: 10.96.0.10, proto: udp, dport: 80, count: 2, start: 1800ms}\n";
    let (before, flows) = text.split_once("  flows:").unwrap();
    let (_, flows) = flows.split_once('\n').unwrap();
    let flows = flows.replacen("    - {flow:", "    - {flow: asks, delivered: all}\n    - {flow:", 1);
    fs::write(&made, [before, asks, &flows].concat()).unwrap();
    let run = report(&["run", made.to_str().unwrap(), "--report", "json"]);
    let answered = &run["scenarios"][0]["expectations"][0];
    assert_eq!(
        (&answered["label"], &answered["status"], &answered["actual"]),
        (&json!("asks"), &json!("pass"), &json!("2 of 2 were delivered"))
    );
}

/// A kernel before 5.8 spoils what it translates into VXLAN; any later one is as if nothing were said.
#[rstest]
#[case("5.4.0-1103-aws", true)]
#[case("5.8.0", false)]
#[case("6.1.0-18-cloud-amd64", false)]
fn a_kernel_is_taken_where_it_spoils_packets(#[case] release: &str, #[case] taken: bool) {
    let kernel = format!("status: {{nodeInfo: {{kernelVersion: {release}}}, addresses");
    command(&["import", "-"])
        .write_stdin(dump().replace("status: {addresses", &kernel))
        .assert()
        .code(0)
        .stdout(contains("kernel: \"5.4\"}\n").count(if taken { 19 } else { 0 }))
        .stdout(contains("kernel").count(if taken { 19 } else { 0 }));
}

/// Three machines that have the InternalIP on one card and what Calico recorded on another, on two subnets.
fn two_cards(records: [&str; 3]) -> String {
    let each = (1..).zip(records).map(|(n, record)| {
        let (name, tunnel, address) = (format!("n{n}"), format!("10.244.{n}.0"), format!("10.244.{n}.5"));
        let internal = format!("InternalIP, address: 10.10.0.1{n}");
        let node = node(&name, "RECORD", &tunnel).replace("InternalIP, address: RECORD", &internal);
        node.replace("RECORD/24", record).replace("VXLANTunnelAddr", "IPIPTunnelAddr")
            + &pod(&format!("web-{n}"), &name, &address)
    });
    let pool = POOL.replace("192.168.0.0/16, vxlanMode: Always", "10.244.0.0/16, ipipMode: CrossSubnet");
    each.collect::<String>() + &pool
}

#[test]
fn where_machines_have_two_cards_the_recorded_one_carries_what_pods_send() {
    let folder = tempfile::tempdir().unwrap();
    let dump = two_cards(["10.20.1.11/24", "10.20.1.12/24", "10.20.2.13/24"]);
    let run = run_of(&dump, folder.path());
    assert_eq!(run["scenarios"][0]["status"], "pass");
    let file = folder.path().join("made.yaml");
    let text = fs::read_to_string(&file).unwrap();
    for line in [
        "        subnet-1: {cidr: \"10.20.1.0/24\"}  # guess: from addresses and recorded masks",
        "    \"n3\": {subnet: subnet-2, ip: \"10.20.2.13\"}  # guess: Calico's record, where the InternalIP is another card's",
        "        cross-subnet: {delivered: all, encap: ipip}",
        "        same-subnet: {delivered: all, encap: none}",
    ] {
        assert!(text.lines().any(|one| one == line), "{line:?} is missing in\n{text}");
    }
    overlab(&["check", file.to_str().unwrap(), "--deny-lints"]).code(0);
    command(&["import", "-"]).write_stdin(dump).assert().code(0).stderr(contains(
        "note: node n1: Calico recorded 10.20.1.11/24, and the InternalIP is 10.10.0.11; eth0 has the recorded one, since pods' packets go \
         there (so on 3 nodes)",
    ));
}

/// A bridge's address, one from before on the same wire, one without a subnet, and one that no network holds with the other nodes':
/// none of them is a second card's.
#[rstest]
#[case::the_first_of_a_range("172.17.0.1/16")]
#[case::of_the_same_subnet("10.10.0.99/24")]
#[case::without_a_mask("10.20.1.11/32")]
#[case::too_far_from_the_others("172.22.0.5/16")]
fn a_record_that_is_on_no_other_card_stays_a_wrong_belief(#[case] record: &str) {
    command(&["import", "-"])
        .write_stdin(two_cards([record, "10.10.0.12/24", "10.10.0.13/24"]))
        .assert()
        .code(0)
        .stdout(contains("\"n1\": {subnet: subnet-1, ip: \"10.10.0.11\"}\n"))
        .stderr(contains("eth0 has the InternalIP"));
}

fn node(name: &str, address: &str, tunnel: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  annotations: {{projectcalico.org/IPv4Address: {address}/24, \
         projectcalico.org/IPv4VXLANTunnelAddr: {tunnel}}}\nstatus: {{addresses: [{{type: InternalIP, address: {address}}}]}}\n---\n"
    )
}

fn pod(name: &str, node: &str, address: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default}}\nspec: {{nodeName: {node}}}\n\
         status: {{phase: Running, podIPs: [{{ip: {address}}}]}}\n---\n"
    )
}

const POOL: &str =
    "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: 192.168.0.0/16, vxlanMode: Always}\n---\n";

/// Two nodes with a pod each, and nodes without any.
fn dump() -> String {
    let nodes: String = (1..20)
        .map(|n| node(&format!("n{n}"), &format!("10.0.{n}.5"), &format!("192.168.{n}.0")))
        .collect();
    [
        &nodes,
        POOL,
        &pod("web-x", "n3", "192.168.3.1"),
        &pod("web-y", "n17", "192.168.17.1"),
    ]
    .concat()
}

#[test]
fn nodes_without_workloads_are_in_the_scenario_and_change_no_prediction() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_of(&dump(), folder.path());
    let scenario = &run["scenarios"][0];
    let claims: Vec<_> = scenario["expectations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["status"])
        .collect();
    assert_eq!(claims, ["pass"; 9]);
    let text = fs::read_to_string(folder.path().join("made.yaml")).unwrap();
    assert!(text.contains("cross-subnet: {delivered: all, encap: vxlan}"), "{text}");
    assert_eq!(text.matches(": {subnet: subnet-").count(), 19);
}

/// Newer versions have fields and kinds of which nobody here knows; what a cluster runs with is no slip of the pen.
#[test]
fn what_newer_versions_know_is_left_out_and_told() {
    let newer = dump().replace("vxlanMode: Always", "vxlanMode: Always, colour: {hue: blue}")
        + "apiVersion: projectcalico.org/v3\nkind: IPPol\nmetadata: {name: x}\nspec: {}\n---\n\
           apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {warpSpeed: 9, vxlanPort: 4790}\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made.yaml");
    command(&["import", "-", "-o", file.to_str().unwrap()])
        .write_stdin(newer)
        .assert()
        .code(0)
        .stderr(contains("IPPool: `spec.colour` is not known here"))
        .stderr(contains("FelixConfiguration: `spec.warpSpeed` is not known here"))
        .stderr(contains("left out: 1 IPPol"));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("vxlanPort: 4790") && !text.contains("warpSpeed") && !text.contains("hue"));
    overlab(&["run", file.to_str().unwrap()]).code(0);
}

#[test]
fn a_scenario_that_does_not_resolve_is_written_nowhere_but_to_the_screen() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made.yaml");
    let twice = dump() + &pod("web-z", "n4", "192.168.3.0");
    let import = |arguments: &[&str]| command(arguments).write_stdin(twice.clone()).assert().code(2);
    import(&["import", "-", "-o", file.to_str().unwrap()])
        .stdout("")
        .stderr(contains("192.168.3.0").and(contains("is not written")));
    assert!(!file.exists());
    import(&["import", "-"]).stdout(contains("kind: Scenario"));
}

#[test]
fn without_pods_some_are_made_up_and_without_pools_that_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = node("n1", "10.0.1.5", "192.168.1.0") + &node("n2", "10.0.2.5", "192.168.2.0");
    let run = run_of(&(nodes.clone() + POOL), folder.path());
    assert_eq!(run["scenarios"][0]["status"], "pass");
    let text = fs::read_to_string(folder.path().join("made.yaml")).unwrap();
    assert!(
        text.contains("    probe: {node: \"n2\"}  # made up") || text.contains("# made up"),
        "{text}"
    );
    let one = run_of(&(node("n1", "10.0.1.5", "192.168.1.0") + POOL), folder.path());
    assert_eq!(one["scenarios"][0]["status"], "pass");
    command(&["import", "-"])
        .write_stdin(nodes)
        .assert()
        .code(2)
        .stdout("")
        .stderr(contains("error[F-PODS]").and(contains("kubectl get pods")));
}
