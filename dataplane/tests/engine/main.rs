//! The engine, on tables that follow from a datastore: what comes out is judged by pnet.

#[path = "../common/cluster.rs"]
mod cluster;
mod drops;
mod errors;
mod firewall;
mod host;
mod memory;
mod nat;
mod nat_icmp;
mod paths;
mod rfc;
mod robustness;
mod services;
mod sizes;
mod tunnels;
mod wire_rules;

use std::net::IpAddr;
use std::sync::Arc;

use overlab_dataplane::engine::{DropReason, Engine, Ingress, Out, Outcome};
use overlab_dataplane::route::NodeTables;
use overlab_dataplane::{Family, Instant, Packet};
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;
use serde_json::{Value, json};

use cluster::{CARD, pod_device, tables};

/// A node under test.
struct Node {
    engine: Engine,
    outcome: Outcome,
    now: Instant,
}

impl Node {
    fn new(tables: Arc<NodeTables>) -> Node {
        Node {
            engine: Engine::new(tables),
            outcome: Outcome::default(),
            now: Instant::ZERO,
        }
    }

    fn handle(&mut self, from: Ingress, bytes: &[u8]) -> &Outcome {
        self.engine
            .handle(self.now, from, Packet::from_bytes(bytes), &mut self.outcome);
        &self.outcome
    }

    fn pod_sends(&mut self, bytes: &[u8]) -> &Outcome {
        let device = pod_device(self.engine.tables());
        self.handle(Ingress::Device(device), bytes)
    }

    fn wire_brings(&mut self, bytes: &[u8]) -> &Outcome {
        self.handle(Ingress::Device(CARD), bytes)
    }
}

/// The three nodes with a pool of this mode.
fn nodes(pool: Value, felix: Value) -> [Node; 3] {
    nodes_of(Family::V4, pool, felix)
}

/// The same in a family.
fn nodes_of(family: Family, pool: Value, felix: Value) -> [Node; 3] {
    tables(family, pool, felix).map(Node::new)
}

fn ipip(mode: &str) -> Value {
    json!({ "ipipMode": mode })
}

fn vxlan(mode: &str) -> Value {
    json!({ "vxlanMode": mode })
}

/// What left by the network card, with the next hop.
fn transmitted(outcome: &Outcome) -> Vec<(IpAddr, Vec<u8>)> {
    let card = outcome.out.iter().filter_map(|out| match out {
        Out::Transmit { next_hop, packet, .. } => Some((*next_hop, packet.bytes().to_vec())),
        Out::Deliver { .. } => None,
    });
    card.collect()
}

/// What was handed to a workload (true) or to the node itself (false).
fn delivered(outcome: &Outcome) -> Vec<(bool, Vec<u8>)> {
    let stacks = outcome.out.iter().filter_map(|out| match out {
        Out::Deliver { workload, packet, .. } => Some((*workload, packet.bytes().to_vec())),
        Out::Transmit { .. } => None,
    });
    stacks.collect()
}

/// The one packet that left by the card.
fn wire(outcome: &Outcome) -> Vec<u8> {
    let [(_, bytes)] = &transmitted(outcome)[..] else {
        panic!("one packet leaves: {outcome:?}")
    };
    bytes.clone()
}

fn reason(outcome: &Outcome) -> Option<DropReason> {
    outcome.drop.map(|drop| drop.reason)
}

/// The ICMP error among what left: its source, type, code and next-hop MTU. In both families these are in the same places.
fn icmp_error(outcome: &Outcome) -> Option<(String, u8, u8, u16)> {
    outcome.out.iter().find_map(|out| {
        let bytes = out.packet().bytes();
        let (source, icmp) = match bytes[0] >> 4 {
            4 => icmp_v4(bytes)?,
            _ => icmp_v6(bytes)?,
        };
        Some((source, icmp[0], icmp[1], u16::from_be_bytes([icmp[6], icmp[7]])))
    })
}

fn icmp_v4(bytes: &[u8]) -> Option<(String, &[u8])> {
    let ip = Ipv4Packet::new(bytes).filter(|ip| ip.get_next_level_protocol().0 == 1)?;
    Some((ip.get_source().to_string(), &bytes[20..]))
}

fn icmp_v6(bytes: &[u8]) -> Option<(String, &[u8])> {
    let ip = Ipv6Packet::new(bytes).filter(|ip| ip.get_next_header().0 == 58)?;
    Some((ip.get_source().to_string(), &bytes[40..]))
}

/// A packet that the engine has taken one hop off twice, from one that it was given.
fn two_hops_on(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes[0] >> 4 == 6 {
        bytes[7] -= 2;
    } else {
        bytes[8] -= 2;
        fix_checksum(&mut bytes);
    }
    bytes
}

/// Makes an IPv4 header checksum right again after bytes were changed.
fn fix_checksum(bytes: &mut [u8]) {
    let mut ip = pnet::packet::ipv4::MutableIpv4Packet::new(bytes).unwrap();
    let checksum = pnet::packet::ipv4::checksum(&ip.to_immutable());
    ip.set_checksum(checksum);
}
