//! One object of a manifest stream, by kind. It says which kinds are read; every other one is ignored, and told so.

use std::sync::Arc;

use serde_json::Value;

use super::ippool::Declared;
use super::{
    BgpConfiguration, BgpFilter, BgpPeer, BlockAffinity, CalicoConfig, CalicoNode, EndpointSlice, FelixConfiguration,
    Installation, IpPool, IpamBlock, IpamConfiguration, KubeadmConfig, Node, Service, WorkloadEndpoint,
};
use crate::fields::{FieldPath, FieldRef, Origin, Refusal, kind_of, suggestion};

const CALICO: &str = "projectcalico.org/v3";
const CRD: &str = "crd.projectcalico.org/v1";
const OPERATOR: &str = "operator.tigera.io/v1";
const KUBERNETES: &str = "v1";
const APPS: &str = "apps/v1";
const DISCOVERY: &str = "discovery.k8s.io/v1";
/// What Kubernetes before 1.21 has of slices.
const DISCOVERY_BETA: &str = "discovery.k8s.io/v1beta1";

/// The kinds that are read, each with the API versions that it is read from; the first is the one to suggest.
const KINDS: [(&str, &[&str]); 15] = [
    ("IPPool", &[CALICO, CRD]),
    ("Node", &[CALICO, KUBERNETES]),
    ("IPAMBlock", &[CRD, CALICO]),
    ("Installation", &[OPERATOR]),
    ("FelixConfiguration", &[CALICO, CRD]),
    ("BGPConfiguration", &[CALICO, CRD]),
    ("BGPPeer", &[CALICO, CRD]),
    ("BGPFilter", &[CALICO, CRD]),
    ("IPAMConfiguration", &[CALICO]),
    ("IPAMConfig", &[CRD]),
    ("BlockAffinity", &[CRD, CALICO]),
    ("WorkloadEndpoint", &[CALICO]),
    ("Pod", &[KUBERNETES]),
    ("Service", &[KUBERNETES]),
    ("EndpointSlice", &[DISCOVERY, DISCOVERY_BETA]),
];

/// Further kinds of Calico's own API groups. They change nothing here, or something that is not modelled: policy, say. Any
/// other kind of these groups that is spelt almost like one that is read is a slip.
const OTHERS: [&str; 26] = [
    "APIServer",
    "CalicoNodeStatus",
    "ClusterInformation",
    "GatewayAPI",
    "GlobalNetworkPolicy",
    "GlobalNetworkSet",
    "Goldmane",
    "HostEndpoint",
    "IPAMHandle",
    "IPReservation",
    "ImageSet",
    "Istio",
    "KubeControllersConfiguration",
    "KubeProxy",
    "ManagementClusterConnection",
    "NetworkPolicy",
    "NetworkSet",
    "Profile",
    "StagedGlobalNetworkPolicy",
    "StagedKubernetesNetworkPolicy",
    "StagedNetworkPolicy",
    "Tier",
    "TigeraStatus",
    "TLSPassThroughRoute",
    "TLSTerminatedRoute",
    "Whisker",
];

/// A resource that takes part in the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A pool of workload addresses.
    IpPool(IpPool),
    /// What Calico recorded of a node.
    Node(Node),
    /// A block of addresses and who has them.
    IpamBlock(IpamBlock),
    /// The operator's description of a whole installation.
    Installation(Installation),
    /// Settings of Felix.
    FelixConfiguration(FelixConfiguration),
    /// Settings of BGP.
    BgpConfiguration(BgpConfiguration),
    /// A peering besides the mesh.
    BgpPeer(BgpPeer),
    /// Rules for the routes of peers.
    BgpFilter(BgpFilter),
    /// The DaemonSet calico-node.
    CalicoNode(CalicoNode),
    /// The ConfigMap calico-config.
    CalicoConfig(CalicoConfig),
    /// The ConfigMap of kubeadm.
    KubeadmConfig(KubeadmConfig),
    /// How freely nodes take blocks and addresses.
    IpamConfiguration(IpamConfiguration),
    /// A node's claim on a block.
    BlockAffinity(BlockAffinity),
    /// A workload with its addresses.
    WorkloadEndpoint(WorkloadEndpoint),
    /// A service with cluster IPs.
    Service(Service),
    /// Where the connections of a service go.
    EndpointSlice(EndpointSlice),
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "almost every reading is a resource, and none lives long"
)]
pub enum Reading {
    /// It takes part.
    Resource(Resource),
    /// It changes no result here: its kind is not read, or it is a pod without a network of its own, or a service without a cluster IP.
    Ignored {
        /// Its kind.
        kind: String,
        /// Its name; empty if it has none.
        name: String,
    },
}

impl Resource {
    /// Reads a document: one object, or a list of them, in the order of the document.
    ///
    /// # Errors
    /// All reasons why the objects in it are refused: unknown keys, values that Calico's validation rejects, and what Calico
    /// knows but is not modelled.
    pub fn read(value: &Value, origin: Origin) -> Result<Vec<Reading>, Vec<Refusal>> {
        let at = FieldRef {
            origin,
            path: FieldPath::root(),
        };
        let (mut readings, mut refusals) = (Vec::new(), Vec::new());
        read_at(value, at, None, &mut readings, &mut refusals);
        if refusals.is_empty() { Ok(readings) } else { Err(refusals) }
    }

    /// The name, which is its own within the kind.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Resource::IpPool(pool) => &pool.name,
            Resource::Node(node) => &node.name,
            Resource::IpamBlock(block) => &block.name,
            Resource::Installation(installation) => &installation.name,
            Resource::FelixConfiguration(felix) => &felix.name,
            Resource::BgpConfiguration(bgp) => &bgp.name,
            Resource::BgpPeer(peer) => &peer.name,
            Resource::BgpFilter(filter) => &filter.name,
            Resource::CalicoNode(node) => &node.name,
            Resource::CalicoConfig(config) => &config.name,
            Resource::KubeadmConfig(config) => &config.name,
            Resource::IpamConfiguration(ipam) => &ipam.name,
            Resource::BlockAffinity(affinity) => &affinity.name,
            Resource::WorkloadEndpoint(endpoint) => &endpoint.name,
            Resource::Service(service) => &service.name,
            Resource::EndpointSlice(slice) => &slice.name,
        }
    }

    /// Where it is declared.
    pub fn at(&self) -> &FieldRef {
        match self {
            Resource::IpPool(pool) => &pool.at,
            Resource::Node(node) => &node.at,
            Resource::IpamBlock(block) => block.at(),
            Resource::Installation(installation) => &installation.at,
            Resource::FelixConfiguration(felix) => &felix.at,
            Resource::BgpConfiguration(bgp) => &bgp.at,
            Resource::BgpPeer(peer) => &peer.at,
            Resource::BgpFilter(filter) => &filter.at,
            Resource::CalicoNode(node) => &node.at,
            Resource::CalicoConfig(config) => &config.at,
            Resource::KubeadmConfig(config) => &config.at,
            Resource::IpamConfiguration(ipam) => &ipam.at,
            Resource::BlockAffinity(affinity) => &affinity.at,
            Resource::WorkloadEndpoint(endpoint) => &endpoint.at,
            Resource::Service(service) => &service.at,
            Resource::EndpointSlice(slice) => &slice.at,
        }
    }

    /// The kind, as manifests spell it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Resource::IpPool(_) => "IPPool",
            Resource::Node(_) => "Node",
            Resource::IpamBlock(_) => "IPAMBlock",
            Resource::Installation(_) => "Installation",
            Resource::FelixConfiguration(_) => "FelixConfiguration",
            Resource::BgpConfiguration(_) => "BGPConfiguration",
            Resource::BgpPeer(_) => "BGPPeer",
            Resource::BgpFilter(_) => "BGPFilter",
            Resource::CalicoNode(_) => "DaemonSet",
            Resource::CalicoConfig(_) | Resource::KubeadmConfig(_) => "ConfigMap",
            Resource::IpamConfiguration(_) => "IPAMConfiguration",
            Resource::BlockAffinity(_) => "BlockAffinity",
            Resource::WorkloadEndpoint(endpoint) => endpoint.kind(),
            Resource::Service(_) => "Service",
            Resource::EndpointSlice(_) => "EndpointSlice",
        }
    }
}

/// API version and kind, as an object states them or as the list around it implies them.
#[derive(Clone, Copy)]
struct TypeMeta<'v> {
    api: &'v str,
    kind: &'v str,
}

fn read_at(value: &Value, at: FieldRef, implied: Option<TypeMeta<'_>>, readings: &mut Vec<Reading>, refusals: &mut Vec<Refusal>) {
    let Some(meta) = type_meta(value, &at, implied, refusals) else {
        return;
    };
    let items = value.get("items").and_then(Value::as_array);
    if let (Some(kind), Some(items)) = (meta.kind.strip_suffix("List"), items) {
        let implied = (!kind.is_empty()).then_some(TypeMeta { api: meta.api, kind });
        for (i, item) in items.iter().enumerate() {
            let at = FieldRef {
                origin: at.origin,
                path: at.path.key("items").index(i),
            };
            read_at(item, at, implied, readings, refusals);
        }
    } else {
        readings.extend(read_one(value, at, meta, refusals));
    }
}

fn type_meta<'v>(
    value: &'v Value,
    at: &FieldRef,
    implied: Option<TypeMeta<'v>>,
    refusals: &mut Vec<Refusal>,
) -> Option<TypeMeta<'v>> {
    if !value.is_object() {
        let message = format!("expected an object, found {}", kind_of(value));
        refusals.push(
            Refusal::new("K-TYPE", at.clone(), message)
                .help("every object starts as `apiVersion: projectcalico.org/v3` and `kind: IPPool`"),
        );
        return None;
    }
    let mut stated = |key: &str, implied: Option<&'v str>| {
        let found = value.get(key).and_then(Value::as_str).or(implied);
        if found.is_none() {
            refusals.push(
                Refusal::new("K-MISSING", at.clone(), format!("the object has no `{key}`"))
                    .help("every object starts as `apiVersion: projectcalico.org/v3` and `kind: IPPool`"),
            );
        }
        found
    };
    let api = stated("apiVersion", implied.map(|t| t.api));
    let kind = stated("kind", implied.map(|t| t.kind));
    Some(TypeMeta { api: api?, kind: kind? })
}

fn read_one(value: &Value, at: FieldRef, meta: TypeMeta<'_>, refusals: &mut Vec<Refusal>) -> Option<Reading> {
    let before = refusals.len();
    let resource = match (meta.kind, meta.api) {
        ("IPPool", CALICO) => Resource::IpPool(IpPool::read(value, at, Declared::Manifest, refusals)?),
        ("IPPool", CRD) => Resource::IpPool(IpPool::read(value, at, Declared::Crd, refusals)?),
        ("Node", CALICO) => Resource::Node(Node::read(value, at, refusals)),
        ("Node", KUBERNETES) => Resource::Node(Node::read_kubernetes(value, at, refusals)),
        ("IPAMBlock", CALICO | CRD) => Resource::IpamBlock(IpamBlock::read(value, at, refusals)?),
        ("Installation", OPERATOR) => Resource::Installation(Installation::read(value, at, refusals)),
        ("FelixConfiguration", CALICO | CRD) => Resource::FelixConfiguration(FelixConfiguration::read(value, at, refusals)),
        ("BGPConfiguration", CALICO | CRD) => Resource::BgpConfiguration(BgpConfiguration::read(value, at, refusals)),
        ("BGPPeer", CALICO | CRD) => Resource::BgpPeer(BgpPeer::read(value, at, refusals)),
        ("BGPFilter", CALICO | CRD) => Resource::BgpFilter(BgpFilter::read(value, at, refusals)),
        ("DaemonSet", APPS) if CalicoNode::is(value) => Resource::CalicoNode(CalicoNode::read(value, at, refusals)?),
        ("ConfigMap", KUBERNETES) if named(value, CalicoConfig::NAME) => {
            Resource::CalicoConfig(CalicoConfig::read(value, at, refusals))
        }
        ("ConfigMap", KUBERNETES) if named(value, KubeadmConfig::NAME) => {
            Resource::KubeadmConfig(KubeadmConfig::read(value, at, refusals))
        }
        ("IPAMConfiguration", CALICO) | ("IPAMConfig", CRD) => {
            Resource::IpamConfiguration(IpamConfiguration::read(value, at, refusals))
        }
        ("BlockAffinity", CALICO | CRD) => Resource::BlockAffinity(BlockAffinity::read(value, at, refusals)?),
        ("WorkloadEndpoint", CALICO) => Resource::WorkloadEndpoint(WorkloadEndpoint::read(value, at, refusals)?),
        ("Pod", KUBERNETES) => match WorkloadEndpoint::read_pod(value, at, refusals) {
            Some(endpoint) => Resource::WorkloadEndpoint(endpoint),
            None => return Some(ignored(value, meta)),
        },
        ("Service", KUBERNETES) => match Service::read(value, at, refusals) {
            Some(service) => Resource::Service(service),
            None => return Some(ignored(value, meta)),
        },
        ("EndpointSlice", DISCOVERY | DISCOVERY_BETA) => match EndpointSlice::read(value, at, refusals) {
            Some(slice) => Resource::EndpointSlice(slice),
            None => return Some(ignored(value, meta)),
        },
        _ => return ignore_or_refuse(value, &at, meta, refusals),
    };
    (refusals.len() == before).then_some(Reading::Resource(resource))
}

fn named(value: &Value, name: &str) -> bool {
    value.pointer("/metadata/name").and_then(Value::as_str) == Some(name)
}

/// An object of a kind that is not read is ignored, unless its kind or its API version looks like a slip of the pen.
fn ignore_or_refuse(value: &Value, at: &FieldRef, meta: TypeMeta<'_>, refusals: &mut Vec<Refusal>) -> Option<Reading> {
    let TypeMeta { api, kind } = meta;
    let field = |key: &str| FieldRef {
        origin: at.origin,
        path: at.path.key(key),
    };
    let (group, version) = api.split_once('/').unwrap_or(("", api));
    let calicos = ["projectcalico.org", "crd.projectcalico.org", "operator.tigera.io"].contains(&group);
    let core = group.is_empty() && version.starts_with('v');
    if let Some((_, versions)) = KINDS.iter().find(|(known, _)| *known == kind && (calicos || core)) {
        let right = versions.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>().join(" or ");
        refusals.push(
            Refusal::new(
                "K-VERSION",
                field("apiVersion"),
                format!("`{kind}` has no API version `{api}`"),
            )
            .help(format!("write `apiVersion:` {right}")),
        );
        return None;
    }
    let slip = suggestion(kind, KINDS.iter().map(|(known, _)| *known)).filter(|_| calicos && !OTHERS.contains(&kind));
    if let Some(near) = slip {
        refusals.push(
            Refusal::new("K-UNKNOWN", field("kind"), format!("unknown kind `{kind}`")).help(format!("did you mean `{near}`?")),
        );
        return None;
    }
    Some(ignored(value, meta))
}

fn ignored(value: &Value, meta: TypeMeta<'_>) -> Reading {
    let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    Reading::Ignored {
        kind: meta.kind.to_owned(),
        name: name.to_owned(),
    }
}
