//! From the model to its graph.

use super::graph::{Topology, Vertex};
use crate::scenario::Model;

/// The graph of a model: every workload on its node, every machine on the subnets of its cards, every subnet on its underlay's router, every gateway between routers.
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
    for (nic, _, card) in model.cards() {
        let subnet = Vertex::Subnet {
            underlay: card.underlay,
            subnet: card.subnet,
        };
        let place = nic.machine as usize;
        let machine = match place.checked_sub(model.nodes.len()) {
            None => Vertex::Node(place),
            Some(host) => Vertex::Host(host),
        };
        topology.connect(machine, subnet);
    }
    for (i, workload) in model.workloads.iter().enumerate() {
        topology.connect(Vertex::Workload(i), Vertex::Node(workload.node));
    }
    topology
}
