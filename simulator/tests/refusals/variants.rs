//! Variants that change what is not there, or into what is refused: each is found at the line of its `set`.

use overlab_simulator::scenario::{load, load_variant};
use rstest::rstest;

use super::{Folder, broken, lines, rendered};

fn variant_refused(variants: &str) -> String {
    let (folder, path) = Folder::with(broken("  phases:", &format!("  variants:\n    x: {variants}\n  phases:")));
    load(&path).expect("the scenario itself is right");
    lines(&folder, &load_variant(&path, Some("x")).expect_err("the variant is refused"))
}

#[test]
fn a_value_that_a_set_makes_wrong_is_shown_where_it_is_set() {
    insta::assert_snapshot!(variant_refused("{set: {nodes.a2.ip: 10.20.1.11}}"), @r#"
error[E-ADDR]: 10.20.1.11 is there twice
  --> x.yaml:22:28
   |
22 |     x: {set: {nodes.a2.ip: 10.20.1.11}}
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
    insta::assert_snapshot!(variant_refused("{set: {IPPool/pool.spec: {vxlanMode: Alway, ipipMode: Never}}}"), @r#"
error[R7]: "Alway" is no mode
  --> x.yaml:22:45
   |
22 |     x: {set: {IPPool/pool.spec: {vxlanMode: Alway, ipipMode: Never}}}
   |                                             ^^^^^
   |
   = note: the modes are `Never`, `Always` and `CrossSubnet`, in this exact spelling
   = help: write `Always`
"#);
    insta::assert_snapshot!(variant_refused("{set: {Node/a3.spec.bgp.ipv4Address: 10.20.1.13/24}}"), @r#"
error[E-NODE]: Node `a3` is no node of the scenario
  --> x.yaml:22:15
   |
22 |     x: {set: {Node/a3.spec.bgp.ipv4Address: 10.20.1.13/24}}
   |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = note: a Node manifest is what Calico recorded of a machine, and this machine has no wires
   = help: did you mean `a1`?
"#);
}

#[test]
fn a_path_that_leads_nowhere_is_refused() {
    insta::assert_snapshot!(variant_refused("{set: {IPPool/pol.spec.vxlanMode: Always}}"), @r#"
error[E-VARIANT]: no manifest is called `IPPool/pol`
  --> x.yaml:22:15
   |
22 |     x: {set: {IPPool/pol.spec.vxlanMode: Always}}
   |               ^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = note: `Kind/name.path` names a manifest of this file, and a field in it
   = help: did you mean `IPPool/pool`?
"#);
    insta::assert_snapshot!(variant_refused("{set: {expect.0.delivered: none}}"), @r#"
error[E-VARIANT]: `expect` is no mapping, so nothing in it can be set
  --> x.yaml:22:15
   |
22 |     x: {set: {expect.0.delivered: none}}
   |               ^^^^^^^^^^^^^^^^^^
   |
   = help: set it as a whole: lists are replaced, not changed in part
"#);
    insta::assert_snapshot!(variant_refused("{set: {underlay..mtu: 9001}}"), @r#"
error[E-VARIANT]: "underlay..mtu" is no path
  --> x.yaml:22:15
   |
22 |     x: {set: {underlay..mtu: 9001}}
   |               ^^^^^^^^^^^^^
   |
   = help: write names with dots between them, as `underlay.main.mtu`
"#);
}

#[test]
fn a_key_that_variants_do_not_have_is_refused_in_the_scenario_itself() {
    insta::assert_snapshot!(rendered(broken("  phases:", "  variants: {a: {sets: {}}}\n  phases:")), @r#"
error[K-UNKNOWN]: unknown key `sets` in `spec.variants.a`
  --> x.yaml:21:18
   |
21 |   variants: {a: {sets: {}}}
   |                  ^^^^
   |
   = note: a key that nobody reads would silently have no effect
   = help: did you mean `set`?
"#);
}

#[test]
fn a_variant_that_is_not_there_is_refused_with_the_nearest_one() {
    let (folder, path) = Folder::with(broken("  phases:", "  variants: {always: {}}\n  phases:"));
    let refused = load_variant(&path, Some("alway")).unwrap_err();
    insta::assert_snapshot!(lines(&folder, &refused), @r#"
error[E-VARIANT]: no variant is called "alway"
 --> <command line>:1:11
  |
1 | --variant alway
  |           ^^^^^
  |
  = help: did you mean `always`?
"#);
}

/// The expectations of a variant: its own, or its own behind the scenario's two, or the scenario's.
#[rstest]
#[case("{expect: [{flow: az, delivered: all}]}", 1)]
#[case("{inherit: true, expect: [{flow: az, delivered: all}]}", 3)]
#[case("{set: {seed: 2}}", 2)]
fn a_variant_s_expectations_stand_instead_of_the_scenario_s_unless_it_inherits(#[case] variant: &str, #[case] count: usize) {
    let (_folder, path) = Folder::with(broken("  phases:", &format!("  variants:\n    x: {variant}\n  phases:")));
    let loaded = load_variant(&path, Some("x")).unwrap();
    assert_eq!(loaded.model.expectations.len(), count);
    let place = loaded.sources.place(&loaded.model.expectations[count - 1].field).unwrap();
    let line = place.excerpt.unwrap().line;
    assert_eq!(line == 22, variant.contains("expect"), "line {line}");
}
