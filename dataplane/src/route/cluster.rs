//! The tables of a Calico node, as one pure function of the datastore and the node's own kernel.
//!
//! Candidates are blocks and borrowed addresses, never pools or workloads elsewhere. A route that cannot be completed is
//! absent, and its packets follow whatever the host's other routes say.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::decide::{self, Pair, decide};
use super::devices::{self, add_workloads, nic_devices, tunnel_device};
use super::host::{arrange, host_routes, host_tables, resolve};
use super::vtep::vtep;
use super::{
    AllowList, Decision, Device, DeviceId, DeviceKind, HostNetwork, IpipTunnel, LocalWorkload, Mtus, NodeTables, Owner, Route,
    RouteKind, RouteProtocol, VxlanTunnel, WorkloadRules,
};
use crate::calico::{Block, ClusterState, IpPool, Node, Settings};
use crate::encap::Encap;
use crate::fields::FieldRef;
use crate::{Family, PerFamily};

/// The tables of a machine: those of a Calico node if the datastore has a Node of its name, else those of a plain host.
///
/// Source: Calico felix/calc/l3_route_resolver.go and felix/dataplane/linux/route_mgr.go; confd's bird templates.
pub fn node_tables(cluster: &ClusterState, host: &HostNetwork) -> NodeTables {
    match cluster.nodes().get(&host.name) {
        Some(node) => View::new(cluster, node, host).tables(),
        None => host_tables(host),
    }
}

/// What one node sees of the cluster.
struct View<'a> {
    cluster: &'a ClusterState,
    node: &'a Node,
    host: &'a HostNetwork,
    settings: Settings,
    mtus: Mtus,
    devices: Vec<Device>,
    workloads: Vec<LocalWorkload>,
    ipip: Option<IpipTunnel>,
    vxlan: PerFamily<Option<VxlanTunnel>>,
    /// The card that carries the node's address: the device under the VXLAN tunnel, and of Felix's direct routes.
    parent: PerFamily<Option<DeviceId>>,
}

/// A destination on another node.
struct Candidate<'a> {
    destination: IpNet,
    node: &'a Arc<str>,
    at: &'a FieldRef,
}

impl<'a> View<'a> {
    fn new(cluster: &'a ClusterState, node: &'a Node, host: &'a HostNetwork) -> View<'a> {
        let settings = cluster.settings(&node.name);
        let mtus = Mtus::of(&settings, host);
        let mut devices = nic_devices(host);
        let parent = PerFamily::from_fn(|family| parent(node, family, &devices));
        let ipip = settings
            .ipip
            .then(|| ipip_tunnel(cluster, node, &mut devices, &mtus))
            .flatten();
        let vxlan = PerFamily::from_fn(|family| {
            let on = *settings.vxlan.get(family) && parent.get(family).is_some();
            on.then(|| vxlan_tunnel(cluster, node, family, &settings, &mut devices, &mtus))
                .flatten()
        });
        let endpoints = cluster.endpoints().values().filter(|e| e.node == node.name);
        let workloads = add_workloads(&mut devices, endpoints, &mtus);
        View {
            cluster,
            node,
            host,
            settings,
            mtus,
            devices,
            workloads,
            ipip,
            vxlan,
            parent,
        }
    }

    fn tables(self) -> NodeTables {
        let mut routes = self.local_routes();
        routes.extend(self.candidates().filter_map(|candidate| self.route_to(&candidate)));
        routes.extend(self.blackholes());
        routes.extend(host_routes(self.host));
        let (routes, fib) = arrange(routes);
        NodeTables {
            node: self.node.name.clone(),
            devices: self.devices,
            routes,
            fib,
            ipip: self.ipip,
            vxlan: self.vxlan,
            vxlan_enabled: self.settings.vxlan,
            vxlan_port: self.settings.vxlan_port,
            workloads: self.workloads,
            pools: self.cluster.pools().values().map(|pool| pool.cidr).collect(),
            rules: WorkloadRules {
                endpoint_to_host: self.settings.endpoint_to_host,
                allow_vxlan: self.settings.allow_vxlan_from_workloads,
                allow_ipip: self.settings.allow_ipip_from_workloads,
            },
            nat: PerFamily::default(),
            vxlan_untracked: PerFamily::from_fn(|family| {
                *self.settings.vxlan.get(family) && self.cluster.profile().untracks_vxlan()
            }),
            rp_filter: self.host.rp_filter,
            mtus: self.mtus,
            absent: Vec::new(),
            forwarding: true,
        }
    }

    /// Source: Calico felix/dataplane/linux/endpoint_mgr.go.
    fn local_routes(&self) -> Vec<Route> {
        let of_workload = |workload: &LocalWorkload| {
            let at = self
                .cluster
                .endpoints()
                .get(&workload.name)
                .map(|e| e.at.clone())
                .unwrap_or_default();
            let device = workload.device;
            let route = move |address: &IpAddr| Route {
                device: Some(device),
                protocol: RouteProtocol::BOOT,
                metric: self.settings.normal_route_metric,
                ..route(
                    RouteKind::Local,
                    IpNet::from(*address),
                    decide::local(self.cluster.pool_of(*address), &at),
                )
            };
            workload.addresses.iter().map(route).collect::<Vec<_>>()
        };
        self.workloads.iter().flat_map(of_workload).collect()
    }

    /// Blocks of other nodes, and addresses that a node uses out of another's block or out of nobody's. A node's own address is
    /// never a workload's destination.
    ///
    /// Source: Calico felix/calc/l3_route_resolver.go, routesFromBlock.
    fn candidates(&self) -> impl Iterator<Item = Candidate<'a>> {
        let (cluster, here) = (self.cluster, &self.node.name);
        let of_block = move |block: &'a Block| {
            let whole = block.affinity.as_ref().map(|node| Candidate {
                destination: block.cidr,
                node,
                at: &block.at,
            });
            let single = block.allocations.iter().filter_map(move |(address, allocation)| {
                let node = allocation
                    .node
                    .as_ref()
                    .filter(|node| block.affinity.as_ref() != Some(node))?;
                let own = cluster.nodes().values().any(|node| node.has_address(*address));
                (!own).then_some(Candidate {
                    destination: IpNet::from(*address),
                    node,
                    at: &allocation.at,
                })
            });
            whole.into_iter().chain(single)
        };
        cluster.blocks().values().flat_map(of_block).filter(move |c| c.node != here)
    }

    fn pool_over(&self, destination: IpNet) -> Option<&'a IpPool> {
        let mut pools = self.cluster.pools().values();
        pools.find(|pool| pool.routes() && pool.cidr.contains(&destination))
    }

    fn route_to(&self, candidate: &Candidate<'_>) -> Option<Route> {
        let pool = self.pool_over(candidate.destination)?;
        let remote = self.cluster.nodes().get(candidate.node)?;
        match pool.encapsulation() {
            Encap::Vxlan => self.vxlan_route(candidate, pool, remote),
            Encap::Ipip | Encap::None => self.bgp_route(candidate, pool, remote),
        }
    }

    /// Felix's route to a VXLAN pool: direct in the same subnet, else through the tunnel, else none.
    ///
    /// Source: Calico felix/dataplane/linux/route_mgr.go, updateRoutes; vxlan_mgr.go, tunnelRoute.
    fn vxlan_route(&self, candidate: &Candidate<'_>, pool: &IpPool, remote: &Node) -> Option<Route> {
        let family = Family::of_net(candidate.destination);
        let tunnel = self.vxlan.get(family).as_ref()?;
        let (local, other) = (self.node.resolver_address(family), remote.resolver_address(family));
        let pair = Pair {
            local: (&self.node.name, local.as_ref()),
            remote: (&remote.name, other.as_ref()),
        };
        let decision = decide(pool, pair, candidate.at);
        let to = |kind, decision| Route {
            node: Some(remote.name.clone()),
            ..route(kind, candidate.destination, decision)
        };
        if let (true, Some(other), Some(parent)) = (decision.same_subnet(), &other, *self.parent.get(family)) {
            return Some(Route {
                gateway: Some(other.net.addr()),
                device: Some(parent),
                protocol: RouteProtocol::FELIX,
                onlink: true,
                ..to(RouteKind::Direct, decision)
            });
        }
        let remote_end = vtep(remote, family);
        let is_the_end = remote.vxlan_tunnel.get(family).map(IpNet::from) == Some(candidate.destination);
        if !is_the_end && remote_end.is_none() {
            return None;
        }
        Some(Route {
            gateway: remote_end.filter(|_| !is_the_end).map(|end| end.address),
            device: Some(tunnel.device),
            protocol: RouteProtocol::BOOT,
            onlink: !is_the_end,
            mtu: Some(self.mtus.vxlan_over(family)).filter(|_| self.cluster.profile().tunnel_routes_carry_mtu()),
            ..to(RouteKind::Vxlan, decision)
        })
    }

    /// BIRD's route to a pool of IPIP or of no encapsulation. Its next hop is the remote node, which the host's own routes must
    /// reach; without a tunnel the packet goes to whatever neighbour they name.
    ///
    /// Source: Calico confd/pkg/backends/calico/bgp_processor.go, processIPPool; BIRD sysdep/linux/netlink.c, nl_send_route.
    fn bgp_route(&self, candidate: &Candidate<'_>, pool: &IpPool, remote: &Node) -> Option<Route> {
        if !self.cluster.bgp() || pool.disable_bgp_export {
            return None;
        }
        let family = Family::of_net(candidate.destination);
        let (local, other) = (self.node.bgp_address(family)?, remote.bgp_address(family)?);
        let next_hop = other.net.addr();
        let (card, neighbour) = resolve(self.host, next_hop)?;
        let pair = Pair {
            local: (&self.node.name, Some(&local)),
            remote: (&remote.name, Some(&other)),
        };
        let decision = decide(pool, pair, candidate.at);
        let tunnel = self.ipip.as_ref().filter(|_| decision.tunnels());
        let kind = if tunnel.is_some() {
            RouteKind::Ipip
        } else {
            RouteKind::Direct
        };
        Some(Route {
            gateway: Some(if tunnel.is_some() { next_hop } else { neighbour }),
            device: Some(tunnel.map_or(card, |tunnel| tunnel.device)),
            node: Some(remote.name.clone()),
            owner: Owner::Bird,
            protocol: RouteProtocol::BIRD,
            onlink: tunnel.is_some(),
            metric: self.settings.normal_route_metric,
            ..route(kind, candidate.destination, decision)
        })
    }

    /// What no workload of a local block has dies here, instead of returning by the default route.
    ///
    /// Source: Calico felix/dataplane/linux/route_mgr.go, blackholeRoutes; confd's bird_aggr.cfg.template.
    fn blackholes(&self) -> impl Iterator<Item = Route> {
        let local = |block: &&Block| {
            let many = block.cidr.prefix_len() < block.cidr.max_prefix_len();
            many && block.affinity.as_ref() == Some(&self.node.name)
        };
        self.cluster.blocks().values().filter(local).filter_map(|block| {
            let pool = self.pool_over(block.cidr)?;
            let by_felix = pool.encapsulation() == Encap::Vxlan;
            let vxlan = *self.settings.vxlan.get(Family::of_net(block.cidr));
            let programmed = if by_felix { vxlan } else { self.cluster.bgp() };
            let blackhole = route(RouteKind::Blackhole, block.cidr, decide::local(Some(pool), &block.at));
            programmed.then_some(if by_felix {
                Route {
                    protocol: RouteProtocol::FELIX,
                    ..blackhole
                }
            } else {
                Route {
                    owner: Owner::Bird,
                    protocol: RouteProtocol::BIRD,
                    metric: self.settings.normal_route_metric,
                    ..blackhole
                }
            })
        })
    }
}

/// A route of Felix's with nothing but a destination and its reasons.
fn route(kind: RouteKind, destination: IpNet, decision: Decision) -> Route {
    Route {
        destination,
        kind,
        gateway: None,
        device: None,
        node: None,
        same_subnet: decision.same_subnet(),
        owner: Owner::Felix,
        protocol: RouteProtocol::BOOT,
        onlink: false,
        metric: 0,
        mtu: None,
        decision: Some(Arc::new(decision)),
    }
}

fn parent(node: &Node, family: Family, cards: &[Device]) -> Option<DeviceId> {
    let address = node.bgp_net(family)?.addr();
    let carries = |card: &Device| card.addresses.iter().any(|net| net.addr() == address);
    let index = cards.iter().position(carries)?;
    u16::try_from(index).ok().map(DeviceId)
}

/// `tunl0`, and every node's address, this one's included.
///
/// Source: Calico felix/dataplane/linux/ipip_mgr.go; ipset_hosts_mgr.go.
fn ipip_tunnel(cluster: &ClusterState, node: &Node, devices: &mut Vec<Device>, mtus: &Mtus) -> Option<IpipTunnel> {
    let address = node.ipip_tunnel.map(IpAddr::from);
    let device = devices::add(devices, tunnel_device("tunl0", DeviceKind::Ipip, address, mtus.ipip))?;
    let hosts = cluster.nodes().values().filter_map(|node| node.host_address(Family::V4));
    Some(IpipTunnel {
        device,
        allowed: AllowList {
            hosts: Arc::new(hosts.map(|record| record.net.addr()).collect()),
            ..AllowList::default()
        },
    })
}

/// The VXLAN device of a family with the tunnel ends of the other nodes; none as long as this node has no end of its own.
///
/// Source: Calico felix/dataplane/linux/vxlan_mgr.go.
fn vxlan_tunnel(
    cluster: &ClusterState,
    node: &Node,
    family: Family,
    settings: &Settings,
    devices: &mut Vec<Device>,
    mtus: &Mtus,
) -> Option<VxlanTunnel> {
    let own = vtep(node, family)?;
    let name = match family {
        Family::V4 => "vxlan.calico",
        Family::V6 => "vxlan-v6.calico",
    };
    let mtu = mtus.vxlan_over(family);
    let device = devices::add(devices, tunnel_device(name, DeviceKind::Vxlan, Some(own.address), mtu))?;
    let mut ends: Vec<_> = cluster.nodes().values().filter_map(|node| vtep(node, family)).collect();
    ends.sort_by_key(|end| end.address);
    Some(VxlanTunnel {
        device,
        vni: settings.vni,
        mac: own.mac,
        local: own.node_address,
        allowed: AllowList {
            hosts: Arc::new(ends.iter().map(|end| end.node_address).collect()),
            except: Some(own.node_address),
            ..AllowList::default()
        },
        ends: ends.into(),
    })
}
