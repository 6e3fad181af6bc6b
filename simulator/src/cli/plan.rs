//! `overlab plan`: everything that follows from a scenario or from bare manifests, without sending a packet.

mod text;
mod wires;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use overlab_dataplane::calico::{ClusterState, Profile};
use overlab_dataplane::fields::suggestion;
use overlab_dataplane::route::{Kernel, NodeTables, Resolver};
use overlab_dataplane::{Instant, Mtu};
use serde_json::{Value, json};

use super::{Exit, refuse, refuse_missing};
use crate::rows::{self, Table};
use crate::run::select_manifests;
use crate::scenario::{Card, Diagnostic, Gateway, LoadedCluster, Model, Sources, Underlay, Written, open};
use crate::world;

/// Prints what is derived: pools, blocks, and every node's devices, routes, tunnel ends, allow-lists, MTUs and translations.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  overlab plan scenarios/aws/switch-ipip-to-vxlan.yaml --node a1 --table routes --at switch+2s"
)]
pub(super) struct Args {
    /// A scenario, or bare manifests: files and folders that are read as one stream; `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only this node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Only this kind of table
    #[arg(long, value_enum, value_name = "KIND")]
    table: Option<Table>,
    /// Whose rules hold for bare manifests: calico/v3.22 (up to v3.22), calico/v3.32 (v3.23 to v3.32), calico/v3.33 (from v3.33 on)
    /// [default: calico/v3.32]
    #[arg(long, value_name = "PROFILE")]
    profile: Option<Profile>,
    /// The MTU of the nodes' cards, for bare manifests [default: 1500]
    #[arg(long, value_name = "BYTES", value_parser = mtu)]
    mtu: Option<Mtu>,
    /// When, in a scenario: a time, or an event of the timeline and a time before or after it, as switch+3s [default: 0s]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// This variant of the scenario
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Print versioned JSON
    #[arg(long)]
    json: bool,
}

/// What the cards of nodes carry whose wires nobody says.
const MTU: Mtu = match Mtu::new(1500) {
    Some(mtu) => mtu,
    None => Mtu::MIN,
};

impl Args {
    fn wants(&self, table: Table) -> bool {
        self.table.is_none_or(|wanted| wanted == table)
    }
}

fn mtu(text: &str) -> Result<Mtu, String> {
    let bytes = text.parse().ok().and_then(Mtu::new);
    bytes.ok_or_else(|| "an MTU is a number from 68 to 65535".to_owned())
}

/// What is planned.
struct Plan {
    cluster: ClusterState,
    sources: Sources,
    tables: Vec<Arc<NodeTables>>,
    notes: Vec<String>,
    /// None for bare manifests, which say nothing of any.
    underlays: Vec<Underlay>,
    gateways: Vec<Gateway>,
    /// The network cards of each machine; of bare manifests nothing is known of them.
    cards: BTreeMap<Arc<str>, Vec<Card>>,
    /// The kernels of nodes that say which they have.
    kernels: BTreeMap<Arc<str>, Kernel>,
    /// When tables are looked at.
    at: Instant,
    /// The changes of tables, in their order, and between them when calico-node ends.
    changes: Vec<Change>,
}

/// Something that changes a node's tables, or keeps them from changing.
struct Change {
    at: Instant,
    node: Arc<str>,
    cause: Arc<str>,
}

/// What becomes of the tables of a model's nodes.
fn changes(model: &Model) -> Vec<Change> {
    let of_tables = model.table_changes.iter().map(|change| Change {
        at: change.at,
        node: change.tables.node.clone(),
        cause: change.cause.clone(),
    });
    let outages = model.outages.iter().map(|outage| Change {
        at: outage.from,
        node: model.nodes[outage.node].name.clone(),
        cause: format!("calico-node is down, by {}", outage.name).into(),
    });
    let mut changes: Vec<_> = of_tables.chain(outages).collect();
    changes.sort_by_key(|change| change.at);
    changes
}

/// Runs the verb.
///
/// # Errors
/// If the output cannot be written.
pub(super) fn plan(args: &Args, out: &mut dyn Write) -> io::Result<Exit> {
    let plan = match derive(args) {
        Ok(plan) => plan,
        Err(exit) => return Ok(exit),
    };
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&as_json(args, &plan))?)?,
        false => text::print(args, &plan, out)?,
    }
    Ok(Exit::Pass)
}

fn derive(args: &Args) -> Result<Plan, Exit> {
    let selected = select_manifests(&args.paths);
    refuse_missing(&selected)?;
    let written = open(&selected.files).and_then(|written| written.with_variant(args.variant.as_deref()));
    let written = written.map_err(|diagnostics| refuse(&diagnostics))?;
    if written.is_scenario() {
        return of_scenario(args, written);
    }
    if args.at.is_some() {
        tell!("error: manifests have no timeline, so that --at means nothing");
        return Err(Exit::BadInput);
    }
    let mtu = args.mtu.unwrap_or(MTU);
    let loaded = written
        .cluster(args.profile.unwrap_or_default())
        .map_err(|diagnostics| refuse(&diagnostics))?;
    let LoadedCluster {
        cluster,
        sources,
        warnings,
        ..
    } = loaded;
    if let Some(name) = &args.node {
        known(name, cluster.nodes().keys().map(|name| &**name))?;
    }
    let wanted = |name: &str| args.node.as_ref().is_none_or(|only| only == name) && args.needs_nodes();
    let nodes = cluster.nodes().values().filter(|node| wanted(&node.name));
    let hosts: Vec<_> = nodes.map(|node| wires::host(node, mtu)).collect();
    let mut resolver = Resolver::new(cluster);
    let tables = hosts.iter().map(|host| Arc::new(resolver.tables(host))).collect();
    Ok(Plan {
        tables,
        notes: std::iter::once(wires::assumption(mtu))
            .chain(warnings.iter().map(Diagnostic::line))
            .collect(),
        cluster: resolver.into_cluster(),
        sources,
        underlays: Vec::new(),
        gateways: Vec::new(),
        cards: BTreeMap::new(),
        kernels: BTreeMap::new(),
        at: Instant::ZERO,
        changes: Vec::new(),
    })
}

fn of_scenario(args: &Args, written: Written) -> Result<Plan, Exit> {
    let of_manifests = [
        (args.profile.is_some(), "--profile", "write `profile` into its `spec`"),
        (args.mtu.is_some(), "--mtu", "write `mtu` into its underlay, subnet or node"),
    ];
    if let Some((_, option, help)) = of_manifests.into_iter().find(|(given, ..)| *given) {
        tell!("error: {option} is for bare manifests, and this scenario says it itself\n  help: {help}");
        return Err(Exit::BadInput);
    }
    let written = match &args.at {
        Some(at) => written.with_instant(at),
        None => written,
    };
    let loaded = written.resolve().map_err(|diagnostics| refuse(&diagnostics))?;
    let mut model = loaded.model;
    let at = args.at.as_ref().and(model.expectations.first());
    let at = at.map_or(Instant::ZERO, |look| look.window.from);
    let histories = world::tables(&model);
    let mut changes = changes(&model);
    let mut tables: Vec<_> = histories.iter().map(|tables| tables.at(at).clone()).collect();
    if let Some(name) = &args.node {
        known(name, tables.iter().map(|tables| &*tables.node))?;
        tables.retain(|tables| *tables.node == **name);
        changes.retain(|change| *change.node == **name);
    }
    if let Some(wires) = model.rewiring_at(at) {
        model = model.rewired(&wires.clone());
    }
    let kernels = model.nodes.iter().filter_map(|node| Some((node.name.clone(), node.kernel?)));
    let kernels = kernels.collect();
    let notes = model
        .notes
        .iter()
        .cloned()
        .chain(loaded.warnings.iter().map(Diagnostic::line));
    Ok(Plan {
        tables,
        cluster: model.cluster_at(at).clone(),
        sources: loaded.sources,
        notes: notes.collect(),
        cards: model
            .nodes
            .into_iter()
            .chain(model.hosts)
            .map(|machine| (machine.name, machine.cards))
            .collect(),
        kernels,
        underlays: model.underlays,
        gateways: model.gateways,
        at,
        changes,
    })
}

impl Args {
    /// Whether anything of a node is printed at all.
    fn needs_nodes(&self) -> bool {
        !matches!(
            self.table,
            Some(Table::Underlays | Table::Pools | Table::Blocks | Table::Services)
        )
    }
}

fn known<'a>(name: &str, mut nodes: impl Iterator<Item = &'a str> + Clone) -> Result<(), Exit> {
    let near = suggestion(name, nodes.clone()).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    if nodes.any(|node| node == name) {
        return Ok(());
    }
    tell!("error: no node is called {name:?}{near}");
    Err(Exit::BadInput)
}

fn as_json(args: &Args, plan: &Plan) -> Value {
    let profile = plan.cluster.profile().to_string();
    let mut root =
        json!({ "schema": "overlab.dev/plan/v1", "profile": profile, "notes": plan.notes, "atNs": plan.at.as_nanos() });
    if args.wants(Table::Underlays) && args.node.is_none() {
        root["underlays"] = rows::underlays(&plan.underlays).into();
        root["gateways"] = rows::gateways(&plan.gateways, &plan.underlays).into();
    }
    if args.wants(Table::Pools) {
        root["pools"] = rows::pools(&plan.cluster, &plan.sources).into();
    }
    if args.wants(Table::Blocks) {
        root["blocks"] = rows::blocks(&plan.cluster).into();
    }
    if args.wants(Table::Services) {
        root["services"] = rows::services(&plan.cluster).into();
    }
    if args.table.is_none() {
        root["changes"] = plan.changes.iter().map(change_json).collect();
    }
    if args.needs_nodes() {
        root["nodes"] = plan.tables.iter().map(|tables| node_json(args, tables, plan)).collect();
    }
    root
}

fn change_json(change: &Change) -> Value {
    json!({ "atNs": change.at.as_nanos(), "node": &*change.node, "cause": &*change.cause })
}

fn node_json(args: &Args, tables: &NodeTables, plan: &Plan) -> Value {
    let sources = &plan.sources;
    let mut node = json!({ "name": &*tables.node });
    if args.table.is_none() {
        let cards = plan.cards.get(&tables.node).map(Vec::as_slice).unwrap_or_default();
        let groups = cards.first().into_iter().flat_map(|card| &card.groups);
        node["groups"] = groups.map(|group| &**group).collect();
        node["cards"] = cards.iter().map(|card| rows::card(card, &plan.underlays)).collect();
        node["kernel"] = plan.kernels.get(&tables.node).map(Kernel::to_string).into();
        node["spoilsTranslatedVxlan"] = tables.spoils_translated_vxlan.into();
    }
    if args.wants(Table::Devices) {
        node["devices"] = rows::devices(tables).into();
    }
    if args.wants(Table::Routes) {
        node["routes"] = rows::routes(tables, sources).into();
    }
    if args.wants(Table::Vteps) {
        node["vteps"] = rows::vteps(tables).into();
    }
    if args.wants(Table::Allow) {
        node["allow"] = rows::allow(tables);
    }
    if args.wants(Table::Mtu) {
        node["mtu"] = rows::mtu(tables);
    }
    if args.wants(Table::Nat) {
        node["nat"] = rows::nat(tables).into();
    }
    node
}
