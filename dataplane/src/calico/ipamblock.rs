//! `IPAMBlock`: a block of addresses as the datastore holds it. Nothing is allocated here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::Value;

use super::BlockAffinity;
use super::ipam::{Allocation, Block, addresses};
use super::reading::open;
use crate::fields::{FieldRef, Refusal, Wrong, text};

/// A block of addresses, the node that it is affine to, and who has each address.
///
/// Source: Calico libcalico-go/lib/backend/model/block.go, AllocationBlock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpamBlock {
    /// Its name.
    pub name: Arc<str>,
    /// What it says.
    pub block: Block,
}

impl IpamBlock {
    /// Reads a block; none if it has no usable range.
    pub(super) fn read(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> Option<IpamBlock> {
        let mut object = open(value, &at, refusals);
        let spec = &mut object.spec;
        let cidr = spec.require("cidr", refusals, block_cidr);
        let affinity = spec.parse("affinity", refusals, affinity).flatten();
        let attributes: Vec<_> = spec
            .items("attributes", refusals)
            .into_iter()
            .map(|(_, v)| attribute(v))
            .collect();
        let ordinals = spec.items("allocations", refusals);
        let free = spec.items("unallocated", refusals);
        spec.ignore(&[
            "strictAffinity",
            "sequenceNumber",
            "sequenceNumberForAllocation",
            "affinityClaimTime",
            "deleted",
        ]);
        object.spec.finish(refusals);
        object.root.finish(refusals);
        let mut block = Block {
            cidr: cidr?,
            affinity,
            allocations: BTreeMap::new(),
            unallocated: Vec::new(),
            at,
        };
        read_free(&mut block, &free, refusals);
        read_allocations(&mut block, &ordinals, &attributes, refusals);
        Some(IpamBlock {
            name: object.name,
            block,
        })
    }

    /// The empty block that a claim stands for.
    pub(super) fn claimed(claim: &BlockAffinity) -> IpamBlock {
        IpamBlock {
            name: claim.name.clone(),
            block: Block {
                cidr: claim.cidr,
                affinity: Some(claim.node.clone()),
                allocations: BTreeMap::new(),
                unallocated: Vec::new(),
                at: claim.at.clone(),
            },
        }
    }

    /// Where it is declared.
    pub fn at(&self) -> &FieldRef {
        &self.block.at
    }
}

fn read_allocations(
    block: &mut Block,
    ordinals: &[(FieldRef, &Value)],
    attributes: &[(Option<Arc<str>>, Arc<str>)],
    refusals: &mut Vec<Refusal>,
) {
    let mut places: Vec<IpAddr> = addresses(block.cidr).take(ordinals.len()).collect();
    if places.len() < ordinals.len() {
        let message = format!("{} allocations are more than {} has addresses", ordinals.len(), block.cidr);
        refusals.push(
            Refusal::new("K-VALUE", block.at.clone(), message).help("give the list one entry an address, null if it is free"),
        );
        return;
    }
    for ((at, ordinal), address) in ordinals.iter().zip(places.drain(..)) {
        if ordinal.is_null() {
            continue;
        }
        let index = ordinal.as_u64().and_then(|i| usize::try_from(i).ok());
        match index.and_then(|i| attributes.get(i)) {
            Some((node, handle)) => {
                let allocation = Allocation {
                    node: node.clone(),
                    handle: handle.clone(),
                    at: at.clone(),
                };
                block.allocations.insert(address, allocation);
            }
            None => refusals.push(
                Wrong::expected(format!("null or an index into the {} attributes", attributes.len())).at(at.clone(), ordinal),
            ),
        }
    }
}

/// Reads the order of the free addresses: ordinals in the block.
fn read_free(block: &mut Block, ordinals: &[(FieldRef, &Value)], refusals: &mut Vec<Refusal>) {
    for (at, ordinal) in ordinals {
        let place = ordinal.as_u64().and_then(|ordinal| usize::try_from(ordinal).ok());
        match place.and_then(|place| addresses(block.cidr).nth(place)) {
            Some(address) => block.unallocated.push(address),
            None => refusals
                .push(Wrong::expected(format!("the place of an address in {}, from 0", block.cidr)).at(at.clone(), ordinal)),
        }
    }
}

/// The node and the handle of an entry of `attributes`.
fn attribute(value: &Value) -> (Option<Arc<str>>, Arc<str>) {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(Arc::from);
    (text("/secondary/node"), text("/handle_id").unwrap_or_default())
}

pub(super) fn block_cidr(value: &Value) -> Result<IpNet, Wrong> {
    text(value)?
        .parse::<IpNet>()
        .ok()
        .filter(|net| net.trunc() == *net)
        .ok_or_else(|| Wrong::expected("a block's range, as 192.168.10.0/26"))
}

/// The node that a block is affine to; blocks of virtual owners have none.
fn affinity(value: &Value) -> Result<Option<Arc<str>>, Wrong> {
    match text(value)?.split_once(':') {
        Some(("host", node)) if !node.is_empty() => Ok(Some(node.into())),
        Some(("virtual", _)) => Ok(None),
        _ => Err(Wrong::expected("`host:` and a node's name, or `virtual:` and a name")),
    }
}
