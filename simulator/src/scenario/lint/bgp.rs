//! Routes that nobody programs, or two do.

use overlab_dataplane::calico::{ClusterRoutes, ClusterState, IpPool};
use overlab_dataplane::encap::Encap;
use overlab_dataplane::fields::FieldRef;

use super::{Found, Lint, Subject};

pub(super) const BGP_NEEDED: Lint = Lint {
    id: "BGP_NEEDED",
    why: "routes to pools of this class are BIRD's, and BIRD does not run: workloads of other nodes are not reached, and nothing says so",
    remedy: "use a VXLAN mode, or run BGP",
    link: "https://docs.tigera.io/calico/latest/networking/configuring/vxlan-ipip",
    find: needed,
};

pub(super) const CLUSTER_ROUTES_PAIR: Lint = Lint {
    id: "CLUSTER_ROUTES_PAIR",
    why: "each class of routes needs exactly one of Felix and BIRD: two fight over the same prefixes, and without any there are no routes",
    remedy: "pair `programClusterRoutes` of FelixConfiguration and BGPConfiguration as opposites of each other",
    link: "https://docs.tigera.io/calico/latest/reference/resources/bgpconfig",
    find: pair,
};

pub(super) const BGP_EXPORT_DISABLED: Lint = Lint {
    id: "BGP_EXPORT_DISABLED",
    why: "BIRD keeps the pool's blocks from every peer, the cluster's own nodes included: their routes go as well",
    remedy: "filter at the outer peers (BGPFilter), and leave `disableBGPExport` to VXLAN pools",
    link: "https://docs.tigera.io/calico/latest/reference/resources/ippool",
    find: export_disabled,
};

pub(super) const BIRD_READY_WITHOUT_BIRD: Lint = Lint {
    id: "BIRD_READY_WITHOUT_BIRD",
    why: "calico-node is ready only once BIRD answers, and this networking backend runs none: no node ever gets ready",
    remedy: "take `-bird-ready` and `-bird6-ready` out of the readiness probe, or use the backend `bird`",
    link: "https://github.com/projectcalico/calico/issues/8929",
    find: bird_ready,
};

fn bird_ready(subject: &Subject<'_>, found: &mut Found) {
    let asked = subject
        .cluster
        .readiness()
        .filter(|readiness| readiness.bird || readiness.bird6);
    if let (Some(readiness), false) = (asked, subject.cluster.bgp()) {
        let message = "readiness waits for BIRD, which does not run".to_owned();
        found.push((readiness.at.clone(), message));
    }
}

/// Whether routes to a pool are in these classes; those to VXLAN pools are in none.
fn holds(classes: ClusterRoutes, pool: &IpPool) -> bool {
    match pool.encapsulation() {
        Encap::Vxlan => false,
        Encap::Ipip => classes.ipip,
        Encap::None => classes.no_encap,
    }
}

/// Nodes that are configured apart, and, by the empty name, all others.
fn configured(cluster: &ClusterState) -> impl Iterator<Item = &str> {
    let felix = cluster.felix().values().filter_map(|felix| felix.node());
    let bgp = cluster.bgp_configurations().values().filter_map(|bgp| bgp.node());
    std::iter::once("").chain(felix).chain(bgp)
}

fn needed(subject: &Subject<'_>, found: &mut Found) {
    let cluster = subject.cluster;
    if cluster.bgp() {
        return;
    }
    let (bird, felix) = (cluster.bird_routes(""), cluster.settings("").felix_routes);
    let orphans = subject.pools().filter(|pool| holds(bird, pool) && !holds(felix, pool));
    found.extend(orphans.map(|pool| {
        let message = format!("pool {} needs BGP, which is off", pool.name);
        (pool.mode_field(), message)
    }));
}

fn pair(subject: &Subject<'_>, found: &mut Found) {
    for node in configured(subject.cluster) {
        let (bird, felix) = (subject.cluster.bird_routes(node), subject.cluster.settings(node).felix_routes);
        let classes = [
            ("IPIP", felix.ipip, bird.ipip),
            ("no-encapsulation", felix.no_encap, bird.no_encap),
        ];
        let wrong = classes.into_iter().find(|(_, felix, bird)| felix == bird);
        if let (Some((class, both, _)), Some(at)) = (wrong, stated(subject.cluster, node)) {
            let who = if both {
                "both Felix and BIRD program"
            } else {
                "neither Felix nor BIRD programs"
            };
            found.push((at, format!("{who} {class} routes")));
        }
    }
}

/// Where the classes of a node are stated; none if both sides have their default.
fn stated(cluster: &ClusterState, node: &str) -> Option<FieldRef> {
    let names = [format!("node.{node}"), "default".to_owned()];
    let felix = names.iter().filter_map(|name| cluster.felix().get(name.as_str()));
    let bgp = names
        .iter()
        .filter_map(|name| cluster.bgp_configurations().get(name.as_str()));
    let felix = felix.filter(|felix| felix.program_cluster_routes.is_some());
    let bgp = bgp.filter(|bgp| bgp.program_cluster_routes.is_some());
    let key = "spec.programClusterRoutes";
    felix
        .map(|felix| felix.field(key))
        .chain(bgp.map(|bgp| bgp.field(key)))
        .next()
}

fn export_disabled(subject: &Subject<'_>, found: &mut Found) {
    let bird = subject.cluster.bird_routes("");
    let kept = subject.pools().filter(|pool| pool.disable_bgp_export && holds(bird, pool));
    found.extend(kept.map(|pool| {
        let message = format!("pool {} is not exported, and its routes are BIRD's", pool.name);
        (pool.field("spec.disableBGPExport"), message)
    }));
}
