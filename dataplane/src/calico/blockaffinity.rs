//! `BlockAffinity`: a node's claim on a block, as the datastore holds it beside the block itself.

use std::sync::Arc;

use ipnet::IpNet;
use serde_json::Value;

use super::ipamblock::block_cidr;
use super::reading::open;
use crate::fields::{FieldRef, Refusal, text, word};

/// A claim on a block.
///
/// Source: Calico libcalico-go/lib/backend/model/block_affinity.go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockAffinity {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is declared.
    pub at: FieldRef,
    /// The node that claims.
    pub node: Arc<str>,
    /// The block's range.
    pub cidr: IpNet,
    /// How far the claim has come.
    pub state: AffinityState,
}

/// How far a claim on a block has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AffinityState {
    /// The node is about to make the block.
    Pending,
    /// The block is the node's.
    Confirmed,
    /// The node is about to give the block up.
    PendingDeletion,
}

const STATES: [(&str, AffinityState); 3] = [
    ("pending", AffinityState::Pending),
    ("confirmed", AffinityState::Confirmed),
    ("pendingDeletion", AffinityState::PendingDeletion),
];

impl BlockAffinity {
    /// Reads a claim; none if it has no usable range or node.
    pub(super) fn read(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> Option<BlockAffinity> {
        let mut object = open(value, &at, refusals);
        let spec = &mut object.spec;
        let cidr = spec.require("cidr", refusals, block_cidr);
        let node = spec.require("node", refusals, text);
        let state = spec.parse("state", refusals, |v| word(v, &STATES));
        spec.ignore(&["deleted", "type"]);
        object.spec.finish(refusals);
        object.root.finish(refusals);
        Some(BlockAffinity {
            name: object.name,
            at,
            node: node?.into(),
            cidr: cidr?,
            state: state.unwrap_or(AffinityState::Confirmed),
        })
    }
}
