//! The fabric's port of a network card: what it lets out and in. Where packets go from there is not decided here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use overlab_dataplane::wire::ipv4::protocol;
use overlab_dataplane::wire::{FlowKey, IcmpMessage, IpView, UdpView};
use overlab_dataplane::{Family, Instant, Mtu, Packet, PerFamily};

use super::allowance::Allowances;
use super::connections::{Connection, ConnectionTable};
use super::preset::{AddressCheck, DefaultGroup, FragmentPolicy, Security};
use super::security::{Admission, GroupRule, Peers, SecurityGroup, Traffic};
use super::{DropReason, Fabric, NicId};
use crate::observe::{Place, PlaceKind};
use crate::scenario::{Card, Gateway, GatewayKind, Underlay, UnderlayRoute, Via};

/// The group of every card that the scenario puts into none.
pub const DEFAULT_GROUP: &str = "default";

/// Fragments that are followed at the same time.
const FRAGMENTS_MAX: usize = 1024;

/// A refusal: why, and in what words.
pub(super) type Refused = (DropReason, String);

/// The fabric's port of a machine's network card.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) eni: Place,
    pub(super) device: Place,
    pub(super) addresses: PerFamily<Option<IpAddr>>,
    pub(super) segment: usize,
    underlay: usize,
    /// Addresses besides its own that pass the check.
    allowed: Vec<IpNet>,
    /// Whether the address check is on.
    pub(super) checked: bool,
    check: AddressCheck,
    protocols: Vec<u8>,
    reserved_source_ports: Vec<u16>,
    blocked_udp_ports: Vec<u16>,
    drops_df_above: Option<Mtu>,
    pub(super) breaks_inner_checksums: bool,
    fragment_policy: FragmentPolicy,
    allowances: Allowances,
    pub(super) security: Security,
    /// Whether security groups are asked at all.
    pub(super) guarded: bool,
    pub(super) groups: Vec<Arc<str>>,
    pub(super) rules: SecurityGroup,
    connections: ConnectionTable,
    /// Where the next fragment begins, by source and identification.
    fragments: BTreeMap<(IpAddr, u32), usize>,
}

/// The addresses that an underlay's default group means by its own.
pub(super) fn own_ranges(underlay: &Underlay, gateways: &[Gateway]) -> Vec<IpNet> {
    let mut ranges: Vec<IpNet> = underlay.cidr.iter().flatten().copied().collect();
    if underlay.knobs.security.covers_routes {
        let covers = |route: &&UnderlayRoute| match route.via {
            Via::Card(_) => true,
            Via::Gateway(gateway) => gateways[gateway].kind == GatewayKind::Peering,
            Via::Nowhere => false,
        };
        let routes = underlay.learned.iter().chain(&underlay.routes).filter(covers);
        ranges.extend(routes.map(|route| route.destination));
    }
    ranges
}

/// The port of a machine's card of this number. `own` is what a default group means by its own.
pub(super) fn port((machine, number, card): (&str, usize, &Card), underlay: &Underlay, own: &[IpNet], segment: usize) -> Port {
    let place = |kind, what: &str| Place {
        kind,
        name: Arc::from(format!("{machine}/{what}")),
    };
    let knobs = &underlay.knobs;
    let groups = match card.groups.is_empty() {
        true => vec![Arc::from(DEFAULT_GROUP)],
        false => card.groups.clone(),
    };
    let mut rules = SecurityGroup {
        ingress: Vec::new(),
        egress: Vec::new(),
    };
    for group in &groups {
        let group = match underlay.security_groups.get(group) {
            Some(group) => group.clone(),
            None => default_group(&knobs.security.default, own),
        };
        rules.ingress.extend(group.ingress);
        rules.egress.extend(group.egress);
    }
    Port {
        eni: place(PlaceKind::Eni, &eni(number)),
        device: place(PlaceKind::Device, &card.name),
        addresses: PerFamily::from_fn(|family| card.address(family)),
        segment,
        underlay: card.underlay,
        allowed: card.allowed_addresses.clone(),
        checked: card.source_destination_check,
        check: knobs.address_check,
        protocols: knobs.protocols.clone(),
        reserved_source_ports: knobs.reserved_source_ports.clone(),
        blocked_udp_ports: knobs.blocked_udp_ports.clone(),
        drops_df_above: knobs.drops_df_above,
        breaks_inner_checksums: knobs.breaks_inner_checksums,
        fragment_policy: knobs.fragment_policy,
        allowances: Allowances::of(knobs),
        security: knobs.security.clone(),
        guarded: knobs.security.default != DefaultGroup::Open || !card.groups.is_empty(),
        groups,
        rules,
        connections: ConnectionTable::default(),
        fragments: BTreeMap::new(),
    }
}

/// How the fabric's side of a machine's card is called: `eni`, `eni1` and so on.
pub fn eni(number: usize) -> String {
    match number {
        0 => "eni".to_owned(),
        _ => format!("eni{number}"),
    }
}

/// What holds for a card that is in no group.
fn default_group(default: &DefaultGroup, own: &[IpNet]) -> SecurityGroup {
    let rule = |peers, protocols: &[u8]| GroupRule {
        peers,
        traffic: Traffic {
            protocols: protocols.to_vec(),
            ports: None,
        },
    };
    let ingress = match default {
        DefaultGroup::Open => vec![rule(Peers::Anyone, &[])],
        DefaultGroup::Members => vec![rule(Peers::Group(DEFAULT_GROUP.into()), &[])],
        DefaultGroup::Underlay(protocols) => own.iter().map(|range| rule(Peers::Range(*range), protocols)).collect(),
    };
    SecurityGroup {
        ingress,
        egress: vec![rule(Peers::Anyone, &[])],
    }
}

impl Port {
    /// Takes over what the same card's port remembered before its rules were changed.
    pub(super) fn succeed(&mut self, earlier: Port) {
        (self.connections, self.fragments) = (earlier.connections, earlier.fragments);
        self.allowances.succeed(earlier.allowances);
    }

    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        *self.addresses.get(Family::of(address)) == Some(address) || self.allowed.iter().any(|net| net.contains(&address))
    }

    fn wrong_address(&self, what: &str, address: IpAddr) -> Option<Refused> {
        (self.checked && !self.is_own(address)).then(|| {
            let own = self.addresses.get(Family::of(address));
            let own = own.map_or_else(|| "own address".to_owned(), |own| own.to_string());
            let text = format!("source/destination check: the {what} {address} is not this interface's {own}");
            (DropReason::SrcDstCheck, text)
        })
    }

    fn is_carried(&self, header: &IpView<'_>) -> Option<Refused> {
        let number = header.protocol();
        if !self.protocols.is_empty() && !self.protocols.contains(&number) {
            let text = format!("this fabric does not carry protocol {number}");
            return Some((DropReason::FabricBlocked, text));
        }
        let udp = (number == protocol::UDP && header.fragment_offset() == 0)
            .then(|| UdpView::unverified(header.payload()).ok())
            .flatten()?;
        let (source, destination) = (udp.source_port(), udp.destination_port());
        let text = if self.reserved_source_ports.contains(&source) {
            format!("this fabric keeps UDP source port {source} for itself")
        } else if self.blocked_udp_ports.contains(&destination) {
            format!("this fabric does not carry UDP to port {destination}")
        } else {
            return None;
        };
        Some((DropReason::FabricBlocked, text))
    }

    /// Why the fabric does not take a packet for its size, if it does not.
    fn too_long(&self, packet: &Packet, header: &IpView<'_>) -> Option<Refused> {
        let limit = self.drops_df_above.filter(|_| header.dont_fragment())?;
        let length = packet.longest_wire_packet();
        (!limit.fits(length)).then(|| {
            let text = format!("{length} B with DF set is more than the {limit} B that this fabric carries in one piece");
            (DropReason::TooBig, text)
        })
    }

    /// Whether a fragment follows its predecessor, where that matters.
    fn out_of_order(&mut self, header: &IpView<'_>) -> Option<Refused> {
        if !header.is_fragment() {
            return None;
        }
        match self.fragment_policy {
            FragmentPolicy::Pass => return None,
            FragmentPolicy::InOrder => {}
            FragmentPolicy::Drop => {
                return Some((DropReason::FragmentRefused, "this fabric carries no fragments".to_owned()));
            }
        }
        let key = (header.source(), header.identification());
        let end = header.fragment_offset() + header.payload().len();
        let due = self.fragments.remove(&key);
        if header.fragment_offset() > 0 && due != Some(header.fragment_offset()) {
            let text = format!("a fragment at {} came out of order", header.fragment_offset());
            return Some((DropReason::FragmentRefused, text));
        }
        if header.more_fragments() {
            if self.fragments.len() >= FRAGMENTS_MAX {
                self.fragments.pop_first();
            }
            self.fragments.insert(key, end);
        }
        None
    }
}

impl Fabric {
    /// Why a packet does not leave a card's port, if it does not.
    pub(super) fn refused_leaving(&mut self, now: Instant, nic: NicId, packet: &Packet, header: &IpView<'_>) -> Option<Refused> {
        let flow = FlowKey::of(header);
        let port = &self.ports[nic];
        if port.check.source
            && let Some(refused) = port.wrong_address("source", header.source())
        {
            return Some(refused);
        }
        let admission = self.ports.leaving(nic, &flow);
        let carried = port.is_carried(header).or_else(|| port.too_long(packet, header));
        let port = &mut self.ports[nic];
        let refused = port.refused_by_groups(now, header, admission, |_| {
            format!("security group: nothing lets {} out", describe(&flow))
        });
        refused.or(carried).or_else(|| port.allowances.exceeded(now, packet, header))
    }

    /// Why a packet does not enter a card's port, if it does not. `sender` is the card that sent it, if one did.
    pub(super) fn refused_entering(
        &mut self,
        now: Instant,
        nic: NicId,
        sender: Option<NicId>,
        header: &IpView<'_>,
    ) -> Option<Refused> {
        let flow = FlowKey::of(header);
        let admission = self.ports.entering(nic, sender, &flow);
        let port = &mut self.ports[nic];
        if let Some(refused) = port.out_of_order(header) {
            return Some(refused);
        }
        let refused = port.refused_by_groups(now, header, admission, |port| {
            format!(
                "security group: no rule of {} lets {} in",
                port.groups.join(", "),
                describe(&flow)
            )
        });
        if refused.is_some() {
            return refused;
        }
        match port.check.destination {
            true => port.wrong_address("destination", header.destination()),
            false => None,
        }
    }
}

impl Port {
    /// Whether a card is in a group as another one means it: groups belong to one underlay.
    pub(super) fn is_in(&self, group: &str, meant_by: &Port) -> bool {
        self.underlay == meant_by.underlay && self.groups.iter().any(|own| **own == *group)
    }

    /// Why security groups do not let a packet through, if it is neither admitted by a rule, nor part of a connection, nor an
    /// error about one. What both directions leave open to everybody is not remembered.
    fn refused_by_groups(
        &mut self,
        now: Instant,
        header: &IpView<'_>,
        admission: Admission,
        denied: impl Fn(&Port) -> String,
    ) -> Option<Refused> {
        let Security {
            idle,
            tracks_icmp_errors,
            ..
        } = self.security;
        let connection = Connection::of(header);
        if !self.guarded || self.connections.holds(now, connection, &idle) {
            return None;
        }
        match admission {
            Admission::Open if self.security.leaves_open_flows_untracked => None,
            Admission::Open | Admission::ByRule => {
                let limit = self.security.connections;
                (!self.connections.remember(now, connection, &idle, limit)).then(|| {
                    let limit = limit.unwrap_or_default();
                    let text = format!("the interface tracks its {limit} connections already");
                    (DropReason::RateLimited, text)
                })
            }
            Admission::None => {
                let about = quoted(header).filter(|_| tracks_icmp_errors);
                let known = about.is_some_and(|about| self.connections.holds(now, Connection::of(&about), &idle));
                (!known).then(|| (DropReason::SgDeny, denied(self)))
            }
        }
    }
}

/// The packet that an ICMP error is about, as far as it is quoted.
pub(super) fn quoted<'a>(header: &IpView<'a>) -> Option<IpView<'a>> {
    if !header.is_icmp() {
        return None;
    }
    match IcmpMessage::unverified(header.family(), header.payload()) {
        Ok(IcmpMessage::Error { quote, .. }) => Some(quote),
        Ok(IcmpMessage::Echo { .. } | IcmpMessage::Other { .. }) | Err(_) => None,
    }
}

/// A flow in a few words: `protocol 4 from 10.0.0.1`, `UDP to port 4789 from 10.0.0.1`.
pub(super) fn describe(flow: &FlowKey) -> String {
    let name = match flow.protocol {
        protocol::TCP => "TCP".to_owned(),
        protocol::UDP => "UDP".to_owned(),
        protocol::ICMP => "ICMP".to_owned(),
        protocol::ICMPV6 => "ICMPv6".to_owned(),
        number => format!("protocol {number}"),
    };
    let port = flow.ports.map_or_else(String::new, |(_, port)| format!(" to port {port}"));
    format!("{name}{port} from {} to {}", flow.source, flow.destination)
}

/// Whether a packet without DF is longer than the fabric carries in one piece.
pub(super) fn is_to_be_split(packet: &Packet, header: &IpView<'_>, limit: Mtu) -> bool {
    !header.dont_fragment() && !limit.fits(packet.longest_wire_packet())
}
