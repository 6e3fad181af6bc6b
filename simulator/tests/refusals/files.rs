//! Files that cannot be read at all, and files that only look small.

use std::path::Path;

use overlab_simulator::scenario::{Diagnostic, load, load_cluster, open};

use crate::{Folder, GOOD, rendered};

fn first(path: &Path) -> Diagnostic {
    load(path).expect_err("the file is refused").remove(0)
}

#[test]
fn a_missing_file_is_refused_with_the_nearest_name() {
    let (_folder, path) = Folder::with(GOOD);
    let diagnostic = first(&path.with_file_name("y.yaml"));
    assert_eq!(diagnostic.code, "F-MISSING");
    assert!(diagnostic.place.file.ends_with("/y.yaml"));
    assert!(diagnostic.why.is_some());
    assert!(diagnostic.help.is_some_and(|help| help.ends_with("x.yaml`?")));
}

#[test]
fn a_folder_is_refused() {
    let (folder, _) = Folder::with(GOOD);
    assert_eq!(first(folder.0.path()).code, "F-FOLDER");
}

#[test]
fn an_empty_file_is_refused() {
    insta::assert_snapshot!(rendered("# nothing\n---\n"), @"
    error[F-EMPTY]: nothing is written in this file
    --> x.yaml
     = help: a scenario begins with `apiVersion: overlab.dev/v1alpha1` and `kind: Scenario`
    ");
}

#[test]
fn what_is_not_text_is_refused() {
    insta::assert_snapshot!(rendered(b"\x7fELF\0\0"), @"
    error[F-TEXT]: x.yaml is not a text
    --> x.yaml
     = help: name a YAML or JSON file
    ");
    insta::assert_snapshot!(rendered(b"a: 1\nb: \xff\n"), @"
    error[F-TEXT]: line 2 of x.yaml is not UTF-8
    --> x.yaml
     = help: save the file as UTF-8
    ");
}

#[test]
fn ten_megabytes_of_aliases_are_refused() {
    let mut text = "apiVersion: &a overlab.dev/v1alpha1\nx:\n".to_owned();
    text.extend(std::iter::repeat_n("- *a\n", 2_000_000));
    insta::assert_snapshot!(rendered(text), @"
    error[Y-LIMIT]: too many aliases
         --> x.yaml:10003:3
          |
    10003 | - *a
          |   ^^
          |
          = note: a file that grows without bound while it is read would take all memory
          = help: write out what the aliases stand for
    ");
}

#[test]
fn a_place_far_to_the_right_is_shown_without_its_line() {
    let text = format!("{{\"a\": [{}], \"a\": 1}}", "1, ".repeat(10_000));
    let rendered = rendered(text);
    assert!(rendered.contains("--> x.yaml:1:30011"), "{rendered}");
    assert!(rendered.len() < 3000, "{}", rendered.len());
}

#[test]
fn bare_manifests_are_no_scenario_and_are_a_cluster() {
    let manifests = &GOOD[GOOD.find("apiVersion: projectcalico").unwrap()..];
    let (_folder, path) = Folder::with(manifests);
    assert_eq!(first(&path).code, "F-SCENARIO");
    assert!(!open(&[&path]).unwrap().is_scenario());
    assert_eq!(load_cluster(&[&path]).unwrap().cluster.pools().len(), 1);
}

#[test]
fn conflicts_between_files_of_manifests_show_both_files() {
    let manifests = &GOOD[GOOD.find("apiVersion: projectcalico").unwrap()..];
    let (_one, a) = Folder::with(manifests);
    let (_two, b) = Folder::with(manifests.replace("name: pool", "name: other"));
    let diagnostics = load_cluster(&[&a, &b]).expect_err("the pools overlap");
    let places: Vec<_> = diagnostics[0].related.iter().map(|(place, _)| place.file.clone()).collect();
    assert_ne!(places[0], diagnostics[0].place.file);
}

/// What is YAML, and cannot be read as a tree of names and values.
#[rstest::rstest]
#[case("spec: {null: 1}", "a key is missing before its colon, or is null", 8)]
#[case("spec: {[a]: 1}", "a key is a list or a mapping", 8)]
#[case("spec: &x {a: *x}", "an alias stands within what it stands for", 14)]
fn yaml_that_is_no_tree_of_names_is_refused_in_plain_words(#[case] text: &str, #[case] message: &str, #[case] column: usize) {
    let text = rendered(text);
    let expected = format!("error[Y-SYNTAX]: {message}\n --> x.yaml:1:{column}\n");
    assert!(text.starts_with(&expected) && text.contains("= help: "), "{text}");
}
