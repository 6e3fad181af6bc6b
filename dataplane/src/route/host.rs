//! What a machine's kernel has before Calico touches it: network cards, connected subnets and a default route.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::devices::nic_devices;
use super::{
    DeviceId, EndpointToHostAction, HostNetwork, Mtus, Nic, NodeTables, Owner, Route, RouteId, RouteKind, RouteProtocol,
    WorkloadRules,
};
use crate::{Family, Fib, PerFamily};

/// The port of VXLAN, which means nothing on a machine without Calico.
const VXLAN_PORT: u16 = 4789;

/// The tables of a machine that is no Calico node: it has its own addresses and forwards nothing.
pub fn host_tables(host: &HostNetwork) -> NodeTables {
    let (routes, fib) = arrange(host_routes(host));
    NodeTables {
        node: host.name.clone(),
        devices: nic_devices(host),
        routes,
        fib,
        ipip: None,
        vxlan: PerFamily::default(),
        vxlan_enabled: PerFamily::default(),
        vxlan_port: VXLAN_PORT,
        workloads: Vec::new(),
        pools: Vec::new(),
        rules: WorkloadRules {
            endpoint_to_host: EndpointToHostAction::Drop,
            allow_vxlan: false,
            allow_ipip: false,
        },
        nat: PerFamily::default(),
        vxlan_untracked: PerFamily::default(),
        rp_filter: host.rp_filter,
        mtus: Mtus::of_cards(host),
        absent: Vec::new(),
        forwarding: false,
    }
}

/// The routes that a machine has by itself.
pub(super) fn host_routes(host: &HostNetwork) -> Vec<Route> {
    let of_card = |(nic, index)| {
        let Nic { addresses, .. }: &Nic = nic;
        addresses.iter().map(move |address| Route {
            device: Some(DeviceId(index)),
            protocol: RouteProtocol::KERNEL,
            ..unowned(address.trunc())
        })
    };
    let connected = host.nics.iter().zip(0..).flat_map(of_card);
    let default = host.gateways.iter().flatten().copied().map(|gateway| Route {
        gateway: Some(gateway),
        device: Some(gateway_card(host, gateway)),
        onlink: connected_card(host, gateway).is_none(),
        ..unowned(default_prefix(gateway))
    });
    connected.chain(default).collect()
}

/// Where a packet to a next hop leaves: its card and the neighbour on it, which is the next hop itself if it is connected, else
/// the default gateway. None if neither is there.
pub(super) fn resolve(host: &HostNetwork, next_hop: IpAddr) -> Option<(DeviceId, IpAddr)> {
    match connected_card(host, next_hop) {
        Some(device) => Some((device, next_hop)),
        None => {
            let gateway = (*host.gateways.get(Family::of(next_hop)))?;
            Some((gateway_card(host, gateway), gateway))
        }
    }
}

/// Orders routes by prefix and keeps, of those to one prefix, a local workload's, else the one of the lowest metric, the first
/// of them if they tie.
///
/// Source: Calico felix/routetable/defs.go, RouteClass; Linux net/ipv4/fib_trie.c, fib_table_insert.
pub(super) fn arrange(mut routes: Vec<Route>) -> (Vec<Route>, Fib<RouteId>) {
    routes.sort_by_key(|route| (route.destination, route.kind != RouteKind::Local, route.metric));
    routes.dedup_by_key(|route| route.destination);
    let mut fib = Fib::default();
    for (route, id) in routes.iter().zip(0..) {
        fib.insert(route.destination, RouteId(id));
    }
    (routes, fib)
}

fn connected_card(host: &HostNetwork, address: IpAddr) -> Option<DeviceId> {
    let cards = host.nics.iter().zip(0..);
    cards
        .flat_map(|(nic, index)| nic.addresses.iter().map(move |net| (net, index)))
        .filter(|(net, _)| net.contains(&address))
        .max_by_key(|(net, index)| (net.prefix_len(), u16::MAX - index))
        .map(|(_, index)| DeviceId(index))
}

fn gateway_card(host: &HostNetwork, gateway: IpAddr) -> DeviceId {
    connected_card(host, gateway).unwrap_or(DeviceId(0))
}

fn default_prefix(gateway: IpAddr) -> IpNet {
    match gateway {
        IpAddr::V4(_) => Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// A host route with nothing but a destination, as booting would leave it.
fn unowned(destination: IpNet) -> Route {
    Route {
        destination,
        kind: RouteKind::Host,
        gateway: None,
        device: None,
        node: None,
        same_subnet: false,
        owner: Owner::Kernel,
        protocol: RouteProtocol::BOOT,
        onlink: false,
        metric: 0,
        mtu: None,
        decision: None,
    }
}
