//! The way to the internet: who has which public address, and the routes that follow from it or that providers give by themselves.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use overlab_dataplane::fields::{FieldRef, Refusal};

use super::gateways::{ANYWHERE, prefixes};
use super::machines::Machines;
use super::underlay::Wires;
use crate::fabric::GatewayKind;
use crate::scenario::model::{Gateway, Underlay, UnderlayRoute, Via, cards};

/// Adds the routes that follow from who has which public address, and those that providers have by themselves.
pub(super) fn finish(wires: &mut Wires, machines: &Machines, refusals: &mut Vec<Refusal>) {
    let public = public_addresses(wires, machines, refusals);
    for (place, gateway) in wires.gateways.iter_mut().enumerate() {
        let Some((inside, others)) = gateway.joins.split_first() else {
            continue;
        };
        let own = public.iter().filter(|(_, underlay)| underlay == inside);
        match (gateway.kind, others.first()) {
            (GatewayKind::InternetGateway, Some(internet)) => {
                for (address, _) in own {
                    let net = IpNet::from(IpAddr::V4(*address));
                    gateway.routes.push((net, *inside));
                    wires.underlays[*internet].learned.push(UnderlayRoute {
                        destination: net,
                        via: Via::Gateway(place),
                    });
                }
                // IPv6 addresses are public as they are.
                let public = prefixes(&wires.underlays[*inside])
                    .into_iter()
                    .filter(|net| matches!(net, IpNet::V6(_)));
                let public: Vec<_> = public
                    .map(|destination| UnderlayRoute {
                        destination,
                        via: Via::Gateway(place),
                    })
                    .collect();
                wires.underlays[*internet].learned.extend(public);
                provided(&mut wires.underlays[*inside], place);
            }
            (GatewayKind::Peering, Some(other)) => {
                for (one, other) in [(*inside, *other), (*other, *inside)] {
                    // Some providers exchange the routes of peered networks themselves.
                    if wires.underlays[one].knobs.provides_routes {
                        let routes = prefixes(&wires.underlays[other])
                            .into_iter()
                            .map(|destination| UnderlayRoute {
                                destination,
                                via: Via::Gateway(place),
                            });
                        let routes: Vec<_> = routes.collect();
                        wires.underlays[one].learned.extend(routes);
                    }
                }
            }
            (
                GatewayKind::InternetGateway
                | GatewayKind::Peering
                | GatewayKind::TransitGateway
                | GatewayKind::NatGateway
                | GatewayKind::Router
                | GatewayKind::Firewall,
                _,
            ) => {}
        }
    }
}

/// The routes to the internet that a provider gives by itself; AWS gives none.
fn provided(underlay: &mut Underlay, gateway: usize) {
    let to = |destination, via| UnderlayRoute { destination, via };
    let anywhere = ANYWHERE.map(|net| to(net, Via::Gateway(gateway)));
    if underlay.knobs.provides_routes {
        let nowhere = underlay.knobs.leads_nowhere.iter();
        underlay.learned.extend(nowhere.map(|net| to(IpNet::V4(*net), Via::Nowhere)));
        underlay.learned.extend(anywhere);
    }
}

/// Every public address with the underlay that it belongs to.
fn public_addresses(wires: &Wires, machines: &Machines, refusals: &mut Vec<Refusal>) -> Vec<(Ipv4Addr, usize)> {
    let gateways = wires.gateways.iter();
    let of_gateways = gateways.filter_map(|g| Some((g.public_address?, *g.joins.first()?, g.field.clone())));
    let of_machines = cards(&machines.nodes, &machines.hosts)
        .filter_map(|(_, _, card)| Some((card.public_address?, card.underlay, card.field.clone())));
    let mut public: Vec<(Ipv4Addr, usize)> = Vec::new();
    let mut seen: BTreeMap<Ipv4Addr, FieldRef> = BTreeMap::new();
    for (address, underlay, field) in of_gateways.chain(of_machines) {
        let leads_out = |g: &Gateway| g.kind == GatewayKind::InternetGateway && g.joins.first() == Some(&underlay);
        if !wires.gateways.iter().any(leads_out) {
            let name = wires.underlays.get(underlay).map_or("", |underlay| &underlay.name);
            refusals.push(
                Refusal::new(
                    "E-PUBLIC",
                    field.clone(),
                    format!("{address} in `{name}`, which has no way to the internet"),
                )
                .why("a public address is translated where the network meets the internet")
                .help("add `gateways: {igw: {kind: internetGateway, joins: [...]}}`, or remove `publicIp`"),
            );
        }
        if let Some(other) = seen
            .insert(address, field.clone())
            .or_else(|| machines.addresses.get(&IpAddr::V4(address)).cloned())
        {
            refusals.push(
                Refusal::new("E-PUBLIC", field, format!("{address} is there twice"))
                    .help("give each interface and gateway a public address of its own")
                    .related(other, "first here"),
            );
        }
        public.push((address, underlay));
    }
    public
}
