//! Which services are taken, and which of their endpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::objects::{Objects, qualified, text};
use super::pods::Pod;
use super::wires::Wires;

/// What kube-proxy reads of an endpoint.
const READ: [&str; 3] = ["addresses", "conditions", "hints"];

/// Leaves of each service the endpoints that are workloads or nodes here: behind any other nobody would answer. What has none of them
/// left takes no part.
pub(super) fn keep(objects: &mut Objects, wires: &Wires, pods: &[Pod], notes: &mut Vec<String>) {
    let nodes = wires.nodes.values().flat_map(|node| node.address.iter().flatten());
    let here: BTreeSet<IpAddr> = nodes.chain(pods.iter().flat_map(|pod| &pod.addresses)).copied().collect();
    let is_here = |endpoint: &Value| {
        text(endpoint, "/addresses/0")
            .parse()
            .is_ok_and(|address| here.contains(&address))
    };
    let (mut all, mut left) = (0, 0);
    let mut served = BTreeSet::new();
    let service = |slice: &Value| qualified(slice, text(slice, "/metadata/labels/kubernetes.io~1service-name"));
    for ((_, _), slice) in objects.manifests.iter_mut().filter(|((kind, _), _)| kind == "EndpointSlice") {
        let Some(endpoints) = slice.pointer_mut("/endpoints").and_then(Value::as_array_mut) else {
            continue;
        };
        all += endpoints.len();
        endpoints.retain(is_here);
        left += endpoints.len();
        let fields = endpoints.iter_mut().filter_map(Value::as_object_mut);
        fields.for_each(|fields| fields.retain(|key, _| READ.contains(&&**key)));
        if !endpoints.is_empty() {
            served.insert(service(slice));
        }
    }
    let known: BTreeSet<String> = objects.of_kind("Service").map(|(name, _)| name.to_owned()).collect();
    let left_out = &mut objects.left_out;
    objects.manifests.retain(|(kind, name), object| {
        let kept = match &**kind {
            "Service" => served.contains(name),
            "EndpointSlice" => known.contains(&service(object)) && served.contains(&service(object)),
            _ => true,
        };
        if !kept {
            *left_out.entry(kind.clone()).or_default() += 1;
        }
        kept
    });
    if left < all {
        notes.push(format!(
            "{left} of {all} endpoints of services are kept: those that are workloads or nodes"
        ));
    }
}
