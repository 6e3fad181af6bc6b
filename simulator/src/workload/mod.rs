//! What applications send, and the network stacks that the sim backend gives them.

mod probe;
mod stack;

pub use probe::payload;
pub use stack::{HostStack, Output, Socket};
