//! What events make of the nodes of a scenario: who has which tables when, and which wires.

use std::path::Path;

use overlab_dataplane::Instant;
use overlab_dataplane::route::node_tables;
use overlab_simulator::run::{cases, select};
use overlab_simulator::scenario::{Loaded, Machine, Model, load, load_variant};

fn model(timeline: &str, manifests: &str) -> Model {
    loaded(timeline, manifests).model
}

fn loaded(timeline: &str, manifests: &str) -> Loaded {
    let text = format!(
        "apiVersion: overlab.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: t}}\nspec:\n  duration: 9s\n  underlay: {{dc: {{preset: aws, \
         subnets: {{a: {{}}}}}}}}\n  nodes: {{n1: {{subnet: a, ip: 10.0.1.11}}, n2: {{subnet: a, ip: 10.0.1.12}}}}\n  workloads: {{w1: \
         {{node: n1, ip: 192.168.1.2}}, w2: {{node: n2, ip: 192.168.2.2}}}}\n  flows: {{f: {{from: w1, to: w2}}}}\n  timeline:\n{timeline}  \
         expect: [{{flow: f, delivered: {{min: 1}}}}]\n---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: \
         pool}}\nspec: {{cidr: 192.168.0.0/16, vxlanMode: Always}}\n{manifests}"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    std::fs::write(&path, text).unwrap();
    load(&path).map_err(|wrong| wrong[0].to_string()).unwrap()
}

/// When which node's tables change, and why.
fn changes(model: &Model) -> Vec<(u64, &str, &str)> {
    let all = model.table_changes.iter();
    all.map(|change| (milliseconds(change.at), &*model.nodes[change.machine].name, &*change.cause))
        .collect()
}

fn milliseconds(at: Instant) -> u64 {
    u64::try_from(at.since(Instant::ZERO).as_millis()).unwrap()
}

const SWITCH: &str = "    - {name: s, at: 1s, patch: {kind: IPPool, name: pool, spec: {vxlanMode: Never}}, rollout: {agentRestart: 500ms, \
                      birdDelay: 250ms}}\n";

#[test]
fn a_change_comes_to_a_node_in_three_steps() {
    let model = model(SWITCH, "");
    assert_eq!(
        changes(&model),
        [
            (1000, "n1", "hears of s"),
            (1000, "n2", "hears of s"),
            (1250, "n1", "BIRD follows s"),
            (1250, "n2", "BIRD follows s"),
            (3500, "n1", "Felix has restarted"),
            (3500, "n2", "Felix has restarted"),
        ]
    );
}

#[test]
fn felix_is_away_as_long_as_the_change_says_that_ended_it() {
    let later = format!("{SWITCH}    - {{name: m, at: 2s, workload: {{recreate: w1}}}}\n");
    let model = model(&later, "");
    let restarts = changes(&model)
        .into_iter()
        .filter(|(.., cause)| *cause == "Felix has restarted");
    assert_eq!(restarts.map(|(at, ..)| at).collect::<Vec<_>>(), [3500, 3500]);
}

#[test]
fn of_two_patches_at_one_instant_the_later_one_in_the_file_counts() {
    let patch = |name: &str, mode: &str| {
        format!("    - {{name: {name}, at: 1s, patch: {{kind: IPPool, name: pool, spec: {{vxlanMode: {mode}}}}}}}\n")
    };
    let modes = |first, second| {
        let model = model(&(patch("p", first) + &patch("q", second)), "");
        let last = model.versions.last().unwrap();
        (last.name.to_string(), format!("{:?}", last.cluster.pools()["pool"].mode()))
    };
    assert_eq!(modes("Never", "CrossSubnet"), ("q".to_owned(), "CrossSubnet".to_owned()));
    assert_eq!(modes("CrossSubnet", "Never"), ("q".to_owned(), "Never".to_owned()));
}

#[test]
fn an_agent_that_is_down_from_the_start_has_left_its_tables() {
    let model = model("    - {name: d, at: 0s, for: 2s, agent: {down: n1}}\n", "");
    assert!(changes(&model).is_empty(), "{:?}", changes(&model));
}

#[test]
fn an_agent_that_is_down_hears_of_a_change_when_it_is_back() {
    let model = model(
        &format!("    - {{name: d, at: 500ms, for: 5s, agent: {{down: n1}}}}\n{SWITCH}"),
        "",
    );
    let first = changes(&model).into_iter().find(|(_, node, _)| *node == "n1").unwrap();
    assert_eq!(first, (5500, "n1", "Felix has restarted after d"));
}

#[test]
fn the_manifest_of_a_node_counts_from_its_joining_on() {
    let record =
        "---\napiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: n2}\nspec: {bgp: {ipv4Address: 10.0.1.12/24}}\n";
    let model = model("    - {name: j, at: 1s, node: {join: n2}}\n", record);
    assert!(!model.cluster.nodes().contains_key("n2"));
    assert!(model.versions[0].cluster.nodes().contains_key("n2"));
    assert_eq!(
        changes(&model),
        [(1000, "n1", "hears of j"), (1000, "n2", "Felix has started")]
    );
}

/// The check of each node's interface from each instant on.
fn checks(model: &Model) -> Vec<(u64, Vec<bool>)> {
    let of = |nodes: &[Machine]| nodes.iter().map(|node| node.primary().source_destination_check).collect();
    let later = model.rewirings.iter().map(|wires| (milliseconds(wires.at), of(&wires.nodes)));
    std::iter::once((0, of(&model.nodes))).chain(later).collect()
}

#[test]
fn the_last_word_about_a_check_counts_be_it_felixs_or_the_timelines() {
    let patch = "    - {name: p, at: 1s, patch: {kind: FelixConfiguration, name: default, spec: {awsSrcDstCheck: Disable}}, rollout: \
                 {order: [n1, n2], stagger: 2s, agentRestart: 500ms}}\n";
    let set =
        |value: bool, at: &str| format!("    - {{name: s, at: {at}, for: 1s, set: {{nodes.n1.sourceDestCheck: {value}}}}}\n");
    let before = model(&format!("{patch}{}", set(true, "3s")), "");
    assert_eq!(
        checks(&before),
        [
            (0, vec![true, true]),
            (3000, vec![true, true]),
            (3500, vec![false, true]),
            (4000, vec![false, true]),
            (5500, vec![false, false]),
        ]
    );
    let after = model(&format!("{patch}{}", set(true, "4s")), "");
    assert_eq!(
        checks(&after),
        [
            (0, vec![true, true]),
            (3500, vec![false, true]),
            (4000, vec![true, true]),
            (5000, vec![false, true]),
            (5500, vec![false, false]),
        ]
    );
}

#[test]
fn felix_sets_the_check_of_a_node_that_joins_when_it_does() {
    let felix = "---\napiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {awsSrcDstCheck: \
                 Disable}\n";
    let model = model("    - {name: j, at: 1s, node: {join: n2}}\n", felix);
    assert_eq!(checks(&model), [(0, vec![false, true]), (1000, vec![false, false])]);
}

#[test]
fn a_lint_that_an_event_brings_is_shown_at_the_event() {
    let warnings = loaded(SWITCH, "").warnings;
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    let text = warning.to_string();
    assert!(
        text.contains("SRC_DST_CHECK_NO_ENCAPSULATION]: from s on, pool pool sends bare packets past n1's"),
        "{text}"
    );
    assert!(text.contains("patch: {kind: IPPool, name: pool"), "{text}");
}

#[test]
fn workloads_that_are_not_made_anew_keep_an_mtu_that_is_too_large() {
    let switch = "    - name: s\n      at: 1s\n      apply: {apiVersion: projectcalico.org/v3, kind: FelixConfiguration, metadata: {name: \
                  default}, spec: {vxlanMTU: 1400}}\n";
    let stale = |timeline: &str| {
        let warnings = loaded(timeline, "").warnings.into_iter().map(|warning| warning.to_string());
        warnings
            .filter(|text| text.contains("MTU_STALE_AFTER_SWITCH"))
            .collect::<Vec<_>>()
    };
    let found = stale(switch);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains("an MTU of 8951 B stays with workload w1 and 1 more, and a new one gets 1400 B"),
        "{}",
        found[0]
    );
    let anew = |name: &str| format!("    - {{name: {name}-anew, at: 5s, workload: {{recreate: {name}}}}}\n");
    let found = stale(&format!("{switch}{}", anew("w1")));
    assert!(found[0].contains("stays with workload w2, and"), "{}", found[0]);
    assert_eq!(stale(&format!("{switch}{}{}", anew("w1"), anew("w2"))).len(), 0);
}

#[test]
fn the_settings_of_one_node_restart_its_felix_alone() {
    let apply = "    - name: p\n      at: 1s\n      apply: {apiVersion: projectcalico.org/v3, kind: FelixConfiguration, metadata: {name: \
                 node.n2}, spec: {vxlanMTU: 1400}}\n";
    assert_eq!(changes(&model(apply, "")), [(4500, "n2", "Felix has restarted")]);
}

/// However a change came to the nodes: in the end each has the tables that follow from the datastore, workloads' MTUs aside.
#[test]
fn every_rollout_of_every_scenario_ends_in_the_tables_of_the_last_datastore() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut compared = 0;
    for case in cases(&select(std::slice::from_ref(&root)).files) {
        let model = load_variant(&case.file, case.variant.as_deref()).unwrap().model;
        let Some(last) = model.versions.last() else { continue };
        let is_back = |place: &usize| {
            model
                .outages
                .iter()
                .all(|outage| outage.node != *place || outage.until.is_some())
        };
        let is_node = |place: &usize| last.cluster.nodes().contains_key(&model.nodes[*place].name);
        for place in (0..model.nodes.len()).filter(is_back).filter(is_node) {
            let change = model.table_changes.iter().rfind(|change| change.machine == place);
            let Some(change) = change else { continue };
            let mtus = change
                .tables
                .workloads
                .iter()
                .map(|workload| (workload.name.clone(), workload.mtu));
            let wanted = node_tables(&last.cluster, &model.host_network(&model.nodes[place]));
            let wanted = wanted.with_workload_mtus(&mtus.collect());
            assert_eq!(*change.tables, wanted, "{case}, {}", model.nodes[place].name);
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn a_derived_record_loses_its_address_and_gets_it_back() {
    let patch = |name: &str, at: &str, bgp: &str| {
        format!("    - {{name: {name}, at: {at}, patch: {{kind: Node, name: n2, spec: {{bgp: {bgp}}}}}}}\n")
    };
    let timeline = patch("lost", "1s", "null") + &patch("back", "2s", "{ipv4Address: 10.0.1.12/24}");
    let model = model(&timeline, "");
    let recorded = |version: usize| model.versions[version].cluster.nodes()["n2"].ipv4.is_some();
    assert_eq!((recorded(0), recorded(1)), (false, true));
    let of_n1 = changes(&model).into_iter().filter(|(_, node, _)| *node == "n1");
    assert_eq!(
        of_n1.collect::<Vec<_>>(),
        [(1000, "n1", "hears of lost"), (2000, "n1", "hears of back")]
    );
}
