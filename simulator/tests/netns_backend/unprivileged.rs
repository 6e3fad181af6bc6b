//! What an ordinary user gets: a reason and a remedy, never a wrong verdict.

use std::os::unix::process::CommandExt;
use std::process::Command;

use overlab_simulator::backend::BackendError;
use overlab_simulator::backend::netns::{Netns, enter_user_namespace};

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    (
        "without_rights_the_backend_is_unavailable",
        without_rights_the_backend_is_unavailable,
    ),
    ("a_user_namespace_gives_the_rights", a_user_namespace_gives_the_rights),
];

const NOBODY: u32 = 65534;

/// The helper process: says what it got, first without a user namespace and then with one.
pub(crate) fn say() -> ! {
    // Trying takes a thread, which has to be over before a user namespace can be entered.
    println!("{}", outcome(Netns::new().map(drop)));
    println!("{}", outcome(enter_user_namespace()));
    println!("{}", outcome(Netns::new().map(drop)));
    std::process::exit(0)
}

fn outcome(result: Result<(), BackendError>) -> String {
    match result {
        Ok(()) => "fine".into(),
        Err(BackendError::Unavailable { reason, remedy }) => format!("unavailable: {reason}; {remedy}"),
        Err(error @ BackendError::System { .. }) => format!("error: {error}"),
    }
}

/// What the helper says as an ordinary user.
fn as_nobody() -> Result<Vec<String>, String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("--unprivileged").uid(NOBODY).gid(NOBODY);
    let output = command
        .output()
        .map_err(|error| format!("this process cannot become another user ({error})"))?;
    let text = String::from_utf8(output.stdout).unwrap();
    Ok(text.lines().map(str::to_owned).collect())
}

fn without_rights_the_backend_is_unavailable() -> Option<String> {
    let said = match as_nobody() {
        Ok(said) => said,
        Err(reason) => return Some(reason),
    };
    let reason = "unavailable: this process cannot make a network namespace (Operation not permitted";
    assert!(said[0].starts_with(reason) && said[0].contains("run as root"), "{said:?}");
    None
}

fn a_user_namespace_gives_the_rights() -> Option<String> {
    let said = match as_nobody() {
        Ok(said) => said,
        Err(reason) => return Some(reason),
    };
    match (said[1].as_str(), said[2].as_str()) {
        ("fine", "fine") => None,
        ("fine", refused) if refused.contains("cannot make a TUN device (Permission denied") => {
            assert!(refused.contains("let this user read and write /dev/net/tun"), "{refused}");
            Some("/dev/net/tun is closed to ordinary users".into())
        }
        (refused, _) if refused.starts_with("unavailable: ") => Some(refused.into()),
        _ => panic!("{said:?}"),
    }
}
