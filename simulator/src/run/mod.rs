//! Running scenarios: the one loop over any backend, and what comes of a run.

mod drive;

pub use drive::drive;
