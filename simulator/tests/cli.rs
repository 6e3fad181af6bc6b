//! The command as it is typed: what it prints, where it prints it, and how it ends.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use rstest::rstest;
use serde_json::Value;

const CROSS_SUBNET: &str = "scenarios/aws/ipip-crosssubnet-check-off-delivered.yaml";

fn overlab(arguments: &[&str]) -> assert_cmd::assert::Assert {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Command::new(env!("CARGO_BIN_EXE_overlab"))
        .current_dir(root)
        .args(arguments)
        .assert()
}

#[test]
fn a_run_that_passes_ends_with_its_summary_and_0() {
    overlab(&["run", "scenarios/guide"])
        .code(0)
        .stdout(contains(" 0 fail, 0 inconclusive      exit 0"));
}

/// Goldens are found from every folder; where one were not, the exit code would be 4.
#[rstest]
#[case(".", "scenarios/guide/vxlan-always.yaml")]
#[case("scenarios", "guide/vxlan-always.yaml")]
#[case("scenarios/guide", "vxlan-always.yaml")]
#[case("scenarios/guide", ".")]
#[case("golden", "../scenarios/guide")]
fn a_golden_is_found_from_every_folder(#[case] folder: &str, #[case] path: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let run = Command::new(env!("CARGO_BIN_EXE_overlab"))
        .current_dir(folder)
        .args(["run", path])
        .assert();
    run.code(0);
}

#[test]
fn a_changed_expectation_fails_with_what_was_seen_the_packet_s_hops_and_a_replay() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("changed.yaml");
    let shipped = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(CROSS_SUBNET)).unwrap();
    fs::write(&file, shipped.replace("encap: ipip", "encap: vxlan")).unwrap();
    overlab(&["run", file.to_str().unwrap()])
        .code(1)
        .stdout(contains("E-ENC-01  expected vxlan on every packet; 10 of 10 wore ipip"))
        .stdout(contains("ipip header put on, +20 B: 10.20.1.11 > 10.20.2.11"))
        .stdout(contains("cause   pool pool  ipipMode CrossSubnet"))
        .stdout(contains("rule    a1 10.20.1.11/24 (10.20.1.0/24)"))
        .stdout(contains("replay  overlab run "));
}

/// Goldens lie beside a folder `scenarios`; elsewhere there is none, and who asks for one is told.
#[test]
fn a_golden_that_has_no_place_is_not_blessed_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alone.yaml");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(CROSS_SUBNET), &file).unwrap();
    overlab(&["run", file.to_str().unwrap()]).code(0);
    overlab(&["run", file.to_str().unwrap(), "--bless"])
        .code(1)
        .stdout(contains("nothing was blessed: the file lies below no folder `scenarios`"));
}

/// What turns a check of addresses off has another name with each provider.
#[rstest]
#[case("aws", "try     awsSrcDstCheck: Disable in FelixConfiguration, or mode Always")]
#[case(
    "gcp",
    "try     `canIpForward: true` at a1, and routes of the network to its workloads, or mode Always"
)]
#[case(
    "azure",
    "try     `ipForwarding: true` at a1, and routes of the network to its workloads, or mode Always"
)]
#[case(
    "openstack",
    "try     `portSecurity: false` at a1, and routes of the network to its workloads, or mode Always"
)]
fn advice_speaks_of_the_provider_s_own_check(#[case] preset: &str, #[case] advice: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checked.yaml");
    let text = format!(
        "apiVersion: overlab.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: checked}}\nspec:\n  \
         underlay: {{main: {{preset: {preset}, subnets: {{az-a: {{nodes: 2}}, az-b: {{nodes: 1}}}}}}}}\n  \
         expect: [{{matrix: all, classes: {{same-subnet: {{delivered: all}}}}}}]\n---\napiVersion: projectcalico.org/v3\n\
         kind: IPPool\nmetadata: {{name: pool}}\nspec: {{cidr: 192.168.0.0/16, vxlanMode: CrossSubnet}}\n"
    );
    fs::write(&file, text).unwrap();
    overlab(&["run", file.to_str().unwrap()]).code(1).stdout(contains(advice));
}

/// A scenario in which a claim was changed, so that it fails.
fn changed(path: &str, from: &str, to: &str) -> tempfile::NamedTempFile {
    let shipped = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap();
    assert!(shipped.contains(from), "{path} has {from}");
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    fs::write(&file, shipped.replace(from, to)).unwrap();
    file
}

#[test]
fn a_loss_in_a_rollout_names_the_table_that_let_it_happen_and_asks_for_no_encapsulation() {
    let claim = "delivered: {is: 70, netns: 70}";
    let file = changed(
        "scenarios/time/ipip-to-vxlan-bird-routes-linger.yaml",
        claim,
        "delivered: all",
    );
    overlab(&["run", file.path().to_str().unwrap()])
        .code(1)
        .stdout(contains("cause   no route to 192.168.2.0/26 of n2"))
        .stdout(contains("; tables of n1 since 1.980 s: BIRD follows switch"))
        .stdout(contains("try ").not());
}

#[rstest]
#[case::ipip(
    "aws/ipip-group-without-rule-opened-by-the-other-side.yaml",
    "b1/eni that admits protocol 4, from the peers' group"
)]
#[case::vxlan(
    "aws/vxlan-group-without-rule-never-opened.yaml",
    "b1/eni that admits UDP to port 4789, from the peers' group"
)]
fn what_groups_deny_is_told_with_the_rule_that_they_lack(#[case] path: &str, #[case] rule: &str) {
    let file = changed(&format!("scenarios/{path}"), "delivered: none", "delivered: all");
    overlab(&["run", file.path().to_str().unwrap()])
        .code(1)
        .stdout(contains(format!("try     a rule in the groups of {rule}")));
}

#[test]
fn a_workload_outside_every_pool_is_told_to_be_so() {
    let path = "scenarios/onprem/ipip-always-two-racks-delivered.yaml";
    let file = changed(path, "ip: 192.168.3.2", "ip: 172.30.3.2");
    overlab(&["run", file.path().to_str().unwrap()])
        .code(1)
        .stdout(contains("cause   172.30.3.2 of web-n3 lies in no pool"))
        .stdout(contains(
            "try     an IPPool that holds 172.30.3.2, or an address of a pool for web-n3",
        ))
        .stdout(contains("an encapsulation across subnets").not());
}

const SWITCH: &str = "scenarios/time/ipip-to-vxlan-bird-routes-linger.yaml";

#[rstest]
#[case::at_the_start(&[], "route   192.168.2.0/26 via 10.0.1.12 dev eth0 proto bird")]
#[case::before_bird_follows(&["--at", "switch+990ms"], "route   192.168.2.0/26 via 10.0.1.12 dev eth0 proto bird")]
#[case::after_it(&["--at", "switch+1s"], "none    192.168.2.0/26  (the encapsulation is off on this node)")]
#[case::once_felix_is_back(&["--at", "4s"], "route   192.168.2.0/26 via 10.0.1.12 dev eth0 proto 80")]
fn a_plan_is_of_the_instant_that_it_is_asked_for(#[case] at: &[&str], #[case] line: &str) {
    let arguments = ["plan", SWITCH, "--node", "n1"].iter().chain(at).copied().collect::<Vec<_>>();
    overlab(&arguments).code(0).stdout(contains(line));
}

#[test]
fn a_plan_has_the_calendar_of_its_changes() {
    overlab(&["plan", SWITCH, "--node", "n2"])
        .code(0)
        .stdout(contains("change  2.180 s n2  BIRD follows switch\n"))
        .stdout(contains("change  1.980 s n1").not());
    let plan = overlab(&["plan", SWITCH, "--at", "switch+1s", "--json"]).code(0);
    let plan: Value = serde_json::from_slice(&plan.get_output().stdout).unwrap();
    assert_eq!(plan["atNs"], 1_980_000_000);
    assert_eq!(plan["pools"][0]["vxlanMode"], "CrossSubnet");
    let bird = serde_json::json!({ "atNs": 1_980_000_000, "node": "n1", "cause": "BIRD follows switch" });
    assert!(plan["changes"].as_array().unwrap().contains(&bird), "{}", plan["changes"]);
}

#[rstest]
#[case(SWITCH, "swich+1s", "did you mean `switch`?")]
#[case(SWITCH, "90s", "is not within the run")]
#[case(
    "simulator/tests/fixtures/manifests/worked-example.yaml",
    "1s",
    "manifests have no timeline"
)]
fn a_plan_of_no_instant_is_refused(#[case] file: &str, #[case] at: &str, #[case] says: &str) {
    overlab(&["plan", file, "--at", at]).code(2).stderr(contains(says));
}

#[test]
fn a_plan_has_the_rules_of_groups_and_lists_and_who_is_in_which_group() {
    let groups = "scenarios/aws/ipip-group-without-rule-opened-by-the-other-side.yaml";
    overlab(&["plan", groups])
        .code(0)
        .stdout(contains("group   nodes  in: allow nodes proto 6,17,1  out: allow any\n"))
        .stdout(contains("\na1\n  groups  nodes\n"));
    let lists = "scenarios/aws/ipip-acl-without-protocol-4-zone-boundary-dropped.yaml";
    let plan = overlab(&["plan", lists, "--json"]).code(0);
    let plan: Value = serde_json::from_slice(&plan.get_output().stdout).unwrap();
    let rules = plan["underlays"][0]["subnets"][0]["acl"]["ingress"].as_array().unwrap();
    assert!(rules.iter().any(|rule| rule["action"] == "allow"), "{rules:?}");
    assert_eq!(plan["nodes"][0]["groups"], serde_json::json!([]));
}

#[test]
fn two_reports_of_one_run_are_the_same_bytes_and_junit_counts_as_json_does() {
    let first = overlab(&["run", "scenarios/guide", "--report", "json"])
        .get_output()
        .stdout
        .clone();
    let second = overlab(&["run", "scenarios/guide", "--jobs", "1", "--report", "json"])
        .get_output()
        .stdout
        .clone();
    assert_eq!(first, second);
    let report: Value = serde_json::from_slice(&first).unwrap();
    let junit = overlab(&["run", "scenarios/guide", "--report", "junit"]);
    let tests = format!("tests=\"{}\"", report["summary"]["cases"]);
    junit.stdout(contains(tests)).stdout(contains("failures=\"0\""));
}

#[test]
fn the_readme_s_example_prints_what_the_readme_shows() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let block = |start: &str| readme.split_once(start).unwrap().1.split_once("```").unwrap().0;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("hello.yaml"), block("```yaml\n")).unwrap();
    let shown = block("```console\n$ overlab run hello.yaml")
        .split_once('\n')
        .unwrap()
        .1
        .to_owned();
    let run = Command::new(env!("CARGO_BIN_EXE_overlab"))
        .current_dir(&folder)
        .args(["run", "hello.yaml"])
        .assert();
    run.code(1).stdout(shown);
}

#[test]
fn explain_tells_each_hop_its_headers_and_the_reason_with_its_place() {
    overlab(&["explain", CROSS_SUBNET, "web-a1", "web-b1"])
        .code(0)
        .stdout(contains("request: delivered, ipip on the wire, 92 -> 112 B"))
        .stdout(contains(format!("because pool pool  ipipMode CrossSubnet [{CROSS_SUBNET}:")))
        .stdout(contains("because a1 10.20.1.11/24 (10.20.1.0/24) ["))
        .stdout(contains("does not contain b1 10.20.2.11 ["))
        .stdout(contains(
            "because 92 B fits the tunnel's 8981 B, and 92 + 20 = 112 B fits eth0's 9001 B",
        ))
        .stdout(contains(
            "-> 112 B  IP 10.20.1.11 > 10.20.2.11 ttl 63 len 112 DF | IP 192.168.10.2 > 192.168.30.2 ttl 63",
        ))
        .stdout(contains("reply: delivered"));
}

#[test]
fn explain_names_the_drop_its_meaning_and_the_icmp_error() {
    overlab(&["explain", CROSS_SUBNET, "web-a1", "web-b1", "--size", "9000", "--df", "probe"])
        .code(0)
        .stdout(contains("request: dropped, too_big at web-a1"));
    overlab(&["explain", CROSS_SUBNET, "web-a1", "192.168.10.9"])
        .code(0)
        .stdout(contains("dropped, blackhole at a1"))
        .stdout(contains("blackhole: A blackhole route won"));
    overlab(&["explain", CROSS_SUBNET, "web-a1", "web-b1", "--ttl", "1"])
        .code(0)
        .stdout(contains("web-a1 learned from 10.20.1.11: time exceeded"));
}

#[test]
fn explain_says_why_the_cluster_has_no_route() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("no-end.yaml");
    let scenario = "apiVersion: overlab.dev/v1alpha1\nkind: Scenario\nmetadata: {name: x}\nspec:\n  underlay: {dc: {preset: onprem, subnets: \
                    {rack-a: {nodes: 2}}}}\n  expect: [{matrix: all, classes: {same-subnet: {delivered: none}}}]\n---\napiVersion: \
                    projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.244.0.0/16, vxlanMode: Always, nodeSelector: \
                    '!all()'}\n---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: q}\nspec: {cidr: 10.245.0.0/16}\n---\n\
                    apiVersion: crd.projectcalico.org/v1\nkind: IPAMBlock\nmetadata: {name: 10-244-0-0-26}\nspec: {cidr: 10.244.0.0/26, \
                    affinity: 'host:a2'}\n";
    fs::write(&file, scenario).unwrap();
    overlab(&["explain", file.to_str().unwrap(), "pod-a1", "10.244.0.5"])
        .code(0)
        .stdout(contains("because no route to 10.244.0.0/26 of a2 [").and(contains("no-end.yaml:")))
        .stdout(contains("no route of the cluster covers it, though a pool does"));
}

#[test]
fn explain_tells_of_a_fault_that_may_have_spared_its_packet() {
    const FILE: &str = "scenarios/faults/every-kind-takes-only-its-own.yaml";
    const LOSSY: &str = "fault lossy from 1.000 s to 2.000 s: loses 50 % by chance";
    let explained = |to: &str, at: &str| overlab(&["explain", FILE, "web-a1", to, "--at", at]).code(0);
    let delivered = |nth: u32| {
        let at = format!("lossy+{nth}ms");
        let text = explained("web-b1", &at).stdout(contains("lossy"));
        let text = String::from_utf8(text.get_output().stdout.clone()).unwrap();
        text.contains("request: delivered").then_some(text)
    };
    let spared = (1..20).find_map(delivered).expect("chance spares one of twenty");
    assert!(spared.contains(LOSSY), "{spared}");
    for (to, at) in [("web-a2", "lossy+1ms"), ("web-b1", "lossy-1ms"), ("web-b1", "lossy.end")] {
        explained(to, at).stdout(contains("fault ").not());
    }
    explained("web-b1", "slow+1ms").stdout(contains("fault slow from 6.000 s to 7.000 s: passes 100000 bit/s"));
}

#[test]
fn explain_sends_its_packet_when_it_is_asked_to() {
    const FILE: &str = "scenarios/faults/every-kind-takes-only-its-own.yaml";
    for (at, told) in [
        ("1999ms", "at 1.999 s"),
        ("cut", "request: dropped, injected at cut"),
        ("dead-1ms", "request: delivered"),
        ("dead+10ms", "request: dropped, node_down at dead"),
        ("dead.end", "request: delivered"),
    ] {
        overlab(&["explain", FILE, "web-a1", "web-c1", "--at", at])
            .success()
            .stdout(contains(told));
    }
    overlab(&["explain", FILE, "web-a1", "web-c1", "--at", "1h"])
        .code(2)
        .stderr(contains("the run, which ends at 8.000 s"));
    overlab(&["explain", FILE, "web-a1", "web-c1", "--at", "deaf"])
        .code(2)
        .stderr(contains("did you mean `dead`?"));
}

#[test]
fn explain_suggests_the_name_that_was_meant() {
    overlab(&["explain", CROSS_SUBNET, "web-a1", "web-b"])
        .code(2)
        .stderr(contains("did you mean `web-b1`?"));
}

#[test]
fn plan_prints_a_node_as_ip_route_would() {
    overlab(&["plan", CROSS_SUBNET, "--node", "a1"])
        .code(0)
        .stdout(contains("device  tunl0 mtu 8981  192.168.10.0/32"))
        .stdout(contains(
            "route   192.168.20.0/26 via 10.20.1.12 dev eth0 proto bird metric 1024",
        ))
        .stdout(contains(
            "route   192.168.30.0/26 via 10.20.2.11 dev tunl0 proto bird metric 1024 onlink",
        ))
        .stdout(contains(
            "allow   ipip (proto 4) from 10.20.1.11, 10.20.1.12, 10.20.2.11, 10.20.3.11",
        ));
    overlab(&["plan", CROSS_SUBNET, "--node", "a9"])
        .code(2)
        .stderr(contains("did you mean `a1`?"));
}

#[test]
fn check_reads_scenarios_and_manifests_and_runs_nothing() {
    overlab(&["check", "scenarios/guide"])
        .code(0)
        .stdout(contains("ipip-always.yaml: ok  scenario ipip-always"));
}

#[rstest]
#[case::no_such_file(&["run", "scenarios/none.yaml"], 2, "scenarios/none.yaml")]
#[case::no_yaml(&["run", "docs"], 2, "holds no YAML file")]
#[case::nothing_selected(&["run", "scenarios", "--only", "zzz*"], 5, "no scenario was selected")]
#[case::no_verdict(&["run", "scenarios/guide", "--expect", "zzz*"], 5, "no verdict was selected")]
#[case::unknown_format(&["run", "--report", "jsn"], 2, "did you mean `json`?")]
#[case::no_file_name(&["run", "--report", "json="], 2, "a file name is missing")]
#[case::no_jobs(&["run", "--jobs", "0"], 2, "not in 1..=1024")]
#[case::no_seed(&["run", "--seed", "x"], 2, "invalid digit")]
#[case::unknown_verb(&["rnu"], 2, "did you mean `run`?")]
#[case::unwritable(&["run", "scenarios/guide", "--report", "json=/nowhere/x.json"], 2, "/nowhere/x.json")]
#[case::capture_in_the_way(&["run", "scenarios/guide", "--capture", "README.md"], 2, "")]
fn bad_input_is_told_and_exits_as_documented(#[case] arguments: &[&str], #[case] code: i32, #[case] says: &str) {
    overlab(arguments)
        .code(code)
        .stderr(contains(says).and(contains("panicked").not()));
}

#[test]
fn a_broken_scenario_is_refused_with_its_place_beside_others_that_run() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("broken.yaml"),
        "apiVersion: overlab.dev/v1alpha1\nkind: Scenario\nspec: [",
    )
    .unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::copy(root.join(CROSS_SUBNET), folder.path().join("good.yaml")).unwrap();
    overlab(&["run", folder.path().to_str().unwrap()])
        .code(2)
        .stderr(contains("broken.yaml:3:"))
        .stdout(contains("18 pass"));
}

#[test]
fn a_capture_of_one_run_is_the_same_bytes_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |name: &str| {
        let to = folder.path().join(name);
        overlab(&["run", CROSS_SUBNET, "--capture", to.to_str().unwrap()]).code(0);
        let file = fs::read_dir(to).unwrap().next().unwrap().unwrap().path();
        fs::read(file).unwrap()
    };
    assert_eq!(bytes("first"), bytes("second"));
}

#[test]
fn a_variant_is_a_case_of_its_own_in_every_report_and_can_be_picked() {
    const FILE: &str = "scenarios/guide/one-pool-every-mode.yaml";
    let json = |arguments: &[&str]| serde_json::from_slice::<Value>(&overlab(arguments).get_output().stdout).unwrap();
    let all = json(&["run", FILE, "--report", "json"]);
    let variants: Vec<_> = all["scenarios"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["variant"].as_str())
        .collect();
    assert_eq!(variants[..2], [None, Some("vxlan-always")]);
    let one = json(&["run", FILE, "--variant", "never", "--report", "json"]);
    assert_eq!(one["summary"]["scenarios"], 1);
    let junit = overlab(&["run", FILE, "--variant", "never", "--report", "junit"]);
    junit.code(0).stdout(contains("name=\"one-pool-every-mode[never] (sim)\""));
    overlab(&["run", FILE, "--variant", "nevr"])
        .code(5)
        .stderr(contains("did you mean `never`?"));
    overlab(&["plan", FILE, "--variant", "ipip-always", "--node", "n1", "--table", "routes"])
        .code(0)
        .stdout(contains("dev tunl0"));
    overlab(&["explain", FILE, "web-n1", "web-n2", "--variant", "ipip-always"])
        .code(0)
        .stdout(contains("ipip header put on"));
}

#[test]
fn a_packet_over_ipv6_is_explained_with_its_own_sizes() {
    const FILE: &str = "scenarios/ipv6/vxlan-crosssubnet-dual-stack.yaml";
    overlab(&["explain", FILE, "web-n1", "web-n3", "--family", "ipv6"])
        .code(0)
        .stdout(contains("112 -> 182 B"))
        .stdout(contains("vxlan header put on, +70 B: fd00:1::11 > fd00:2::11"));
    overlab(&["explain", FILE, "web-n1", "web-n2", "--family", "ipv6", "--size", "1000"])
        .code(0)
        .stdout(contains("bare on the wire, 1000 -> 1000 B"));
    overlab(&["explain", FILE, "web-n1", "fd00:10::81"])
        .code(0)
        .stdout(contains("182 B"));
    overlab(&["explain", FILE, "web-n1", "web-n3"])
        .code(0)
        .stdout(contains("92 -> 142 B"));
}

#[test]
fn a_plan_shows_every_knob_and_which_of_them_a_scenario_changed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("knobs.yaml");
    let shipped = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(CROSS_SUBNET)).unwrap();
    fs::write(
        &file,
        shipped.replace("preset: aws", "knobs: {routeQuota: 1000}\n      preset: aws"),
    )
    .unwrap();
    let file = file.to_str().unwrap();
    overlab(&["plan", file, "--table", "underlays"])
        .code(0)
        .stdout(contains("knob    routeQuota: 1000  (preset: 50)"))
        .stdout(contains("knob    groupReference: senderInterface\n"));
    let output = overlab(&["plan", file, "--table", "underlays", "--json"])
        .code(0)
        .get_output()
        .stdout
        .clone();
    let plan: Value = serde_json::from_slice(&output).unwrap();
    let underlay = &plan["underlays"][0];
    assert_eq!(
        (&underlay["preset"], &underlay["changed"]),
        (&"aws".into(), &serde_json::json!(["routeQuota"]))
    );
    assert_eq!(underlay["knobs"]["fragmentRate"], "1024/s");
}

#[test]
fn a_plan_tells_what_routers_of_the_underlay_learn_from_nodes() {
    overlab(&["plan", "scenarios/onprem/never-bgp-to-the-rack-delivered.yaml"])
        .code(0)
        .stdout(contains("note    the router of leaf-2 learns 192.168.3.0/26 by BGP from n3"))
        .stdout(contains("gateway spine router"));
}
