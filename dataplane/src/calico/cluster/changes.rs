//! What becomes of a cluster: its successor when its objects change, and changes of one thing that nobody checks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{ClusterState, WorkloadRequest};
use crate::calico::poolrules::overlap;
use crate::calico::reading::below;
use crate::calico::{Block, IpPool, IpamBlock, Node, Resource, WorkloadEndpoint};
use crate::fields::Refusal;

impl ClusterState {
    /// The cluster after its objects have become these. Blocks, and the addresses of workloads that were there, stay as they
    /// are; tunnels keep theirs as long as a pool suits them, and give them back otherwise. The blocks of a pool that is gone
    /// are affine to nobody; the blocks of a node that is gone stay its own until somebody collects them. Pools that calico-node
    /// created by its environment stay, whatever becomes of that.
    ///
    /// Source: Calico node/pkg/allocateip/allocateip.go, ensureHostTunnelAddress; libcalico-go/lib/clientv3/ippool.go, Delete;
    /// node/pkg/lifecycle/startup/startup.go, configureIPPools.
    ///
    /// # Errors
    /// As [`ClusterState::build`].
    pub fn succeed(&self, mut resources: Vec<Resource>, workloads: Vec<WorkloadRequest>) -> Result<ClusterState, Vec<Refusal>> {
        let created = self.pools.values().filter(|pool| pool.is_of_environment());
        let replaced = |pool: &&IpPool| {
            let mut pools = resources.iter().filter(|resource| resource.kind() == "IPPool");
            pools.any(|resource| *resource.name() == pool.name)
        };
        let created: Vec<Resource> = created
            .filter(|pool| !replaced(pool))
            .cloned()
            .map(Resource::IpPool)
            .collect();
        resources.extend(created);
        ClusterState::assemble(self.profile, resources, workloads, Some(self))
    }

    /// A workload that was there before has its addresses already.
    pub(super) fn keep_addresses(&self, workload: &mut WorkloadRequest) {
        if let Some(endpoint) = self.endpoints.get(&workload.name) {
            workload.addresses.clone_from(&endpoint.addresses);
            workload.pool = None;
        }
    }

    /// The blocks as they are when these are declared: those that are there stay, unless they are declared anew, and give back
    /// the addresses of workloads that have gone, were it to another node.
    pub(super) fn succeeding_blocks(
        &self,
        declared: impl Iterator<Item = Block>,
        pools: &BTreeMap<Arc<str>, IpPool>,
        recorded: &BTreeMap<Arc<str>, WorkloadEndpoint>,
        requested: &[WorkloadRequest],
    ) -> Vec<Block> {
        let mut blocks = self.blocks.clone();
        for block in declared {
            if self
                .blocks
                .get(&block.cidr)
                .is_none_or(|there| there.at.origin != block.at.origin)
            {
                blocks.insert(block.cidr, block);
            }
        }
        let recorded = recorded.values().map(|workload| (&*workload.name, &*workload.node));
        let requested = requested.iter().map(|workload| (&*workload.name, &*workload.node));
        let stay: BTreeSet<(&str, &str)> = recorded.chain(requested).collect();
        let gone: BTreeSet<IpAddr> = self
            .endpoints
            .values()
            .filter(|endpoint| !stay.contains(&(&*endpoint.name, &*endpoint.node)))
            .flat_map(|endpoint| endpoint.addresses.iter().copied())
            .collect();
        let lost: Vec<IpNet> = self
            .pools
            .values()
            .filter(|pool| !pools.contains_key(&pool.name))
            .map(|pool| pool.cidr)
            .collect();
        for block in blocks.values_mut() {
            gone.iter().for_each(|address| block.release(*address));
            if lost.iter().any(|range| range.contains(&block.cidr)) {
                block.affinity = None;
            }
        }
        blocks.retain(|_, block| block.affinity.is_some() || !block.allocations.is_empty());
        blocks.into_values().collect()
    }

    /// Refuses declared blocks that share addresses with others that are there: the CRD would take them, and IPAM, which cuts the
    /// blocks of a pool to one size, never makes them.
    pub(super) fn check_apart(blocks: &[Block], declared: &BTreeMap<Arc<str>, IpamBlock>, refusals: &mut Vec<Refusal>) {
        for new in declared.values().map(|block| &block.block) {
            let shares = |other: &&Block| other.cidr != new.cidr && overlap(other.cidr, new.cidr) && other.at != new.at;
            if let Some(other) = blocks.iter().find(shares) {
                let whose = other.affinity.as_ref().map_or_else(String::new, |node| format!(" of {node}"));
                let message = format!("block {} overlaps block {}{whose}", new.cidr, other.cidr);
                let refusal =
                    Refusal::new("K-DUPLICATE", below(&new.at, "spec.cidr"), message).why("an address lies in one block");
                let refusal = refusal.help("choose a range beside it, or the same one to take its place");
                refusals.push(refusal.related(other.at.clone(), "the other block is here, or follows from this"));
            }
        }
    }

    /// Adds a block, and returns the one with its range that it replaces. Nothing is checked.
    pub fn set_block(&mut self, block: Block) -> Option<Block> {
        self.blocks.insert(block.cidr, block)
    }

    /// Takes a block out.
    pub fn remove_block(&mut self, range: IpNet) -> Option<Block> {
        self.blocks.remove(&range)
    }

    /// Adds a node, and returns the one of its name that it replaces. Nothing is checked.
    pub fn set_node(&mut self, node: Node) -> Option<Node> {
        self.nodes.insert(node.name.clone(), node)
    }

    /// Takes a node out; its blocks stay.
    pub fn remove_node(&mut self, name: &str) -> Option<Node> {
        self.nodes.remove(name)
    }

    /// Adds a pool, and returns the one of its name that it replaces. Nothing is checked.
    pub fn set_pool(&mut self, pool: IpPool) -> Option<IpPool> {
        self.pools.insert(pool.name.clone(), pool)
    }

    /// Takes a pool out; its blocks stay.
    pub fn remove_pool(&mut self, name: &str) -> Option<IpPool> {
        self.pools.remove(name)
    }
}
