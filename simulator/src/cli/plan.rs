//! `overlab plan`: everything that follows from a scenario or from bare manifests, without sending a packet.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use ipnet::{IpNet, Ipv4Net};
use overlab_dataplane::calico::{ClusterState, Profile};
use overlab_dataplane::fields::suggestion;
use overlab_dataplane::route::{AllowList, HostNetwork, Nic, NodeTables, node_tables};
use overlab_dataplane::{Family, Mtu, PerFamily};
use serde_json::{Value, json};

use super::{Exit, refuse};
use crate::scenario::open;
use crate::world;

/// Prints what is derived: pools, blocks, and every node's devices, routes, tunnel ends, allow-lists and MTUs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A scenario, or bare manifests
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only this node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Only this kind of table
    #[arg(long, value_enum, value_name = "KIND")]
    table: Option<Table>,
    /// The Calico version whose rules hold for bare manifests, as calico/v3.32
    #[arg(long, value_name = "PROFILE", default_value_t)]
    profile: Profile,
    /// Print versioned JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Table {
    Pools,
    Blocks,
    Devices,
    Routes,
    Vteps,
    Allow,
    Mtu,
}

/// What is planned.
struct Plan {
    cluster: ClusterState,
    tables: Vec<Arc<NodeTables>>,
    notes: Vec<String>,
}

/// Runs the verb.
///
/// # Errors
/// If the output cannot be written.
pub(super) fn plan(args: &Args, out: &mut dyn Write) -> io::Result<Exit> {
    let mut plan = match derive(args) {
        Ok(plan) => plan,
        Err(exit) => return Ok(exit),
    };
    if let Some(name) = &args.node {
        if !plan.tables.iter().any(|tables| *tables.node == **name) {
            let near = suggestion(name, plan.tables.iter().map(|tables| &*tables.node));
            let help = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            eprintln!("error: no node is called {name:?}{help}");
            return Ok(Exit::BadInput);
        }
        plan.tables.retain(|tables| *tables.node == **name);
    }
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&as_json(args, &plan))?)?,
        false => print(args, &plan, out)?,
    }
    Ok(Exit::Pass)
}

fn derive(args: &Args) -> Result<Plan, Exit> {
    let written = open(&args.paths).map_err(|diagnostics| refuse(&diagnostics))?;
    if written.is_scenario() {
        let model = written.resolve().map_err(|diagnostics| refuse(&diagnostics))?.model;
        return Ok(Plan {
            tables: world::tables(&model),
            cluster: model.cluster,
            notes: model.notes,
        });
    }
    let cluster = written
        .cluster(args.profile)
        .map_err(|diagnostics| refuse(&diagnostics))?
        .cluster;
    let hosts: Vec<_> = cluster
        .nodes()
        .values()
        .filter_map(|node| host(&node.name, node.ipv4?))
        .collect();
    let tables = hosts.iter().map(|host| Arc::new(node_tables(&cluster, host))).collect();
    let note = "without a scenario nothing is known of the wires: each node has one card with its recorded address and \
                1500 B, and a router at the subnet's first address";
    Ok(Plan {
        cluster,
        tables,
        notes: vec![note.to_owned()],
    })
}

/// The machine that a Node record seems to describe.
fn host(name: &Arc<str>, address: Ipv4Net) -> Option<HostNetwork> {
    let gateway = address.hosts().next().filter(|first| *first != address.addr());
    let nic = Nic {
        name: Arc::from("eth0"),
        addresses: vec![IpNet::V4(address)],
        mtu: Mtu::new(1500)?,
    };
    Some(HostNetwork {
        name: name.clone(),
        nics: vec![nic],
        gateways: PerFamily {
            v4: gateway.map(Into::into),
            v6: None,
        },
    })
}

fn print(args: &Args, plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    let wants = |table| args.table.is_none_or(|wanted| wanted == table);
    let cluster = &plan.cluster;
    if args.table.is_none() {
        writeln!(out, "profile {}", cluster.profile())?;
        for note in &plan.notes {
            writeln!(out, "note    {note}")?;
        }
    }
    if wants(Table::Pools) && args.node.is_none() {
        for pool in cluster.pools().values() {
            let nat = if pool.nat_outgoing { "  natOutgoing" } else { "" };
            let disabled = if pool.disabled { "  disabled" } else { "" };
            let (name, cidr, block) = (&pool.name, pool.cidr, pool.block_size);
            writeln!(
                out,
                "pool    {name} {cidr}  ipip {}  vxlan {}  blocks /{block}{nat}{disabled}",
                pool.ipip, pool.vxlan
            )?;
        }
    }
    if wants(Table::Blocks) && args.node.is_none() {
        for block in cluster.blocks().values() {
            writeln!(
                out,
                "block   {} {}",
                block.cidr,
                block.affinity.as_deref().unwrap_or("(nobody's)")
            )?;
        }
    }
    for tables in &plan.tables {
        print_node(&wants, tables, out)?;
    }
    Ok(())
}

fn print_node(wants: &dyn Fn(Table) -> bool, tables: &NodeTables, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n{}", tables.node)?;
    if wants(Table::Devices) || wants(Table::Mtu) {
        for device in &tables.devices {
            let addresses: Vec<_> = device.addresses.iter().map(ToString::to_string).collect();
            let workload = device
                .workload
                .as_ref()
                .map_or_else(String::new, |workload| format!("  to {workload}"));
            writeln!(
                out,
                "  device  {} mtu {}  {}{workload}",
                device.name,
                device.mtu,
                addresses.join(" ")
            )?;
        }
    }
    if wants(Table::Routes) {
        for route in tables.routes() {
            let node = route.node.as_ref().map_or_else(String::new, |node| format!("  to {node}"));
            writeln!(out, "  route   {}  ({}){node}", tables.text(route), route.owner)?;
        }
    }
    for vxlan in tables.vxlan.iter().flatten() {
        if wants(Table::Vteps) {
            for vtep in vxlan.remotes() {
                let (address, mac, node_address, node) = (vtep.address, vtep.mac, vtep.node_address, &vtep.node);
                writeln!(out, "  neigh   {address} lladdr {mac} permanent  to {node}")?;
                writeln!(out, "  fdb     {mac} dst {node_address} permanent")?;
            }
        }
        if wants(Table::Allow) {
            writeln!(
                out,
                "  allow   vxlan (udp {}, vni {}) from {}",
                tables.vxlan_port, vxlan.vni, vxlan.allowed
            )?;
        }
    }
    if let Some(ipip) = tables.ipip.as_ref().filter(|_| wants(Table::Allow)) {
        writeln!(out, "  allow   ipip (proto 4) from {}", ipip.allowed)?;
    }
    Ok(())
}

fn as_json(args: &Args, plan: &Plan) -> Value {
    let wants = |table| args.table.is_none_or(|wanted| wanted == table);
    let mut root = json!({ "schema": "overlab.dev/plan/v1", "profile": plan.cluster.profile().to_string(), "notes": plan.notes });
    if wants(Table::Pools) {
        root["pools"] = plan.cluster.pools().values().map(pool_json).collect();
    }
    if wants(Table::Blocks) {
        let block = |block: &overlab_dataplane::calico::Block| json!({ "cidr": block.cidr, "node": block.affinity.as_deref() });
        root["blocks"] = plan.cluster.blocks().values().map(block).collect();
    }
    root["nodes"] = plan.tables.iter().map(|tables| node_json(&wants, tables)).collect();
    root
}

fn pool_json(pool: &overlab_dataplane::calico::IpPool) -> Value {
    json!({
        "name": &*pool.name,
        "cidr": pool.cidr,
        "ipipMode": pool.ipip.to_string(),
        "vxlanMode": pool.vxlan.to_string(),
        "natOutgoing": pool.nat_outgoing,
        "disabled": pool.disabled,
        "disableBGPExport": pool.disable_bgp_export,
        "blockSize": pool.block_size,
    })
}

fn node_json(wants: &dyn Fn(Table) -> bool, tables: &NodeTables) -> Value {
    let device_name = |id| tables.device(id).map(|device| &*device.name);
    let mut node = json!({ "name": &*tables.node });
    if wants(Table::Devices) || wants(Table::Mtu) {
        let device = |device: &overlab_dataplane::route::Device| {
            let workload = device.workload.as_deref();
            json!({ "name": &*device.name, "mtu": device.mtu.bytes(), "addresses": device.addresses, "workload": workload })
        };
        node["devices"] = tables.devices.iter().map(device).collect();
    }
    if wants(Table::Routes) {
        let route = |route: &overlab_dataplane::route::Route| {
            json!({
                "destination": route.destination,
                "kind": route.kind.to_string(),
                "gateway": route.gateway,
                "device": route.device.and_then(device_name),
                "node": route.node.as_deref(),
                "sameSubnet": route.same_subnet,
                "owner": route.owner.to_string(),
                "onlink": route.onlink,
                "metric": route.metric,
                "mtu": route.mtu.map(Mtu::bytes),
            })
        };
        node["routes"] = tables.routes().map(route).collect();
    }
    if wants(Table::Vteps) {
        let vtep = |vtep: &overlab_dataplane::route::Vtep| {
            let mac = vtep.mac.to_string();
            json!({ "node": &*vtep.node, "address": vtep.address, "mac": mac, "nodeAddress": vtep.node_address })
        };
        node["vteps"] = tables
            .vxlan
            .iter()
            .flatten()
            .flat_map(|vxlan| vxlan.remotes())
            .map(vtep)
            .collect();
    }
    if wants(Table::Allow) {
        let vxlan = |family| tables.vxlan.get(family).as_ref().map(|t| allowed(&t.allowed));
        let ipip = tables.ipip.as_ref().map(|t| allowed(&t.allowed));
        node["allow"] = json!({ "ipip": ipip, "vxlan": vxlan(Family::V4), "vxlanV6": vxlan(Family::V6) });
    }
    node
}

/// Addresses and ranges that tunnel packets are let in from; single addresses stand without their prefix length.
fn allowed(list: &AllowList) -> Vec<String> {
    let text = |entry: IpNet| match entry.prefix_len() == entry.max_prefix_len() {
        true => entry.addr().to_string(),
        false => entry.to_string(),
    };
    list.entries().map(text).collect()
}
