//! Flows to services: who is behind the cluster IP that they go to.

use std::collections::BTreeSet;

use overlab_dataplane::Instant;
use overlab_dataplane::calico::{ClusterState, Service};
use overlab_dataplane::fields::{FieldRef, Refusal};
use overlab_dataplane::route::{ServiceProtocol, Services};

use super::cast::Cast;
use super::not_modelled;
use crate::scenario::model::{Endpoint, Flow, Transport};

/// Finds those behind the services that flows go to, and refuses what of services is not modelled where a flow asks for it.
pub(super) fn resolve(flows: &mut [Flow], clusters: &[(Instant, &ClusterState)], cast: &Cast, refusals: &mut Vec<Refusal>) {
    for (_, cluster) in clusters.iter().filter(|(_, cluster)| !cluster.services().is_empty()) {
        let services = Services::of(cluster);
        for flow in flows.iter_mut() {
            let Some(protocol) = protocol(flow.transport) else { continue };
            let found = cluster
                .services()
                .values()
                .find_map(|service| unmodelled(service, flow, protocol, cluster));
            if let Some(refusal) = found {
                refusals.extend((!refusals.contains(&refusal)).then_some(refusal));
                continue;
            }
            let Some(port) = services.at(flow.destination, protocol, flow.destination_port) else {
                continue;
            };
            let behind = port.endpoints.iter();
            let behind = behind.filter_map(|endpoint| Some((cast.owner(endpoint.ip())?, endpoint.port())));
            let all: BTreeSet<_> = flow.served_by.drain(..).chain(behind).collect();
            flow.served_by.extend(all);
        }
    }
}

fn protocol(transport: Transport) -> Option<ServiceProtocol> {
    match transport {
        Transport::Tcp => Some(ServiceProtocol::Tcp),
        Transport::Udp => Some(ServiceProtocol::Udp),
        Transport::Icmp => None,
    }
}

/// Why a flow cannot go to a service in the way that it does, if it goes to it at all.
fn unmodelled(service: &Service, flow: &Flow, protocol: ServiceProtocol, cluster: &ClusterState) -> Option<Refusal> {
    let to = FieldRef {
        origin: flow.field.origin,
        path: flow.field.path.key("to"),
    };
    let to_node = matches!(flow.to, Some(Endpoint::Node(_)));
    if to_node && service.node_ports.contains(&(protocol, flow.destination_port)) {
        let what = format!("node port {} of service {}", flow.destination_port, service.name);
        return Some(not_modelled(to, &what).help("send to the service's cluster IP"));
    }
    if service.other_addresses.contains(&flow.destination) {
        let what = format!("{}, an external address of service {},", flow.destination, service.name);
        return Some(not_modelled(to, &what).help("send to the service's cluster IP"));
    }
    if !service.cluster_ips.contains(&flow.destination) {
        return None;
    }
    let slices = cluster
        .endpoint_slices()
        .values()
        .filter(|slice| slice.service == service.name);
    let of_slices = slices.filter_map(|slice| slice.unmodelled.as_ref());
    let (at, key) = service.unmodelled.iter().chain(of_slices).next()?;
    let what = format!("`{key}` of service {}", service.name);
    let refusal = not_modelled(to, &what).help(format!("remove `{key}`, or send to an endpoint itself"));
    Some(refusal.related(at.clone(), "it is set here"))
}
