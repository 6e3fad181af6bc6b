//! Which of the learned routes BIRD writes into the kernel, and which of them into the tunnel.

use std::sync::Arc;

use ipnet::IpNet;

use crate::calico::{ClusterRoutes, ClusterState, IpPool};
use crate::route::outlook::programs;

/// The kernel filter's statements, one for each pool. They are sorted as text, so that of nested pools the textually lower
/// range decides, where Felix takes the most specific pool.
///
/// Source: Calico confd/pkg/backends/calico/bgp_processor.go, processIPPools.
#[derive(Clone, Debug, Default)]
pub(in crate::route) struct KernelFilter {
    statements: Vec<(IpNet, Arc<str>)>,
}

/// What the kernel filter does with a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::route) enum Written<'a> {
    /// It is left to Felix, or to nobody.
    Not,
    /// By the rules of a pool.
    By(&'a IpPool),
    /// Plain: no statement is about it.
    Plain,
}

impl KernelFilter {
    pub(in crate::route) fn of(cluster: &ClusterState) -> KernelFilter {
        KernelFilter::sorted(cluster.pools().values().map(|pool| (pool.cidr, pool.name.clone())))
    }

    fn sorted(pools: impl Iterator<Item = (IpNet, Arc<str>)>) -> KernelFilter {
        let mut statements: Vec<_> = pools.collect();
        statements.sort_by_cached_key(|(cidr, _)| cidr.to_string());
        statements.dedup_by_key(|(cidr, _)| *cidr);
        KernelFilter { statements }
    }

    /// The pool of the first statement that is about a destination.
    fn first(&self, destination: IpNet) -> Option<&Arc<str>> {
        let mut about = self.statements.iter().filter(|(cidr, _)| cidr.contains(&destination));
        about.next().map(|(_, name)| name)
    }

    /// What becomes of a destination on a node whose BIRD programs these classes. A node without a known network would have no
    /// statement about IPv4, but neither has it a session that could bring anything.
    ///
    /// Source: Calico confd/pkg/backends/calico/bgp_processor.go, processIPPool,
    /// extraStatementForKernelProgrammingIPIPNoEncap.
    pub(in crate::route) fn judge<'a>(
        &self,
        cluster: &'a ClusterState,
        routes: ClusterRoutes,
        destination: IpNet,
    ) -> Written<'a> {
        let Some(pool) = self.first(destination).and_then(|name| cluster.pools().get(name)) else {
            return Written::Plain;
        };
        if programs(routes, pool.encapsulation()) {
            Written::By(pool)
        } else {
            Written::Not
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::calico::{Profile, Reading, Resource};
    use crate::fields::Origin;

    const ALL: ClusterRoutes = ClusterRoutes {
        ipip: true,
        no_encap: true,
    };

    /// The datastore with these pools, some of which may have been written past Calico's checks.
    fn cluster(pools: &[(&str, Value)]) -> ClusterState {
        let read = |(name, spec): &(&str, Value)| {
            let pool =
                json!({"apiVersion": "crd.projectcalico.org/v1", "kind": "IPPool", "metadata": {"name": name}, "spec": spec});
            Resource::read(&pool, Origin(0)).unwrap()
        };
        let resources = pools.iter().flat_map(read).filter_map(|reading| match reading {
            Reading::Resource(resource) => Some(resource),
            Reading::Ignored { .. } => None,
        });
        ClusterState::build(Profile::V3_32, resources.collect(), Vec::new()).unwrap()
    }

    fn judged(cluster: &ClusterState, routes: ClusterRoutes, destination: &str) -> String {
        match KernelFilter::of(cluster).judge(cluster, routes, destination.parse().unwrap()) {
            Written::Not => "not".to_owned(),
            Written::Plain => "plain".to_owned(),
            Written::By(pool) => pool.name.to_string(),
        }
    }

    #[test]
    fn a_pool_decides_by_its_class_and_who_programs_it() {
        let cluster = cluster(&[
            ("vxlan", json!({"cidr": "10.1.0.0/16", "vxlanMode": "Always"})),
            ("ipip", json!({"cidr": "10.2.0.0/16", "ipipMode": "CrossSubnet"})),
            ("bare", json!({"cidr": "10.3.0.0/16"})),
        ]);
        let destinations = ["10.1.0.0/26", "10.2.0.0/26", "10.3.0.0/26", "10.4.0.0/26"];
        assert_eq!(
            destinations.map(|d| judged(&cluster, ALL, d)),
            ["not", "ipip", "bare", "plain"]
        );
        let none = ClusterRoutes {
            ipip: false,
            no_encap: false,
        };
        assert_eq!(
            destinations.map(|d| judged(&cluster, none, d)),
            ["not", "not", "not", "plain"]
        );
    }

    #[test]
    fn of_nested_pools_the_textually_lower_range_decides() {
        let nested = [
            ("10.0.1.0/24", "inner"),
            ("10.0.0.0/16", "outer"),
            ("10.16.0.0/12", "twelve"),
            ("10.16.2.0/24", "late"),
        ];
        let filter = KernelFilter::sorted(nested.into_iter().map(|(cidr, name)| (cidr.parse().unwrap(), name.into())));
        let first = |destination: &str| filter.first(destination.parse().unwrap()).map(|name| &**name);
        assert_eq!(first("10.0.1.0/26"), Some("outer"));
        assert_eq!(first("10.16.2.0/26"), Some("twelve"));
        assert_eq!(first("10.32.0.0/26"), None);
        let inner = [("10.0.8.0/21", "outer"), ("10.0.10.0/24", "inner")];
        let filter = KernelFilter::sorted(inner.into_iter().map(|(cidr, name)| (cidr.parse().unwrap(), name.into())));
        assert_eq!(
            filter.first("10.0.10.0/26".parse().unwrap()).map(|name| &**name),
            Some("inner")
        );
    }
}
