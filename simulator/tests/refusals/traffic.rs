//! Workloads, flows and expectations.

use overlab_dataplane::route::Kernel;

use crate::{broken, rendered};

#[test]
fn an_unknown_node_is_refused() {
    let text = broken("node: a1", "node: a9");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-NODE]: unknown node "a9"
  --> x.yaml:17:20
   |
17 |     web-a1: {node: a9, ip: 192.168.10.2}
   |                    ^^
   |
   = note: a workload runs on a node of the scenario
   = help: did you mean `a1`?
"#);
}

#[test]
fn an_unknown_workload_is_refused() {
    let text = broken("to: web-b1, proto", "to: web-b2, proto");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-ENDPOINT]: unknown workload, node or host "web-b2"
  --> x.yaml:20:28
   |
20 |     az: {from: web-a1, to: web-b2, proto: udp, dport: 5000, rate: 100/s}
   |                            ^^^^^^
   |
   = note: packets go between workloads, nodes and hosts of the scenario
   = help: did you mean `web-b1`?
"#);
}

#[test]
fn an_unknown_flow_is_refused() {
    let text = broken("flow: az,", "flow: azz,");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-FLOW]: unknown flow "azz"
  --> x.yaml:24:14
   |
24 |     - {flow: azz, during: early, delivered: all, encap: ipip}
   |              ^^^
   |
   = note: expectations speak of the flows of the scenario
   = help: did you mean `az`?
"#);
}

#[test]
fn an_unknown_phase_is_refused() {
    let text = broken("during: early", "during: earlier");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-PHASE]: unknown phase "earlier"
  --> x.yaml:24:26
   |
24 |     - {flow: az, during: earlier, delivered: all, encap: ipip}
   |                          ^^^^^^^
   |
   = note: a window is the name of a phase or of an event with `for`, or two times as in `[0s, 1s]`
   = help: the phases are all, early
"#);
}

#[test]
fn an_address_that_two_workloads_have_is_refused() {
    let text = broken("ip: 192.168.30.2", "ip: 192.168.10.2");
    insta::assert_snapshot!(rendered(text), @r#"
error[K-DUPLICATE]: workload web-b1 cannot have 192.168.10.2: it belongs to workload web-a1
  --> x.yaml:18:28
   |
18 |     web-b1: {node: b1, ip: 192.168.10.2}
   |                            ^^^^^^^^^^^^
   |
  ::: x.yaml:17:28
   |
17 |     web-a1: {node: a1, ip: 192.168.10.2}
   |                            ------------ it is taken here
   |
   = help: give each workload and each tunnel its own address
"#);
}

#[test]
fn a_glob_that_matches_no_flow_is_refused() {
    let text = broken("flow: az,", "flow: b*,");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-FLOW]: no flow matches "b*"
  --> x.yaml:24:14
   |
24 |     - {flow: b*, during: early, delivered: all, encap: ipip}
   |              ^^
   |
   = note: an expectation about no packet could never fail
   = help: the flows are az
"#);
}

#[test]
fn an_expectation_that_claims_nothing_is_refused() {
    let text = broken("during: early, delivered: all, encap: ipip}", "during: early}");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-EXP-03]: the expectation claims nothing
  --> x.yaml:24:7
   |
24 |     - {flow: az, during: early}
   |       ^
   |
   = note: it could never fail
   = help: add a claim, as `delivered: all` or `encap: none`
"#);
}

#[test]
fn an_expectation_in_a_window_without_packets_is_refused() {
    let text = broken("rate: 100/s", "start: 800ms");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-EXP-04]: nothing is sent in the window early
  --> x.yaml:24:26
   |
24 |     - {flow: az, during: early, delivered: all, encap: ipip}
   |              -- the flow ^^^^^
   |
   = note: an expectation about no packet could never fail
   = help: choose a window in which the flow sends
"#);
}

#[test]
fn an_expectation_about_replies_that_nobody_sends_is_refused() {
    let text = broken("rate: 100/s", "reply: none").replace("encap: ipip}", "reverse: {encap: ipip}}");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-EXP-04]: nothing is sent in the reverse direction
  --> x.yaml:24:49
   |
24 |     - {flow: az, during: early, delivered: all, reverse: {encap: ipip}}
   |                                                 ^^^^^^^
   |
   = note: the flow has `reply: none`
   = help: remove `reverse`, or `reply: none`
"#);
}

#[test]
fn an_expectation_beyond_the_run_is_refused() {
    let text = broken("during: early", "during: [0s, 2s]");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-WINDOW]: the window goes beyond the run, which ends at 1.000 s
  --> x.yaml:24:18
   |
24 |     - {flow: az, during: [0s, 2s], delivered: all, encap: ipip}
   |                  ^^^^^^
   |
   = note: nothing is sent after the run's end, so nothing could be judged there
   = help: use earlier times, or a longer `duration`
"#);
}

#[test]
fn a_class_without_a_pair_is_refused() {
    let text = broken("cross-subnet: {", "same-node: {");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-EXP-04]: no pair of the matrix is same-node
  --> x.yaml:27:9
   |
27 |         same-node: {delivered: all}
   |         ^^^^^^^^^
   |
   = note: an expectation about no packet could never fail
   = help: remove `same-node`, or add workloads or nodes
"#);
}

#[test]
fn a_rate_that_would_round_is_refused() {
    let text = broken("rate: 100/s", "rate: 3/s");
    insta::assert_snapshot!(rendered(text), @r#"
error[K-ROUND]: `3/s` gives no whole number of nanoseconds between two packets
  --> x.yaml:20:67
   |
20 |     az: {from: web-a1, to: web-b1, proto: udp, dport: 5000, rate: 3/s}
   |                                                                   ^^^
   |
   = note: times are exact to the nanosecond, and nothing is rounded
   = help: take a rate that divides 1000000000, such as 2/s, 10/s, 25/s or 100/s
"#);
}

#[test]
fn a_time_without_a_unit_is_refused() {
    let text = broken("[0s, 500ms]", "[0s, 500]");
    insta::assert_snapshot!(rendered(text), @r#"
error[K-VALUE]: expected a time such as `10ms`, `1.5s` or `0`, found the number 500
  --> x.yaml:22:17
   |
22 |     early: [0s, 500]
   |                 ^^^
   |
   = note: a time without a unit could mean anything
   = help: write `500s` or `500ms`
"#);
}

#[test]
fn a_count_that_does_not_fit_into_the_run_is_refused() {
    let text = broken("rate: 100/s", "rate: 100/s, count: 101");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-FLOW]: only 100 of 101 packets are sent before 1.000 s
  --> x.yaml:20:81
   |
20 |     az: {from: web-a1, to: web-b1, proto: udp, dport: 5000, rate: 100/s, count: 101}
   |                                                                                 ^^^
   |
   = note: packets are sent at the flow's rate from its start on, and none at or after its end
   = help: use a higher `rate`, a lower `count`, or a longer `duration`
"#);
}

#[test]
fn an_entry_without_what_it_needs_is_refused() {
    let text = broken("    web-a1: {node: a1, ip: 192.168.10.2}", "    web-a1:");
    insta::assert_snapshot!(rendered(text), @r#"
error[K-MISSING]: `node` is missing
  --> x.yaml:17:5
   |
17 |     web-a1:
   |     ^^^^^^
   |
   = help: add `node:` to `spec.workloads.web-a1`
"#);
}

/// What a timeline is refused with: codes and the places that they point at.
fn timeline(events: &str) -> Vec<(String, String)> {
    let text = broken("  expect:\n", &format!("  duration: 2s\n  timeline: [{events}]\n  expect:\n"));
    let text = rendered(text);
    let refused = text.lines().filter_map(|line| line.strip_prefix("error[")?.split_once("]: "));
    refused.map(|(code, message)| (code.to_owned(), message.to_owned())).collect()
}

#[rstest::rstest]
#[case::after_the_end("{name: late, at: 9h, fault: {on: a1, loss: 1%}}", "E-EVENT", "the run has ended by then")]
#[case::beyond_the_end(
    "{name: long, at: 0s, for: 9h, fault: {on: a1, loss: 1%}}",
    "E-EVENT",
    "it lasts beyond the run"
)]
#[case::of_no_length(
    "{name: none, at: 0s, for: 0s, fault: {on: a1, loss: 1%}}",
    "K-VALUE",
    "expected a time above 0s"
)]
#[case::an_unknown_link("{name: x, at: 0s, fault: {on: a9, loss: 1%}}", "E-FAULT", "no link leads to \"a9\"")]
#[case::more_than_all(
    "{name: x, at: 0s, fault: {on: a1, loss: 101%}}",
    "K-VALUE",
    "expected a share from 0% to 100%"
)]
#[case::a_rate_of_nothing("{name: x, at: 0s, fault: {on: a1, rate: 0bit/s}}", "K-VALUE", "expected a rate")]
#[case::nothing_at_all("{name: x, at: 0s, fault: {on: a1}}", "E-FAULT", "the fault does nothing")]
#[case::nobody("{name: x, at: 0s, fault: {loss: 1%}}", "E-FAULT", "the fault concerns nobody")]
#[case::two_rates(
    "{name: x, at: 0s, fault: {on: a1, rate: 1Mbit/s}}, {name: z, at: 0s, fault: {on: a1, rate: 2Mbit/s}}",
    "E-FAULT",
    "`z` and `x` give the same packets two rates"
)]
#[case::no_wire(
    "{name: x, at: 0s, set: {duration: 9s}}",
    "E-EVENT",
    "`duration` does not change during a run"
)]
#[case::set_twice(
    "{name: x, at: 0s, set: {nodes.a1.sourceDestCheck: true}}, {name: z, at: 0s, set: {nodes.a1.sourceDestCheck: false}}",
    "E-EVENT",
    "`nodes.a1.sourceDestCheck` is set twice"
)]
#[case::the_same_name(
    "{name: a1, at: 0s, fault: {on: a1, loss: 1%}}",
    "E-NAME",
    "event `a1` has the name of a node"
)]
#[case::a_flow_of_nobody("{name: x, at: 0s, fault: {flow: nobody, drop: [1]}}", "E-FLOW", "unknown flow \"nobody\"")]
#[case::the_packet_before_the_first(
    "{name: x, at: 0s, fault: {flow: az, drop: [0]}}",
    "K-VALUE",
    "expected a whole number from 1"
)]
fn an_event_that_cannot_be_is_refused(#[case] events: &str, #[case] code: &str, #[case] message: &str) {
    let refused = timeline(events);
    assert!(
        refused.iter().any(|(c, m)| c == code && m.starts_with(message)),
        "{refused:?}"
    );
}

/// Without any pool calico-node would create its own, of which the scenario says nothing.
#[test]
fn the_deletion_of_a_pool_in_whose_stead_another_comes_is_refused() {
    let event = "  duration: 2s\n  timeline: [{name: gone, at: 1s, delete: {kind: IPPool, name: pool}}]\n  expect:\n";
    let environment = "---\napiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: calico-node, namespace: kube-system}\nspec: {template: \
                       {spec: {containers: [{name: calico-node, env: []}]}}}\n";
    let text = broken("  expect:\n", event);
    let refused = rendered(text + environment);
    let message = "error[K-RECREATED]: without pool pool, pool default-ipv4-ippool would be created";
    assert!(refused.contains(message), "{refused}");
}

/// What is wrong with a flow that is written so.
#[rstest::rstest]
#[case::ports_of_no_packet("proto: tcp", "K-MISSING", "`dport` is missing")]
#[case::an_exchange_of_datagrams(
    "proto: udp, dport: 5000, exchange: {request: 20B, reply: 20B}",
    "E-FLOW",
    "only TCP has exchanges"
)]
#[case::a_request_twice(
    "proto: tcp, dport: 80, payload: 20B, exchange: {request: 20B, reply: 20B}",
    "E-FLOW",
    "`payload` stands beside `exchange`"
)]
#[case::a_rate_twice(
    "proto: tcp, dport: 80, rate: 10/s, exchange: {request: 20B, reply: 20B}",
    "E-FLOW",
    "`rate` stands beside `exchange`"
)]
#[case::no_room_for_a_stamp(
    "proto: tcp, dport: 80, exchange: {request: 7B, reply: 20B}",
    "K-VALUE",
    "expected a size from 8B"
)]
#[case::no_reply(
    "proto: tcp, dport: 80, exchange: {request: 20B, reply: 0B}",
    "K-VALUE",
    "expected a size from 1B"
)]
#[case::half_an_exchange("proto: tcp, dport: 80, exchange: {request: 20B}", "K-MISSING", "`reply` is missing")]
#[case::without_pause(
    "proto: tcp, dport: 80, exchange: {request: 20B, reply: 20B, every: 0s}",
    "K-VALUE",
    "expected a time above zero"
)]
#[case::an_unknown_part(
    "proto: tcp, dport: 80, exchange: {request: 20B, reply: 20B, evry: 1s}",
    "K-UNKNOWN",
    "unknown key `evry`"
)]
#[case::unanswered("proto: tcp, dport: 80, reply: none", "E-FLOW", "a TCP request always has a reply")]
#[case::with_fragments("proto: tcp, dport: 80, df: dont", "E-FLOW", "TCP discovers its path's MTU")]
#[case::its_own_ecn("proto: tcp, dport: 80, ecn: 1", "E-FLOW", "TCP sets the ECN bits")]
#[case::too_much(
    "proto: tcp, dport: 80, exchange: {request: 20B, reply: 100MB}",
    "E-FLOW",
    "the flow would send"
)]
#[case::nobody_listens_for_echoes("proto: icmp, listen: false", "E-FLOW", "nobody listens for echo requests")]
#[case::listening_half_way("proto: udp, dport: 5000, listen: maybe", "K-VALUE", "expected `true` or `false`")]
fn a_flow_that_cannot_be_is_refused(#[case] keys: &str, #[case] code: &str, #[case] message: &str) {
    let text = broken("proto: udp, dport: 5000, rate: 100/s}", &format!("{keys}}}"));
    let refused = rendered(text);
    let first = refused.lines().next().unwrap_or_default();
    assert!(
        first.starts_with(&format!("error[{code}]: ")) && first.contains(message),
        "{refused}"
    );
}

#[test]
fn flows_that_together_send_more_than_can_be_traced_are_refused() {
    let text = broken(
        "rate: 100/s}",
        "rate: 100/s}\n    more: {from: web-b1, to: web-a1, rate: 5000/s, count: 300000}",
    )
    .replace("phases:", "duration: 100s\n  phases:")
    .replace(
        "more:",
        "most: {from: web-a1, to: web-b1, rate: 5000/s, count: 200000}\n    more:",
    );
    let refusals = rendered(text);
    assert!(
        refusals.contains("the scenario's flows would send 510006 packets"),
        "{refusals}"
    );
}

/// What of a service is not modelled is refused where a flow asks for it, and only there.
#[rstest::rstest]
#[case::node_port(
    "10.96.0.1",
    "type: NodePort",
    "a1",
    30080,
    "node port 30080 of service default/web is not modelled"
)]
#[case::external(
    "10.96.0.1",
    "externalIPs: [203.0.113.9]",
    "203.0.113.9",
    80,
    "203.0.113.9, an external address of service default/web, is"
)]
#[case::nearby(
    "10.96.0.1",
    "internalTrafficPolicy: Local",
    "10.96.0.1",
    80,
    "`internalTrafficPolicy` of service default/web is not"
)]
#[case::zones(
    "10.96.0.1",
    "trafficDistribution: PreferClose",
    "10.96.0.1",
    80,
    "`trafficDistribution` of service default/web is not"
)]
#[case::hints("10.96.0.2", "hints: {}", "10.96.0.2", 80, "`hints` of service default/web is not modelled")]
fn a_flow_that_asks_for_more_of_a_service_than_is_modelled_is_refused(
    #[case] address: &str,
    #[case] extra: &str,
    #[case] to: &str,
    #[case] port: u16,
    #[case] message: &str,
) {
    let (extra, hints) = if extra.starts_with("hints") {
        ("type: ClusterIP", ", hints: {forZones: [{name: a}]}")
    } else {
        (extra, "")
    };
    let manifests = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{clusterIP: {address}, {extra}, ports: [{{port: 80, nodePort: \
         30080}}]}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1, labels: \
         {{kubernetes.io/service-name: web}}}}\naddressType: IPv4\nendpoints: [{{addresses: [192.168.30.2]{hints}}}]\nports: [{{port: 8080}}]\n"
    );
    let asks = format!("rate: 100/s}}\n    asks: {{from: web-a1, to: {to}, proto: tcp, dport: {port}}}");
    let refused = rendered(broken("rate: 100/s}", &asks) + &manifests);
    let first = refused.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("error[K-NOT-MODELLED]: ") && first.contains(message),
        "{refused}"
    );
    let (_folder, path) = crate::Folder::with(crate::GOOD.to_owned() + &manifests);
    overlab_simulator::scenario::load(&path).expect("nobody asks for it");
}

/// As `uname -r` and `kubectl get nodes -o wide` print it.
#[rstest::rstest]
#[case("5.4", 4)]
#[case("5.4.0-1103-aws", 4)]
#[case("5.14-427.el9", 14)]
fn of_a_kernels_release_two_numbers_count(#[case] release: &str, #[case] minor: u16) {
    let kernel = format!("a1: {{subnet: az-a, ip: 10.20.1.11, kernel: {release:?}}}");
    let text = crate::GOOD.replace("a1: {subnet: az-a, ip: 10.20.1.11}", &kernel);
    let (_folder, path) = crate::Folder::with(text);
    let loaded = overlab_simulator::scenario::load(&path).unwrap();
    assert_eq!(loaded.model.nodes[0].kernel, Some(Kernel(5, minor)));
}

#[rstest::rstest]
#[case("5.4")]
#[case("\"5\"")]
#[case("\"5.x\"")]
#[case("\"5.\"")]
#[case("\"5.4x\"")]
#[case("\"+5.4\"")]
fn a_kernel_begins_with_two_numbers_in_quotes(#[case] version: &str) {
    let kernel = format!("a1: {{subnet: az-a, ip: 10.20.1.11, kernel: {version}}}");
    let refused = rendered(broken("a1: {subnet: az-a, ip: 10.20.1.11}", &kernel));
    assert!(
        refused.starts_with("error[K-VALUE]: expected a version of Linux in quotes, as \"5.4\""),
        "{refused}"
    );
}

#[test]
fn a_kernel_may_say_its_patch_level() {
    let text = broken(
        "a1: {subnet: az-a, ip: 10.20.1.11}",
        "a1: {subnet: az-a, ip: 10.20.1.11, kernel: \"5.7.99\"}",
    );
    let (_folder, path) = crate::Folder::with(text);
    overlab_simulator::scenario::load(&path).unwrap();
}
