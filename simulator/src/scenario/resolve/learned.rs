//! What routers of underlays learn by BGP from the nodes that peer with them, and tell the routers around them.

use ipnet::IpNet;
use overlab_dataplane::calico::ClusterState;
use overlab_dataplane::route::bgp_outside;

use super::gateways::prefixes;
use crate::scenario::model::{Gateway, Machine, Underlay, UnderlayRoute, Via};

/// Adds the routes of pods to the routers that a BGPPeer's address belongs to. A peer that is no router of an underlay teaches none.
pub(super) fn learn(cluster: &ClusterState, underlays: &mut [Underlay], gateways: &mut [Gateway], nodes: &[Machine]) {
    let mut direct: Vec<(usize, IpNet)> = Vec::new();
    for route in bgp_outside(cluster) {
        let has = |underlay: &Underlay| {
            let mut own = underlay.subnets.iter().flat_map(|subnet| subnet.gateway.iter());
            own.any(|address| *address == Some(route.speaker))
        };
        let router = underlays.iter().position(has);
        let node = nodes.iter().position(|node| node.has(route.next_hop));
        if let Some((router, node)) = router.zip(node).filter(|(router, node)| nodes[*node].underlay == *router) {
            underlays[router].learned.push(UnderlayRoute {
                destination: route.destination,
                via: Via::Machine(node),
            });
            direct.push((router, route.destination));
        }
    }
    for (origin, destination) in &direct {
        tell(*origin, *destination, &direct, underlays, gateways);
    }
}

/// Lets everybody who learned a way to the origin's own addresses use it for this destination too, unless a node has told him
/// himself.
fn tell(origin: usize, destination: IpNet, direct: &[(usize, IpNet)], underlays: &mut [Underlay], gateways: &mut [Gateway]) {
    let own = prefixes(&underlays[origin]);
    for (place, underlay) in underlays.iter_mut().enumerate() {
        let towards = underlay.learned.iter().find_map(|route| match route.via {
            Via::Gateway(gateway) if own.contains(&route.destination) && gateways[gateway].kind.exchanges_routes() => {
                Some(route.via)
            }
            Via::Gateway(_) | Via::Machine(_) | Via::Nowhere => None,
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
