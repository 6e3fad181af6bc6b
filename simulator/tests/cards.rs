//! Machines with several network cards: what each has by default, and that everything that names a card reaches the one that it names.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use overlab_dataplane::Instant;
use overlab_simulator::fabric::NicId;
use overlab_simulator::scenario::{Loaded, Machine, Model, Via, load};
use serde_json::Value;

/// Node a1 on two subnets of a cloud, whose first check Felix turns off, and a neighbour on each.
const SCENARIO: &str = "\
apiVersion: overlab.dev/v1alpha1
kind: Scenario
metadata: {name: cards}
spec:
  duration: 500ms
  underlay:
    main:
      preset: aws
      subnets: {az-a: {}, az-b: {}}
      routes: [ROUTE]
  nodes:
    a1: {subnet: az-a, interfaces: {eth1: {subnet: az-b}}}
    a2: {subnet: az-a}
    b1: {subnet: az-b, ip: 10.0.2.11}
  workloads:
    web-a1: {node: a1, ip: 192.168.1.2}
    web-b1: {node: b1, ip: 192.168.2.2}
  flows:
    out: {from: web-a1, to: web-b1, reply: none, proto: udp, dport: 5000}
  timeline: [EVENT]
  expect:
    - {flow: out, delivered: all}
  allow: [{lint: SRC_DST_CHECK_NO_ENCAPSULATION, reason: the subject}]
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 192.168.0.0/16}
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {awsSrcDstCheck: Disable}
";

fn text(route: &str, event: &str) -> String {
    SCENARIO.replace("ROUTE", route).replace("EVENT", event)
}

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn refused(text: &str) -> String {
    let (_folder, path) = written(text);
    load(&path).expect_err("it is refused")[0].to_string()
}

fn loaded(text: &str) -> Loaded {
    let (_folder, path) = written(text);
    load(&path).unwrap_or_else(|wrong| panic!("{}", wrong[0]))
}

fn model(route: &str, event: &str) -> Model {
    loaded(&text(route, event)).model
}

fn nic(machine: u32, card: u16) -> NicId {
    NicId { machine, card }
}

fn printed(arguments: &[&str], path: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overlab"));
    let output = command.args(arguments).arg(path).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn checks(machines: &[Machine]) -> Vec<bool> {
    machines[0].cards.iter().map(|card| card.source_destination_check).collect()
}

#[test]
fn a_second_card_has_what_its_subnet_gives_and_felix_touches_the_first_alone() {
    let model = model("", "");
    let card = &model.nodes[0].cards[1];
    assert_eq!((&*card.name, card.addresses.v4), ("eth1", "10.0.2.12/24".parse().ok()));
    assert_eq!((card.mtu.bytes(), card.addresses.v6), (9001, None));
    assert_eq!(checks(&model.nodes), [false, true]);
    assert!(
        model
            .notes
            .contains(&"node a1: recorded by Calico as 10.0.1.11/24".to_owned()),
        "{:?}",
        model.notes
    );
}

#[test]
fn an_event_sets_a_property_of_a_second_card_and_felix_restores_none() {
    let event = "{name: lifted, at: 100ms, for: 200ms, set: {nodes.a1.interfaces.eth1.sourceDestCheck: false}}";
    let model = model("", event);
    let later: Vec<_> = model.rewirings.iter().map(|wires| checks(&wires.nodes)).collect();
    assert_eq!(later, [[false, false], [false, true]]);
}

#[test]
fn a_card_comes_in_no_run() {
    let event = "{name: plugged, at: 100ms, set: {nodes.a2.interfaces: {eth1: {subnet: az-b}}}}";
    let refusal = refused(&text("", event));
    assert!(
        refusal.contains("machines keep their place and address during a run"),
        "{refusal}"
    );
}

#[test]
fn a_route_of_the_underlay_leads_to_the_card_that_it_names() {
    let via = |name: &str| model(&format!("{{to: 192.168.1.0/26, via: {name}}}"), "").underlays[0].routes[0].via;
    assert_eq!(via("a1"), Via::Card(nic(0, 0)));
    assert_eq!(via("a1/eth0"), Via::Card(nic(0, 0)));
    assert_eq!(via("a1/eth1"), Via::Card(nic(0, 1)));
    let refusal = refused(&text("{to: 192.168.1.0/26, via: a1/eth2}", ""));
    assert!(refusal.contains("unknown node, host or gateway \"a1/eth2\""), "{refusal}");
    assert!(refusal.contains("did you mean `a1/eth"), "{refusal}");
}

#[test]
fn a_fault_is_about_one_card_all_of_a_machine_or_those_of_a_subnet() {
    let scope = |name: &str| {
        let event = format!("{{name: lossy, at: 0s, fault: {{between: [{name}, a2], loss: 5%}}}}");
        model("", &event).faults[0].scope.from.iter().copied().collect::<Vec<_>>()
    };
    assert_eq!(scope("a1/eth1"), [nic(0, 1)]);
    assert_eq!(scope("a1/eth0"), [nic(0, 0)]);
    assert_eq!(scope("a1"), [nic(0, 0), nic(0, 1)]);
    assert_eq!(scope("az-b"), [nic(0, 1), nic(2, 0)]);
    let refusal = refused(&text("", "{name: down, at: 0s, fault: {down: b1/eth1}}"));
    assert!(refusal.contains("no link leads to \"b1/eth1\""), "{refusal}");
    assert!(refusal.contains("did you mean `a1/eth1`?"), "{refusal}");
}

#[test]
fn a_loss_at_a_second_card_names_it_and_what_turns_its_own_check_off() {
    let (_folder, path) = written(&text("", ""));
    let report = printed(&["run"], &path);
    assert!(report.contains("src_dst_check@a1/eni1"), "{report}");
    let remedy = "`sourceDestCheck: false` at a1/eth1: awsSrcDstCheck is about the first interface alone";
    assert!(report.contains(remedy), "{report}");
    let (_folder, path) =
        written(&text("", "").replace("  allow: [{lint: SRC_DST_CHECK_NO_ENCAPSULATION, reason: the subject}]\n", ""));
    let warning = printed(&["check"], &path);
    assert!(
        warning.contains("pool pool sends bare packets past a1/eth1's source/destination check"),
        "{warning}"
    );
}

// A card that no node is reached by, as one of a storage network, meets no pod's packet.
#[test]
fn a_check_at_a_card_that_leads_to_no_node_is_nothing_to_warn_of() {
    let storage = text("", "")
        .replace("az-b: {}", "az-b: {}, storage: {}")
        .replace("eth1: {subnet: az-b}", "eth1: {subnet: storage}");
    let refusal = refused(&storage);
    assert!(
        refusal.contains("SRC_DST_CHECK_NO_ENCAPSULATION finds nothing here"),
        "{refusal}"
    );
}

#[test]
fn a_plan_prints_the_cards_of_a_machine_that_has_several() {
    let (_folder, path) = written(&text("", ""));
    let plan = printed(&["plan", "--node", "a1"], &path);
    assert!(
        plan.contains("  card    eth0 main/az-a  unchecked\n  card    eth1 main/az-b  checked\n"),
        "{plan}"
    );
    assert!(plan.contains("  device  eth1 mtu 9001  10.0.2.12/24\n"), "{plan}");
    assert!(!printed(&["plan", "--node", "a2"], &path).contains("  card "));
    let json: Value = serde_json::from_str(&printed(&["plan", "--json", "--node", "a1"], &path)).unwrap();
    let expected = serde_json::json!({"name": "eth1", "subnet": "main/az-b", "checked": true, "groups": []});
    assert_eq!(json["nodes"][0]["cards"][1], expected);
}

#[test]
fn a_capture_has_an_interface_for_each_card() {
    let (folder, path) = written(&text("", ""));
    let captures = folder.path().join("captures");
    printed(&["run", "--capture", captures.to_str().unwrap()], &path);
    let file = fs::read_dir(captures).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(file).unwrap();
    let names = |name: &str| bytes.windows(name.len()).filter(|window| *window == name.as_bytes()).count();
    assert_eq!(["a1/eth1", "a2/eth0", "b1/eth1"].map(names), [1, 1, 0]);
}

#[test]
fn the_tables_of_a_machine_have_its_cards_first_and_in_their_order() {
    let model = model("", "");
    let host = model.host_network(&model.nodes[0]);
    assert_eq!(host.nics.iter().map(|nic| &*nic.name).collect::<Vec<_>>(), ["eth0", "eth1"]);
    assert_eq!(host.gateways.v4, "10.0.1.1".parse().ok());
    assert!(model.rewiring_at(Instant::ZERO).is_none());
}
