//! Scenario files: reading them with positions, and resolving what they mean.

mod model;
mod yaml;

pub use model::*;
