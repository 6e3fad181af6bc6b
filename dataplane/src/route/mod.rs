//! From the datastore to one node's tables: routes, tunnel ends, allow-lists and MTUs. It never sees a byte of a packet.

mod cluster;
mod decide;
mod devices;
mod host;
mod mtu;
mod subnet;
mod tables;
mod text;
mod vtep;

pub use cluster::node_tables;
pub use host::host_tables;
pub use mtu::Mtus;
pub use subnet::same_subnet;
pub use tables::*;
pub use text::RouteText;
pub use vtep::{vtep, vtep_mac};
