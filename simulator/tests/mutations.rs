//! Every kind of claim can fail: for each there is a change, of the claim or of the cluster, that turns it and its exit code
//! red. A claim that no packet met is an error too.

#[path = "common/whole.rs"]
mod whole;

use std::collections::BTreeSet;

use overlab_reports::{ExpectationReport, ScenarioReport, Status};
use overlab_simulator::expectations::{INVARIANT, LIST, TABLE_CLAIMS};
use overlab_simulator::scenario::BackendKind;
use rstest::rstest;
use whole::run;

const BASE: &str = r#"
apiVersion: overlab.dev/v1alpha1
kind: Scenario
metadata: {name: base}
spec:
  duration: 500ms
  underlay:
    dc:
      preset: onprem
      cidr: 10.0.0.0/16
      subnets: {rack-1: {cidr: 10.0.1.0/24}, rack-2: {cidr: 10.0.2.0/24}}
  nodes:
    n1: {subnet: rack-1, ip: 10.0.1.11}
    n2: {subnet: rack-1, ip: 10.0.1.12}
    n3: {subnet: rack-2, ip: 10.0.2.11}
  workloads:
    web-1: {node: n1, ip: 192.168.1.2}
    web-2: {node: n2, ip: 192.168.2.2}
    web-3: {node: n3, ip: 192.168.3.2}
  flows:
    rack:   {from: web-1, to: web-2, proto: udp, dport: 5000, payload: 100B}
    across: {from: web-1, to: web-3, proto: udp, dport: 5000, payload: 100B}
    nobody: {from: web-1, to: 192.168.3.9, payload: 100B}
    one-way: {from: web-1, to: web-3, proto: udp, dport: 5001, payload: 100B, reply: none}
    short:  {from: web-1, to: web-3, proto: udp, dport: 5002, payload: 100B, ttl: 1}
    long:   {from: web-1, to: web-3, proto: udp, dport: 5003, payload: 2000B, df: dont}
    session: {from: web-1, to: web-3, proto: tcp, dport: 8080, exchange: {request: 200B, reply: 4000B, every: 50ms}}
    refused: {from: web-1, to: web-3, proto: tcp, dport: 8081, listen: false}
    silent:  {from: web-1, to: 192.168.3.9, proto: tcp, dport: 8080}
  expect:
    - {flow: rack, delivered: all, encap: none, path: [web-1, n1, dc/rack-1, n2, web-2]}
    - {flow: across, delivered: 5, dropped: none, encap: {ipip: 10}, overhead: {perPacket: 20B, total: 200B}}
    - {flow: across, outer: {src: n1, dst: n3, proto: 4, ttl: 63, df: true, dscp: 0, ecn: 0}, sourceSeen: web-1}
    - {flow: across, path: [web-1, "...", n3, web-3], reverse: {delivered: all, path: [web-3, "...", web-1], sourceSeen: web-3}}
    - {flow: nobody, delivered: none, dropped: {blackhole@n3: 5}}
    - {flow: nobody, dropped: blackhole}
    - {flow: one-way, delivered: all, outer: {src: n1}}
    - {flow: rack, gap: 100ms, fragments: none, icmp: none}
    - {flow: short, gap: {min: 400ms, max: 500ms}}
    - {flow: short, icmp: {error: ttl_expired, from: n1, to: web-1, count: 5}}
    - {flow: long, fragments: inner}
    - {flow: session, connection: survives}
    - {flow: session, reverse: {delivered: {min: 30}}}
    - {flow: refused, connection: resets, dropped: {no_listener@web-3: 1}}
    - {flow: silent, connection: stalls}
    - matrix: all
      classes:
        same-subnet: {delivered: all, encap: none}
        cross-subnet: {delivered: all, encap: ipip}
    - {invariant: no-loops}
    - {invariant: no-leak}
    - {invariant: outer-owned}
    - {table: routes, node: n1, has: {destination: 192.168.3.0/26, kind: ipip}, lacks: {kind: vxlan}}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 192.168.0.0/16, ipipMode: CrossSubnet}
"#;

fn failures(report: &ScenarioReport) -> Vec<&ExpectationReport> {
    report
        .expectations
        .iter()
        .filter(|expectation| expectation.status == Status::Fail)
        .collect()
}

#[test]
fn the_base_passes() {
    let report = run(BASE);
    assert_eq!(failures(&report), Vec::<&ExpectationReport>::new());
    let claims: BTreeSet<_> = report
        .expectations
        .iter()
        .map(|e| e.claim.trim_start_matches("reverse "))
        .collect();
    let of_packets = LIST.iter().map(|(key, _)| *key);
    let kinds: BTreeSet<_> = of_packets.chain(TABLE_CLAIMS).chain([INVARIANT]).collect();
    assert_eq!(claims, kinds, "the base speaks of every kind of claim");
}

/// One changed claim, and it alone fails.
#[rstest]
#[case("delivered", "E-DLV-02", "delivered: 5,", "delivered: 4,")]
#[case("delivered", "E-DLV-02", "delivered: 5,", "delivered: 99%,")]
#[case("delivered", "E-DLV-02", "delivered: 5,", "delivered: {max: 4},")]
#[case(
    "delivered",
    "E-DLV-03",
    "{flow: one-way, delivered: all",
    "{flow: one-way, delivered: none"
)]
#[case("delivered", "E-DLV-01", "{flow: nobody, delivered: none", "{flow: nobody, delivered: all")]
#[case("dropped", "E-DRP-01", "dropped: none", "dropped: {blackhole: 1}")]
#[case(
    "dropped",
    "E-DRP-01",
    "{flow: nobody, dropped: blackhole}",
    "{flow: nobody, dropped: none}"
)]
#[case("dropped", "E-DRP-01", "dropped: blackhole}", "dropped: no_route}")]
#[case("dropped", "E-DRP-01", "blackhole@n3: 5", "blackhole@n1: 5")]
#[case("dropped", "E-DRP-01", "blackhole@n3: 5", "blackhole@n3: 4")]
#[case("dropped", "E-DRP-01", "blackhole@n3: 5", "any: {min: 6}")]
#[case(
    "encap",
    "E-ENC-01",
    "{flow: rack, delivered: all, encap: none",
    "{flow: rack, delivered: all, encap: ipip"
)]
#[case("encap", "E-ENC-01", "encap: {ipip: 10}", "encap: {ipip: 9}")]
#[case("encap", "E-ENC-01", "encap: {ipip: 10}", "encap: {vxlan: 10}")]
#[case(
    "encap",
    "E-ENC-01",
    "cross-subnet: {delivered: all, encap: ipip}",
    "cross-subnet: {delivered: all, encap: vxlan}"
)]
#[case("outer", "E-OUT-01", "src: n1, dst: n3", "src: n1, dst: n2")]
#[case("outer", "E-OUT-01", "src: n1, dst: n3", "src: n3, dst: n1")]
#[case("outer", "E-OUT-01", "proto: 4", "proto: udp")]
#[case("outer", "E-OUT-01", "ttl: 63", "ttl: 64")]
#[case("outer", "E-OUT-01", "df: true", "df: false")]
#[case("outer", "E-OUT-01", "dscp: 0", "dscp: 46")]
#[case("outer", "E-OUT-01", "ecn: 0", "ecn: 1")]
#[case("outer", "E-OUT-01", "outer: {src: n1}", "outer: {vni: 4096}")]
#[case("outer", "E-OUT-01", "outer: {src: n1}", "outer: {dport: 4789}")]
#[case("overhead", "E-OVH-01", "perPacket: 20B", "perPacket: 50B")]
#[case("overhead", "E-OVH-01", "total: 200B", "total: 201B")]
#[case("path", "E-PTH-01", "n1, dc/rack-1, n2", "n1, dc, n2")]
#[case("path", "E-PTH-01", "[web-1, \"...\", n3, web-3]", "[web-1, \"...\", n2, web-3]")]
#[case(
    "reverse path",
    "E-PTH-01",
    "path: [web-3, \"...\", web-1]",
    "path: [web-1, \"...\", web-3]"
)]
#[case("sourceSeen", "E-SRC-01", "sourceSeen: web-1", "sourceSeen: n1")]
#[case("reverse sourceSeen", "E-SRC-01", "sourceSeen: web-3", "sourceSeen: web-1")]
#[case("fragments", "E-FRG-01", "fragments: none", "fragments: inner")]
#[case("fragments", "E-FRG-01", "fragments: inner", "fragments: none")]
#[case("fragments", "E-FRG-01", "fragments: inner", "fragments: outer")]
#[case("gap", "E-GAP-01", "gap: 100ms", "gap: 99ms")]
#[case("gap", "E-GAP-01", "gap: 100ms", "gap: {min: 101ms}")]
#[case("gap", "E-GAP-01", "gap: {min: 400ms, max: 500ms}", "gap: {max: 499ms}")]
#[case("icmp", "E-ICM-01", "icmp: none", "icmp: {error: ttl_expired}")]
#[case(
    "icmp",
    "E-ICM-01",
    "icmp: {error: ttl_expired, from: n1, to: web-1, count: 5}",
    "icmp: none"
)]
#[case("icmp", "E-ICM-01", "{error: ttl_expired,", "{error: net_unreachable,")]
#[case("icmp", "E-ICM-01", "from: n1, to: web-1", "from: n3, to: web-1")]
#[case("icmp", "E-ICM-01", "from: n1, to: web-1", "from: n1, to: web-3")]
#[case("icmp", "E-ICM-01", "count: 5}", "count: 4}")]
#[case("icmp", "E-ICM-01", "count: 5}", "mtu: 1480}")]
#[case("reverse delivered", "E-DLV-03", "reverse: {delivered: all", "reverse: {delivered: none")]
#[case(
    "has",
    "E-TBL-01",
    "has: {destination: 192.168.3.0/26, kind: ipip}",
    "has: {destination: 192.168.3.0/26, kind: direct}"
)]
#[case("has", "E-TBL-01", "kind: ipip}, lacks", "kind: ipip, decision: {mode: Always}}, lacks")]
#[case(
    "lacks",
    "E-TBL-02",
    "lacks: {kind: vxlan}",
    "lacks: {kind: ipip, decision: {subnetTest: {same: false}}}"
)]
#[case("connection", "E-CON-01", "connection: survives", "connection: resets")]
#[case("connection", "E-CON-01", "connection: survives", "connection: stalls")]
#[case("connection", "E-CON-01", "connection: resets", "connection: stalls")]
#[case("connection", "E-CON-01", "connection: resets", "connection: survives")]
#[case("connection", "E-CON-01", "connection: stalls", "connection: survives")]
#[case("connection", "E-CON-01", "connection: stalls", "connection: resets")]
#[case("reverse delivered", "E-DLV-02", "delivered: {min: 30}", "delivered: {min: 300}")]
#[case("dropped", "E-DRP-01", "no_listener@web-3: 1", "no_listener@web-3: 2")]
fn a_wrong_claim_fails_alone(#[case] claim: &str, #[case] code: &str, #[case] from: &str, #[case] to: &str) {
    assert_eq!(BASE.matches(from).count(), 1, "`{from}` stands once in the base");
    let report = run(&BASE.replace(from, to));
    let failed: Vec<_> = failures(&report)
        .iter()
        .map(|e| (e.claim.as_str(), e.code.as_deref()))
        .collect();
    assert_eq!(failed, [(claim, Some(code))]);
    let failure = failures(&report)[0];
    let of_table = TABLE_CLAIMS.contains(&claim);
    assert_eq!(failure.packet.is_none(), of_table, "the first offending packet is shown");
    assert!(failure.expected.is_some() && failure.place.contains("base.yaml:"));
    assert!(
        failure
            .advice
            .replay
            .as_ref()
            .is_some_and(|replay| replay.starts_with("overlab run "))
    );
}

#[test]
fn a_claim_that_meets_no_packet_is_an_error() {
    for (from, to) in [
        (
            "{flow: rack, delivered: all,",
            "{flow: rack, outer: {ttl: 63}, delivered: all,",
        ),
        (
            "{flow: nobody, dropped: blackhole}",
            "{flow: nobody, dropped: blackhole, sourceSeen: web-1}",
        ),
        (
            "{flow: nobody, dropped: blackhole}",
            "{flow: nobody, dropped: blackhole, path: [\"...\", web-3]}",
        ),
        (
            "{flow: nobody, dropped: blackhole}",
            "{flow: nobody, reverse: {delivered: none}, dropped: blackhole}",
        ),
        (
            "    - {invariant: no-loops}",
            "    - {invariant: no-loops}\n    - {table: vteps, node: n1, lacks: {node: n2}}",
        ),
    ] {
        let report = run(&BASE.replace(from, to));
        let codes: Vec<_> = failures(&report).iter().map(|e| e.code.clone().unwrap()).collect();
        assert_eq!(codes, ["E-EXP-02"], "{to}");
    }
}

/// A changed cluster: the claims that it breaks fail, and only those.
#[rstest]
#[case("ipipMode: CrossSubnet", "ipipMode: Always", &["encap", "encap"])]
#[case("ipipMode: CrossSubnet", "ipipMode: Never", &["delivered", "dropped", "encap", "overhead", "outer", "sourceSeen", "path",
    "reverse delivered", "reverse path", "reverse sourceSeen", "dropped", "dropped", "delivered", "outer", "connection",
    "reverse delivered", "dropped", "connection", "delivered", "encap", "invariant", "invariant", "has"])]
#[case("ipipMode: CrossSubnet", "vxlanMode: CrossSubnet", &["encap", "overhead", "outer", "encap", "has", "lacks"])]
#[case("web-3: {node: n3, ip: 192.168.3.2}", "web-3: {node: n2, ip: 192.168.3.2}", &["encap", "overhead", "outer", "path",
    "dropped", "outer", "invariant", "has"])]
fn a_changed_cluster_turns_the_claims_red_that_it_breaks(#[case] from: &str, #[case] to: &str, #[case] claims: &[&str]) {
    let text = BASE.replace(from, to);
    // Without a pair of the class, a matrix is refused: leave the class out.
    let text = match to.contains("node: n2") {
        true => text.replace("        cross-subnet: {delivered: all, encap: ipip}\n", ""),
        false => text,
    };
    let report = run(&text);
    let failed: Vec<_> = failures(&report).iter().map(|e| e.claim.as_str()).collect();
    assert_eq!(failed, claims);
}

/// A cluster or wires in which an invariant is broken: it fails, and shows a packet, a place and a time.
#[rstest]
#[case::a_pool_without_encapsulation_across_racks("no-leak", "E-INV-02", &[("ipipMode: CrossSubnet", "ipipMode: Never")],
    "as 192.168.1.2 > 192.168.3.2: 192.168.1.2 is a workload's")]
#[case::a_tunnel_address_bound_to("no-leak", "E-INV-02", &[("from: web-1, to: web-3, proto: udp, dport: 5001", "from: n1, to: n3, source: 192.168.1.0, proto: udp, dport: 5001")],
    "192.168.1.0 is a tunnel's")]
#[case::a_route_of_the_router_that_leads_back("no-loops", "E-INV-01", &[("ipipMode: CrossSubnet", "ipipMode: Never"),
    ("cidr: 10.0.0.0/16\n", "cidr: 10.0.0.0/16\n      routes: [{to: 192.168.3.0/26, via: n1}]\n")], "passed n1 again at 0.000")]
#[case::a_record_of_another_address("outer-owned", "E-INV-03", &[("kind: IPPool", "kind: Node\nmetadata: {name: n3}\nspec: {bgp: {ipv4Address: 10.0.2.99/24}}\n---\napiVersion: projectcalico.org/v3\nkind: IPPool")],
    "10.0.2.99 is no node card's")]
#[case::a_virtual_address_that_another_machine_holds("outer-owned", "E-INV-03", &[("  flows:\n", "  hosts: {balancer: {subnet: rack-2, ip: 10.0.2.100}}\n  flows:\n"),
    ("kind: IPPool", "kind: Node\nmetadata: {name: n3}\nspec: {bgp: {ipv4Address: 10.0.2.100/24}}\n---\napiVersion: projectcalico.org/v3\nkind: IPPool")],
    "10.0.2.100 is no node card's")]
fn a_broken_invariant_fails(#[case] invariant: &str, #[case] code: &str, #[case] changes: &[(&str, &str)], #[case] text: &str) {
    let changed = changes.iter().fold(BASE.to_owned(), |base, (from, to)| {
        assert!(base.contains(from), "{from}");
        base.replace(from, to)
    });
    let report = run(&changed);
    let failed = failures(&report).into_iter().find(|e| e.label == invariant);
    let failed = failed.expect("it fails");
    assert_eq!(failed.code.as_deref(), Some(code));
    assert!(failed.actual.contains(text), "{}", failed.actual);
    assert!(failed.packet.is_some());
}

/// A datastore that manifests in reverse order make otherwise: the order has made a difference.
#[test]
fn an_order_that_makes_a_difference_fails() {
    use overlab_simulator::observe::Capture;
    use overlab_simulator::run::{Context, attempt, report};
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("base.yaml");
    std::fs::write(
        &file,
        BASE.replace("  expect:\n", "  permute: [reverse, split, squash]\n  expect:\n"),
    )
    .unwrap();
    let mut loaded = overlab_simulator::scenario::load(&file).unwrap();
    let run = attempt(&loaded, BackendKind::Sim, Capture::off()).unwrap();
    let context = Context {
        file: &file,
        variant: None,
        backend: "sim",
        ranges: false,
        expect: Some("permute"),
        tables: true,
    };
    let orders = report(&loaded, &run, &context).expectations;
    assert_eq!(
        orders.iter().map(|e| (e.claim.as_str(), e.status)).collect::<Vec<_>>(),
        [("reverse", Status::Pass), ("split", Status::Pass), ("squash", Status::Pass)]
    );
    let reversed = loaded.model.reversed.as_mut().unwrap();
    reversed.remove_block("192.168.3.0/26".parse().unwrap()).unwrap();
    let report = report(&loaded, &run, &context);
    let failed = failures(&report);
    assert_eq!(
        failed
            .iter()
            .map(|e| (e.claim.as_str(), e.code.as_deref()))
            .collect::<Vec<_>>(),
        [("reverse", Some("E-PRM-01"))]
    );
    let text = "n1: routes without destination 192.168.3.0/26, kind ipip";
    assert!(failed[0].actual.contains(text), "{}", failed[0].actual);
}

/// Where counts cannot be exact, an exact count without a range is neither right nor wrong, and one with a range is held
/// against it.
#[rstest]
#[case("delivered: 5,", Some(Status::Inconclusive))]
#[case("delivered: {is: 5, netns: {min: 4}},", Some(Status::Pass))]
#[case("delivered: {is: 5, netns: {max: 4}},", Some(Status::Fail))]
#[case("delivered: {min: 80%},", Some(Status::Pass))]
#[case("delivered: all,", Some(Status::Pass))]
#[case("delivered: {min: 3, max: 1},", None)]
#[case("delivered: 101%,", None)]
#[case("delivered: {is: 5, netn: 4},", None)]
fn an_exact_count_needs_a_range_in_real_time(#[case] claim: &str, #[case] expected: Option<Status>) {
    use overlab_simulator::observe::Capture;
    use overlab_simulator::run::{Context, attempt, report};
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("base.yaml");
    std::fs::write(&file, BASE.replace("delivered: 5,", claim)).unwrap();
    let loaded = match overlab_simulator::scenario::load(&file) {
        Ok(loaded) => loaded,
        Err(refusals) => return assert!(expected.is_none() && refusals.len() == 1, "{claim}: {refusals:?}"),
    };
    let run = attempt(&loaded, BackendKind::Sim, Capture::off()).unwrap();
    let context = Context {
        file: &file,
        variant: None,
        backend: "netns",
        ranges: true,
        expect: None,
        tables: true,
    };
    let report = report(&loaded, &run, &context);
    let judged = report
        .expectations
        .iter()
        .find(|e| e.label == "across" && e.claim == "delivered")
        .unwrap();
    assert_eq!(Some(judged.status), expected, "{claim}");
}
