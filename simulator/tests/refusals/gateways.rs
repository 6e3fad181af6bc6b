//! What joins underlays, route tables and knobs.

use rstest::rstest;

use super::{broken, rendered};

/// The scenario with a second network, and these gateways.
fn joined(gateways: &str) -> String {
    let second = "underlay:\n    other: {preset: aws, cidr: 10.30.0.0/16, subnets: {az-o: {cidr: 10.30.1.0/24}}}";
    let text = broken("underlay:", second);
    text.replace("  nodes:\n", &format!("  gateways:\n    {gateways}\n  nodes:\n"))
}

/// The same with routes in the first network's table.
fn routed(gateways: &str, routes: &str) -> String {
    joined(gateways).replace("      preset: aws\n", &format!("      preset: aws\n      routes: {routes}\n"))
}

#[test]
fn networks_that_share_addresses_are_not_joined() {
    let text = joined("pcx: {kind: peering, joins: [main, other]}").replace("10.30.", "10.20.");
    let text = text.replace("10.20.1.0/24}}}", "10.20.9.0/24}}}");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-GATEWAY]: 10.20.0.0/16 of `other` overlaps 10.20.0.0/16 of `main`
  --> x.yaml:14:26
   |
14 |     pcx: {kind: peering, joins: [main, other]}
   |                          ^^^^^
   |
   = note: an address on both sides of a gateway could be meant to be on either
   = help: give each underlay a `cidr` of its own
"#);
}

#[test]
fn a_route_to_a_gateway_that_does_not_join_the_network_is_refused() {
    let text = routed(
        "igw: {kind: internetGateway, joins: [other, web]}",
        "[{to: 0.0.0.0/0, via: igw}]",
    );
    let text = text.replace(
        "    other: {",
        "    web: {preset: internet, cidr: 203.0.113.0/24, subnets: {site: {cidr: 203.0.113.0/24}}}\n    other: {",
    );
    insta::assert_snapshot!(rendered(text), @r#"
error[E-ROUTE]: `igw` does not join `main`
  --> x.yaml:10:37
   |
10 |       routes: [{to: 0.0.0.0/0, via: igw}]
   |                                     ^^^
   |
   = note: a route leads to a neighbour: a machine, or a gateway that the network is attached to
   = help: join `main` and `igw`, or name another gateway
"#);
}

#[test]
fn the_fifty_first_route_of_a_table_is_refused() {
    let routes: Vec<String> = (0..51).map(|n| format!("{{to: 192.168.{n}.0/26, via: a1}}")).collect();
    let text = routed(
        "pcx: {kind: peering, joins: [main, other]}",
        &format!("[{}]", routes.join(", ")),
    );
    let shown = rendered(&text);
    assert!(
        shown.starts_with("error[E-QUOTA]: more than 50 routes in one route table"),
        "{shown}"
    );
    assert!(shown.contains("knobs: {routeQuota: 1000}"), "{shown}");
    let raised = text.replace("      preset: aws\n", "      preset: aws\n      knobs: {routeQuota: 1000}\n");
    let (_folder, path) = super::Folder::with(raised);
    overlab_simulator::scenario::load(&path).unwrap();
}

#[rstest]
#[case("pcx: {kind: peering, joins: [main]}", "a `peering` joins two underlays, not 1")]
#[case("pcx: {kind: peering, joins: [main, main]}", "`main` is there twice")]
#[case("pcx: {kind: peering, joins: [main, othr]}", "did you mean `other`?")]
#[case("pcx: {kind: peerings, joins: [main, other]}", "expected one of `peering`")]
#[case("pcx: {kind: peering, joins: [main, other], rules: []}", "unknown key `rules`")]
#[case(
    "igw: {kind: internetGateway, joins: [main, other]}",
    "add an underlay with `preset: internet`"
)]
#[case("nat: {kind: natGateway, subnet: az-a}", "publicIp")]
#[case(
    "nat: {kind: natGateway, subnet: az-a, publicIp: 198.51.100.9}",
    "`main`, which has no way to the internet"
)]
#[case(
    "tgw: {kind: transitGateway, joins: [main, other], routes: [{to: 10.9.0.0/16, via: elsewhere}]}",
    "unknown underlay"
)]
#[case("a1: {kind: peering, joins: [main, other]}", "has the name of a gateway")]
#[case(
    "fw: {kind: firewall, joins: [main, other], rules: [{proto: ipip}]}",
    "write the number: 4 for IP in IP"
)]
fn a_gateway_that_makes_no_sense_is_refused_with_what_would(#[case] gateway: &str, #[case] expected: &str) {
    let shown = rendered(joined(gateway));
    assert!(shown.contains(expected), "{shown}");
}

#[rstest]
#[case("[{to: 10.30.0.0/16, via: pcxx}]", "did you mean `pcx`?")]
#[case("[{to: 10.20.1.0/26, via: pcx}]", "10.20.1.0/26 lies inside subnet az-a")]
fn a_route_that_makes_no_sense_is_refused_with_what_would(#[case] routes: &str, #[case] expected: &str) {
    let shown = rendered(routed("pcx: {kind: peering, joins: [main, other]}", routes));
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn a_route_table_of_a_subnet_is_refused_where_the_provider_has_none() {
    let text = broken("preset: aws", "preset: gcp").replace("{cidr: 10.20.1.0/24}", "{cidr: 10.20.1.0/24, routes: []}");
    let shown = rendered(text);
    assert!(shown.contains("subnets of `gcp` have no route tables"), "{shown}");
}

#[test]
fn a_public_address_that_two_have_is_refused() {
    let text = joined("igw: {kind: internetGateway, joins: [main, web]}")
        .replace(
            "    other: {",
            "    web: {preset: internet, cidr: 203.0.113.0/24, subnets: {site: {cidr: 203.0.113.0/24}}}\n    other: {",
        )
        .replace("ip: 10.20.1.11", "ip: 10.20.1.11, publicIp: 198.51.100.1")
        .replace("ip: 10.20.1.12", "ip: 10.20.1.12, publicIp: 198.51.100.1");
    let shown = rendered(text);
    assert!(shown.contains("error[E-PUBLIC]: 198.51.100.1 is there twice"), "{shown}");
}

#[rstest]
#[case("routers: {spine: {}}", "join underlays by `gateways:")]
#[case("acl: {ingress: []}", "write it as `acl` of a subnet")]
fn what_belongs_elsewhere_is_refused_with_its_place(#[case] key: &str, #[case] expected: &str) {
    let shown = rendered(broken("      preset: aws\n", &format!("      preset: aws\n      {key}\n")));
    assert!(shown.contains(expected), "{shown}");
}
