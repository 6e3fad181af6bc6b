//! From Services and EndpointSlices to what nodes translate.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{ServicePort, Services};
use crate::calico::{ClusterState, EndpointSlice, Service};

impl Services {
    /// The ports of all services. Endpoints that are not ready count only where no other is left: then those that end and still
    /// serve.
    ///
    /// Source: Kubernetes pkg/proxy/topology.go, CategorizeEndpoints; pkg/proxy/endpointslicecache.go.
    pub fn of(cluster: &ClusterState) -> Services {
        let mut slices: BTreeMap<&str, Vec<&EndpointSlice>> = BTreeMap::new();
        for slice in cluster.endpoint_slices().values() {
            slices.entry(&slice.service).or_default().push(slice);
        }
        let mut services = Services::default();
        for service in cluster.services().values() {
            let slices = slices.get(&*service.name).map(Vec::as_slice).unwrap_or_default();
            services.add(service, slices);
        }
        services
    }

    fn add(&mut self, service: &Service, slices: &[&EndpointSlice]) {
        for address in &service.cluster_ips {
            for port in &service.ports {
                let endpoints = |ready: bool| {
                    let mut endpoints: Vec<SocketAddr> = Vec::new();
                    for slice in slices {
                        let numbers = slice
                            .ports
                            .iter()
                            .filter(|p| (&p.name, p.protocol) == (&port.name, port.protocol));
                        for number in numbers.map(|port| port.number) {
                            let fit = slice.endpoints.iter().filter(|e| e.takes(ready));
                            let fit = fit.filter(|e| e.address.is_ipv4() == address.is_ipv4());
                            endpoints.extend(fit.map(|e| SocketAddr::new(e.address, number)));
                        }
                    }
                    endpoints.sort();
                    endpoints.dedup();
                    endpoints
                };
                let ready = endpoints(true);
                let made = ServicePort {
                    service: service.name.clone(),
                    endpoints: if ready.is_empty() { endpoints(false) } else { ready },
                    by_client: service.client_affinity,
                };
                self.ports.insert((*address, port.protocol, port.number), made);
            }
        }
    }
}
