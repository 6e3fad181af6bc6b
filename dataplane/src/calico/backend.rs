//! What the manifests that install Calico decide beside its resources: the networking backend, the readiness that is asked for,
//! and the network plugin. Pools are [`super::envpools`]'s affair.

use super::daemonset::Environment;
use super::inventory::Inventory;
use super::{CalicoConfig, Installation, Readiness};
use crate::Mtu;
use crate::fields::FieldRef;

/// Which daemons run beside Felix.
///
/// Source: Calico node/filesystem/etc/rc.local; node/pkg/lifecycle/startup/startup.go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkingBackend {
    /// BIRD and confd.
    #[default]
    Bird,
    /// None; nodes' addresses are recorded nevertheless, because VXLAN needs them.
    Vxlan,
    /// None, and nodes' addresses are not recorded.
    None,
}

impl NetworkingBackend {
    /// That of a text. Case counts, and a text that is no backend's name means BIRD.
    pub fn named(text: &str) -> NetworkingBackend {
        match text {
            "vxlan" => NetworkingBackend::Vxlan,
            "none" => NetworkingBackend::None,
            _ => NetworkingBackend::Bird,
        }
    }
}

/// What whoever installed Calico decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Networking {
    pub(super) backend: NetworkingBackend,
    pub(super) readiness: Option<Readiness>,
    /// The MTU that the network plugin gives to workloads, if it is fixed.
    pub(super) cni_mtu: Option<Mtu>,
    /// Where `calico-config` fixes it, if it does and nobody goes before it.
    pub(super) cni_mtu_at: Option<FieldRef>,
    /// Whether addresses come from the ranges that Kubernetes gave to nodes.
    pub(super) host_local: bool,
}

impl Networking {
    /// What follows from calico-node's environment, `calico-config` and an Installation, in that order.
    pub(super) fn of(inventory: &Inventory) -> Networking {
        let environment = inventory.environment.as_ref();
        let installation = inventory.installation.as_ref();
        let config = inventory.calico_config.as_ref();
        let daemon_set = inventory.calico_node.as_ref();
        Networking {
            backend: backend(environment, config, installation),
            readiness: daemon_set
                .map(|node| node.readiness.clone())
                .or_else(|| installation.map(Installation::readiness)),
            cni_mtu: installation.and_then(|i| i.mtu).or(config.and_then(|config| config.cni_mtu)),
            cni_mtu_at: config
                .and_then(|config| config.cni_mtu_at.clone())
                .filter(|_| installation.is_none_or(|i| i.mtu.is_none())),
            host_local: environment.is_some_and(|env| env.switch("USE_POD_CIDR", false))
                || config.is_some_and(|config| config.host_local)
                || installation.is_some_and(|i| i.host_local()),
        }
    }
}

fn backend(
    environment: Option<&Environment>,
    config: Option<&CalicoConfig>,
    installation: Option<&Installation>,
) -> NetworkingBackend {
    if let Some(environment) = environment {
        if environment.get("CALICO_NETWORKING") == Some("false") {
            return NetworkingBackend::None;
        }
        if let Some(text) = environment.get("CALICO_NETWORKING_BACKEND") {
            return NetworkingBackend::named(text);
        }
    } else if let Some((text, _)) = config.and_then(|config| config.entry("calico_backend")) {
        return NetworkingBackend::named(&text);
    }
    installation.map(Installation::backend).unwrap_or_default()
}
