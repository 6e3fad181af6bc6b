//! Addresses of the wrong family, and ends that have none in common.

use rstest::rstest;

use super::{broken, rendered};

#[test]
fn a_flow_over_ipv6_is_refused_since_nothing_would_carry_it() {
    let six = "{name: six}\nspec: {cidr: 'fd00:10::/64'}\n";
    let text = broken("web-b1, proto: udp", "web-b1, family: ipv6, proto: udp")
        + "---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: "
        + six;
    insta::assert_snapshot!(rendered(text), @r#"
error[K-NOT-MODELLED]: sending over IPv6, as flow `az` does to fd00:10::40, is not modelled yet
  --> x.yaml:20:28
   |
20 |     az: {from: web-a1, to: web-b1, family: ipv6, proto: udp, dport: 5000, rate: 100/s}
   |                            ^^^^^^
   |
   = note: what is not modelled is refused, since a guess would look like a result
   = help: send over IPv4; `overlab plan` shows the tables of both families
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
