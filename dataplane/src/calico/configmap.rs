//! The ConfigMaps that take part: `calico-config`, which calico-node and the network plugin read, and kubeadm's, which holds
//! the range of pods. Of any other nothing is read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::Value;

use super::reading::below_keys;
use crate::Mtu;
use crate::fields::{FieldRef, Fields, Refusal, Wrong, text};

/// The settings that Calico's own manifests keep in one place.
///
/// Source: Calico manifests/calico.yaml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalicoConfig {
    /// Its name, which is `calico-config`.
    pub name: Arc<str>,
    /// Where it is declared.
    pub at: FieldRef,
    /// The MTU that the network plugin gives to workloads, if it is fixed.
    pub cni_mtu: Option<Mtu>,
    /// Where that is said.
    pub(super) cni_mtu_at: Option<FieldRef>,
    /// Whether the network plugin takes addresses from the node's own range.
    pub host_local: bool,
    data: BTreeMap<Arc<str>, Arc<str>>,
}

/// What kubeadm recorded of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeadmConfig {
    /// Its name, which is `kubeadm-config`.
    pub name: Arc<str>,
    /// Where it is declared.
    pub at: FieldRef,
    /// The ranges of pods, at most one of each family.
    pub pod_subnets: Vec<IpNet>,
}

/// The key under which the network plugin's configuration is kept.
const CNI: &str = "cni_network_config";
/// The key under which the MTU of workloads is kept, for the plugin's configuration to refer to.
const VETH_MTU: &str = "veth_mtu";

impl CalicoConfig {
    pub(super) const NAME: &str = "calico-config";

    /// Reads it; the text of the network plugin's configuration is opened too.
    pub(super) fn read(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> CalicoConfig {
        let mut config = CalicoConfig {
            name: Self::NAME.into(),
            data: data(value, &at, refusals),
            at,
            cni_mtu: None,
            cni_mtu_at: None,
            host_local: false,
        };
        let plugin = config.plugin(refusals);
        let mtu = match plugin.as_ref().and_then(|plugin| plugin.get("mtu")) {
            Some(mtu) => mtu.as_u64().map(|mtu| (CNI, mtu)),
            None => config.veth_mtu(refusals).map(|mtu| (VETH_MTU, mtu)),
        };
        if let Some((key, bytes)) = mtu.filter(|(_, bytes)| *bytes != 0) {
            config.cni_mtu = u16::try_from(bytes).ok().and_then(Mtu::new);
            config.cni_mtu_at = Some(config.field(key));
            if config.cni_mtu.is_none() {
                let message = format!("an MTU of {bytes} is none");
                refusals.push(Refusal::new("K-VALUE", config.field(key), message).help("write one from 68 to 65535, or 0"));
            }
        }
        let ipam = plugin.as_ref().and_then(|plugin| plugin.pointer("/ipam/type"));
        config.host_local = ipam.is_some_and(|kind| kind == "host-local");
        config
    }

    /// The value under a key and its place.
    pub(super) fn entry(&self, key: &str) -> Option<(Arc<str>, FieldRef)> {
        self.data.get(key).map(|value| (value.clone(), self.field(key)))
    }

    fn field(&self, key: &str) -> FieldRef {
        below_keys(&self.at, &["data", key])
    }

    fn veth_mtu(&self, refusals: &mut Vec<Refusal>) -> Option<u64> {
        let text = self.data.get(VETH_MTU).filter(|text| !text.is_empty())?;
        let bytes = text.parse().ok();
        if bytes.is_none() {
            let wrong = Wrong::expected("an MTU in bytes, or 0 for automatic");
            refusals.push(wrong.at(self.field(VETH_MTU), &Value::from(&**text)));
        }
        bytes
    }

    /// Calico's own entry in the configuration of network plugins, as the container that installs it would write it.
    ///
    /// Source: Calico cni-plugin/pkg/install/install.go, writeCNIConfig.
    fn plugin(&self, refusals: &mut Vec<Refusal>) -> Option<Value> {
        let text = self.data.get(CNI)?;
        let mtu = self.data.get(VETH_MTU).map_or("0", |mtu| &**mtu);
        match serde_json::from_str::<Value>(&text.replace("__CNI_MTU__", mtu)) {
            Ok(config) => {
                let calicos = |plugin: &&Value| plugin.get("type").is_some_and(|kind| kind == "calico");
                let listed = config.get("plugins").and_then(Value::as_array);
                let entry = listed.into_iter().flatten().find(calicos);
                entry.or_else(|| Some(&config).filter(calicos)).cloned()
            }
            Err(error) => {
                let message = format!("the network plugin's configuration is no JSON: {error}");
                refusals.push(Refusal::new("K-VALUE", self.field(CNI), message).help("correct the text, or leave the key out"));
                None
            }
        }
    }
}

impl KubeadmConfig {
    pub(super) const NAME: &str = "kubeadm-config";

    /// Reads it. Calico looks for a line of text and parses no YAML, and neither does this.
    ///
    /// Source: Calico node/pkg/lifecycle/startup/startup.go, extractKubeadmCIDRs.
    pub(super) fn read(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> KubeadmConfig {
        const KEY: &str = "podSubnet: ";
        let mut config = KubeadmConfig {
            name: Self::NAME.into(),
            pod_subnets: Vec::new(),
            at,
        };
        let data = data(value, &config.at, refusals);
        let found = data.iter().find_map(|(key, text)| {
            let (_, rest) = text.split_once(KEY)?;
            Some((key, rest.lines().next().unwrap_or_default()))
        });
        let Some((key, ranges)) = found else { return config };
        for range in ranges.trim().trim_matches(['"', '\'']).split(',') {
            match range.trim().parse::<IpNet>() {
                Ok(range) => config.pod_subnets.push(range.trunc()),
                Err(_) => refusals.push(
                    Wrong::expected("podSubnet with a range of each family, as 10.244.0.0/16,fd00:10:244::/56")
                        .at(below_keys(&config.at, &["data", key]), &Value::from(range)),
                ),
            }
        }
        config
    }

    /// The range of a family.
    pub(super) fn pod_subnet(&self, like: IpAddr) -> Option<IpNet> {
        let mut ranges = self.pod_subnets.iter().copied();
        ranges.find(|range| range.addr().is_ipv4() == like.is_ipv4())
    }
}

fn data(value: &Value, at: &FieldRef, refusals: &mut Vec<Refusal>) -> BTreeMap<Arc<str>, Arc<str>> {
    let mut root = Fields::new(value, at.clone(), refusals);
    let mut data = BTreeMap::new();
    for (key, at, value) in root.entries("data", refusals) {
        match text(value) {
            Ok(text) => {
                data.insert(key.into(), text.into());
            }
            Err(wrong) => refusals.push(wrong.at(at, value)),
        }
    }
    data
}
