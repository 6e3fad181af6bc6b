//! Expectations: one file a claim. They judge what was observed, never what is inside.

use std::fmt;
use std::sync::Arc;

use overlab_dataplane::fields::{FieldRef, Fields, Refusal};

/// One claim of an expectation, with the place where it is written.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its key: `delivered`, `encap`, ...
    pub key: &'static str,
    /// Where it is written.
    pub field: FieldRef,
    /// What it holds packets against.
    pub kind: Arc<dyn Kind>,
}

/// A kind of claim. A new one is one file and one line in the list.
pub trait Kind: fmt::Debug + Send + Sync {}

/// Names that claims may use for addresses and places.
pub trait Names {
    /// The address of a node, workload or host.
    fn address(&self, name: &str) -> Option<std::net::IpAddr>;
    /// Every name that [`Names::address`] knows, for suggestions.
    fn names(&self) -> Vec<&str>;
    /// Every place that a path or a drop may name: workloads, nodes, hosts, `node/device`, `node/eni`, underlays,
    /// `underlay/subnet`.
    fn places(&self) -> Vec<&str>;
}

/// Reads every claim among the keys of a mapping; keys that are no claims are left for the caller to ask for.
pub fn read_claims(_fields: &mut Fields<'_>, _names: &dyn Names, _refusals: &mut Vec<Refusal>) -> Vec<Claim> {
    Vec::new()
}
