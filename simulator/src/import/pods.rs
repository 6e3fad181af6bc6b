//! Which pods become workloads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::Limits;
use super::objects::{Objects, text};
use super::wires::Wires;

/// A workload.
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) node: String,
    /// Its addresses; none for one that is made up.
    pub(super) addresses: Vec<IpAddr>,
}

/// How many pods are made up at most.
const MADE_UP: usize = 10;

/// The longest name of a workload.
const LONGEST: usize = 63;

/// The pods that become workloads: with an address in a pool, on a node that is wired, each once. Where there are no two of them,
/// others are made up, so that there is something to send between.
pub(super) fn choose(objects: &Objects, wires: &Wires, limits: Limits, notes: &mut Vec<String>) -> Vec<Pod> {
    let pools = pools(objects);
    let mut by_node: BTreeMap<String, BTreeMap<IpAddr, Pod>> = BTreeMap::new();
    for pod in objects.workloads.iter().filter_map(read) {
        let pooled = pools.is_empty()
            || pod
                .addresses
                .iter()
                .all(|address| pools.iter().any(|pool| pool.contains(address)));
        if let (true, true, Some(first)) = (pooled, wires.nodes.contains_key(&pod.node), pod.addresses.first()) {
            by_node.entry(pod.node.clone()).or_default().entry(*first).or_insert(pod);
        }
    }
    let all: usize = by_node.values().map(BTreeMap::len).sum();
    let few = by_node
        .into_values()
        .flat_map(|pods| pods.into_values().take(limits.pods_per_node));
    let mut chosen = spread(few.collect(), limits.pods);
    if chosen.len() < all {
        notes.push(format!(
            "{} of {all} pods are workloads: at most {} a node and {} in all (--max-pods-per-node, --max-pods)",
            chosen.len(),
            limits.pods_per_node,
            limits.pods
        ));
    }
    if chosen.len() < 2 && !pools.is_empty() {
        notes.push("the dumps hold no two pods that could be workloads: some are made up".to_owned());
        chosen.extend(made_up(wires, limits.pods.clamp(2, MADE_UP)));
    }
    let mut taken: BTreeSet<String> = wires.nodes.keys().cloned().collect();
    chosen.iter_mut().for_each(|pod| pod.name = free(&pod.name, &mut taken));
    chosen
}

/// So many pods on nodes all over the cluster; two of them where there is one node.
fn made_up(wires: &Wires, most: usize) -> Vec<Pod> {
    let on_each = if wires.nodes.len() == 1 { 2 } else { 1 };
    let pods = wires
        .nodes
        .keys()
        .flat_map(|node| std::iter::repeat_n(node, on_each))
        .map(|node| Pod {
            name: "probe".to_owned(),
            node: node.clone(),
            addresses: Vec::new(),
        });
    spread(pods.collect(), most)
}

/// At most so many of a list, evenly from all over it.
fn spread(pods: Vec<Pod>, most: usize) -> Vec<Pod> {
    let all = pods.len();
    let chosen = |place: &usize| all <= most || place * most / all != (place + 1) * most / all;
    (0..)
        .zip(pods)
        .filter(|(place, _)| chosen(place))
        .map(|(_, pod)| pod)
        .collect()
}

/// A pod that runs, with addresses of its own.
fn read(object: &Value) -> Option<Pod> {
    let of_kind = |pod: &str, endpoint: &str| match text(object, "/kind") {
        "Pod" => text(object, pod).to_owned(),
        _ => text(object, endpoint).to_owned(),
    };
    let host = object.pointer("/spec/hostNetwork").and_then(Value::as_bool).unwrap_or(false);
    if host || ["Succeeded", "Failed"].contains(&text(object, "/status/phase")) {
        return None;
    }
    let annotated = text(object, "/metadata/annotations/cni.projectcalico.org~1podIPs")
        .split(',')
        .map(str::to_owned);
    let listed = |pointer: &str, key: &str| {
        let list = object.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        list.map(|entry| entry.as_str().unwrap_or(text(entry, key)).to_owned())
            .collect::<Vec<_>>()
    };
    let status = listed("/status/podIPs", "/ip");
    let endpoint = listed("/spec/ipNetworks", "");
    let address = |text: String| text.split('/').next()?.parse().ok();
    let found = |texts: Vec<String>| texts.into_iter().filter_map(address).collect::<Vec<IpAddr>>();
    let lists = [
        status,
        annotated.collect(),
        vec![text(object, "/status/podIP").to_owned()],
        endpoint,
    ];
    let addresses = lists.into_iter().map(found).find(|list| !list.is_empty())?;
    Some(Pod {
        name: of_kind("/metadata/name", "/spec/pod"),
        node: of_kind("/spec/nodeName", "/spec/node"),
        addresses,
    })
}

/// The ranges of the pools that the dumps hold.
fn pools(objects: &Objects) -> Vec<IpNet> {
    let own = objects.of_kind("IPPool").map(|(_, pool)| text(pool, "/spec/cidr"));
    let installed = objects.of_kind("Installation").flat_map(|(_, installation)| {
        let list = installation.pointer("/spec/calicoNetwork/ipPools").and_then(Value::as_array);
        list.into_iter().flatten().map(|pool| text(pool, "/cidr"))
    });
    own.chain(installed).filter_map(|cidr| cidr.parse().ok()).collect()
}

/// The name itself, or one like it that is free and short enough.
fn free(name: &str, taken: &mut BTreeSet<String>) -> String {
    let short: String = name.chars().take(LONGEST - 6).collect();
    let numbered = (2..).map(|number| format!("{short}-{number}"));
    let wanted = Some(name.to_owned()).filter(|name| name.len() <= LONGEST);
    let name = wanted
        .into_iter()
        .chain(numbered)
        .find(|name| !taken.contains(name))
        .unwrap_or_default();
    taken.insert(name.clone());
    name
}
