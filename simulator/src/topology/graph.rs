//! The graph of workloads, machines, subnets and routers, and the questions that are asked of it.

use std::collections::BTreeMap;

use petgraph::algo::{astar, connected_components};
use petgraph::graph::{NodeIndex, UnGraph};

/// Something that others are connected to, by its place in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vertex {
    /// A workload.
    Workload(usize),
    /// A node of the cluster.
    Node(usize),
    /// A host outside the cluster.
    Host(usize),
    /// A subnet of an underlay.
    Subnet {
        /// The underlay.
        underlay: usize,
        /// The subnet in it.
        subnet: usize,
    },
    /// The router of an underlay.
    Router {
        /// The underlay.
        underlay: usize,
    },
    /// What joins underlays.
    Gateway(usize),
}

/// What is connected to what.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    graph: UnGraph<Vertex, ()>,
    index: BTreeMap<Vertex, NodeIndex>,
}

impl Topology {
    pub(super) fn connect(&mut self, a: Vertex, b: Vertex) {
        let (a, b) = (self.vertex(a), self.vertex(b));
        self.graph.update_edge(a, b, ());
    }

    pub(super) fn vertex(&mut self, vertex: Vertex) -> NodeIndex {
        let graph = &mut self.graph;
        *self.index.entry(vertex).or_insert_with(|| graph.add_node(vertex))
    }

    /// Every vertex, in the order of its kind and place.
    pub fn vertices(&self) -> impl Iterator<Item = Vertex> + '_ {
        self.index.keys().copied()
    }

    /// The vertices that a shortest way passes, both ends included; none if there is no way.
    pub fn path(&self, from: Vertex, to: Vertex) -> Option<Vec<Vertex>> {
        let (start, goal) = (*self.index.get(&from)?, *self.index.get(&to)?);
        let (_, path) = astar(&self.graph, start, |vertex| vertex == goal, |_| 1u32, |_| 0)?;
        Some(path.into_iter().map(|vertex| self.graph[vertex]).collect())
    }

    /// The neighbours of a vertex, in the order of their kind and place.
    pub fn neighbours(&self, vertex: Vertex) -> Vec<Vertex> {
        let Some(index) = self.index.get(&vertex) else {
            return Vec::new();
        };
        let mut neighbours: Vec<_> = self.graph.neighbors(*index).map(|n| self.graph[n]).collect();
        neighbours.sort_unstable();
        neighbours
    }

    /// Into how many parts the wires fall apart; 1 if everything is connected.
    pub fn parts(&self) -> usize {
        connected_components(&self.graph)
    }
}
