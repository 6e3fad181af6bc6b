//! Guesses at the wires: which underlay, which subnets, which machine is where.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use overlab_dataplane::route::Kernel;
use overlab_dataplane::{Family, PerFamily};
use serde_json::Value;

use super::objects::{Objects, text};
use crate::fabric::Preset;

/// The shortest prefix of an underlay on premises.
const WIDEST: u8 = 8;

/// The prefix length of a subnet that nobody tells, by family.
const USUAL: PerFamily<u8> = PerFamily { v4: 24, v6: 64 };

/// What is guessed of the wires.
pub(super) struct Wires {
    /// The preset, and what it was guessed from.
    pub(super) preset: (Preset, String),
    /// The underlay's ranges.
    pub(super) cidr: PerFamily<Option<IpNet>>,
    /// Subnets, by name.
    pub(super) subnets: BTreeMap<String, Subnet>,
    /// Nodes, by name.
    pub(super) nodes: BTreeMap<String, Node>,
}

/// A guessed subnet.
pub(super) struct Subnet {
    pub(super) cidr: PerFamily<Option<IpNet>>,
    /// What it was guessed from.
    pub(super) from: String,
}

/// A node as it is wired.
pub(super) struct Node {
    pub(super) subnet: String,
    pub(super) address: PerFamily<Option<IpAddr>>,
    /// Whether an address is the one that Calico recorded, and the InternalIP another card's.
    pub(super) as_recorded: bool,
    /// Its kernel, where that spoils packets.
    pub(super) kernel: Option<Kernel>,
}

/// What dumps tell of a node.
struct Told {
    name: String,
    address: PerFamily<Option<IpAddr>>,
    /// Calico's record.
    recorded: PerFamily<Option<IpNet>>,
    /// Whether an address is Calico's record, and not the InternalIP.
    as_recorded: bool,
    kernel: Option<Kernel>,
    zone: String,
}

/// The wires that a cluster seems to have; none if no node has an address.
pub(super) fn guess(objects: &Objects, notes: &mut Vec<String>) -> Option<Wires> {
    let mut told: Vec<Told> = objects
        .of_kind("Node")
        .map(|(name, node)| told(name, node, objects))
        .collect();
    let family = Family::ALL
        .into_iter()
        .find(|family| told.iter().any(|node| node.address.get(*family).is_some()))?;
    let other = if family == Family::V4 { Family::V6 } else { Family::V4 };
    Family::ALL
        .into_iter()
        .for_each(|family| put_records_on_cards(family, &mut told, notes));
    let mut nodes: BTreeMap<IpNet, Vec<Told>> = BTreeMap::new();
    for (node, net) in subnets_of(family, told, notes) {
        nodes.entry(net).or_default().push(node);
    }
    let all = || {
        nodes
            .iter()
            .flat_map(|(net, nodes)| nodes.iter().map(move |node| (net, node)))
    };
    let cidr = PerFamily::from_fn(|of| if of == family { around(nodes.keys().copied()) } else { None });
    let mut wires = Wires {
        preset: preset(objects, cidr.get(family).as_ref()),
        cidr,
        subnets: BTreeMap::new(),
        nodes: BTreeMap::new(),
    };
    let mut names: BTreeMap<IpNet, String> = BTreeMap::new();
    for (number, (net, nodes)) in (1..).zip(&nodes) {
        let mut cidr = PerFamily::default();
        *cidr.get_mut(family) = Some(*net);
        *cidr.get_mut(other) = shared(other, nodes);
        let zones: BTreeSet<&str> = nodes.iter().map(|node| &*node.zone).filter(|zone| !zone.is_empty()).collect();
        let zones: Vec<_> = zones.into_iter().collect();
        let from = match zones.is_empty() {
            true => "from addresses and recorded masks".to_owned(),
            false => format!("from addresses and recorded masks, in zone {}", zones.join(", ")),
        };
        let name = format!("subnet-{number}");
        names.insert(*net, name.clone());
        wires.subnets.insert(name, Subnet { cidr, from });
    }
    *wires.cidr.get_mut(other) = around(wires.subnets.values().filter_map(|subnet| *subnet.cidr.get(other)));
    for (net, node) in all() {
        let subnet = names[net].clone();
        let has_other = wires.subnets[&subnet].cidr.get(other).is_some();
        let mut address = node.address;
        if !has_other {
            *address.get_mut(other) = None;
        }
        let (as_recorded, kernel) = (node.as_recorded, node.kernel);
        wires.nodes.insert(
            node.name.clone(),
            Node {
                subnet,
                address,
                as_recorded,
                kernel,
            },
        );
    }
    Some(wires)
}

fn told(name: &str, node: &Value, objects: &Objects) -> Told {
    let kubernetes = objects.kubernetes_nodes.get(name);
    let recorded = PerFamily {
        v4: record(node, "/spec/bgp/ipv4Address", "projectcalico.org/IPv4Address"),
        v6: record(node, "/spec/bgp/ipv6Address", "projectcalico.org/IPv6Address"),
    };
    let lists = [
        kubernetes.and_then(|node| node.pointer("/status/addresses")),
        node.pointer("/spec/addresses"),
    ];
    let internal: Vec<IpAddr> = lists
        .into_iter()
        .flatten()
        .flat_map(|list| list.as_array().into_iter().flatten())
        .filter(|entry| text(entry, "/type") == "InternalIP")
        .filter_map(|entry| text(entry, "/address").split('/').next()?.parse().ok())
        .collect();
    let kernel = kubernetes.and_then(|node| Kernel::read(text(node, "/status/nodeInfo/kernelVersion")));
    let zone = kubernetes.and_then(|node| node.pointer("/metadata/labels/topology.kubernetes.io~1zone"));
    Told {
        name: name.to_owned(),
        address: PerFamily::from_fn(|family| {
            let internal = internal.iter().copied().find(|address| Family::of(*address) == family);
            internal.or(recorded.get(family).map(|net: IpNet| net.addr()))
        }),
        recorded,
        as_recorded: false,
        kernel: kernel.filter(|kernel| kernel.spoils_translated_vxlan()),
        zone: zone.and_then(Value::as_str).unwrap_or_default().to_owned(),
    }
}

fn record(node: &Value, pointer: &str, annotation: &str) -> Option<IpNet> {
    let annotations = node.pointer("/metadata/annotations");
    let annotated = annotations.and_then(|all| all.get(annotation)).and_then(Value::as_str);
    let written = annotated.unwrap_or(text(node, pointer));
    written
        .parse()
        .ok()
        .or_else(|| written.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Where Calico recorded another address than the InternalIP the machine has two cards, and the record's is the one that carries what
/// pods send. A record that can be no card's is a wrong belief, and stays one.
fn put_records_on_cards(family: Family, told: &mut [Told], notes: &mut Vec<String>) {
    // Bridges of containers and virtual machines have the first address of a range.
    let is_bridge = |record: IpNet| record.hosts().next() == Some(record.addr());
    let is_card = |internal: IpAddr, record: IpNet| {
        widths(family).contains(&record.prefix_len()) && !record.contains(&internal) && !is_bridge(record)
    };
    let wired = |node: &Told| {
        let internal = (*node.address.get(family))?;
        let record = node.recorded.get(family).filter(|record| is_card(internal, *record));
        Some(record.unwrap_or(IpNet::from(internal)).trunc())
    };
    let is_one_network = around(told.iter().filter_map(wired)).is_none_or(|net| net.prefix_len() >= WIDEST);
    let (mut cards, mut wrong) = (Vec::new(), Vec::new());
    for node in told {
        let (Some(internal), Some(record)) = (*node.address.get(family), *node.recorded.get(family)) else {
            continue;
        };
        if record.addr() == internal {
            continue;
        }
        let differ = format!(
            "node {}: Calico recorded {record}, and the InternalIP is {internal}",
            node.name
        );
        if is_one_network && is_card(internal, record) {
            *node.address.get_mut(family) = Some(record.addr());
            node.as_recorded = true;
            cards.push(differ);
        } else {
            wrong.push(differ);
        }
    }
    let taken = "eth0 has the recorded one, since pods' packets go there";
    let left = "eth0 has the InternalIP, since the record is no other card's";
    for (nodes, what) in [(cards, taken), (wrong, left)] {
        let others = match nodes.len() {
            0 | 1 => String::new(),
            count => format!(" (so on {count} nodes)"),
        };
        notes.extend(nodes.first().map(|first| format!("{first}; {what}{others}")));
    }
}

/// Each node with the subnet that it is probably on: the recorded one if a subnet can be that wide, else the usual one around
/// its address. Where one holds another they are taken for one.
fn subnets_of(family: Family, told: Vec<Told>, notes: &mut Vec<String>) -> Vec<(Told, IpNet)> {
    let mut placed = Vec::new();
    for node in told {
        match *node.address.get(family) {
            Some(address) => {
                let net = subnet(address, *node.recorded.get(family));
                placed.push((node, net));
            }
            None => notes.push(format!("node {} is left out: no address of it is known", node.name)),
        }
    }
    let nets: BTreeSet<IpNet> = placed.iter().map(|(_, net)| *net).collect();
    let widest = |net: IpNet| {
        nets.iter()
            .filter(|wide| wide.contains(&net))
            .min_by_key(|wide| wide.prefix_len())
            .copied()
    };
    placed
        .into_iter()
        .map(|(node, net)| (node, widest(net).unwrap_or(net)))
        .collect()
}

/// The prefix lengths that a subnet may have.
fn widths(family: Family) -> RangeInclusive<u8> {
    if family == Family::V4 { 16..=28 } else { 48..=64 }
}

fn subnet(address: IpAddr, recorded: Option<IpNet>) -> IpNet {
    let family = Family::of(address);
    let widths = widths(family);
    let recorded = recorded.filter(|net| net.contains(&address) && widths.contains(&net.prefix_len()));
    let mut prefix = recorded.map_or(*USUAL.get(family), |net| net.prefix_len());
    let net = |prefix| IpNet::new(address, prefix).map_or(IpNet::from(address), |net: IpNet| net.trunc());
    // The first addresses of a subnet and its last one are nobody's in most clouds.
    let taken =
        |net: IpNet| net.hosts().take(3).any(|first| first == address) || net.broadcast() == address || net.network() == address;
    while prefix > *widths.start() && taken(net(prefix)) {
        prefix -= 1;
    }
    net(prefix)
}

/// The subnet of the other family that all nodes of one subnet share, if each has an address in it.
fn shared(family: Family, nodes: &[Told]) -> Option<IpNet> {
    let addresses: Option<Vec<IpAddr>> = nodes.iter().map(|node| *node.address.get(family)).collect();
    let first = nodes.first()?;
    let net = subnet((*first.address.get(family))?, *first.recorded.get(family));
    addresses?.iter().all(|address| net.contains(address)).then_some(net)
}

/// The narrowest range around some others.
fn around(nets: impl Iterator<Item = IpNet>) -> Option<IpNet> {
    let wider = |net: IpNet, other: IpNet| {
        let mut net = net;
        while !net.contains(&other) {
            net = net.supernet().unwrap_or(net);
            if net.prefix_len() == 0 {
                break;
            }
        }
        net
    };
    let around = nets.reduce(wider)?;
    let widest = if around.addr().is_ipv4() { 16 } else { 48 };
    IpNet::new(around.addr(), around.prefix_len().min(widest))
        .ok()
        .map(|net| net.trunc())
}

/// The preset that most nodes' provider names.
fn preset(objects: &Objects, cidr: Option<&IpNet>) -> (Preset, String) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for node in objects.kubernetes_nodes.values() {
        let provider = text(node, "/spec/providerID")
            .split_once(':')
            .map_or("", |(provider, _)| provider);
        *counts.entry(provider).or_default() += 1;
    }
    let most = counts
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map_or("", |(provider, _)| provider);
    let named = Preset::ALL
        .iter()
        .find(|(_, preset)| preset.knobs().provider_id == Some(most));
    match (named, cidr) {
        (Some((_, preset)), Some(cidr)) if cidr.prefix_len() < preset.knobs().prefix_lengths.0 => (
            Preset::Onprem,
            format!("providerID {most}:, but the nodes' addresses lie too far apart for one network"),
        ),
        (Some((_, preset)), _) => (*preset, format!("providerID {most}:")),
        (None, _) => (Preset::Onprem, "no providerID of a cloud".to_owned()),
    }
}
