//! What must never point where: the `use` lines and paths of every module against one table.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rstest::rstest;

/// The source files of a module: the file or the folder of that name.
fn sources(module: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut waiting = vec![root.join(module), root.join(format!("{module}.rs"))];
    let mut files = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.exists() {
            files.push(path);
        }
    }
    files.sort();
    assert!(!files.is_empty(), "there is no module {module}");
    files
}

/// The statements of a text that name a path, each on one line and with the groups of `use` spelt out. Comments may name what they
/// like. A module at the top of its crate is also reached by `super`.
fn naming(text: &str, path: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let reached = path.replacen("crate::", "super::", 1);
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let names = |statement: &str, path: &str| {
        statement.match_indices(path).any(|(at, _)| {
            let before = statement[..at].chars().next_back();
            let after = statement[at + path.len()..].chars().next();
            !before.is_some_and(word) && !after.is_some_and(word)
        })
    };
    let statements = code.join(" ");
    let spelt = statements
        .split(';')
        .flat_map(|statement| match statement.rsplit_once("use ") {
            Some((before, tree)) => [vec![before.to_owned()], leaves(tree)].concat(),
            None => vec![statement.to_owned()],
        });
    spelt
        .filter(|statement| names(statement, path) || names(statement, &reached))
        .collect()
}

/// The paths of a `use` tree: `a::{b, c::{d, e}}` has `a::b`, `a::c::d` and `a::c::e`.
fn leaves(tree: &str) -> Vec<String> {
    let Some((prefix, group)) = tree.trim().split_once('{') else {
        return vec![tree.trim().to_owned()];
    };
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let mut depth = 0;
    let branches = group.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let leaves = branches.flat_map(leaves).map(|leaf| format!("{}{leaf}", prefix.trim()));
    leaves.collect()
}

#[rstest]
#[case("dataplane/src", &["overlab_simulator", "overlab_reports", "std::fs", "std::io", "std::net::TcpStream", "std::net::UdpSocket",
    "std::time::Instant", "std::time::SystemTime", "std::thread", "std::process", "std::env", "tokio", "pnet"])]
#[case("reports/src", &["overlab_simulator", "overlab_dataplane"])]
#[case("dataplane/src/wire", &["crate::encap", "crate::calico", "crate::route", "crate::engine"])]
#[case("dataplane/src/encap", &["crate::calico", "crate::route", "crate::engine"])]
#[case("dataplane/src/route", &["crate::wire", "crate::engine"])]
#[case("dataplane/src/calico", &["crate::wire", "crate::engine"])]
#[case("dataplane/src/engine", &["crate::calico"])]
#[case("simulator/src/fabric", &["overlab_dataplane::encap", "overlab_dataplane::calico", "overlab_dataplane::route"])]
#[case("simulator/src/expectations", &["crate::world", "crate::fabric", "crate::backend"])]
#[case("simulator/src/scenario", &["crate::backend", "crate::world"])]
#[case("simulator/src/cost", &["crate::backend", "crate::run", "crate::cli"])]
#[case("simulator/src/topology", &["crate::backend"])]
#[case("simulator/src/world", &["crate::backend"])]
#[case("simulator/src/observe", &["crate::backend"])]
#[case("simulator/src/host", &["crate::backend"])]
#[case("simulator/src/workload", &["crate::backend"])]
#[case("simulator/src/fabric", &["crate::backend"])]
fn a_module_names_nothing_that_it_must_not_know(#[case] module: &str, #[case] never: &[&str]) {
    for file in sources(module) {
        let text = fs::read_to_string(&file).unwrap();
        // Tests may ask strangers.
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for path in never {
            let lines = naming(code, path);
            assert!(lines.is_empty(), "{} names {path}: {lines:?}", file.display());
        }
    }
}

#[rstest]
#[case("use crate::engine::Step;")]
#[case("use crate::{Packet, engine::Step};")]
#[case("use crate::{\n    Packet,\n    engine::{DropReason, Step},\n};")]
#[case("pub use crate::{engine};")]
#[case("use super::engine;")]
#[case("use super::super::{route, engine as e};")]
#[case("fn f() -> crate::engine::Step {}")]
fn a_forbidden_name_is_found(#[case] text: &str) {
    assert!(!naming(text, "crate::engine").is_empty(), "{text}");
}

#[test]
fn other_names_are_not_taken_for_it() {
    for text in [
        "// crate::engine\nuse crate::engines;",
        "use crate::{Packet, route::engine};",
        "use self::engine::Step;",
    ] {
        assert!(naming(text, "crate::engine").is_empty(), "{text}");
    }
}

/// Files and tests that a page names are there.
#[test]
fn what_the_page_of_truths_names_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/truths.md")).unwrap();
    let tests = ["truths.rs", "decisions.rs"]
        .map(|file| std::fs::read_to_string(root.join("dataplane/tests/calico").join(file)).unwrap());
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| #"))
        .collect();
    assert_eq!(rows.len(), 33);
    for (row, number) in rows.iter().zip(1..) {
        assert!(row.starts_with(&format!("| {number} |")), "{row}");
        let shown = row.rsplit('|').nth(1).unwrap();
        let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{row}");
        for name in names {
            let there = match name.contains('/') {
                true => root.join(name).is_file(),
                false => tests.iter().any(|text| text.contains(&format!("fn {name}"))),
            };
            assert!(there, "{name} of truth {number} is not there");
        }
    }
}

/// Numbers of issues in a text.
fn issues(text: &str) -> BTreeSet<&str> {
    let numbers = text.split(|c: char| !c.is_ascii_digit());
    numbers.filter(|number| number.len() >= 3).collect()
}

/// Every report of a case from the field is named by the comment above one of its scenarios.
#[test]
fn scenarios_of_the_field_name_the_reports_that_they_show() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/cases.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| F")).collect();
    assert!(!rows.is_empty());
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (reports, shown) = (cells[4], cells[5]);
        assert!(!issues(reports).is_empty(), "{row}");
        if shown.starts_with("missing: ") {
            continue;
        }
        let scenarios = shown.split('`').filter(|name| name.starts_with("scenarios/"));
        let comments: String = scenarios
            .map(|name| std::fs::read_to_string(root.join(name)).unwrap())
            .flat_map(|text| {
                text.lines()
                    .take_while(|line| line.starts_with('#'))
                    .map(|line| format!("{line}\n"))
                    .collect::<Vec<_>>()
            })
            .collect();
        let named = issues(&comments);
        for report in issues(reports) {
            assert!(named.contains(report), "no scenario names {report}: {row}");
        }
    }
}

/// Cases are numbered without gaps within their section, and what they name is there; the others say what is missing.
#[test]
fn what_the_page_of_cases_names_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/cases.md")).unwrap();
    let tests = sources("simulator/tests").into_iter().chain(sources("dataplane/tests"));
    let tests: Vec<String> = tests.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let mut cases = 0;
    for section in page.split("\n## ").skip(1) {
        let mut rows = section
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| #"))
            .peekable();
        let letter = rows.peek().and_then(|row| row.chars().nth(2)).unwrap();
        for (row, number) in rows.zip(1..) {
            assert!(row.starts_with(&format!("| {letter}{number} |")), "{row}");
            let shown = row.rsplit('|').nth(1).unwrap().trim();
            let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
            assert!(shown.starts_with("missing: ") || !names.is_empty(), "{row}");
            for name in names.into_iter().filter(|_| !shown.starts_with("missing: ")) {
                let there = match name.contains('/') {
                    true => root.join(name).is_file(),
                    false => tests.iter().any(|text| text.contains(&format!("fn {name}("))),
                };
                assert!(there, "{name} of case {letter}{number} is not there");
            }
            cases += 1;
        }
    }
    assert!(cases > 0);
}

/// How many statements each part of the page of the wire has.
const WIRE: [(char, usize); 13] = [
    ('A', 38),
    ('B', 32),
    ('C', 26),
    ('D', 24),
    ('E', 26),
    ('F', 18),
    ('G', 18),
    ('H', 11),
    ('I', 7),
    ('J', 5),
    ('K', 9),
    ('L', 21),
    ('M', 20),
];

/// No number is missing, and tests, scenarios and limitations that a statement names are there.
#[test]
fn what_the_page_of_the_wire_names_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/wire.md")).unwrap();
    let limitations = std::fs::read_to_string(root.join("docs/limitations.md")).unwrap();
    let folders = ["dataplane/tests", "dataplane/src", "simulator/tests", "simulator/src"];
    let tests: String = folders
        .iter()
        .flat_map(|folder| sources(folder))
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    let mut rows = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| No."));
    for (part, count) in WIRE {
        for number in 1..=count {
            let row = rows.next().unwrap_or_default();
            assert!(
                row.starts_with(&format!("| {part}{number} | ")),
                "{part}{number} is not in its place: {row}"
            );
            let shown = row.rsplit(" | ").next().unwrap();
            let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
            let quoted: Vec<&str> = shown.split('"').skip(1).step_by(2).collect();
            assert!(!names.is_empty() || !quoted.is_empty(), "nothing shows {part}{number}");
            for name in names {
                let there = match name.contains('/') {
                    true => root.join(name).is_file(),
                    false => tests.contains(&format!("fn {name}(")),
                };
                assert!(there, "{name} of {part}{number} is not there");
            }
            for words in quoted {
                assert!(limitations.contains(words), "{words:?} of {part}{number} is no limitation");
            }
        }
    }
    assert_eq!(rows.next(), None);
}

#[test]
fn the_page_of_underlays_has_every_preset_knob_and_kind_of_gateway() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/underlays.md")).unwrap();
    let presets = overlab_simulator::fabric::Preset::ALL.iter().map(|(name, _)| *name);
    let kinds = overlab_simulator::fabric::GatewayKind::ALL.iter().map(|(name, _)| *name);
    let knobs = overlab_simulator::scenario::knobs::KNOBS.iter().map(|knob| knob.name);
    for name in presets.chain(kinds).chain(knobs) {
        let in_a_row = |line: &str| {
            let first = line.split('|').nth(1).unwrap_or_default();
            first.contains(&format!("`{name}`"))
        };
        assert!(page.lines().any(in_a_row), "{name}");
    }
}

/// The page of goldens tells where that of a scenario and that of its variant lie.
#[test]
fn what_the_page_of_goldens_names_is_there() {
    use overlab_simulator::run::golden_path;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/goldens.md")).unwrap();
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(|span| span.contains('.')).collect();
    let [scenario, own, of_variant] = named[..] else {
        panic!("{named:?}")
    };
    for (variant, golden) in [(None, own), (Some("bare"), of_variant)] {
        let path = golden_path(&root.join(scenario), variant).unwrap();
        assert!(path.is_file() && path.ends_with(golden), "{}", path.display());
    }
}
