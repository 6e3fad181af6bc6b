//! A report as JSON, for machines: the model as it is.

use std::io::{self, Write};

use super::Renderer;
use crate::Report;

/// Indented JSON with a newline at its end.
#[derive(Clone, Copy, Debug)]
pub struct Json;

impl Renderer for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn shows_tables(&self) -> bool {
        true
    }

    fn render(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, report)?;
        writeln!(out)
    }
}
