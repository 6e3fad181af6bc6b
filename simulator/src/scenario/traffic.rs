//! A traffic matrix: who sends how much to whom in a month. It is a document of its own, read against a scenario's names.
//!
//! ```yaml
//! apiVersion: overlab.dev/v1alpha1
//! kind: Traffic
//! metadata: {name: shop}
//! spec:
//!   flows:
//!     - {from: web-a1, to: web-b1, volume: 1TB}
//!     - {class: cross-subnet, volume: 200GB, proto: udp, size: 228B}
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use overlab_dataplane::Family;
use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, suggestion, text, word};
use serde_json::Value;

use super::diagnostic::Diagnostic;
use super::file;
use super::model::{Class, Endpoint, Machine, Model, Transport};
use super::quantity;
use super::resolve::CLASSES;

/// What is sent in a month, and which wires cost alike.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// `metadata.name`.
    pub name: String,
    /// The zones of subnets, by subnet name; a subnet that is not here is a zone of its own.
    pub zones: BTreeMap<String, String>,
    /// The regions of underlays, by name; those that are not here share one.
    pub regions: BTreeMap<String, String>,
    /// Who sends how much to whom.
    pub demands: Vec<Demand>,
}

/// A stream of packets from one to another, one way: what acknowledges it is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The sender.
    pub from: Endpoint,
    /// The receiver.
    pub to: Endpoint,
    /// The family that they speak.
    pub family: Family,
    /// TCP or UDP. TCP fits its segments into what both ends take, and has no options; UDP has too long datagrams split.
    pub transport: Transport,
    /// Bytes behind the transport's header, in a month.
    pub volume: u64,
    /// The IP length of its packets, as far as MTUs allow it; the largest that they allow if none.
    pub size: Option<u16>,
}

/// A month's volume of one flow stays below this.
const VOLUME_MAX: usize = 1_000_000_000_000_000_000;

/// The shortest packet that carries a byte: the longest header, and that byte.
const SIZE_MIN: usize = 61;

/// Reads a traffic matrix for a scenario.
///
/// # Errors
/// Everything that is wrong with it.
pub fn traffic(path: &Path, model: &Model) -> Result<Traffic, Vec<Diagnostic>> {
    let (sources, document) = file::open_other(path, "Traffic")?;
    let mut refusals = Vec::new();
    let at = FieldRef {
        origin: document.origin,
        ..FieldRef::default()
    };
    let mut root = Fields::new(&document.value, at, &mut refusals);
    root.ignore(&["apiVersion", "kind"]);
    let mut metadata = root.fields("metadata", &mut refusals);
    let name = metadata.require("name", &mut refusals, text).unwrap_or_default().to_owned();
    metadata.finish(&mut refusals);
    let mut spec = root.fields("spec", &mut refusals);
    let subnets = model.underlays.iter().flat_map(|underlay| &underlay.subnets);
    let subnets: Vec<&str> = subnets.map(|subnet| &*subnet.name).collect();
    let underlays: Vec<&str> = model.underlays.iter().map(|underlay| &*underlay.name).collect();
    let zones = places("subnet", spec.entries("zones", &mut refusals), &subnets, &mut refusals);
    let regions = places("underlay", spec.entries("regions", &mut refusals), &underlays, &mut refusals);
    let flows = spec.items("flows", &mut refusals);
    if flows.is_empty() && refusals.is_empty() {
        let refusal = Refusal::new("K-MISSING", spec.field("flows"), "nothing is sent");
        refusals.push(refusal.help("add `flows`, as `- {from: web-a, to: web-b, volume: 1TB}`"));
    }
    let mut demands = Vec::new();
    for (field, value) in flows {
        demands.extend(flow(Fields::new(value, field, &mut refusals), model, &mut refusals));
    }
    spec.finish(&mut refusals);
    root.finish(&mut refusals);
    if refusals.is_empty() {
        Ok(Traffic {
            name,
            zones,
            regions,
            demands,
        })
    } else {
        Err(sources.diagnostics(&refusals))
    }
}

/// Reads where subnets or underlays are, each by its name.
fn places(
    kind: &str,
    entries: Vec<(&str, FieldRef, &Value)>,
    known: &[&str],
    refusals: &mut Vec<Refusal>,
) -> BTreeMap<String, String> {
    let mut places = BTreeMap::new();
    for (name, field, value) in entries {
        if !known.contains(&name) {
            let refusal = Refusal::new("E-NAME", field.clone(), format!("no {kind} is called {name:?}")).at_key();
            refusals.push(match suggestion(name, known.iter().copied()) {
                Some(near) => refusal.help(format!("did you mean `{near}`?")),
                None => refusal.help(format!("there are {}", known.join(", "))),
            });
        }
        match text(value) {
            Ok(place) => drop(places.insert(name.to_owned(), place.to_owned())),
            Err(wrong) => refusals.push(wrong.at(field, value)),
        }
    }
    places
}

/// Reads one flow: of one pair, or spread evenly over the pairs of a class.
fn flow(mut fields: Fields<'_>, model: &Model, refusals: &mut Vec<Refusal>) -> Vec<Demand> {
    let before = refusals.len();
    let volume = fields.require("volume", refusals, |value| quantity::size(value, 1, VOLUME_MAX));
    let transport = fields.parse("proto", refusals, |value| {
        word(value, &[("tcp", Transport::Tcp), ("udp", Transport::Udp)])
    });
    let size = fields.parse("size", refusals, |value| {
        quantity::size(value, SIZE_MIN, usize::from(u16::MAX))
    });
    let family = fields.parse("family", refusals, |value| {
        word(value, &[("ipv4", Family::V4), ("ipv6", Family::V6)])
    });
    let class = fields.parse("class", refusals, |value| word(value, &CLASSES));
    let ends = match class {
        Some(class) => of_class(&fields, class, family, model, refusals),
        None => {
            let from = fields.require("from", refusals, |value| find(model, text(value)?));
            let to = fields.require("to", refusals, |value| find(model, text(value)?));
            let ends = from.zip(to);
            ends.into_iter().collect()
        }
    };
    let mut demands = Vec::new();
    let pairs = ends.len() as u64;
    let volume = volume.unwrap_or_default() as u64;
    for (place, (from, to)) in (0..).zip(ends) {
        let Some(family) = model.common_family(from, to, family) else {
            let (from, to) = (model.endpoint_name(from), model.endpoint_name(to));
            let message = format!("`{from}` and `{to}` have no addresses of one family");
            let refusal = Refusal::new("E-FAMILY", fields.at().clone(), message);
            refusals.push(refusal.help("name two that have, or another `family`"));
            continue;
        };
        demands.push(Demand {
            from,
            to,
            family,
            transport: transport.unwrap_or(Transport::Tcp),
            volume: volume / pairs + u64::from(place < volume % pairs),
            size: size.and_then(|size| u16::try_from(size).ok()),
        });
    }
    fields.finish(refusals);
    if refusals.len() > before { Vec::new() } else { demands }
}

/// The pairs of workloads that lie so, both ways.
fn of_class(
    fields: &Fields<'_>,
    class: Class,
    family: Option<Family>,
    model: &Model,
    refusals: &mut Vec<Refusal>,
) -> Vec<(Endpoint, Endpoint)> {
    let workloads = || (0..model.workloads.len()).map(Endpoint::Workload);
    let pairs = workloads().flat_map(|from| workloads().map(move |to| (from, to)));
    let lie_so = |(from, to): &(Endpoint, Endpoint)| {
        from != to && model.class(*from, *to) == class && model.common_family(*from, *to, family).is_some()
    };
    let pairs: Vec<_> = pairs.filter(lie_so).collect();
    if pairs.is_empty() {
        let refusal = Refusal::new("E-CLASS", fields.field("class"), "no two workloads lie so to each other");
        refusals.push(refusal.help("name another class, or a pair by `from` and `to`"));
    }
    pairs
}

fn find(model: &Model, name: &str) -> Result<Endpoint, Wrong> {
    let mut endpoints = model.endpoints();
    endpoints
        .find(|endpoint| model.endpoint_name(*endpoint) == name)
        .ok_or_else(|| {
            let wrong = Wrong::rule("E-ENDPOINT", format!("unknown workload, node or host {name:?}"));
            let names: Vec<&str> = model.endpoints().map(|endpoint| model.endpoint_name(endpoint)).collect();
            match suggestion(name, names) {
                Some(near) => wrong.help(format!("did you mean `{near}`?")),
                None => wrong.help("name a workload, a node or a host of the scenario"),
            }
        })
}

impl Model {
    /// Everybody who can send or be sent to.
    pub fn endpoints(&self) -> impl Iterator<Item = Endpoint> {
        let workloads = (0..self.workloads.len()).map(Endpoint::Workload);
        let nodes = (0..self.nodes.len()).map(Endpoint::Node);
        workloads.chain(nodes).chain((0..self.hosts.len()).map(Endpoint::Host))
    }

    /// The name of somebody.
    pub fn endpoint_name(&self, endpoint: Endpoint) -> &str {
        match endpoint {
            Endpoint::Workload(w) => &self.workloads[w].name,
            Endpoint::Node(n) => &self.nodes[n].name,
            Endpoint::Host(h) => &self.hosts[h].name,
        }
    }

    /// The place of the machine that somebody is, or runs on: a node's, or behind all of them a host's.
    pub fn machine_of(&self, endpoint: Endpoint) -> usize {
        match endpoint {
            Endpoint::Workload(w) => self.workloads[w].node,
            Endpoint::Node(n) => n,
            Endpoint::Host(h) => self.nodes.len() + h,
        }
    }

    /// A machine by that place.
    pub fn machine(&self, place: usize) -> &Machine {
        self.nodes.get(place).unwrap_or_else(|| &self.hosts[place - self.nodes.len()])
    }

    /// The address of somebody in a family.
    pub fn address(&self, endpoint: Endpoint, family: Family) -> Option<IpAddr> {
        match endpoint {
            Endpoint::Workload(w) => *self.workloads[w].addresses.get(family),
            Endpoint::Node(_) | Endpoint::Host(_) => self.machine(self.machine_of(endpoint)).address(family),
        }
    }

    /// A family that both have, IPv4 first, or this one if both have it.
    fn common_family(&self, a: Endpoint, b: Endpoint, wanted: Option<Family>) -> Option<Family> {
        let has = |family: &Family| self.address(a, *family).is_some() && self.address(b, *family).is_some();
        let wants = |family: &Family| wanted.is_none_or(|wanted| wanted == *family);
        [Family::V4, Family::V6].into_iter().filter(wants).find(has)
    }

    /// How two lie to each other, by the wires.
    fn class(&self, a: Endpoint, b: Endpoint) -> Class {
        let (a, b) = (self.machine(self.machine_of(a)), self.machine(self.machine_of(b)));
        if a.name == b.name {
            Class::SameNode
        } else if a.is_beside(b) {
            Class::SameSubnet
        } else {
            Class::CrossSubnet
        }
    }
}
