//! The waist: a backend supplies the clock and everything that has a network stack of its own. Engine, tables, fabric, capture
//! and expectations are the same code over every backend, and nobody above may ask which one is running.

#[cfg(target_os = "linux")]
pub mod netns;
mod sim;

use overlab_dataplane::{Instant, Packet};

pub use sim::Sim;

pub use crate::host::*;

/// The clock and the network stacks of a run.
pub trait Backend {
    /// Time since the start of the run; it never goes back.
    fn now(&self) -> Instant;

    /// Flushes what `deliver` held back, then waits until `deadline` or the first event, and appends all events that are there.
    /// Without a deadline it waits for an event; if none can ever come it returns at once. What is due to be sent at the deadline
    /// is left for the next call.
    ///
    /// # Errors
    /// If the operating system fails the backend.
    fn wait(&mut self, deadline: Option<Instant>, events: &mut Vec<HostEvent>) -> Result<(), BackendError>;

    /// Hands a packet to the stack behind a port; it may be held until the next `wait`.
    fn deliver(&mut self, port: PortId, packet: Packet);

    /// Makes, changes or ends stacks and flows.
    ///
    /// # Errors
    /// If the host cannot do it; [`BackendError::Unavailable`] says why and names the remedy.
    fn host(&mut self, action: HostAction) -> Result<(), BackendError>;
}

/// Why a backend cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// This host cannot run the backend: the verdict is inconclusive.
    #[error("{reason}; {remedy}")]
    Unavailable {
        /// What is missing.
        reason: String,
        /// What would help.
        remedy: String,
    },
    /// The operating system refused something that it should not have.
    #[error("failed to {what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Its error.
        source: std::io::Error,
    },
}
