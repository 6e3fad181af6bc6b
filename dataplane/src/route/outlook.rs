//! All of a node that its routes to other nodes depend on. Nodes with one outlook share these routes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::host::Way;
use super::{AbsentReason, DeviceId, Index, IpipTunnel, Mtus, RouteProtocol, VxlanTunnel};
use crate::calico::{ClusterRoutes, ClusterState, Node, RouteSource, Settings};
use crate::encap::Encap;
use crate::{Family, Mtu, PerFamily};

/// A tunnel device and its MTU, or why there is none.
pub(super) type Tunnel = Result<(DeviceId, Mtu), AbsentReason>;

/// What decides a node's routes to other nodes, besides the datastore.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Outlook {
    /// The subnets that the node holds to be its own, unless nobody asks or no other node is in it.
    pub(super) subnet: PerFamily<Option<IpNet>>,
    /// The card that carries its recorded address.
    pub(super) parent: PerFamily<Option<DeviceId>>,
    pub(super) ipip: Tunnel,
    pub(super) vxlan: PerFamily<Tunnel>,
    pub(super) felix: FelixOutlook,
    /// The classes of routes that BIRD programs.
    pub(super) bird_routes: ClusterRoutes,
    /// Where BIRD's next hops are, if it has sessions in the family.
    pub(super) bird: PerFamily<Option<BirdOutlook>>,
}

/// Felix's share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FelixOutlook {
    /// Whether it programs routes at all.
    pub(super) programs: bool,
    pub(super) routes: ClusterRoutes,
    pub(super) candidates: RouteSource,
    pub(super) protocol: RouteProtocol,
    pub(super) source: PerFamily<Option<IpAddr>>,
}

/// BIRD's share, in one family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BirdOutlook {
    pub(super) metric: u32,
    pub(super) way: Way,
    /// The number of what it has learned; none if every node learns the same.
    pub(super) rib: Option<usize>,
}

/// The devices that a node has made for its routes.
pub(super) struct Devices<'a> {
    pub(super) parent: PerFamily<Option<DeviceId>>,
    pub(super) ipip: Option<&'a IpipTunnel>,
    pub(super) vxlan: &'a PerFamily<Option<VxlanTunnel>>,
}

impl Outlook {
    pub(super) fn of(
        (cluster, index): (&ClusterState, &Index),
        node: &Node,
        settings: &Settings,
        mtus: &Mtus,
        devices: &Devices<'_>,
        way: &Way,
    ) -> Outlook {
        let vxlan = PerFamily::from_fn(|family| match devices.vxlan.get(family) {
            Some(tunnel) => Ok((tunnel.device, mtus.vxlan_over(family))),
            None if !*settings.vxlan.get(family) => Err(AbsentReason::EncapsulationOff),
            None if devices.parent.get(family).is_none() => Err(AbsentReason::NoParentDevice),
            None => Err(AbsentReason::NoLocalVtep),
        });
        let bgp = cluster.bgp_configuration(&node.name);
        Outlook {
            subnet: PerFamily::from_fn(|family| subnet(index, node, family)),
            parent: devices.parent,
            ipip: devices
                .ipip
                .map(|tunnel| (tunnel.device, mtus.ipip))
                .ok_or(AbsentReason::EncapsulationOff),
            vxlan,
            felix: FelixOutlook {
                programs: !settings.route_sync_disabled,
                routes: settings.felix_routes,
                candidates: settings.route_source,
                protocol: settings.route_protocol,
                source: settings.route_source_address,
            },
            bird_routes: bgp.routes,
            bird: PerFamily::from_fn(|family| {
                let needed = Encap::ALL
                    .into_iter()
                    .any(|encap| programs(bgp.routes, encap) && cluster.pools_enable(encap, family));
                let speaks = cluster.bgp() && node.bgp_net(family).is_some();
                (needed && speaks).then(|| BirdOutlook {
                    metric: bgp.normal_route_metric,
                    way: way.clone(),
                    rib: index.ribs.as_ref().and_then(|ribs| ribs.number(&node.name, family)),
                })
            }),
        }
    }
}

/// Whether a component programs the routes of an encapsulation's pools.
pub(super) fn programs(routes: ClusterRoutes, encapsulation: Encap) -> bool {
    match encapsulation {
        Encap::Vxlan => false,
        Encap::Ipip => routes.ipip,
        Encap::None => routes.no_encap,
    }
}

fn subnet(index: &Index, node: &Node, family: Family) -> Option<IpNet> {
    let own = node.resolver_address(family)?.net;
    let asked = index.pools.cross_subnet && (index.has_company(own, own.addr()) || index.ribs.is_some());
    asked.then(|| own.trunc())
}
