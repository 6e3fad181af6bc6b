//! Mode and same-subnet answer make a decision: through the tunnel or direct. What route follows is not decided here.

use std::sync::Arc;

use super::{Decision, Mode, subnet};
use crate::calico::{IpPool, Recorded};
use crate::encap::Encap;
use crate::fields::FieldRef;

/// The two nodes of a decision, by the records that the route's owner consults.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) local: (&'a Arc<str>, Option<&'a Recorded>),
    pub(super) remote: (&'a Arc<str>, Option<&'a Recorded>),
}

impl Decision {
    /// Whether it sends packets through the tunnel: always, or when the other node is not in the subnet.
    pub fn tunnels(&self) -> bool {
        match self.mode {
            Mode::Never => false,
            Mode::Always => true,
            Mode::CrossSubnet => !self.same_subnet(),
        }
    }

    /// Whether the same-subnet rule was asked and said yes.
    pub fn same_subnet(&self) -> bool {
        self.subnet_test.as_ref().is_some_and(|test| test.same)
    }
}

/// The decision for a destination in a pool on another node.
///
/// Source: Calico felix/calc/l3_route_resolver.go, flush.
pub(super) fn decide(pool: &IpPool, pair: Pair<'_>, destination: &FieldRef) -> Decision {
    let mut decision = local(Some(pool), destination);
    decision.subnet_test = (decision.mode == Mode::CrossSubnet).then(|| subnet::test(pair.local, pair.remote));
    decision
}

/// The decision for a destination on this node, where no node is compared with any.
pub(super) fn local(pool: Option<&IpPool>, destination: &FieldRef) -> Decision {
    Decision {
        pool: pool.map(|pool| (pool.name.clone(), pool.mode_field())),
        encapsulation: pool.map_or(Encap::None, IpPool::encapsulation),
        mode: pool.map_or(Mode::Never, IpPool::mode),
        subnet_test: None,
        destination: Some(destination.clone()),
    }
}
