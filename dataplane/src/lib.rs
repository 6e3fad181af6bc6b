//! The dataplane of overlab: Calico's routes and encapsulations, to the bit, with no clock, no I/O, no luck and no threads.
//!
//! The data's way through this crate:
//!
//! ```text
//! calico   manifests as values   ->  ClusterState   the datastore: validated pools, nodes, blocks, endpoints, configuration
//! route    ClusterState          ->  NodeTables     per node: FIB, VTEPs, allow-lists, MTUs; a pure function
//! engine   NodeTables + packet   ->  Outcome        delivered to a port, transmitted from a NIC, or dropped for a typed reason
//! ```
//!
//! Beside them: [`wire`] reads and writes the headers that encapsulation needs, [`encap`] pushes and pulls tunnel headers,
//! [`Packet`] is the buffer that all of it works on.
//! What is not here: where a packet goes between nodes (the simulator's fabric), and every kind of file.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing
    )
)]

pub mod calico;
pub mod encap;
pub mod engine;
mod fib;
pub mod fields;
mod packet;
pub mod route;
mod units;
pub mod wire;

pub use fib::Fib;
pub use packet::{HEADROOM, Packet, Segmentation, Tag};
pub use units::{Family, Instant, MacAddr, Mtu, PerFamily, Vni};
