//! What joins underlays, as scenarios write it: `gateways`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use overlab_dataplane::fields::{Fields, Refusal, Wrong, boolean, suggestion, text, word};
use serde_json::Value;

use super::names::Names;
use super::underlay::Wires;
use super::{learned, security};
use crate::fabric::{GatewayKind, Preset};
use crate::scenario::knobs::protocols;
use crate::scenario::model::{Gateway, Underlay};
use crate::scenario::quantity::{address, any_duration, cidr, duration, mtu};

/// For how long a firewall remembers a silent connection, unless the scenario says otherwise: an hour, which is usual.
const FIREWALL_IDLE: Duration = Duration::from_secs(3600);

/// Every address of a family.
pub(super) const ANYWHERE: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
];

/// Reads `gateways`.
pub(super) fn read(spec: &mut Fields<'_>, wires: &mut Wires, names: &mut Names, refusals: &mut Vec<Refusal>) {
    for (name, field, value) in spec.entries("gateways", refusals) {
        names.claim("gateway", name, &field, refusals);
        let mut fields = Fields::new(value, field, refusals);
        let gateway = one(name, &mut fields, wires, refusals);
        fields.finish(refusals);
        wires.gateways.extend(gateway);
    }
    learned::exchange(wires);
}

fn one(name: &str, fields: &mut Fields<'_>, wires: &Wires, refusals: &mut Vec<Refusal>) -> Option<Gateway> {
    let kind = fields.require("kind", refusals, |v| word(v, GatewayKind::ALL));
    let Some(kind) = kind else {
        fields.ignore(&[
            "joins",
            "subnet",
            "publicIp",
            "routes",
            "rules",
            "stateful",
            "idle",
            "mtu",
            "delay",
            "protocols",
            "fragments",
            "sendsTooBig",
            "decrementsTtl",
            "ip",
        ]);
        return None;
    };
    let mut knobs = kind.knobs();
    let (mut joins, mut subnet, mut public_address) = (Vec::new(), None, None);
    if kind == GatewayKind::NatGateway {
        let place = fields.require("subnet", refusals, |v| wires.subnet(v));
        joins.extend(place.map(|(underlay, _)| underlay));
        subnet = place.map(|(_, subnet)| subnet);
        public_address = fields.require("publicIp", refusals, public);
    } else {
        joins = joined(fields, kind, wires, refusals);
    }
    let largest = |mtus: &mut dyn Iterator<Item = overlab_dataplane::Mtu>| mtus.max();
    let usual = match kind {
        GatewayKind::Peering => joins.iter().map(|u| wires.underlays[*u].knobs.mtu).min(),
        GatewayKind::Router | GatewayKind::Firewall => largest(&mut joins.iter().map(|u| wires.underlays[*u].knobs.mtu)),
        GatewayKind::TransitGateway | GatewayKind::InternetGateway | GatewayKind::NatGateway => knobs.mtu,
    };
    knobs.mtu = fields.parse("mtu", refusals, |v| mtu(v, u16::MAX)).or(usual);
    knobs.protocols = fields.parse("protocols", refusals, protocols).unwrap_or(knobs.protocols);
    knobs.splits = fields.parse("fragments", refusals, boolean).unwrap_or(knobs.splits);
    knobs.tells_size = fields.parse("sendsTooBig", refusals, boolean).unwrap_or(knobs.tells_size);
    knobs.decrements_ttl = fields
        .parse("decrementsTtl", refusals, boolean)
        .unwrap_or(knobs.decrements_ttl);
    let delay = fields.parse("delay", refusals, duration).unwrap_or_default();
    let own = fields.parse("ip", refusals, address);
    let firewall = (kind == GatewayKind::Firewall).then(|| {
        let idle = fields.parse("idle", refusals, any_duration).unwrap_or(FIREWALL_IDLE);
        security::firewall(fields, idle, refusals)
    });
    let mut routes = own_routes(kind, &joins, wires);
    if kind == GatewayKind::TransitGateway {
        routes.extend(written_routes(fields, &joins, wires, refusals));
    }
    Some(Gateway {
        name: name.into(),
        kind,
        joins,
        subnet,
        knobs,
        delay,
        address: own,
        public_address,
        firewall,
        routes,
        field: fields.at().clone(),
    })
}

/// Reads an IPv4 address that the internet knows.
pub(super) fn public(value: &Value) -> Result<Ipv4Addr, Wrong> {
    match address(value)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => {
            Err(Wrong::expected("an IPv4 address").why("IPv6 addresses are not translated: they are public already"))
        }
    }
}

fn underlay(value: &Value, wires: &Wires) -> Result<usize, Wrong> {
    let name = text(value)?;
    let known = || wires.underlays.iter().map(|underlay| &*underlay.name);
    known().position(|known| known == name).ok_or_else(|| {
        let wrong = Wrong::rule("E-GATEWAY", format!("unknown underlay {name:?}"));
        match suggestion(name, known()) {
            Some(near) => wrong.help(format!("did you mean `{near}`?")),
            None => wrong.help("name an entry of `underlay`"),
        }
    })
}

/// Reads `joins`: the underlays, of an internet gateway the internet last.
fn joined(fields: &mut Fields<'_>, kind: GatewayKind, wires: &Wires, refusals: &mut Vec<Refusal>) -> Vec<usize> {
    let at = fields.field("joins");
    let mut joins = Vec::new();
    let items = fields.items("joins", refusals);
    let before = refusals.len();
    for (field, value) in items {
        match underlay(value, wires) {
            Ok(place) if joins.contains(&place) => {
                let message = format!("`{}` is there twice", wires.underlays[place].name);
                refusals.push(Refusal::new("E-GATEWAY", field, message).help("name each underlay once"));
            }
            Ok(place) => joins.push(place),
            Err(wrong) => refusals.push(wrong.at(field, value)),
        }
    }
    if refusals.len() == before
        && let Some(wrong) = misfit(kind, &joins, &wires.underlays)
    {
        refusals.push(wrong.at(at, &Value::Null));
    }
    joins.sort_by_key(|place| {
        (
            kind == GatewayKind::InternetGateway && is_internet(&wires.underlays[*place]),
            *place,
        )
    });
    joins
}

fn is_internet(underlay: &Underlay) -> bool {
    underlay.preset == Preset::Internet
}

/// Why a gateway of this kind cannot join these underlays.
fn misfit(kind: GatewayKind, joins: &[usize], underlays: &[Underlay]) -> Option<Wrong> {
    let wrong = |message: String| Wrong::rule("E-GATEWAY", message);
    let joined: Vec<&Underlay> = joins.iter().map(|place| &underlays[*place]).collect();
    let kind_name = kind.name();
    let pair = matches!(kind, GatewayKind::Peering | GatewayKind::InternetGateway);
    if joined.len() < 2 || pair && joined.len() > 2 {
        let many = if pair { "two underlays" } else { "two underlays or more" };
        let wrong = wrong(format!("a `{kind_name}` joins {many}, not {}", joined.len()));
        return Some(wrong.help("write `joins: [ONE, OTHER]` with names of underlays"));
    }
    let internets = joined.iter().filter(|underlay| is_internet(underlay)).count();
    if kind == GatewayKind::InternetGateway {
        let wrong = || wrong("an `internetGateway` joins one network with the internet".to_owned());
        return (internets != 1).then(|| wrong().help("add an underlay with `preset: internet`, and join the two"));
    }
    if internets > 0 && !kind.exchanges_routes() {
        let wrong = wrong(format!("a `{kind_name}` does not lead to the internet"));
        return Some(wrong.help("use `kind: internetGateway`"));
    }
    if kind == GatewayKind::Peering
        && let [one, other] = joined[..]
        && one.preset != other.preset
    {
        let wrong = wrong(format!("a peering of `{}` with `{}`", one.preset.name(), other.preset.name()));
        return Some(
            wrong
                .why("a provider peers its own networks")
                .help("join them by `kind: router`, as a private line would"),
        );
    }
    overlap(&joined).map(|(one, net, other, with)| {
        wrong(format!("{net} of `{}` overlaps {with} of `{}`", one.name, other.name))
            .why("an address on both sides of a gateway could be meant to be on either")
            .help("give each underlay a `cidr` of its own")
    })
}

/// Two underlays that share addresses, if any do.
fn overlap<'a>(joined: &[&'a Underlay]) -> Option<(&'a Underlay, IpNet, &'a Underlay, IpNet)> {
    let mut seen: Vec<(&Underlay, IpNet)> = Vec::new();
    for underlay in joined {
        for net in prefixes(underlay) {
            let meets =
                |(other, with): &&(&Underlay, IpNet)| other.name != underlay.name && (with.contains(&net) || net.contains(with));
            if let Some((other, with)) = seen.iter().find(meets) {
                return Some((underlay, net, other, *with));
            }
            seen.push((underlay, net));
        }
    }
    None
}

/// The prefixes that an underlay is known by: a cloud's whole network, else its subnets.
pub(super) fn prefixes(underlay: &Underlay) -> Vec<IpNet> {
    match underlay.knobs.known_as_a_whole {
        true => underlay.cidr.iter().flatten().copied().collect(),
        false => {
            let subnets = underlay.subnets.iter().flat_map(|subnet| subnet.cidr.iter());
            subnets.flatten().copied().collect()
        }
    }
}

/// What a gateway knows by itself: the networks that it joins, and beyond an internet gateway everything.
fn own_routes(kind: GatewayKind, joins: &[usize], wires: &Wires) -> Vec<(IpNet, usize)> {
    let of = |place: &usize| {
        prefixes(&wires.underlays[*place])
            .into_iter()
            .map(|net| (net, *place))
            .collect()
    };
    match (kind, joins) {
        (GatewayKind::Peering | GatewayKind::TransitGateway, _) => {
            joins.iter().flat_map(|place| -> Vec<_> { of(place) }).collect()
        }
        (GatewayKind::InternetGateway, [inside, internet]) => {
            let mut routes: Vec<_> = of(inside);
            routes.extend(ANYWHERE.map(|net| (net, *internet)));
            routes
        }
        // Routers learn from each other, and a NAT gateway gives back what it gets.
        (GatewayKind::InternetGateway | GatewayKind::Router | GatewayKind::Firewall | GatewayKind::NatGateway, _) => Vec::new(),
    }
}

/// Reads `routes` of a transit gateway: which prefix is behind which network.
fn written_routes(fields: &mut Fields<'_>, joins: &[usize], wires: &Wires, refusals: &mut Vec<Refusal>) -> Vec<(IpNet, usize)> {
    let mut routes = Vec::new();
    for (field, value) in fields.items("routes", refusals) {
        let mut route = Fields::new(value, field, refusals);
        let to = route.require("to", refusals, cidr);
        let via = route.require("via", refusals, |v| match underlay(v, wires)? {
            place if joins.contains(&place) => Ok(place),
            place => {
                let name = &wires.underlays[place].name;
                Err(Wrong::rule("E-ROUTE", format!("`{name}` is not attached")).help(format!("add `{name}` to `joins`")))
            }
        });
        route.finish(refusals);
        routes.extend(to.zip(via));
    }
    routes
}
