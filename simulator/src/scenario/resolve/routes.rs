//! Route tables of underlays as scenarios write them: an underlay's main one, and those that subnets have in its place.

use ipnet::IpNet;
use overlab_dataplane::fields::{FieldRef, Fields, Refusal, suggestion, text};

use super::machines::Machines;
use super::underlay::Wires;
use crate::fabric::{Knobs, NicId, Preset};
use crate::scenario::model::{Subnet, Underlay, UnderlayRoute, Via, cards};
use crate::scenario::quantity::cidr;

/// A route, before it is known where it leads.
pub(super) struct WrittenRoute {
    to: IpNet,
    via: String,
    at: FieldRef,
}

/// A route table, before it is known where its routes lead.
pub(super) struct WrittenTable {
    pub(super) underlay: usize,
    /// The subnet whose own it is; none for the main one.
    pub(super) subnet: Option<usize>,
    pub(super) routes: Vec<WrittenRoute>,
}

/// Reads `routes`: which prefix leads where. Who is meant is known only once machines and gateways are.
pub(super) fn read(fields: &mut Fields<'_>, knobs: &Knobs, refusals: &mut Vec<Refusal>) -> Vec<WrittenRoute> {
    let mut routes = Vec::new();
    for (field, value) in fields.items("routes", refusals) {
        let mut route = Fields::new(value, field.clone(), refusals);
        let to = route.require("to", refusals, cidr);
        let via = route.require("via", refusals, |v| text(v).map(str::to_owned));
        let via_at = route.field("via");
        route.finish(refusals);
        if knobs.route_quota.is_some_and(|quota| routes.len() >= quota) {
            let quota = knobs.route_quota.unwrap_or_default();
            refusals.push(
                Refusal::new("E-QUOTA", field, format!("more than {quota} routes in one route table"))
                    .why("the provider's quota for routes that are not propagated")
                    .help(
                        "use larger blocks, encapsulate across subnets, or have the quota raised and write `knobs: {routeQuota: \
                         1000}`",
                    ),
            );
            break;
        }
        routes.extend(to.zip(via).map(|(to, via)| WrittenRoute { to, via, at: via_at }));
    }
    routes
}

/// Reads a subnet's own route table, where the provider has such.
pub(super) fn of_subnet(
    fields: &mut Fields<'_>,
    preset: Preset,
    knobs: &Knobs,
    refusals: &mut Vec<Refusal>,
) -> Option<Vec<WrittenRoute>> {
    fields.value("routes")?;
    if !knobs.subnet_route_tables {
        refusals.push(
            Refusal::new(
                "E-ROUTE",
                fields.field("routes"),
                format!("subnets of `{}` have no route tables", preset.name()),
            )
            .at_key()
            .why("there the routes are those of the whole network")
            .help("write them as `routes` of the underlay"),
        );
    }
    Some(read(fields, knobs, refusals))
}

/// Finds out where routes lead. A machine's name stands for its first card.
pub(super) fn resolve(wires: &mut Wires, machines: &Machines, refusals: &mut Vec<Refusal>) {
    let mut names: Vec<(String, NicId)> = Vec::new();
    for (nic, machine, card) in cards(&machines.nodes, &machines.hosts) {
        names.extend((nic.card == 0).then(|| (machine.name.to_string(), nic)));
        names.push((format!("{}/{}", machine.name, card.name), nic));
    }
    for table in std::mem::take(&mut wires.tables) {
        let resolved = table
            .routes
            .into_iter()
            .filter_map(|route| one(route, table.underlay, &names, wires, refusals));
        let resolved: Vec<_> = resolved.collect();
        let Some(underlay) = wires.underlays.get_mut(table.underlay) else {
            continue;
        };
        match table.subnet {
            None => underlay.routes = resolved,
            Some(place) => {
                if let Some(subnet) = underlay.subnets.get_mut(place) {
                    subnet.routes = Some(resolved);
                }
            }
        }
    }
}

fn one(
    WrittenRoute { to, via, at }: WrittenRoute,
    underlay: usize,
    machines: &[(String, NicId)],
    wires: &Wires,
    refusals: &mut Vec<Refusal>,
) -> Option<UnderlayRoute> {
    let gateway = wires.gateways.iter().position(|gateway| *gateway.name == *via);
    let machine = machines.iter().find(|(name, _)| *name == via).map(|(_, nic)| *nic);
    let via = match (machine, gateway, &*via) {
        (Some(nic), ..) => Via::Card(nic),
        (None, Some(place), name) => {
            if !wires.gateways[place].joins.contains(&underlay) {
                let own = &wires.underlays[underlay].name;
                refusals.push(
                    Refusal::new("E-ROUTE", at, format!("`{name}` does not join `{own}`"))
                        .why("a route leads to a neighbour: a machine, or a gateway that the network is attached to")
                        .help(format!("join `{own}` and `{name}`, or name another gateway")),
                );
                return None;
            }
            Via::Gateway(place)
        }
        (None, None, "none") => Via::Nowhere,
        (None, None, name) => {
            let refusal = Refusal::new("E-ROUTE", at, format!("unknown node, host or gateway {name:?}"))
                .why("a route of an underlay leads to a machine's card, to a gateway, or to `none`");
            let gateways = wires.gateways.iter().map(|gateway| &*gateway.name);
            let machines = machines.iter().map(|(name, _)| &**name);
            refusals.push(match suggestion(name, machines.chain(gateways)) {
                Some(near) => refusal.help(format!("did you mean `{near}`?")),
                None => refusal.help("name a node, host or gateway of the scenario"),
            });
            return None;
        }
    };
    if let Some(subnet) = inside_subnet(to, &wires.underlays[underlay]) {
        refusals.push(
            Refusal::new("E-ROUTE", at, format!("{to} lies inside subnet {}", subnet.name))
                .why("an underlay delivers a subnet's addresses to the subnet; only a whole one can be led elsewhere")
                .help("route addresses of pods that are no addresses of the underlay"),
        );
        return None;
    }
    Some(UnderlayRoute { destination: to, via })
}

fn inside_subnet(to: IpNet, underlay: &Underlay) -> Option<&Subnet> {
    let inside = |net: &IpNet| net.contains(&to) && *net != to;
    let mut subnets = underlay.subnets.iter();
    subnets.find(|subnet| subnet.cidr.iter().flatten().any(inside))
}
