//! Values that are none where they stand: words that YAML takes for something else, names that steer terminals, addresses that no kernel
//! takes packets from, units that are not there.

use rstest::rstest;

use crate::{broken, rendered};

#[test]
fn a_backend_that_is_named_twice_is_refused() {
    let text = rendered(broken("  phases:", "  backends: [sim, sim]\n  phases:"));
    assert!(
        text.starts_with("error[K-DUPLICATE]: the backend \"sim\" is there twice"),
        "{text}"
    );
}

/// YAML reads bare words and numbers as what they are not.
#[rstest]
#[case("{flow: off, delivered: all}", "found the boolean false", "quote the word, as `\"no\"`")]
#[case("{flow: 12, delivered: all}", "found the number 12", "quote it: `\"12\"`")]
fn a_name_that_yaml_takes_for_something_else_is_to_be_quoted(#[case] entry: &str, #[case] found: &str, #[case] help: &str) {
    let text = rendered(broken("{flow: az, during: early, delivered: all, encap: ipip}", entry));
    assert!(text.contains(found) && text.contains(help), "{text}");
}

#[test]
fn an_empty_list_is_told_from_an_empty_mapping() {
    let text = rendered(broken("phases:\n    early: [0s, 500ms]", "phases: []").replace("during: early, ", ""));
    assert!(
        text.contains("expected a mapping from name to settings, found an empty list"),
        "{text}"
    );
}

/// They would break lines of reports, or steer the terminal that shows them.
#[rstest]
#[case("metadata: {name: good}", "metadata: {name: \"a\\e[31m\"}")]
#[case("metadata: {name: good}", "metadata: {name: good, title: \"two\\nlines\"}")]
#[case("metadata: {name: pool}", "metadata: {name: \"pool\\x07\"}")]
fn control_characters_in_names_and_titles_are_refused(#[case] from: &str, #[case] to: &str) {
    let text = rendered(broken(from, to));
    assert!(
        text.contains("error[K-VALUE]: ") && text.contains("holds the control character"),
        "{text}"
    );
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

/// Linux holds packets from such a source to be martians, and IPv6 does not let a card have most of them.
#[rstest]
#[case(
    "web-a1: {node: a1, ip: 192.168.10.2}",
    "web-a1: {node: a1, ip: 127.0.0.5}",
    "127.0.0.5 is a loopback address"
)]
#[case(
    "web-a1: {node: a1, ip: 192.168.10.2}",
    "web-a1: {node: a1, ip: 224.0.0.9}",
    "224.0.0.9 is a multicast address"
)]
#[case(
    "web-a1: {node: a1, ip: 192.168.10.2}",
    "web-a1: {node: a1, ip: 255.255.255.255}",
    "255.255.255.255 is the broadcast address"
)]
#[case(
    "web-a1: {node: a1, ip: 192.168.10.2}",
    "web-a1: {node: a1, ip: 0.0.0.0}",
    "0.0.0.0 is no address"
)]
#[case(
    "web-a1: {node: a1, ip: 192.168.10.2}",
    "web-a1: {node: a1, ip6: 'ff02::9'}",
    "ff02::9 is a multicast address"
)]
#[case(
    "web-a1: {node: a1, ip: 192.168.10.2}",
    "web-a1: {node: a1, ip6: 'fe80::9'}",
    "fe80::9 is a link-local address"
)]
#[case(
    "a2: {subnet: az-a, ip: 10.20.1.12}",
    "a2: {subnet: az-a, ip: 127.0.0.1}",
    "127.0.0.1 is a loopback address"
)]
fn an_address_that_no_kernel_takes_packets_from_is_refused(#[case] from: &str, #[case] to: &str, #[case] message: &str) {
    let text = rendered(broken(from, to));
    assert!(text.contains(&format!("error[E-ADDR]: {message}")), "{text}");
}

#[test]
fn a_subnet_of_such_addresses_is_refused() {
    let text = broken("cidr: 10.20.0.0/16", "cidr: 224.0.0.0/16");
    let text = rendered(text);
    assert!(
        text.contains("error[E-CIDR]: 224.0.0.0/16 begins with a multicast address"),
        "{text}"
    );
}

#[test]
fn the_units_of_a_size_are_told_to_who_wrote_another() {
    let text = rendered(broken("rate: 100/s}", "rate: 100/s, payload: 100kb}"));
    assert!(text.contains("the units are B, kB, MB, GB and TB"), "{text}");
}
