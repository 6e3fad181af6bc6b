//! `overlab doctor`.

use std::io::{self, Write};

use super::Exit;

/// Doctor.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Runs the verb.
///
/// # Errors
/// If the output cannot be written.
pub(super) fn doctor(_args: &Args, _out: &mut dyn Write) -> io::Result<Exit> {
    Ok(Exit::Internal)
}
