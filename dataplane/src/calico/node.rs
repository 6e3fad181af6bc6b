//! `Node`: what Calico recorded of a node, in Calico's own form or as annotations of a Kubernetes Node. It is belief, not wires.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::Value;

use super::reading::{address_with_prefix, below, below_keys, ipv4, ipv6, mac, not_modelled, open};
use crate::MacAddr;
use crate::fields::{FieldRef, Fields, Refusal, Wrong, integer, word};

/// The AS number of every node unless somebody changes it.
const DEFAULT_AS: u64 = 64512;

/// What Calico recorded of a node.
///
/// Source: Calico libcalico-go/lib/apis/internalapi/node.go, NodeSpec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is declared.
    pub at: FieldRef,
    /// Its BGP address with the prefix length of its interface; a bare address counts as /32.
    pub ipv4: Option<Ipv4Net>,
    /// The same for IPv6.
    pub ipv6: Option<Ipv6Net>,
    /// Other addresses, used where no BGP address is recorded.
    pub addresses: Vec<NodeAddress>,
    /// The address of `tunl0`.
    pub ipip_tunnel: Option<Ipv4Addr>,
    /// The address of `vxlan.calico`.
    pub vxlan_tunnel: Option<Ipv4Addr>,
    /// The MAC of `vxlan.calico`, if it is not the derived one.
    pub vxlan_mac: Option<MacAddr>,
    form: Form,
}

/// How a node is declared; it decides where its fields are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Calico,
    Kubernetes,
    Derived,
}

/// What kind of address an entry of `spec.addresses` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// Put there by Calico.
    CalicoNodeIp,
    /// Kubernetes' internal address.
    InternalIp,
    /// Kubernetes' external address.
    ExternalIp,
}

/// An entry of `spec.addresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its kind.
    pub kind: AddressKind,
    /// The address; a bare one counts as a single address.
    pub address: IpNet,
    /// Where it is declared.
    pub at: FieldRef,
}

/// A node's address as somebody in Calico sees it, and where it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The address with its prefix length.
    pub net: Ipv4Net,
    /// The field that holds it.
    pub at: FieldRef,
}

/// Fields of Calico's Node and the annotations that stand for them on a Kubernetes Node.
///
/// Source: Calico libcalico-go/lib/backend/k8s/resources/node.go.
const ANNOTATIONS: [(&str, &str); 5] = [
    ("spec.bgp.ipv4Address", "projectcalico.org/IPv4Address"),
    ("spec.bgp.ipv6Address", "projectcalico.org/IPv6Address"),
    ("spec.bgp.ipv4IPIPTunnelAddr", "projectcalico.org/IPv4IPIPTunnelAddr"),
    ("spec.ipv4VXLANTunnelAddr", "projectcalico.org/IPv4VXLANTunnelAddr"),
    ("spec.vxlanTunnelMACAddr", "projectcalico.org/VXLANTunnelMACAddr"),
];

impl Node {
    /// The record that Calico would make of a node by looking at its wires: its address with the mask of its interface.
    ///
    /// Source: Calico node/pkg/lifecycle/startup/startup.go, configureIPsAndSubnets.
    pub fn derived(name: Arc<str>, address: IpNet, at: FieldRef) -> Node {
        let mut node = Node::empty(name, at, Form::Derived);
        match address {
            IpNet::V4(net) => node.ipv4 = Some(net),
            IpNet::V6(net) => node.ipv6 = Some(net),
        }
        node
    }

    fn empty(name: Arc<str>, at: FieldRef, form: Form) -> Node {
        Node {
            name,
            at,
            ipv4: None,
            ipv6: None,
            addresses: Vec::new(),
            ipip_tunnel: None,
            vxlan_tunnel: None,
            vxlan_mac: None,
            form,
        }
    }

    /// Reads Calico's own form.
    ///
    /// Source: Calico libcalico-go/lib/validator/v3/validator.go, validateNodeSpec.
    pub(super) fn read(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> Node {
        let mut object = open(value, &at, refusals);
        let spec = &mut object.spec;
        let mut node = Node::empty(object.name, at, Form::Calico);
        if let Some(value) = spec.value("bgp") {
            node.read_bgp(Fields::new(value, spec.field("bgp"), refusals), value, refusals);
        }
        node.vxlan_tunnel = spec.parse("ipv4VXLANTunnelAddr", refusals, ipv4);
        node.vxlan_mac = spec.parse("vxlanTunnelMACAddr", refusals, mac);
        spec.parse("ipv6VXLANTunnelAddr", refusals, ipv6);
        spec.parse("vxlanTunnelMACAddrV6", refusals, mac);
        spec.ignore(&["orchRefs"]);
        if spec.value("wireguard").is_some() {
            refusals.push(not_modelled(spec.field("wireguard"), "WireGuard"));
        }
        for (at, item) in spec.items("addresses", refusals) {
            node.addresses.extend(node_address(item, at, refusals));
        }
        object.spec.finish(refusals);
        object.root.finish(refusals);
        node
    }

    fn read_bgp(&mut self, mut bgp: Fields<'_>, value: &Value, refusals: &mut Vec<Refusal>) {
        if value
            .as_object()
            .is_some_and(|map| map.values().all(|v| v.is_null() || v == ""))
        {
            refusals.push(
                Refusal::new("N-BGP-EMPTY", bgp.at().clone(), "`bgp` should not be empty")
                    .why("Calico refuses a BGP section without any field")
                    .help("add `ipv4Address:` with the node's address and prefix length, or remove `bgp`"),
            );
        }
        self.ipv4 = bgp.parse("ipv4Address", refusals, |v| {
            let wrong = || Wrong::expected("an IPv4 address with its prefix length, as 10.0.0.5/24");
            match address_with_prefix(v) {
                Ok(IpNet::V4(net)) => Ok(net),
                Ok(IpNet::V6(_)) | Err(_) => Err(wrong()),
            }
        });
        self.ipv6 = bgp.parse("ipv6Address", refusals, |v| {
            let wrong = || Wrong::expected("an IPv6 address with its prefix length, as fd00::5/64");
            match address_with_prefix(v) {
                Ok(IpNet::V6(net)) => Ok(net),
                Ok(IpNet::V4(_)) | Err(_) => Err(wrong()),
            }
        });
        self.ipip_tunnel = bgp.parse("ipv4IPIPTunnelAddr", refusals, ipv4);
        let number = bgp.parse("asNumber", refusals, |v| integer(v, 1, u64::from(u32::MAX)));
        if number.is_some_and(|n| n != DEFAULT_AS) {
            refusals.push(not_modelled(bgp.field("asNumber"), "a node's own AS number"));
        }
        if bgp.value("routeReflectorClusterID").is_some_and(|v| v != "") {
            refusals.push(not_modelled(bgp.field("routeReflectorClusterID"), "a route reflector"));
        }
        bgp.finish(refusals);
    }

    /// Reads a Kubernetes Node: Calico's annotations, and the addresses of its status. An annotation that cannot be parsed is
    /// ignored, as Calico does.
    pub(super) fn read_kubernetes(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> Node {
        let object = open(value, &at, refusals);
        let mut node = Node::empty(object.name, at, Form::Kubernetes);
        let annotation = |key: &str| {
            let key = format!("projectcalico.org/{key}");
            value.get("metadata")?.get("annotations")?.get(key)
        };
        let net = |key: &str| annotation(key).and_then(|v| address_with_prefix(v).ok());
        node.ipv4 = net("IPv4Address").and_then(v4);
        node.ipv6 = net("IPv6Address").and_then(v6);
        node.ipip_tunnel = annotation("IPv4IPIPTunnelAddr").and_then(|v| ipv4(v).ok());
        node.vxlan_tunnel = annotation("IPv4VXLANTunnelAddr").and_then(|v| ipv4(v).ok());
        node.vxlan_mac = annotation("VXLANTunnelMACAddr").and_then(|v| mac(v).ok());
        let number = |value: Option<&Value>| value.and_then(Value::as_str).and_then(|text| text.parse().ok());
        for key in ["ASNumber", "RouteReflectorClusterID", "IPv4WireguardInterfaceAddr"] {
            let default = key == "ASNumber" && number(annotation(key)) == Some(DEFAULT_AS);
            if annotation(key).is_some() && !default {
                let name = format!("projectcalico.org/{key}");
                let field = below_keys(&node.at, &["metadata", "annotations", &name]);
                refusals.push(not_modelled(field, format_args!("the annotation `{name}`")));
            }
        }
        node.addresses = kubernetes_addresses(value, &node.at);
        node
    }

    /// The field of this node at a path of Calico's Node object, as `spec.bgp.ipv4Address`, wherever it is declared.
    pub fn field(&self, path: &str) -> FieldRef {
        match self.form {
            Form::Calico => below(&self.at, path),
            Form::Derived => self.at.clone(),
            Form::Kubernetes => match ANNOTATIONS.iter().find(|(field, _)| *field == path) {
                Some((_, annotation)) => below_keys(&self.at, &["metadata", "annotations", annotation]),
                None => below(&self.at, path),
            },
        }
    }

    /// The BGP address, which VTEPs and BIRD use without any fallback.
    ///
    /// Source: Calico felix/calc/vxlan_resolver.go, OnResourceUpdate.
    pub fn bgp_address(&self) -> Option<Recorded> {
        self.ipv4.map(|net| Recorded {
            net,
            at: self.field("spec.bgp.ipv4Address"),
        })
    }

    /// The address that Felix's route resolver uses: the BGP address; only if neither family has one, the internal address,
    /// then the external one.
    ///
    /// Source: Calico felix/calc/l3_route_resolver.go, OnResourceUpdate.
    pub fn resolver_address(&self) -> Option<Recorded> {
        if self.ipv4.is_some() || self.ipv6.is_some() {
            self.bgp_address()
        } else {
            self.fallback_address()
        }
    }

    /// The address by which other nodes' firewalls know it: the BGP address, else the internal, then the external one.
    ///
    /// Source: Calico libcalico-go/lib/backend/syncersv1/updateprocessors/felixnodeprocessor.go.
    pub fn host_address(&self) -> Option<Recorded> {
        self.bgp_address().or_else(|| self.fallback_address())
    }

    fn fallback_address(&self) -> Option<Recorded> {
        let of_kind = |kind| {
            let mut of_kind = self.addresses.iter().filter(move |a| a.kind == kind);
            of_kind.find_map(|a| {
                Some(Recorded {
                    net: v4(a.address)?,
                    at: a.at.clone(),
                })
            })
        };
        of_kind(AddressKind::InternalIp).or_else(|| of_kind(AddressKind::ExternalIp))
    }

    /// Whether an address is one of the node's own, by any record.
    pub fn has_address(&self, address: IpAddr) -> bool {
        let bgp = self.ipv4.map(|net| IpAddr::V4(net.addr()));
        let bgp6 = self.ipv6.map(|net| IpAddr::V6(net.addr()));
        bgp == Some(address) || bgp6 == Some(address) || self.addresses.iter().any(|a| a.address.addr() == address)
    }
}

const ADDRESS_KINDS: [(&str, AddressKind); 3] = [
    ("CalicoNodeIP", AddressKind::CalicoNodeIp),
    ("InternalIP", AddressKind::InternalIp),
    ("ExternalIP", AddressKind::ExternalIp),
];

fn node_address(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> Option<NodeAddress> {
    let mut fields = Fields::new(value, at, refusals);
    let address = fields.require("address", refusals, address_with_prefix);
    let kind = fields.parse("type", refusals, |v| word(v, &ADDRESS_KINDS));
    let at = fields.field("address");
    fields.finish(refusals);
    Some(NodeAddress {
        kind: kind.unwrap_or(AddressKind::CalicoNodeIp),
        address: address?,
        at,
    })
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
