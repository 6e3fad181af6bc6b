//! What a machine's kernel has before Calico touches it: network cards, connected subnets and a default route.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::devices::nic_devices;
use super::local::metric;
use super::routes::Routes;
use super::{
    DeviceId, EndpointToHostAction, HostNetwork, Mtus, Nic, NodeTables, Owner, Route, RouteKind, RouteProtocol, WorkloadRules,
};
use crate::{Family, PerFamily};

/// The port of VXLAN, which means nothing on a machine without Calico.
const VXLAN_PORT: u16 = 4789;

/// The tables of a machine that is no Calico node: it has its own addresses and forwards nothing.
pub fn host_tables(host: &HostNetwork) -> NodeTables {
    NodeTables {
        node: host.name.clone(),
        devices: nic_devices(host),
        recorded: PerFamily::default(),
        routes: Routes::new(&host.name, host_routes(host), Arc::default()),
        ipip: None,
        vxlan: PerFamily::default(),
        vxlan_allowed: PerFamily::default(),
        vxlan_port: VXLAN_PORT,
        workloads: Vec::new(),
        pools: Vec::new(),
        rules: WorkloadRules {
            endpoint_to_host: EndpointToHostAction::Drop,
            allow_vxlan: false,
            allow_ipip: false,
        },
        nat: PerFamily::default(),
        services: Arc::default(),
        vxlan_untracked: PerFamily::default(),
        spoils_translated_vxlan: false,
        rp_filter: host.rp_filter,
        mtus: Mtus::of_cards(host),
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
            metric: connected_metric(address),
            source: Some(address.addr()).filter(IpAddr::is_ipv4),
            ..unowned(address.trunc())
        })
    };
    let connected = host.nics.iter().zip(0..).flat_map(of_card);
    let way = Way::of(host);
    let default = way.gateways.iter().flatten().map(|(device, gateway)| Route {
        gateway: Some(*gateway),
        device: Some(*device),
        onlink: way.card(*gateway).is_none(),
        metric: metric(default_prefix(*gateway), 0),
        ..unowned(default_prefix(*gateway))
    });
    connected.chain(default).collect()
}

/// The way out of a machine to next hops that are not on its tunnels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way {
    connected: Vec<(IpNet, DeviceId)>,
    gateways: PerFamily<Option<(DeviceId, IpAddr)>>,
}

impl Way {
    pub(super) fn of(host: &HostNetwork) -> Way {
        let nets = |(nic, index): (&Nic, u16)| {
            nic.addresses
                .iter()
                .map(move |net| (net.trunc(), DeviceId(index)))
                .collect::<Vec<_>>()
        };
        let mut way = Way {
            connected: host.nics.iter().zip(0..).flat_map(nets).collect(),
            gateways: PerFamily::default(),
        };
        way.gateways = PerFamily::from_fn(|family| {
            let gateway = (*host.gateways.get(family))?;
            Some((way.card(gateway).unwrap_or(DeviceId(0)), gateway))
        });
        way
    }

    /// Where a packet to a next hop leaves: its card and the neighbour on it, which is the next hop itself if it is connected,
    /// else the default gateway. None if neither is there.
    pub(super) fn to(&self, next_hop: IpAddr) -> Option<(DeviceId, IpAddr)> {
        let connected = self.card(next_hop).map(|device| (device, next_hop));
        connected.or(*self.gateways.get(Family::of(next_hop)))
    }

    fn card(&self, address: IpAddr) -> Option<DeviceId> {
        let holding = self.connected.iter().filter(|(net, _)| net.contains(&address));
        holding
            .max_by_key(|(net, device)| (net.prefix_len(), u16::MAX - device.0))
            .map(|(_, device)| *device)
    }
}

/// Source: Linux include/uapi/linux/ipv6_route.h, IP6_RT_PRIO_ADDRCONF.
fn connected_metric(address: &IpNet) -> u32 {
    match Family::of_net(*address) {
        Family::V4 => 0,
        Family::V6 => 256,
    }
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
        source: None,
        decision: None,
    }
}
