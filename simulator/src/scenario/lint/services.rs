//! Services whose endpoints are nobody's.

use std::net::IpAddr;

use super::{Found, Lint, Subject};
use crate::scenario::model::{Card, Machine, Model};

pub(super) const ENDPOINT_OF_NOBODY: Lint = Lint {
    id: "ENDPOINT_OF_NOBODY",
    why: "kube-proxy sends connections to the addresses of EndpointSlices, whether or not anybody has them: those that nobody has lose theirs",
    remedy: "give a workload, node or host the address, or take the endpoint out of the slice",
    link: "https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors",
    find: of_nobody,
};

/// The first endpoint of each slice that takes connections and is nobody's of the scenario, where a flow goes to the service.
fn of_nobody(subject: &Subject<'_>, found: &mut Found) {
    let Some(model) = subject.wires.map(|wires| wires.model) else {
        return;
    };
    let services = subject.cluster.services().values();
    let called = services.filter(|service| model.flows.iter().any(|flow| service.cluster_ips.contains(&flow.destination)));
    for service in called {
        let slices = subject.cluster.endpoint_slices().values();
        for slice in slices.filter(|slice| slice.service == service.name) {
            let endpoints = slice.endpoints.iter().filter(|endpoint| endpoint.ready || endpoint.ending);
            let mut nobody = endpoints
                .map(|endpoint| endpoint.address)
                .filter(|address| !is_known(model, *address));
            if let Some(first) = nobody.next() {
                let others = match nobody.count() {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let (service, slice_name) = (&service.name, &slice.name);
                let message = format!("{first}{others}, behind service {service} by {slice_name}, is nobody's here");
                found.push((slice.at.clone(), message));
            }
        }
    }
}

/// Whether a workload, node or host has an address at any time of the run.
fn is_known(model: &Model, address: IpAddr) -> bool {
    let later = model
        .rewirings
        .iter()
        .flat_map(|wires| wires.nodes.iter().chain(&wires.hosts));
    let mut machines = model.nodes.iter().chain(&model.hosts).chain(later);
    let has = |card: &Card| card.has(address) || card.public_address.map(IpAddr::V4) == Some(address);
    let is_machine = machines.any(|machine: &Machine| machine.cards.iter().any(has));
    is_machine
        || model
            .workloads
            .iter()
            .any(|workload| workload.addresses.iter().flatten().any(|own| *own == address))
}
