//! Mode and same-subnet answer make a decision: through the tunnel or direct. What route follows is not decided here.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::pools::Around;
use super::{Decision, Mode, SubnetTest, same_subnet};
use crate::encap::Encap;
use crate::fields::FieldRef;

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

/// The decision for a destination on another node, which is asked for by its address if at all.
///
/// Source: Calico felix/calc/l3_route_resolver.go, flush.
pub(super) fn decide(
    around: Option<Around<'_>>,
    subnet: Option<IpNet>,
    (node, address): (&Arc<str>, Option<(IpAddr, Option<FieldRef>)>),
    destination: &FieldRef,
) -> Decision {
    let mut decision = local(around, destination);
    decision.subnet_test = (decision.mode == Mode::CrossSubnet).then(|| {
        let (address, at) = address.unzip();
        SubnetTest {
            remote: (node.clone(), address, at.flatten()),
            of_next_hop: false,
            same: same_subnet(subnet, address),
        }
    });
    decision
}

/// The decision for a destination on this node, where no node is compared with any.
pub(super) fn local(around: Option<Around<'_>>, destination: &FieldRef) -> Decision {
    Decision {
        pool: around.map(|around| (around.pool.name.clone(), around.pool.mode_field())),
        encapsulation: around.map_or(Encap::None, |around| around.pool.encapsulation()),
        mode: around.map_or(Mode::Never, |around| around.mode()),
        subnet_test: None,
        destination: Some(destination.clone()),
    }
}
