//! What stands between nodes and lets no tunnel begin: the probes of a matrix meet it whichever side it is on, and a lint tells it.

use std::fs;

use rstest::rstest;

use crate::json;

/// Two nodes on the left and one on the right. The first probe from n2 to n3 and that from n3 to n1 come on ways that nothing has opened.
const CLUSTER: &str = r#"
apiVersion: overlab.dev/v1alpha1
kind: Scenario
metadata: {name: x}
spec:
  underlay:
WIRES
  workloads: {w1: {node: n1}, w2: {node: n2}, w3: {node: n3}}
  expect: [{matrix: all, at: 600ms, classes: {cross-subnet: {delivered: {max: 12}}}}]
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 192.168.0.0/16, MODE: Always}
"#;

const GROUPS: &str = r"
    vpc: {preset: aws, subnets: {az-a: {}, az-b: {}}, securityGroups: {left: {ingress: [LEFT]}, right: {ingress: [RIGHT]}}}
  nodes: {n1: {subnet: az-a, groups: [left]}, n2: {subnet: az-a, groups: [left]}, n3: {subnet: az-b, groups: [right]}}
  timeline: [TIMELINE]";

const LISTS: &str = r"
    vpc: {preset: aws, subnets: {az-a: {acl: {ingress: [LEFT]}}, az-b: {acl: {ingress: [RIGHT]}}}}
  nodes: {n1: {subnet: az-a}, n2: {subnet: az-a}, n3: {subnet: az-b}}
  timeline: [TIMELINE]";

const FIREWALL: &str = r"
    west: {preset: onprem, cidr: 10.0.1.0/24, subnets: {a: {cidr: 10.0.1.0/24}}}
    core: {preset: onprem, cidr: 10.0.9.0/24, subnets: {c: {cidr: 10.0.9.0/24}}}
    east: {preset: onprem, cidr: 10.0.2.0/24, subnets: {b: {cidr: 10.0.2.0/24}}}
  gateways:
    line: {kind: router, joins: [west, core]}
    fw: {kind: firewall, joins: [core, east], rules: [LEFT, RIGHT]}
  nodes: {n1: {subnet: west/a}, n2: {subnet: west/a}, n3: {subnet: east/b}}
  timeline: [TIMELINE]";

const IPIP: &str = "{proto: 4}";
const VXLAN: &str = "{proto: udp, ports: 4789}";
const OTHER: &str = "{proto: icmp}";
const ALLOW: &str = "{action: allow, proto: 4}";
const DENY: &str = "{action: deny, proto: 4}";
const WESTWARDS: &str = "{from: 10.0.2.0/24, to: 10.0.1.0/24, proto: 4}";
const EASTWARDS: &str = "{from: 10.0.1.0/24, to: 10.0.2.0/24, proto: 4}";
const SHUT: &str = "{name: shut, at: 500ms, set: {underlay.vpc.securityGroups.right.ingress: []}}";
const SWITCH: &str = "{name: switch, at: 500ms, patch: {kind: IPPool, name: pool, spec: {ipipMode: Never, vxlanMode: Always}}, rollout: {agentRestart: 10ms, birdDelay: 10ms}}";

#[rstest]
#[case::groups_admit(GROUPS, [IPIP, IPIP], "ipipMode", "", "12", "")]
#[case::left_group_lacks_a_rule(GROUPS, [OTHER, IPIP], "ipipMode", "", "11",
    "pool pool sends protocol 4 from n2 to n1, and no rule of group left lets it in")]
#[case::right_group_lacks_a_rule(GROUPS, [IPIP, OTHER], "ipipMode", "", "11",
    "pool pool sends protocol 4 from n1 to n3, and no rule of group right lets it in")]
#[case::both_groups_lack_a_rule(GROUPS, [OTHER, OTHER], "ipipMode", "", "10",
    "pool pool sends protocol 4 from n2 to n1, and no rule of group left lets it in")]
#[case::groups_admit_vxlan(GROUPS, [VXLAN, VXLAN], "vxlanMode", "", "12", "")]
#[case::a_group_lacks_a_rule_for_vxlan(GROUPS, [VXLAN, OTHER], "vxlanMode", "", "0",
    "pool pool sends UDP to port 4789 from n1 to n3, and no rule of group right lets it in")]
#[case::lists_admit(LISTS, [ALLOW, ALLOW], "ipipMode", "", "12", "")]
#[case::left_list_denies(LISTS, [DENY, ALLOW], "ipipMode", "", "0",
    "pool pool sends protocol 4 from n3 to n1, and the access list of vpc/az-a does not let it in")]
#[case::right_list_denies(LISTS, [ALLOW, DENY], "ipipMode", "", "0",
    "pool pool sends protocol 4 from n1 to n3, and the access list of vpc/az-b does not let it in")]
#[case::firewall_admits(FIREWALL, [WESTWARDS, EASTWARDS], "ipipMode", "", "12", "")]
#[case::firewall_lacks_a_rule_westwards(FIREWALL, [EASTWARDS, EASTWARDS], "ipipMode", "", "11",
    "pool pool sends protocol 4 from n3 to n1, and no rule of firewall fw lets it pass")]
#[case::firewall_lacks_a_rule_eastwards(FIREWALL, [WESTWARDS, WESTWARDS], "ipipMode", "", "11",
    "pool pool sends protocol 4 from n1 to n3, and no rule of firewall fw lets it pass")]
#[case::a_rule_is_taken_away_during_the_run(GROUPS, [IPIP, IPIP], "ipipMode", SHUT, "11",
    "from shut on, pool pool sends protocol 4 from n1 to n3, and no rule of group right lets it in")]
#[case::a_pool_is_switched_to_what_no_rule_admits(GROUPS, ["{from: right, proto: 4}, {from: left}", "{}"], "ipipMode", SWITCH, "0",
    "from switch on, pool pool sends UDP to port 4789 from n3 to n1, and no rule of group left lets it in")]
fn a_matrix_meets_what_admits_no_tunnel_and_a_lint_tells_it(
    #[case] wires: &str,
    #[case] rules: [&str; 2],
    #[case] mode: &str,
    #[case] event: &str,
    #[case] delivered: &str,
    #[case] lint: &str,
) {
    let wires = wires
        .trim_start_matches('\n')
        .replace("LEFT", rules[0])
        .replace("RIGHT", rules[1]);
    let text = CLUSTER
        .replace("WIRES", &wires)
        .replace("MODE", mode)
        .replace("TIMELINE", event);
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    fs::write(&file, text).unwrap();
    let report = json(&["run", file.path().to_str().unwrap(), "--report", "json"]);
    let scenario = &report["scenarios"][0];
    let met = scenario["expectations"][0]["actual"].as_str().unwrap();
    assert_eq!(met, format!("{delivered} of 12 were delivered"));
    let lints = scenario["lints"].as_array().into_iter().flatten();
    let lints: Vec<_> = lints
        .filter_map(|one| one.as_str()?.strip_prefix("TUNNEL_NOT_ADMITTED: "))
        .collect();
    assert_eq!(lints.iter().any(|one| one.starts_with(lint)), !lint.is_empty(), "{lints:?}");
    assert_eq!(lints.len(), usize::from(!lint.is_empty()), "{lints:?}");
}
