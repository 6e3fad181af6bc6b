//! Every variant of every scenario, in virtual time, one named test each.

#[path = "common/sim.rs"]
mod sim;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use overlab_simulator::run::{cases, select};

fn main() -> ExitCode {
    let root = sim::root().join("scenarios");
    let variants = cases(&select(std::slice::from_ref(&root)).files)
        .into_iter()
        .filter(|case| case.variant.is_some());
    let trials = variants.map(|case| {
        let name = case.to_string();
        let within = name.strip_prefix(&format!("{}/", root.display())).unwrap_or(&name).to_owned();
        Trial::test(format!("sim::{within}"), move || {
            sim::judge(&case);
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
