//! Address management: which node has which block, and who has which address. It is deterministic where Calico's is not.
//!
//! A manifest's block wins. Otherwise, in the order given, the block that encloses a workload's stated address belongs to the
//! first workload's node, and a later workload on another node borrows its address. Whatever has no address takes the lowest
//! free one of its node's lowest block, tunnels before workloads; a node without a block claims the pool's lowest free one.
//! Where a block's manifest lists its free addresses, that is their order, and an address that is given back goes to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpAddrRange, IpNet, IpSubnets, Ipv4AddrRange, Ipv6AddrRange};

use super::poolrules::overlap;
use super::ranges::Ranges;
use super::{IpPool, IpamConfiguration};
use crate::fields::FieldRef;

/// A block of addresses.
///
/// Source: Calico libcalico-go/lib/backend/model/block.go, AllocationBlock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its range.
    pub cidr: IpNet,
    /// The node that it is affine to, if any.
    pub affinity: Option<Arc<str>>,
    /// The addresses that are taken.
    pub allocations: BTreeMap<IpAddr, Allocation>,
    /// The order in which free addresses are handed out, where it is not from the lowest; those that are not in it come last.
    pub unallocated: Vec<IpAddr>,
    /// Where it is declared, or what brought it about.
    pub at: FieldRef,
}

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The node that it is used on, if recorded.
    pub node: Option<Arc<str>>,
    /// Who has it: a workload's name, or `vxlan-tunnel-addr-` and a node's name, and so on.
    pub handle: Arc<str>,
    /// Where it is declared, or what brought it about.
    pub at: FieldRef,
}

impl Block {
    fn free(&self) -> impl Iterator<Item = IpAddr> {
        let order = self.unallocated.iter().copied().chain(addresses(self.cidr));
        order.filter(|address| !self.allocations.contains_key(address))
    }

    /// Gives an address back; it is handed out again after all others that are free.
    pub(super) fn release(&mut self, address: IpAddr) {
        if !self.allocations.contains_key(&address) {
            return;
        }
        let mut order: Vec<IpAddr> = self.free().collect();
        let mut seen = BTreeSet::new();
        order.retain(|address| seen.insert(*address));
        self.allocations.remove(&address);
        order.push(address);
        self.unallocated = order;
    }
}

/// Every address of a range, lowest first.
pub(super) fn addresses(range: IpNet) -> IpAddrRange {
    match range {
        IpNet::V4(net) => IpAddrRange::V4(Ipv4AddrRange::new(net.network(), net.broadcast())),
        IpNet::V6(net) => IpAddrRange::V6(Ipv6AddrRange::new(net.network(), net.broadcast())),
    }
}

/// The blocks while they are handed out.
pub(super) struct Ipam<'a> {
    configuration: &'a IpamConfiguration,
    pools: Ranges<&'a IpPool>,
    /// The ranges of each pool that nobody has looked at for a free one, lowest first.
    unclaimed: BTreeMap<Arc<str>, IpSubnets>,
    blocks: BTreeMap<IpNet, Block>,
    by_node: BTreeMap<Arc<str>, BTreeSet<IpNet>>,
    /// The blocks that may have a free address.
    open: BTreeSet<IpNet>,
    held: BTreeMap<Arc<str>, IpAddr>,
}

impl<'a> Ipam<'a> {
    /// Starts with the blocks of manifests.
    pub(super) fn new(
        pools: &'a BTreeMap<Arc<str>, IpPool>,
        configuration: &'a IpamConfiguration,
        blocks: impl IntoIterator<Item = Block>,
    ) -> Ipam<'a> {
        let mut ipam = Ipam {
            configuration,
            pools: Ranges::default(),
            unclaimed: BTreeMap::new(),
            blocks: BTreeMap::new(),
            by_node: BTreeMap::new(),
            open: BTreeSet::new(),
            held: BTreeMap::new(),
        };
        for pool in pools.values().rev() {
            ipam.pools.insert(pool.cidr, pool);
            let ranges = pool.cidr.subnets(pool.block_size);
            ipam.unclaimed.extend(ranges.map(|ranges| (pool.name.clone(), ranges)));
        }
        for block in blocks {
            let held = block.allocations.iter();
            ipam.held.extend(held.map(|(address, a)| (a.handle.clone(), *address)));
            ipam.add(block);
        }
        ipam
    }

    /// The blocks, once everything is handed out.
    pub(super) fn finish(self) -> BTreeMap<IpNet, Block> {
        self.blocks
    }

    fn add(&mut self, block: Block) {
        if let Some(node) = &block.affinity {
            self.by_node.entry(node.clone()).or_default().insert(block.cidr);
        }
        self.open.insert(block.cidr);
        self.blocks.insert(block.cidr, block);
    }

    /// Gives a node a block.
    pub(super) fn add_affine(&mut self, cidr: IpNet, node: &Arc<str>, at: &FieldRef) {
        self.add(Block {
            cidr,
            affinity: Some(node.clone()),
            allocations: BTreeMap::new(),
            unallocated: Vec::new(),
            at: at.clone(),
        });
    }

    /// A block that shares an address with a range. Blocks are apart from each other, so only the last one that begins within
    /// the range or before it can.
    fn block_in(&self, range: IpNet) -> Option<IpNet> {
        let end = IpNet::from(range.broadcast());
        let (last, _) = self.blocks.range(..=end).next_back()?;
        overlap(*last, range).then_some(*last)
    }

    /// The range of the block, held or to be made, that an address lies in; none outside every pool and block.
    fn range_of(&self, address: IpAddr) -> Option<IpNet> {
        let made = || {
            self.pools
                .around(address)?
                .block_of(address)
                .filter(|range| self.block_in(*range).is_none())
        };
        self.block_in(IpNet::from(address)).or_else(made)
    }

    /// Records that a node uses an address; its block is made, and is that node's, if nobody has it. A record that a manifest
    /// holds already stays.
    pub(super) fn record(&mut self, address: IpAddr, node: &Arc<str>, handle: Arc<str>, at: &FieldRef) {
        let Some(cidr) = self.range_of(address) else { return };
        if !self.blocks.contains_key(&cidr) {
            self.add_affine(cidr, node, at);
        }
        if let Some(block) = self.blocks.get_mut(&cidr) {
            block.allocations.entry(address).or_insert_with(|| Allocation {
                node: Some(node.clone()),
                handle,
                at: at.clone(),
            });
        }
    }

    /// The address that a manifest's block holds under a handle.
    pub(super) fn held(&self, handle: &str) -> Option<IpAddr> {
        self.held.get(handle).copied()
    }

    /// Who has an address.
    pub(super) fn holder(&self, address: IpAddr) -> Option<&str> {
        let block = self.blocks.get(&self.range_of(address)?)?;
        block.allocations.get(&address).map(|allocation| &*allocation.handle)
    }

    /// Gives an address back.
    pub(super) fn release(&mut self, address: IpAddr) {
        let Some(range) = self.range_of(address) else { return };
        if let Some(block) = self.blocks.get_mut(&range) {
            block.release(address);
            self.open.insert(range);
        }
    }

    /// Takes an address from pools, in their order: from the node's own blocks, else from a new one, else, unless affinity is
    /// strict, borrowed from another node's; none if all are full. A node that has all the blocks that it may have does neither.
    ///
    /// Source: Calico libcalico-go/lib/ipam/ipam.go, autoAssign; the choice of the lowest is ours.
    pub(super) fn assign(&mut self, pools: &[&IpPool], node: &Arc<str>, handle: Arc<str>, at: &FieldRef) -> Option<IpAddr> {
        let own: Vec<IpNet> = self.by_node.get(node).into_iter().flatten().copied().collect();
        let of_family = |block: &&IpNet| pools.iter().any(|pool| pool.cidr.addr().is_ipv4() == block.addr().is_ipv4());
        let most = usize::try_from(self.configuration.max_blocks_per_host).unwrap_or(usize::MAX);
        let limited = own.iter().filter(of_family).count() >= most;
        let mut own = own
            .into_iter()
            .filter(|block| pools.iter().any(|pool| pool.cidr.contains(block)));
        let mut address = own.find_map(|block| self.first_free(block));
        if address.is_none() && !limited {
            address = self.claim(pools, node, at).or_else(|| self.borrow(pools));
        }
        self.record(address?, node, handle, at);
        address
    }

    /// The first free address of a block; a block without one is not looked at again.
    fn first_free(&mut self, block: IpNet) -> Option<IpAddr> {
        let free = self.open.contains(&block).then(|| self.blocks.get(&block)?.free().next())?;
        if free.is_none() {
            self.open.remove(&block);
        }
        free
    }

    fn claim(&mut self, pools: &[&IpPool], node: &Arc<str>, at: &FieldRef) -> Option<IpAddr> {
        if !self.configuration.auto_allocate_blocks {
            return None;
        }
        let free = pools.iter().find_map(|pool| {
            let mut ranges = *self.unclaimed.get(&pool.name)?;
            let free = ranges.find(|range| self.block_in(*range).is_none());
            self.unclaimed.insert(pool.name.clone(), ranges);
            free
        })?;
        self.add_affine(free, node, at);
        Some(free.network())
    }

    fn borrow(&mut self, pools: &[&IpPool]) -> Option<IpAddr> {
        if self.configuration.strict_affinity {
            return None;
        }
        let within = |block: &&IpNet| pools.iter().any(|pool| pool.cidr.contains(*block));
        while let Some(block) = self.open.iter().find(within).copied() {
            if let Some(free) = self.first_free(block) {
                return Some(free);
            }
        }
        None
    }
}
