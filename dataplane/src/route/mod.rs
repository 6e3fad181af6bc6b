//! From the datastore to one node's tables: routes, tunnel ends, allow-lists and MTUs. It never sees a byte of a packet.

mod tables;

pub use tables::*;
