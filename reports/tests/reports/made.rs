//! Reports made by hand, as a run on three zones would give them.

use std::collections::BTreeMap;

use overlab_reports::*;

fn text(text: &str) -> String {
    text.to_owned()
}

/// A packet that a source/destination check took at its sender's card.
pub(crate) fn checked_packet() -> PacketReport {
    let hop = |place: &str, steps: &[&str], left: &[(u64, &str)]| HopReport {
        at_ns: 0,
        place: text(place),
        steps: steps.iter().map(|step| text(step)).collect(),
        left: left
            .iter()
            .map(|&(length, line)| WireReport {
                length,
                line: text(line),
            })
            .collect(),
    };
    let bare = (92, "IP 192.168.0.2 > 192.168.0.66 ttl 63 len 92 | ICMP echo 7/1");
    PacketReport {
        flow: text("zone"),
        direction: text("forward"),
        sequence: 0,
        sent_at_ns: 0,
        size: 92,
        disposition: DispositionReport::Dropped {
            reason: text("src_dst_check"),
            place: text("a1/eni"),
            at_ns: 0,
        },
        hops: vec![
            hop(
                "web-a1",
                &["sent"],
                &[(92, "IP 192.168.0.2 > 192.168.0.66 ttl 64 len 92 | ICMP echo 7/1")],
            ),
            hop(
                "a1",
                &[
                    "routed by 192.168.0.64/26 via 10.0.1.12 dev eth0",
                    "transmitted by eth0 to 10.0.1.12",
                ],
                &[bare],
            ),
            hop("a1/eni", &["dropped: src_dst_check"], &[]),
        ],
    }
}

/// A packet that crossed zones in an IPIP tunnel.
pub(crate) fn tunnelled_packet() -> PacketReport {
    PacketReport {
        flow: text("across"),
        direction: text("forward"),
        sequence: 3,
        sent_at_ns: 300_000_000,
        size: 92,
        disposition: DispositionReport::Delivered { at_ns: 300_450_000 },
        hops: vec![
            HopReport {
                at_ns: 300_000_000,
                place: text("a1"),
                steps: vec![text("encapsulated ipip 10.0.1.11 > 10.0.2.11, 20 B")],
                left: vec![WireReport {
                    length: 112,
                    line: text("IP 10.0.1.11 > 10.0.2.11 ttl 63 len 112 | IP ..."),
                }],
            },
            HopReport {
                at_ns: 300_450_000,
                place: text("web-b1"),
                steps: vec![text("echo request answered")],
                left: vec![],
            },
        ],
    }
}

fn expectation(id: &str, label: &str, claim: &str, actual: &str) -> ExpectationReport {
    ExpectationReport {
        id: text(id),
        label: text(label),
        window: text("[0.000,1.000)"),
        claim: text(claim),
        status: Status::Pass,
        code: None,
        expected: None,
        actual: text(actual),
        place: text("scenarios/aws/check-on.yaml:21"),
        packet: None,
        advice: Advice::default(),
    }
}

/// Two claims that one cause makes fail, two that hold.
pub(crate) fn failing() -> ScenarioReport {
    let advice = Advice {
        cause: Some(text("pool pool  ipipMode CrossSubnet   scenarios/aws/check-on.yaml:34")),
        rule: Some(text(
            "a1 10.0.1.11/24 contains a2 10.0.1.12: same subnet, bare; the card's port refuses pod addresses",
        )),
        remedy: Some(text("awsSrcDstCheck: Disable")),
        replay: Some(text("overlab run scenarios/aws/check-on.yaml --seed 7 --expect 'zone*'")),
    };
    let fail = |id: &str, claim: &str, code: &str, expected: &str, actual: &str| ExpectationReport {
        status: Status::Fail,
        expected: Some(text(expected)),
        code: Some(text(code)),
        packet: Some(checked_packet()),
        advice: advice.clone(),
        ..expectation(id, "zone", claim, actual)
    };
    ScenarioReport {
        name: text("check-on"),
        variant: None,
        title: Some(text("The lesson that every AWS user learns late")),
        file: text("scenarios/aws/check-on.yaml"),
        profile: text("calico/v3.32"),
        backend: text("sim"),
        dataplane: text("engine"),
        seed: 7,
        duration_ns: 1_000_000_000,
        status: Status::Fail,
        problem: None,
        golden: None,
        expectations: vec![
            fail(
                "0.delivered",
                "delivered",
                "E-DLV-01",
                "all delivered",
                "0 of 10 were, first lost at 0.000 s",
            ),
            fail(
                "0.path",
                "path",
                "E-PTH-01",
                "web-a1, a1, a2, web-a2",
                "no packet was delivered",
            ),
            expectation("1.encap", "across", "encap", "ipip on 20 of 20"),
            expectation("1.overhead", "across", "overhead", "20 B on 20 of 20"),
        ],
        flows: vec![
            FlowRow {
                flow: text("zone"),
                window: text("[0.000,1.000)"),
                sent: 10,
                back: 0,
                lost: 10,
                encap_forward: BTreeMap::from([(text("none"), 10)]),
                encap_reverse: BTreeMap::new(),
                overhead: Some((0, 0)),
                first_drop: Some(FirstDrop {
                    at_ns: 0,
                    reason: text("src_dst_check"),
                    place: text("a1/eni"),
                }),
            },
            FlowRow {
                flow: text("across"),
                window: text("[0.000,1.000)"),
                sent: 10,
                back: 10,
                lost: 0,
                encap_forward: BTreeMap::from([(text("ipip"), 9), (text("none"), 1)]),
                encap_reverse: BTreeMap::from([(text("ipip"), 10)]),
                overhead: Some((0, 20)),
                first_drop: None,
            },
        ],
        tables: vec![TableReport {
            node: text("a1"),
            lines: vec![
                text("192.168.0.64/26 via 10.0.1.12 dev eth0 proto bird metric 1024"),
                text("192.168.0.128/26 via 10.0.2.11 dev tunl0 proto bird metric 1024 onlink"),
                text("blackhole 192.168.0.0/26 proto bird"),
            ],
        }],
        changes: vec![],
        fates: vec![
            FateReport {
                fate: text("zone forward: none, src_dst_check@a1/eni"),
                count: 10,
                packet: checked_packet(),
            },
            FateReport {
                fate: text("across forward: ipip, delivered"),
                count: 9,
                packet: tunnelled_packet(),
            },
        ],
        notes: vec![text("Node a1 is derived from nodes.a1")],
        lints: vec![],
    }
}

/// A scenario that this host cannot run.
pub(crate) fn inconclusive() -> ScenarioReport {
    ScenarioReport {
        name: text("pair"),
        title: None,
        backend: text("netns"),
        status: Status::Inconclusive,
        problem: Some(Problem {
            reason: text("this process may not create network namespaces"),
            remedy: Some(text("run as root, or allow unprivileged user namespaces")),
        }),
        expectations: vec![],
        flows: vec![],
        tables: vec![],
        changes: vec![],
        fates: vec![],
        notes: vec![],
        lints: vec![],
        ..failing()
    }
}

/// A scenario whose expectations hold, but whose golden differs.
pub(crate) fn differing() -> ScenarioReport {
    let mut scenario = failing();
    scenario.name = text("changed");
    scenario.variant = Some(text("wide"));
    scenario.expectations.retain(|expectation| expectation.status == Status::Pass);
    scenario.golden = Some(GoldenReport {
        file: text("golden/aws/changed.snap"),
        status: GoldenStatus::Differs,
        diff: Some(text("-across  10\n+across  9")),
    });
    scenario
}

/// A scenario in whose middle the backend failed.
pub(crate) fn broken() -> ScenarioReport {
    let mut scenario = differing();
    scenario.name = text("broken <&>");
    scenario.variant = None;
    scenario.golden = None;
    scenario.status = Status::Error;
    scenario.problem = Some(Problem {
        reason: text("writing to eth0 of a1: no such device"),
        remedy: None,
    });
    scenario
}

/// All of them.
pub(crate) fn report() -> Report {
    Report::new("overlab 0.1.0", 6, vec![failing(), inconclusive(), differing(), broken()])
}
