//! What is left from before a change.

use overlab_dataplane::calico::{ClusterState, Endpoint};
use overlab_dataplane::route::Mtus;

use super::{Found, Lint, Subject};

pub(super) const MTU_STALE_AFTER_SWITCH: Lint = Lint {
    id: "MTU_STALE_AFTER_SWITCH",
    why: "nobody changes the MTU of a workload that is there: what fills it no longer fits the tunnel, and is split or answered with an error",
    remedy: "make the workloads anew once Felix has restarted, or lower their MTU before the change",
    link: "https://docs.tigera.io/calico/latest/networking/configuring/mtu",
    find: mtus,
};

/// Workloads that are there, and stay so, while new ones would get less.
fn mtus(subject: &Subject<'_>, found: &mut Found) {
    let (Some(wires), Some(before)) = (subject.wires, &subject.before) else {
        return;
    };
    let mut stay = Vec::new();
    for machine in subject.machines() {
        let host = wires.model.host_network(machine);
        let given = |cluster: &ClusterState| Mtus::of(&cluster.settings(&machine.name), &host).workload;
        let (old, new) = (given(before.cluster), given(subject.cluster));
        let is_here = |endpoint: &Endpoint| endpoint.node == machine.name;
        let stays = |endpoint: &&Endpoint| {
            let was = before.cluster.endpoints().get(&endpoint.name);
            is_here(endpoint) && was.is_some_and(is_here) && !before.renewed.contains(&*endpoint.name)
        };
        if old > new {
            let endpoints = subject.cluster.endpoints().values().filter(stays);
            stay.extend(endpoints.map(|endpoint| (endpoint, old, new)));
        }
    }
    let Some((first, old, new)) = stay.first() else { return };
    let others = match stay.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "an MTU of {old} B stays with workload {}{others}, and a new one gets {new} B",
        first.name
    );
    found.push((first.at.clone(), message));
}
