//! Scenario files: reading them with positions, and resolving what they mean.

mod model;

pub use model::*;
