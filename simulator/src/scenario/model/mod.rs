//! The scenario as meant: every default filled, every name resolved, every unit typed. Truth (the wires) and belief (what the
//! datastore holds) stay apart: the wires are here, the belief is [`Model::cluster`].

mod change;
mod expectation;
mod flow;
mod wires;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use overlab_dataplane::Instant;
use overlab_dataplane::calico::ClusterState;
use overlab_dataplane::encap::Wire;
use overlab_dataplane::fields::FieldRef;
use overlab_dataplane::route::{HostNetwork, Nic};

use crate::fabric::{Fault, NicId};

pub use change::*;
pub use expectation::*;
pub use flow::*;
pub use wires::*;

pub use crate::fabric::GatewayKind;

/// A backend, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackendKind {
    /// Virtual time, no privileges.
    Sim,
    /// Linux network namespaces, real time.
    Netns,
}

/// Everything that a run needs to know.
#[derive(Clone, Debug)]
pub struct Model {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.title`.
    pub title: Option<String>,
    /// Root of all random streams.
    pub seed: u64,
    /// When sending ends.
    pub duration: Duration,
    /// Where the scenario may run.
    pub backends: BTreeSet<BackendKind>,
    /// The wires between machines.
    pub underlays: Vec<Underlay>,
    /// What joins them, in file order.
    pub gateways: Vec<Gateway>,
    /// Calico nodes, in file order.
    pub nodes: Vec<Machine>,
    /// Machines outside the cluster.
    pub hosts: Vec<Machine>,
    /// Workloads, in file order.
    pub workloads: Vec<Workload>,
    /// What happens to packets between cards, and when.
    pub faults: Vec<Fault>,
    /// Packets of flows that are lost by their number.
    pub flow_faults: Vec<FlowFault>,
    /// The wires as they are from certain instants on, in their order.
    pub rewirings: Vec<Rewiring>,
    /// The tables that machines have from certain instants on, in the order in which they change: by time, and at one instant as
    /// here. At 0s they have those of [`Model::cluster`].
    pub table_changes: Vec<TableChange>,
    /// What is sent. Flows of a matrix come last.
    pub flows: Vec<Flow>,
    /// What must be true.
    pub expectations: Vec<Expectation>,
    /// What the datastore holds at the start: given manifests and what was derived.
    pub cluster: ClusterState,
    /// The same, put together from the manifests in reverse order, if that is asked for.
    pub reversed: Option<ClusterState>,
    /// What it holds later, in the order of time.
    pub versions: Vec<Version>,
    /// Stretches in which calico-node is down on a node.
    pub outages: Vec<AgentOutage>,
    /// What was derived rather than written, one sentence each.
    pub notes: Vec<String>,
    /// Lints that are accepted or expected.
    pub accepted_lints: Vec<AcceptedLint>,
    /// Whose rules tunnels follow.
    pub wire: Wire,
}

/// A lint that the scenario knows of.
#[derive(Clone, Debug)]
pub struct AcceptedLint {
    /// Its id.
    pub lint: &'static str,
    /// Whether it must be there: an entry of `lints`, not of `allow`.
    pub expected: bool,
    /// Where it is named.
    pub field: FieldRef,
}

impl Model {
    /// Every network card, with its identity and its machine: of the nodes first, then of the hosts.
    pub fn cards(&self) -> impl Iterator<Item = (NicId, &Machine, &Card)> {
        cards(&self.nodes, &self.hosts)
    }

    /// What a machine's kernel knows before Calico touches it.
    pub fn host_network(&self, machine: &Machine) -> HostNetwork {
        let primary = machine.primary();
        let nic = |card: &Card| Nic {
            name: card.name.clone(),
            addresses: card.addresses.iter().flatten().copied().collect(),
            mtu: card.mtu,
        };
        HostNetwork {
            name: machine.name.clone(),
            nics: machine.cards.iter().map(nic).collect(),
            gateways: self.underlays[primary.underlay].subnets[primary.subnet].gateway,
            rp_filter: machine.rp_filter,
            kernel: machine.kernel,
        }
    }

    /// The last change of a machine's tables until an instant; none if it has had the same since the start.
    pub fn last_table_change(&self, machine: &str, at: Instant) -> Option<&TableChange> {
        let until = |change: &&TableChange| change.at <= at && *change.tables.node == *machine;
        self.table_changes.iter().rev().find(until)
    }

    /// The stretch in which a machine's calico-node is down at an instant; none if it runs, or there is none.
    pub fn outage(&self, machine: &str, at: Instant) -> Option<&AgentOutage> {
        let is_down = |outage: &&AgentOutage| {
            *self.nodes[outage.node].name == *machine && outage.from <= at && outage.until.is_none_or(|until| at < until)
        };
        self.outages.iter().find(is_down)
    }

    /// What the datastore holds at an instant.
    pub fn cluster_at(&self, at: Instant) -> &ClusterState {
        let version = self.versions.iter().rev().find(|version| version.at <= at);
        version.map_or(&self.cluster, |version| &version.cluster)
    }

    /// The wires as an event has left them at an instant; none if they are as at the start.
    pub fn rewiring_at(&self, at: Instant) -> Option<&Rewiring> {
        self.rewirings.iter().rev().find(|wires| wires.at <= at)
    }

    /// The model with the first of its flows alone, and only what the timeline does to that one.
    #[must_use]
    pub fn with_first_flow_only(mut self) -> Model {
        self.flows.truncate(1);
        self.flow_faults.retain(|fault| fault.flow == FlowId(0));
        self
    }

    /// The model with other wires.
    #[must_use]
    pub fn rewired(&self, wires: &Rewiring) -> Model {
        Model {
            underlays: wires.underlays.clone(),
            gateways: wires.gateways.clone(),
            nodes: wires.nodes.clone(),
            hosts: wires.hosts.clone(),
            ..self.clone()
        }
    }
}
