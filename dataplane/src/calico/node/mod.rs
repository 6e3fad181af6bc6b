//! `Node`: what Calico recorded of a node, in Calico's own form or as annotations of a Kubernetes Node. It is belief, not wires.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::Value;

use super::Profile;
use super::reading::{address_with_prefix, below, ipv4, ipv6, mac, not_modelled, open};
use crate::fields::{FieldRef, Fields, Refusal, Wrong, word};
use crate::{Family, MacAddr, PerFamily};

mod kubernetes;

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
    /// Whether the BGP address of a family was recorded without a prefix length.
    pub bare: PerFamily<bool>,
    /// Other addresses, used where no BGP address is recorded.
    pub addresses: Vec<NodeAddress>,
    /// The address of `tunl0`.
    pub ipip_tunnel: Option<Ipv4Addr>,
    /// The addresses of `vxlan.calico` and `vxlan-v6.calico`.
    pub vxlan_tunnel: PerFamily<Option<IpAddr>>,
    /// The MACs of `vxlan.calico` and `vxlan-v6.calico`, where they are not the derived ones.
    pub vxlan_mac: PerFamily<Option<MacAddr>>,
    /// Its own AS number, if it is not the cluster's.
    pub as_number: Option<u32>,
    /// The cluster that it reflects routes for, if it is a route reflector.
    pub route_reflector_cluster: Option<Ipv4Addr>,
    /// Its labels, which selectors match.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// The ranges that Kubernetes gave it, which only host-local address management reads.
    pub pod_cidrs: Vec<IpNet>,
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
    pub net: IpNet,
    /// The field that holds it.
    pub at: FieldRef,
}

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

    /// Whether it is Calico's own object, which goes through Calico's API; a Kubernetes Node does not.
    pub fn through_api(&self) -> bool {
        self.form == Form::Calico
    }

    /// Takes back what Calico would have recorded by looking at the wires: with the backend `none` it does not look, and what is
    /// left of a derived record is the address that Kubernetes knows, without a mask. A record that a manifest holds stays.
    ///
    /// Source: Calico node/pkg/lifecycle/startup/startup.go.
    pub(super) fn leave_unrecorded(&mut self) {
        if self.form != Form::Derived {
            return;
        }
        for net in [self.ipv4.take().map(IpNet::V4), self.ipv6.take().map(IpNet::V6)]
            .into_iter()
            .flatten()
        {
            self.addresses.push(NodeAddress {
                kind: AddressKind::InternalIp,
                address: net.addr().into(),
                at: self.at.clone(),
            });
        }
    }

    fn empty(name: Arc<str>, at: FieldRef, form: Form) -> Node {
        Node {
            name,
            at,
            ipv4: None,
            ipv6: None,
            bare: PerFamily::default(),
            addresses: Vec::new(),
            ipip_tunnel: None,
            vxlan_tunnel: PerFamily::default(),
            vxlan_mac: PerFamily::default(),
            as_number: None,
            route_reflector_cluster: None,
            labels: BTreeMap::new(),
            pod_cidrs: Vec::new(),
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
        node.vxlan_tunnel.v4 = spec.parse("ipv4VXLANTunnelAddr", refusals, ipv4).map(IpAddr::V4);
        node.vxlan_mac.v4 = spec.parse("vxlanTunnelMACAddr", refusals, mac);
        node.vxlan_tunnel.v6 = spec.parse("ipv6VXLANTunnelAddr", refusals, ipv6).map(IpAddr::V6);
        node.vxlan_mac.v6 = spec.parse("vxlanTunnelMACAddrV6", refusals, mac);
        node.labels = labels(value);
        node.pod_cidrs = pod_cidrs(value.pointer("/status/podCIDRs"));
        spec.ignore(&["orchRefs"]);
        spec.withhold(&["wireguard"]);
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
        self.bare = PerFamily {
            v4: bgp.value("ipv4Address").is_some_and(is_bare),
            v6: bgp.value("ipv6Address").is_some_and(is_bare),
        };
        self.ipip_tunnel = bgp.parse("ipv4IPIPTunnelAddr", refusals, ipv4);
        self.as_number = bgp.parse("asNumber", refusals, as_number);
        if bgp.value("routeReflectorClusterID").is_some_and(|v| v != "") {
            self.route_reflector_cluster = bgp.parse("routeReflectorClusterID", refusals, ipv4);
        }
        bgp.finish(refusals);
    }

    /// The field of this node at a path of Calico's Node object, as `spec.bgp.ipv4Address`, wherever it is declared.
    pub fn field(&self, path: &str) -> FieldRef {
        match self.form {
            Form::Calico => below(&self.at, path),
            Form::Derived => self.at.clone(),
            Form::Kubernetes => kubernetes::field(&self.at, path),
        }
    }

    /// The BGP address of a family with its prefix length.
    pub fn bgp_net(&self, family: Family) -> Option<IpNet> {
        match family {
            Family::V4 => self.ipv4.map(IpNet::V4),
            Family::V6 => self.ipv6.map(IpNet::V6),
        }
    }

    /// The BGP address of a family, which VTEPs and BIRD use without any fallback.
    ///
    /// Source: Calico felix/calc/vxlan_resolver.go, OnResourceUpdate.
    pub fn bgp_address(&self, family: Family) -> Option<Recorded> {
        let path = match family {
            Family::V4 => "spec.bgp.ipv4Address",
            Family::V6 => "spec.bgp.ipv6Address",
        };
        self.bgp_net(family).map(|net| Recorded {
            net,
            at: self.field(path),
        })
    }

    /// The address that Felix's route resolver uses: the BGP address; only if neither family has one, the internal address,
    /// then the external one.
    ///
    /// Source: Calico felix/calc/l3_route_resolver.go, OnResourceUpdate.
    pub fn resolver_address(&self, family: Family) -> Option<Recorded> {
        if self.ipv4.is_some() || self.ipv6.is_some() {
            self.bgp_address(family)
        } else {
            self.fallback_address(family)
        }
    }

    /// The address by which other nodes' firewalls and Felix's IPIP routes know it: the BGP address, else the internal, then the
    /// external one. From v3.33 a BGP address without a prefix length does not count.
    ///
    /// Source: Calico felix/calc/dataplane_passthru.go, extractNodeAddress; until v3.32
    /// libcalico-go/lib/backend/syncersv1/updateprocessors/felixnodeprocessor.go.
    pub fn host_address(&self, family: Family, profile: Profile) -> Option<Recorded> {
        let counts = |_: &Recorded| profile < Profile::V3_33 || !*self.bare.get(family);
        self.bgp_address(family)
            .filter(counts)
            .or_else(|| self.fallback_address(family))
    }

    fn fallback_address(&self, family: Family) -> Option<Recorded> {
        let of_kind = |kind| {
            let mut of_kind = self.addresses.iter().filter(move |a| a.kind == kind);
            of_kind.find_map(|a| {
                (Family::of_net(a.address) == family).then(|| Recorded {
                    net: a.address,
                    at: a.at.clone(),
                })
            })
        };
        of_kind(AddressKind::InternalIp).or_else(|| of_kind(AddressKind::ExternalIp))
    }

    /// The node's own addresses, by any record.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let bgp = Family::ALL.into_iter().filter_map(|family| self.bgp_net(family));
        bgp.map(|net| net.addr())
            .chain(self.addresses.iter().map(|a| a.address.addr()))
    }
}

/// Whether an address stands without a prefix length.
fn is_bare(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.contains('/'))
}

/// Labels, as both forms have them; one that is no text is none.
fn labels(value: &Value) -> BTreeMap<Arc<str>, Arc<str>> {
    let labels = value.pointer("/metadata/labels").and_then(Value::as_object);
    labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())))
        .collect()
}

fn pod_cidrs(value: Option<&Value>) -> Vec<IpNet> {
    let ranges = value.and_then(Value::as_array);
    ranges
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_str()?.parse().ok())
        .collect()
}

/// Reads an AS number: a number, its text, or two halves with a point between them, as 1.10.
///
/// Source: Calico api/pkg/lib/numorstring/asnumber.go.
pub(super) fn as_number(value: &Value) -> Result<u32, Wrong> {
    let wrong = || Wrong::expected("an AS number from 0 to 4294967295, or its halves as 1.10");
    if let Some(number) = value.as_u64() {
        return u32::try_from(number).map_err(|_| wrong());
    }
    let text = value.as_str().ok_or_else(wrong)?;
    match text.split_once('.') {
        Some((high, low)) => {
            let half = |text: &str| text.parse::<u16>().map(u32::from).map_err(|_| wrong());
            Ok(half(high)? << 16 | half(low)?)
        }
        None => text.parse().map_err(|_| wrong()),
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
