//! What all tests over network namespaces share: a test that cannot run on this host ends as ignored, with the reason. Where it
//! is namespaces that are missing, it fails instead with `CI=true` and `OVERLAB_REQUIRE=netns`.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use overlab_simulator::backend::netns::{Netns, enter_user_namespace};

/// A test that needs namespaces. It returns nothing, or the program that it asks and that is not installed.
pub(crate) type Body = Box<dyn FnOnce() -> Result<Option<String>, Failed> + Send>;

/// Runs tests by name. It enters a user namespace first, if this is not root: Linux refuses that to a process that has a second
/// thread.
pub(crate) fn main(tests: impl IntoIterator<Item = (String, Body)>, threads: usize) -> ExitCode {
    let obstacle = enter_user_namespace()
        .and_then(|()| Netns::new().map(drop))
        .err()
        .map(|error| error.to_string());
    let required = std::env::var("CI").is_ok_and(|v| v == "true")
        && std::env::var("OVERLAB_REQUIRE").is_ok_and(|v| v.split(',').any(|word| word == "netns"));
    let trials = tests.into_iter().map(|(name, body)| {
        let obstacle = obstacle.clone();
        Trial::ignorable_test(name, move || {
            match obstacle {
                Some(reason) if required => return Err(format!("inconclusive: {reason}").into()),
                Some(reason) => return Ok(Completion::ignored_with(format!("inconclusive: {reason}"))),
                None => {}
            }
            match body()? {
                None => Ok(Completion::Completed),
                Some(reason) => Ok(Completion::ignored_with(format!("inconclusive: {reason}"))),
            }
        })
    });
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(threads);
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
