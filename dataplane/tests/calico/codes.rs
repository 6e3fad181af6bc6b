//! The codes of refusals: each is documented, and a test refuses something by it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The text of every Rust file in a folder of this crate and below it, this file aside.
fn text(folder: &str) -> String {
    let mut waiting = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut text = String::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if !path.ends_with("codes.rs") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

/// The codes in the first column of the page's table.
fn documented() -> BTreeSet<String> {
    let page: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.md");
    let page = fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    rows.skip(1).map(str::to_owned).collect()
}

/// The codes that stand in the source where a refusal is made.
fn refused_by() -> BTreeSet<String> {
    let source = text("src");
    let after = |word: &'static str| source.split(word).skip(1).collect::<Vec<_>>();
    let places = [
        "Refusal::new(",
        "Wrong::rule(",
        "const NOT_MODELLED: &str =",
        "const DUPLICATE: &str =",
        "code: ",
    ];
    let literal = |text: &str| Some(text.trim_start().strip_prefix('"')?.split('"').next()?.to_owned());
    places.into_iter().flat_map(after).filter_map(literal).collect()
}

#[test]
fn every_code_is_documented_and_no_other() {
    assert_eq!(refused_by(), documented());
}

#[test]
fn a_test_refuses_something_by_every_code() {
    let tests = text("tests");
    let untested = documented()
        .into_iter()
        .filter(|code| !tests.contains(&format!("\"{code}\"")));
    assert_eq!(untested.collect::<Vec<_>>(), Vec::<String>::new());
}

/// Rules that refuse nothing, or not everywhere, have tests of what they take, by number.
#[test]
fn every_numbered_rule_has_a_test_of_its_name() {
    let tests = text("tests/calico");
    let rules = (1..=18).map(|n| format!("r{n}_"));
    let rules = rules
        .chain((1..=9).map(|n| format!("e{n}_")))
        .chain((1..=5).map(|n| format!("a{n}_")));
    let starts = ["fn ", "case::", "_"];
    let named = |rule: &String| starts.iter().any(|start| tests.contains(&format!("{start}{rule}")));
    let unnamed: Vec<String> = rules.filter(|rule| !named(rule)).collect();
    assert_eq!(unnamed, Vec::<String>::new());
}
