//! The tables of a Calico node, as one pure function of the datastore and the node's own kernel.

use std::sync::Arc;

use super::devices::{add_workloads, nic_devices};
use super::host::{Way, host_routes, host_tables};
use super::local::Local;
use super::outlook::{Devices, Outlook};
use super::routes::Routes;
use super::shared::Shared;
use super::{
    Device, HostNetwork, Index, IpipTunnel, Kernel, LocalWorkload, Mtus, NodeTables, VxlanTunnel, WorkloadRules, nat, tunnels,
};
use crate::PerFamily;
use crate::calico::{ClusterState, Node, Settings};

/// The tables of a machine: those of a Calico node if the datastore has a Node of its name, else those of a plain host.
///
/// Source: Calico felix/calc/l3_route_resolver.go and felix/dataplane/linux/route_mgr.go; confd's bird templates.
pub fn node_tables(cluster: &ClusterState, host: &HostNetwork) -> NodeTables {
    let index = Index::of(cluster);
    match View::new(cluster, &index, host, cluster.settings(&host.name)) {
        Some(view) => {
            let shared = Shared::of(cluster, &index, &view.outlook);
            view.tables(Arc::new(shared))
        }
        None => host_tables(host),
    }
}

/// One node's view of the cluster.
pub(super) struct View<'a> {
    cluster: &'a ClusterState,
    index: &'a Index,
    node: &'a Node,
    host: &'a HostNetwork,
    settings: Settings,
    mtus: Mtus,
    devices: Vec<Device>,
    workloads: Vec<LocalWorkload>,
    ipip: Option<IpipTunnel>,
    vxlan: PerFamily<Option<VxlanTunnel>>,
    pub(super) outlook: Outlook,
}

impl<'a> View<'a> {
    /// The view of a machine whose Felix has these settings; none if it is no node.
    pub(super) fn new(
        cluster: &'a ClusterState,
        index: &'a Index,
        host: &'a HostNetwork,
        settings: Settings,
    ) -> Option<View<'a>> {
        let node = cluster.nodes().get(&host.name)?;
        let mtus = Mtus::of(&settings, host);
        // Cards, then tunnels, then workloads: so that routes to other nodes name the same devices on every node.
        let mut devices = nic_devices(host);
        let parent = PerFamily::from_fn(|family| tunnels::parent(node, family, &devices));
        let ipip = settings
            .ipip
            .then(|| tunnels::ipip(index, node, &settings, &mut devices, &mtus))
            .flatten();
        let vxlan = PerFamily::from_fn(|family| {
            let on = *settings.vxlan.get(family) && parent.get(family).is_some();
            on.then(|| tunnels::vxlan(index, node, family, &settings, &mut devices, &mtus))
                .flatten()
        });
        let made = Devices {
            parent,
            ipip: ipip.as_ref(),
            vxlan: &vxlan,
        };
        let outlook = Outlook::of((cluster, index), node, &settings, &mtus, &made, &Way::of(host));
        let endpoints = index
            .endpoints
            .on(&node.name)
            .filter_map(|name| cluster.endpoints().get(name));
        let workloads = add_workloads(&mut devices, endpoints, &mtus, settings.honour_spoofing);
        Some(View {
            cluster,
            index,
            node,
            host,
            settings,
            mtus,
            devices,
            workloads,
            ipip,
            vxlan,
            outlook,
        })
    }

    /// The node's tables, with the routes to other nodes of those with its outlook.
    pub(super) fn tables(self, shared: Arc<Shared>) -> NodeTables {
        let local = Local {
            cluster: self.cluster,
            index: self.index,
            node: self.node,
            settings: &self.settings,
            workloads: &self.workloads,
            vxlan: self.settings.vxlan,
        };
        let own = local.routes().chain(host_routes(self.host));
        let routes = Routes::new(&self.node.name, own, shared);
        NodeTables {
            node: self.node.name.clone(),
            recorded: PerFamily::from_fn(|family| self.node.resolver_address(family)),
            routes,
            ipip: self.ipip,
            vxlan: self.vxlan,
            vxlan_allowed: PerFamily::from_fn(|family| {
                let on = *self.settings.vxlan.get(family);
                on.then(|| tunnels::vxlan_allowed(self.index, self.node, &self.settings, family))
            }),
            vxlan_port: self.settings.vxlan_port,
            pools: self.cluster.pools().values().map(|pool| pool.cidr).collect(),
            rules: WorkloadRules {
                endpoint_to_host: self.settings.endpoint_to_host,
                allow_vxlan: self.settings.allow_vxlan_from_workloads,
                allow_ipip: self.settings.allow_ipip_from_workloads,
            },
            nat: PerFamily::from_fn(|family| nat::rules(self.index, self.cluster.profile(), &self.settings, family)),
            vxlan_untracked: PerFamily::from_fn(|family| {
                *self.settings.vxlan.get(family) && self.cluster.profile().untracks_vxlan()
            }),
            services: self.index.services.clone(),
            spoils_translated_vxlan: spoils_translated_vxlan(self.host, &self.settings),
            rp_filter: self.host.rp_filter,
            mtus: self.mtus,
            devices: self.devices,
            workloads: self.workloads,
            forwarding: true,
        }
    }
}

/// Felix turns checksum offload off on its tunnel devices where the kernel is known to spoil what it translates, unless it is told
/// otherwise.
///
/// Source: Calico felix/dataplane/linux/vxlan_mgr.go, configureVXLANDevice.
fn spoils_translated_vxlan(host: &HostNetwork, settings: &Settings) -> bool {
    let spoils = host.kernel.is_some_and(Kernel::spoils_translated_vxlan);
    spoils && settings.checksum_offload_broken == Some(false)
}
