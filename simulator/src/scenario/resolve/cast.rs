//! Who takes part: every machine and workload with its name, its address and the places that it gives names to.

use std::net::{IpAddr, Ipv4Addr};

use overlab_dataplane::calico::ClusterState;
use overlab_dataplane::fields::{Wrong, suggestion};
use overlab_dataplane::{Family, Instant, PerFamily};

use super::machines::Machines;
use super::underlay::Wires;
use super::workloads::Request;
use crate::expectations::Names;
use crate::fabric::eni;
use crate::scenario::model::{Card, Class, Endpoint, Gateway, Machine, Underlay, Workload, cards};

/// Devices that a node has besides its cards, as far as expectations may name them.
const TUNNELS: [&str; 3] = ["tunl0", "vxlan.calico", "vxlan-v6.calico"];

/// Everybody who takes part.
pub(super) struct Cast {
    pub(super) underlays: Vec<Underlay>,
    pub(super) gateways: Vec<Gateway>,
    pub(super) nodes: Vec<Machine>,
    pub(super) hosts: Vec<Machine>,
    pub(super) workloads: Vec<Workload>,
    /// The place of every workload's node through the run; none while it is not there.
    homes: Vec<(Instant, Vec<Option<usize>>)>,
    /// Whether nothing was refused so far: what is missing otherwise may have been refused for another reason.
    pub(super) sound: bool,
    places: Vec<String>,
}

impl Cast {
    /// Workloads take the addresses that the datastore gave them, now or later. Where it could not be built, they are only there to be named.
    pub(super) fn new(wires: Wires, machines: Machines, requests: Vec<Request>, clusters: &[(Instant, &ClusterState)]) -> Cast {
        let sound = !clusters.is_empty();
        let homes = clusters.iter().map(|(at, cluster)| {
            let home = |request: &Request| {
                let endpoint = cluster.endpoints().get(&request.request.name)?;
                machines.places.get(&endpoint.node).copied()
            };
            (*at, requests.iter().map(home).collect())
        });
        let homes = homes.collect();
        let workloads = requests
            .into_iter()
            .map(|Request { node, request, .. }| {
                let given = clusters
                    .iter()
                    .find_map(|(_, cluster)| cluster.endpoints().get(&request.name));
                let addresses = given.map_or(&request.addresses, |endpoint| &endpoint.addresses);
                let of = |family| addresses.iter().copied().find(|address| Family::of(*address) == family);
                Workload {
                    addresses: PerFamily::from_fn(of),
                    name: request.name.clone(),
                    node,
                    field: request.origin.clone(),
                }
            })
            .collect();
        let mut cast = Cast {
            underlays: wires.underlays,
            gateways: wires.gateways,
            nodes: machines.nodes,
            hosts: machines.hosts,
            workloads,
            homes,
            sound,
            places: Vec::new(),
        };
        cast.places = cast.all_places();
        cast
    }

    /// Adds places that are neither machines nor wires: faults take packets under their own names.
    pub(super) fn add_places<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        self.places.extend(names.map(str::to_owned));
    }

    fn all_places(&self) -> Vec<String> {
        let mut places: Vec<String> = self.workloads.iter().map(|w| w.name.to_string()).collect();
        for machine in self.nodes.iter().chain(&self.hosts) {
            places.push(machine.name.to_string());
            let cards = machine.cards.iter().enumerate();
            let cards = cards.flat_map(|(number, card)| [card.name.to_string(), eni(number)]);
            let devices = cards.chain(TUNNELS.map(str::to_owned));
            places.extend(devices.map(|device| format!("{}/{device}", machine.name)));
        }
        places.extend(self.gateways.iter().map(|gateway| gateway.name.to_string()));
        for underlay in &self.underlays {
            places.push(underlay.name.to_string());
            places.extend(
                underlay
                    .subnets
                    .iter()
                    .map(|subnet| format!("{}/{}", underlay.name, subnet.name)),
            );
        }
        places
    }

    /// Everybody who can send or be sent to.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = Endpoint> {
        let workloads = (0..self.workloads.len()).map(Endpoint::Workload);
        let nodes = (0..self.nodes.len()).map(Endpoint::Node);
        workloads.chain(nodes).chain((0..self.hosts.len()).map(Endpoint::Host))
    }

    pub(super) fn name(&self, endpoint: Endpoint) -> &str {
        match endpoint {
            Endpoint::Workload(w) => &self.workloads[w].name,
            Endpoint::Node(n) => &self.nodes[n].name,
            Endpoint::Host(h) => &self.hosts[h].name,
        }
    }

    fn addresses_of(&self, endpoint: Endpoint) -> PerFamily<Option<IpAddr>> {
        let machine = |machine: &Machine| PerFamily::from_fn(|family| machine.address(family));
        match endpoint {
            Endpoint::Workload(w) => self.workloads[w].addresses,
            Endpoint::Node(n) => machine(&self.nodes[n]),
            Endpoint::Host(h) => machine(&self.hosts[h]),
        }
    }

    pub(super) fn address_of(&self, endpoint: Endpoint, family: Family) -> Option<IpAddr> {
        *self.addresses_of(endpoint).get(family)
    }

    /// The family that two have in common, IPv4 first.
    fn common_family(&self, a: Endpoint, b: Endpoint) -> Option<Family> {
        let has = |family| self.address_of(a, family).is_some() && self.address_of(b, family).is_some();
        [Family::V4, Family::V6].into_iter().find(|family| has(*family))
    }

    /// The address that one sends to the other, of the family that is asked for or of the first that both have.
    pub(super) fn meeting(&self, from: Endpoint, to: Endpoint, family: Option<Family>) -> Result<IpAddr, Wrong> {
        let common = match family {
            Some(family) => self.address_of(from, family).and(Some(family)),
            None => self.common_family(from, to),
        };
        match common.and_then(|family| self.address_of(to, family)) {
            Some(address) => Ok(address),
            // What is missing was refused for another reason.
            None if !self.sound => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            None => {
                let family = family.map_or_else(|| "address family".to_owned(), |family| format!("{family} addresses"));
                let (from, to) = (self.name(from), self.name(to));
                Err(
                    Wrong::rule("E-FAMILY", format!("`{from}` and `{to}` have no {family} in common"))
                        .why("a packet has addresses of one family")
                        .help("give both an IPv4 pool and subnet, or both an IPv6 one"),
                )
            }
        }
    }

    /// The machine that somebody is, or runs on.
    pub(super) fn machine(&self, endpoint: Endpoint) -> &Machine {
        match endpoint {
            Endpoint::Workload(w) => &self.nodes[self.workloads[w].node],
            Endpoint::Node(n) => &self.nodes[n],
            Endpoint::Host(h) => &self.hosts[h],
        }
    }

    /// Who has a name.
    pub(super) fn find(&self, name: &str) -> Result<Endpoint, Wrong> {
        self.endpoints().find(|endpoint| self.name(*endpoint) == name).ok_or_else(|| {
            let wrong = Wrong::rule("E-ENDPOINT", format!("unknown workload, node or host {name:?}"))
                .why("packets go between workloads, nodes and hosts of the scenario");
            match suggestion(name, self.names()) {
                Some(near) => wrong.help(format!("did you mean `{near}`?")),
                None => wrong.help("name a workload, a node or a host of the scenario"),
            }
        })
    }

    /// Who has an address, or is known to the internet by it.
    pub(super) fn owner(&self, address: IpAddr) -> Option<Endpoint> {
        let is_known = |card: &Card| card.has(address) || card.public_address.map(IpAddr::V4) == Some(address);
        let has = |endpoint: &Endpoint| match endpoint {
            Endpoint::Workload(_) => self.address_of(*endpoint, Family::of(address)) == Some(address),
            Endpoint::Node(_) | Endpoint::Host(_) => self.machine(*endpoint).cards.iter().any(is_known),
        };
        self.endpoints().find(has)
    }

    /// The machine that somebody is, or runs on at an instant; none if there is no such workload then.
    fn machine_at(&self, endpoint: Endpoint, at: Instant) -> Option<&Machine> {
        let then = self.homes.iter().rev().find(|(since, _)| *since <= at);
        match (endpoint, then) {
            (Endpoint::Workload(workload), Some((_, homes))) => self.nodes.get((*homes.get(workload)?)?),
            _ => Some(self.machine(endpoint)),
        }
    }

    /// Whether of the two directions between machines this one comes second. In the scenario's order, nodes before hosts, that is what
    /// the later of two neighbours sends, what the earlier of two sends that have one between them, and so on by turns. So each of three
    /// machines or more is sent to once on a way that nothing has opened, and so is each of two groups with three members together.
    pub(super) fn comes_second(&self, from: Endpoint, to: Endpoint, at: Instant) -> bool {
        let place = |endpoint| {
            let name = &self.machine_at(endpoint, at)?.name;
            self.nodes.iter().chain(&self.hosts).position(|machine| machine.name == *name)
        };
        match (place(from), place(to)) {
            (Some(from), Some(to)) if from.abs_diff(to) % 2 == 1 => from > to,
            (Some(from), Some(to)) => from < to,
            (None, _) | (_, None) => false,
        }
    }

    /// How two lie to each other at an instant, by the wires; none if one of them is not there.
    pub(super) fn class(&self, a: Endpoint, b: Endpoint, at: Instant) -> Option<Class> {
        let (a, b) = (self.machine_at(a, at)?, self.machine_at(b, at)?);
        Some(if a.name == b.name {
            Class::SameNode
        } else if a.is_beside(b) {
            Class::SameSubnet
        } else {
            Class::CrossSubnet
        })
    }
}

impl Names for Cast {
    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        match self.endpoints().find(|endpoint| self.name(*endpoint) == name) {
            Some(Endpoint::Workload(w)) => self.workloads[w].addresses.iter().flatten().copied().collect(),
            _ => {
                // A machine has the addresses of all its cards; `a1/eth1` is one of them.
                let cards = cards(&self.nodes, &self.hosts).filter(|(_, machine, card)| {
                    *machine.name == *name || name.split_once('/') == Some((&machine.name, &card.name))
                });
                let nets = cards.flat_map(|(_, _, card)| card.addresses.iter().flatten());
                nets.map(|net| net.addr()).collect()
            }
        }
    }

    fn names(&self) -> Vec<&str> {
        self.endpoints().map(|endpoint| self.name(endpoint)).collect()
    }

    fn places(&self) -> Vec<&str> {
        self.places.iter().map(String::as_str).collect()
    }
}
