//! Network cards: what a scenario says of each, and the address that it has or gets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;
use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, boolean, suggestion, text};
use overlab_dataplane::{Family, Mtu, PerFamily};

use super::addresses::{self, Pair};
use super::gateways;
use super::underlay::Wires;
use crate::fabric::Preset;
use crate::scenario::model::{Card, Subnet, Underlay};
use crate::scenario::quantity::{cidr, mtu};

/// A card before its address is known.
pub(super) struct CardDraft {
    place: Option<(usize, usize)>,
    ip: Option<Pair<IpAddr>>,
    mtu: Option<Mtu>,
    check: Option<bool>,
    allowed: Vec<IpNet>,
    groups: Vec<Arc<str>>,
    public: Option<Ipv4Addr>,
    field: FieldRef,
}

impl CardDraft {
    /// A card of which nothing is written but where it is wired to: an underlay and a subnet in it.
    pub(super) fn on(place: (usize, usize), field: FieldRef) -> CardDraft {
        CardDraft {
            place: Some(place),
            ip: None,
            mtu: None,
            check: None,
            allowed: Vec::new(),
            groups: Vec::new(),
            public: None,
            field,
        }
    }

    /// Reads the keys of a card.
    pub(super) fn read(fields: &mut Fields<'_>, wires: &Wires, refusals: &mut Vec<Refusal>) -> CardDraft {
        let place = fields.require("subnet", refusals, |v| wires.subnet(v));
        let ip = addresses::ips(fields, refusals);
        let mtu = fields.parse("mtu", refusals, |v| mtu(v, u16::MAX));
        let underlay = place.map(|(u, _)| &wires.underlays[u]);
        let check = check(fields, underlay, refusals);
        let groups = groups(fields, underlay, refusals);
        let allowed = fields.items("allowedAddresses", refusals);
        let allowed = allowed.into_iter().filter_map(|(field, value)| match cidr(value) {
            Ok(net) => Some(net),
            Err(wrong) => {
                refusals.push(wrong.at(field, value));
                None
            }
        });
        CardDraft {
            allowed: allowed.collect(),
            place,
            ip: Some(ip),
            mtu,
            check,
            groups,
            public: fields.parse("publicIp", refusals, gateways::public),
            field: fields.at().clone(),
        }
    }

    fn ip(&self, family: Family) -> Option<IpAddr> {
        *self.ip.as_ref()?.values.get(family)
    }

    /// Refuses written addresses that the subnet does not hold, that somebody else has, or that nobody may have.
    pub(super) fn check_addresses(&self, wires: &Wires, taken: &mut BTreeMap<IpAddr, FieldRef>, refusals: &mut Vec<Refusal>) {
        let (Some(pair), Some((u, s))) = (&self.ip, self.place) else {
            return;
        };
        let (underlay, subnet) = (&wires.underlays[u], &wires.underlays[u].subnets[s]);
        for (ip, at) in pair.values.iter().zip(pair.fields.iter()) {
            if let Some(ip) = *ip {
                check_address(ip, at, underlay, subnet, taken, refusals);
            }
        }
    }

    /// The card of a machine, by its number there. One whose subnet or address was refused is placed anyhow, so that others can name
    /// its machine.
    pub(super) fn resolve(
        self,
        (machine, number): (&str, usize),
        wires: &Wires,
        taken: &mut BTreeMap<IpAddr, FieldRef>,
        refusals: &mut Vec<Refusal>,
    ) -> Card {
        let (underlay, subnet) = self.place.unwrap_or_default();
        let known = wires.underlays.get(underlay).and_then(|u| Some((u, u.subnets.get(subnet)?)));
        let addresses = PerFamily::from_fn(|family| {
            let (underlay, subnet) = known.filter(|_| self.place.is_some())?;
            let net = (*subnet.cidr.get(family))?;
            let ip = self
                .ip(family)
                .or_else(|| free((machine, &self.field), underlay, net, taken, refusals))?;
            IpNet::new(ip, net.prefix_len()).ok()
        });
        Card {
            name: Arc::from(format!("eth{number}")),
            underlay,
            subnet,
            addresses,
            mtu: self.mtu.or(known.map(|(_, subnet)| subnet.mtu)).unwrap_or(Mtu::MIN),
            source_destination_check: self
                .check
                .unwrap_or(known.is_some_and(|(u, _)| u.knobs.source_destination_check)),
            allowed_addresses: self.allowed,
            groups: self.groups,
            public_address: self.public,
            field: self.field,
        }
    }
}

/// The keys for the address check: its name in each cloud, and whether that name says that the check is off.
pub(super) fn check_keys() -> impl Iterator<Item = (&'static str, bool)> {
    Preset::ALL.iter().filter_map(|(_, preset)| preset.knobs().check_key)
}

fn check(fields: &mut Fields<'_>, underlay: Option<&Underlay>, refusals: &mut Vec<Refusal>) -> Option<bool> {
    let mut check = None;
    for (key, inverted) in check_keys() {
        let read = fields.parse(key, refusals, |value| match underlay {
            Some(underlay) if underlay.knobs.check_key != Some((key, inverted)) => Err(not_here(key, underlay)),
            Some(_) | None => boolean(value),
        });
        check = read.map(|on| on != inverted).or(check);
    }
    check
}

fn not_here(key: &str, underlay: &Underlay) -> Wrong {
    let wrong = Wrong::rule("E-CHECK", format!("`{}` has no `{key}`", underlay.preset.name()));
    match underlay.knobs.check_key {
        Some((own, _)) => wrong.help(format!("there the check of addresses is called `{own}`")),
        None => wrong
            .why("it is a property of interfaces in clouds; a switch in a data centre has no such thing")
            .help(format!("remove `{key}`, or use the preset of a cloud")),
    }
}

fn groups(fields: &mut Fields<'_>, underlay: Option<&Underlay>, refusals: &mut Vec<Refusal>) -> Vec<Arc<str>> {
    let mut groups = Vec::new();
    for (field, value) in fields.items("groups", refusals) {
        let known = || {
            underlay
                .into_iter()
                .flat_map(|u| u.security_groups.keys().map(|name| &**name))
        };
        let group = text(value).and_then(|name| {
            if name == "default" || known().any(|group| group == name) || underlay.is_none() {
                return Ok(name);
            }
            let wrong = Wrong::rule("E-GROUP", format!("unknown security group {name:?}"));
            Err(match suggestion(name, known()) {
                Some(near) => wrong.help(format!("did you mean `{near}`?")),
                None => wrong.help("add it to `securityGroups` of the underlay"),
            })
        });
        match group {
            Ok(name) => groups.push(name.into()),
            Err(wrong) => refusals.push(wrong.at(field, value)),
        }
    }
    groups
}

fn check_address(
    ip: IpAddr,
    at: &FieldRef,
    underlay: &Underlay,
    subnet: &Subnet,
    taken: &mut BTreeMap<IpAddr, FieldRef>,
    refusals: &mut Vec<Refusal>,
) {
    match subnet.cidr.get(Family::of(ip)).filter(|net| net.contains(&ip)) {
        None => {
            let all = subnet.cidrs();
            let help = match underlay.subnets.iter().find(|other| other.holds(ip)) {
                Some(other) => format!("use an address of {all}, or `subnet: {}`", other.name),
                None => format!("use an address of {all}"),
            };
            refusals.push(
                Refusal::new(
                    "E-ADDR",
                    at.clone(),
                    format!("{ip} is not in {all}, the addresses of subnet {}", subnet.name),
                )
                .why("the wires of a subnet carry its own addresses only")
                .help(help),
            );
        }
        Some(net) => {
            if let Some(whose) = reserved(ip, underlay, net) {
                let help = format!("use an address from {} on", show_first(underlay, net));
                refusals.push(Refusal::new("E-ADDR", at.clone(), format!("{ip} is {whose} in {net}")).help(help));
            }
        }
    }
    if let Some(other) = taken.insert(ip, at.clone()) {
        refusals.push(
            Refusal::new("E-ADDR", at.clone(), format!("{ip} is there twice"))
                .why("an address belongs to one card only")
                .help("give each card an address of its own")
                .related(other, "first here"),
        );
    }
}

/// Whose an address is that no machine may have.
///
/// Sources: the providers' pages on subnets: the first addresses and the last one; RFC 4291 section 2.6.1.
fn reserved(ip: IpAddr, underlay: &Underlay, net: IpNet) -> Option<&'static str> {
    if ip.is_ipv4() && ip == net.broadcast() {
        return Some("the broadcast address");
    }
    match addresses::number(ip, net) {
        0 if ip.is_ipv6() => Some("the subnet's anycast address"),
        0 => Some("the network address"),
        1 => Some("the router's address"),
        host if host < u128::from(underlay.knobs.reserved_addresses) => Some("an address that the provider keeps for itself"),
        _ => None,
    }
}

/// The place of the first IPv6 address that is handed out, written `::11`.
const FIRST_NODE_V6: u128 = 0x11;

/// The place of the first address that is handed out.
fn first(underlay: &Underlay, net: IpNet) -> u128 {
    let habit = match net {
        IpNet::V4(_) => u128::from(underlay.knobs.first_node),
        IpNet::V6(_) => FIRST_NODE_V6,
    };
    // A subnet too small for the habit begins right after what is reserved.
    if addresses::at(habit + 1, net).is_some() { habit } else { 4 }
}

fn show_first(underlay: &Underlay, net: IpNet) -> String {
    addresses::at(first(underlay, net), net).map_or_else(String::new, |address| address.to_string())
}

/// The lowest address from the first that is handed out on that nobody has.
fn free(
    (machine, field): (&str, &FieldRef),
    underlay: &Underlay,
    net: IpNet,
    taken: &mut BTreeMap<IpAddr, FieldRef>,
    refusals: &mut Vec<Refusal>,
) -> Option<IpAddr> {
    let found = (first(underlay, net)..)
        .map_while(|number| addresses::at(number, net))
        .take_while(|ip| ip.is_ipv6() || *ip != net.broadcast())
        .find(|ip| !taken.contains_key(ip));
    match found {
        Some(ip) => {
            taken.insert(ip, field.clone());
        }
        None => refusals.push(
            Refusal::new(
                "E-ADDR",
                field.clone(),
                format!("{net} has no address left for `{}`", machine),
            )
            .help("give the subnet a wider `cidr`"),
        ),
    }
    found
}
