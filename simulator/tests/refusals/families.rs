//! Addresses of the wrong family, and ends that have none in common.

use rstest::rstest;

use super::{broken, rendered};

/// Another pool behind the scenario.
fn with_pool(text: &str, spec: &str) -> String {
    format!("{text}---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: six}}\nspec: {spec}\n")
}

#[test]
fn an_ipv6_pool_with_vxlan_is_refused_under_a_version_that_has_none() {
    let text = broken("spec:\n  underlay:", "spec:\n  profile: calico/v3.22\n  underlay:");
    insta::assert_snapshot!(rendered(with_pool(&text, "{cidr: 'fd00:10::/64', vxlanMode: Always}")), @r#"
error[R10]: VXLAN is not supported on IPv6 pools in calico/v3.22
  --> x.yaml:38:41
   |
38 | spec: {cidr: 'fd00:10::/64', vxlanMode: Always}
   |                                         ^^^^^^
   |
   = note: Calico accepts it from v3.23
   = help: choose a later profile, or set `vxlanMode` to `Never`
"#);
}

#[test]
fn an_ipv6_pool_with_ip_in_ip_is_refused_under_every_version() {
    let text = broken("  phases:", "  seed: 2\n  phases:");
    insta::assert_snapshot!(rendered(with_pool(&text, "{cidr: 'fd00:10::/64', ipipMode: Always}")), @r#"
error[R9]: IP-in-IP is not supported on IPv6 pools
  --> x.yaml:38:40
   |
38 | spec: {cidr: 'fd00:10::/64', ipipMode: Always}
   |              --------------            ^^^^^^
   |              |
   |              fd00:10::/64 is IPv6
   |
   = note: Calico has no IP-in-IP device and no node field for it in IPv6
   = help: remove `ipipMode`; `vxlanMode` is the overlay of IPv6
"#);
}

#[rstest]
#[case::ends_without_it("to: web-b1, proto: udp", "to: web-b1, family: ipv6, proto: udp", "E-FAMILY")]
#[case::an_address_of_the_other("to: web-b1, proto: udp", "to: 'fd00::1', family: ipv4, proto: udp", "E-FAMILY")]
#[case::a_sender_without_it("to: web-b1, proto: udp", "to: 'fd00::1', proto: udp", "E-FAMILY")]
#[case::a_link_local_receiver("to: web-b1, proto: udp", "to: 'fe80::1', proto: udp", "K-VALUE")]
#[case::no_family("to: web-b1, proto: udp", "to: web-b1, family: ipv5, proto: udp", "K-VALUE")]
#[case::ip6_of_ipv4("ip: 192.168.10.2", "ip6: 192.168.10.2", "K-VALUE")]
#[case::two_of_ipv6("ip: 192.168.10.2", "ip: 'fd00::2', ip6: 'fd00::3'", "K-VALUE")]
#[case::a_subnet_without_it("ip: 10.20.1.12}", "ip6: 'fd00::12'}", "E-ADDR")]
#[case::the_anycast_address(
    "cidr: 10.20.2.0/24}",
    "cidr6: 'fd00:2::/64', nodes: 0}\n  hosts: {h: {subnet: az-b, ip6: 'fd00:2::'}}",
    "E-ADDR"
)]
#[case::a_prefix_outside(
    "cidr: 10.20.0.0/16\n      subnets:\n        az-a: {cidr: 10.20.1.0/24}",
    "cidr: 10.20.0.0/16\n      cidr6: 'fd00::/48'\n      subnets:\n        az-a: {cidr: 10.20.1.0/24, cidr6: 'fd01::/64'}",
    "E-SUBNET"
)]
fn addresses_of_two_families_do_not_mix(#[case] from: &str, #[case] to: &str, #[case] code: &str) {
    let rendered = rendered(broken(from, to));
    assert!(rendered.contains(&format!("error[{code}]")), "{rendered}");
}
