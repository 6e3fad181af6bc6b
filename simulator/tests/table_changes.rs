//! Tables that change during a run, in virtual time: what becomes of each packet, to the packet.

#[path = "common/changing.rs"]
mod changing;

use changing::*;
use overlab_dataplane::Instant;
use overlab_simulator::backend::Sim;
use overlab_simulator::observe::{Capture, Direction, PlaceKind, Trace};
use overlab_simulator::run::{Context, execute, report};
use overlab_simulator::scenario::Model;

fn run(model: &Model) -> Vec<Trace> {
    execute(model, &mut Sim::new(), Capture::off()).unwrap().traces
}

fn told(traces: &[Trace]) -> Vec<String> {
    let line = |(fate, numbers): (String, std::ops::RangeInclusive<u32>)| format!("{numbers:?} {fate}");
    stretches(&fates(traces, Direction::Forward)).into_iter().map(line).collect()
}

/// When a packet of a flow came to a node.
fn arrival(traces: &[Trace], sequence: u32, node: &str) -> Instant {
    let trace = traces.iter().find(|trace| trace.key.sequence == sequence).unwrap();
    let is_there = |place: &overlab_simulator::observe::Place| place.kind == PlaceKind::Node && *place.name == *node;
    trace.hops.iter().find(|hop| is_there(&hop.place)).unwrap().at
}

#[test]
fn a_route_withdrawn_for_a_time_loses_the_packets_of_that_time() {
    let traces = run(&route_gone_for_a_time());
    assert_eq!(
        told(&traces),
        ["0..=29 delivered", "30..=49 fabric_no_route@main", "50..=99 delivered"]
    );
}

#[test]
fn each_hop_keeps_the_tables_that_decided() {
    let traces = run(&route_gone_for_a_time());
    let prefix = "192.168.2.0/26".parse().unwrap();
    for trace in &traces {
        let there = trace.hops.iter().find(|hop| *hop.place.name == *"a1").unwrap();
        let has_route = there.tables.as_ref().unwrap().route_to(prefix).is_some();
        assert_eq!(has_route, !(30..50).contains(&trace.key.sequence), "{:?}", trace.key);
    }
}

#[test]
fn a_change_comes_before_what_arrives_at_the_same_instant() {
    let arrives = arrival(&run(&model(TO_POD_B)), 40, "b1");
    for (late, first_lost) in [(0, 40), (1, 41)] {
        let mut changing = model(TO_POD_B);
        let mut closed = (*tables(&changing, B1)).clone();
        closed.ipip.as_mut().unwrap().allowed = Default::default();
        change(
            &mut changing,
            Instant::from_nanos(arrives.as_nanos() + late),
            B1,
            closed.into(),
        );
        let wanted = [
            format!("0..={} delivered", first_lost - 1),
            format!("{first_lost}..=99 tunnel_source_denied@b1"),
        ];
        assert_eq!(told(&run(&changing)), wanted);
    }
}

#[test]
fn of_changes_at_one_instant_the_last_holds() {
    let mut changing = model(TO_POD_B);
    let before = tables(&changing, A1);
    let gone = without_route(&before, "192.168.2.0/26");
    change(&mut changing, millis(300), A1, gone.clone());
    change(&mut changing, millis(300), A1, before.clone());
    change(&mut changing, millis(600), A1, before);
    change(&mut changing, millis(600), A1, gone);
    assert_eq!(told(&run(&changing)), ["0..=59 delivered", "60..=99 fabric_no_route@main"]);
}

#[test]
fn tunnels_of_another_kind_carry_on_where_the_first_ended() {
    let traces = run(&other_tunnels());
    assert_eq!(
        told(&traces),
        ["0..=49 delivered", "50..=59 no_decap@b1", "60..=99 delivered"]
    );
    let worn = [49, 60].map(|number: usize| traces[number].first_hop[0].encap.to_string());
    assert_eq!(worn, ["ipip", "vxlan"]);
}

#[test]
fn a_nodes_own_process_takes_its_source_by_the_routes_that_are_there() {
    let (changing, sources) = other_sources();
    let traces = run(&changing);
    assert_eq!(told(&traces), ["0..=99 delivered"]);
    let seen = [49, 50].map(|number: usize| traces[number].source_seen.unwrap());
    assert_eq!(seen, sources);
}

#[rstest::rstest]
#[case::gets_nothing(TO_POD_B, "blackhole@b1")]
#[case::sends_nothing(FROM_POD_B, "no_route@pod-b")]
fn a_deleted_workload_is_gone_until_it_is_there_again(#[case] written: Written, #[case] gone: &str) {
    let traces = run(&workload_gone_for_a_time(written));
    let lost = format!("20..=69 {gone}");
    assert_eq!(told(&traces), ["0..=19 delivered", &lost, "70..=99 delivered"]);
}

#[test]
fn a_workload_that_moves_is_served_where_it_is() {
    let traces = run(&workload_that_moves());
    assert_eq!(told(&traces), ["0..=99 delivered"]);
    assert_eq!(
        [39, 40, 60].map(|number: usize| nodes(&traces[number])),
        ["a1 b1", "a1 b1 b2", "a1 b2"]
    );
}

#[test]
fn a_run_hands_out_every_table_that_a_machine_had_or_was_to_have() {
    let mut changing = route_gone_for_a_time();
    let last = tables(&changing, B1);
    change(&mut changing, millis(60_000), B1, last);
    let run = execute(&changing, &mut Sim::new(), Capture::off()).unwrap();
    let instants = |machine: usize| -> Vec<_> { run.tables[machine].iter().map(|(at, _)| at).collect() };
    assert_eq!(instants(A1), [Instant::ZERO, millis(300), millis(500)]);
    assert_eq!(instants(B1), [Instant::ZERO, millis(60_000)]);
}

#[test]
fn a_report_tells_what_each_change_took_brought_and_altered() {
    let mut loaded = loaded(TO_POD_B);
    let changing = &mut loaded.model;
    let crosses = Written {
        pool: "ipipMode: CrossSubnet, vxlanMode: Never",
        ..TO_POD_B
    };
    let after = tables(&model(crosses), B2);
    change(changing, millis(100), B2, without_route(&after, "192.168.1.0/26"));
    change(changing, millis(200), B2, after);
    let run = execute(changing, &mut Sim::new(), Capture::off()).unwrap();
    let context = Context {
        file: "changing.yaml".as_ref(),
        variant: None,
        backend: "sim",
        ranges: false,
        expect: None,
        tables: true,
    };
    let report = report(&loaded, &run, &context);
    let told: Vec<_> = report
        .changes
        .iter()
        .map(|change| {
            (
                change.at_ns,
                &*change.node,
                &change.removed[..],
                &change.added[..],
                &change.altered[..],
            )
        })
        .collect();
    let texts = |entries: &[&str]| entries.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        told,
        [
            (
                100_000_000,
                "b2",
                &texts(&["192.168.1.0/26 ipip", "192.168.2.0/26 ipip"])[..],
                &texts(&["192.168.2.0/26 direct"])[..],
                &[][..],
            ),
            (200_000_000, "b2", &[][..], &texts(&["192.168.1.0/26 ipip"])[..], &[][..]),
        ]
    );
    // The tables of every node stay those of the start.
    let b2 = report.tables.iter().find(|table| table.node == "b2").unwrap();
    assert!(
        b2.lines
            .iter()
            .any(|line| line.contains("192.168.2.0/26") && line.contains("tunl0"))
    );
}

#[test]
fn a_node_has_its_tables_since_the_last_change_before() {
    let changing = route_gone_for_a_time();
    let since = |node, at| changing.last_table_change(node, millis(at)).map(|change| change.at);
    let asked = [0, 299, 300, 499, 500, 900].map(|at| since("a1", at));
    let [first, second] = [millis(300), millis(500)].map(Some);
    assert_eq!(asked, [None, None, first, first, second, second]);
    assert_eq!(since("b1", 900), None);
}

/// Nodes take another VXLAN port one after the other: in between they do not hear each other, and all wear VXLAN.
#[test]
fn a_changed_vxlan_port_is_still_read_as_vxlan() {
    let vxlan = Written {
        pool: "ipipMode: Never, vxlanMode: Always",
        ..TO_POD_B
    };
    let mut changing = model(vxlan);
    for (at, node) in [(300, A1), (400, B1)] {
        let mut after = (*tables(&changing, node)).clone();
        after.vxlan_port = 8472;
        change(&mut changing, millis(at), node, after.into());
    }
    let traces = run(&changing);
    assert_eq!(
        told(&traces),
        ["0..=29 delivered", "30..=39 no_listener@b1", "40..=99 delivered"]
    );
    assert!(traces.iter().all(|trace| trace.first_hop[0].encap.to_string() == "vxlan"));
    let ports = [29, 30].map(|number: usize| traces[number].first_hop[0].ports.unwrap().1);
    assert_eq!(ports, [4789, 8472]);
}
