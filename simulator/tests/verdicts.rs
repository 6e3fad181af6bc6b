//! What a verdict says beside its result: why it cannot be told, which packet shows it, why there was none.

#[path = "common/whole.rs"]
mod whole;

use overlab_reports::{ExpectationReport, ScenarioReport, Status};

/// Two nodes, a request that waits for one reply, and what is expected of it, in `FLOWS`, `TIMELINE` and `EXPECT`.
const BASE: &str = "
apiVersion: overlab.dev/v1alpha1
kind: Scenario
metadata: {name: base}
spec:
  duration: 3s
  underlay: {dc: {preset: onprem, cidr: 10.0.0.0/16, subnets: {rack-1: {cidr: 10.0.1.0/24}, rack-2: {cidr: 10.0.2.0/24}}}}
  nodes: {n1: {subnet: rack-1, ip: 10.0.1.11}, n2: {subnet: rack-2, ip: 10.0.2.11}}
  workloads: {web-1: {node: n1, ip: 192.168.1.2}, web-2: {node: n2, ip: 192.168.2.2}}
  flows: {f: {from: web-1, to: web-2, FLOW}}
  timeline: [{name: fault, FAULT}]
  expect: [EXPECT]
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 192.168.0.0/16, ipipMode: Always}
";

const TCP: &str = "proto: tcp, dport: 80, exchange: {request: 64B, reply: 64B, every: 100ms}";

fn run(flow: &str, fault: &str, expect: &str) -> ScenarioReport {
    let text = BASE.replace("FLOW}", &format!("{flow}}}")).replace("FAULT", fault);
    whole::run(&text.replace("[EXPECT]", &format!("[{expect}]")))
}

fn only(report: &ScenarioReport) -> &ExpectationReport {
    let [only] = &report.expectations[..] else {
        panic!("one expectation")
    };
    only
}

#[test]
fn packets_that_are_on_their_way_at_the_end_are_told_to_be_so() {
    for claim in ["delivered: all", "dropped: none"] {
        let report = run(
            "proto: udp, dport: 5, count: 3",
            "at: 0s, fault: {on: n1, delay: 10s}",
            &format!("{{flow: f, {claim}}}"),
        );
        assert_eq!(only(&report).status, Status::Inconclusive);
        let told = only(&report).message();
        assert_eq!(told, "3 packets were still on their way when the run ended", "{claim}");
    }
}

#[test]
fn a_connection_that_failed_is_shown_by_the_packet_that_tells() {
    let shown = |flow: &str, fault: &str, expect: &str| {
        let report = run(flow, fault, &format!("{{flow: f, connection: {expect}}}"));
        let packet = only(&report).packet.as_ref().unwrap();
        (packet.direction.clone(), packet.sequence, packet.sent_at_ns)
    };
    let (late, never) = ("at: 2900ms, fault: {on: n1, loss: 1%}", "at: 1s, fault: {down: n2}");
    let refused = shown(&format!("{TCP}, listen: false"), late, "survives");
    assert_eq!((&*refused.0, refused.1), ("reverse", 0), "the answer that refuses it");
    let survives = shown(TCP, late, "stalls");
    assert!(
        &*survives.0 == "reverse" && survives.2 > 2_800_000_000,
        "its last reply: {survives:?}"
    );
    let report = run(TCP, never, "{flow: f, during: [1s, 3s], connection: survives}");
    let packet = only(&report).packet.as_ref().unwrap();
    assert!(packet.sent_at_ns >= 1_000_000_000, "one that was lost: {}", packet.sent_at_ns);
}

#[test]
fn a_silent_connection_has_a_reason() {
    let claim = "{flow: f, during: [2s, 2100ms], delivered: all}";
    let told = |flow: &str| {
        let report = run(flow, "at: 2900ms, fault: {on: n1, loss: 1%}", claim);
        assert_eq!(only(&report).code.as_deref(), Some("E-EXP-02"));
        only(&report).actual.clone()
    };
    let refused = told(&format!("{TCP}, listen: false"));
    assert!(
        refused.starts_with("no packet was sent: the connection of f was reset at 0.00"),
        "{refused}"
    );
    let seldom = told("proto: tcp, dport: 80, exchange: {request: 64B, reply: 64B, every: 1500ms}");
    assert!(
        seldom.starts_with("no packet was sent: f had its last reply at 1.50"),
        "{seldom}"
    );
}
