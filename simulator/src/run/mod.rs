//! Running scenarios: the one loop over any backend, the judgement of what it observed, the report, and the golden files.

mod agree;
mod batch;
mod changes;
mod drive;
mod golden;
mod judge;
mod permute;
mod report;
mod select;

use std::collections::BTreeSet;
use std::sync::Arc;

use overlab_dataplane::Instant;
use overlab_dataplane::route::NodeTables;

pub use agree::{Disagreement, disagreements};
pub use batch::{Options, Outcome, attempt, batch, one};
pub use drive::drive;
pub use golden::{Golden, golden_path};
pub use judge::{Judged, judge};
pub use report::{Context, inconclusive, packet_report, refused, report};
pub use select::{Case, Selected, cases, select, select_manifests};

use crate::backend::{Backend, BackendError};
use crate::observe::{Capture, Connections, History, Trace};
use crate::scenario::{Flow, Model, Transport};
use crate::topology;
use crate::world::World;

/// What a run left behind.
#[derive(Debug)]
pub struct Run {
    /// Every packet that an application sent, in the order of flow, direction and number.
    pub traces: Vec<Trace>,
    /// What the TCP connections of flows did.
    pub connections: Connections,
    /// The tables of every machine through the run, nodes first.
    pub tables: Vec<History<Arc<NodeTables>>>,
    /// The packets, if they were captured.
    pub capture: Capture,
}

impl Run {
    /// The instants at which tables of any machine change.
    pub fn changes(&self) -> BTreeSet<Instant> {
        let histories = self.tables.iter().flat_map(|history| history.iter().skip(1));
        histories.map(|(at, _)| at).collect()
    }
}

/// Runs a model to its end.
///
/// # Errors
/// If the backend fails.
pub fn execute(model: &Model, backend: &mut dyn Backend, capture: Capture) -> Result<Run, BackendError> {
    let topology = topology::build(model);
    let mut world = World::new(model, &topology, capture);
    let last = |flow: &Flow| match flow.transport {
        Transport::Icmp | Transport::Udp => flow.start.saturating_add(flow.interval * flow.count.saturating_sub(1)),
        // A connection is watched to the end.
        Transport::Tcp => Instant::ZERO.saturating_add(model.duration),
    };
    let end_of_sending = model.flows.iter().map(last).max().unwrap_or_default();
    drive(&mut world, backend, end_of_sending)?;
    let tables = world.tables().to_vec();
    let (traces, connections, capture) = world.finish();
    Ok(Run {
        traces,
        connections,
        tables,
        capture,
    })
}
