//! What changes during a run: the datastore and how nodes hear of it, tables, wires, and packets lost by their number.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use overlab_dataplane::Instant;
use overlab_dataplane::calico::ClusterState;
use overlab_dataplane::fields::FieldRef;
use overlab_dataplane::route::NodeTables;

use super::{FlowId, Gateway, Machine, Underlay};

/// The datastore from an event on.
#[derive(Clone, Debug)]
pub struct Version {
    /// The event's name.
    pub name: Arc<str>,
    /// Where the event is written.
    pub field: FieldRef,
    /// When the datastore has it.
    pub at: Instant,
    /// What it holds.
    pub cluster: ClusterState,
    /// When nodes hear of it.
    pub rollout: Rollout,
    /// Workloads that are made anew then.
    pub renewed: BTreeSet<Arc<str>>,
}

impl AgentOutage {
    /// Whether both speak of one node at one time.
    pub fn overlaps(&self, other: &AgentOutage) -> bool {
        let before = |one: &AgentOutage, next: &AgentOutage| one.until.is_some_and(|until| until <= next.from);
        self.node == other.node && !before(self, other) && !before(other, self)
    }
}

/// How a change comes to the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The turn of each of [`Model::nodes`](super::Model::nodes), counted from 0: who hears of it first.
    pub turns: Vec<usize>,
    /// From one node to the next.
    pub stagger: Duration,
    /// From the end of a Felix that has to restart until it has its tables again.
    pub agent_restart: Duration,
    /// From when a node hears of it until its BIRD has acted.
    pub bird_delay: Duration,
}

impl Rollout {
    /// How long after the change a node hears of it.
    pub fn delay(&self, node: usize) -> Duration {
        let turn = self.turns.get(node).copied().unwrap_or_default();
        self.stagger.saturating_mul(u32::try_from(turn).unwrap_or(u32::MAX))
    }
}

/// A stretch in which calico-node is down on a node: the kernel goes on with what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentOutage {
    /// The event's name.
    pub name: Arc<str>,
    /// Place of the node in [`Model::nodes`](super::Model::nodes).
    pub node: usize,
    /// From then on.
    pub from: Instant,
    /// Until then, when it has its tables again; none for the rest of the run.
    pub until: Option<Instant>,
}

/// The wires from some instant on: another underlay, other cards on it, the same machines.
#[derive(Clone, Debug)]
pub struct Rewiring {
    /// From then on.
    pub at: Instant,
    /// As [`Model::underlays`](super::Model::underlays).
    pub underlays: Vec<Underlay>,
    /// As [`Model::gateways`](super::Model::gateways).
    pub gateways: Vec<Gateway>,
    /// As [`Model::nodes`](super::Model::nodes).
    pub nodes: Vec<Machine>,
    /// As [`Model::hosts`](super::Model::hosts).
    pub hosts: Vec<Machine>,
    /// Places of nodes whose first card's source/destination check is what the timeline sets, whatever Felix set it to.
    pub checks_set: BTreeSet<usize>,
    /// The event that has set them so, or its end, and where it is written; none where Felix alone has set checks.
    pub set_by: Option<(Arc<str>, FieldRef)>,
}

/// The tables of a machine from some instant on.
#[derive(Clone, Debug)]
pub struct TableChange {
    /// From then on.
    pub at: Instant,
    /// A node's place in [`Model::nodes`](super::Model::nodes), or behind all of them a host's in [`Model::hosts`](super::Model::hosts).
    pub machine: usize,
    /// What the machine works from.
    pub tables: Arc<NodeTables>,
    /// What made it so, as it is told: the name of an entry of the timeline, and what the machine has done about it.
    pub cause: Arc<str>,
}

/// Packets of a flow that are lost as they leave their sender's node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowFault {
    /// Its name, which is the place of what it takes.
    pub name: Arc<str>,
    /// From then on.
    pub from: Instant,
    /// Until then; none for the rest of the run.
    pub until: Option<Instant>,
    /// The flow.
    pub flow: FlowId,
    /// Whether it is about answers rather than requests.
    pub reverse: bool,
    /// Which packets, counted from 1 from its beginning on.
    pub numbers: BTreeSet<u32>,
}
