//! Tables that change during a run, in real time: the same changes as in virtual time, with ranges.

use std::ops::RangeInclusive;

use overlab_simulator::backend::netns::Netns;
use overlab_simulator::observe::{Capture, Direction, Trace};
use overlab_simulator::run::execute;
use overlab_simulator::scenario::Model;

use crate::Test;
use crate::changing::*;

pub(crate) const TESTS: &[Test] = &[
    (
        "a_route_withdrawn_for_a_time_loses_the_packets_of_about_that_time",
        a_route_withdrawn_for_a_time_loses_the_packets_of_about_that_time,
    ),
    (
        "tunnels_of_another_kind_carry_on_where_the_first_ended",
        tunnels_of_another_kind_carry_on_where_the_first_ended,
    ),
    (
        "a_kernel_takes_its_source_by_the_routes_that_are_there",
        a_kernel_takes_its_source_by_the_routes_that_are_there,
    ),
    (
        "a_deleted_workload_gets_nothing_and_sends_nothing",
        a_deleted_workload_gets_nothing_and_sends_nothing,
    ),
    (
        "a_workload_that_moves_is_served_where_it_is",
        a_workload_that_moves_is_served_where_it_is,
    ),
];

/// How many packets of 10 ms each a change may come earlier or later to packets than it is due.
const SLACK: u32 = 10;

fn run(model: &Model) -> Vec<Trace> {
    execute(model, &mut Netns::new().unwrap(), Capture::off()).unwrap().traces
}

/// The fates follow one another as they should, and each begins about when it should.
fn hold(traces: &[Trace], wanted: &[(u32, &str)]) {
    let seen = stretches(&fates(traces, Direction::Forward));
    let kinds: Vec<&str> = seen.iter().map(|(fate, _)| &**fate).collect();
    assert_eq!(kinds, wanted.iter().map(|(_, fate)| *fate).collect::<Vec<_>>(), "{seen:?}");
    for ((_, numbers), (begins, _)) in seen.iter().zip(wanted) {
        assert!(about(*begins).contains(numbers.start()), "{seen:?}");
    }
}

fn about(number: u32) -> RangeInclusive<u32> {
    number.saturating_sub(SLACK)..=number + SLACK
}

fn a_route_withdrawn_for_a_time_loses_the_packets_of_about_that_time() -> Option<String> {
    let traces = run(&route_gone_for_a_time());
    hold(&traces, &[(0, "delivered"), (30, "fabric_no_route@main"), (50, "delivered")]);
    None
}

fn tunnels_of_another_kind_carry_on_where_the_first_ended() -> Option<String> {
    let traces = run(&other_tunnels());
    hold(&traces, &[(0, "delivered"), (50, "no_decap@b1"), (60, "delivered")]);
    None
}

fn a_kernel_takes_its_source_by_the_routes_that_are_there() -> Option<String> {
    let (changing, sources) = other_sources();
    let traces = run(&changing);
    let mut seen: Vec<_> = traces.iter().filter_map(|trace| trace.source_seen).collect();
    let changed = seen.iter().position(|source| *source == sources[1]).unwrap();
    assert!(about(50).contains(&(changed as u32)), "{changed}");
    seen.dedup();
    assert_eq!(seen, sources);
    None
}

fn a_deleted_workload_gets_nothing_and_sends_nothing() -> Option<String> {
    for (written, gone) in [(TO_POD_B, "blackhole@b1"), (FROM_POD_B, "no_route@pod-b")] {
        let traces = run(&workload_gone_for_a_time(written));
        hold(&traces, &[(0, "delivered"), (20, gone), (70, "delivered")]);
    }
    None
}

fn a_workload_that_moves_is_served_where_it_is() -> Option<String> {
    let traces = run(&workload_that_moves());
    hold(&traces, &[(0, "delivered")]);
    let mut paths: Vec<_> = traces.iter().map(nodes).collect();
    paths.dedup();
    assert_eq!(paths, ["a1 b1", "a1 b1 b2", "a1 b2"]);
    None
}
