//! What routers learn: from each other, where a router or firewall joins their networks, and by BGP from the nodes that peer with them.

use std::collections::{BTreeMap, VecDeque};

use ipnet::IpNet;
use overlab_dataplane::calico::ClusterState;
use overlab_dataplane::route::bgp_outside;

use super::gateways::prefixes;
use super::underlay::Wires;
use crate::scenario::model::{Gateway, Machine, Underlay, UnderlayRoute, Via, cards};

/// A router of an underlay, or what joins underlays and passes routes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hop {
    Underlay(usize),
    Gateway(usize),
}

/// Lets routers and firewalls tell each other what they know: each learns the first step of a shortest way to every prefix. What is
/// declared first goes before what is as near.
pub(super) fn exchange(wires: &mut Wires) {
    let neighbours = |hop: Hop| -> Vec<Hop> {
        let gateways = wires
            .gateways
            .iter()
            .enumerate()
            .filter(|(_, gateway)| gateway.kind.exchanges_routes());
        match hop {
            Hop::Gateway(gateway) => wires.gateways[gateway]
                .joins
                .iter()
                .map(|place| Hop::Underlay(*place))
                .collect(),
            Hop::Underlay(underlay) => gateways
                .filter(|(_, gateway)| gateway.joins.contains(&underlay))
                .map(|(place, _)| Hop::Gateway(place))
                .collect(),
        }
    };
    let underlays: Vec<_> = (0..wires.underlays.len())
        .map(|from| first_steps(Hop::Underlay(from), neighbours))
        .collect();
    let gateways: Vec<_> = (0..wires.gateways.len())
        .map(|from| match wires.gateways[from].kind.exchanges_routes() {
            true => first_steps(Hop::Gateway(from), neighbours),
            false => BTreeMap::new(),
        })
        .collect();
    let known: Vec<Vec<IpNet>> = wires.underlays.iter().map(prefixes).collect();
    for (from, steps) in underlays.into_iter().enumerate() {
        for (to, step) in steps {
            if let (Hop::Underlay(to), Hop::Gateway(gateway)) = (to, step) {
                let routes = known[to].iter().map(|net| UnderlayRoute {
                    destination: *net,
                    via: Via::Gateway(gateway),
                });
                wires.underlays[from].learned.extend(routes);
            }
        }
    }
    for (from, steps) in gateways.into_iter().enumerate() {
        for (to, step) in steps {
            if let (Hop::Underlay(to), Hop::Underlay(step)) = (to, step) {
                let routes = known[to].iter().map(|net| (*net, step));
                wires.gateways[from].routes.extend(routes);
            }
        }
    }
}

/// For everything that can be reached: the neighbour that a shortest way to it begins with.
fn first_steps(from: Hop, neighbours: impl Fn(Hop) -> Vec<Hop>) -> BTreeMap<Hop, Hop> {
    let mut steps: BTreeMap<Hop, Hop> = neighbours(from).into_iter().map(|next| (next, next)).collect();
    let mut waiting: VecDeque<Hop> = neighbours(from).into();
    while let Some(hop) = waiting.pop_front() {
        for next in neighbours(hop).into_iter().filter(|next| *next != from) {
            if let (false, Some(step)) = (steps.contains_key(&next), steps.get(&hop).copied()) {
                steps.insert(next, step);
                waiting.push_back(next);
            }
        }
    }
    steps
}

/// Adds the routes of pods to the routers that a BGPPeer's address belongs to. A peer that is no router of an underlay teaches none.
/// Gives a sentence about each.
pub(super) fn learn(
    cluster: &ClusterState,
    underlays: &mut [Underlay],
    gateways: &mut [Gateway],
    nodes: &[Machine],
) -> Vec<String> {
    let (mut direct, mut notes) = (Vec::new(), Vec::new());
    for route in bgp_outside(cluster) {
        let has = |underlay: &Underlay| {
            let mut own = underlay.subnets.iter().flat_map(|subnet| subnet.gateway.iter());
            own.any(|address| *address == Some(route.speaker))
        };
        let router = underlays.iter().position(has);
        let card = cards(nodes, &[]).find(|(_, _, card)| card.has(route.next_hop));
        if let Some((router, (nic, node, _))) = router.zip(card).filter(|(router, (.., card))| card.underlay == *router) {
            underlays[router].learned.push(UnderlayRoute {
                destination: route.destination,
                via: Via::Card(nic),
            });
            let (name, destination, node) = (&underlays[router].name, route.destination, &node.name);
            notes.push(format!("the router of {name} learns {destination} by BGP from {node}"));
            direct.push((router, destination));
        }
    }
    for (origin, destination) in &direct {
        tell(*origin, *destination, &direct, underlays, gateways);
    }
    notes
}

/// Lets everybody who learned a way to the origin's own addresses use it for this destination too, unless a node has told it
/// itself.
fn tell(origin: usize, destination: IpNet, direct: &[(usize, IpNet)], underlays: &mut [Underlay], gateways: &mut [Gateway]) {
    let own = prefixes(&underlays[origin]);
    for (place, underlay) in underlays.iter_mut().enumerate() {
        let towards = underlay.learned.iter().find_map(|route| match route.via {
            Via::Gateway(gateway) if own.contains(&route.destination) && gateways[gateway].kind.exchanges_routes() => {
                Some(route.via)
            }
            Via::Gateway(_) | Via::Card(_) | Via::Nowhere => None,
        });
        if let Some(via) = towards.filter(|_| !direct.contains(&(place, destination))) {
            underlay.learned.push(UnderlayRoute { destination, via });
        }
    }
    for gateway in gateways.iter_mut().filter(|gateway| gateway.kind.exchanges_routes()) {
        let towards = gateway
            .routes
            .iter()
            .find(|(net, _)| own.contains(net))
            .map(|(_, step)| *step);
        gateway.routes.extend(towards.map(|step| (destination, step)));
    }
}
