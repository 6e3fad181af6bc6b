//! The engine of a node: what it does with one packet, from its tables alone.

mod drop;
mod step;

pub use drop::DropReason;
pub use step::{IcmpKind, Layer, Step};
