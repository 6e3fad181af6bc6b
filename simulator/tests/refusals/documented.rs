//! The pages on scenarios name every key that the reader knows: a key that nobody knows makes it tell them, one mapping after the
//! other. Drop reasons and codes are held against their pages too.

use std::collections::BTreeSet;
use std::path::PathBuf;

use overlab_simulator::scenario::{Diagnostic, load};
use serde_json::{Value, json};

use crate::Folder;

/// A scenario with a mapping of every kind, and none that is refused.
fn everything() -> Value {
    let rules = json!([{"proto": "udp"}]);
    let acl = json!([{"action": "allow"}]);
    let routes = json!([{"to": "10.9.0.0/16", "via": "none"}]);
    json!({
        "apiVersion": "overlab.dev/v1alpha1",
        "kind": "Scenario",
        "metadata": {"name": "everything"},
        "spec": {
            "underlay": {
                "main": {
                    "preset": "aws",
                    "delay": {},
                    "knobs": {},
                    "securityGroups": {"nodes": {"ingress": rules, "egress": rules}},
                    "routes": routes,
                    "subnets": {"az-a": {"nodes": 2, "acl": {"ingress": acl, "egress": acl}, "routes": routes}},
                },
                "other": {"preset": "aws", "cidr": "10.1.0.0/16", "subnets": {"az-b": {"nodes": 1}}},
                "web": {"preset": "internet", "cidr": "203.0.113.0/24", "subnets": {"sites": {"cidr": "203.0.113.0/25"}}},
            },
            "gateways": {
                "tgw": {"kind": "transitGateway", "joins": ["main", "other"], "routes": [{"to": "10.8.0.0/16", "via": "other"}]},
                "igw": {"kind": "internetGateway", "joins": ["main", "web"]},
                "nat": {"kind": "natGateway", "subnet": "az-a", "publicIp": "198.51.100.9"},
                "fw": {"kind": "firewall", "joins": ["main", "other"], "rules": rules},
            },
            "nodes": {"n": {"subnet": "az-a", "interfaces": {"eth1": {"subnet": "az-a"}}}},
            "hosts": {"h": {"subnet": "az-a"}},
            "workloads": {"pod": {"node": "a1"}, "web-b1": {"node": "b1"}},
            "flows": {
                "f": {"from": "pod", "to": "web-b1", "proto": "udp", "dport": 5},
                "t": {"from": "pod", "to": "web-b1", "proto": "tcp", "dport": 5, "exchange": {"request": "8B", "reply": "8B"}},
            },
            "variants": {"v": {}},
            "timeline": [
                {
                    "name": "patched",
                    "at": "1s",
                    "patch": {"kind": "IPPool", "name": "pool", "spec": {"natOutgoing": true}},
                    "rollout": {},
                },
                {"name": "gone", "at": "1s", "delete": {"kind": "Node", "name": "a2"}},
                {"name": "joins", "at": "1s", "node": {"join": "n"}},
                {"name": "down", "at": "1s", "agent": {"down": "a1"}},
                {"name": "moves", "at": "1s", "workload": {"move": "pod", "to": "b1"}},
                {"name": "bad", "at": "1s", "fault": {"on": "a1", "loss": "5%"}},
                {"name": "numbers", "at": "1s", "fault": {"flow": "f", "drop": [1]}},
            ],
            "expect": [
                {"flow": "f", "delivered": "all", "reverse": {"delivered": "all"}},
                {"matrix": {"count": 1}, "classes": {"cross-subnet": {"delivered": "all"}}},
                {"table": "routes", "node": "a1", "has": {"kind": "local"}},
                {"invariant": "no-loops"},
            ],
        },
    })
}

const POOL: &str = "
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 192.168.0.0/16}
";

/// Each kind of mapping, with the page and the heading there under which its keys stand.
const KINDS: [(&str, &str, &str); 40] = [
    ("", "scenario", "## Document"),
    ("/metadata", "scenario", "## Metadata"),
    ("/spec", "scenario", "## Spec"),
    ("/spec/underlay/main", "scenario", "## Underlay"),
    ("/spec/underlay/main/delay", "scenario", "## Underlay"),
    ("/spec/underlay/main/routes/0", "scenario", "## Underlay"),
    ("/spec/underlay/main/knobs", "underlays", "## Knobs"),
    ("/spec/underlay/main/subnets/az-a", "scenario", "## Subnets"),
    ("/spec/underlay/main/subnets/az-a/routes/0", "scenario", "## Underlay"),
    ("/spec/underlay/main/subnets/az-a/acl", "scenario", "## Rules"),
    ("/spec/underlay/main/subnets/az-a/acl/ingress/0", "scenario", "## Rules"),
    ("/spec/underlay/main/subnets/az-a/acl/egress/0", "scenario", "## Rules"),
    ("/spec/underlay/main/securityGroups/nodes", "scenario", "## Rules"),
    ("/spec/underlay/main/securityGroups/nodes/ingress/0", "scenario", "## Rules"),
    ("/spec/underlay/main/securityGroups/nodes/egress/0", "scenario", "## Rules"),
    ("/spec/gateways/tgw", "underlays", "## Gateways"),
    ("/spec/gateways/tgw/routes/0", "underlays", "## Gateways"),
    ("/spec/gateways/nat", "underlays", "## Gateways"),
    ("/spec/gateways/fw", "underlays", "## Gateways"),
    ("/spec/gateways/fw/rules/0", "underlays", "## Gateways"),
    ("/spec/nodes/n", "scenario", "## Nodes and hosts"),
    ("/spec/nodes/n/interfaces/eth1", "scenario", "## Nodes and hosts"),
    ("/spec/hosts/h", "scenario", "## Nodes and hosts"),
    ("/spec/workloads/pod", "scenario", "## Workloads"),
    ("/spec/flows/f", "flows", ""),
    ("/spec/flows/t/exchange", "flows", ""),
    ("/spec/variants/v", "scenario", "## Variants"),
    ("/spec/timeline/0", "scenario", "## Timeline"),
    ("/spec/timeline/0/rollout", "scenario", "### Rollout"),
    ("/spec/timeline/1/delete", "scenario", "## Timeline"),
    ("/spec/timeline/2/node", "scenario", "## Timeline"),
    ("/spec/timeline/3/agent", "scenario", "## Timeline"),
    ("/spec/timeline/4/workload", "scenario", "## Timeline"),
    ("/spec/timeline/5/fault", "scenario", "## Faults"),
    ("/spec/timeline/6/fault", "scenario", "## Faults"),
    ("/spec/expect/0", "expectations", ""),
    ("/spec/expect/0/reverse", "expectations", ""),
    ("/spec/expect/1/matrix", "expectations", ""),
    ("/spec/expect/2", "expectations", ""),
    ("/spec/expect/3", "expectations", ""),
];

fn page(name: &str) -> String {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).join(format!("{name}.md"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A page from a heading on, until the next one that is not below it.
fn section<'p>(page: &'p str, heading: &str) -> &'p str {
    let Some((_, text)) = page.split_once(&format!("\n{heading}\n")) else {
        assert_eq!(heading, "", "no such heading");
        return page;
    };
    let level = heading.split(' ').next().unwrap().len();
    let ends = (1..=level).filter_map(|level| text.find(&format!("\n{} ", "#".repeat(level))));
    &text[..ends.min().unwrap_or(text.len())]
}

/// What stands in backticks, blocks aside.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|prose| prose.split('`').skip(1).step_by(2))
}

/// Every word that stands in backticks.
fn words(text: &str) -> BTreeSet<&str> {
    spans(text)
        .flat_map(|span| span.split(|c: char| !c.is_ascii_alphanumeric()))
        .collect()
}

/// The keys that a mapping of the scenario can have, as its reader tells them.
fn known_keys(pointer: &str) -> Vec<String> {
    let mut scenario = everything();
    let mapping = scenario.pointer_mut(pointer).and_then(Value::as_object_mut);
    mapping.unwrap().insert("qqqqqqqqqqqq".to_owned(), json!(1));
    let messages = refused(&scenario);
    let told = messages.iter().find_map(|message| message.split_once("known keys are "));
    let (_, told) = told.unwrap_or_else(|| panic!("{pointer}: {messages:?}"));
    told.split(", ").map(str::to_owned).collect()
}

/// What is wrong with a scenario, and what would be right.
fn refused(scenario: &Value) -> Vec<String> {
    let (_folder, path) = Folder::with(format!("{scenario}{POOL}"));
    let diagnostics = load(&path).err().unwrap_or_default();
    let line = |d: &Diagnostic| format!("{}; {}", d.message, d.help.as_deref().unwrap_or_default());
    diagnostics.iter().map(line).collect()
}

#[test]
fn the_scenario_with_a_mapping_of_every_kind_is_sound() {
    assert_eq!(refused(&everything()), Vec::<String>::new());
}

#[test]
fn every_key_that_is_known_is_documented() {
    let mut missing = Vec::new();
    for (pointer, name, heading) in KINDS {
        let text = page(name);
        let words = words(section(&text, heading));
        let keys = known_keys(pointer);
        let unknown = keys.into_iter().filter(|key| !words.contains(&**key));
        missing.extend(unknown.map(|key| format!("{key} of {pointer}: docs/{name}.md {heading}")));
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn the_example_of_the_page_is_a_scenario() {
    let text = page("scenario");
    let example = text.split("```").nth(1).and_then(|block| block.strip_prefix("yaml\n"));
    let (_folder, path) = Folder::with(example.unwrap());
    assert!(load(&path).is_ok());
}

#[test]
fn every_reason_for_which_packets_are_lost_is_documented() {
    let mut scenario = everything();
    scenario["spec"]["expect"] = json!([{"flow": "f", "dropped": "qqqqqqqqqqqq"}]);
    let messages = refused(&scenario);
    let reasons = messages.iter().find_map(|message| message.split_once("drop reasons are "));
    let reasons: BTreeSet<&str> = reasons.unwrap().1.split(", ").collect();
    let page = page("drops");
    let told: BTreeSet<&str> = spans(&page).collect();
    let missing: Vec<_> = reasons.iter().filter(|reason| !told.contains(*reason)).collect();
    assert_eq!(missing, Vec::<&&str>::new());
}

/// The codes of scenarios and files that the simulator's source names.
fn codes() -> BTreeSet<String> {
    let mut waiting = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut codes = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        codes.extend(text.split('"').filter(is_code).map(str::to_owned));
    }
    codes
}

fn is_code(text: &&str) -> bool {
    let name = text.strip_prefix(['E', 'F', 'Y']).and_then(|text| text.strip_prefix('-'));
    name.is_some_and(|name| name.chars().all(|c| c == '-' || c.is_ascii_uppercase() || c.is_ascii_digit()))
}

#[test]
fn every_code_of_scenarios_and_files_is_documented_and_no_other() {
    let (errors, expectations) = (page("errors"), page("expectations"));
    let told: BTreeSet<&str> = spans(&errors).chain(spans(&expectations)).collect();
    let codes = codes();
    // The first one's row tells the others as `02` and `03`.
    let is_told = |code: &&String| told.contains(&***code) || code.starts_with("E-DLV-");
    let missing: Vec<_> = codes.iter().filter(|code| !is_told(code)).collect();
    assert_eq!(missing, Vec::<&String>::new());
    let gone: Vec<_> = told
        .into_iter()
        .filter(is_code)
        .filter(|code| !codes.contains(*code))
        .collect();
    assert_eq!(gone, Vec::<&str>::new());
}
