//! Events that cannot be: what the datastore, its nodes and workloads would have to do for them.

use crate::{GOOD, broken, rendered};

/// What a timeline is refused with.
fn refused(events: &str) -> String {
    rendered(broken(
        "  expect:\n",
        &format!("  duration: 5s\n  timeline:\n    - {events}\n  expect:\n"),
    ))
}

#[rstest::rstest]
#[case::in_the_past(
    "{name: x, at: -1s, patch: {kind: IPPool, name: pool, spec: {ipipMode: Always}}}",
    "K-VALUE",
    "expected a time such as"
)]
#[case::after_the_end(
    "{name: x, at: 5s, patch: {kind: IPPool, name: pool, spec: {ipipMode: Always}}}",
    "E-EVENT",
    "the run has ended by then, at 5.000 s"
)]
#[case::a_patch_with_an_end(
    "{name: x, at: 1s, for: 1s, patch: {kind: IPPool, name: pool, spec: {ipipMode: Always}}}",
    "E-EVENT",
    "this stays as it is then"
)]
#[case::an_unknown_name(
    "{name: x, at: 1s, patch: {kind: IPPool, name: pol, spec: {ipipMode: Always}}}",
    "E-EVENT",
    "no manifest is called `IPPool/pol` at that time"
)]
#[case::an_unknown_kind(
    "{name: x, at: 1s, patch: {kind: IpPool, name: pool, spec: {ipipMode: Always}}}",
    "E-EVENT",
    "no manifest is called `IpPool/pool` at that time"
)]
#[case::no_kind(
    "{name: x, at: 1s, patch: {name: pool, spec: {ipipMode: Always}}}",
    "K-MISSING",
    "`kind` is missing"
)]
#[case::nothing_new(
    "{name: x, at: 1s, patch: {kind: IPPool, name: pool}}",
    "E-EVENT",
    "the patch changes nothing"
)]
#[case::another_name(
    "{name: x, at: 1s, patch: {kind: IPPool, name: pool, metadata: {name: other}}}",
    "E-EVENT",
    "an object keeps its name"
)]
#[case::nothing_applied("{name: x, at: 1s, apply: []}", "E-EVENT", "nothing is applied")]
#[case::nobody_down("{name: x, at: 1s, agent: {down: []}}", "K-VALUE", "expected a node, or several")]
#[case::a_patch_of_what_was_deleted(
    "{name: z, at: 1s, delete: {kind: IPPool, name: pool}}\n    - {name: x, at: 2s, patch: {kind: IPPool, name: pool, spec: {ipipMode: Always}}}",
    "E-EVENT",
    "no manifest is called `IPPool/pool` at that time"
)]
#[case::deleted_twice(
    "{name: z, at: 1s, delete: {kind: Node, name: b1}}\n    - {name: x, at: 2s, delete: {kind: Node, name: b1}}",
    "E-EVENT",
    "no manifest is called `Node/b1` at that time"
)]
#[case::a_pool_that_is_not_there(
    "{name: x, at: 1s, delete: {kind: IPPool, name: pol}}",
    "K-UNKNOWN",
    "there is no IPPool \"pol\" to delete"
)]
#[case::a_node_that_is_no_machine(
    "{name: x, at: 1s, delete: {kind: Node, name: b9}}",
    "K-UNKNOWN",
    "there is no Node \"b9\" to delete"
)]
#[case::a_deletion_that_says_more(
    "{name: x, at: 1s, delete: {kind: IPPool, name: pool, spec: {}}}",
    "K-UNKNOWN",
    "unknown key `spec`"
)]
#[case::an_unknown_node_in_the_order(
    "{name: x, at: 1s, patch: {kind: IPPool, name: pool, spec: {ipipMode: Always}}, rollout: {order: [a1, a9]}}",
    "E-NODE",
    "unknown node \"a9\""
)]
#[case::twice_in_the_order(
    "{name: x, at: 1s, patch: {kind: IPPool, name: pool, spec: {ipipMode: Always}}, rollout: {order: [a1, a1]}}",
    "E-EVENT",
    "a node learns of a change once"
)]
#[case::a_negative_stagger(
    "{name: x, at: 1s, patch: {kind: IPPool, name: pool, spec: {ipipMode: Always}}, rollout: {stagger: -1s}}",
    "K-VALUE",
    "expected a time such as"
)]
#[case::a_key_that_no_rollout_has(
    "{name: x, at: 1s, patch: {kind: IPPool, name: pool, spec: {ipipMode: Always}}, rollout: {staggers: 1s}}",
    "K-UNKNOWN",
    "unknown key `staggers`"
)]
#[case::a_rollout_of_a_fault(
    "{name: x, at: 1s, fault: {on: a1, loss: 1%}, rollout: {stagger: 1s}}",
    "E-EVENT",
    "no node has to learn of this"
)]
#[case::an_unknown_node_that_joins("{name: x, at: 1s, node: {join: a9}}", "E-NODE", "unknown node \"a9\"")]
#[case::joined_twice(
    "{name: z, at: 1s, node: {join: a1}}\n    - {name: x, at: 2s, node: {join: a1}}",
    "E-EVENT",
    "a1 is a node of the cluster already"
)]
#[case::moved_to_an_unknown_node("{name: x, at: 1s, workload: {move: web-a1, to: a9}}", "E-NODE", "unknown node \"a9\"")]
#[case::moved_to_where_it_is("{name: x, at: 1s, workload: {move: web-a1, to: a1}}", "E-EVENT", "web-a1 is on a1 already")]
#[case::moved_to_a_node_that_has_not_joined(
    "{name: x, at: 1s, workload: {move: web-a1, to: a2}}\n    - {name: z, at: 2s, node: {join: a2}}",
    "E-EVENT",
    "a2 is no node of the cluster then"
)]
#[case::an_unknown_workload("{name: x, at: 1s, workload: {recreate: web-a9}}", "E-EVENT", "unknown workload \"web-a9\"")]
#[case::moved_without_a_place("{name: x, at: 1s, workload: {move: web-a1}}", "E-EVENT", "it is not said what happens")]
#[case::an_unknown_agent("{name: x, at: 1s, agent: {down: a9}}", "E-NODE", "unknown node \"a9\"")]
#[case::outages_that_overlap(
    "{name: z, at: 1s, for: 2s, agent: {down: a1}}\n    - {name: x, at: 2s, agent: {restart: [a2, a1]}}",
    "E-EVENT",
    "calico-node of a1 is down already, by `z`"
)]
#[case::two_things_in_one(
    "{name: x, at: 1s, agent: {down: a1}, node: {join: a2}}",
    "E-EVENT",
    "an event does one thing"
)]
fn an_event_that_cannot_be_is_refused(#[case] events: &str, #[case] code: &str, #[case] message: &str) {
    let text = refused(events);
    assert!(text.contains(&format!("error[{code}]: {message}")), "{text}");
}

/// What Calico would not take is shown at the patch's own line, with the rule's code.
#[rstest::rstest]
#[case::both_modes("spec: {vxlanMode: Always}", "R8", "vxlanMode: Always")]
#[case::another_range("spec: {cidr: 10.99.0.0/16}", "R4", "10.99.0.0/16")]
#[case::another_block_size("spec: {blockSize: 28}", "R11", "blockSize: 28")]
#[case::another_spelling("spec: {ipipMode: crosssubnet}", "R7", "crosssubnet")]
#[case::no_key_of_a_pool("spec: {modus: Always}", "K-UNKNOWN", "modus: Always")]
fn a_patch_that_calico_refuses_is_shown_where_it_is(#[case] patch: &str, #[case] code: &str, #[case] shown: &str) {
    let text = refused(&format!("{{name: x, at: 1s, patch: {{kind: IPPool, name: pool, {patch}}}}}"));
    let first = text.split("\n\n").next().unwrap();
    assert!(first.contains(&format!("error[{code}]: ")), "{text}");
    assert!(first.contains("--> x.yaml:25:") && first.contains(shown), "{text}");
}

#[test]
fn an_applied_object_that_calico_refuses_is_shown_where_it_is() {
    let text = refused(
        "name: x\n      at: 1s\n      apply:\n        apiVersion: projectcalico.org/v3\n        kind: IPPool\n        metadata: {name: \
         other}\n        spec: {cidr: 192.168.128.0/17, vxlanMode: Always}",
    );
    assert!(text.contains("--> x.yaml:31:22"), "{text}");
    assert!(text.contains("192.168.128.0/17"), "{text}");
}

#[rstest::rstest]
#[case::made_after_the_end(
    "    web-b1: {node: b1, ip: 192.168.30.2, createdAt: x+9h}",
    "{name: x, at: 1s, agent: {down: a1}}",
    "error[E-WINDOW]: 32401.000 s is not within the run, which ends at 5.000 s"
)]
#[case::made_at_no_instant(
    "    web-b1: {node: b1, ip: 192.168.30.2, createdAt: later}",
    "{name: x, at: 1s, agent: {down: a1}}",
    "error[E-EVENT]: unknown event \"later\""
)]
#[case::moved_before_it_is_made(
    "    web-b1: {node: b1, ip: 192.168.30.2, createdAt: 3s}",
    "{name: x, at: 1s, workload: {move: web-b1, to: a2}}",
    "error[E-EVENT]: web-b1 is made later, at 3.000 s"
)]
fn a_workload_that_is_not_there_yet_is_refused(#[case] workload: &str, #[case] event: &str, #[case] message: &str) {
    let text = broken("    web-b1: {node: b1, ip: 192.168.30.2}", workload);
    let text = text.replace("  expect:\n", &format!("  duration: 5s\n  timeline: [{event}]\n  expect:\n"));
    let text = rendered(text);
    assert!(text.contains(message), "{text}");
}

#[test]
fn the_pool_of_an_installation_cannot_be_deleted() {
    let pool = GOOD.split_once("---\n").unwrap().1;
    let text = GOOD.replace(
        pool,
        "apiVersion: operator.tigera.io/v1\nkind: Installation\nmetadata: {name: default}\nspec: {calicoNetwork: {ipPools: [{name: \
         pool, cidr: 192.168.0.0/16, encapsulation: IPIPCrossSubnet}]}}\n",
    );
    let event = "{name: x, at: 1s, delete: {kind: IPPool, name: pool}}";
    let text = text.replace("  expect:\n", &format!("  duration: 5s\n  timeline: [{event}]\n  expect:\n"));
    let text = rendered(text);
    assert!(
        text.contains("error[K-RECREATED]: without pool pool, pool pool would be created"),
        "{text}"
    );
}
