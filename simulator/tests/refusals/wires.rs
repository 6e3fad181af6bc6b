//! Underlays, subnets, machines and names.

use crate::{broken, rendered};

#[test]
fn an_unknown_subnet_is_refused() {
    let text = broken("b1: {subnet: az-b", "b1: {subnet: main/az-bb");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-SUBNET]: unknown subnet "main/az-bb"
  --> x.yaml:15:18
   |
15 |     b1: {subnet: main/az-bb, ip: 10.20.2.11}
   |                  ^^^^^^^^^^
   |
   = note: a machine's card is wired to a subnet of an underlay
   = help: did you mean `az-b`?
"#);
}

#[test]
fn an_address_outside_its_subnet_is_refused() {
    let text = broken("ip: 10.20.1.12", "ip: 10.20.2.12");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-ADDR]: 10.20.2.12 is not in 10.20.1.0/24, the addresses of subnet az-a
  --> x.yaml:14:28
   |
14 |     a2: {subnet: az-a, ip: 10.20.2.12}
   |                            ^^^^^^^^^^
   |
   = note: the wires of a subnet carry its own addresses only
   = help: use an address of 10.20.1.0/24, or `subnet: az-b`
"#);
}

#[test]
fn an_address_that_two_machines_have_is_refused() {
    let text = broken("ip: 10.20.1.12", "ip: 10.20.1.11");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-ADDR]: 10.20.1.11 is there twice
  --> x.yaml:14:28
   |
14 |     a2: {subnet: az-a, ip: 10.20.1.11}
   |                            ^^^^^^^^^^
   |
  ::: x.yaml:13:28
   |
13 |     a1: {subnet: az-a, ip: 10.20.1.11}
   |                            ---------- first here
   |
   = note: an address belongs to one card only
   = help: give each card an address of its own
"#);
}

#[test]
fn an_address_of_the_router_is_refused() {
    let text = broken("ip: 10.20.1.12", "ip: 10.20.1.1");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-ADDR]: 10.20.1.1 is the router's address in 10.20.1.0/24
  --> x.yaml:14:28
   |
14 |     a2: {subnet: az-a, ip: 10.20.1.1}
   |                            ^^^^^^^^^
   |
   = help: use an address from 10.20.1.11 on
"#);
}

#[test]
fn an_address_that_aws_keeps_is_refused() {
    let text = broken("ip: 10.20.1.12", "ip: 10.20.1.3");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-ADDR]: 10.20.1.3 is an address that the provider keeps for itself in 10.20.1.0/24
  --> x.yaml:14:28
   |
14 |     a2: {subnet: az-a, ip: 10.20.1.3}
   |                            ^^^^^^^^^
   |
   = help: use an address from 10.20.1.11 on
"#);
}

#[test]
fn a_name_that_two_have_is_refused() {
    let text = broken("    web-b1: {", "    a1: {");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-NAME]: workload `a1` has the name of a node
  --> x.yaml:18:5
   |
18 |     a1: {node: b1, ip: 192.168.30.2}
   |     ^^
   |
  ::: x.yaml:13:5
   |
13 |     a1: {subnet: az-a, ip: 10.20.1.11}
   |     -- the other `a1`
   |
   = note: expectations name nodes, workloads, hosts and underlays, so no two of them share a name
   = help: rename one of them, as `a1-2`
error[E-ENDPOINT]: unknown workload, node or host "web-b1"
  --> x.yaml:20:28
   |
20 |     az: {from: web-a1, to: web-b1, proto: udp, dport: 5000, rate: 100/s}
   |                            ^^^^^^
   |
   = note: packets go between workloads, nodes and hosts of the scenario
   = help: did you mean `web-a1`?
"#);
}

#[test]
fn a_subnet_with_host_bits_is_refused() {
    let text = broken("cidr: 10.20.1.0/24", "cidr: 10.20.1.5/24");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-CIDR]: 10.20.1.5/24 has bits set beyond its prefix length
  --> x.yaml:10:22
   |
10 |         az-a: {cidr: 10.20.1.5/24}
   |                      ^^^^^^^^^^^^
   |
   = note: /24 leaves 8 bits for hosts, and in a prefix they are zero
   = help: did you mean `10.20.1.0/24`?
"#);
}

#[test]
fn a_subnet_outside_the_underlay_is_refused() {
    let text = broken("cidr: 10.20.1.0/24", "cidr: 10.21.1.0/24");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-SUBNET]: 10.21.1.0/24 is not inside the underlay's 10.20.0.0/16
  --> x.yaml:10:22
   |
10 |         az-a: {cidr: 10.21.1.0/24}
   |                      ^^^^^^^^^^^^
   |
  ::: x.yaml:8:13
   |
 8 |       cidr: 10.20.0.0/16
   |             ------------ the underlay
   |
   = note: an underlay routes its own addresses only
   = help: use a part of 10.20.0.0/16, or widen the underlay's `cidr`
"#);
}

#[test]
fn a_subnet_that_overlaps_another_is_refused() {
    let text = broken("cidr: 10.20.2.0/24", "cidr: 10.20.0.0/20");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-SUBNET]: 10.20.0.0/20 overlaps 10.20.1.0/24
  --> x.yaml:11:22
   |
11 |         az-b: {cidr: 10.20.0.0/20}
   |                      ^^^^^^^^^^^^
   |
  ::: x.yaml:10:22
   |
10 |         az-a: {cidr: 10.20.1.0/24}
   |                      ------------ the other subnet
   |
   = note: an address belongs to one subnet only
   = help: give each subnet addresses of its own
"#);
}

#[test]
fn an_mtu_beyond_what_aws_has_is_refused() {
    let text = broken("      cidr: 10.20.0.0/16\n", "      cidr: 10.20.0.0/16\n      mtu: 9002\n");
    insta::assert_snapshot!(rendered(text), @r#"
error[K-VALUE]: expected an MTU from 68 to 9001, found the number 9002
 --> x.yaml:9:12
  |
9 |       mtu: 9002
  |            ^^^^
  |
  = note: IPv4 needs 68 B, and this network carries at most 9001 B
  = help: write a number such as 1500
"#);
}

#[test]
fn a_preset_that_does_not_exist_is_refused_with_the_nearest_one() {
    let text = broken("preset: aws", "preset: azur");
    insta::assert_snapshot!(rendered(text), @r#"
error[K-VALUE]: expected one of `aws`, `azure`, `gcp`, `openstack`, `onprem`, `internet`, found the text "azur"
 --> x.yaml:7:15
  |
7 |       preset: azur
  |               ^^^^
  |
  = help: did you mean `azure`? (the spelling is exact)
"#);
}

#[test]
fn a_source_destination_check_on_premises_is_refused() {
    let text = broken("preset: aws", "preset: onprem").replace("ip: 10.20.1.12}", "ip: 10.20.1.12, sourceDestCheck: false}");
    insta::assert_snapshot!(rendered(text), @r#"
error[E-CHECK]: `onprem` has no `sourceDestCheck`
  --> x.yaml:14:57
   |
14 |     a2: {subnet: az-a, ip: 10.20.1.12, sourceDestCheck: false}
   |                                                         ^^^^^
   |
   = note: it is a property of interfaces in clouds; a switch in a data centre has no such thing
   = help: remove `sourceDestCheck`, or use the preset of a cloud
"#);
}

#[test]
fn a_fault_on_machines_without_wires_is_no_second_cause() {
    let event = "timeline:\n    - {name: lossy, at: 1s, fault: {between: [a1, b1], loss: 5%}}\n  phases:";
    let text = broken("phases:", event);
    let (before, wires) = text.split_once("  underlay:\n").unwrap();
    let (_, after) = wires.split_once("  nodes:\n").unwrap();
    let refusals = rendered(format!("{before}  nodes:\n{after}"));
    assert!(
        refusals.contains("the scenario has no underlay") && !refusals.contains("E-FAULT"),
        "{refusals}"
    );
}

/// The good scenario with a second card of a1, as given.
fn with_card(card: &str) -> String {
    let interfaces = format!("a1: {{subnet: az-a, ip: 10.20.1.11, interfaces: {{{card}}}}}");
    broken("a1: {subnet: az-a, ip: 10.20.1.11}", &interfaces)
}

#[test]
fn a_card_of_another_name_is_refused() {
    insta::assert_snapshot!(rendered(with_card("ens6: {subnet: az-b}")), @r#"
error[E-CARD]: a card `ens6` where `eth1` is due
  --> x.yaml:13:53
   |
13 |     a1: {subnet: az-a, ip: 10.20.1.11, interfaces: {ens6: {subnet: az-b}}}
   |                                                     ^^^^
   |
   = note: the cards of a machine are eth0, which its own keys describe, eth1, eth2 and so on, in their order
   = help: call it `eth1`
"#);
    insta::assert_snapshot!(rendered(with_card("eth0: {subnet: az-b}")), @r#"
error[E-CARD]: a card `eth0` where `eth1` is due
  --> x.yaml:13:53
   |
13 |     a1: {subnet: az-a, ip: 10.20.1.11, interfaces: {eth0: {subnet: az-b}}}
   |                                                     ^^^^
   |
   = note: `eth0` is the card that the machine's own keys describe
   = help: write its keys beside `interfaces`, or call this one `eth1`
"#);
}

#[test]
fn a_card_that_is_not_the_next_one_is_refused() {
    insta::assert_snapshot!(rendered(with_card("eth2: {subnet: az-b}")), @r#"
error[E-CARD]: a card `eth2` where `eth1` is due
  --> x.yaml:13:53
   |
13 |     a1: {subnet: az-a, ip: 10.20.1.11, interfaces: {eth2: {subnet: az-b}}}
   |                                                     ^^^^
   |
   = note: the cards of a machine are eth0, which its own keys describe, eth1, eth2 and so on, in their order
   = help: call it `eth1`
"#);
}

#[test]
fn an_address_of_a_second_card_outside_its_subnet_is_refused() {
    insta::assert_snapshot!(rendered(with_card("eth1: {subnet: az-b, ip: 10.20.1.21}")), @r#"
error[E-ADDR]: 10.20.1.21 is not in 10.20.2.0/24, the addresses of subnet az-b
  --> x.yaml:13:78
   |
13 |     a1: {subnet: az-a, ip: 10.20.1.11, interfaces: {eth1: {subnet: az-b, ip: 10.20.1.21}}}
   |                                                                              ^^^^^^^^^^
   |
   = note: the wires of a subnet carry its own addresses only
   = help: use an address of 10.20.2.0/24, or `subnet: az-a`
"#);
}

#[test]
fn an_address_that_both_cards_of_a_machine_have_is_refused() {
    insta::assert_snapshot!(rendered(with_card("eth1: {subnet: az-a, ip: 10.20.1.11}")), @r#"
error[E-ADDR]: 10.20.1.11 is there twice
  --> x.yaml:13:78
   |
13 |     a1: {subnet: az-a, ip: 10.20.1.11, interfaces: {eth1: {subnet: az-a, ip: 10.20.1.11}}}
   |                            ---------- first here                             ^^^^^^^^^^
   |
   = note: an address belongs to one card only
   = help: give each card an address of its own
"#);
}

#[test]
fn a_key_that_no_card_has_is_refused() {
    insta::assert_snapshot!(rendered(with_card("eth1: {subnet: az-b, rpFilter: strict}")), @r#"
error[K-UNKNOWN]: unknown key `rpFilter` in `spec.nodes.a1.interfaces.eth1`
  --> x.yaml:13:74
   |
13 |     a1: {subnet: az-a, ip: 10.20.1.11, interfaces: {eth1: {subnet: az-b, rpFilter: strict}}}
   |                                                                          ^^^^^^^^
   |
   = note: a key that nobody reads would silently have no effect
   = help: known keys are subnet, ip, ip6, mtu, sourceDestCheck, ipForwarding, canIpForward, portSecurity, groups, allowedAddresses, publicIp
"#);
}

#[test]
fn a_card_without_a_subnet_is_refused() {
    insta::assert_snapshot!(rendered(with_card("eth1: {ip: 10.20.2.21}")), @r#"
error[K-MISSING]: `subnet` is missing
  --> x.yaml:13:53
   |
13 |     a1: {subnet: az-a, ip: 10.20.1.11, interfaces: {eth1: {ip: 10.20.2.21}}}
   |                                                     ^^^^
   |
   = help: add `subnet:` to `spec.nodes.a1.interfaces.eth1`
"#);
}

#[test]
fn too_many_nodes_of_a_subnet_are_not_said_to_be_none() {
    let text = crate::GOOD.replace("az-a: {cidr: 10.20.1.0/24}", "az-a: {cidr: 10.20.1.0/24, nodes: 254}");
    let (nodes, workloads) = (text.find("  nodes:\n").unwrap(), text.find("  flows:").unwrap());
    let text = rendered(text[..nodes].to_owned() + &text[workloads..]);
    assert!(
        text.contains("expected a whole number from 0 to 200, found the number 254"),
        "{text}"
    );
    assert!(!text.contains("the scenario has no nodes"), "{text}");
}
