//! The settings of Felix that hold on one node: every layer of configuration merged. How each layer is read is not here.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{AwsSrcDstCheck, ClusterRoutingMode, ClusterState, FelixConfiguration};
use crate::encap::Encap;
use crate::route::{EndpointToHostAction, RouteProtocol};
use crate::{Family, Mtu, PerFamily, Vni};

/// The port of VXLAN unless configured.
const VXLAN_PORT: u16 = 4789;

/// Which classes of routes to other nodes a component programs. Those of VXLAN pools are always Felix's.
///
/// Source: Calico design/cluster-route-programming/DESIGN.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterRoutes {
    /// Those of IPIP pools.
    pub ipip: bool,
    /// Those of pools without encapsulation.
    pub no_encap: bool,
}

/// What Felix makes routes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteSource {
    /// Blocks and borrowed addresses.
    #[default]
    CalicoIpam,
    /// The addresses of every workload.
    WorkloadIps,
}

/// The settings that hold on one node, after every default and override.
///
/// Source: Calico felix/config/config_params.go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether IPIP is on: `tunl0` is up and the allow-list exists.
    pub ipip: bool,
    /// Whether VXLAN is on, by family.
    pub vxlan: PerFamily<bool>,
    /// The MTU of `tunl0`; none for automatic.
    pub ipip_mtu: Option<Mtu>,
    /// The MTUs of `vxlan.calico` and `vxlan-v6.calico`; none for automatic.
    pub vxlan_mtu: PerFamily<Option<Mtu>>,
    /// Names of the cards whose MTUs count, as a regular expression; none for Calico's default.
    pub mtu_iface_pattern: Option<Arc<str>>,
    /// The MTU of workloads, if it is fixed by whoever installed Calico.
    pub workload_mtu: Option<Mtu>,
    /// The UDP port of VXLAN.
    pub vxlan_port: u16,
    /// The network identifier of VXLAN.
    pub vni: Vni,
    /// What happens to workloads' packets for their own node.
    pub endpoint_to_host: EndpointToHostAction,
    /// Whether workloads may send UDP to the VXLAN port.
    pub allow_vxlan_from_workloads: bool,
    /// Whether workloads may send IP protocol 4.
    pub allow_ipip_from_workloads: bool,
    /// What Felix does to the source/destination check of AWS.
    pub aws_src_dst_check: AwsSrcDstCheck,
    /// Ranges outside the cluster from which tunnel packets are let in.
    pub external_nodes: Arc<[IpNet]>,
    /// The source that outgoing packets are translated to, by family; that of the output device unless configured.
    pub nat_outgoing_address: PerFamily<Option<IpAddr>>,
    /// Source ports that TCP and UDP are translated to, first and last.
    pub nat_ports: Option<(u16, u16)>,
    /// Whether packets to nodes' addresses are exempt from translation (`natOutgoingExclusions: IPPoolsAndHostIPs`).
    pub nat_exempts_hosts: bool,
    /// The output device that translation is limited to.
    pub nat_interface: Option<Arc<str>>,
    /// What Felix makes routes from.
    pub route_source: RouteSource,
    /// The classes of routes that Felix programs.
    pub felix_routes: ClusterRoutes,
    /// The preferred source of Felix's routes that state none, by family.
    pub route_source_address: PerFamily<Option<IpAddr>>,
    /// The protocol number of Felix's routes; boot (3) leaves each kind its own.
    pub route_protocol: RouteProtocol,
    /// The metric of routes to local workloads.
    pub normal_route_metric: u32,
    /// Whether Felix programs no route at all.
    pub route_sync_disabled: bool,
    /// Whether workloads' wishes to use other sources are honoured (`workloadSourceSpoofing: Any`).
    pub honour_spoofing: bool,
    /// Whether checksum offload of tunnel devices counts as broken, so that Felix turns it off; by the kernel unless configured.
    pub checksum_offload_broken: Option<bool>,
}

/// What Felix reads when it starts. It does not look again: once any of it has changed, Felix ends and is started anew.
///
/// Source: Calico felix/daemon/daemon.go, configChangedRestart; felix/calc/encapsulation_resolver.go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FelixStart {
    /// Its settings.
    pub settings: Settings,
    /// Whether it programs routes of pools without encapsulation, by family.
    no_encap: PerFamily<bool>,
    /// The node's own tunnel addresses, which are parameters of its configuration.
    tunnels: Vec<IpAddr>,
}

impl ClusterState {
    /// What Felix would read if it started on a node now.
    pub fn felix_start(&self, node: &str) -> FelixStart {
        let settings = self.settings(node);
        let record = self.nodes().get(node);
        let ipip = record.and_then(|node| node.ipip_tunnel).map(IpAddr::V4);
        let vxlan = record
            .into_iter()
            .flat_map(|node| node.vxlan_tunnel.iter().flatten().copied());
        FelixStart {
            no_encap: PerFamily::from_fn(|family| settings.felix_routes.no_encap && self.pools_enable(Encap::None, family)),
            tunnels: ipip.into_iter().chain(vxlan).collect(),
            settings,
        }
    }

    /// The settings of Felix on a node: what an Installation fixes, else the environment of calico-node, else the node's
    /// configuration, else the global one, else the default.
    ///
    /// Source: Calico felix/config/config_params.go; operator pkg/render/node.go.
    pub fn settings(&self, node: &str) -> Settings {
        let own = self.felix().get(format!("node.{node}").as_str());
        let stored = own.into_iter().chain(self.felix().get("default"));
        let layers: Vec<&FelixConfiguration> = std::iter::once(self.environment()).chain(stored).collect();
        let layers = Layers(&layers);
        let fixed_mtu = self.installation().and_then(|i| i.mtu);
        Settings {
            ipip: layers
                .first(|f| f.ipip_enabled)
                .unwrap_or_else(|| self.pools_enable(Encap::Ipip, Family::V4)),
            vxlan: PerFamily {
                v4: layers
                    .first(|f| f.vxlan_enabled)
                    .unwrap_or_else(|| self.pools_enable(Encap::Vxlan, Family::V4)),
                v6: self.pools_enable(Encap::Vxlan, Family::V6),
            },
            ipip_mtu: fixed_mtu
                .filter(|_| self.bgp())
                .or_else(|| layers.first(|f| f.ipip_mtu).flatten()),
            vxlan_mtu: PerFamily {
                v4: fixed_mtu.or_else(|| layers.first(|f| f.vxlan_mtu).flatten()),
                v6: fixed_mtu.or_else(|| layers.first(|f| f.vxlan_mtu_v6).flatten()),
            },
            mtu_iface_pattern: layers.first(|f| f.mtu_iface_pattern.clone()),
            workload_mtu: self.cni_mtu(),
            vxlan_port: layers.first(|f| f.vxlan_port).unwrap_or(VXLAN_PORT),
            vni: layers.first(|f| f.vxlan_vni).unwrap_or(Vni::CALICO),
            endpoint_to_host: if self.installation().is_some() {
                EndpointToHostAction::Accept
            } else {
                layers.first(|f| f.endpoint_to_host).unwrap_or_default()
            },
            allow_vxlan_from_workloads: layers.first(|f| f.allow_vxlan_from_workloads).unwrap_or(false),
            allow_ipip_from_workloads: layers.first(|f| f.allow_ipip_from_workloads).unwrap_or(false),
            aws_src_dst_check: layers.first(|f| f.aws_src_dst_check).unwrap_or_default(),
            external_nodes: layers.first(|f| f.external_nodes.clone()).unwrap_or_default(),
            nat_outgoing_address: PerFamily {
                v4: layers.first(|f| f.nat_outgoing_address).flatten().map(IpAddr::V4),
                v6: None,
            },
            nat_ports: layers.first(|f| f.nat_ports),
            nat_exempts_hosts: layers.first(|f| f.nat_exempts_hosts).unwrap_or(false),
            nat_interface: layers.first(|f| f.nat_interface.clone()).flatten(),
            route_source: layers.first(|f| f.route_source).unwrap_or_default(),
            felix_routes: layers
                .first(|f| f.program_cluster_routes.clone())
                .and_then(|text| self.profile().program_cluster_routes(&text))
                .or_else(|| self.cluster_routing_mode().map(ClusterRoutingMode::felix_routes))
                .unwrap_or(self.profile().felix_routes()),
            route_source_address: PerFamily {
                v4: layers.first(|f| f.route_source_address).flatten().map(IpAddr::V4),
                v6: layers.first(|f| f.route_source_address_v6).flatten().map(IpAddr::V6),
            },
            route_protocol: layers.first(|f| f.route_protocol).unwrap_or(RouteProtocol::BOOT),
            normal_route_metric: layers
                .first(|f| f.normal_route_metric)
                .unwrap_or(self.profile().normal_route_metric()),
            route_sync_disabled: layers.first(|f| f.route_sync_disabled).unwrap_or(false),
            honour_spoofing: layers.first(|f| f.honour_spoofing).unwrap_or(false),
            checksum_offload_broken: layers.first(|f| f.checksum_offload_broken).flatten(),
        }
    }
}

/// Layers of configuration, the strongest first.
struct Layers<'a>(&'a [&'a FelixConfiguration]);

impl Layers<'_> {
    /// What the strongest layer that states a field says.
    fn first<T>(&self, field: impl Fn(&FelixConfiguration) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|layer| field(layer))
    }
}
