//! What large clusters and long timelines cost: in step with their size, and not with its square.

#![cfg(target_os = "linux")]

#[path = "common/large.rs"]
mod large;

use std::time::Duration;

use large::{Events, scenario};
use nix::time::{ClockId, clock_gettime};
use overlab_reports::Status;
use overlab_simulator::run::{Options, one};
use overlab_simulator::scenario::BackendKind;

/// The time that this thread has computed, whatever else the machine does.
fn computed() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// What it costs to read, run and judge a scenario.
fn cost(text: &str) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.yaml");
    std::fs::write(&file, text).unwrap();
    let before = computed();
    let outcome = one(&file.into(), &Options::over(BackendKind::Sim));
    let cost = computed() - before;
    assert_eq!(outcome.report.status, Status::Pass, "{:?}", outcome.diagnostics);
    cost
}

/// Four times the nodes cost about four times as much; if every node looked at every other they would cost sixteen times as much.
#[rstest::rstest]
#[case::mode(Events::Mode)]
#[case::moves(Events::Move)]
fn the_cost_of_events_grows_with_the_number_of_nodes_and_not_with_its_square(#[case] kind: Events) {
    let texts = [40, 160].map(|nodes| scenario(nodes, 8, kind));
    let rounds: Vec<[Duration; 2]> = (0..3).map(|_| [cost(&texts[0]), cost(&texts[1])]).collect();
    let [few, many] = [0, 1].map(|size| rounds.iter().map(|round| round[size]).min().unwrap());
    assert!(many < few * 8, "40 nodes cost {few:?}, 160 cost {many:?}");
}

/// Two events restart every Felix, and each node hears of the tunnel addresses of all others, one after the other.
#[test]
fn nodes_that_switch_one_after_the_other_end_with_the_tables_of_the_last_datastore() {
    use overlab_dataplane::route::node_tables;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.yaml");
    std::fs::write(&file, scenario(12, 3, Events::Switch)).unwrap();
    let model = overlab_simulator::scenario::load(&file).unwrap().model;
    let last = &model.versions.last().unwrap().cluster;
    for (place, node) in model.nodes.iter().enumerate() {
        let changes = || model.table_changes.iter().filter(|change| change.machine == place);
        // Its own three steps at each event, and one for each other node at two of the ways of VXLAN.
        assert!(changes().count() > 3 * 3 + 11, "{}: {}", node.name, changes().count());
        let tables = &changes().next_back().unwrap().tables;
        let mtus = tables.workloads.iter().map(|workload| (workload.name.clone(), workload.mtu));
        let wanted = node_tables(last, &model.host_network(node)).with_workload_mtus(&mtus.collect());
        assert_eq!(**tables, wanted, "{}", node.name);
    }
}
