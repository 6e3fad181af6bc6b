//! `BGPConfiguration`: settings of BGP, global and per node, as far as they change routes here. Peers are not here.

use std::sync::Arc;

use serde_json::Value;

use super::ClusterRoutes;
use super::node::as_number;
use super::reading::{below, open};
use super::since::{Since, stated};
use crate::fields::{FieldRef, Fields, Refusal, boolean, integer, text, word};

/// The AS of a cluster unless configured.
pub(super) const DEFAULT_AS: u32 = 64512;

/// Settings of BGP; what is none here is decided elsewhere.
///
/// Source: Calico api/pkg/apis/projectcalico/v3/bgpconfig.go, BGPConfigurationSpec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BgpConfiguration {
    /// Its name: `default`, or `node.` and a node's name.
    pub name: Arc<str>,
    /// Where it is declared.
    pub at: FieldRef,
    /// Whether every two nodes have a session.
    pub mesh: Option<bool>,
    /// The AS number of nodes that have none of their own.
    pub as_number: Option<u32>,
    /// The TCP port of BGP.
    pub listen_port: Option<u16>,
    /// Which classes of routes BIRD programs, as it is written.
    pub program_cluster_routes: Option<Arc<str>>,
    /// The metric of BIRD's routes.
    pub normal_route_metric: Option<u32>,
    pub(super) since: Vec<Since>,
}

/// Fields that came after the oldest profile.
const SINCE: [(&str, u8); 2] = [("programClusterRoutes", 31), ("ipv4NormalRoutePriority", 32)];

/// The settings of BGP that hold on one node, after every default and override.
///
/// Source: Calico confd/pkg/backends/calico/bgp_processor.go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BgpSettings {
    /// Whether every two nodes have a session.
    pub mesh: bool,
    /// The node's AS number.
    pub as_number: u32,
    /// The TCP port of BGP.
    pub listen_port: u16,
    /// The classes of routes that BIRD programs.
    pub routes: ClusterRoutes,
    /// The metric of BIRD's routes.
    pub normal_route_metric: u32,
}

/// Fields that cannot change any result here: logs, timers, and the advertisement of services.
#[rustfmt::skip]
const HARMLESS: &[&str] = &[
    "bindMode", "communities", "ignoredInterfaces", "localWorkloadPeeringIPV4", "localWorkloadPeeringIPV6",
    "logSeverityScreen", "prefixAdvertisements", "serviceClusterIPs", "serviceExternalIPs", "serviceLoadBalancerAggregation",
    "serviceLoadBalancerIPs",
];

/// Fields that only the global configuration may have.
const GLOBAL: [&str; 4] = [
    "nodeToNodeMeshEnabled",
    "asNumber",
    "nodeMeshPassword",
    "nodeMeshMaxRestartTime",
];

impl BgpConfiguration {
    /// Reads a configuration.
    pub(super) fn read(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> BgpConfiguration {
        let mut object = open(value, &at, refusals);
        let spec = &mut object.spec;
        let configuration = BgpConfiguration {
            name: object.name,
            at,
            mesh: spec.parse("nodeToNodeMeshEnabled", refusals, boolean),
            as_number: spec.parse("asNumber", refusals, as_number),
            listen_port: spec
                .parse("listenPort", refusals, |v| integer(v, 1, 65535))
                .and_then(|port| u16::try_from(port).ok()),
            program_cluster_routes: spec.parse("programClusterRoutes", refusals, text).map(Arc::from),
            normal_route_metric: spec
                .parse("ipv4NormalRoutePriority", refusals, |v| {
                    integer(v, 1, i32::MAX.unsigned_abs().into())
                })
                .and_then(|metric| u32::try_from(metric).ok()),
            since: stated(spec, &SINCE),
        };
        spec.parse("bindMode", refusals, |v| word(v, &[("None", ()), ("NodeIP", ())]));
        configuration.check(spec, refusals);
        spec.ignore(HARMLESS);
        object.spec.finish(refusals);
        object.root.finish(refusals);
        configuration
    }

    /// Source: Calico libcalico-go/lib/validator/v3/validator.go, validateBGPConfigurationSpec; clientv3/bgpconfig.go.
    fn check(&self, spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) {
        let global = &*self.name == "default";
        if !global && self.node().is_none() && !self.name.is_empty() {
            refusals.push(
                Refusal::new(
                    "K-VALUE",
                    self.field("metadata.name"),
                    format!("confd reads no BGP configuration named {:?}", &*self.name),
                )
                .help("name it `default` for all nodes, or `node.` and a node's name for one"),
            );
        }
        for key in GLOBAL {
            if spec.value(key).is_some() && !global {
                refusals.push(
                    Refusal::new("BGP-GLOBAL", spec.field(key), format!("`{key}` is not for one node"))
                        .why("Calico takes it in the configuration named `default` only")
                        .help(format!("move `{key}` to the configuration named `default`")),
                );
            }
        }
        for key in ["nodeMeshPassword", "nodeMeshMaxRestartTime"] {
            if spec.value(key).is_some() && self.mesh == Some(false) {
                refusals.push(
                    Refusal::new("BGP-MESH", spec.field(key), format!("`{key}` without a mesh"))
                        .why("Calico refuses it where `nodeToNodeMeshEnabled` is false")
                        .help(format!("remove `{key}`, or set `nodeToNodeMeshEnabled` to true"))
                        .related(spec.field("nodeToNodeMeshEnabled"), "the mesh is off here"),
                );
            }
        }
    }

    /// The field at a path of the object, as `spec.asNumber`.
    pub fn field(&self, path: &str) -> FieldRef {
        below(&self.at, path)
    }

    /// The node that it is for; none if it is for all.
    pub fn node(&self) -> Option<&str> {
        self.name.strip_prefix("node.")
    }
}
