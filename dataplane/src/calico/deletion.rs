//! Objects deleted from a datastore: what goes with them, what stays, and what comes back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::update::{judge, sorted, with_default_pools};
use super::{Block, BlockAffinity, IpPool, Node, Nodes, Profile, Resource, WorkloadEndpoint};
use crate::fields::{FieldRef, Refusal, suggestion};

/// An object that is to be deleted, as `kubectl delete` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Its kind, as manifests spell it.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Where the deletion is asked for.
    pub at: FieldRef,
}

/// Deletes objects, in their order, from a datastore, and returns all that is left of it. Calico refuses few deletions; what it
/// does beside them depends on the way they take:
///
/// - A pool leaves its blocks to nobody, and the empty ones go. A pool that is a CRD stays, being deleted, until they have all
///   gone, where the pool controller watches over that.
/// - A Node of Calico's takes along its addresses, its blocks, its workloads, and the configurations and peerings that name it.
///   A Kubernetes Node takes nothing along: its blocks are left to garbage collection.
/// - A Pod gives its addresses back.
///
/// # Errors
/// An object that is not there; a pool that the operator or calico-node would create again, or another one in its stead; and
/// what would be wrong with the rest.
pub fn delete(there: &[Resource], deletions: &[Deletion], profile: Profile) -> Result<Vec<Resource>, Vec<Refusal>> {
    let before = with_default_pools(there);
    let (mut left, mut refusals) = (before.clone(), Vec::new());
    for deletion in deletions {
        let place = left.iter().position(|resource| deletion.names(resource));
        if let Some(place) = place {
            release(left.remove(place), &mut left, profile);
        }
    }
    let there = brought(&before);
    let is_brought = |deletion: &Deletion| &*deletion.kind == POOL && there.contains_key(&deletion.name);
    let stands = |deletion: &Deletion| before.iter().any(|resource| deletion.names(resource));
    let unknown = deletions.iter().filter(|deletion| !stands(deletion) && !is_brought(deletion));
    refusals.extend(unknown.map(|deletion| deletion.unknown(&before)));
    refusals.extend(recreated(&there, &left, deletions));
    refusals.extend(judge(&before, &left, profile));
    if refusals.is_empty() { Ok(left) } else { Err(refusals) }
}

const POOL: &str = "IPPool";

/// The pools that an Installation or an environment brings besides the objects that are there.
fn brought(resources: &[Resource]) -> BTreeMap<Arc<str>, IpPool> {
    let mut pools = sorted(resources, &mut Vec::new()).pools;
    pools.retain(|name, _| {
        !resources
            .iter()
            .any(|resource| resource.kind() == POOL && resource.name() == name)
    });
    pools
}

/// Refuses the deletion of pools where that makes others, or the same.
fn recreated(there: &BTreeMap<Arc<str>, IpPool>, left: &[Resource], deletions: &[Deletion]) -> Vec<Refusal> {
    let cause = |pool: &IpPool| {
        let mut pools = deletions.iter().filter(|deletion| &*deletion.kind == POOL);
        let same = pools.clone().find(|deletion| deletion.name == pool.name);
        same.or_else(|| pools.next_back().filter(|_| !there.contains_key(&pool.name)))
    };
    let created = brought(left).into_values();
    created.filter_map(|pool| Some(cause(&pool)?.undone(&pool))).collect()
}

impl Deletion {
    /// The deletion of an object, asked for where the object is declared.
    pub fn of(resource: &Resource) -> Deletion {
        Deletion {
            kind: resource.kind().into(),
            name: resource.name().clone(),
            at: resource.at().clone(),
        }
    }

    fn names(&self, resource: &Resource) -> bool {
        resource.kind() == &*self.kind && *resource.name() == self.name
    }

    fn unknown(&self, there: &[Resource]) -> Refusal {
        let Deletion { kind, name, at } = self;
        let refusal = Refusal::new("K-UNKNOWN", at.clone(), format!("there is no {kind} {name:?} to delete"));
        let names = there.iter().filter(|resource| resource.kind() == &**kind);
        match suggestion(name, names.map(|resource| &**resource.name())) {
            Some(near) => refusal.help(format!("did you mean {near:?}?")),
            None => refusal.help("name an object that is there"),
        }
    }

    fn undone(&self, pool: &IpPool) -> Refusal {
        let message = format!("without pool {}, pool {} would be created", self.name, pool.name);
        Refusal::new("K-RECREATED", self.at.clone(), message)
            .why("the operator keeps the pools of its Installation, and calico-node starts with those of its environment")
            .help("take the pool out of the Installation, or set NO_DEFAULT_POOLS, first")
            .related(pool.field("spec.cidr"), "it comes from here")
    }
}

/// What becomes of the rest when an object goes.
fn release(object: Resource, left: &mut Vec<Resource>, profile: Profile) {
    if let Resource::IpPool(pool) = object {
        release_pool(pool, left, profile);
    } else if let Resource::Node(node) = object {
        if node.through_api() {
            release_node(&node, left);
        }
    } else if let Resource::WorkloadEndpoint(endpoint) = object
        && endpoint.kind() == "Pod"
    {
        release_pod(&endpoint, left);
    }
}

/// Source: Calico libcalico-go/lib/clientv3/ippool.go, Delete; kube-controllers/pkg/controllers/ippool/pool_controller.go.
fn release_pool(mut pool: IpPool, left: &mut Vec<Resource>, profile: Profile) {
    let held = left.iter().any(|resource| within(resource, pool.cidr));
    if held && !pool.through_api() && profile.judges_overlaps() {
        pool.deleting = true;
        left.push(Resource::IpPool(pool));
        return;
    }
    let range = pool.cidr;
    give_up(left, |resource| within(resource, range));
}

/// Whether an object is a block in a range, or a claim on one.
fn within(resource: &Resource, range: IpNet) -> bool {
    let cidr = block(resource)
        .map(|block| block.cidr)
        .or(claim(resource).map(|claim| claim.cidr));
    cidr.is_some_and(|cidr| range.contains(&cidr))
}

fn block(resource: &Resource) -> Option<&Block> {
    let Resource::IpamBlock(block) = resource else { return None };
    Some(&block.block)
}

fn claim(resource: &Resource) -> Option<&BlockAffinity> {
    let Resource::BlockAffinity(claim) = resource else {
        return None;
    };
    Some(claim)
}

/// Gives up the blocks and the claims that `whose` picks: no node has such a block any more, and an empty one goes.
///
/// Source: Calico libcalico-go/lib/ipam/ipam_block_reader_writer.go, releaseBlockAffinity.
fn give_up(left: &mut Vec<Resource>, whose: impl Fn(&Resource) -> bool) {
    left.retain_mut(|resource| {
        if !whose(resource) {
            return true;
        }
        let Resource::IpamBlock(block) = resource else { return false };
        block.block.affinity = None;
        !block.block.allocations.is_empty()
    });
}

/// Source: Calico libcalico-go/lib/clientv3/node.go, Delete.
fn release_node(node: &Node, left: &mut Vec<Resource>) {
    let name = &node.name;
    left.retain(|resource| !is_of_node(resource, name));
    for block in blocks(left) {
        let own = block
            .allocations
            .iter()
            .filter(|(_, allocation)| allocation.node.as_ref() == Some(name));
        let addresses: Vec<IpAddr> = own.map(|(address, _)| *address).collect();
        addresses.into_iter().for_each(|address| block.release(address));
    }
    give_up(left, |resource| {
        let affinity = block(resource).and_then(|block| block.affinity.as_ref());
        affinity == Some(name) || claim(resource).is_some_and(|claim| claim.node == *name)
    });
}

/// Whether an object is a workload, a configuration or a peering of one node.
fn is_of_node(resource: &Resource, node: &Arc<str>) -> bool {
    if let Resource::WorkloadEndpoint(endpoint) = resource {
        endpoint.node == *node
    } else if let Resource::BgpPeer(peer) = resource {
        peer.nodes == Nodes::Named(node.clone())
    } else if let Resource::FelixConfiguration(felix) = resource {
        felix.name.strip_prefix("node.") == Some(node)
    } else if let Resource::BgpConfiguration(bgp) = resource {
        bgp.node() == Some(node)
    } else {
        false
    }
}

/// Source: Calico cni-plugin/pkg/ipamplugin/ipam_plugin.go, cmdDel.
fn release_pod(pod: &WorkloadEndpoint, left: &mut Vec<Resource>) {
    left.retain(|resource| !matches!(resource, Resource::WorkloadEndpoint(endpoint) if endpoint.name == pod.name));
    for block in blocks(left) {
        pod.addresses.iter().for_each(|address| block.release(*address));
    }
}

fn blocks(resources: &mut [Resource]) -> impl Iterator<Item = &mut Block> {
    resources.iter_mut().filter_map(|resource| {
        let Resource::IpamBlock(block) = resource else { return None };
        Some(&mut block.block)
    })
}
