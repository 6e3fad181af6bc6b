//! What must be true, of what and when.

use std::sync::Arc;

use overlab_dataplane::Instant;
use overlab_dataplane::fields::FieldRef;

use super::FlowId;
use crate::expectations::Claim;
use crate::rows::Table;

/// A stretch of time, `from` included and `to` not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// As it is printed: the name of a phase, or `[0.000,1.000)`.
    pub label: Arc<str>,
    /// Its start.
    pub from: Instant,
    /// Its end.
    pub to: Instant,
}

/// How two machines or workloads lie to each other, by the wires and never by the datastore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// On one node.
    SameNode,
    /// On two nodes of one subnet.
    SameSubnet,
    /// On two nodes of different subnets.
    CrossSubnet,
}

/// What an expectation speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The packets of these flows, which are in ascending order.
    Flows(Vec<FlowId>),
    /// The packets of every flow, a matrix's probes too.
    EveryFlow,
    /// The rows of a table.
    Table {
        /// Which.
        table: Table,
        /// Whose: a node's place in [`Model::nodes`](super::Model::nodes), or behind all of them a host's; none where the table is no node's.
        machine: Option<usize>,
    },
    /// The tables of every node, with the objects of the datastore delivered in another order.
    Permuted(Order),
}

/// In which order the objects of the datastore are delivered. Any gives the same tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the last manifest and object to the first.
    Reverse,
    /// One by one.
    Split,
    /// All at once.
    Squash,
}

impl Subject {
    /// Whether it speaks of a flow's packets.
    pub fn includes(&self, flow: FlowId) -> bool {
        match self {
            Subject::Flows(flows) => flows.binary_search(&flow).is_ok(),
            Subject::EveryFlow => true,
            Subject::Table { .. } | Subject::Permuted(_) => false,
        }
    }

    /// The flows that it names.
    pub fn flows(&self) -> &[FlowId] {
        match self {
            Subject::Flows(flows) => flows,
            Subject::EveryFlow | Subject::Table { .. } | Subject::Permuted(_) => &[],
        }
    }
}

/// One entry of `expect`: of what, and what is claimed of it.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// What was selected, as it is printed: `az`, `[a, b]`, `matrix same-subnet`, `routes of n1`.
    pub label: Arc<str>,
    /// What it speaks of.
    pub subject: Subject,
    /// When the packets were sent. Of a table it has only the one instant, which is its start.
    pub window: Window,
    /// Claims about both directions, or, if `reverse` is there, about forward packets only.
    pub claims: Vec<Claim>,
    /// Claims about packets of the reverse direction.
    pub reverse: Option<Vec<Claim>>,
    /// Where it is written.
    pub field: FieldRef,
}
