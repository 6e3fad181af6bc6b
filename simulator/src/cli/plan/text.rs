//! A plan for people: pools and blocks, then each node as `ip route`, `ip neigh` and `bridge fdb` would print it.

use std::io::{self, Write};

use overlab_dataplane::Family;
use overlab_dataplane::calico::IpPool;
use overlab_dataplane::route::{DeviceKind, NatRules, NodeTables};

use serde_json::Value;

use super::{Args, Plan, Table};
use crate::rows;
use crate::scenario::knobs::KNOBS;
use crate::scenario::{Card, Underlay};

/// Prints what was asked for.
pub(super) fn print(args: &Args, plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    let cluster = &plan.cluster;
    if args.table.is_none() {
        writeln!(out, "profile {}", cluster.profile())?;
        if args.at.is_some() {
            writeln!(out, "at      {}", plan.at)?;
        }
        for note in &plan.notes {
            writeln!(out, "note    {note}")?;
        }
    }
    if args.wants(Table::Underlays) && args.node.is_none() {
        for underlay in &plan.underlays {
            print_underlay(underlay, out)?;
        }
        for gateway in rows::gateways(&plan.gateways, &plan.underlays) {
            print_gateway(&gateway, out)?;
        }
    }
    if args.wants(Table::Pools) && args.node.is_none() {
        for pool in cluster.pools().values() {
            print_pool(pool, out)?;
        }
    }
    if args.wants(Table::Blocks) && args.node.is_none() {
        for block in cluster.blocks().values() {
            let node = block.affinity.as_deref().unwrap_or("(nobody's)");
            writeln!(out, "block   {} {node}", block.cidr)?;
        }
    }
    if args.wants(Table::Services) && args.node.is_none() {
        for service in rows::services(cluster) {
            print_service(&service, out)?;
        }
    }
    if args.table.is_none() {
        for change in &plan.changes {
            writeln!(out, "change  {} {}  {}", change.at, change.node, change.cause)?;
        }
    }
    for tables in plan.tables.iter().filter(|_| args.needs_nodes()) {
        writeln!(out, "\n{}", tables.node)?;
        let cards = plan.cards.get(&tables.node).filter(|_| args.table.is_none());
        match cards.map(Vec::as_slice) {
            Some([only]) if !only.groups.is_empty() => writeln!(out, "  groups  {}", only.groups.join(", "))?,
            Some([] | [_]) | None => {}
            Some(cards) => cards.iter().try_for_each(|card| print_card(card, &plan.underlays, out))?,
        }
        if let Some(kernel) = plan.kernels.get(&tables.node).filter(|_| args.table.is_none()) {
            let spoils = match tables.spoils_translated_vxlan {
                true => ", which spoils the checksums of VXLAN packets that it translates",
                false => "",
            };
            writeln!(out, "  kernel  {kernel}{spoils}")?;
        }
        print_node(args, tables, out)?;
    }
    Ok(())
}

fn print_service(service: &Value, out: &mut dyn Write) -> io::Result<()> {
    let text = |key: &str| service[key].as_str().unwrap_or_default();
    let endpoints: Vec<_> = service["endpoints"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let endpoints = match endpoints.is_empty() {
        true => "nobody".to_owned(),
        false => endpoints.join(", "),
    };
    let by_client = if service["byClient"] == true { "  by client" } else { "" };
    writeln!(
        out,
        "service {} {} {} port {}  to {endpoints}{by_client}",
        text("service"),
        text("protocol"),
        text("address"),
        service["port"]
    )
}

/// One of a machine's cards, where there are several: what its wires are and do.
fn print_card(card: &Card, underlays: &[Underlay], out: &mut dyn Write) -> io::Result<()> {
    let row = rows::card(card, underlays);
    let check = if card.source_destination_check {
        "checked"
    } else {
        "unchecked"
    };
    let groups = match card.groups.is_empty() {
        true => String::new(),
        false => format!("  groups {}", card.groups.join(", ")),
    };
    let subnet = row["subnet"].as_str().unwrap_or_default();
    writeln!(out, "  card    {} {subnet}  {check}{groups}", card.name)
}

/// An underlay with every knob; those that differ from the preset's say so.
fn print_underlay(underlay: &Underlay, out: &mut dyn Write) -> io::Result<()> {
    let cidrs: Vec<_> = underlay.cidr.iter().flatten().map(ToString::to_string).collect();
    writeln!(
        out,
        "wires   {} {}  {}",
        underlay.name,
        underlay.preset.name(),
        cidrs.join(" ")
    )?;
    let usual = underlay.preset.knobs();
    for knob in KNOBS {
        let (value, preset) = (knob.show(&underlay.knobs), knob.show(&usual));
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let changed = match value == preset {
            true => String::new(),
            false => format!("  (preset: {})", text(&preset)),
        };
        writeln!(out, "  knob    {}: {}{changed}", knob.name, text(&value))?;
    }
    let mut rules = |what: &str, name: &str, of: &Value| {
        let (ingress, egress) = (rows::in_words(&of["ingress"]), rows::in_words(&of["egress"]));
        writeln!(out, "  {what:<7} {name}  in: {ingress}  out: {egress}")
    };
    for (name, group) in &underlay.security_groups {
        rules("group", name, &rows::group(name, group))?;
    }
    for subnet in &underlay.subnets {
        if let Some(acl) = &subnet.acl {
            rules("acl", &subnet.name, &rows::acl(acl))?;
        }
    }
    Ok(())
}

fn print_gateway(gateway: &Value, out: &mut dyn Write) -> io::Result<()> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let of = |key: &str| gateway.get(key).map(&text).unwrap_or_default();
    writeln!(out, "gateway {} {}  {}", of("name"), of("kind"), of("joins"))?;
    for key in ["mtu", "delay", "protocols", "fragments", "sendsTooBig", "decrementsTtl"] {
        writeln!(out, "  knob    {key}: {}", of(key))?;
    }
    Ok(())
}

fn print_pool(pool: &IpPool, out: &mut dyn Write) -> io::Result<()> {
    let nat = if pool.nat_outgoing { "  natOutgoing" } else { "" };
    let disabled = if pool.disabled { "  disabled" } else { "" };
    let (name, cidr, block) = (&pool.name, pool.cidr, pool.block_size);
    let (ipip, vxlan) = (pool.ipip, pool.vxlan);
    writeln!(
        out,
        "pool    {name} {cidr}  ipip {ipip}  vxlan {vxlan}  blocks /{block}{nat}{disabled}"
    )
}

fn print_node(args: &Args, tables: &NodeTables, out: &mut dyn Write) -> io::Result<()> {
    if args.wants(Table::Devices) || args.wants(Table::Mtu) {
        print_devices(tables, out)?;
    }
    if args.wants(Table::Routes) {
        print_routes(tables, out)?;
    }
    if args.wants(Table::Vteps) {
        print_vteps(tables, out)?;
    }
    if args.wants(Table::Allow) {
        print_allow(tables, out)?;
    }
    if args.wants(Table::Nat) {
        for family in Family::ALL {
            print_nat(family, tables.nat.get(family), out)?;
        }
    }
    Ok(())
}

fn print_devices(tables: &NodeTables, out: &mut dyn Write) -> io::Result<()> {
    let has_cards = tables.devices.iter().filter(|device| device.kind == DeviceKind::Nic).count() > 1;
    for device in &tables.devices {
        let addresses: Vec<_> = device.addresses.iter().map(ToString::to_string).collect();
        let workload = device
            .workload
            .as_ref()
            .map_or_else(String::new, |name| format!("  to {name}"));
        let parent = device.parent.filter(|_| has_cards).and_then(|id| tables.device(id));
        let parent = parent.map_or_else(String::new, |card| format!("  over {}", card.name));
        let (name, mtu) = (&device.name, device.mtu);
        writeln!(out, "  device  {name} mtu {mtu}  {}{workload}{parent}", addresses.join(" "))?;
    }
    Ok(())
}

fn print_routes(tables: &NodeTables, out: &mut dyn Write) -> io::Result<()> {
    for route in tables.routes() {
        let node = route.node.as_ref().map_or_else(String::new, |node| format!("  to {node}"));
        writeln!(out, "  route   {}  ({}){node}", tables.text(route), route.owner)?;
    }
    for absent in tables.absent() {
        let (destination, node) = (absent.destination, &absent.node);
        writeln!(out, "  none    {destination}  ({})  to {node}", absent.reason.meaning())?;
    }
    Ok(())
}

fn print_vteps(tables: &NodeTables, out: &mut dyn Write) -> io::Result<()> {
    for tunnel in tables.vxlan.iter().flatten() {
        let device = tables.device(tunnel.device).map_or("", |device| &device.name);
        for end in tunnel.remotes() {
            let (address, mac, node_address, node) = (end.address, end.mac, end.node_address, &end.node);
            writeln!(out, "  neigh   {address} dev {device} lladdr {mac} PERMANENT  to {node}")?;
            writeln!(out, "  fdb     {mac} dev {device} dst {node_address} self permanent")?;
        }
    }
    Ok(())
}

fn print_allow(tables: &NodeTables, out: &mut dyn Write) -> io::Result<()> {
    if let Some(tunnel) = &tables.ipip {
        writeln!(out, "  allow   ipip (proto 4) from {}", tunnel.allowed)?;
    }
    for (from, tunnel) in tables.vxlan_allowed.iter().zip(tables.vxlan.iter()) {
        let Some(from) = from else { continue };
        let vni = tunnel
            .as_ref()
            .map_or("no device".to_owned(), |tunnel| format!("vni {}", tunnel.vni));
        writeln!(out, "  allow   vxlan (udp {}, {vni}) from {from}", tables.vxlan_port)?;
    }
    Ok(())
}

fn print_nat(family: Family, rules: &NatRules, out: &mut dyn Write) -> io::Result<()> {
    let sources: Vec<_> = rules.masquerade.iter().map(ToString::to_string).collect();
    let Some(except) = rules.pools.iter().map(ToString::to_string).reduce(|a, b| format!("{a}, {b}")) else {
        return Ok(());
    };
    if sources.is_empty() {
        return Ok(());
    }
    let nodes = if rules.exempt.is_some() { " or a node" } else { "" };
    let to = rules
        .address
        .map_or_else(|| "masquerade".to_owned(), |address| format!("snat to {address}"));
    let ports = rules
        .ports
        .map_or_else(String::new, |(first, last)| format!(" ports {first}-{last}"));
    let device = rules
        .interface
        .as_ref()
        .map_or_else(String::new, |name| format!(" dev {name}"));
    let from = sources.join(", ");
    writeln!(
        out,
        "  nat     {family} from {from} not to {except}{nodes}{device}: {to}{ports}"
    )
}
