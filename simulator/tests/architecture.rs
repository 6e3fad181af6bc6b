//! What must never point where: the `use` lines and paths of every module against one table.

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

/// Lines of code that name a path; comments may name what they like.
fn naming<'t>(text: &'t str, path: &str) -> Vec<&'t str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    // `use crate::{a, b::c}` names `crate::b` too.
    let last = path.rsplit("::").next().unwrap();
    let parent = path.strip_suffix(last).unwrap_or_default().to_owned();
    code.filter(|line| {
        let grouped = !parent.is_empty() && line.contains(&format!("{parent}{{")) && {
            let names = line
                .split(['{', ',', '}', ' ', ';'])
                .map(|name| name.split("::").next().unwrap_or_default());
            names.into_iter().any(|name| name == last)
        };
        grouped
            || line.match_indices(path).any(|(at, _)| {
                let word = |c: char| c.is_alphanumeric() || c == '_';
                let before = line[..at].chars().next_back();
                let after = line[at + path.len()..].chars().next();
                !before.is_some_and(word) && !after.is_some_and(word)
            })
    })
    .collect()
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

#[test]
fn a_forbidden_name_is_found() {
    assert_eq!(naming("use crate::engine::Step;", "crate::engine").len(), 1);
    assert_eq!(naming("use crate::{Packet, engine::Step};", "crate::engine").len(), 1);
    assert!(naming("// crate::engine\nuse crate::engines;", "crate::engine").is_empty());
}
