//! From a model's wires to routers and their route tables.

use std::collections::BTreeMap;
use std::net::IpAddr;

use overlab_dataplane::Fib;

use super::{Ingress, Router, Target};
use crate::fabric::segment::index;
use crate::observe::{Place, PlaceKind};
use crate::scenario::{GatewayKind, Model, UnderlayRoute, Via};
use crate::topology::{Topology, Vertex};

/// The router of every underlay, with a route to each subnet that the topology connects to it.
pub(in crate::fabric) fn build(model: &Model, topology: &Topology) -> Vec<Router> {
    (0..model.underlays.len())
        .map(|underlay| one(model, topology, underlay))
        .collect()
}

fn one(model: &Model, topology: &Topology, underlay: usize) -> Router {
    let wires = &model.underlays[underlay];
    let mut router = Router {
        place: Place {
            kind: PlaceKind::Router,
            name: wires.name.clone(),
        },
        no_route: wires.knobs.no_route,
        decrements_ttl: wires.knobs.router_decrements_ttl,
        addresses: Vec::new(),
        splits: wires.knobs.router_splits,
        tells_size: wires.knobs.router_tells_size,
        icmp_quote: wires.knobs.icmp_quote,
        clears_dscp: wires.knobs.clears_dscp,
        rp_filter: wires.knobs.rp_filter,
        tables: Vec::new(),
        table_of: BTreeMap::new(),
    };
    let mut local = Fib::default();
    for neighbour in topology.neighbours(Vertex::Router { underlay }) {
        if let Vertex::Subnet { underlay, subnet } = neighbour {
            let segment = index(model, underlay, subnet);
            let subnet = &model.underlays[underlay].subnets[subnet];
            router
                .addresses
                .extend(subnet.gateway.iter().flatten().map(|gateway| (segment, *gateway)));
            for cidr in subnet.cidr.iter().flatten() {
                local.insert(cidr.trunc(), Target::Segment(segment));
            }
        }
    }
    let own_gateways = || {
        let gateways = model.gateways.iter().enumerate();
        gateways.filter(|(_, gateway)| gateway.joins.contains(&underlay))
    };
    for (place, gateway) in own_gateways() {
        if let Some(public) = gateway.public_address {
            local.insert(IpAddr::V4(public).into(), Target::Gateway(place));
        }
    }
    let with = |mut fib: Fib<Target>, routes: &[UnderlayRoute]| {
        for route in routes {
            fib.insert(route.destination, target(route.via));
        }
        fib
    };
    router.tables.push(with(with(local.clone(), &wires.learned), &wires.routes));
    router.tables.push(local);
    for (place, gateway) in own_gateways() {
        // What comes from beside or from the internet is for this network alone; it is led nowhere else.
        if matches!(gateway.kind, GatewayKind::Peering | GatewayKind::InternetGateway) {
            router.table_of.insert(Ingress::Gateway(place), 1);
        }
    }
    for (place, subnet) in wires.subnets.iter().enumerate() {
        let Some(routes) = &subnet.routes else { continue };
        let table = with(with(router.tables[1].clone(), &wires.learned), routes);
        router.tables.push(table);
        let last = router.tables.len() - 1;
        router.table_of.insert(Ingress::Segment(index(model, underlay, place)), last);
        for (gateway, written) in own_gateways() {
            if written.subnet == Some(place) {
                router.table_of.insert(Ingress::Gateway(gateway), last);
            }
        }
    }
    router
}

fn target(via: Via) -> Target {
    match via {
        Via::Card(nic) => Target::Card(nic),
        Via::Gateway(gateway) => Target::Gateway(gateway),
        Via::Nowhere => Target::Nowhere,
    }
}
