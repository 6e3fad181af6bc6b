//! The rules between a new pool and what is there already, and what becomes of pools that were written past these rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ippool::Status;
use super::ranges::Ranges;
use super::reading::below;
use super::{IpPool, IpamBlock};
use crate::fields::Refusal;

/// Pools in the order in which their objects are created: that of the documents.
pub(super) fn by_place<'p>(pools: impl IntoIterator<Item = &'p IpPool>) -> Vec<&'p IpPool> {
    let mut pools: Vec<&IpPool> = pools.into_iter().collect();
    pools.sort_by(|a, b| (a.at.origin, &a.at.path, &a.name).cmp(&(b.at.origin, &b.at.path, &b.name)));
    pools
}

/// The pools that are there.
#[derive(Default)]
pub(super) struct Standing<'p> {
    pools: Ranges<&'p IpPool>,
}

impl<'p> Standing<'p> {
    /// Adds a pool that was there before.
    pub(super) fn add(&mut self, pool: &'p IpPool) {
        self.pools.insert(pool.cidr, pool);
    }

    /// Adds a new pool. Whoever writes CRDs past the API is not asked whether its range is free.
    ///
    /// Source: Calico libcalico-go/lib/clientv3/ippool.go, Create.
    pub(super) fn create(&mut self, pool: &'p IpPool, refusals: &mut Vec<Refusal>) {
        let other = self.pools.overlapping(pool.cidr).filter(|_| pool.through_api());
        refusals.extend(other.map(|other| {
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
        self.add(pool);
    }

    /// Refuses each pool that was created over a block of another size than it cuts.
    ///
    /// Source: Calico libcalico-go/lib/clientv3/ippool.go, Create.
    pub(super) fn check_blocks<'b>(&self, blocks: impl IntoIterator<Item = &'b IpamBlock>, refusals: &mut Vec<Refusal>) {
        let mut refused: BTreeSet<&str> = BTreeSet::new();
        for block in blocks {
            let range = block.block.cidr;
            let pool = self.pools.overlapping(range).filter(|pool| pool.through_api());
            let other = pool.filter(|pool| pool.block_size != range.prefix_len());
            if let Some(pool) = other.filter(|pool| refused.insert(&pool.name)) {
                let message = format!("pool {} cuts blocks of /{} where {range} is one", pool.name, pool.block_size);
                refusals.push(
                    Refusal::new("R13", pool.field("spec.blockSize"), message)
                        .why("Calico creates no pool over blocks of another size, which a deleted pool may have left")
                        .help(format!("write `blockSize: {}`, or remove the block", range.prefix_len()))
                        .related(below(block.at(), "spec.cidr"), "the block"),
                );
            }
        }
    }
}

/// Marks each pool that overlaps an earlier one, which hands out no addresses then and routes as before. Active pools come
/// first, then those being deleted, disabled ones and new ones; then the oldest, then the lowest name. Disabled pools neither
/// hinder others nor are hindered.
///
/// Source: Calico kube-controllers/pkg/controllers/ippool/pool_controller.go, reconcileConditions.
pub(super) fn mark_overlapped(pools: &mut BTreeMap<Arc<str>, IpPool>) {
    let mut order: Vec<&mut IpPool> = pools.values_mut().filter(|pool| !pool.disabled).collect();
    order.sort_by(|a, b| rank(a).cmp(&rank(b)));
    let mut earlier: Ranges<Arc<str>> = Ranges::default();
    for pool in order {
        pool.overlapped = earlier.overlapping(pool.cidr).cloned();
        if pool.overlapped.is_none() {
            earlier.insert(pool.cidr, pool.name.clone());
        }
    }
}

/// What decides between pools; a pool whose age is not stated is as young as can be.
fn rank(pool: &IpPool) -> (Status, bool, Option<&str>, &str) {
    let status = if pool.deleting { Status::Terminating } else { pool.status };
    (status, pool.created.is_none(), pool.created.as_deref(), &pool.name)
}
