//! The wires between machines: underlays and their subnets.

use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, integer, suggestion, text, word};
use serde_json::Value;

use super::names::{self, Names};
use super::{NOT_MODELLED, not_modelled, refuse_unmodelled};
use crate::fabric::{Knobs, Preset};
use crate::scenario::model::{Subnet, Underlay};
use crate::scenario::quantity::{cidr, duration, mtu};

/// The addresses of an underlay, unless it says otherwise.
const DEFAULT_CIDR: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 0, 0, 0), 16);

/// Presets that scenarios have and that are not modelled yet.
const LATER: [&str; 3] = ["azure", "gcp", "openstack"];

/// What the underlays are, and how many nodes their subnets count.
pub(super) struct Wires {
    pub(super) underlays: Vec<Underlay>,
    /// Subnets that say how many nodes they have.
    pub(super) counted: Vec<Counted>,
    pub(super) notes: Vec<String>,
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
        if wires.underlays.len() == 1 {
            refusals.push(
                not_modelled(field.clone(), "a second underlay")
                    .at_key()
                    .help("use one underlay with several subnets"),
            );
        }
        read_one(name, Fields::new(value, field, refusals), &mut wires, refusals);
    }
    wires
}

fn read_one(name: &str, mut fields: Fields<'_>, wires: &mut Wires, refusals: &mut Vec<Refusal>) {
    let preset = fields.require("preset", refusals, preset).unwrap_or(Preset::Onprem);
    let mut knobs = preset.knobs();
    let net = fields.parse("cidr", refusals, |v| cidr(v).and_then(|net| allowed(preset, net)));
    if fields.value("cidr").is_none() {
        wires.notes.push(format!("underlay {name}: {DEFAULT_CIDR}"));
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
    refuse_unmodelled(
        &mut fields,
        &["securityGroups", "routers", "router", "links", "acl"],
        refusals,
    );

    let whole = (net.unwrap_or(DEFAULT_CIDR), fields.field("cidr"));
    let subnets = subnets(&mut fields, preset, &knobs, &whole, wires, refusals);
    fields.finish(refusals);
    wires.underlays.push(Underlay {
        name: name.into(),
        preset,
        knobs,
        subnets,
    });
}

fn preset(value: &Value) -> Result<Preset, Wrong> {
    match value.as_str() {
        Some(name) if LATER.contains(&name) => {
            Err(Wrong::rule(NOT_MODELLED, format!("preset `{name}` is not modelled yet"))
                .help("the presets are `aws` and `onprem`"))
        }
        Some(_) | None => word(value, Preset::ALL),
    }
}

/// The largest MTU that can be asked for.
///
/// Source: AWS VPC user guide, "Network maximum transmission unit".
fn largest(preset: Preset) -> u16 {
    match preset {
        Preset::Aws => 9001,
        Preset::Onprem => u16::MAX,
    }
}

/// Source: AWS VPC user guide, "VPC CIDR blocks" and "Subnet sizing": /16 to /28. Elsewhere a subnet needs room for a router and
/// machines.
fn allowed(preset: Preset, net: Ipv4Net) -> Result<Ipv4Net, Wrong> {
    let (shortest, longest) = match preset {
        Preset::Aws => (16, 28),
        Preset::Onprem => (8, 29),
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
    whole: &(Ipv4Net, FieldRef),
    wires: &mut Wires,
    refusals: &mut Vec<Refusal>,
) -> Vec<Subnet> {
    let entries = fields.entries("subnets", refusals);
    if entries.is_empty() {
        let refusal = Refusal::new("K-MISSING", fields.at().clone(), "the underlay has no subnets");
        refusals.push(refusal.help("add `subnets: {az-a: {nodes: 2}}`"));
    }
    let mut subnets = Vec::new();
    let mut taken: Vec<(Ipv4Net, FieldRef)> = Vec::new();
    for (place, (name, field, value)) in entries.into_iter().enumerate() {
        names::check("subnet", name, &field, refusals);
        let mut fields = Fields::new(value, field.clone(), refusals);
        let given = fields.value("cidr").is_some();
        let net = match given {
            true => fields.parse("cidr", refusals, |v| cidr(v).and_then(|net| allowed(preset, net))),
            false => derived(whole.0, place, &field, wires, refusals),
        };
        let at = if given { fields.field("cidr") } else { field };
        let net = net.filter(|net| fits(*net, &at, whole, &taken, refusals));
        taken.extend(net.map(|net| (net, at)));
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
        refuse_unmodelled(&mut fields, &["acl", "routes"], refusals);
        fields.finish(refusals);
        subnets.push(subnet(name.into(), net, mtu));
    }
    subnets
}

/// A subnet whose prefix was refused holds every address, so that nothing else is refused for the same reason.
fn subnet(name: Arc<str>, net: Option<Ipv4Net>, mtu: overlab_dataplane::Mtu) -> Subnet {
    let net = net.unwrap_or_default();
    Subnet {
        name,
        cidr: IpNet::V4(net),
        gateway: net.hosts().next().unwrap_or(net.addr()).into(),
        mtu,
    }
}

/// The n-th /24 of the underlay, from 1.
fn derived(whole: Ipv4Net, place: usize, field: &FieldRef, wires: &mut Wires, refusals: &mut Vec<Refusal>) -> Option<Ipv4Net> {
    let net = whole.subnets(24).ok().and_then(|mut nets| nets.nth(place + 1));
    match net {
        Some(net) => wires.notes.push(format!("subnet {}: {net}", last_key(field))),
        None => refusals.push(
            Refusal::new("E-SUBNET", field.clone(), format!("{whole} has no room for another /24"))
                .why("a subnet without `cidr` is the next /24 of its underlay, from the second on")
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
fn fits(
    net: Ipv4Net,
    at: &FieldRef,
    (whole, whole_at): &(Ipv4Net, FieldRef),
    taken: &[(Ipv4Net, FieldRef)],
    refusals: &mut Vec<Refusal>,
) -> bool {
    let before = refusals.len();
    if !whole.contains(&net) {
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
