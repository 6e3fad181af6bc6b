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

/// A shipped scenario in which texts were replaced.
fn changed(path: &str, changes: &[(&str, &str)]) -> tempfile::NamedTempFile {
    let mut text = fs::read_to_string(root().join(path)).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{path} has {from}");
        text = text.replace(from, to);
    }
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    fs::write(&file, text).unwrap();
    file
}

/// Runs one, in which a claim fails.
fn run_changed(path: &str, changes: &[(&str, &str)]) -> assert_cmd::assert::Assert {
    let file = changed(path, changes);
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

/// A claim that fails by each reason, what is told of the cause, and what to try.
#[rstest]
#[case::firewall(
    "onprem/vxlan-firewall-one-rule-one-way.yaml",
    ("{flow: back, delivered: none,", "{flow: back, delivered: all,"),
    "",
    "a rule of fw that admits UDP to port 4789 from 10.0.2.11 to 10.0.1.11"
)]
#[case::access_list(
    "aws/ipip-acl-without-protocol-4-zone-boundary-dropped.yaml",
    ("{flow: [out, in], delivered: none,", "{flow: [out, in], delivered: all,"),
    "",
    "a rule of the access list that admits protocol 4 from 10.0.1.11 to 10.0.2.11, ahead of what denies it, and one for the way back"
)]
#[case::filter_of_a_node(
    "firewall/vxlan-strict-rpfilter-unequal-masks-dropped.yaml",
    ("{flow: out, delivered: none,", "{flow: out, delivered: all,"),
    "",
    "`rpFilter: loose` at n2 (net.ipv4.conf.*.rp_filter=2), or routes by which what goes back leaves by eth0 too"
)]
#[case::filter_of_a_router(
    "onprem/never-strict-reverse-path-dropped.yaml",
    ("{flow: bare, delivered: none,", "{flow: bare, delivered: all,"),
    "",
    "an encapsulation, or a route of dc back to the packet's source"
)]
#[case::kernel(
    "nodes/vxlan-old-kernel-service-udp-spoiled.yaml",
    ("{flow: told, delivered: none,", "{flow: told, delivered: all,"),
    "kernel 5.4 of told, with checksum offload left on (featureDetectOverride: ChecksumOffloadBroken=false)",
    "a kernel from 5.8 on at told, or featureDetectOverride: ChecksumOffloadBroken=true"
)]
#[case::card(
    "onprem/vxlan-offload-breaks-inner-checksums.yaml",
    ("{flow: udp, delivered: none,", "{flow: udp, delivered: all,"),
    "`breaksInnerChecksums` of underlay dc",
    "a `vxlanPort` that the cards do not offload, IP in IP, or cards with VXLAN offload off"
)]
fn a_loss_comes_with_something_to_try(
    #[case] path: &str,
    #[case] change: (&str, &str),
    #[case] cause: &str,
    #[case] remedy: &str,
) {
    run_changed(&format!("scenarios/{path}"), &[change])
        .stdout(contains(format!("try     {remedy}")))
        .stdout(contains(cause));
}

/// A share alone is exact, which is seldom meant.
#[test]
fn more_than_an_exact_share_is_told_how_a_least_share_is_written() {
    let share = |text: &str| {
        run_changed(
            SERVICES,
            &[
                ("sourceSeen: client, reverse: {delivered: all}", "delivered2"),
                ("delivered: all, delivered2", text),
            ],
        )
    };
    share("delivered: 99%").stdout(contains("99% exactly; `{min: 99%}` takes more"));
}

#[rstest]
#[case("run")]
#[case("check")]
#[case("plan")]
#[case("import")]
fn a_file_that_is_not_there_is_told_alike_by_all(#[case] verb: &str) {
    overlab(&[verb, "scenarios/aws/nosuch.yaml"])
        .code(2)
        .stderr(contains("error[F-MISSING]: no such file: scenarios/aws/nosuch.yaml\n").and(contains("os error").not()));
}

#[test]
fn a_lint_of_a_variant_names_it() {
    overlab(&["check", "scenarios/onprem/vxlan-firewall-one-rule-one-way.yaml"])
        .code(0)
        .stderr(contains("]: pool pool sends UDP to port 4789 from n2 to n1"))
        .stderr(contains("]: in variant ipip, pool pool sends protocol 4 from n2 to n1").count(1));
}

#[test]
fn the_first_pair_whose_tunnel_is_denied_is_told_with_the_number_of_others() {
    overlab(&[
        "check",
        "scenarios/aws/ipip-acl-without-protocol-4-zone-boundary-dropped.yaml",
    ])
    .code(0)
    .stderr(contains(
        "sends protocol 4 from b1 to a1, and the access list of main/az-a does not let it in; so it is between 3 more pairs\n",
    ));
}

/// A typing error in an address loses connections, which only the services that flows go to can show.
#[rstest]
#[case::wrong(&[("[192.168.2.2]", "[192.168.2.9]")], "]: 192.168.2.9, behind service default/ipip by default/ipip-1, is nobody's here\n")]
#[case::not_called(&[("[192.168.2.2]", "[192.168.2.9]"), ("clusterIP: 10.96.0.12", "clusterIP: 10.96.0.99")], "")]
#[case::right(&[], "")]
fn an_endpoint_that_nobody_of_the_scenario_is_makes_a_lint(#[case] changes: &[(&str, &str)], #[case] lint: &str) {
    let file = changed(SERVICES, changes);
    let checked = overlab(&["check", file.path().to_str().unwrap()]).code(0);
    match lint {
        "" => checked.stderr(""),
        lint => checked.stderr(contains("warning[ENDPOINT_OF_NOBODY").and(contains(lint))),
    };
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
