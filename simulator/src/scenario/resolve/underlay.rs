//! The wires between machines: underlays and their subnets.

use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, integer, suggestion, text, word};
use overlab_dataplane::{Family, PerFamily};
use serde_json::Value;

use super::addresses::{self, Pair};
use super::names::{self, Names};
use super::routes::{self, WrittenTable};
use super::security;
use crate::fabric::{Knobs, Preset};
use crate::scenario::knobs;
use crate::scenario::model::{Gateway, Subnet, Underlay};
use crate::scenario::quantity::{duration, mtu};

/// The addresses of an underlay, unless it says otherwise.
const DEFAULT_CIDR: IpNet = IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 0, 0, 0), 16));

/// What the underlays are, and how many nodes their subnets count.
pub(super) struct Wires {
    pub(super) underlays: Vec<Underlay>,
    /// Subnets that say how many nodes they have.
    pub(super) counted: Vec<Counted>,
    pub(super) notes: Vec<String>,
    /// Route tables whose targets are not known yet.
    pub(super) tables: Vec<WrittenTable>,
    pub(super) gateways: Vec<Gateway>,
}

/// A subnet's `nodes: N`.
pub(super) struct Counted {
    pub(super) underlay: usize,
    pub(super) subnet: usize,
    pub(super) count: u32,
    pub(super) field: FieldRef,
}

impl Wires {
    /// A subnet by `az-a` or `main/az-a`.
    pub(super) fn subnet(&self, value: &Value) -> Result<(usize, usize), Wrong> {
        let name = text(value)?;
        let mut known = Vec::new();
        for (u, underlay) in self.underlays.iter().enumerate() {
            for (s, subnet) in underlay.subnets.iter().enumerate() {
                if *subnet.name == *name || name.split_once('/') == Some((&underlay.name, &subnet.name)) {
                    return Ok((u, s));
                }
                known.push(&*subnet.name);
            }
        }
        let wrong = Wrong::rule("E-SUBNET", format!("unknown subnet {name:?}"))
            .why("a machine's card is wired to a subnet of an underlay");
        Err(
            match suggestion(name.rsplit('/').next().unwrap_or(name), known.iter().copied()) {
                Some(near) => wrong.help(format!("did you mean `{near}`?")),
                None if known.is_empty() => wrong.help("add it to `subnets:` of an underlay"),
                None => wrong.help(format!("the subnets are {}", known.join(", "))),
            },
        )
    }
}

/// Reads `underlay`.
pub(super) fn read(spec: &mut Fields<'_>, names: &mut Names, refusals: &mut Vec<Refusal>) -> Wires {
    let mut wires = Wires {
        underlays: Vec::new(),
        counted: Vec::new(),
        notes: Vec::new(),
        tables: Vec::new(),
        gateways: Vec::new(),
    };
    let at = spec.field("underlay");
    let entries = spec.entries("underlay", refusals);
    if entries.is_empty() {
        refusals.push(
            Refusal::new("K-MISSING", at, "the scenario has no underlay")
                .why("nodes are joined by wires, and nothing is sent without them")
                .help("add `underlay: {main: {preset: aws, subnets: {az-a: {nodes: 2}}}}` to `spec`"),
        );
    }
    for (name, field, value) in entries {
        names.claim("underlay", name, &field, refusals);
        read_one(name, Fields::new(value, field, refusals), &mut wires, refusals);
    }
    wires
}

fn read_one(name: &str, mut fields: Fields<'_>, wires: &mut Wires, refusals: &mut Vec<Refusal>) {
    let preset = fields
        .require("preset", refusals, |v| word(v, Preset::ALL))
        .unwrap_or(Preset::Onprem);
    let mut knobs = preset.knobs();
    let mut whole = addresses::cidrs(&mut fields, refusals, |net| allowed(preset, net));
    if fields.value("cidr").is_none() {
        wires.notes.push(format!("underlay {name}: {DEFAULT_CIDR}"));
    }
    // An underlay without IPv4 says so by an IPv6 `cidr`.
    if whole.written.v4 || fields.value("cidr").is_none() {
        whole.values.v4 = whole.values.v4.or(Some(DEFAULT_CIDR));
    }
    if let Some(mtu) = fields.parse("mtu", refusals, |v| mtu(v, largest(preset))) {
        knobs.mtu = mtu;
    }
    let mut delay = fields.fields("delay", refusals);
    let same = delay.parse("sameSubnet", refusals, duration);
    let cross = delay.parse("crossSubnet", refusals, duration);
    delay.finish(refusals);
    knobs.delay_same_subnet = same.unwrap_or(knobs.delay_same_subnet);
    knobs.delay_cross_subnet = cross.unwrap_or(knobs.delay_cross_subnet);
    knobs::read(&mut fields, &mut knobs, refusals);
    refuse_misplaced(&mut fields, refusals);
    let security_groups = security::groups(&mut fields, refusals);
    let routes = routes::read(&mut fields, &knobs, refusals);
    wires.tables.push(WrittenTable {
        underlay: wires.underlays.len(),
        subnet: None,
        routes,
    });

    let subnets = subnets(&mut fields, preset, &knobs, &whole, wires, refusals);
    fields.finish(refusals);
    wires.underlays.push(Underlay {
        name: name.into(),
        preset,
        knobs,
        cidr: whole.values,
        security_groups,
        learned: Vec::new(),
        routes: Vec::new(),
        subnets,
    });
}

/// Refuses keys that somebody may look for here and that are elsewhere.
fn refuse_misplaced(fields: &mut Fields<'_>, refusals: &mut Vec<Refusal>) {
    let gateways = "join underlays by `gateways: {spine: {kind: router, joins: [leaf-1, leaf-2]}}` beside `underlay`";
    let places = [
        ("routers", gateways),
        ("router", gateways),
        ("links", gateways),
        ("gateways", gateways),
        ("peerings", gateways),
        ("acl", "write it as `acl` of a subnet"),
    ];
    for (key, help) in places {
        fields.withhold(&[key]);
        if fields.value(key).is_some() {
            let refusal = Refusal::new("K-UNKNOWN", fields.field(key), format!("an underlay has no `{key}`")).at_key();
            refusals.push(refusal.why("an underlay is one network with one router").help(help));
        }
    }
}

/// The shortest and the longest prefix of IPv6 that an underlay or a subnet may have: one with room for a router and machines.
const PREFIX_LENGTHS_V6: (u8, u8) = (8, 125);

/// The largest MTU that can be asked for.
fn largest(preset: Preset) -> u16 {
    preset.knobs().largest_mtu
}

/// Whether a network's prefix length is one that the preset has.
fn allowed(preset: Preset, net: IpNet) -> Result<IpNet, Wrong> {
    let (shortest, longest) = match net {
        IpNet::V4(_) => preset.knobs().prefix_lengths,
        IpNet::V6(_) => PREFIX_LENGTHS_V6,
    };
    if (shortest..=longest).contains(&net.prefix_len()) {
        return Ok(net);
    }
    let preset = preset.name();
    Err(Wrong::rule(
        "E-CIDR",
        format!("/{} is no prefix length of a network on `{preset}`", net.prefix_len()),
    )
    .help(format!("use /{shortest} to /{longest}")))
}

fn subnets(
    fields: &mut Fields<'_>,
    preset: Preset,
    knobs: &Knobs,
    whole: &Pair<IpNet>,
    wires: &mut Wires,
    refusals: &mut Vec<Refusal>,
) -> Vec<Subnet> {
    let entries = fields.entries("subnets", refusals);
    if entries.is_empty() {
        let refusal = Refusal::new("K-MISSING", fields.at().clone(), "the underlay has no subnets");
        refusals.push(refusal.help("add `subnets: {az-a: {nodes: 2}}`"));
    }
    let mut subnets = Vec::new();
    let mut taken: Vec<(IpNet, FieldRef)> = Vec::new();
    for (place, (name, field, value)) in entries.into_iter().enumerate() {
        names::check("subnet", name, &field, refusals);
        let mut fields = Fields::new(value, field.clone(), refusals);
        let own = addresses::cidrs(&mut fields, refusals, |net| allowed(preset, net));
        let cidr = PerFamily::from_fn(|family| {
            let (net, at) = match *own.written.get(family) {
                true => ((*own.values.get(family))?, own.fields.get(family)),
                // An IPv6 `cidr` says that the subnet has no IPv4.
                false if family == Family::V4 && own.fields.v6 == fields.field("cidr") => return None,
                false => (derived((*whole.values.get(family))?, place, &field, wires, refusals)?, &field),
            };
            let fits = fits(net, at, whole, &taken, refusals);
            fits.then(|| taken.push((net, at.clone())))?;
            Some(net)
        });
        let mtu = fields
            .parse("mtu", refusals, |v| mtu(v, largest(preset)))
            .unwrap_or(knobs.mtu);
        if let Some(count) = fields.parse("nodes", refusals, |v| integer(v, 0, 200)) {
            wires.counted.push(Counted {
                underlay: wires.underlays.len(),
                subnet: place,
                count: u32::try_from(count).unwrap_or(0),
                field: fields.field("nodes"),
            });
        }
        let acl = security::acl(&mut fields, refusals);
        if let Some(routes) = routes::of_subnet(&mut fields, preset, knobs, refusals) {
            wires.tables.push(WrittenTable {
                underlay: wires.underlays.len(),
                subnet: Some(place),
                routes,
            });
        }
        fields.finish(refusals);
        subnets.push(Subnet {
            acl,
            ..subnet(name.into(), cidr, mtu)
        });
    }
    subnets
}

/// A subnet all of whose prefixes were refused holds every IPv4 address, so that nothing else is refused for the same reason.
fn subnet(name: Arc<str>, mut cidr: PerFamily<Option<IpNet>>, mtu: overlab_dataplane::Mtu) -> Subnet {
    if cidr.iter().flatten().next().is_none() {
        cidr.v4 = Some(IpNet::V4(Ipv4Net::default()));
    }
    Subnet {
        name,
        cidr,
        gateway: PerFamily::from_fn(|family| addresses::at(1, (*cidr.get(family))?)),
        mtu,
        acl: None,
        routes: None,
    }
}

/// The n-th /24, or /64 of IPv6, of the underlay, from 1.
fn derived(whole: IpNet, place: usize, field: &FieldRef, wires: &mut Wires, refusals: &mut Vec<Refusal>) -> Option<IpNet> {
    let length = match whole {
        IpNet::V4(_) => 24,
        IpNet::V6(_) => 64,
    };
    let net = whole.subnets(length).ok().and_then(|mut nets| nets.nth(place + 1));
    match net {
        Some(net) => wires.notes.push(format!("subnet {}: {net}", last_key(field))),
        None => refusals.push(
            Refusal::new(
                "E-SUBNET",
                field.clone(),
                format!("{whole} has no room for another /{length}"),
            )
            .why(format!(
                "a subnet without `cidr` is the next /{length} of its underlay, from the second on"
            ))
            .help("give the subnet a `cidr`"),
        ),
    }
    net
}

fn last_key(field: &FieldRef) -> String {
    let path = field.path.to_string();
    path.rsplit('.').next().unwrap_or_default().to_owned()
}

/// Whether a subnet lies inside its underlay, and beside all others.
fn fits(net: IpNet, at: &FieldRef, whole: &Pair<IpNet>, taken: &[(IpNet, FieldRef)], refusals: &mut Vec<Refusal>) -> bool {
    let before = refusals.len();
    let family = Family::of_net(net);
    let (whole, whole_at) = (*whole.values.get(family), whole.fields.get(family));
    if let Some(whole) = whole.filter(|whole| !whole.contains(&net)) {
        refusals.push(
            Refusal::new("E-SUBNET", at.clone(), format!("{net} is not inside the underlay's {whole}"))
                .why("an underlay routes its own addresses only")
                .help(format!("use a part of {whole}, or widen the underlay's `cidr`"))
                .related(whole_at.clone(), "the underlay"),
        );
    }
    if let Some((other, first)) = taken.iter().find(|(other, _)| other.contains(&net) || net.contains(other)) {
        refusals.push(
            Refusal::new("E-SUBNET", at.clone(), format!("{net} overlaps {other}"))
                .why("an address belongs to one subnet only")
                .help("give each subnet addresses of its own")
                .related(first.clone(), "the other subnet"),
        );
    }
    refusals.len() == before
}
