//! The netns backend against the Linux kernel. Tests that cannot run on this host end as ignored, with the reason; with
//! `CI=true` and `OVERLAB_REQUIRE=netns` they fail instead.
//!
//! The binary is also its own helper process: `--hold` holds namespaces until it is killed, `--unprivileged` says what an
//! ordinary user gets, `--measure` prints how long making and dropping stacks takes.

#[cfg(target_os = "linux")]
mod after_death;
#[cfg(target_os = "linux")]
mod bench;
#[cfg(target_os = "linux")]
mod changes;
#[cfg(target_os = "linux")]
#[path = "../common/changing.rs"]
mod changing;
#[cfg(target_os = "linux")]
mod flows;
#[cfg(target_os = "linux")]
mod netlink;
#[cfg(target_os = "linux")]
mod stacks;
#[cfg(target_os = "linux")]
mod streams;
#[cfg(target_os = "linux")]
mod unprivileged;
#[cfg(target_os = "linux")]
mod vxlan;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use libtest_mimic::{Arguments, Completion, Trial};
    use overlab_simulator::backend::netns::{Netns, enter_user_namespace};

    let mode = std::env::args().nth(1);
    if mode.as_deref() == Some("--unprivileged") {
        unprivileged::say();
    }
    // Linux refuses it to a process that has a second thread.
    let entered = enter_user_namespace();
    match mode.as_deref() {
        Some("--hold") => after_death::hold(),
        Some("--measure") => bench::measure(),
        _ => {}
    }
    let required = std::env::var("CI").is_ok_and(|v| v == "true")
        && std::env::var("OVERLAB_REQUIRE").is_ok_and(|v| v.split(',').any(|word| word == "netns"));
    let obstacle = entered.and_then(|()| Netns::new()).err().map(|error| error.to_string());
    let tests = [
        changes::TESTS,
        flows::TESTS,
        stacks::TESTS,
        streams::TESTS,
        after_death::TESTS,
        unprivileged::TESTS,
        vxlan::TESTS,
    ]
    .concat();
    let trials = tests.into_iter().map(|(name, test)| {
        let obstacle = obstacle.clone();
        Trial::ignorable_test(name, move || match obstacle {
            Some(reason) if required => Err(format!("inconclusive: {reason}").into()),
            Some(reason) => Ok(Completion::ignored_with(format!("inconclusive: {reason}"))),
            None => Ok(match test() {
                Some(reason) => Completion::ignored_with(format!("inconclusive: {reason}")),
                None => Completion::Completed,
            }),
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

#[cfg(not(target_os = "linux"))]
fn main() {}

/// A test's name and body. The body panics to fail, and gives a reason if this host cannot tell.
#[cfg(target_os = "linux")]
type Test = (&'static str, fn() -> Option<String>);
