//! Who learns what when: from the versions of the datastore to the tables of every node through the run.
//!
//! A node hears of a change at its turn. Its allocator then writes or removes its tunnel addresses, which all others see at
//! once. Its Felix does what it can with the settings of its start; if these would be others by now, it ends two seconds later
//! and has its tables whole again after its restart. BIRD follows by itself, a little later. What is in the kernel stays while
//! nobody is there to change it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use overlab_dataplane::calico::{ClusterState, FelixStart};
use overlab_dataplane::route::{HostNetwork, NodeTables, Resolver, host_tables};
use overlab_dataplane::{Instant, Mtu, PerFamily};

use super::model::{AgentOutage, Machine, Model, TableChange, Version};
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
    rollout.step(Instant::ZERO, (0..model.nodes.len()).collect());
    rollout.course = Course::default();
    while let Some((at, due)) = rollout.instants.pop_first() {
        rollout.step(at, due);
    }
    rollout.course
}

/// The tunnel addresses in a node's record: of IPIP, and of VXLAN.
type Tunnels = (Option<Ipv4Addr>, PerFamily<Option<IpAddr>>);

/// A version of the datastore as somebody sees it: its place among all, and what the records of nodes hold that have written or
/// given up other tunnel addresses than this version says.
type Seen = (usize, BTreeMap<usize, Tunnels>);

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
    /// What its tables are of now: what Felix sees, BIRD's version, and whether Felix is down.
    sees: Option<(Seen, usize, bool)>,
    /// What Felix programmed last, and from which version.
    felix_tables: Option<(usize, NodeTables)>,
    tables: Arc<NodeTables>,
    /// The MTUs that workloads were made with.
    mtus: BTreeMap<Arc<str>, Mtu>,
}

struct Rollout<'m> {
    model: &'m Model,
    agents: Vec<Agent>,
    /// When something may happen, and on which nodes.
    instants: BTreeMap<Instant, BTreeSet<usize>>,
    /// The tunnel addresses of every node by each version; none where it has no such node.
    tunnels: Vec<Vec<Option<Tunnels>>>,
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
        let clusters = (0..=model.versions.len()).map(|version| datastore(model, version));
        let tunnels = clusters.map(|cluster| {
            let of = |machine: &Machine| {
                let node = cluster.nodes().get(&machine.name)?;
                Some((node.ipip_tunnel, node.vxlan_tunnel))
            };
            model.nodes.iter().map(of).collect()
        });
        let mut rollout = Rollout {
            agents: agents.collect(),
            model,
            instants: BTreeMap::new(),
            tunnels: tunnels.collect(),
            views: BTreeMap::new(),
            course: Course::default(),
        };
        for version in &model.versions {
            for node in 0..model.nodes.len() {
                let hears = hears(version, node);
                rollout.expect(hears, node);
                rollout.expect(hears.saturating_add(version.rollout.bird_delay), node);
            }
        }
        for outage in &model.outages {
            for at in [Some(outage.from), outage.until].into_iter().flatten() {
                rollout.expect(at, outage.node);
            }
        }
        rollout.instants.remove(&Instant::ZERO);
        rollout
    }

    /// Has a look at a node at an instant.
    fn expect(&mut self, at: Instant, node: usize) {
        self.instants.entry(at).or_default().insert(node);
    }

    /// Lets everything happen that is due, on these nodes and wherever it is seen.
    fn step(&mut self, now: Instant, due: BTreeSet<usize>) {
        let mut seen_by_all = now == Instant::ZERO;
        let mut causes = BTreeMap::new();
        for &node in &due {
            let before = self.agents[node].heard;
            causes.insert(node, self.hear(node, now));
            let after = self.agents[node].heard;
            seen_by_all |= self.tunnels[before][node] != self.tunnels[after][node];
        }
        let mut order: Vec<usize> = match seen_by_all {
            true => (0..self.agents.len()).collect(),
            false => due.iter().copied().collect(),
        };
        if let Some(latest) = self.model.versions.iter().rfind(|version| version.at <= now) {
            order.sort_by_key(|node| latest.rollout.turns[*node]);
        }
        let mut views: BTreeMap<usize, Seen> = BTreeMap::new();
        for node in order {
            let started = due.contains(&node).then(|| self.run_felix(node, now)).flatten();
            if started.is_some() {
                self.set_check(node, now);
            }
            let heard = self.agents[node].heard;
            let felix = views.entry(heard).or_insert_with(|| self.seen(heard)).clone();
            let agent = &mut self.agents[node];
            let sees = (felix, agent.bird, agent.felix.is_down());
            if started.is_none() && agent.sees.as_ref() == Some(&sees) {
                continue;
            }
            let tables = self.tables(node, &sees.0);
            let agent = &mut self.agents[node];
            agent.sees = Some(sees);
            let Some(tables) = tables.filter(|tables| *tables != *agent.tables) else {
                continue;
            };
            agent.tables = Arc::new(tables);
            let cause = match (started, causes.get(&node)) {
                (Some(started), _) => started,
                (None, Some(Some(cause))) => cause.clone(),
                (None, _) => Arc::from("hears of another node's tunnel address"),
            };
            self.course.changes.push(TableChange {
                at: now,
                machine: node,
                tables: agent.tables.clone(),
                cause,
            });
        }
        let agents = &self.agents;
        self.views.retain(|seen, _| {
            let by_felix = |agent: &Agent| agent.sees.as_ref().is_some_and(|sees| sees.0 == *seen);
            agents
                .iter()
                .any(|agent| by_felix(agent) || (seen.1.is_empty() && seen.0 == agent.bird))
        });
    }

    /// A version with what every node has written by now.
    fn seen(&self, version: usize) -> Seen {
        let other = |(node, agent): (usize, &Agent)| {
            let written = self.tunnels[agent.heard][node].unwrap_or_default();
            (self.tunnels[version][node]? != written).then_some((node, written))
        };
        (version, self.agents.iter().enumerate().filter_map(other).collect())
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
    fn run_felix(&mut self, node: usize, now: Instant) -> Option<Arc<str>> {
        if let Some(outage) = self.outage(node, now) {
            self.agents[node].felix = Felix::Down(outage.until);
            self.agents[node].downed = Some(outage.name.clone());
            return None;
        }
        let name = &self.model.nodes[node].name;
        let cluster = datastore(self.model, self.agents[node].heard);
        if !cluster.nodes().contains_key(name) {
            return None;
        }
        let start = cluster.felix_start(name);
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
                self.expect(ends, node);
            }
            Felix::Ends(at, restart) if at <= now => {
                let back = now.saturating_add(restart);
                agent.felix = Felix::Down(Some(back));
                self.expect(back, node);
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

    /// How long Felix is away if it ends because of the newest change.
    fn agent_restart(&self, node: usize) -> Duration {
        let version = version(self.model, self.agents[node].heard);
        version.map_or(Duration::ZERO, |version| version.rollout.agent_restart)
    }

    /// What a node has in its kernel now; nothing if that has not changed.
    fn tables(&mut self, node: usize, felix: &Seen) -> Option<NodeTables> {
        let model = self.model;
        let agent = &mut self.agents[node];
        let name = &model.nodes[node].name;
        let knows = |version: usize| datastore(model, version).nodes().contains_key(name);
        let settings = agent.started.as_ref()?.settings.clone();
        if !agent.felix.is_down() && knows(felix.0) {
            let tables = view(model, &mut self.views, felix).tables_under(&agent.host, settings.clone());
            agent.felix_tables = Some((felix.0, tables));
        }
        let (version, mut tables) = agent.felix_tables.clone()?;
        if version != agent.bird && knows(agent.bird) {
            // BIRD asks for nobody's tunnel address.
            let bird = view(model, &mut self.views, &(agent.bird, BTreeMap::new()));
            tables = bird.with_bird(tables, &agent.host, settings);
        }
        for workload in &tables.workloads {
            agent.mtus.entry(workload.name.clone()).or_insert(workload.mtu);
        }
        Some(tables.with_workload_mtus(&agent.mtus))
    }
}

/// The datastore as somebody sees it.
fn view<'v>(model: &Model, views: &'v mut BTreeMap<Seen, Resolver>, seen: &Seen) -> &'v mut Resolver {
    if !views.contains_key(seen) {
        let (version, records) = seen;
        let mut cluster = datastore(model, *version).clone();
        for (place, (ipip, vxlan)) in records {
            if let Some(mut node) = cluster.nodes().get(&model.nodes[*place].name).cloned() {
                (node.ipip_tunnel, node.vxlan_tunnel) = (*ipip, *vxlan);
                cluster.set_node(node);
            }
        }
        let resolver = match views.values().next_back() {
            Some(earlier) => earlier.succeed(cluster),
            None => Resolver::new(cluster),
        };
        views.insert(seen.clone(), resolver);
    }
    views.get_mut(seen).expect("it was made before")
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
