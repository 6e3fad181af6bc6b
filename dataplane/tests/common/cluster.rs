//! A cluster of three nodes, two of them in one subnet, with one workload each; and what is sent in it.
//!
//! ```text
//!   10.0.1.0/24                         10.0.2.0/24
//!   a 10.0.1.5   block 10.244.0.0/26    c 10.0.2.7   block 10.244.0.128/26
//!     pod-a 10.244.0.10                   pod-c 10.244.0.140
//!   b 10.0.1.6   block 10.244.0.64/26
//!     pod-b 10.244.0.70
//! ```

use std::net::Ipv4Addr;
use std::sync::Arc;

use overlab_dataplane::calico::{ClusterState, Profile, Reading, Resource, WorkloadRequest};
use overlab_dataplane::fields::{FieldRef, Origin};
use overlab_dataplane::route::{DeviceId, HostNetwork, Nic, NodeTables, RpFilter, node_tables};
use overlab_dataplane::{Mtu, PerFamily};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{Ipv4Flags, MutableIpv4Packet};
use pnet::packet::udp::MutableUdpPacket;
use serde_json::{Value, json};

pub(crate) const CARD: DeviceId = DeviceId(0);
pub(crate) const NODES: [(&str, &str, &str, &str); 3] = [
    ("a", "10.0.1.5/24", "10.0.1.1", "10.244.0.10"),
    ("b", "10.0.1.6/24", "10.0.1.1", "10.244.0.70"),
    ("c", "10.0.2.7/24", "10.0.2.1", "10.244.0.140"),
];

/// The tables of the three nodes, with this pool and these Felix settings.
pub(crate) fn tables(pool: Value, felix: Value) -> [Arc<NodeTables>; 3] {
    let mut spec = json!({"cidr": "10.244.0.0/16"});
    spec.as_object_mut().unwrap().extend(pool.as_object().unwrap().clone());
    let object = |kind: &str, name: &str, spec: &Value| json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let mut objects = vec![
        object("IPPool", "pool", &spec),
        object("FelixConfiguration", "default", &felix),
    ];
    for (node, address, ..) in NODES {
        objects.push(object("Node", node, &json!({"bgp": {"ipv4Address": address}})));
    }
    let resources = objects
        .iter()
        .flat_map(|object| Resource::read(object, Origin(0)).unwrap())
        .map(|reading| match reading {
            Reading::Resource(resource) => resource,
            Reading::Ignored { kind, .. } => panic!("{kind} is not ignored"),
        });
    let workloads = NODES.map(|(node, _, _, pod)| WorkloadRequest {
        name: format!("pod-{node}").into(),
        node: node.into(),
        addresses: vec![pod.parse().unwrap()],
        pool: None,
        origin: FieldRef::default(),
    });
    let cluster = ClusterState::build(Profile::default(), resources.collect(), workloads.into()).unwrap();
    NODES.map(|(node, address, gateway, _)| {
        let nic = Nic {
            name: "eth0".into(),
            addresses: vec![address.parse().unwrap()],
            mtu: Mtu::new(1500).unwrap(),
        };
        let host = HostNetwork {
            name: node.into(),
            nics: vec![nic],
            gateways: PerFamily {
                v4: gateway.parse().ok(),
                v6: None,
            },
            rp_filter: RpFilter::Off,
        };
        Arc::new(node_tables(&cluster, &host))
    })
}

/// The device of a node's own workload.
pub(crate) fn pod_device(tables: &NodeTables) -> DeviceId {
    tables.workloads[0].device
}

/// What is chosen of a UDP packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Udp {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) length: usize,
    pub(crate) ttl: u8,
    pub(crate) dont_fragment: bool,
    pub(crate) traffic_class: u8,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
}

impl Udp {
    pub(crate) fn new(source: &str, destination: &str) -> Udp {
        Udp {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            length: 128,
            ttl: 64,
            dont_fragment: true,
            traffic_class: 0,
            source_port: 40000,
            destination_port: 5000,
        }
    }

    /// The packet as pnet builds it.
    pub(crate) fn build(self) -> Vec<u8> {
        let mut payload = vec![0; self.length - 20];
        payload
            .iter_mut()
            .zip((0..=u8::MAX).cycle())
            .skip(8)
            .for_each(|(byte, n)| *byte = n);
        let length = payload.len() as u16;
        let mut udp = MutableUdpPacket::new(&mut payload).unwrap();
        udp.set_source(self.source_port);
        udp.set_destination(self.destination_port);
        udp.set_length(length);
        let checksum = pnet::packet::udp::ipv4_checksum(&udp.to_immutable(), &self.source, &self.destination);
        udp.set_checksum(checksum);
        let mut bytes = [vec![0; 20], payload].concat();
        let mut ip = MutableIpv4Packet::new(&mut bytes).unwrap();
        ip.set_version(4);
        ip.set_header_length(5);
        ip.set_dscp(self.traffic_class >> 2);
        ip.set_ecn(self.traffic_class & 3);
        ip.set_total_length(self.length as u16);
        ip.set_identification(7);
        ip.set_flags(if self.dont_fragment { Ipv4Flags::DontFragment } else { 0 });
        ip.set_ttl(self.ttl);
        ip.set_next_level_protocol(IpNextHeaderProtocols::Udp);
        ip.set_source(self.source);
        ip.set_destination(self.destination);
        let checksum = pnet::packet::ipv4::checksum(&ip.to_immutable());
        ip.set_checksum(checksum);
        bytes
    }
}
