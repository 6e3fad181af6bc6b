//! Objects applied to a datastore that is there already: which are created, which are updated, and whether Calico takes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::poolcreation::Standing;
use super::{IpPool, IpamBlock, Profile, Resource, since};
use crate::fields::Refusal;

/// Judges new objects one by one against the datastore that the old ones are: one that has the kind and the name of an object
/// there is an update of it, any other is created beside it. What an update may change is less than what may be created, and
/// it is asked neither for overlaps nor for leftover blocks.
///
/// # Errors
/// All objects that Calico would refuse.
pub fn update(old: &[Resource], new: &[Resource], profile: Profile) -> Result<(), Vec<Refusal>> {
    let mut refusals = Vec::new();
    let pools = old.iter().filter_map(pool);
    let mut pools: BTreeMap<&Arc<str>, &IpPool> = pools.map(|pool| (&pool.name, pool)).collect();
    let (mut standing, mut created) = (Standing::default(), Standing::default());
    for pool in pools.values() {
        standing.add(pool);
    }
    for resource in new {
        check_version(resource, profile, &mut refusals);
        let Resource::IpPool(pool) = resource else { continue };
        match pools.insert(&pool.name, pool) {
            Some(before) => check_pool(before, pool, &mut refusals),
            None => {
                standing.create(pool, &mut refusals);
                created.add(pool);
            }
        }
    }
    created.check_blocks(old.iter().filter_map(block), &mut refusals);
    if refusals.is_empty() { Ok(()) } else { Err(refusals) }
}

fn pool(resource: &Resource) -> Option<&IpPool> {
    let Resource::IpPool(pool) = resource else { return None };
    Some(pool)
}

fn block(resource: &Resource) -> Option<&IpamBlock> {
    let Resource::IpamBlock(block) = resource else {
        return None;
    };
    Some(block)
}

fn check_version(resource: &Resource, profile: Profile, refusals: &mut Vec<Refusal>) {
    if let Resource::IpPool(pool) = resource {
        pool.check_version(profile, refusals);
    } else if let Resource::FelixConfiguration(felix) = resource {
        since::check(&felix.since, profile, refusals);
    } else if let Resource::BgpConfiguration(bgp) = resource {
        since::check(&bgp.since, profile, refusals);
    }
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
