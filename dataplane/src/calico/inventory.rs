//! The objects of a datastore sorted by kind and name, and the rules between them. It allocates nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::daemonset::Environment;
use super::ippool::Declared;
use super::poolcreation::{Standing, by_place};
use super::ranges::Ranges;
use super::reading::{DUPLICATE, below};
use super::{
    AffinityState, BgpConfiguration, BgpFilter, BgpPeer, BlockAffinity, CalicoConfig, CalicoNode, EndpointSlice,
    FelixConfiguration, Installation, IpPool, IpamBlock, IpamConfiguration, KubeadmConfig, Node, Profile, Resource, Service,
    WorkloadEndpoint, envpools, since,
};
use crate::Family;
use crate::fields::{FieldRef, Refusal, suggestion};

/// Objects by kind and name.
#[derive(Default)]
pub(super) struct Inventory {
    pub(super) installation: Option<Installation>,
    pub(super) pools: BTreeMap<Arc<str>, IpPool>,
    pub(super) nodes: BTreeMap<Arc<str>, Node>,
    pub(super) blocks: BTreeMap<Arc<str>, IpamBlock>,
    pub(super) felix: BTreeMap<Arc<str>, FelixConfiguration>,
    pub(super) bgp: BTreeMap<Arc<str>, BgpConfiguration>,
    pub(super) peers: BTreeMap<Arc<str>, BgpPeer>,
    pub(super) filters: BTreeMap<Arc<str>, BgpFilter>,
    pub(super) calico_node: Option<CalicoNode>,
    pub(super) calico_config: Option<CalicoConfig>,
    pub(super) kubeadm_config: Option<KubeadmConfig>,
    /// The environment of calico-node, if its DaemonSet is there.
    pub(super) environment: Option<Environment>,
    pub(super) ipam: Option<IpamConfiguration>,
    pub(super) affinities: BTreeMap<Arc<str>, BlockAffinity>,
    pub(super) workloads: BTreeMap<Arc<str>, WorkloadEndpoint>,
    pub(super) services: BTreeMap<Arc<str>, Service>,
    pub(super) slices: BTreeMap<Arc<str>, EndpointSlice>,
}

impl Inventory {
    /// Sorts resources, and adds the pools that an Installation and the environment of calico-node bring. The second of two
    /// objects of one name is refused.
    pub(super) fn sort(resources: Vec<Resource>, refusals: &mut Vec<Refusal>) -> Inventory {
        let mut inventory = Inventory::default();
        for resource in resources {
            let kind = resource.kind();
            let taken = match resource {
                Resource::IpPool(pool) => inventory.add_pool(pool),
                Resource::Node(node) => add(&mut inventory.nodes, node.name.clone(), node, |n| &n.at),
                Resource::IpamBlock(block) => add(&mut inventory.blocks, block.name.clone(), block, IpamBlock::at),
                Resource::FelixConfiguration(felix) => add(&mut inventory.felix, felix.name.clone(), felix, |f| &f.at),
                Resource::BgpConfiguration(bgp) => add(&mut inventory.bgp, bgp.name.clone(), bgp, |b| &b.at),
                Resource::BgpPeer(peer) => add(&mut inventory.peers, peer.name.clone(), peer, |p| &p.at),
                Resource::BgpFilter(filter) => add(&mut inventory.filters, filter.name.clone(), filter, |f| &f.at),
                Resource::IpamConfiguration(new) => set(&mut inventory.ipam, new, |i| (&i.name, &i.at)),
                Resource::BlockAffinity(affinity) => add(&mut inventory.affinities, affinity.name.clone(), affinity, |a| &a.at),
                Resource::WorkloadEndpoint(endpoint) => inventory.add_workload(endpoint),
                Resource::Service(service) => add(&mut inventory.services, service.name.clone(), service, |s| &s.at),
                Resource::EndpointSlice(slice) => add(&mut inventory.slices, slice.name.clone(), slice, |s| &s.at),
                Resource::Installation(new) => set(&mut inventory.installation, new, |i| (&i.name, &i.at)),
                Resource::CalicoNode(new) => set(&mut inventory.calico_node, new, |n| (&n.name, &n.at)),
                Resource::CalicoConfig(new) => set(&mut inventory.calico_config, new, |c| (&c.name, &c.at)),
                Resource::KubeadmConfig(new) => set(&mut inventory.kubeadm_config, new, |c| (&c.name, &c.at)),
            };
            refusals.extend(taken.map(|taken| taken.refusal(kind)));
        }
        inventory.add_operators_pools(refusals);
        inventory.add_environments_pools(refusals);
        inventory.add_claimed_blocks(refusals);
        inventory
    }

    /// A pod may be there in both of its forms; Calico's own says more.
    fn add_workload(&mut self, endpoint: WorkloadEndpoint) -> Option<Taken> {
        match self.workloads.get(&endpoint.name) {
            Some(other) if other.kind() != endpoint.kind() => {
                if other.kind() == "Pod" {
                    self.workloads.insert(endpoint.name.clone(), endpoint);
                }
                None
            }
            _ => add(&mut self.workloads, endpoint.name.clone(), endpoint, |e| &e.at),
        }
    }

    /// A confirmed claim on a block that is not there stands for the empty block; one on another node's block is refused.
    fn add_claimed_blocks(&mut self, refusals: &mut Vec<Refusal>) {
        let mut holders: BTreeMap<IpNet, (Option<Arc<str>>, FieldRef)> = BTreeMap::new();
        for block in self.blocks.values() {
            holders.insert(block.block.cidr, (block.block.affinity.clone(), block.at().clone()));
        }
        let confirmed = self.affinities.values().filter(|a| a.state == AffinityState::Confirmed);
        for claim in confirmed {
            match holders.get(&claim.cidr) {
                Some((Some(node), at)) if *node != claim.node => {
                    let message = format!("block {} is claimed by {} and held by {node}", claim.cidr, claim.node);
                    refusals.push(
                        Refusal::new(DUPLICATE, below(&claim.at, "spec.node"), message)
                            .why("a block is affine to one node")
                            .help("remove the stale one of the two")
                            .related(at.clone(), "it is held here"),
                    );
                }
                Some(_) => {}
                None => {
                    holders.insert(claim.cidr, (Some(claim.node.clone()), claim.at.clone()));
                    self.blocks
                        .entry(claim.name.clone())
                        .or_insert_with(|| IpamBlock::claimed(claim));
                }
            }
        }
    }

    fn add_pool(&mut self, pool: IpPool) -> Option<Taken> {
        add(&mut self.pools, pool.name.clone(), pool, |p| &p.at)
    }

    /// A pool that is there already stands for the one of the same range in the Installation.
    fn add_operators_pools(&mut self, refusals: &mut Vec<Refusal>) {
        let Some(installation) = &self.installation else { return };
        let pools = match &installation.pools {
            Some(pools) => pools.clone(),
            None if self.pools.is_empty() => installation.default_pool().into_iter().collect(),
            None => Vec::new(),
        };
        for pool in pools {
            match self
                .pools
                .values()
                .find(|there| there.cidr == pool.cidr && matches!(there.declared, Declared::Manifest | Declared::Crd))
            {
                Some(there) => refusals.extend(differ(there, &pool)),
                None => refusals.extend(self.add_pool(pool).map(|taken| taken.refusal("IPPool"))),
            }
        }
    }

    fn add_environments_pools(&mut self, refusals: &mut Vec<Refusal>) {
        let Some(node) = &self.calico_node else { return };
        let environment = node.environment(self.calico_config.as_ref(), refusals);
        for pool in envpools::pools(&environment, self, refusals) {
            refusals.extend(self.add_pool(pool).map(|taken| taken.refusal("IPPool")));
        }
        self.environment = Some(environment);
    }

    /// Applies the rules between objects, and those that depend on the Calico version. Pools whose names are in `there` are not
    /// created: what is asked of new pools alone is not asked of them.
    pub(super) fn check(&self, profile: Profile, there: &BTreeSet<Arc<str>>, refusals: &mut Vec<Refusal>) {
        for pool in self.pools.values() {
            pool.check_version(profile, refusals);
            if let Some(installation) = self.installation.as_ref().filter(|_| pool.declared == Declared::Installation) {
                installation.check(pool, profile, refusals);
            }
        }
        for felix in self.felix.values() {
            since::check(&felix.since, profile, refusals);
        }
        self.check_pools(there, refusals);
        self.check_blocks(refusals);
        self.check_node_addresses(refusals);
        for bgp in self.bgp.values() {
            since::check(&bgp.since, profile, refusals);
        }
        self.check_filters(refusals);
        self.check_cluster_ips(refusals);
    }

    /// Source: Kubernetes pkg/registry/core/service/ipallocator/allocator.go, Allocate.
    fn check_cluster_ips(&self, refusals: &mut Vec<Refusal>) {
        let mut holders: BTreeMap<IpAddr, &Service> = BTreeMap::new();
        for service in self.services.values() {
            for address in &service.cluster_ips {
                if let Some(first) = holders.insert(*address, service) {
                    let message = format!("cluster IP {address} is service {}'s already", first.name);
                    refusals.push(
                        Refusal::new(DUPLICATE, below(&service.at, "spec.clusterIP"), message)
                            .why("an address is one service's")
                            .help("give the service an address of its own")
                            .related(below(&first.at, "spec.clusterIP"), "first here"),
                    );
                }
            }
        }
    }

    /// A filter that is not there would silently let everything pass, or nothing.
    fn check_filters(&self, refusals: &mut Vec<Refusal>) {
        for peer in self.peers.values() {
            for (i, name) in peer
                .filters
                .iter()
                .enumerate()
                .filter(|(_, name)| !self.filters.contains_key(*name))
            {
                let list = peer.field("spec.filters");
                let field = FieldRef {
                    origin: list.origin,
                    path: list.path.index(i),
                };
                let refusal = Refusal::new("K-UNKNOWN", field, format!("there is no BGPFilter {name:?}"));
                refusals.push(match suggestion(name, self.filters.keys().map(|name| &**name)) {
                    Some(near) => refusal.help(format!("did you mean {near:?}?")),
                    None => refusal.help("add it, or remove its name here"),
                });
            }
        }
    }

    /// Source: Calico libcalico-go/lib/clientv3/ippool.go, Create.
    fn check_pools(&self, there: &BTreeSet<Arc<str>>, refusals: &mut Vec<Refusal>) {
        let (old, new): (Vec<&IpPool>, Vec<&IpPool>) = self.pools.values().partition(|pool| there.contains(&pool.name));
        let (mut standing, mut created) = (Standing::default(), Standing::default());
        old.into_iter().for_each(|pool| standing.add(pool));
        for pool in by_place(new) {
            standing.create(pool, refusals);
            created.add(pool);
        }
        created.check_blocks(self.blocks.values(), refusals);
    }

    fn check_blocks(&self, refusals: &mut Vec<Refusal>) {
        let mut there: Ranges<&IpamBlock> = Ranges::default();
        for block in self.blocks.values() {
            let range = block.block.cidr;
            if let Some(other) = there.overlapping(range) {
                let message = format!("block {range} overlaps block {}", other.block.cidr);
                refusals.push(
                    Refusal::new(DUPLICATE, below(block.at(), "spec.cidr"), message)
                        .why("an address lies in one block")
                        .help("remove one of the blocks")
                        .related(below(other.at(), "spec.cidr"), "the other block"),
                );
            }
            there.insert(range, block);
        }
    }

    /// Source: Calico node/pkg/lifecycle/startup/startup.go, checkConflicts.
    fn check_node_addresses(&self, refusals: &mut Vec<Refusal>) {
        let mut holders: BTreeMap<_, &Node> = BTreeMap::new();
        for node in self.nodes.values() {
            let Some(record) = node.bgp_address(Family::V4) else {
                continue;
            };
            let address = record.net.addr();
            if let Some(first) = holders.insert(address, node) {
                refusals.push(
                    Refusal::new(
                        DUPLICATE,
                        record.at,
                        format!("address {address} of node {} is node {}'s too", node.name, first.name),
                    )
                    .why("Calico does not start on a node whose address another node has")
                    .help("give each node its own address")
                    .related(
                        first.field("spec.bgp.ipv4Address"),
                        format!("node {} has it here", first.name),
                    ),
                );
            }
        }
    }
}

/// A name that two objects of one kind claim.
struct Taken {
    name: Arc<str>,
    first: FieldRef,
    second: FieldRef,
}

impl Taken {
    fn refusal(self, kind: &str) -> Refusal {
        Refusal::new(DUPLICATE, self.second, format!("a second {kind} is named {:?}", &*self.name))
            .why("names are unique within a kind")
            .help("rename or remove one of them")
            .related(self.first, "the first one")
    }
}

fn add<T>(map: &mut BTreeMap<Arc<str>, T>, name: Arc<str>, object: T, at: fn(&T) -> &FieldRef) -> Option<Taken> {
    if let Some(first) = map.get(&name) {
        return Some(Taken {
            name,
            first: at(first).clone(),
            second: at(&object).clone(),
        });
    }
    map.insert(name, object);
    None
}

/// As [`add`], for a kind of which there is one object.
fn set<T>(slot: &mut Option<T>, object: T, key: fn(&T) -> (&Arc<str>, &FieldRef)) -> Option<Taken> {
    let Some(first) = slot else {
        *slot = Some(object);
        return None;
    };
    let ((_, first), (name, second)) = (key(first), key(&object));
    Some(Taken {
        name: name.clone(),
        first: first.clone(),
        second: second.clone(),
    })
}

/// Refuses a pool that the operator would change to what its Installation says.
///
/// Source: operator pkg/controller/ippool/pool_controller.go.
fn differ(there: &IpPool, wanted: &IpPool) -> Option<Refusal> {
    ((there.ipip, there.vxlan) != (wanted.ipip, wanted.vxlan)).then(|| {
        let message = format!("pool {} has another encapsulation than the Installation gives it", there.name);
        Refusal::new(DUPLICATE, there.mode_field(), message)
            .why("the operator sets its pools to what its Installation says, whatever they hold")
            .help("state the same encapsulation in both, or leave one of them out")
            .related(wanted.mode_field(), "the Installation says otherwise here")
    })
}
