//! What is observed of a run: packet, hop, step, disposition; and captures of the same packets.

mod drop;
mod trace;

pub use drop::{DropReason, HostDropReason};
pub use trace::*;
