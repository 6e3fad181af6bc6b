//! The state of a cluster: everything in the datastore, valid, with blocks, tunnel addresses and settings filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::addressing::{check_workloads, endpoint};
use super::backend::Networking;
use super::bgpconfiguration::DEFAULT_AS;
use super::daemonset::Environment;
use super::inventory::Inventory;
use super::ipam::Ipam;
use super::poolcreation::mark_overlapped;
use super::reading::{below, not_modelled};
use super::{
    BgpConfiguration, BgpFilter, BgpPeer, BgpSettings, Block, ClusterRoutes, ClusterRoutingMode, EndpointSlice,
    FelixConfiguration, Installation, IpPool, NetworkingBackend, Node, Profile, Readiness, Resource, Service, WorkloadEndpoint,
    hostlocal, tunnels,
};
use crate::encap::Encap;
use crate::fields::{FieldRef, Refusal};
use crate::{Family, Mtu};

mod changes;

/// The port of BGP unless configured.
const BGP_PORT: u16 = 179;

/// A workload as the scenario asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadRequest {
    /// Its name.
    pub name: Arc<str>,
    /// The node that it runs on.
    pub node: Arc<str>,
    /// Its fixed addresses, at most one of each family; it is given one of each other family that has a pool.
    pub addresses: Vec<IpAddr>,
    /// The pool that it is given its address from, if it is named; a family that this is not of gives none then.
    pub pool: Option<Arc<str>>,
    /// Where it is asked for; its `ip`, `node` and `pool` are keys of this place.
    pub origin: FieldRef,
}

/// A workload with its addresses.
///
/// Source: Calico libcalico-go/lib/apis/internalapi/workloadendpoint.go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The workload's name.
    pub name: Arc<str>,
    /// The node that it runs on.
    pub node: Arc<str>,
    /// Its addresses, one or none of each family, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// The node's end of its veth, if it is not the one that follows from its name.
    pub interface: Option<Arc<str>>,
    /// Ranges besides its addresses that it may send from, where the node's Felix lets it.
    pub spoofable: Vec<IpNet>,
    /// Where it is asked for.
    pub at: FieldRef,
}

impl Endpoint {
    /// The workload that the datastore holds itself.
    fn recorded(endpoint: WorkloadEndpoint) -> Endpoint {
        Endpoint {
            name: endpoint.name,
            node: endpoint.node,
            addresses: endpoint.addresses,
            interface: endpoint.interface,
            spoofable: endpoint.spoofable,
            at: endpoint.at,
        }
    }
}

/// A cluster's datastore.
#[derive(Clone, Debug)]
pub struct ClusterState {
    profile: Profile,
    installation: Option<Installation>,
    pools: BTreeMap<Arc<str>, IpPool>,
    nodes: BTreeMap<Arc<str>, Node>,
    blocks: BTreeMap<IpNet, Block>,
    endpoints: BTreeMap<Arc<str>, Endpoint>,
    felix: BTreeMap<Arc<str>, FelixConfiguration>,
    bgp: BTreeMap<Arc<str>, BgpConfiguration>,
    peers: BTreeMap<Arc<str>, BgpPeer>,
    filters: BTreeMap<Arc<str>, BgpFilter>,
    services: BTreeMap<Arc<str>, Service>,
    slices: BTreeMap<Arc<str>, EndpointSlice>,
    environment: FelixConfiguration,
    networking: Networking,
}

impl ClusterState {
    /// Puts a cluster together: resources object by object, what an Installation would create, then blocks and addresses.
    /// The order of the resources does not matter; that of the workloads decides who borrows from whom.
    ///
    /// # Errors
    /// All conflicts between objects, or, if there is none, all workloads and tunnels that can have no address.
    pub fn build(
        profile: Profile,
        resources: Vec<Resource>,
        workloads: Vec<WorkloadRequest>,
    ) -> Result<ClusterState, Vec<Refusal>> {
        ClusterState::assemble(profile, resources, workloads, None)
    }

    fn assemble(
        profile: Profile,
        resources: Vec<Resource>,
        mut workloads: Vec<WorkloadRequest>,
        before: Option<&ClusterState>,
    ) -> Result<ClusterState, Vec<Refusal>> {
        let mut refusals = Vec::new();
        if let Some(before) = before {
            workloads.iter_mut().for_each(|workload| before.keep_addresses(workload));
        }
        let mut inventory = Inventory::sort(resources, &mut refusals);
        let there = before.map(|before| before.pools.keys().cloned().collect());
        inventory.check(profile, &there.unwrap_or_default(), &mut refusals);
        if profile.judges_overlaps() {
            mark_overlapped(&mut inventory.pools);
        }
        check_workloads(&workloads, &inventory, &mut refusals);
        if let Some(installation) = inventory
            .installation
            .as_ref()
            .filter(|i| !i.calico_cni() && !workloads.is_empty())
        {
            let field = installation.field("spec.cni.type");
            refusals.push(not_modelled(field, "a network plugin other than Calico's").help("leave the workloads out"));
        }
        let networking = Networking::of(&inventory);
        if networking.host_local {
            hostlocal::check(&workloads, &inventory.nodes, &mut refusals);
        }
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let variables = inventory.environment.iter().flat_map(Environment::iter);
        let felix_environment = FelixConfiguration::from_environment(variables, &mut refusals);
        let configuration = inventory.ipam.unwrap_or_default();
        let declared = inventory.blocks.values().map(|b| b.block.clone());
        let blocks = match before {
            Some(before) => before.succeeding_blocks(declared, &inventory.pools, &inventory.workloads, &workloads),
            None => declared.collect(),
        };
        if before.is_some() {
            ClusterState::check_apart(&blocks, &inventory.blocks, &mut refusals);
        }
        let mut ipam = Ipam::new(&inventory.pools, &configuration, blocks);
        let mut nodes = inventory.nodes;
        if networking.backend == NetworkingBackend::None {
            nodes.values_mut().for_each(Node::leave_unrecorded);
        }
        if networking.host_local {
            hostlocal::prepare(&mut ipam, &mut nodes);
        }
        let mut endpoints = BTreeMap::new();
        for workload in &workloads {
            for address in &workload.addresses {
                ipam.record(
                    *address,
                    &workload.node,
                    workload.name.clone(),
                    &below(&workload.origin, "ip"),
                );
            }
        }
        for endpoint in inventory.workloads.into_values() {
            for address in &endpoint.addresses {
                ipam.record(*address, &endpoint.node, endpoint.name.clone(), &endpoint.addresses_field());
            }
            endpoints.insert(endpoint.name.clone(), Endpoint::recorded(endpoint));
        }
        if !networking.host_local {
            tunnels::assign(&mut ipam, &inventory.pools, &mut nodes, &mut refusals);
        }
        let pools = &inventory.pools;
        for workload in workloads {
            let endpoint = endpoint(&mut ipam, pools, &nodes, workload, networking.host_local, &mut refusals);
            endpoints.extend(endpoint.map(|e| (e.name.clone(), e)));
        }
        let blocks = ipam.finish();
        if !refusals.is_empty() {
            return Err(refusals);
        }
        Ok(ClusterState {
            profile,
            installation: inventory.installation,
            pools: inventory.pools,
            nodes,
            blocks,
            endpoints,
            felix: inventory.felix,
            bgp: inventory.bgp,
            peers: inventory.peers,
            filters: inventory.filters,
            services: inventory.services,
            slices: inventory.slices,
            environment: felix_environment,
            networking,
        })
    }

    /// The Calico version whose rules hold.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The pools, by name; those that an Installation describes included.
    pub fn pools(&self) -> &BTreeMap<Arc<str>, IpPool> {
        &self.pools
    }

    /// The nodes, by name, with their tunnel addresses.
    pub fn nodes(&self) -> &BTreeMap<Arc<str>, Node> {
        &self.nodes
    }

    /// The blocks, by range.
    pub fn blocks(&self) -> &BTreeMap<IpNet, Block> {
        &self.blocks
    }

    /// The workloads, by name.
    pub fn endpoints(&self) -> &BTreeMap<Arc<str>, Endpoint> {
        &self.endpoints
    }

    /// The Felix configurations, by name.
    pub fn felix(&self) -> &BTreeMap<Arc<str>, FelixConfiguration> {
        &self.felix
    }

    /// The BGP configurations, by name.
    pub fn bgp_configurations(&self) -> &BTreeMap<Arc<str>, BgpConfiguration> {
        &self.bgp
    }

    /// The peerings besides the mesh, by name.
    pub fn bgp_peers(&self) -> &BTreeMap<Arc<str>, BgpPeer> {
        &self.peers
    }

    /// The filters of peerings, by name.
    pub fn bgp_filters(&self) -> &BTreeMap<Arc<str>, BgpFilter> {
        &self.filters
    }

    /// The services that have cluster IPs, by namespace and name.
    pub fn services(&self) -> &BTreeMap<Arc<str>, Service> {
        &self.services
    }

    /// Where the connections of services go, by namespace and name.
    pub fn endpoint_slices(&self) -> &BTreeMap<Arc<str>, EndpointSlice> {
        &self.slices
    }

    /// What the environment of calico-node sets of Felix, which goes before every configuration in the datastore.
    pub fn environment(&self) -> &FelixConfiguration {
        &self.environment
    }

    /// The Installation, if there is one.
    pub fn installation(&self) -> Option<&Installation> {
        self.installation.as_ref()
    }

    /// The pools that Felix and BIRD are told of: of pools with one range the one with the lowest name.
    ///
    /// Source: Calico libcalico-go/lib/backend/syncersv1/updateprocessors/conflictresolvingcacheproc.go.
    pub fn delivered_pools(&self) -> impl Iterator<Item = &IpPool> {
        let mut ranges = BTreeSet::new();
        self.pools.values().filter(move |pool| ranges.insert(pool.cidr))
    }

    fn is_delivered(&self, pool: &IpPool) -> bool {
        let first = self.pools.values().find(|other| other.cidr == pool.cidr);
        first.is_some_and(|first| first.name == pool.name)
    }

    /// The pool that an address lies in; of several the smallest.
    pub fn pool_of(&self, address: IpAddr) -> Option<&IpPool> {
        // Of equals the last one is taken: the one with the lowest name, which is delivered.
        let around = self.pools.values().rev().filter(|pool| pool.cidr.contains(&address));
        around.max_by_key(|pool| pool.cidr.prefix_len())
    }

    /// Which daemons run beside Felix: what calico-node's environment says, else the ConfigMap `calico-config`, else an
    /// Installation, else BIRD.
    pub fn networking_backend(&self) -> NetworkingBackend {
        self.networking.backend
    }

    /// The MTU that the network plugin gives to workloads, if it is fixed.
    pub(super) fn cni_mtu(&self) -> Option<Mtu> {
        self.networking.cni_mtu
    }

    /// Where `calico-config` fixes the MTU of workloads, if it does.
    pub fn fixed_workload_mtu(&self) -> Option<&FieldRef> {
        self.networking.cni_mtu_at.as_ref()
    }

    /// Whether BGP runs.
    pub fn bgp(&self) -> bool {
        self.networking.backend == NetworkingBackend::Bird
    }

    /// What calico-node's readiness waits for, if a manifest says so.
    pub fn readiness(&self) -> Option<&Readiness> {
        self.networking.readiness.as_ref()
    }

    /// Who programs routes to other nodes, if an Installation says it in a way that this Calico version knows.
    pub fn cluster_routing_mode(&self) -> Option<ClusterRoutingMode> {
        self.installation.as_ref()?.routing_mode_in(self.profile)
    }

    /// Whether every two nodes have a BGP session, route reflectors aside.
    pub fn bgp_mesh(&self) -> bool {
        self.bgp.get("default").and_then(|b| b.mesh).unwrap_or(true)
    }

    /// The settings of BGP on a node: the Node's own AS, else the node's configuration, else the global one, else the default.
    ///
    /// Source: Calico confd/pkg/backends/calico/bgp_processor.go.
    pub fn bgp_configuration(&self, node: &str) -> BgpSettings {
        let global = self.bgp.get("default");
        let own = self.bgp.get(format!("node.{node}").as_str());
        let layers: Vec<&BgpConfiguration> = own.into_iter().chain(global).collect();
        let number = self.nodes.get(node).and_then(|node| node.as_number);
        BgpSettings {
            mesh: self.bgp_mesh(),
            as_number: number.or_else(|| global?.as_number).unwrap_or(DEFAULT_AS),
            listen_port: layers.iter().find_map(|b| b.listen_port).unwrap_or(BGP_PORT),
            routes: self.bird_routes(node),
            normal_route_metric: layers
                .iter()
                .find_map(|b| b.normal_route_metric)
                .unwrap_or(self.profile.normal_route_metric()),
        }
    }

    /// The classes of routes that BIRD programs on a node.
    ///
    /// Source: Calico confd/pkg/backends/calico/bgp_processor.go, clusterRoutePolicyFromBGPConfig.
    pub fn bird_routes(&self, node: &str) -> ClusterRoutes {
        let own = self.bgp.get(format!("node.{node}").as_str());
        let mut layers = own.into_iter().chain(self.bgp.get("default"));
        layers
            .find_map(|b| b.program_cluster_routes.as_deref())
            .and_then(|text| self.profile.program_cluster_routes(text))
            .or_else(|| self.cluster_routing_mode().map(ClusterRoutingMode::bird_routes))
            .unwrap_or(self.profile.bird_routes())
    }

    /// Whether an encapsulation is on by the pools alone: some pool uses it in any mode, disabled ones included.
    ///
    /// Source: Calico felix/calc/encapsulation_resolver.go.
    pub fn pools_enable(&self, encapsulation: Encap, family: Family) -> bool {
        let uses = |pool: &&IpPool| pool.encapsulation() == encapsulation && Family::of_net(pool.cidr) == family;
        self.pools.values().filter(uses).any(|pool| self.is_delivered(pool))
    }
}
