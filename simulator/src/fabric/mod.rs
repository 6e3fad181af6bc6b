//! The underlay: it carries packets between network cards and knows no workload address.

mod drop;
mod preset;

pub use drop::DropReason;
pub use preset::{Knobs, L2, NoRoute, Preset};
