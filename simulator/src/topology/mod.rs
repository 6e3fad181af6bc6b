//! The topology: what is connected to what, as a graph. It knows no packet; paths, components and cut points come from petgraph.

mod build;
mod graph;

pub use build::build;
pub use graph::{Topology, Vertex};
