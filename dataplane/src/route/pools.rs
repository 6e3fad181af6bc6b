//! What the pools around a destination say of it.

use std::sync::Arc;

use ipnet::IpNet;

use super::Mode;
use crate::Fib;
use crate::calico::{ClusterState, IpPool};
use crate::encap::Encap;

/// The pools by range.
#[derive(Clone, Debug, Default)]
pub(super) struct Pools {
    by_range: Fib<Arc<str>>,
    /// Whether any pool asks for the subnet.
    pub(super) cross_subnet: bool,
}

/// What the pools around a destination make of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    /// The most specific pool whose addresses are routed: its encapsulation is the destination's.
    pub(super) pool: &'a IpPool,
    /// Whether any of them asks for the subnet; an inner pool cannot undo what an outer one asks.
    pub(super) cross_subnet: bool,
}

impl<'a> Around<'a> {
    /// What one pool makes of a destination, whatever is around it.
    pub(super) fn alone(pool: &'a IpPool) -> Around<'a> {
        Around {
            pool,
            cross_subnet: pool.mode() == Mode::CrossSubnet,
        }
    }

    /// The mode that follows for the destination.
    pub(super) fn mode(&self) -> Mode {
        match self.pool.encapsulation() {
            Encap::None => Mode::Never,
            Encap::Ipip | Encap::Vxlan if self.cross_subnet => Mode::CrossSubnet,
            Encap::Ipip | Encap::Vxlan => self.pool.mode(),
        }
    }
}

impl Pools {
    /// Of two pools with one range the first by name counts.
    ///
    /// Source: Calico libcalico-go/lib/backend/syncersv1/updateprocessors/conflictresolvingcacheproc.go.
    pub(super) fn of(cluster: &ClusterState) -> Pools {
        let mut by_range = Fib::default();
        for pool in cluster.pools().values().rev() {
            by_range.insert(pool.cidr, pool.name.clone());
        }
        let cross_subnet = cluster.pools().values().any(|pool| pool.mode() == Mode::CrossSubnet);
        Pools { by_range, cross_subnet }
    }

    /// The pools around a destination, taken together; none if no routed one is there.
    ///
    /// Source: Calico felix/calc/l3_route_resolver.go, flush, poolTypeForPool.
    pub(super) fn around<'a>(&self, cluster: &'a ClusterState, destination: IpNet) -> Option<Around<'a>> {
        let covers = self.by_range.covers(destination);
        let pools = covers.filter_map(|(_, name)| cluster.pools().get(name));
        pools
            .filter(|pool| pool.routes())
            .fold(None, |outer: Option<Around<'_>>, pool| {
                let asked = outer.is_some_and(|outer| outer.cross_subnet);
                Some(Around {
                    pool,
                    cross_subnet: asked || pool.mode() == Mode::CrossSubnet,
                })
            })
    }
}
