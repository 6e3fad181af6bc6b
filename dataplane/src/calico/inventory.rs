//! The objects of a datastore sorted by kind and name, and the rules between them. It allocates nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::daemonset::Environment;
use super::ippool::Declared;
use super::poolrules::overlap;
use super::reading::{DUPLICATE, below};
use super::{
    BgpConfiguration, BgpFilter, BgpPeer, CalicoConfig, CalicoNode, FelixConfiguration, Installation, IpPool, IpamBlock,
    KubeadmConfig, Node, Profile, Resource, envpools, since,
};
use crate::Family;
use crate::fields::{FieldRef, Refusal, suggestion};
use crate::route::Mode;

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
                Resource::Installation(new) => set(&mut inventory.installation, new, |i| (&i.name, &i.at)),
                Resource::CalicoNode(new) => set(&mut inventory.calico_node, new, |n| (&n.name, &n.at)),
                Resource::CalicoConfig(new) => set(&mut inventory.calico_config, new, |c| (&c.name, &c.at)),
                Resource::KubeadmConfig(new) => set(&mut inventory.kubeadm_config, new, |c| (&c.name, &c.at)),
            };
            refusals.extend(taken.map(|taken| taken.refusal(kind)));
        }
        inventory.add_operators_pools(refusals);
        inventory.add_environments_pools(refusals);
        inventory
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
                .find(|there| there.cidr == pool.cidr && there.declared == Declared::Manifest)
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

    /// Applies the rules between objects, and those that depend on the Calico version.
    pub(super) fn check(&self, profile: Profile, refusals: &mut Vec<Refusal>) {
        for pool in self.pools.values() {
            check_family(pool, profile, refusals);
            since::check(&pool.since, profile, refusals);
            if let Some(installation) = self.installation.as_ref().filter(|_| pool.declared == Declared::Installation) {
                installation.check(pool, profile, refusals);
            }
        }
        for felix in self.felix.values() {
            since::check(&felix.since, profile, refusals);
        }
        self.check_overlaps(refusals);
        self.check_blocks(refusals);
        self.check_node_addresses(refusals);
        for bgp in self.bgp.values() {
            bgp.check_version(profile, refusals);
        }
        self.check_filters(refusals);
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
    fn check_overlaps(&self, refusals: &mut Vec<Refusal>) {
        let mut pools: Vec<&IpPool> = self.pools.values().collect();
        pools.sort_by(|a, b| (a.at.origin, &a.at.path, &a.name).cmp(&(b.at.origin, &b.at.path, &b.name)));
        for (i, pool) in pools.iter().enumerate() {
            let earlier = pools.iter().take(i).find(|other| overlap(pool.cidr, other.cidr));
            refusals.extend(earlier.map(|other| {
                Refusal::new(
                    "R6",
                    pool.field("spec.cidr"),
                    format!(
                        "range {} of pool {} overlaps {} of pool {}",
                        pool.cidr, pool.name, other.cidr, other.name
                    ),
                )
                .why("Calico creates no pool that shares addresses with another one, enabled or disabled")
                .help("give the pools ranges that are apart")
                .related(other.field("spec.cidr"), format!("the range of pool {}", other.name))
            }));
        }
    }

    /// Source: Calico libcalico-go/lib/clientv3/ippool.go, Create.
    fn check_blocks(&self, refusals: &mut Vec<Refusal>) {
        let mut by_range: Vec<&IpamBlock> = self.blocks.values().collect();
        by_range.sort_by_key(|block| block.block.cidr);
        let mut widest: Option<&IpamBlock> = None;
        for block in by_range {
            let (range, field) = (block.block.cidr, below(block.at(), "spec.cidr"));
            if let Some(other) = widest.filter(|other| other.block.cidr.contains(&range)) {
                let message = format!("block {range} overlaps block {}", other.block.cidr);
                refusals.push(
                    Refusal::new(DUPLICATE, field.clone(), message)
                        .why("an address lies in one block")
                        .help("remove one of the blocks")
                        .related(below(other.at(), "spec.cidr"), "the other block"),
                );
            } else {
                widest = Some(block);
            }
            let pool = self.pools.values().find(|pool| overlap(pool.cidr, range));
            if let Some(pool) = pool.filter(|pool| pool.block_size != range.prefix_len()) {
                refusals.push(
                    Refusal::new(
                        "R13",
                        field,
                        format!("block {range} has another size than pool {} cuts", pool.name),
                    )
                    .why("Calico creates no pool over blocks of another size")
                    .help(format!(
                        "give the pool `blockSize: {}`, or remove the block",
                        range.prefix_len()
                    ))
                    .related(pool.field("spec.blockSize"), format!("blocks of /{} here", pool.block_size)),
                );
            }
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

fn check_family(pool: &IpPool, profile: Profile, refusals: &mut Vec<Refusal>) {
    if pool.cidr.addr().is_ipv6() && pool.vxlan != Mode::Never && !profile.accepts_ipv6_vxlan() {
        refusals.push(
            Refusal::new(
                "R10",
                pool.field("spec.vxlanMode"),
                format!("VXLAN is not supported on IPv6 pools in {profile}"),
            )
            .why("Calico accepts it from v3.23")
            .help("choose a later profile, or set `vxlanMode` to `Never`"),
        );
    }
}
