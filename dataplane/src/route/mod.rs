//! From the datastore to one node's tables: routes, tunnel ends, allow-lists and MTUs. It never sees a byte of a packet.

mod bgp;
mod candidates;
mod cluster;
mod decide;
mod devices;
mod felix;
mod host;
mod index;
mod local;
mod mtu;
mod nat;
mod outlook;
mod pools;
mod remote;
mod resolver;
mod routes;
mod services;
mod shared;
mod subnet;
mod table;
mod tables;
mod text;
mod tunnels;
mod vtep;

use index::Index;

pub use bgp::{BgpSession, OutsideRoute, bgp_outside, bgp_sessions};
pub use cluster::node_tables;
pub use host::host_tables;
pub use mtu::Mtus;
pub use resolver::Resolver;
pub use subnet::same_subnet;
pub use tables::*;
pub use text::RouteText;
pub use vtep::{vtep, vtep_mac};
