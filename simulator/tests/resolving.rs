//! Scenarios that resolve: what is derived when nothing says otherwise, and what manifests change.

use std::time::Duration;

use overlab_dataplane::route::Mode;
use overlab_simulator::scenario::{Endpoint, Expectation, FlowId, Loaded, Model, load};

fn resolve(text: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    std::fs::write(&path, text).unwrap();
    load(&path).unwrap_or_else(|diagnostics| {
        let all: String = diagnostics.iter().map(ToString::to_string).collect();
        panic!("{all}")
    })
}

fn model(text: &str) -> Model {
    resolve(text).model
}

/// The smallest useful file.
const HELLO: &str = "\
apiVersion: overlab.dev/v1alpha1
kind: Scenario
metadata: {name: hello}
spec:
  underlay: {main: {preset: aws, subnets: {az-a: {nodes: 2}, az-b: {nodes: 1}}}}
  expect:
    - matrix: all
      classes:
        same-subnet:  {delivered: all, encap: none}
        cross-subnet: {delivered: all, encap: ipip, overhead: {perPacket: 20B}}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 192.168.0.0/16, ipipMode: CrossSubnet}
";

#[test]
fn the_smallest_file_has_everything_derived() {
    let model = model(HELLO);
    let machines: Vec<_> = model
        .nodes
        .iter()
        .map(|n| format!("{} {} {}", n.name, n.primary().addresses.v4.unwrap(), n.primary().mtu))
        .collect();
    assert_eq!(
        machines,
        ["a1 10.0.1.11/24 9001", "a2 10.0.1.12/24 9001", "b1 10.0.2.11/24 9001"]
    );
    let workloads: Vec<_> = model.workloads.iter().map(|w| format!("{} on {}", w.name, w.node)).collect();
    assert_eq!(workloads, ["pod-a1 on 0", "pod-a2 on 1", "pod-b1 on 2"]);
    assert_eq!(model.duration, Duration::from_secs(1));
    assert!(model.nodes.iter().all(|node| node.primary().source_destination_check));
    let pairs: Vec<_> = model
        .expectations
        .iter()
        .map(|e| (&*e.label, e.subject.flows().len(), &*e.window.label))
        .collect();
    assert_eq!(
        pairs,
        [
            ("matrix same-subnet", 2, "[0.000,0.300)"),
            ("matrix cross-subnet", 4, "[0.000,0.300)")
        ]
    );
    let flow = &model.flows[0];
    assert_eq!(
        (&*flow.name, flow.count, flow.interval, flow.probe),
        ("pod-a1->pod-a2", 3, Duration::from_millis(100), true)
    );
}

#[test]
fn everything_derived_is_noted() {
    insta::assert_snapshot!(model(HELLO).notes.join("\n"), @"
    underlay main: 10.0.0.0/16
    subnet az-a: 10.0.1.0/24
    subnet az-b: 10.0.2.0/24
    node a1: recorded by Calico as 10.0.1.11/24
    node a2: recorded by Calico as 10.0.1.12/24
    node b1: recorded by Calico as 10.0.2.11/24
    workload pod-a1: 192.168.0.1 on a1
    workload pod-a2: 192.168.0.65 on a2
    workload pod-b1: 192.168.0.129 on b1
    ");
}

#[test]
fn records_of_nodes_are_derived_from_the_wires_and_found_there() {
    let loaded = resolve(HELLO);
    let node = &loaded.model.cluster.nodes()["a2"];
    assert_eq!(node.ipv4.map(|net| net.to_string()).as_deref(), Some("10.0.1.12/24"));
    let place = loaded.sources.place(&node.field("spec.bgp.ipv4Address")).unwrap();
    assert!(place.to_string().ends_with("x.yaml:5:58"), "{place}");
}

#[test]
fn the_place_of_a_pools_mode_is_found() {
    let loaded = resolve(HELLO);
    let pool = &loaded.model.cluster.pools()["pool"];
    let place = loaded.sources.place(&pool.mode_field()).unwrap();
    assert!(place.to_string().ends_with("x.yaml:15:40"), "{place}");
}

#[test]
fn the_guides_manifests_are_taken_verbatim() {
    let pools = [
        ("ippool-ipip-cross-subnet-1", "ipipMode: CrossSubnet", Mode::CrossSubnet),
        ("ippool-ipip-1", "ipipMode: Always", Mode::Always),
        ("ippool-vxlan-cross-subnet-1", "vxlanMode: CrossSubnet", Mode::CrossSubnet),
        ("ippool-vxlan-1", "vxlanMode: Always", Mode::Always),
    ];
    for (name, mode_line, mode) in pools {
        let manifest = format!(
            "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: {name}\nspec:\n  cidr: 192.168.0.0/16\n  {mode_line}\n  natOutgoing: true\n"
        );
        let text = format!("{}---\n{manifest}", &HELLO[..HELLO.find("---").unwrap()]);
        assert_eq!(model(&text).cluster.pools()[name].mode(), mode);
    }
    let installation = "\
kind: Installation
apiVersion: operator.tigera.io/v1
metadata:
  name: default
spec:
  calicoNetwork:
    ipPools:
      - cidr: 192.168.0.0/16
        encapsulation: VXLANCrossSubnet
";
    let text = format!("{}---\n{installation}", &HELLO[..HELLO.find("---").unwrap()]);
    assert_eq!(model(&text).cluster.pools()["default-ipv4-ippool"].vxlan, Mode::CrossSubnet);
}

#[test]
fn felix_has_the_last_word_about_the_source_destination_check() {
    let felix = "---\napiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {awsSrcDstCheck: Disable}\n";
    assert!(
        model(&format!("{HELLO}{felix}"))
            .nodes
            .iter()
            .all(|node| !node.primary().source_destination_check)
    );
    let own = felix.replace("default", "node.a2").replace("Disable", "DoNothing");
    let checks: Vec<_> = model(&format!("{HELLO}{felix}{own}"))
        .nodes
        .iter()
        .map(|node| node.primary().source_destination_check)
        .collect();
    assert_eq!(checks, [false, true, false]);
}

const FLOWS: &str = "\
apiVersion: overlab.dev/v1alpha1
kind: Scenario
metadata: {name: flows, title: A title, labels: {suite: x}}
spec:
  seed: 7
  duration: 2s
  backends: [sim]
  underlay:
    main: {preset: onprem, subnets: {rack-1: {mtu: 9000}, rack-2: {cidr: 10.0.99.0/24}}, delay: {sameSubnet: 0.1ms}}
  nodes:
    n1: {subnet: rack-1}
    n2: {subnet: main/rack-2, ip: 10.0.99.11}
    n3: {subnet: rack-2, mtu: 1400}
  workloads:
    web: {node: n1, count: 3}
    cli: {node: n3, ip: 192.168.7.9}
  hosts:
    client: {subnet: rack-2}
  flows:
    plain: {from: cli, to: web-1}
    some: {from: cli, to: web-1, start: 0.5s, stop: 1s, rate: 25/s}
    few: {from: n1, to: cli, proto: udp, dport: 5000, count: 3, payload: 1KiB, df: do, ttl: 3, dscp: 46, ecn: 1, reply: none}
    out: {from: client, to: 192.168.7.9}
    nobody: {from: n2, to: 10.9.9.9}
  phases:
    late: [1s, 2s]
  expect:
    - {flow: plain, during: late, delivered: all, reverse: {delivered: all}}
    - {flow: [few, 's*'], delivered: all}
    - matrix: {from: n1, to: 'web*', proto: udp, count: 1}
      at: 1s
      classes: {same-node: {delivered: all}}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 192.168.0.0/16, vxlanMode: Always}
";

#[test]
fn flows_have_the_defaults_of_scenarios_and_what_they_say() {
    let model = model(FLOWS);
    let times = |name: &str| {
        let flow = model.flows.iter().find(|flow| &*flow.name == name).unwrap();
        (
            flow.start.as_nanos() / 1_000_000,
            flow.interval.as_millis(),
            flow.count,
            flow.payload,
        )
    };
    assert_eq!(times("plain"), (0, 100, 20, 64));
    assert_eq!(times("some"), (500, 40, 13, 64));
    assert_eq!(times("few"), (0, 100, 3, 1024));
    assert_eq!(times("n1->web-2"), (1000, 100, 1, 64));
    let out = model.flows.iter().find(|flow| &*flow.name == "out").unwrap();
    assert_eq!((out.from, out.to), (Endpoint::Host(0), Some(Endpoint::Workload(3))));
    let nobody = model.flows.iter().find(|flow| &*flow.name == "nobody").unwrap();
    assert_eq!(nobody.to, None);
}

#[test]
fn source_ports_follow_from_names_and_are_unique() {
    let model_a = model(FLOWS);
    let port = |model: &Model, name: &str| model.flows.iter().find(|flow| &*flow.name == name).unwrap().source_port;
    let mut ports: Vec<_> = model_a.flows.iter().map(|flow| flow.source_port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), model_a.flows.len());
    assert!(ports.iter().all(|port| (10_000..30_000).contains(port)));
    let without = FLOWS
        .replace("    plain: {from: cli, to: web-1}\n", "")
        .replace("flow: plain, during: late", "flow: some");
    assert_eq!(port(&model(&without), "some"), port(&model_a, "some"));
}

#[test]
fn machines_take_what_their_subnet_has_and_the_lowest_free_address() {
    let model = model(FLOWS);
    let machines: Vec<_> = model
        .nodes
        .iter()
        .chain(&model.hosts)
        .map(|n| format!("{} {} {}", n.name, n.primary().addresses.v4.unwrap(), n.primary().mtu))
        .collect();
    assert_eq!(
        machines,
        [
            "n1 10.0.1.11/24 9000",
            "n2 10.0.99.11/24 1500",
            "n3 10.0.99.12/24 1400",
            "client 10.0.99.13/24 1500"
        ]
    );
    assert!(model.nodes.iter().all(|node| !node.primary().source_destination_check));
    assert_eq!(model.underlays[0].knobs.delay_same_subnet, Duration::from_micros(100));
    assert_eq!(
        model.workloads.iter().map(|w| &*w.name).collect::<Vec<_>>(),
        ["web-1", "web-2", "web-3", "cli"]
    );
}

#[test]
fn expectations_select_flows_by_name_list_and_pattern() {
    let model = model(FLOWS);
    let names = |i: usize| {
        model.expectations[i]
            .subject
            .flows()
            .iter()
            .map(|f| &*model.flows[f.0 as usize].name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(0), ["plain"]);
    assert_eq!(names(1), ["some", "few"]);
    assert_eq!(names(2), ["n1->web-1", "n1->web-2", "n1->web-3"]);
    assert_eq!(&*model.expectations[0].window.label, "late");
    assert_eq!(&*model.expectations[1].window.label, "all");
    assert_eq!(&*model.expectations[1].label, "[few, s*]");
    assert!(model.expectations[0].reverse.is_some());
}

#[test]
fn two_matrices_that_ask_for_the_same_probes_share_them() {
    let twice = HELLO.replace("---\n", "    - matrix: all\n      classes: {same-subnet: {encap: none}}\n    - matrix: {payload: 100B}\n      classes: {same-subnet: {encap: none}}\n---\n");
    let model = model(&twice);
    assert_eq!(model.expectations[2].subject, model.expectations[0].subject);
    assert_eq!(
        &*model.flows[model.expectations[3].subject.flows()[0].0 as usize].name,
        "pod-a1->pod-a2#2"
    );
}

#[test]
fn the_same_text_gives_the_same_model() {
    assert_eq!(format!("{:?}", model(FLOWS)), format!("{:?}", model(FLOWS)));
}

/// Both pools of a dual-stack cluster, behind a scenario's own document.
const POOLS: &str = "---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: four}
spec: {cidr: 192.168.0.0/16, vxlanMode: Always}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: six}
spec: {cidr: 'fd00:10::/64', vxlanMode: Always}
";

fn wires(underlay: &str) -> String {
    format!(
        "apiVersion: overlab.dev/v1alpha1
kind: Scenario
metadata: {{name: wires}}
spec:
  underlay: {{dc: {underlay}}}
  flows:
    probe: {{from: pod-a1, to: pod-a2}}
  expect: [{{flow: probe, delivered: all}}]
"
    )
}

fn addresses(model: &Model) -> Vec<String> {
    let nodes = model.nodes.iter().map(|node| {
        let nets = node.primary().addresses.iter().flatten().map(ToString::to_string);
        format!("{} {}", node.name, nets.collect::<Vec<_>>().join(" "))
    });
    let workloads = model.workloads.iter().map(|workload| {
        let nets = workload.addresses.iter().flatten().map(ToString::to_string);
        format!("{} {}", workload.name, nets.collect::<Vec<_>>().join(" "))
    });
    nodes.chain(workloads).collect()
}

#[test]
fn an_underlay_of_both_families_gives_everybody_two_addresses_and_flows_take_ipv4() {
    let model = model(&(wires("{preset: onprem, cidr6: 'fd00::/48', subnets: {a: {nodes: 2}}}") + POOLS));
    assert_eq!(
        addresses(&model),
        [
            "a1 10.0.1.11/24 fd00:0:0:1::11/64",
            "a2 10.0.1.12/24 fd00:0:0:1::12/64",
            "pod-a1 192.168.0.1 fd00:10::1",
            "pod-a2 192.168.0.65 fd00:10::41",
        ]
    );
    assert_eq!(model.flows[0].destination.to_string(), "192.168.0.65");
    let gateways = model.underlays[0].subnets[0].gateway;
    assert_eq!(gateways.v6.unwrap().to_string(), "fd00:0:0:1::1");
    let node = &model.cluster.nodes()["a1"];
    assert_eq!(node.ipv6.unwrap().to_string(), "fd00:0:0:1::11/64");
    assert!(
        model
            .notes
            .contains(&"node a1: recorded by Calico as 10.0.1.11/24 and fd00:0:0:1::11/64".to_owned())
    );
}

#[test]
fn a_subnet_has_the_families_of_its_prefixes() {
    let both = "a: {cidr: 10.0.1.0/24, cidr6: 'fd00:1::/64', nodes: 2}";
    let model = model(
        &(wires(&format!(
            "{{preset: onprem, subnets: {{{both}, b: {{nodes: 1}}, c: {{cidr: 'fd00:3::/64', nodes: 1}}}}}}"
        )) + POOLS),
    );
    assert_eq!(
        addresses(&model)[..4],
        [
            "a1 10.0.1.11/24 fd00:1::11/64",
            "a2 10.0.1.12/24 fd00:1::12/64",
            "b1 10.0.2.11/24",
            "c1 fd00:3::11/64"
        ]
    );
}

#[test]
fn flows_and_workloads_begin_and_end_at_events() {
    let text = HELLO.replace(
        "  expect:\n",
        "  workloads:
    one: {node: a1}
    two: {node: a2}
    three: {node: b1}
    late: {node: a2, createdAt: away-1s}
  flows:
    one: {from: one, to: late, start: away, stop: away.end+500ms}
  duration: 6s
  timeline:
    - {name: away, at: 2s, for: 1s, agent: {down: b1}}
  expect:\n",
    );
    let model = model(&text);
    let flow = &model.flows[0];
    assert_eq!(model.versions[0].at.as_nanos(), 1_000_000_000);
    assert_eq!((flow.start.as_nanos(), flow.count), (2_000_000_000, 15));
}

#[test]
fn a_matrix_is_of_the_workloads_that_are_there_at_its_instant_and_of_where_they_are() {
    let text = HELLO
        .replace(
            "  expect:\n",
            "  workloads:
    one: {node: a1}
    two: {node: a2}
    late: {node: a1, createdAt: 2s}
  duration: 6s
  timeline:
    - {name: away, at: 4s, workload: {move: one, to: b1}}
  expect:\n",
        )
        .replace(
            "---\n",
            "    - {matrix: all, at: 3s, classes: {same-node: {delivered: all}, same-subnet: {delivered: all}}}
    - {matrix: all, at: away, classes: {same-subnet: {delivered: all}, cross-subnet: {delivered: all}}}
---\n",
        )
        .replace(
            "        cross-subnet: {delivered: all, encap: ipip, overhead: {perPacket: 20B}}\n",
            "",
        );
    let model = model(&text);
    let probes = |of: &Expectation| {
        let flow = |id: &FlowId| &model.flows[id.0 as usize];
        let pairs = of.subject.flows().iter().map(|id| (flow(id).from, flow(id).to.unwrap()));
        let names = pairs.map(|(from, to)| {
            [from, to]
                .map(|end| match end {
                    Endpoint::Workload(place) => &*model.workloads[place].name,
                    Endpoint::Node(_) | Endpoint::Host(_) => "somebody else",
                })
                .join(" ")
        });
        format!("{} {}: {}", of.window.from, of.label, names.collect::<Vec<_>>().join(", "))
    };
    assert_eq!(
        model.expectations.iter().map(probes).collect::<Vec<_>>(),
        [
            "0.000 s matrix same-subnet: one two, two one",
            "3.000 s matrix same-node: one late, late one",
            "3.000 s matrix same-subnet: one two, two one, two late, late two",
            "4.000 s matrix same-subnet: two late, late two",
            "4.000 s matrix cross-subnet: one two, one late, two one, late one",
        ]
    );
}

#[test]
fn what_can_be_off_is_written_with_or_without_quotes() {
    for off in ["off", "'off'"] {
        let text = HELLO
            .replace("preset: aws,", &format!("preset: aws, knobs: {{rpFilter: {off}}},"))
            .replace(
                "  expect:",
                &format!("  permute: {off}\n  nodes: {{n: {{subnet: az-a, rpFilter: {off}}}}}\n  expect:"),
            );
        let model = model(&text);
        assert!(model.nodes.iter().any(|node| *node.name == *"n"));
        assert_eq!(model.expectations.len(), 2);
    }
}
