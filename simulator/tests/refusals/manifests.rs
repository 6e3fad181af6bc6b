//! Calico's manifests.

use crate::{OVERLAPPING, UNWIRED, broken, rendered};

#[test]
fn an_unknown_key_of_a_manifest_is_refused() {
    let text = broken("ipipMode: CrossSubnet", "ipipmode: CrossSubnet");
    insta::assert_snapshot!(rendered(text), @r#"
error[K-UNKNOWN]: unknown key `ipipmode` in `spec`
  --> x.yaml:32:30
   |
32 | spec: {cidr: 192.168.0.0/16, ipipmode: CrossSubnet}
   |                              ^^^^^^^^
   |
   = note: a key that nobody reads would silently have no effect
   = help: did you mean `ipipMode`?
"#);
}

#[test]
fn a_pool_with_both_modes_on_is_refused() {
    let text = broken("ipipMode: CrossSubnet", "ipipMode: Always, vxlanMode: Always");
    insta::assert_snapshot!(rendered(text), @r#"
error[R8]: `ipipMode` and `vxlanMode` cannot both be enabled
  --> x.yaml:32:59
   |
32 | spec: {cidr: 192.168.0.0/16, ipipMode: Always, vxlanMode: Always}
   |                                        ------             ^^^^^^
   |                                        |
   |                                        `ipipMode` is Always here
   |
   = note: a pool has at most one encapsulation; two pools may have different ones
   = help: set one of them to `Never`
"#);
}

#[test]
fn a_mode_in_the_wrong_case_is_refused() {
    let text = broken("ipipMode: CrossSubnet", "ipipMode: crosssubnet");
    insta::assert_snapshot!(rendered(text), @r#"
error[R7]: "crosssubnet" is no mode
  --> x.yaml:32:40
   |
32 | spec: {cidr: 192.168.0.0/16, ipipMode: crosssubnet}
   |                                        ^^^^^^^^^^^
   |
   = note: the modes are `Never`, `Always` and `CrossSubnet`, in this exact spelling
   = help: write `CrossSubnet`
"#);
}

#[test]
fn an_ipv6_pool_with_ipip_is_refused() {
    let text = broken("cidr: 192.168.0.0/16", "cidr: fd00:10::/48");
    insta::assert_snapshot!(rendered(text), @r#"
error[R9]: IP-in-IP is not supported on IPv6 pools
  --> x.yaml:32:38
   |
32 | spec: {cidr: fd00:10::/48, ipipMode: CrossSubnet}
   |              ------------            ^^^^^^^^^^^
   |              |
   |              fd00:10::/48 is IPv6
   |
   = note: Calico has no IP-in-IP device and no node field for it in IPv6
   = help: remove `ipipMode`; `vxlanMode` is the overlay of IPv6
"#);
}

#[test]
fn a_pool_with_host_bits_is_refused() {
    let text = broken("cidr: 192.168.0.0/16", "cidr: 192.168.10.0/16");
    insta::assert_snapshot!(rendered(text), @r#"
error[R3]: 192.168.10.0/16 is not strictly masked
  --> x.yaml:32:14
   |
32 | spec: {cidr: 192.168.10.0/16, ipipMode: CrossSubnet}
   |              ^^^^^^^^^^^^^^^
   |
   = note: a pool's range may not have bits set beyond its prefix length
   = help: write 192.168.0.0/16
"#);
}

#[test]
fn a_pool_that_overlaps_another_is_refused() {
    let text = broken("192.168.0.0/16, ipipMode: CrossSubnet}\n", OVERLAPPING);
    insta::assert_snapshot!(rendered(text), @r#"
error[R6]: range 192.168.128.0/17 of pool other overlaps 192.168.0.0/16 of pool pool
  --> x.yaml:37:14
   |
37 | spec: {cidr: 192.168.128.0/17, vxlanMode: Always}
   |              ^^^^^^^^^^^^^^^^
   |
  ::: x.yaml:32:14
   |
32 | spec: {cidr: 192.168.0.0/16, ipipMode: CrossSubnet}
   |              -------------- the range of pool pool
   |
   = note: Calico creates no pool that shares addresses with another one, enabled or disabled
   = help: give the pools ranges that are apart
"#);
}

#[test]
fn a_node_manifest_without_wires_is_refused() {
    let text = broken("192.168.0.0/16, ipipMode: CrossSubnet}\n", UNWIRED);
    insta::assert_snapshot!(rendered(text), @r#"
error[E-NODE]: Node `a3` is no node of the scenario
  --> x.yaml:36:18
   |
36 | metadata: {name: a3}
   |                  ^^
   |
   = note: a Node manifest is what Calico recorded of a machine, and this machine has no wires
   = help: did you mean `a1`?
"#);
}
