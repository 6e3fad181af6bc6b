//! Objects applied to a datastore that is there already: which are created, which are updated, and whether Calico takes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::inventory::Inventory;
use super::ippool::Declared;
use super::{IpPool, Profile, Resource};
use crate::fields::Refusal;

/// Applies objects, in their order, to the datastore that the old ones are, and returns all that is there afterwards: one that
/// has the kind and the name of an object there is an update of it, any other is created beside it. What an update may change
/// is less than what may be created, and it is asked neither for overlaps nor for leftover blocks. Pools that calico-node has
/// created by its environment are there from then on, and another environment does not change them.
///
/// # Errors
/// All that Calico would refuse; what was wrong with the old objects before is not.
pub fn update(old: &[Resource], new: &[Resource], profile: Profile) -> Result<Vec<Resource>, Vec<Refusal>> {
    let mut there = with_default_pools(old);
    let mut later = new;
    while !later.is_empty() {
        let mut keys = BTreeSet::new();
        let again = later.iter().position(|resource| !keys.insert(key(resource)));
        let (objects, rest) = later.split_at(again.unwrap_or(later.len()));
        let mut after: BTreeMap<_, &Resource> = there.iter().map(|resource| (key(resource), resource)).collect();
        after.extend(objects.iter().map(|resource| (key(resource), resource)));
        let after: Vec<Resource> = after.into_values().cloned().collect();
        let refusals = judge(&there, &after, profile);
        if !refusals.is_empty() {
            return Err(refusals);
        }
        (there, later) = (after, rest);
    }
    Ok(there)
}

fn key(resource: &Resource) -> (&'static str, &Arc<str>) {
    (resource.kind(), resource.name())
}

/// The objects of a datastore, and the pools that calico-node has created by its environment.
///
/// Source: Calico node/pkg/lifecycle/startup/startup.go, configureIPPools.
pub(super) fn with_default_pools(resources: &[Resource]) -> Vec<Resource> {
    let mut all = resources.to_vec();
    let pools = sorted(resources, &mut Vec::new()).pools.into_values();
    let named: BTreeSet<&Arc<str>> = resources.iter().filter_map(pool).map(|pool| &pool.name).collect();
    all.extend(
        pools
            .filter(|pool| pool.is_of_environment() && !named.contains(&pool.name))
            .map(Resource::IpPool),
    );
    all
}

pub(super) fn sorted(resources: &[Resource], refusals: &mut Vec<Refusal>) -> Inventory {
    Inventory::sort(resources.to_vec(), refusals)
}

fn pool(resource: &Resource) -> Option<&IpPool> {
    let Resource::IpPool(pool) = resource else { return None };
    Some(pool)
}

/// What Calico refuses of the way from one state of a datastore to another: what of living objects may not change, and what is
/// wrong between objects that was not wrong before.
pub(super) fn judge(before: &[Resource], after: &[Resource], profile: Profile) -> Vec<Refusal> {
    let (mut wrong, mut refusals) = (Vec::new(), Vec::new());
    let old = sorted(before, &mut wrong);
    let new = sorted(after, &mut refusals);
    let lives = |pool: &&IpPool| new.pools.get(&pool.name).is_some_and(|now| lives_on(pool, now));
    let there: BTreeSet<Arc<str>> = old.pools.values().filter(lives).map(|pool| pool.name.clone()).collect();
    old.check(profile, &old.pools.keys().cloned().collect(), &mut wrong);
    new.check(profile, &there, &mut refusals);
    refusals.retain(|refusal| !wrong.contains(refusal));
    for name in &there {
        if let (Some(before), Some(now)) = (old.pools.get(name), new.pools.get(name)) {
            check_pool(before, now, &mut refusals);
        }
    }
    refusals
}

/// Whether a pool is the one that had its name before. The operator knows its pools by their ranges: it deletes one that its
/// Installation no longer names, and creates the other.
///
/// Source: operator pkg/controller/ippool/pool_controller.go.
fn lives_on(before: &IpPool, now: &IpPool) -> bool {
    before.declared != Declared::Installation || before.cidr == now.cidr
}

/// What of a pool may not change. Its modes, flags and selectors may; so may the spelling of its range, but only into the
/// canonical one.
///
/// Source: Calico libcalico-go/lib/clientv3/ippool.go, validateAndSetDefaults; api/pkg/apis/projectcalico/v3/ippool.go.
fn check_pool(before: &IpPool, pool: &IpPool, refusals: &mut Vec<Refusal>) {
    let name = &pool.name;
    let canonical = pool.cidr.to_string();
    if before.cidr != pool.cidr || (before.written != pool.written && *pool.written != canonical) {
        let help = if before.cidr == pool.cidr {
            format!("write {canonical}")
        } else {
            format!(
                "keep {}; a pool of another name can have the new range, and this one be disabled",
                before.cidr
            )
        };
        refusals.push(
            Refusal::new(
                "R4",
                pool.field("spec.cidr"),
                format!("the range of pool {name} cannot be changed"),
            )
            .why("blocks and addresses of the old range are in use")
            .help(help)
            .related(before.field("spec.cidr"), format!("it is {} here", before.written)),
        );
    }
    if before.block_size != pool.block_size {
        let message = format!("the block size of pool {name} cannot be changed");
        refusals.push(
            Refusal::new("R11", pool.field("spec.blockSize"), message)
                .why("blocks of the old size are in use")
                .help(format!("keep `blockSize: {}`, or make a new pool", before.block_size))
                .related(before.field("spec.blockSize"), format!("it is {} here", before.block_size)),
        );
    }
    if before.allowed_uses.load_balancer && pool.routes() {
        let message = format!("pool {name} is for LoadBalancer and cannot become one for workloads or tunnels");
        refusals.push(
            Refusal::new("R14", pool.field("spec.allowedUses"), message)
                .why("services may hold its addresses already")
                .help("make a new pool for `Workload` and `Tunnel`")
                .related(before.field("spec.allowedUses"), "it is for LoadBalancer here"),
        );
    }
}
