//! From the model to its graph.

use super::graph::{Topology, Vertex};
use crate::scenario::Model;

/// The graph of a model: every workload on its node, every machine on its subnet, every subnet on its underlay's router, every gateway between routers.
pub fn build(model: &Model) -> Topology {
    let mut topology = Topology::default();
    for (underlay, wires) in model.underlays.iter().enumerate() {
        for subnet in 0..wires.subnets.len() {
            topology.connect(Vertex::Router { underlay }, Vertex::Subnet { underlay, subnet });
        }
    }
    for (i, gateway) in model.gateways.iter().enumerate() {
        for underlay in &gateway.joins {
            topology.connect(Vertex::Gateway(i), Vertex::Router { underlay: *underlay });
        }
    }
    let on_subnet = |machine: &crate::scenario::Machine| Vertex::Subnet {
        underlay: machine.underlay,
        subnet: machine.subnet,
    };
    for (i, node) in model.nodes.iter().enumerate() {
        topology.connect(Vertex::Node(i), on_subnet(node));
    }
    for (i, host) in model.hosts.iter().enumerate() {
        topology.connect(Vertex::Host(i), on_subnet(host));
    }
    for (i, workload) in model.workloads.iter().enumerate() {
        topology.connect(Vertex::Workload(i), Vertex::Node(workload.node));
    }
    topology
}
