//! What is observed of a run: packet, hop, step, disposition; and captures of the same packets.

mod advice;
mod attribution;
mod capture;
mod connection;
mod drop;
mod headers;
mod history;
mod observer;
mod reader;
mod segments;
mod tell;
mod trace;

pub use advice::{Told, advice};
pub use attribution::{read_stamp, stamp};
pub use capture::{Capture, TapId};
pub use connection::{ConnectionEvent, Connections};
pub use drop::{DropReason, HostDropReason};
pub use headers::{outermost, wire_packet};
pub use history::History;
pub use observer::Observer;
pub use tell::{changed, decided, icmp_error, missing, reasons, tell};
pub use trace::*;
