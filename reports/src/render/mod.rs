//! The ways to show a report. A new one is one file and one line in [`RENDERERS`].
//!
//! Not here: goldens, which are a scenario's canonical text and no choice of the user's.

use std::io::{self, Write};

use crate::Report;

mod json;
mod junit;
mod text;

pub use json::Json;
pub use junit::Junit;
pub use text::Text;
pub(crate) use text::packet_lines;

/// A way to show a report.
pub trait Renderer: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Whether it shows the tables of nodes and how they change; a report need not hold them otherwise.
    fn shows_tables(&self) -> bool {
        false
    }

    /// Writes the whole report.
    ///
    /// # Errors
    /// If `out` cannot be written.
    fn render(&self, report: &Report, out: &mut dyn Write) -> io::Result<()>;
}

/// Every renderer.
pub const RENDERERS: &[&dyn Renderer] = &[&Text { colour: false }, &Json, &Junit];

/// The renderer of that name.
pub fn renderer(name: &str) -> Option<&'static dyn Renderer> {
    RENDERERS.iter().copied().find(|renderer| renderer.name() == name)
}
