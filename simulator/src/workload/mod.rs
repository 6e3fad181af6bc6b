//! What applications send, and the network stacks that the sim backend gives them.

mod exchange;
mod probe;
mod stack;
mod tcp_socket;

pub use exchange::{Client, Replies, Server, lengths};
pub use probe::payload;
pub use stack::{HostStack, Output, Socket};
