//! Manifests, machines and tables in the fewest words, for tests of the datastore and of routes.

use std::net::IpAddr;

use ipnet::IpNet;
use overlab_dataplane::calico::{ClusterState, Profile, Reading, Resource, WorkloadRequest};
use overlab_dataplane::fields::{FieldPath, FieldRef, Origin, Refusal};
use overlab_dataplane::route::{HostNetwork, Nic, NodeTables, RpFilter, node_tables};
use overlab_dataplane::{Mtu, PerFamily};
use serde_json::{Value, json};

/// An IPPool manifest.
pub(crate) fn pool(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": name}, "spec": spec})
}

/// A Node manifest with a BGP address.
pub(crate) fn node(name: &str, address: &str) -> Value {
    node_spec(name, json!({"bgp": {"ipv4Address": address}}))
}

/// A Node manifest.
pub(crate) fn node_spec(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {"name": name}, "spec": spec})
}

/// A FelixConfiguration manifest.
pub(crate) fn felix(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration", "metadata": {"name": name}, "spec": spec})
}

/// An Installation manifest with its network section.
pub(crate) fn installation(network: Value) -> Value {
    json!({"apiVersion": "operator.tigera.io/v1", "kind": "Installation", "metadata": {"name": "default"},
           "spec": {"calicoNetwork": network}})
}

/// The DaemonSet calico-node with an environment; the value of a variable is a text, or what stands under `valueFrom`.
pub(crate) fn calico_node(env: &[(&str, Value)]) -> Value {
    let entry = |(name, value): &(&str, Value)| {
        let key = if value.is_string() { "value" } else { "valueFrom" };
        json!({"name": name, key: value})
    };
    let env: Vec<Value> = env.iter().map(entry).collect();
    let probe = json!({"exec": {"command": ["/bin/calico-node", "-felix-ready", "-bird-ready"]}});
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "calico-node", "namespace": "kube-system"},
           "spec": {"template": {"spec": {"containers": [
               {"name": "sidecar"}, {"name": "calico-node", "env": env, "readinessProbe": probe}]}}}})
}

/// A ConfigMap.
pub(crate) fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// The one refusal that there is.
pub(crate) fn only(refused: Result<impl Sized, Vec<Refusal>>) -> Refusal {
    let mut refusals = refused.err().expect("nothing was refused");
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    refusals.remove(0)
}

/// The resources in manifests; manifest i is document i.
pub(crate) fn read(manifests: &[Value]) -> Result<Vec<Resource>, Vec<Refusal>> {
    let mut resources = Vec::new();
    for (manifest, origin) in manifests.iter().zip(0..) {
        for reading in Resource::read(manifest, Origin(origin))? {
            if let Reading::Resource(resource) = reading {
                resources.push(resource);
            }
        }
    }
    Ok(resources)
}

/// Workloads from `name node` and, where they are fixed, addresses; `pool=NAME` names a pool.
pub(crate) fn workloads(texts: &[&str]) -> Vec<WorkloadRequest> {
    let request = |text: &&str| {
        let mut words = text.split(' ');
        let name = words.next().unwrap();
        let node = words.next().unwrap();
        let (pools, addresses): (Vec<&str>, Vec<&str>) = words.partition(|word| word.starts_with("pool="));
        WorkloadRequest {
            name: name.into(),
            node: node.into(),
            addresses: addresses.into_iter().map(|address| address.parse().unwrap()).collect(),
            pool: pools.first().map(|pool| pool["pool=".len()..].into()),
            origin: FieldRef {
                origin: Origin(1000),
                path: FieldPath::dotted("spec.workloads").key(name),
            },
        }
    };
    texts.iter().map(request).collect()
}

/// A cluster under the default profile.
pub(crate) fn cluster(manifests: &[Value], pods: &[&str]) -> Result<ClusterState, Vec<Refusal>> {
    ClusterState::build(Profile::V3_32, read(manifests)?, workloads(pods))
}

/// A machine with one card of 1500 B and a default gateway at .1 of its /24.
pub(crate) fn machine(name: &str, address: &str) -> HostNetwork {
    let bare = |_| IpNet::from(address.parse::<IpAddr>().unwrap());
    let address = address.parse().unwrap_or_else(bare);
    let subnet = IpNet::new(address.addr(), 24).unwrap();
    HostNetwork {
        name: name.into(),
        nics: vec![Nic {
            name: "eth0".into(),
            addresses: vec![address],
            mtu: Mtu::new(1500).unwrap(),
        }],
        gateways: PerFamily {
            v4: subnet.hosts().next(),
            v6: None,
        },
        rp_filter: RpFilter::Off,
        kernel: None,
    }
}

/// The tables of a node whose wires are as its address says.
pub(crate) fn tables(cluster: &ClusterState, name: &str, address: &str) -> NodeTables {
    node_tables(cluster, &machine(name, address))
}

/// All routes of a node, as `ip route` would print them.
pub(crate) fn printed(tables: &NodeTables) -> Vec<String> {
    tables.routes().map(|route| tables.text(route).to_string()).collect()
}

/// The route to exactly one destination, printed; empty if there is none.
pub(crate) fn route(tables: &NodeTables, destination: &str) -> String {
    let route = tables.route_to(destination.parse().unwrap());
    route.map(|route| tables.text(route).to_string()).unwrap_or_default()
}
