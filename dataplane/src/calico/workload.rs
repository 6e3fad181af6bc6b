//! Workloads as the datastore holds them: Calico's `WorkloadEndpoint`, or a Kubernetes `Pod` as far as node and addresses go.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::Value;

use super::reading::{address_with_prefix, below, open};
use crate::fields::{FieldRef, Fields, Refusal, Wrong, text};

/// A workload with its node and its addresses.
///
/// Source: Calico libcalico-go/lib/apis/internalapi/workloadendpoint.go; libcalico-go/lib/backend/k8s/conversion/workload_endpoint_default.go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadEndpoint {
    /// Its namespace and name, as `default/web-1`; a pod's endpoint has the pod's.
    pub name: Arc<str>,
    /// Where it is declared.
    pub at: FieldRef,
    /// The node that it runs on.
    pub node: Arc<str>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The node's end of its veth, if it is not the one that follows from its name.
    pub interface: Option<Arc<str>>,
    /// Ranges besides its addresses that it may send from, where the node's Felix lets it.
    pub spoofable: Vec<IpNet>,
    pub(super) form: Form,
}

/// The kind of object that a workload is declared in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Endpoint,
    Pod,
}

impl WorkloadEndpoint {
    /// Reads Calico's own form; none if it names no node.
    pub(super) fn read(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> Option<WorkloadEndpoint> {
        let mut object = open(value, &at, refusals);
        let spec = &mut object.spec;
        let node = spec.require("node", refusals, text);
        let interface = spec.require("interfaceName", refusals, interface_name);
        let pod = spec.parse("pod", refusals, text).filter(|pod| !pod.is_empty());
        let networks = networks(spec, "ipNetworks", refusals);
        let addresses: Vec<IpAddr> = single_addresses(networks, refusals);
        for (at, nat) in spec.items("ipNATs", refusals) {
            check_nat(Fields::new(nat, at, refusals), &addresses, refusals);
        }
        let spoofable = self::networks(spec, "allowSpoofedSourcePrefixes", refusals);
        spec.ignore(&[
            "containerID",
            "endpoint",
            "ipv4Gateway",
            "ipv6Gateway",
            "mac",
            "orchestrator",
            "ports",
            "profiles",
            "serviceAccountName",
            "workload",
            "qosControls",
        ]);
        object.spec.finish(refusals);
        object.root.finish(refusals);
        Some(WorkloadEndpoint {
            name: qualified(value, pod.unwrap_or(&object.name)),
            at,
            node: node?.into(),
            addresses,
            interface,
            spoofable: spoofable.into_iter().map(|(_, net)| net.trunc()).collect(),
            form: Form::Endpoint,
        })
    }

    /// Reads a pod; none if it has no network of its own or no address: it is not scheduled, has ended, or uses its node's.
    pub(super) fn read_pod(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> Option<WorkloadEndpoint> {
        let own_name = value.pointer("/metadata/name").and_then(Value::as_str);
        let node = value.pointer("/spec/nodeName").and_then(Value::as_str)?;
        let ended = value.pointer("/status/phase").and_then(Value::as_str);
        let on_host = value.pointer("/spec/hostNetwork").and_then(Value::as_bool).unwrap_or(false);
        let addresses = pod_addresses(value);
        if on_host || ended.is_some_and(|phase| ["Succeeded", "Failed"].contains(&phase)) || addresses.is_empty() {
            return None;
        }
        let Some(own_name) = own_name else {
            refusals.push(Refusal::new("K-MISSING", at, "the pod has no name").help("add `metadata.name`"));
            return None;
        };
        Some(WorkloadEndpoint {
            name: qualified(value, own_name),
            at,
            node: node.into(),
            addresses,
            interface: None,
            spoofable: annotation(value, "allowedSourcePrefixes").map(prefixes).unwrap_or_default(),
            form: Form::Pod,
        })
    }

    /// The kind of object that it is declared in.
    pub(super) const fn kind(&self) -> &'static str {
        match self.form {
            Form::Endpoint => "WorkloadEndpoint",
            Form::Pod => "Pod",
        }
    }

    /// Where its addresses are declared.
    pub(super) fn addresses_field(&self) -> FieldRef {
        below(
            &self.at,
            match self.form {
                Form::Endpoint => "spec.ipNetworks",
                Form::Pod => "status.podIPs",
            },
        )
    }
}

/// A name with its namespace, which is `default` unless stated.
pub(super) fn qualified(value: &Value, name: &str) -> Arc<str> {
    let namespace = value.pointer("/metadata/namespace").and_then(Value::as_str);
    format!("{}/{name}", namespace.unwrap_or("default")).into()
}

fn annotation<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    let annotations = value.pointer("/metadata/annotations")?;
    annotations.get(format!("cni.projectcalico.org/{key}"))?.as_str()
}

/// A pod's addresses: those that Calico's plugin noted, else those of its status.
///
/// Source: Calico libcalico-go/lib/backend/k8s/conversion/workload_endpoint_default.go, getPodIPs.
fn pod_addresses(value: &Value) -> Vec<IpAddr> {
    let noted = annotation(value, "podIPs")
        .or_else(|| annotation(value, "podIP"))
        .filter(|text| !text.is_empty());
    let texts: Vec<&str> = match noted {
        Some(list) => list.split(',').collect(),
        None => {
            let all = value.pointer("/status/podIPs").and_then(Value::as_array);
            let all: Vec<_> = all
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.get("ip")?.as_str())
                .collect();
            let first = value.pointer("/status/podIP").and_then(Value::as_str);
            if all.is_empty() { first.into_iter().collect() } else { all }
        }
    };
    texts.into_iter().filter_map(single).collect()
}

fn single(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<IpNet>().ok().map(|net| net.addr()))
}

/// The ranges of an annotation, which holds a list in JSON; one that cannot be read allows nothing.
fn prefixes(text: &str) -> Vec<IpNet> {
    let list = serde_json::from_str::<Vec<String>>(text).unwrap_or_default();
    let prefix = |text: String| text.parse::<IpNet>().ok().or_else(|| single(&text).map(IpNet::from));
    list.into_iter().filter_map(prefix).map(|net| net.trunc()).collect()
}

fn networks(spec: &mut Fields<'_>, key: &'static str, refusals: &mut Vec<Refusal>) -> Vec<(FieldRef, IpNet)> {
    let mut networks = Vec::new();
    for (at, value) in spec.items(key, refusals) {
        match address_with_prefix(value) {
            Ok(net) => networks.push((at, net)),
            Err(wrong) => refusals.push(wrong.at(at, value)),
        }
    }
    networks
}

/// Source: Calico libcalico-go/lib/validator/v3/validator.go, validateWorkloadEndpointSpec.
fn single_addresses(networks: Vec<(FieldRef, IpNet)>, refusals: &mut Vec<Refusal>) -> Vec<IpAddr> {
    for (at, net) in networks.iter().filter(|(_, net)| net.prefix_len() != net.max_prefix_len()) {
        refusals.push(
            Refusal::new("W-NETWORK", at.clone(), format!("{net} is more than one address"))
                .why("a workload's networks are single addresses")
                .help(format!("write {}/{}", net.addr(), net.max_prefix_len())),
        );
    }
    networks.into_iter().map(|(_, net)| net.addr()).collect()
}

/// Source: Calico libcalico-go/lib/validator/v3/validator.go, validateWorkloadEndpointSpec.
fn check_nat(mut nat: Fields<'_>, addresses: &[IpAddr], refusals: &mut Vec<Refusal>) {
    let address = |v: &Value| {
        text(v)?
            .parse::<IpAddr>()
            .map_err(|_| Wrong::expected("an address, as 10.0.0.5"))
    };
    let internal = nat.require("internalIP", refusals, address);
    nat.require("externalIP", refusals, address);
    let field = nat.field("internalIP");
    nat.finish(refusals);
    if let Some(internal) = internal.filter(|internal| !addresses.contains(internal)) {
        refusals.push(
            Refusal::new("W-NAT", field, format!("{internal} is not in `ipNetworks`"))
                .why("a translation leads to an address that the workload has")
                .help("write one of the workload's addresses"),
        );
    }
}

/// Source: Calico libcalico-go/lib/validator/v3/validator.go, interfaceRegex.
fn interface_name(value: &Value) -> Result<Arc<str>, Wrong> {
    let text = text(value)?;
    let valid = (1..=15).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    valid
        .then(|| text.into())
        .ok_or_else(|| Wrong::expected("the name of a network device, as cali0123456789a"))
}
