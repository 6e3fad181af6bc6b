//! What nodes make of cluster IPs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The transports that services have here. Ports of SCTP are left out: nobody can send to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for ServiceProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ServiceProtocol::Tcp => "tcp",
            ServiceProtocol::Udp => "udp",
        })
    }
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The service with its namespace, as `default/web`.
    pub service: Arc<str>,
    /// Where its connections go, in ascending order; nowhere if none is ready.
    pub endpoints: Vec<SocketAddr>,
    /// Whether all connections of one client go to one endpoint (`sessionAffinity: ClientIP`).
    pub by_client: bool,
}

/// The ports of services by their cluster IPs: what kube-proxy programs on every node alike.
///
/// Source: Kubernetes pkg/proxy/iptables/proxier.go, syncProxyRules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    pub(in crate::route) ports: BTreeMap<(IpAddr, ServiceProtocol, u16), ServicePort>,
}

impl Services {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// The port of a service that an address, a transport and a port number are.
    pub fn at(&self, address: IpAddr, protocol: ServiceProtocol, port: u16) -> Option<&ServicePort> {
        self.ports.get(&(address, protocol, port))
    }

    /// The ports of the service whose cluster IP an address is.
    pub fn ports_of(&self, address: IpAddr) -> impl Iterator<Item = (ServiceProtocol, u16, &ServicePort)> {
        let first = (address, ServiceProtocol::Tcp, 0);
        let last = (address, ServiceProtocol::Udp, u16::MAX);
        let ports = self.ports.range(first..=last);
        ports.map(|((_, protocol, number), port)| (*protocol, *number, port))
    }

    /// All of them, in the order of address, transport and number.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, ServiceProtocol, u16, &ServicePort)> {
        let ports = self.ports.iter();
        ports.map(|((address, protocol, number), port)| (*address, *protocol, *number, port))
    }
}
