//! What is given on the command line: faults in it are shown there, and what would be ignored is refused.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use rstest::rstest;

const CROSS_SUBNET: &str = "scenarios/aws/ipip-crosssubnet-check-off-delivered.yaml";
const AGENT_DOWN: &str = "scenarios/time/felix-down-nothing-new-is-learned.yaml";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overlab"));
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(arguments);
    command
}

fn overlab(arguments: &[&str]) -> assert_cmd::assert::Assert {
    command(arguments).assert()
}

fn shipped(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

#[rstest]
#[case(&["explain", CROSS_SUBNET, "web-a1", "web-b9"], "<command line>:1:24", "explain web-a1 web-b9 --proto icmp\n")]
#[case(&["explain", CROSS_SUBNET, "web-a1", "web-b1", "--at", "9s"], "<command line>:1:49", "--at 9s\n")]
#[case(&["explain", CROSS_SUBNET, "web-a1", "web-b1", "--family", "ipv6"], "<command line>:1:", "--family ipv6\n")]
#[case(&["explain", CROSS_SUBNET, "web-a1", "web-b1", "--variant", "v"], "<command line>:1:11", "--variant v\n")]
#[case(&["plan", CROSS_SUBNET, "--at", "9s"], "<command line>:1:6", "--at 9s\n")]
#[case(&["plan", CROSS_SUBNET, "--variant", "v"], "<command line>:1:11", "--variant v\n")]
fn a_fault_on_the_command_line_is_shown_there(#[case] arguments: &[&str], #[case] place: &str, #[case] line: &str) {
    overlab(arguments).code(2).stderr(contains(place).and(contains(line)));
}

#[rstest]
#[case(&["--mtu", "9000"], "--mtu is for bare manifests")]
#[case(&["--profile", "calico/v3.22"], "--profile is for bare manifests")]
fn an_option_of_manifests_is_refused_beside_a_scenario(#[case] option: &[&str], #[case] says: &str) {
    overlab(&[&["plan", CROSS_SUBNET], option].concat())
        .code(2)
        .stderr(contains(says));
}

#[rstest]
#[case(&["--report", "json=x", "--report", "junit=./x"])]
#[case(&["--report", "json", "--report", "junit"])]
fn two_reports_do_not_go_to_one_place(#[case] reports: &[&str]) {
    overlab(&[&["run", CROSS_SUBNET], reports].concat())
        .code(2)
        .stdout("")
        .stderr(contains("error: two reports go to "));
}

#[test]
fn a_scenario_comes_from_standard_input_with_its_variants() {
    let text = shipped("scenarios/field/ipip-to-vxlan-agent-down-stale-routes.yaml");
    assert!(text.contains("  variants:"));
    let given = |verb: &str| command(&[verb, "-"]).write_stdin(text.clone()).assert().code(0);
    given("check").stdout(contains("-: ok  scenario ").and(contains(" variant\n")));
    given("run").stdout(contains("agent-down-stale-routes[bird]").and(contains(" 0 fail, ")));
}

#[test]
fn a_folder_is_run_without_what_is_no_scenario_and_with_whatever_may_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let path = folder.path().to_str().unwrap();
    write("scenario.yaml", &shipped(CROSS_SUBNET));
    write("values.yaml", "image: {tag: v1}\n");
    write(
        "pool.yaml",
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: a}\nspec: {cidr: 10.0.0.0/16}\n",
    );
    write("template.yaml", "{{- if .Values.calico }}\nkind: {{ .Values.kind }}\n");
    overlab(&["run", path])
        .code(0)
        .stderr(contains("note: 3 files hold no scenario and are left out: "));
    overlab(&["run", &format!("{path}/values.yaml")]).code(2);
    for wrong in [
        "kind: Scenari\n",
        "apiVersion: overlb.dev/v1alpha1\nkind: X\n",
        "kind: [Scenario\n",
        "",
    ] {
        write("slip.yaml", wrong);
        overlab(&["run", path]).code(2).stderr(contains("slip.yaml"));
    }
    fs::remove_file(folder.path().join("slip.yaml")).unwrap();
    fs::remove_file(folder.path().join("scenario.yaml")).unwrap();
    overlab(&["run", path]).code(5).stderr(contains("no scenario was selected"));
}

#[test]
fn a_node_whose_agent_is_down_is_told_to_be_so() {
    overlab(&["plan", AGENT_DOWN])
        .code(0)
        .stdout(contains("calico-node is down, by "));
    overlab(&["explain", AGENT_DOWN, "web-n1", "web-n2", "--at", "1s"])
        .code(0)
        .stdout(contains("calico-node is down since "));
}

/// Those whose files are in the repository and that write none are run as they stand.
#[rstest]
#[case("run", None)]
#[case("check", None)]
#[case("plan", Some(0))]
#[case("explain", Some(0))]
#[case("cost", None)]
#[case("import", None)]
#[case("doctor", Some(0))]
fn every_verb_has_an_example_that_it_takes(#[case] verb: &str, #[case] code: Option<i32>) {
    let help = overlab(&[verb, "--help"]).code(0);
    let help = String::from_utf8_lossy(&help.get_output().stdout).into_owned();
    let example = help.split_once("Example:\n").expect("an example").1.trim();
    let example = example.split_once("overlab ").expect("the command").1;
    let arguments: Vec<&str> = example.split_whitespace().collect();
    assert_eq!(arguments[0], verb);
    match code {
        Some(code) => drop(overlab(&arguments).code(code)),
        None => drop(overlab(&[&arguments[..], &["--help"]].concat()).code(0)),
    }
}

#[test]
fn the_help_tells_every_exit_code_and_verb() {
    let help = overlab(&["--help"]).code(0);
    let help = String::from_utf8_lossy(&help.get_output().stdout).into_owned();
    let codes = "0 all pass, 1 an expectation failed, 2 bad input, 3 inconclusive, 4 a golden differs, 5 nothing selected, 6 internal error";
    assert!(
        help.split_whitespace().collect::<Vec<_>>().join(" ").contains(codes),
        "{help}"
    );
    for verb in ["run", "check", "plan", "explain", "cost", "import", "doctor"] {
        assert!(
            help.lines().any(|line| line.starts_with(&format!("  {verb} "))),
            "{verb} in {help}"
        );
    }
}
