//! Who learns what when: from the versions of the datastore to the tables of every node through the run.
//!
//! A node hears of a change at its turn. Its allocator then writes or removes its tunnel addresses, which all others see at
//! once. Its Felix does what it can with the settings of its start; if these would be others by now, it ends two seconds later
//! and has its tables whole again after its restart. BIRD follows by itself, a little later. What is in the kernel stays while
//! nobody is there to change it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use overlab_dataplane::calico::{ClusterState, FelixStart};
use overlab_dataplane::route::{HostNetwork, NodeTables, Resolver, host_tables};
use overlab_dataplane::{Instant, Mtu};

use super::model::{AgentOutage, Model, TableChange, Version};
use super::resolve::check_by_felix;

/// From when Felix finds that it has to restart until it ends.
///
/// Source: Calico felix/daemon/daemon.go, monitorAndManageShutdown.
const FELIX_ENDS: Duration = Duration::from_secs(2);

/// What happens on the nodes during a run.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// Every change of a node's tables, in its order: by time, and at one instant as the nodes hear of what changed last.
    pub(super) changes: Vec<TableChange>,
    /// Every start of Felix in which it sets the source/destination check of its node.
    pub(super) checks: Vec<FelixCheck>,
}

/// Felix sets the source/destination check of its node's interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct FelixCheck {
    pub(super) at: Instant,
    /// A place in [`Model::nodes`].
    pub(super) node: usize,
    pub(super) on: bool,
}

/// Lets a run go by.
pub(super) fn course(model: &Model) -> Course {
    if model.versions.is_empty() && model.outages.is_empty() {
        return Course::default();
    }
    let mut rollout = Rollout::new(model);
    rollout.step(Instant::ZERO);
    rollout.course = Course::default();
    while let Some(at) = rollout.instants.pop_first() {
        rollout.step(at);
    }
    rollout.course
}

/// A version of the datastore as somebody sees it: its place among all, and the versions from which each node wrote its record.
type Seen = (usize, Vec<usize>);

/// What Felix does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Felix {
    /// It is not there; it starts then, or never.
    Down(Option<Instant>),
    Runs,
    /// It will end, and be back so much later.
    Ends(Instant, Duration),
}

impl Felix {
    fn is_down(self) -> bool {
        matches!(self, Felix::Down(_))
    }
}

/// One node's calico-node.
#[derive(Debug)]
struct Agent {
    host: HostNetwork,
    felix: Felix,
    /// The event by which calico-node is down, until Felix is back.
    downed: Option<Arc<str>>,
    /// What Felix read at its start.
    started: Option<FelixStart>,
    /// The newest version that it has heard of, and BIRD's.
    heard: usize,
    bird: usize,
    /// The versions that its tables are of now, Felix's and BIRD's, those of all records, and whether Felix is down.
    sees: Option<(usize, usize, Vec<usize>, bool)>,
    /// What Felix programmed last, and from what.
    felix_tables: Option<(Seen, Arc<NodeTables>)>,
    tables: Arc<NodeTables>,
    /// The MTUs that workloads were made with.
    mtus: BTreeMap<Arc<str>, Mtu>,
}

struct Rollout<'m> {
    model: &'m Model,
    agents: Vec<Agent>,
    /// When something may happen.
    instants: BTreeSet<Instant>,
    /// Datastores as they are seen now.
    views: BTreeMap<Seen, Resolver>,
    course: Course,
}

impl<'m> Rollout<'m> {
    fn new(model: &'m Model) -> Rollout<'m> {
        let agents = model.nodes.iter().map(|node| {
            let host = model.host_network(node);
            Agent {
                felix: Felix::Down(Some(Instant::ZERO)),
                downed: None,
                started: None,
                heard: 0,
                bird: 0,
                sees: None,
                felix_tables: None,
                tables: Arc::new(host_tables(&host)),
                mtus: BTreeMap::new(),
                host,
            }
        });
        let mut instants = BTreeSet::new();
        for version in &model.versions {
            for node in 0..model.nodes.len() {
                let hears = hears(version, node);
                instants.extend([hears, hears.saturating_add(version.rollout.bird_delay)]);
            }
        }
        for outage in &model.outages {
            instants.extend([Some(outage.from), outage.until].into_iter().flatten());
        }
        instants.remove(&Instant::ZERO);
        Rollout {
            agents: agents.collect(),
            model,
            instants,
            views: BTreeMap::new(),
            course: Course::default(),
        }
    }

    /// Lets everything happen that is due.
    fn step(&mut self, now: Instant) {
        let causes: Vec<Option<Arc<str>>> = (0..self.agents.len()).map(|node| self.hear(node, now)).collect();
        let records: Vec<usize> = self.agents.iter().map(|agent| agent.heard).collect();
        let latest = self.model.versions.iter().rfind(|version| version.at <= now);
        let order: Vec<usize> = match latest {
            Some(version) => version.rollout.order.clone(),
            None => (0..self.agents.len()).collect(),
        };
        for node in order {
            let started = self.run_felix(node, now, &records);
            if started.is_some() {
                self.set_check(node, now);
            }
            let agent = &mut self.agents[node];
            let sees = (agent.heard, agent.bird, records.clone(), agent.felix.is_down());
            if started.is_none() && agent.sees.as_ref() == Some(&sees) {
                continue;
            }
            agent.sees = Some(sees);
            let tables = self.tables(node, &records);
            let agent = &mut self.agents[node];
            if now > Instant::ZERO && tables == *agent.tables {
                continue;
            }
            agent.tables = Arc::new(tables);
            let cause = match (started, &causes[node]) {
                (Some(started), _) => started,
                (None, Some(cause)) => cause.clone(),
                (None, None) => Arc::from("hears of another node's tunnel address"),
            };
            self.course.changes.push(TableChange {
                at: now,
                machine: node,
                tables: agent.tables.clone(),
                cause,
            });
        }
        let used: BTreeSet<Seen> = self
            .agents
            .iter()
            .map(|agent| (agent.heard, records.clone()))
            .chain((0..self.agents.len()).map(|node| self.bird_sees(node)))
            .collect();
        self.views.retain(|seen, _| used.contains(seen));
    }

    /// Brings what a node has heard of up to date, and says what is new.
    fn hear(&mut self, node: usize, now: Instant) -> Option<Arc<str>> {
        if self.outage(node, now).is_some() {
            return None;
        }
        let versions = &self.model.versions;
        let newest = |delayed: bool| {
            let due = |version: &Version| {
                let delay = if delayed { version.rollout.bird_delay } else { Duration::ZERO };
                hears(version, node).saturating_add(delay) <= now
            };
            versions.iter().rposition(due).map_or(0, |place| place + 1)
        };
        let (heard, bird) = (newest(false), newest(true));
        let agent = &mut self.agents[node];
        let name = |version: usize| &versions[version - 1].name;
        let cause = match (heard > agent.heard, bird > agent.bird) {
            (true, _) => Some(format!("hears of {}", name(heard)).into()),
            (false, true) => Some(format!("BIRD follows {}", name(bird)).into()),
            (false, false) => None,
        };
        for version in &versions[agent.heard..heard] {
            agent.mtus.retain(|workload, _| !version.renewed.contains(workload));
        }
        (agent.heard, agent.bird) = (heard, bird);
        cause
    }

    /// The stretch in which a node's calico-node is down. At the start of time every node has its tables.
    fn outage(&self, node: usize, now: Instant) -> Option<&'m AgentOutage> {
        let is_down = |outage: &&AgentOutage| {
            outage.node == node && now > Instant::ZERO && outage.from <= now && outage.until.is_none_or(|until| now < until)
        };
        self.model.outages.iter().find(is_down)
    }

    /// Starts, restarts or ends Felix. Tells if it has started.
    fn run_felix(&mut self, node: usize, now: Instant, records: &[usize]) -> Option<Arc<str>> {
        if let Some(outage) = self.outage(node, now) {
            self.agents[node].felix = Felix::Down(outage.until);
            self.agents[node].downed = Some(outage.name.clone());
            return None;
        }
        let seen = (self.agents[node].heard, records.to_vec());
        let name = self.model.nodes[node].name.clone();
        let cluster = self.view(&seen).cluster();
        if !cluster.nodes().contains_key(&name) {
            return None;
        }
        let start = cluster.felix_start(&name);
        let restart = self.agent_restart(node);
        let agent = &mut self.agents[node];
        match agent.felix {
            Felix::Down(Some(at)) if at <= now => {
                agent.felix = Felix::Runs;
                let before = agent.started.replace(start);
                return Some(match (before, agent.downed.take()) {
                    (None, _) => "Felix has started".into(),
                    (Some(_), None) => "Felix has restarted".into(),
                    (Some(_), Some(event)) => format!("Felix has restarted after {event}").into(),
                });
            }
            Felix::Runs if agent.started.as_ref() != Some(&start) => {
                let ends = now.saturating_add(FELIX_ENDS);
                agent.felix = Felix::Ends(ends, restart);
                self.instants.insert(ends);
            }
            Felix::Ends(at, restart) if at <= now => {
                let back = now.saturating_add(restart);
                agent.felix = Felix::Down(Some(back));
                self.instants.insert(back);
            }
            Felix::Down(_) | Felix::Runs | Felix::Ends(..) => {}
        }
        None
    }

    /// Felix sets the check of its node's interface at its start, and never looks again.
    fn set_check(&mut self, node: usize, at: Instant) {
        let model = self.model;
        let cluster = datastore(model, self.agents[node].heard);
        if let Some(on) = check_by_felix(cluster, &model.underlays, &model.nodes[node]) {
            self.course.checks.push(FelixCheck { at, node, on });
        }
    }

    /// BIRD asks for nobody's tunnel address.
    fn bird_sees(&self, node: usize) -> Seen {
        let version = self.agents[node].bird;
        (version, vec![version; self.agents.len()])
    }

    /// How long Felix is away if it ends because of the newest change.
    fn agent_restart(&self, node: usize) -> Duration {
        let version = version(self.model, self.agents[node].heard);
        version.map_or(Duration::ZERO, |version| version.rollout.agent_restart)
    }

    /// What a node has in its kernel now.
    fn tables(&mut self, node: usize, records: &[usize]) -> NodeTables {
        let agent = &self.agents[node];
        let (felix, bird) = ((agent.heard, records.to_vec()), self.bird_sees(node));
        let Some(started) = agent.started.clone() else {
            return (*agent.tables).clone();
        };
        let host = agent.host.clone();
        let knows = |cluster: &ClusterState| cluster.nodes().contains_key(&host.name);
        if !agent.felix.is_down() && knows(self.view(&felix).cluster()) {
            let tables = self.view(&felix).tables_under(&host, started.settings.clone());
            self.agents[node].felix_tables = Some((felix, Arc::new(tables)));
        }
        let Some((seen, tables)) = self.agents[node].felix_tables.clone() else {
            return (*self.agents[node].tables).clone();
        };
        let mut tables = (*tables).clone();
        if seen.0 != bird.0 && knows(self.view(&bird).cluster()) {
            let birds = self.view(&bird).tables_under(&host, started.settings);
            tables = tables.with_bird_of(&birds);
        }
        let mtus = &mut self.agents[node].mtus;
        for workload in &tables.workloads {
            mtus.entry(workload.name.clone()).or_insert(workload.mtu);
        }
        tables.with_workload_mtus(mtus)
    }

    /// The datastore as somebody sees it.
    fn view(&mut self, seen: &Seen) -> &mut Resolver {
        let model = self.model;
        self.views.entry(seen.clone()).or_insert_with(|| {
            let (version, records) = seen;
            let mut view = datastore(model, *version).clone();
            for (machine, written) in model.nodes.iter().zip(records) {
                let Some(mut node) = view.nodes().get(&machine.name).cloned() else {
                    continue;
                };
                let record = datastore(model, *written).nodes().get(&machine.name);
                node.ipip_tunnel = record.and_then(|record| record.ipip_tunnel);
                node.vxlan_tunnel = record.map(|record| record.vxlan_tunnel).unwrap_or_default();
                view.set_node(node);
            }
            Resolver::new(view)
        })
    }
}

/// A version by its number; there is none of number 0, with which the run begins.
fn version(model: &Model, number: usize) -> Option<&Version> {
    model.versions.get(number.checked_sub(1)?)
}

/// The datastore of a version.
fn datastore(model: &Model, number: usize) -> &ClusterState {
    version(model, number).map_or(&model.cluster, |version| &version.cluster)
}

/// When a node hears of a version.
fn hears(version: &Version, node: usize) -> Instant {
    version.at.saturating_add(version.rollout.delay(node))
}
