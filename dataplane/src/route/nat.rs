//! What is translated on the way out of a node: ranges of the whole cluster, settings of the node.

use std::sync::Arc;

use ipnet::IpNet;

use super::{Index, NatRules};
use crate::Family;
use crate::calico::{ClusterState, IpPool, Profile, Settings};

/// The lowest port that is given to a translated connection.
const FIRST_PORT: u16 = 1024;

/// The ranges that translation asks for, in one family.
#[derive(Clone, Debug)]
pub(super) struct NatSets {
    masquerade: Arc<[IpNet]>,
    pools: Arc<[IpNet]>,
}

impl NatSets {
    /// Disabled pools count; those for nothing but LoadBalancer do not from v3.33.
    ///
    /// Source: Calico felix/dataplane/linux/masq_mgr.go.
    pub(super) fn of(cluster: &ClusterState, family: Family) -> NatSets {
        let counts = |pool: &&IpPool| {
            let load_balancer = pool.allowed_uses.load_balancer && cluster.profile() >= Profile::V3_33;
            Family::of_net(pool.cidr) == family && !load_balancer
        };
        let pools = || cluster.delivered_pools().filter(counts);
        NatSets {
            masquerade: sorted(pools().filter(|pool| pool.nat_outgoing)),
            pools: sorted(pools()),
        }
    }
}

fn sorted<'a>(pools: impl Iterator<Item = &'a IpPool>) -> Arc<[IpNet]> {
    let mut ranges: Vec<_> = pools.map(|pool| pool.cidr).collect();
    ranges.sort();
    ranges.into()
}

/// What a node translates in a family.
///
/// Source: Calico felix/rules/nat.go, makeNATOutgoingRuleIPTables; felix/rules/static.go, masqPortRangeExcluding.
pub(super) fn rules(index: &Index, profile: Profile, settings: &Settings, family: Family) -> NatRules {
    let sets = index.nat.get(family);
    NatRules {
        masquerade: sets.masquerade.clone(),
        pools: sets.pools.clone(),
        exempt: settings.nat_exempts_hosts.then(|| index.all_hosts.get(family).clone()),
        address: *settings.nat_outgoing_address.get(family),
        ports: settings.nat_ports,
        interface: settings.nat_interface.clone(),
        tunnel_ports: (profile >= Profile::V3_33).then(|| without(settings.vxlan_port)),
    }
}

/// The wider range of ports on one side of a port.
fn without(port: u16) -> (u16, u16) {
    let (below, above) = (port.saturating_sub(FIRST_PORT), u16::MAX - port.max(FIRST_PORT - 1));
    if below > above {
        (FIRST_PORT, port - 1)
    } else {
        (port.max(FIRST_PORT - 1) + 1, u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::without;

    #[rstest]
    #[case(4789, (4790, 65535))]
    #[case(60000, (1024, 59999))]
    #[case(80, (1024, 65535))]
    #[case(1024, (1025, 65535))]
    #[case(65535, (1024, 65534))]
    fn a_nodes_own_udp_is_translated_to_the_wider_side_of_the_vxlan_port(#[case] port: u16, #[case] range: (u16, u16)) {
        assert_eq!(without(port), range);
    }
}
