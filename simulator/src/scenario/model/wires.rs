//! The wires: underlays with their subnets, routes and gateways, the machines on them, and the workloads behind these.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use overlab_dataplane::fields::FieldRef;
use overlab_dataplane::route::{Kernel, RpFilter};
use overlab_dataplane::{Family, Mtu, PerFamily};

use crate::fabric::{Acl, Firewall, GatewayKind, GatewayKnobs, Knobs, NicId, Preset, SecurityGroup};

/// One underlay network.
#[derive(Clone, Debug)]
pub struct Underlay {
    /// Its name; its router goes by it too.
    pub name: Arc<str>,
    /// The preset that it was made from.
    pub preset: Preset,
    /// How it treats packets.
    pub knobs: Knobs,
    /// Its addresses, of each family that it has and bounds.
    pub cidr: PerFamily<Option<IpNet>>,
    /// Its security groups, by name.
    pub security_groups: BTreeMap<Arc<str>, SecurityGroup>,
    /// Routes that its router learned from others, which its own routes go before.
    pub learned: Vec<UnderlayRoute>,
    /// Routes of its main route table besides those to its subnets.
    pub routes: Vec<UnderlayRoute>,
    /// Its subnets, in file order.
    pub subnets: Vec<Subnet>,
}

/// A route of an underlay's router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderlayRoute {
    /// The prefix.
    pub destination: IpNet,
    /// Where it leads.
    pub via: Via,
}

/// Where a route of an underlay's router leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// To a machine's card.
    Card(NicId),
    /// To what joins this underlay with others, by its place in [`Model::gateways`](super::Model::gateways).
    Gateway(usize),
    /// Nowhere.
    Nowhere,
}

/// A subnet of an underlay: one L2 segment, or what a cloud makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its name within the underlay.
    pub name: Arc<str>,
    /// Its addresses, of each family that it has.
    pub cidr: PerFamily<Option<IpNet>>,
    /// The router's addresses in it.
    pub gateway: PerFamily<Option<IpAddr>>,
    /// The MTU of the segment.
    pub mtu: Mtu,
    /// What may enter and leave it; none for everything.
    pub acl: Option<Acl>,
    /// The routes of its own route table, in place of the underlay's main one; none if it has none.
    pub routes: Option<Vec<UnderlayRoute>>,
}

impl Subnet {
    /// Whether an address is one of its own.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.cidr.iter().flatten().any(|net| net.contains(&address))
    }

    /// Its prefixes as text, IPv4 first.
    pub fn cidrs(&self) -> String {
        let cidrs: Vec<_> = self.cidr.iter().flatten().map(IpNet::to_string).collect();
        cidrs.join(" and ")
    }
}

/// What joins underlays.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub kind: GatewayKind,
    /// The underlays that it joins, by their places in [`Model::underlays`](super::Model::underlays); of an internet gateway the network comes first, then
    /// the internet. A NAT gateway has the one that it stands in.
    pub joins: Vec<usize>,
    /// The subnet that a NAT gateway stands in, and whose route table its packets take.
    pub subnet: Option<usize>,
    /// How it treats packets.
    pub knobs: GatewayKnobs,
    /// How long a packet takes to it, one way.
    pub delay: Duration,
    /// The address that its ICMP errors come from; none for that of the router in front of it.
    pub address: Option<IpAddr>,
    /// A NAT gateway's public address.
    pub public_address: Option<Ipv4Addr>,
    /// What a firewall lets pass.
    pub firewall: Option<Firewall>,
    /// Which underlay is the way to which addresses.
    pub routes: Vec<(IpNet, usize)>,
    /// Where it is declared.
    pub field: FieldRef,
}

/// A machine on the wires: a Calico node, or a host outside the cluster.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its name.
    pub name: Arc<str>,
    /// Its network cards: `eth0`, `eth1` and so on, in their order. The first is always there; its subnet's router is the machine's
    /// default gateway.
    pub cards: Vec<Card>,
    /// Its reverse-path filter.
    pub rp_filter: RpFilter,
    /// Its kernel, if that is said; a recent one otherwise.
    pub kernel: Option<Kernel>,
    /// Where it is declared.
    pub field: FieldRef,
}

/// A network card of a machine.
#[derive(Clone, Debug)]
pub struct Card {
    /// Its name on the machine: `eth0`.
    pub name: Arc<str>,
    /// Place of its underlay in [`Model::underlays`](super::Model::underlays).
    pub underlay: usize,
    /// Place of its subnet in [`Underlay::subnets`].
    pub subnet: usize,
    /// Its addresses, each with the subnet's prefix length.
    pub addresses: PerFamily<Option<IpNet>>,
    /// Its MTU.
    pub mtu: Mtu,
    /// Whether the fabric checks that its packets carry its own address.
    pub source_destination_check: bool,
    /// Addresses besides its own that pass that check.
    pub allowed_addresses: Vec<IpNet>,
    /// The security groups that it is in.
    pub groups: Vec<Arc<str>>,
    /// The address that the internet knows it by.
    pub public_address: Option<Ipv4Addr>,
    /// Where it is declared: of the first one the machine's own place.
    pub field: FieldRef,
}

impl Machine {
    /// Its first card, `eth0`.
    pub fn primary(&self) -> &Card {
        &self.cards[0]
    }

    /// The number of the card that has an address; the first if none has it.
    pub fn card_with(&self, address: Option<IpAddr>) -> usize {
        let has = |card: &Card| address.is_some_and(|address| card.has(address));
        self.cards.iter().position(has).unwrap_or_default()
    }

    /// The number of the card that packets to an address leave by: the first whose subnet holds it, else that of `eth0`, as to the
    /// default gateway.
    pub fn card_towards(&self, address: IpAddr) -> usize {
        let holds = |card: &Card| card.addresses.iter().flatten().any(|net| net.contains(&address));
        self.cards.iter().position(holds).unwrap_or_default()
    }

    /// Its first address of a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.cards.iter().find_map(|card| card.address(family))
    }

    /// Whether both have a card on one subnet.
    pub fn is_beside(&self, other: &Machine) -> bool {
        let mut pairs = self
            .cards
            .iter()
            .flat_map(|card| other.cards.iter().map(move |theirs| (card, theirs)));
        pairs.any(|(card, theirs)| (card.underlay, card.subnet) == (theirs.underlay, theirs.subnet))
    }
}

impl Card {
    /// Whether an address is its own.
    pub fn has(&self, address: IpAddr) -> bool {
        self.address(Family::of(address)) == Some(address)
    }

    /// Its address of a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.get(family).map(|net| net.addr())
    }
}

/// Every card of nodes and hosts, with its identity and its machine.
pub fn cards<'m>(nodes: &'m [Machine], hosts: &'m [Machine]) -> impl Iterator<Item = (NicId, &'m Machine, &'m Card)> {
    let machines = nodes.iter().chain(hosts).zip(0..);
    machines.flat_map(|(machine, place)| {
        let cards = machine.cards.iter().zip(0..);
        cards.map(move |(card, number)| {
            (
                NicId {
                    machine: place,
                    card: number,
                },
                machine,
                card,
            )
        })
    })
}

/// A workload (a pod).
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its name.
    pub name: Arc<str>,
    /// Place of its node in [`Model::nodes`](super::Model::nodes).
    pub node: usize,
    /// Its addresses.
    pub addresses: PerFamily<Option<IpAddr>>,
    /// Where it is declared.
    pub field: FieldRef,
}
