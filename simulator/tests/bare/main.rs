//! The command over bare manifests, as it is typed: what it prints, where it prints it, and how it ends.

mod admission;
mod check;
mod import;
mod lints;
mod machines;
mod plan;

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use serde_json::Value;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overlab"));
    command.current_dir(root()).args(arguments);
    command
}

pub(crate) fn overlab(arguments: &[&str]) -> Assert {
    command(arguments).assert()
}

pub(crate) fn json(arguments: &[&str]) -> Value {
    serde_json::from_slice(&overlab(arguments).code(0).get_output().stdout).unwrap()
}
