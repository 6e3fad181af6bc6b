//! Pools and settings of Felix that contradict each other.

use std::net::IpAddr;

use overlab_dataplane::Family;
use overlab_dataplane::calico::{ClusterState, FelixConfiguration, IpPool, Node};
use overlab_dataplane::encap::Encap;

use super::{Found, Lint, Subject};

pub(super) const VXLAN_ENABLED_STUCK: Lint = Lint {
    id: "VXLAN_ENABLED_STUCK",
    why: "`vxlanEnabled` overrides what follows from the pools, and stays when they change",
    remedy: "remove `vxlanEnabled`: Felix finds out by itself",
    link: "https://github.com/projectcalico/calico/issues/9688",
    find: |subject, found| stuck(subject, Encap::Vxlan, "vxlanEnabled", |felix| felix.vxlan_enabled, found),
};

pub(super) const IPIP_ENABLED_STUCK: Lint = Lint {
    id: "IPIP_ENABLED_STUCK",
    why: "`ipipEnabled` overrides what follows from the pools, and stays when they change",
    remedy: "remove `ipipEnabled`: Felix finds out by itself",
    link: "https://github.com/projectcalico/calico/issues/9688",
    find: |subject, found| stuck(subject, Encap::Ipip, "ipipEnabled", |felix| felix.ipip_enabled, found),
};

pub(super) const NO_TUNNEL_ADDRESS_POOL: Lint = Lint {
    id: "NO_TUNNEL_ADDRESS_POOL",
    why: "a tunnel's address comes from an enabled pool of its own encapsulation that selects the node: VXLAN without one does not work \
          at all, and IPIP not for the nodes' own packets",
    remedy: "enable a pool of this encapsulation that selects every node, or leave `disabled` to pools that others stand in for",
    link: "https://github.com/projectcalico/calico/issues/3672",
    find: no_tunnel_pool,
};

fn stuck(
    subject: &Subject<'_>,
    encapsulation: Encap,
    key: &str,
    stated: fn(&FelixConfiguration) -> Option<bool>,
    found: &mut Found,
) {
    if subject.cluster.pools().is_empty() {
        return;
    }
    let needed = subject.cluster.pools_enable(encapsulation, Family::V4);
    for felix in subject.cluster.felix().values() {
        if let Some(on) = stated(felix).filter(|on| *on != needed) {
            let pools = if needed { "there are pools" } else { "there is no pool" };
            let message = format!("`{key}` is {on}, and {pools} of this encapsulation");
            found.push((felix.field(&format!("spec.{key}")), message));
        }
    }
}

fn no_tunnel_pool(subject: &Subject<'_>, found: &mut Found) {
    let gives =
        |pool: &IpPool, node: &Node| !pool.disabled && pool.allowed_uses.tunnel && pool.node_selector.matches(&node.labels);
    for (encapsulation, name) in [(Encap::Vxlan, "VXLAN"), (Encap::Ipip, "IPIP")] {
        for family in Family::ALL {
            let of_kind = |pool: &&IpPool| pool.encapsulation() == encapsulation && Family::of_net(pool.cidr) == family;
            let pools: Vec<_> = subject.pools().filter(of_kind).collect();
            let without: Vec<_> = subject
                .cluster
                .nodes()
                .values()
                .filter(|node| !pools.iter().any(|pool| gives(pool, node)))
                .collect();
            if let (Some(pool), Some(node)) = (pools.first(), without.first()) {
                let more = match without.len() - 1 {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let message = format!("no pool gives node {}{more} an address for its {name} tunnel", node.name);
                let key = if pool.disabled { "spec.disabled" } else { "spec.nodeSelector" };
                found.push((pool.field(key), message));
            }
        }
    }
}

pub(super) const WORKLOAD_OUTSIDE_POOLS: Lint = Lint {
    id: "WORKLOAD_OUTSIDE_POOLS",
    why: "other nodes have no route to an address outside every pool, and IPAM gives none out: a workload has one only if its pool was deleted",
    remedy: "give the workload an address of a pool, or write the pool that holds it",
    link: "https://docs.tigera.io/calico/latest/networking/ipam/use-specific-ip",
    find: outside_pools,
};

/// Workloads whose address no pool ever holds. Later versions of the datastore may have lost the pool.
fn outside_pools(subject: &Subject<'_>, found: &mut Found) {
    let Some(model) = subject.wires.map(|wires| wires.model).filter(|_| subject.before.is_none()) else {
        return;
    };
    let later = model.versions.iter().map(|version| &version.cluster);
    let clusters: Vec<&ClusterState> = std::iter::once(subject.cluster).chain(later).collect();
    let pools = || clusters.iter().flat_map(|cluster| cluster.pools().values());
    for workload in &model.workloads {
        let outside = |address: &&IpAddr| pools().all(|pool| !pool.cidr.contains(*address));
        let outside = workload.addresses.iter().flatten().find(outside);
        found.extend(outside.map(|address| {
            let message = format!("workload {} has {address}, which lies in no pool", workload.name);
            (workload.field.clone(), message)
        }));
    }
}

pub(super) const BLOCK_OF_NO_NODE: Lint = Lint {
    id: "BLOCK_OF_NO_NODE",
    why: "no route leads to a block whose node is not there, and nobody else takes its free addresses until it is collected",
    remedy: "name a node that is there, or release what is left of one that has gone (`calicoctl ipam check`)",
    link: "https://docs.tigera.io/calico/latest/reference/calicoctl/ipam/check",
    find: of_no_node,
};

/// Blocks that are affine to nobody known. A machine that joins later, or has left, is known.
fn of_no_node(subject: &Subject<'_>, found: &mut Found) {
    let nodes = subject.cluster.nodes();
    let is_machine = |name: &str| {
        let wires = subject.wires.into_iter();
        wires.flat_map(|wires| wires.nodes).any(|node| *node.name == *name)
    };
    for block in subject.cluster.blocks().values().filter(|_| !nodes.is_empty()) {
        if let Some(node) = block
            .affinity
            .as_ref()
            .filter(|node| !nodes.contains_key(*node) && !is_machine(node))
        {
            found.push((
                block.at.clone(),
                format!("block {} is of node {node}, which is not there", block.cidr),
            ));
        }
    }
}
