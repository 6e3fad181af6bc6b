//! The Node as Kubernetes has it: Calico's fields are annotations, and its addresses are those of its status.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::Value;

use super::{ADDRESS_KINDS, Form, Node, NodeAddress, as_number, is_bare, labels, pod_cidrs};
use crate::PerFamily;
use crate::calico::reading::{address_with_prefix, below, below_keys, ipv4, ipv6, mac, not_modelled, open};
use crate::fields::{FieldRef, Refusal, word};

/// Fields of Calico's Node and the annotations that stand for them on a Kubernetes Node.
///
/// Source: Calico libcalico-go/lib/backend/k8s/resources/node.go.
const ANNOTATIONS: [(&str, &str); 9] = [
    ("spec.bgp.ipv4Address", "projectcalico.org/IPv4Address"),
    ("spec.bgp.ipv6Address", "projectcalico.org/IPv6Address"),
    ("spec.bgp.ipv4IPIPTunnelAddr", "projectcalico.org/IPv4IPIPTunnelAddr"),
    ("spec.ipv4VXLANTunnelAddr", "projectcalico.org/IPv4VXLANTunnelAddr"),
    ("spec.vxlanTunnelMACAddr", "projectcalico.org/VXLANTunnelMACAddr"),
    ("spec.ipv6VXLANTunnelAddr", "projectcalico.org/IPv6VXLANTunnelAddr"),
    ("spec.vxlanTunnelMACAddrV6", "projectcalico.org/VXLANTunnelMACAddrV6"),
    ("spec.bgp.asNumber", "projectcalico.org/ASNumber"),
    (
        "spec.bgp.routeReflectorClusterID",
        "projectcalico.org/RouteReflectorClusterID",
    ),
];

/// Where a Kubernetes Node holds what Calico's own has at a path.
pub(super) fn field(at: &FieldRef, path: &str) -> FieldRef {
    match ANNOTATIONS.iter().find(|(field, _)| *field == path) {
        Some((_, annotation)) => below_keys(at, &["metadata", "annotations", annotation]),
        None => below(at, path),
    }
}

impl Node {
    /// Reads a Kubernetes Node: Calico's annotations, and the addresses of its status. An annotation that cannot be parsed is
    /// ignored, as Calico does.
    pub(in crate::calico) fn read_kubernetes(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> Node {
        let object = open(value, &at, refusals);
        let mut node = Node::empty(object.name, at, Form::Kubernetes);
        let annotation = |key: &str| {
            let key = format!("projectcalico.org/{key}");
            value.get("metadata")?.get("annotations")?.get(key)
        };
        let net = |key: &str| annotation(key).and_then(|v| address_with_prefix(v).ok());
        node.ipv4 = net("IPv4Address").and_then(v4);
        node.ipv6 = net("IPv6Address").and_then(v6);
        node.bare = PerFamily {
            v4: annotation("IPv4Address").is_some_and(is_bare),
            v6: annotation("IPv6Address").is_some_and(is_bare),
        };
        node.ipip_tunnel = annotation("IPv4IPIPTunnelAddr").and_then(|v| ipv4(v).ok());
        node.vxlan_tunnel = PerFamily {
            v4: annotation("IPv4VXLANTunnelAddr").and_then(|v| ipv4(v).ok()).map(IpAddr::V4),
            v6: annotation("IPv6VXLANTunnelAddr").and_then(|v| ipv6(v).ok()).map(IpAddr::V6),
        };
        node.vxlan_mac = PerFamily {
            v4: annotation("VXLANTunnelMACAddr").and_then(|v| mac(v).ok()),
            v6: annotation("VXLANTunnelMACAddrV6").and_then(|v| mac(v).ok()),
        };
        node.as_number = annotation("ASNumber").and_then(|v| as_number(v).ok());
        node.route_reflector_cluster = annotation("RouteReflectorClusterID").and_then(|v| ipv4(v).ok());
        node.labels = labels(value);
        node.pod_cidrs = pod_cidrs(value.pointer("/spec/podCIDRs"));
        let wireguard = "IPv4WireguardInterfaceAddr";
        if annotation(wireguard).is_some() {
            let name = format!("projectcalico.org/{wireguard}");
            let field = below_keys(&node.at, &["metadata", "annotations", &name]);
            refusals.push(not_modelled(field, format_args!("the annotation `{name}`")));
        }
        node.addresses = kubernetes_addresses(value, &node.at);
        node
    }
}

fn kubernetes_addresses(value: &Value, at: &FieldRef) -> Vec<NodeAddress> {
    let addresses = value.pointer("/status/addresses").and_then(Value::as_array);
    let entry = |(i, entry): (usize, &Value)| {
        let path = below(at, "status.addresses").path.index(i);
        Some(NodeAddress {
            kind: word(entry.get("type")?, &ADDRESS_KINDS).ok()?,
            address: address_with_prefix(entry.get("address")?).ok()?,
            at: FieldRef { origin: at.origin, path },
        })
    };
    addresses.into_iter().flatten().enumerate().filter_map(entry).collect()
}

fn v4(net: IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(net) => Some(net),
        IpNet::V6(_) => None,
    }
}

fn v6(net: IpNet) -> Option<Ipv6Net> {
    match net {
        IpNet::V4(_) => None,
        IpNet::V6(net) => Some(net),
    }
}
