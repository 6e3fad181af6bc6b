//! The rows of a node's tables, as `plan --json` prints them. What they mean is in docs/plan-json.md.
//!
//! It shapes values and decides nothing.

mod firewall;
mod table;

use std::net::IpAddr;

use ipnet::IpNet;
use overlab_dataplane::calico::{Assignment, ClusterState, IpPool, Selector};
use overlab_dataplane::route::{
    Absent, AllowList, Decision, Device, NatRules, NodeTables, Route, ServicePort, ServiceProtocol, Services, SubnetTest, Vtep,
    VxlanTunnel,
};
use overlab_dataplane::{Family, Mtu};
use serde_json::{Value, json};

pub use firewall::{acl, group, in_words};
pub use table::{Keys, Shape, Table};

use crate::scenario::knobs::KNOBS;
use crate::scenario::{Card, Gateway, Sources, Underlay};

/// The rows of a table that is no node's; none of others.
pub fn of_everybody(table: Table, wires: &[Underlay], cluster: &ClusterState, sources: &Sources) -> Vec<Value> {
    match table {
        Table::Underlays => underlays(wires),
        Table::Pools => pools(cluster, sources),
        Table::Blocks => blocks(cluster),
        Table::Services => services(cluster),
        Table::Devices | Table::Routes | Table::Vteps | Table::Allow | Table::Mtu | Table::Nat => Vec::new(),
    }
}

/// The rows of a node's table, which is one row where it is an object; none of others.
pub fn of_node(table: Table, tables: &NodeTables, sources: &Sources) -> Vec<Value> {
    match table {
        Table::Underlays | Table::Pools | Table::Blocks | Table::Services => Vec::new(),
        Table::Devices => devices(tables),
        Table::Routes => routes(tables, sources),
        Table::Vteps => vteps(tables),
        Table::Allow => vec![allow(tables)],
        Table::Mtu => vec![mtu(tables)],
        Table::Nat => nat(tables),
    }
}

/// The underlays: what each preset says of how it treats packets, and in what the scenario says otherwise.
pub fn underlays(underlays: &[Underlay]) -> Vec<Value> {
    underlays.iter().map(underlay).collect()
}

fn underlay(underlay: &Underlay) -> Value {
    let usual = underlay.preset.knobs();
    let knobs: serde_json::Map<String, Value> = KNOBS
        .iter()
        .map(|knob| (knob.name.to_owned(), knob.show(&underlay.knobs)))
        .collect();
    let changed = KNOBS.iter().filter(|knob| knob.show(&usual) != knob.show(&underlay.knobs));
    let subnet = |subnet: &crate::scenario::Subnet| {
        let cidrs: Vec<_> = subnet.cidr.iter().flatten().collect();
        json!({ "name": &*subnet.name, "cidrs": cidrs, "mtu": subnet.mtu.bytes(), "acl": subnet.acl.as_ref().map(acl) })
    };
    let groups = underlay.security_groups.iter().map(|(name, rules)| group(name, rules));
    json!({
        "name": &*underlay.name,
        "preset": underlay.preset.name(),
        "cidrs": underlay.cidr.iter().flatten().collect::<Vec<_>>(),
        "subnets": underlay.subnets.iter().map(subnet).collect::<Vec<_>>(),
        "securityGroups": groups.collect::<Vec<_>>(),
        "knobs": knobs,
        "changed": changed.map(|knob| knob.name).collect::<Vec<_>>(),
    })
}

/// A network card of a machine: what it is wired to, and what the network asks of its packets.
pub fn card(card: &Card, underlays: &[Underlay]) -> Value {
    let underlay = &underlays[card.underlay];
    json!({
        "name": &*card.name,
        "subnet": format!("{}/{}", underlay.name, underlay.subnets[card.subnet].name),
        "checked": card.source_destination_check,
        "groups": card.groups.iter().map(|group| &**group).collect::<Vec<_>>(),
    })
}

/// What joins the underlays.
pub fn gateways(gateways: &[Gateway], underlays: &[Underlay]) -> Vec<Value> {
    let row = |gateway: &Gateway| {
        let knobs = &gateway.knobs;
        json!({
            "name": &*gateway.name,
            "kind": gateway.kind.name(),
            "joins": gateway.joins.iter().map(|place| &*underlays[*place].name).collect::<Vec<_>>(),
            "mtu": knobs.mtu.map(Mtu::bytes),
            "delay": crate::scenario::knobs::time(gateway.delay),
            "protocols": crate::scenario::knobs::all_or(&knobs.protocols),
            "fragments": knobs.splits,
            "sendsTooBig": knobs.tells_size,
            "decrementsTtl": knobs.decrements_ttl,
        })
    };
    gateways.iter().map(row).collect()
}

/// The pools of a cluster, with Calico's own keys and where each is declared.
pub fn pools(cluster: &ClusterState, sources: &Sources) -> Vec<Value> {
    cluster.pools().values().map(|pool| self::pool(pool, sources)).collect()
}

fn pool(pool: &IpPool, sources: &Sources) -> Value {
    let uses = [
        ("Workload", pool.allowed_uses.workload),
        ("Tunnel", pool.allowed_uses.tunnel),
        ("LoadBalancer", pool.allowed_uses.load_balancer),
    ];
    json!({
        "name": &*pool.name,
        "cidr": pool.cidr,
        "ipipMode": pool.ipip.to_string(),
        "vxlanMode": pool.vxlan.to_string(),
        "natOutgoing": pool.nat_outgoing,
        "disabled": pool.disabled,
        "disableBGPExport": pool.disable_bgp_export,
        "blockSize": pool.block_size,
        "nodeSelector": pool.node_selector.to_string(),
        "namespaceSelector": pool.namespace_selector.as_ref().map(Selector::to_string),
        "allowedUses": uses.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect::<Vec<_>>(),
        "assignmentMode": match pool.assignment {
            Assignment::Automatic => "Automatic",
            Assignment::Manual => "Manual",
        },
        "declaredAt": sources.place(&pool.at).map(|place| place.to_string()),
    })
}

/// The blocks of a cluster, each with the node that it is affine to.
pub fn blocks(cluster: &ClusterState) -> Vec<Value> {
    let blocks = cluster.blocks().values();
    blocks
        .map(|block| json!({ "cidr": block.cidr, "node": block.affinity.as_deref() }))
        .collect()
}

/// The ports of services by their cluster IPs, each with where its connections go.
pub fn services(cluster: &ClusterState) -> Vec<Value> {
    let row = |(address, protocol, port, service): (IpAddr, ServiceProtocol, u16, &ServicePort)| {
        json!({
            "service": &*service.service,
            "address": address,
            "protocol": protocol.to_string(),
            "port": port,
            "endpoints": service.endpoints,
            "byClient": service.by_client,
        })
    };
    Services::of(cluster).iter().map(row).collect()
}

/// A node's devices.
pub fn devices(tables: &NodeTables) -> Vec<Value> {
    tables.devices.iter().map(|device| self::device(device, tables)).collect()
}

fn device(device: &Device, tables: &NodeTables) -> Value {
    let parent = device.parent.and_then(|id| tables.device(id)).map(|card| &*card.name);
    json!({
        "name": &*device.name,
        "mtu": device.mtu.bytes(),
        "addresses": device.addresses,
        "workload": device.workload.as_deref(),
        "parent": parent,
    })
}

/// A node's routes in the order of their prefixes, then the destinations that have none.
pub fn routes(tables: &NodeTables, sources: &Sources) -> Vec<Value> {
    let present = tables.routes().map(|route| self::route(route, tables, sources));
    present.chain(tables.absent().map(|gone| absent(gone, sources))).collect()
}

fn route(route: &Route, tables: &NodeTables, sources: &Sources) -> Value {
    let device = route.device.and_then(|id| tables.device(id)).map(|device| &*device.name);
    json!({
        "destination": route.destination,
        "kind": route.kind.to_string(),
        "gateway": route.gateway,
        "device": device,
        "node": route.node.as_deref(),
        "sameSubnet": route.same_subnet,
        "owner": route.owner.to_string(),
        "protocol": route.protocol.0,
        "onlink": route.onlink,
        "metric": route.metric,
        "mtu": route.mtu.map(Mtu::bytes),
        "decision": route.decision.as_deref().map(|decision| self::decision(decision, tables, sources)),
    })
}

fn absent(absent: &Absent, sources: &Sources) -> Value {
    json!({
        "destination": absent.destination,
        "kind": "none",
        "node": &*absent.node,
        "reason": absent.reason.meaning(),
        "declaredAt": sources.place(&absent.at).map(|place| place.to_string()),
    })
}

fn decision(decision: &Decision, tables: &NodeTables, sources: &Sources) -> Value {
    let pool = decision.pool.as_ref();
    json!({
        "pool": pool.map(|(name, _)| &**name),
        "encapsulation": decision.encapsulation.to_string(),
        "mode": decision.mode.to_string(),
        "declaredAt": pool.and_then(|(_, field)| sources.place(field)).map(|place| place.to_string()),
        "subnetTest": decision.subnet_test.as_ref().map(|test| subnet_test(test, tables)),
    })
}

fn subnet_test(test: &SubnetTest, tables: &NodeTables) -> Value {
    let (remote, remote_address, _) = &test.remote;
    let record = remote_address.and_then(|address| tables.recorded.get(Family::of(address)).as_ref());
    json!({
        "local": { "node": &*tables.node, "address": record.map(|record| record.net) },
        "remote": { "node": &**remote, "address": remote_address },
        "nextHop": test.of_next_hop,
        "same": test.same,
    })
}

/// The tunnel ends of other nodes: a neighbour entry and an FDB entry each.
pub fn vteps(tables: &NodeTables) -> Vec<Value> {
    let tunnels = tables.vxlan.iter().flatten();
    tunnels
        .flat_map(|tunnel| tunnel.remotes().map(move |end| vtep(end, tunnel, tables)))
        .collect()
}

fn vtep(end: &Vtep, tunnel: &VxlanTunnel, tables: &NodeTables) -> Value {
    json!({
        "node": &*end.node,
        "address": end.address,
        "mac": end.mac.to_string(),
        "nodeAddress": end.node_address,
        "family": Family::of(end.address).to_string(),
        "device": tables.device(tunnel.device).map(|device| &*device.name),
    })
}

/// Who may send a node tunnel packets; null for an encapsulation that is off.
pub fn allow(tables: &NodeTables) -> Value {
    let vxlan = |family| tables.vxlan_allowed.get(family).as_ref().map(allowed);
    json!({
        "ipip": tables.ipip.as_ref().map(|tunnel| allowed(&tunnel.allowed)),
        "vxlan": vxlan(Family::V4),
        "vxlanV6": vxlan(Family::V6),
    })
}

/// Addresses and ranges; single addresses stand without their prefix length.
fn allowed(list: &AllowList) -> Vec<String> {
    let text = |entry: IpNet| match entry.prefix_len() == entry.max_prefix_len() {
        true => entry.addr().to_string(),
        false => entry.to_string(),
    };
    list.entries().map(text).collect()
}

/// A node's MTUs, and those of its devices.
pub fn mtu(tables: &NodeTables) -> Value {
    let mtus = &tables.mtus;
    let device = |device: &Device| json!({ "name": &*device.name, "mtu": device.mtu.bytes() });
    json!({
        "host": mtus.host.bytes(),
        "ipip": mtus.ipip.bytes(),
        "vxlan": mtus.vxlan.bytes(),
        "vxlanV6": mtus.vxlan_v6.bytes(),
        "workload": mtus.workload.bytes(),
        "devices": tables.devices.iter().map(device).collect::<Vec<_>>(),
    })
}

/// What a node translates, one row a family.
pub fn nat(tables: &NodeTables) -> Vec<Value> {
    Family::ALL
        .into_iter()
        .map(|family| nat_of(family, tables.nat.get(family)))
        .collect()
}

fn nat_of(family: Family, rules: &NatRules) -> Value {
    json!({
        "family": family.to_string(),
        "masquerade": &rules.masquerade[..],
        "pools": &rules.pools[..],
        "exempt": rules.exempt.as_deref(),
        "address": rules.address,
        "ports": rules.ports,
        "interface": rules.interface.as_deref(),
        "tunnelPorts": rules.tunnel_ports,
    })
}
