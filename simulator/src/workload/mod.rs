//! What applications send, and the network stacks that the sim backend gives them.

mod endpoint;
mod exchange;
mod probe;
mod stack;

pub use exchange::{Answerer, Asker, Replies, lengths};
pub use probe::payload;
pub use stack::{HostStack, Output, Socket};
