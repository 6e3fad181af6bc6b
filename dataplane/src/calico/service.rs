//! Kubernetes' `Service`, as far as kube-proxy translates its cluster IPs, and `EndpointSlice`, which says where to.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use super::reading::{DUPLICATE, below, open};
use super::workload::qualified;
use crate::Family;
use crate::fields::{FieldRef, Fields, Refusal, Wrong, boolean, integer, text, word};
use crate::route::ServiceProtocol;

/// A service with cluster IPs.
///
/// Source: Kubernetes staging/src/k8s.io/api/core/v1/types.go, ServiceSpec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace and name, as `default/web`.
    pub name: Arc<str>,
    /// Where it is declared.
    pub at: FieldRef,
    /// Its cluster IPs, at most one of each family.
    pub cluster_ips: Vec<IpAddr>,
    /// Its ports of TCP and UDP.
    pub ports: Vec<NamedPort>,
    /// Its node ports.
    pub node_ports: Vec<(ServiceProtocol, u16)>,
    /// Addresses besides the cluster IPs that it is known by: external ones and those of load balancers.
    pub other_addresses: Vec<IpAddr>,
    /// Whether all connections of one client go to one endpoint.
    pub client_affinity: bool,
    /// What of it is not modelled, if anything is: nobody may send to it.
    pub unmodelled: Option<(FieldRef, &'static str)>,
}

/// A port by its name, which is how a service and its endpoints find one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPort {
    /// The name; empty for the only port of a service.
    pub name: Arc<str>,
    /// The transport.
    pub protocol: ServiceProtocol,
    /// The number: what is called, or where it leads.
    pub number: u16,
}

/// Where the connections of a service go: a part of its endpoints.
///
/// Source: Kubernetes staging/src/k8s.io/api/discovery/v1/types.go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Its namespace and name.
    pub name: Arc<str>,
    /// Where it is declared.
    pub at: FieldRef,
    /// The service, with its namespace.
    pub service: Arc<str>,
    /// The ports that all its endpoints have.
    pub ports: Vec<NamedPort>,
    /// The endpoints.
    pub endpoints: Vec<ServiceEndpoint>,
    /// What of it is not modelled, if anything is.
    pub unmodelled: Option<(FieldRef, &'static str)>,
}

/// One endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceEndpoint {
    /// Its address: the first one, kube-proxy reads no other.
    pub address: IpAddr,
    /// Whether it takes connections; so it does if nothing is said.
    pub ready: bool,
    /// Whether it ends and still serves.
    pub ending: bool,
}

impl ServiceEndpoint {
    /// Whether connections go to it: while others are ready, or when none is left.
    pub(crate) fn takes(&self, ready: bool) -> bool {
        if ready { self.ready } else { self.ending }
    }
}

/// Keys of a service that change nothing for its cluster IPs.
const HARMLESS: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "clusterIP",
    "externalName",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "ipFamilies",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "publishNotReadyAddresses",
    "selector",
    "sessionAffinityConfig",
];

impl Service {
    /// Reads a service; none if it has no cluster IP: it is headless or `ExternalName`, or nobody has given it one.
    pub(super) fn read(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> Option<Service> {
        let (first, kind) = (value.pointer("/spec/clusterIP"), value.pointer("/spec/type"));
        let all = value.pointer("/spec/clusterIPs").and_then(|ips| ips.get(0));
        let is_none = |ip: &Value| ip.is_null() || ip == "" || ip == "None";
        let is_given = first.is_some_and(|ip| !is_none(ip)) || (first.is_none_or(Value::is_null) && all.is_some());
        if kind.is_some_and(|kind| kind == "ExternalName") || !is_given {
            return None;
        }
        let mut object = open(value, &at, refusals);
        let spec = &mut object.spec;
        spec.parse("type", refusals, |v| {
            word(v, &["ClusterIP", "NodePort", "LoadBalancer"].map(|kind| (kind, ())))
        });
        let cluster_ips = cluster_ips(spec, refusals);
        let affinity = [("None", false), ("ClientIP", true)];
        let client_affinity = spec.parse("sessionAffinity", refusals, |v| word(v, &affinity));
        let policies = [("Cluster", false), ("Local", true)];
        let local = spec.parse("internalTrafficPolicy", refusals, |v| word(v, &policies));
        let near = spec.parse("trafficDistribution", refusals, text);
        let unmodelled = local.filter(|local| *local).map(|_| "internalTrafficPolicy");
        let unmodelled = unmodelled.or(near.map(|_| "trafficDistribution"));
        let mut other_addresses = addresses(spec.items("externalIPs", refusals), refusals);
        let ingress = value.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
        let balancers = ingress.into_iter().flatten().filter_map(|entry| entry.get("ip")?.as_str());
        other_addresses.extend(balancers.filter_map(|address| address.parse::<IpAddr>().ok()));
        let (mut ports, mut node_ports) = (Vec::new(), Vec::new());
        for (at, value) in spec.items("ports", refusals) {
            let mut fields = Fields::new(value, at, refusals);
            fields.ignore(&["appProtocol", "targetPort"]);
            let node_port = fields.parse("nodePort", refusals, number_or_none).flatten();
            let port = named_port(&mut fields, refusals);
            fields.finish(refusals);
            node_ports.extend(port.iter().filter_map(|port| Some((port.protocol, node_port?))));
            ports.extend(port);
        }
        check_ports(&ports, &below(&at, "spec.ports"), refusals);
        spec.ignore(HARMLESS);
        object.spec.finish(refusals);
        object.root.finish(refusals);
        Some(Service {
            name: qualified(value, &object.name),
            cluster_ips,
            ports,
            node_ports,
            other_addresses,
            client_affinity: client_affinity.unwrap_or(false),
            unmodelled: unmodelled.map(|key| (below(&at, &format!("spec.{key}")), key)),
            at,
        })
    }
}

impl EndpointSlice {
    /// The label that names the service.
    const SERVICE: &str = "kubernetes.io/service-name";

    /// Reads a slice; none if it belongs to no service, or holds names rather than addresses.
    pub(super) fn read(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> Option<EndpointSlice> {
        let labels = value.pointer("/metadata/labels");
        let service = labels.and_then(|labels| labels.get(EndpointSlice::SERVICE)?.as_str())?;
        if value.get("addressType").and_then(Value::as_str) == Some("FQDN") {
            return None;
        }
        let mut object = open(value, &at, refusals);
        let root = &mut object.root;
        let families = [("IPv4", Family::V4), ("IPv6", Family::V6)];
        let family = root.require("addressType", refusals, |v| word(v, &families));
        let mut ports = Vec::new();
        for (at, value) in root.items("ports", refusals) {
            let mut fields = Fields::new(value, at, refusals);
            fields.ignore(&["appProtocol"]);
            ports.extend(named_port(&mut fields, refusals));
            fields.finish(refusals);
        }
        let (mut endpoints, mut unmodelled) = (Vec::new(), None);
        for (at, value) in root.items("endpoints", refusals) {
            let mut fields = Fields::new(value, at, refusals);
            if fields.value("hints").is_some() {
                unmodelled = unmodelled.or(Some((fields.field("hints"), "hints")));
            }
            endpoints.extend(endpoint(&mut fields, family, refusals));
            fields.finish(refusals);
        }
        if value.get("spec").is_some_and(|spec| !spec.is_null()) {
            let refusal = Refusal::new("K-UNKNOWN", below(&at, "spec"), "an EndpointSlice has no `spec`").at_key();
            let refusal = refusal.why("the API server would drop it without a word");
            refusals.push(refusal.help("write `endpoints` and `ports` beside `metadata`, and so in `patch`"));
        }
        object.root.finish(refusals);
        Some(EndpointSlice {
            service: qualified(value, service),
            name: qualified(value, &object.name),
            at,
            ports,
            endpoints,
            unmodelled,
        })
    }
}

/// Reads the cluster IPs, of which `clusterIP` repeats the first.
fn cluster_ips(spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> Vec<IpAddr> {
    let first = spec.require("clusterIP", refusals, address);
    let all = spec.items("clusterIPs", refusals);
    let Some((first_at, first_of_all)) = all.first().cloned() else {
        return first.into_iter().collect();
    };
    let all = addresses(all, refusals);
    let differs = first.is_some() && all.first().is_some_and(|of_all| Some(*of_all) != first);
    let two = all
        .iter()
        .zip(all.get(1..).unwrap_or_default())
        .any(|(a, b)| a.is_ipv4() == b.is_ipv4());
    if differs || two {
        let wrong = match differs {
            true => Wrong::expected("the address that `clusterIP` has").help("write it first in `clusterIPs` too"),
            false => Wrong::rule("K-VALUE", "two cluster IPs are of one family").help("leave one of each family"),
        };
        refusals.push(wrong.at(first_at, first_of_all));
    }
    all
}

fn addresses(items: Vec<(FieldRef, &Value)>, refusals: &mut Vec<Refusal>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for (at, value) in items {
        match address(value) {
            Ok(address) => addresses.push(address),
            Err(wrong) => refusals.push(wrong.at(at, value)),
        }
    }
    addresses
}

fn address(value: &Value) -> Result<IpAddr, Wrong> {
    let wrong = || Wrong::expected("an address, as 10.96.0.10");
    let address: IpAddr = text(value)?.parse().map_err(|_| wrong())?;
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if is_link_local || address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return Err(
            Wrong::rule("K-VALUE", format!("{address} is the address of no service and no endpoint"))
                .why("the API server takes neither unspecified nor loopback, link-local and multicast addresses")
                .help("write the unicast address that packets have"),
        );
    }
    Ok(address)
}

/// Reads name, transport and number of a port; none if it is of SCTP, or means every port.
fn named_port(fields: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> Option<NamedPort> {
    let name = fields.parse("name", refusals, text).unwrap_or_default();
    let protocols = [
        ("TCP", Some(ServiceProtocol::Tcp)),
        ("UDP", Some(ServiceProtocol::Udp)),
        ("SCTP", None),
    ];
    let protocol = fields.parse("protocol", refusals, |v| word(v, &protocols));
    let number = fields.parse("port", refusals, number);
    Some(NamedPort {
        name: name.into(),
        protocol: protocol.unwrap_or(Some(ServiceProtocol::Tcp))?,
        number: number?,
    })
}

fn number(value: &Value) -> Result<u16, Wrong> {
    let port = integer(value, 1, 65_535).map_err(|_| Wrong::expected("a port from 1 to 65535"))?;
    Ok(u16::try_from(port).unwrap_or(u16::MAX))
}

/// A node port of 0 is none.
fn number_or_none(value: &Value) -> Result<Option<u16>, Wrong> {
    if value == 0 { Ok(None) } else { number(value).map(Some) }
}

/// Refuses two ports of one number and transport.
///
/// Source: Kubernetes pkg/apis/core/validation/validation.go, ValidateService.
fn check_ports(ports: &[NamedPort], at: &FieldRef, refusals: &mut Vec<Refusal>) {
    for (i, port) in ports.iter().enumerate() {
        let key = (port.protocol, port.number);
        if ports.iter().take(i).any(|other| (other.protocol, other.number) == key) {
            let message = format!("port {} is there twice", port.number);
            let refusal = Refusal::new(DUPLICATE, at.clone(), message);
            refusals.push(refusal.why("a packet is of one port").help("remove one of the two"));
        }
        if ports.iter().take(i).any(|other| other.name == port.name) {
            let message = format!("two ports have the name \"{}\"", port.name);
            let refusal = Refusal::new(DUPLICATE, at.clone(), message);
            let refusal = refusal.why("ports and those of endpoints find one another by name");
            refusals.push(refusal.help("name each port, and the slices' ports alike"));
        }
    }
}

/// Reads an endpoint; none without an address.
fn endpoint(fields: &mut Fields<'_>, family: Option<Family>, refusals: &mut Vec<Refusal>) -> Option<ServiceEndpoint> {
    fields.ignore(&["deprecatedTopology", "hostname", "nodeName", "targetRef", "topology", "zone"]);
    let all = fields.items("addresses", refusals);
    let place = all.first().cloned();
    let first = addresses(all, refusals).into_iter().next();
    if let (Some((at, value)), Some(first), Some(family)) = (place, first, family)
        && Family::of(first) != family
    {
        let wrong = Wrong::rule("K-VALUE", format!("{first} is no {family} address"));
        refusals.push(
            wrong
                .why("a slice holds addresses of its `addressType`")
                .help("put it into a slice of its own")
                .at(at, value),
        );
    }
    let mut conditions = fields.fields("conditions", refusals);
    let mut condition = |key| conditions.parse(key, refusals, boolean);
    let (ready, serving, terminating) = (condition("ready"), condition("serving"), condition("terminating"));
    conditions.finish(refusals);
    let ready = ready.unwrap_or(true);
    Some(ServiceEndpoint {
        address: first?,
        ready,
        ending: serving.unwrap_or(ready) && terminating == Some(true),
    })
}
