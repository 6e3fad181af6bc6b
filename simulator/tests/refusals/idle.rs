//! What does nothing: events, faults and variants that would look as if they did.

use overlab_simulator::scenario::{load, load_variant};
use rstest::rstest;

use crate::{Folder, broken, lines, rendered};

/// What a timeline is refused with.
fn refused(events: &str) -> String {
    rendered(broken(
        "  expect:\n",
        &format!("  duration: 5s\n  timeline:\n    - {events}\n  expect:\n"),
    ))
}

const POOL: &str =
    "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: pool}, spec: {cidr: 192.168.0.0/16, ipipMode: ";
const DEPLOYMENT: &str = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}";
const BLOCK: &str = "{apiVersion: crd.projectcalico.org/v1, kind: IPAMBlock, metadata: {name: b}, spec: {cidr: 192.168.10.0/28, affinity: \
                     'host:a2', allocations: [], attributes: [], unallocated: []}}";

#[rstest]
#[case::an_empty_spec(
    "{name: x, at: 1s, patch: {kind: IPPool, name: pool, spec: {}}}",
    "E-EVENT",
    "the patch changes nothing"
)]
#[case::what_is_so(
    "{name: x, at: 1s, patch: {kind: IPPool, name: pool, spec: {ipipMode: CrossSubnet}}}",
    "E-EVENT",
    "the patch changes nothing"
)]
#[case::what_an_earlier_event_did(
    "{name: z, at: 1s, patch: {kind: IPPool, name: pool, spec: {ipipMode: Always}}}\n    - {name: x, at: 2s, patch: {kind: IPPool, name: pool, spec: {ipipMode: Always}}}",
    "E-EVENT",
    "the patch changes nothing"
)]
#[case::what_is_there(&format!("{{name: x, at: 1s, apply: {POOL}CrossSubnet}}}}}}"), "E-EVENT", "what is applied is there already")]
#[case::one_object_twice(
    &format!("{{name: x, at: 1s, apply: [{POOL}Always}}}}, {POOL}Never}}}}]}}"),
    "E-EVENT",
    "IPPool/pool is applied twice at one time"
)]
#[case::a_kind_that_takes_no_part(
    &format!("{{name: x, at: 1s, apply: {DEPLOYMENT}}}"),
    "E-EVENT",
    "nothing here reads objects of kind Deployment"
)]
#[case::a_scenario(
    "{name: x, at: 1s, apply: {apiVersion: overlab.dev/v1alpha1, kind: Scenario, metadata: {name: s}, spec: {}}}",
    "E-EVENT",
    "nothing here reads objects of kind Scenario"
)]
#[case::a_block_over_another(
    &format!("{{name: x, at: 1s, apply: {BLOCK}}}"),
    "K-DUPLICATE",
    "block 192.168.10.0/28 overlaps block 192.168.10.0/26 of a1"
)]
#[case::heard_of_after_the_end(
    "{name: x, at: 1s, patch: {kind: IPPool, name: pool, spec: {ipipMode: Always}}, rollout: {stagger: 2s}}",
    "E-EVENT",
    "b1 would learn of it at 5.000 s, and the run ends at 5.000 s"
)]
#[case::wires_that_are_so(
    "{name: x, at: 1s, set: {nodes.a1.subnet: az-a}}",
    "E-EVENT",
    "`nodes.a1.subnet` is that already"
)]
#[case::one_machine_in_two_parts(
    "{name: x, at: 1s, fault: {partition: [[a1, a2], [b1, a2]]}}",
    "E-FAULT",
    "a2 is in two parts"
)]
#[case::between_one_and_itself(
    "{name: x, at: 1s, fault: {between: [a1, a1], loss: 5%}}",
    "E-FAULT",
    "no packet goes from a machine to itself over the wires"
)]
#[case::from_one_to_itself(
    "{name: x, at: 1s, fault: {from: a1, to: a1, loss: 5%}}",
    "E-FAULT",
    "no packet goes from a machine to itself over the wires"
)]
fn an_event_that_does_nothing_is_refused(#[case] events: &str, #[case] code: &str, #[case] message: &str) {
    let text = refused(events);
    assert!(text.contains(&format!("error[{code}]: {message}")), "{text}");
    assert!(text.contains("--> x.yaml:2") && text.contains("= help: "), "{text}");
}

#[test]
fn parts_that_are_cards_of_one_machine_are_refused() {
    let card = "interfaces: {eth1: {subnet: az-b}}}";
    let fault = "  timeline:\n    - {name: x, at: 500ms, fault: {partition: [[a1/eth0], [a1/eth1]]}}\n  expect:\n";
    let text = broken("ip: 10.20.1.11}", &format!("ip: 10.20.1.11, {card}")).replace("  expect:\n", fault);
    let text = rendered(text);
    let message = "error[E-FAULT]: no packet goes from a machine to itself over the wires\n";
    assert!(text.starts_with(message) && text.contains("partition: "), "{text}");
}

#[rstest]
#[case::a_card("nodes.a1.interfaces.eth5.mtu", "spec.nodes.a1.interfaces.eth5")]
#[case::the_first_card("nodes.a1.interfaces.eth0.mtu", "spec.nodes.a1.interfaces.eth0")]
#[case::a_machine("nodes.a9.mtu", "spec.nodes.a9")]
fn what_nobody_has_written_is_not_set(#[case] path: &str, #[case] missing: &str) {
    let text = refused(&format!("{{name: x, at: 1s, set: {{{path}: 1400}}}}"));
    assert!(text.contains(&format!("error[E-EVENT]: no `{missing}` is written")), "{text}");
    assert!(text.contains("--> x.yaml:2") && text.contains("nothing new comes"), "{text}");
}

#[test]
fn what_a_set_leaves_out_is_still_told() {
    let text = refused("{name: x, at: 1s, set: {underlay.main.routes: [{to: 10.9.0.0/16}]}}");
    assert!(text.contains("error[K-MISSING]: then `via` is missing"), "{text}");
}

#[rstest]
#[case::a_part_of_it_is_new(&format!("{{name: x, at: 1s, apply: [{DEPLOYMENT}, {POOL}Always}}}}]}}"))]
#[case::wires_that_are_set_back(
    "{name: z, at: 1s, set: {nodes.a1.ip: 10.20.1.11}}, {name: x, at: 2s, for: 1s, set: {nodes.a1: {mtu: 1400}}}"
)]
#[case::traffic_within_a_subnet("{name: x, at: 1s, fault: {between: [az-a, az-a], loss: 5%}}")]
#[case::the_last_one_learns_in_time(
    "{name: x, at: 1s, patch: {kind: IPPool, name: pool, spec: {ipipMode: Always}}, rollout: {stagger: 1999ms}}"
)]
fn an_event_that_does_something_is_taken(#[case] event: &str) {
    let text = broken("  expect:\n", &format!("  duration: 5s\n  timeline: [{event}]\n  expect:\n"));
    let (folder, path) = Folder::with(text);
    if let Err(refused) = load(&path) {
        panic!("{}", lines(&folder, &refused));
    }
}

#[test]
fn a_workload_is_not_made_on_a_node_that_has_been_deleted() {
    let text = broken(
        "web-b1: {node: b1, ip: 192.168.30.2}",
        "web-b1: {node: b1, ip: 192.168.30.2, createdAt: 2s}",
    );
    let event = "{name: gone, at: 1s, delete: {kind: Node, name: b1}}";
    let text = text.replace("  expect:\n", &format!("  duration: 5s\n  timeline: [{event}]\n  expect:\n"));
    let text = rendered(text);
    let message = "error[E-EVENT]: web-b1 is made on b1, which is no node of the cluster then\n  --> x.yaml:18:53\n";
    assert!(text.starts_with(message), "{text}");
}

#[test]
fn a_variant_that_sets_what_is_so_is_refused() {
    let (folder, path) = Folder::with(broken(
        "  phases:",
        "  variants:\n    x: {set: {nodes.a1.ip: 10.20.1.11}}\n  phases:",
    ));
    insta::assert_snapshot!(lines(&folder, &load_variant(&path, Some("x")).unwrap_err()), @r#"
error[E-VARIANT]: this changes nothing: it is so without the variant
  --> x.yaml:22:15
   |
22 |     x: {set: {nodes.a1.ip: 10.20.1.11}}
   |               ^^^^^^^^^^^
   |
   = help: set another value, or remove the line
"#);
}
