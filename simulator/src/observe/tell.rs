//! Telling what happened.

use overlab_dataplane::route::NodeTables;

use super::{Step, Trace};
use crate::scenario::Sources;

/// One step as a line.
pub fn tell(step: &Step, _tables: Option<&NodeTables>) -> String {
    match step {
        Step::Fabric(text) | Step::Stack(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

/// Advice.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Cause.
    pub cause: Option<String>,
    /// Rule.
    pub rule: Option<String>,
    /// Remedy.
    pub remedy: Option<String>,
}

/// Advice.
pub fn advice(_trace: &Trace, _sources: &Sources) -> Told {
    Told::default()
}
