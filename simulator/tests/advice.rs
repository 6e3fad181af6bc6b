//! What is said of packets that are lost: where the cause stands, and what to try.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use rstest::rstest;

const SERVICES: &str = "scenarios/nat/service-of-each-mode-answers-from-its-cluster-ip.yaml";
const NO_ENDPOINT: &str = "scenarios/nat/service-without-endpoints-refused.yaml";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn overlab(arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::new(env!("CARGO_BIN_EXE_overlab"))
        .current_dir(root())
        .args(arguments)
        .assert()
}

/// Runs a shipped scenario in which a text was replaced, so that a claim of it fails.
fn run_changed(path: &str, changes: &[(&str, &str)]) -> assert_cmd::assert::Assert {
    let mut text = fs::read_to_string(root().join(path)).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{path} has {from}");
        text = text.replace(from, to);
    }
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    fs::write(&file, text).unwrap();
    overlab(&["run", file.path().to_str().unwrap()]).code(1)
}

#[test]
fn a_connection_to_a_service_is_explained_by_the_packet_that_opens_it_and_its_answer() {
    overlab(&["explain", SERVICES, "client", "10.96.0.12", "--proto", "tcp", "--dport", "80"])
        .code(0)
        .stdout(contains("client > 10.96.0.12  tcp, 52 B, df want, ttl 64"))
        .stdout(contains(
            "destination 10.96.0.12:80 -> 192.168.2.2:8080 (service default/ipip)",
        ))
        .stdout(contains("\nrequest: ").count(1).and(contains("\nreply: ").count(1)))
        .stdout(contains("source of an answer 192.168.2.2:8080 -> 10.96.0.12:80"));
}

#[test]
fn the_packet_that_opens_a_connection_has_no_size_of_choice() {
    overlab(&[
        "explain",
        SERVICES,
        "client",
        "10.96.0.12",
        "--proto",
        "tcp",
        "--size",
        "1000",
    ])
    .code(2)
    .stdout("")
    .stderr(contains("leave --size out"));
}

#[test]
fn an_echo_request_to_a_service_is_told_how_services_are_asked() {
    let note = "note: 10.96.0.12 is service default/ipip: give --proto and --dport\n";
    overlab(&["explain", SERVICES, "client", "10.96.0.12"]).code(0).stderr(note);
    overlab(&["explain", SERVICES, "client", "far-ipip"]).code(0).stderr("");
}

#[test]
fn a_packet_for_another_port_of_a_service_is_told_which_ports_it_has() {
    overlab(&["explain", SERVICES, "client", "10.96.0.12", "--proto", "udp", "--dport", "80"])
        .code(0)
        .stdout(contains(
            "because 10.96.0.12 is the cluster IP of service default/ipip, for tcp 80, udp 53 alone\n",
        ));
}

#[test]
fn a_packet_for_a_service_without_endpoints_names_the_service() {
    overlab(&[
        "explain",
        NO_ENDPOINT,
        "client",
        "10.96.0.10",
        "--proto",
        "tcp",
        "--dport",
        "80",
    ])
    .code(0)
    .stdout(contains("10.96.0.10:80 (service default/late): no endpoint is ready\n"));
}

#[rstest]
#[case::no_endpoint(
    "{flow: node, delivered: none,",
    "{flow: node, delivered: all,",
    "cause   10.96.0.10:53 (service default/late): no endpoint is ready",
    "try     an EndpointSlice of the service with an endpoint that is ready"
)]
#[case::no_port(
    "{flow: [port, ping], delivered: none,",
    "{flow: [port, ping], delivered: all,",
    "cause   10.96.0.10 is the cluster IP of service default/late, for tcp 80, udp 53 alone",
    "try     a `proto` and `dport` that the service has"
)]
fn a_loss_on_the_way_to_a_service_names_it(#[case] from: &str, #[case] to: &str, #[case] cause: &str, #[case] remedy: &str) {
    run_changed(NO_ENDPOINT, &[(from, to)]).stdout(contains(cause).and(contains(remedy)));
}
