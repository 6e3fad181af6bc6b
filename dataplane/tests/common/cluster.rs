//! A cluster of three nodes, two of them in one subnet, with one workload each; and what is sent in it.
//!
//! ```text
//!   10.0.1.0/24                         10.0.2.0/24
//!   a 10.0.1.5   block 10.244.0.0/26    c 10.0.2.7   block 10.244.0.128/26
//!     pod-a 10.244.0.10                   pod-c 10.244.0.140
//!   b 10.0.1.6   block 10.244.0.64/26
//!     pod-b 10.244.0.70
//! ```
//!
//! In IPv6 it is the same cluster, with addresses that look alike: `fd00::10:0:1:5`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use overlab_dataplane::calico::{ClusterState, Profile, Reading, Resource, WorkloadRequest};
use overlab_dataplane::fields::{FieldRef, Origin};
use overlab_dataplane::route::{DeviceId, HostNetwork, Nic, NodeTables, RpFilter, node_tables};
use overlab_dataplane::{Family, Mtu, PerFamily};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{Ipv4Flags, MutableIpv4Packet};
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::udp::{self, MutableUdpPacket, UdpPacket};
use serde_json::{Value, json};

pub(crate) const CARD: DeviceId = DeviceId(0);
pub(crate) const NODES: [(&str, &str, &str, &str); 3] = [
    ("a", "10.0.1.5/24", "10.0.1.1", "10.244.0.10"),
    ("b", "10.0.1.6/24", "10.0.1.1", "10.244.0.70"),
    ("c", "10.0.2.7/24", "10.0.2.1", "10.244.0.140"),
];

/// An address or a range, given as that of IPv4, in a family.
pub(crate) fn like(family: Family, text: &str) -> String {
    let (address, length) = text.split_once('/').map_or((text, None), |(a, length)| (a, Some(length)));
    let length = length.map(|length| length.parse::<u8>().unwrap());
    match (family, length) {
        (Family::V4, _) => text.to_owned(),
        (Family::V6, None) => format!("fd00::{}", address.replace('.', ":")),
        (Family::V6, Some(length)) => format!("fd00::{}/{}", address.replace('.', ":"), 64 + 2 * length),
    }
}

/// The tables of the three nodes, with this pool and these Felix settings.
pub(crate) fn tables(family: Family, pool: Value, felix: Value) -> [Arc<NodeTables>; 3] {
    let mut spec = json!({"cidr": like(family, "10.244.0.0/16")});
    spec.as_object_mut().unwrap().extend(pool.as_object().unwrap().clone());
    let object = |kind: &str, name: &str, spec: &Value| json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let mut objects = vec![
        object("IPPool", "pool", &spec),
        object("FelixConfiguration", "default", &felix),
    ];
    for (node, address, ..) in NODES {
        let field = match family {
            Family::V4 => "ipv4Address",
            Family::V6 => "ipv6Address",
        };
        objects.push(object("Node", node, &json!({"bgp": {field: like(family, address)}})));
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
        addresses: vec![like(family, pod).parse().unwrap()],
        pool: None,
        origin: FieldRef::default(),
    });
    let cluster = ClusterState::build(Profile::default(), resources.collect(), workloads.into()).unwrap();
    NODES.map(|(node, address, gateway, _)| {
        let nic = Nic {
            name: "eth0".into(),
            addresses: vec![like(family, address).parse().unwrap()],
            mtu: Mtu::new(1500).unwrap(),
        };
        let host = HostNetwork {
            name: node.into(),
            nics: vec![nic],
            gateways: PerFamily::from_fn(|of| (of == family).then(|| like(family, gateway).parse().unwrap())),
            rp_filter: RpFilter::Off,
            kernel: None,
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
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
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

    /// The same in a family, the addresses given as those of IPv4.
    pub(crate) fn of(family: Family, source: &str, destination: &str) -> Udp {
        Udp::new(&like(family, source), &like(family, destination))
    }

    /// The packet as pnet builds it. Over IPv6 there is no DF to set.
    pub(crate) fn build(self) -> Vec<u8> {
        let header_len = if self.source.is_ipv4() { 20 } else { 40 };
        let mut payload = vec![0; self.length - header_len];
        payload
            .iter_mut()
            .zip((0..=u8::MAX).cycle())
            .skip(8)
            .for_each(|(byte, n)| *byte = n);
        let length = payload.len() as u16;
        let mut datagram = MutableUdpPacket::new(&mut payload).unwrap();
        datagram.set_source(self.source_port);
        datagram.set_destination(self.destination_port);
        datagram.set_length(length);
        let checksum = |udp: &UdpPacket<'_>| match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => udp::ipv4_checksum(udp, &source, &destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => udp::ipv6_checksum(udp, &source, &destination),
            ends => panic!("{ends:?} are of two families"),
        };
        let checksum = checksum(&datagram.to_immutable());
        datagram.set_checksum(checksum);
        let mut bytes = [vec![0; header_len], payload].concat();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.write_v4(&mut bytes, source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.write_v6(&mut bytes, source, destination),
            ends => panic!("{ends:?} are of two families"),
        }
        bytes
    }

    fn write_v4(self, bytes: &mut [u8], source: Ipv4Addr, destination: Ipv4Addr) {
        let mut ip = MutableIpv4Packet::new(bytes).unwrap();
        ip.set_version(4);
        ip.set_header_length(5);
        ip.set_dscp(self.traffic_class >> 2);
        ip.set_ecn(self.traffic_class & 3);
        ip.set_total_length(self.length as u16);
        ip.set_identification(7);
        ip.set_flags(if self.dont_fragment { Ipv4Flags::DontFragment } else { 0 });
        ip.set_ttl(self.ttl);
        ip.set_next_level_protocol(IpNextHeaderProtocols::Udp);
        ip.set_source(source);
        ip.set_destination(destination);
        let checksum = pnet::packet::ipv4::checksum(&ip.to_immutable());
        ip.set_checksum(checksum);
    }

    fn write_v6(self, bytes: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) {
        let mut ip = MutableIpv6Packet::new(bytes).unwrap();
        ip.set_version(6);
        ip.set_traffic_class(self.traffic_class);
        ip.set_payload_length((self.length - 40) as u16);
        ip.set_next_header(IpNextHeaderProtocols::Udp);
        ip.set_hop_limit(self.ttl);
        ip.set_source(source);
        ip.set_destination(destination);
    }
}
