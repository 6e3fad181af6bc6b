//! Our VXLAN and that of the Linux kernel, face to face: a namespace gets a `vxlan.calico` as Calico makes it, tunnel packets of ours
//! are put on its wire, and what the kernel makes of them is held against what ours would. What it was asked is told by the echo
//! replies that come back through the tunnel; they copy the ECN field of the request.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use overlab_dataplane::encap::{Encapsulation, Vxlan, Wire};
use overlab_dataplane::wire::fragment::split;
use overlab_dataplane::wire::{Ecn, Ipv4Mut, Ipv4View, Ipv6Mut, Ipv6View};
use overlab_dataplane::{MacAddr, Mtu, Packet, Vni};
use overlab_simulator::backend::{Backend, PortId, StackDevice, StackId};
use pnet::packet::Packet as _;
use pnet::packet::icmp::echo_request::MutableEchoRequestPacket;
use pnet::packet::icmp::{IcmpPacket, IcmpTypes};
use pnet::packet::icmpv6::{self, Icmpv6Types, MutableIcmpv6Packet};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{Ipv4Packet, MutableIpv4Packet};
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet::packet::udp::UdpPacket;

use crate::Test;
use crate::bench::{Bench, device, route, stack};
use crate::netlink::inside;

pub(crate) const TESTS: &[Test] = &[
    (
        "the_kernel_takes_and_refuses_the_vxlan_packets_that_ours_does",
        the_kernel_takes_and_refuses_the_vxlan_packets_that_ours_does,
    ),
    (
        "the_kernel_does_with_ecn_in_all_cells_what_ours_does",
        the_kernel_does_with_ecn_in_all_cells_what_ours_does,
    ),
    (
        "ours_takes_what_the_kernel_encapsulates_and_knows_its_fields",
        ours_takes_what_the_kernel_encapsulates_and_knows_its_fields,
    ),
    (
        "the_kernel_joins_tunnel_packets_in_pieces",
        the_kernel_joins_tunnel_packets_in_pieces,
    ),
    (
        "the_kernel_learns_a_tunnel_s_path_from_as_much_as_ours_needs",
        the_kernel_learns_a_tunnel_s_path_from_as_much_as_ours_needs,
    ),
    (
        "over_ipv6_the_kernel_and_ours_take_one_another_s_packets",
        over_ipv6_the_kernel_and_ours_take_one_another_s_packets,
    ),
];

const NODE_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
const NODE_B: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 10);
const POD_A: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 5);
const TUNNEL_B: Ipv4Addr = Ipv4Addr::new(192, 168, 2, 0);
const MAC_A: MacAddr = MacAddr([0x66, 0, 0, 0, 0, 0x0a]);
const MAC_B: MacAddr = MacAddr([0x66, 0, 0, 0, 0, 0x0b]);

const CARD: PortId = PortId(1);
const NODE: StackId = StackId(1);

/// What Calico programs on node B, and node A's end as its peer.
const PROGRAM: [&str; 6] = [
    "ip link add vxlan.calico address 66:00:00:00:00:0b type vxlan id 4096 local 10.2.0.10 dstport 4789 nolearning",
    "ip addr add 192.168.2.0/32 dev vxlan.calico",
    "ip link set vxlan.calico mtu 1450 up",
    "ip neigh add 192.168.1.0 lladdr 66:00:00:00:00:0a dev vxlan.calico nud permanent",
    "bridge fdb add 66:00:00:00:00:0a dev vxlan.calico dst 10.1.0.10",
    "ip route add 192.168.1.0/24 via 192.168.1.0 dev vxlan.calico onlink",
];

/// The same over IPv6.
const PROGRAM_V6: [&str; 6] = [
    "ip link add vxlan-v6.calico address 66:00:00:00:00:0b type vxlan id 4096 local fd02::10 dstport 4789 nolearning",
    "ip addr add fd00:2::/128 dev vxlan-v6.calico nodad",
    "ip link set vxlan-v6.calico mtu 1430 up",
    "ip neigh add fd00:1:: lladdr 66:00:00:00:00:0a dev vxlan-v6.calico nud permanent",
    "bridge fdb add 66:00:00:00:00:0a dev vxlan-v6.calico dst fd01::10",
    "ip route add fd00:1::/64 via fd00:1:: dev vxlan-v6.calico onlink",
];

/// Node B with a kernel's VXLAN; a reason if this host cannot have one.
fn node_b() -> Result<Bench, String> {
    let card = device(
        CARD.0,
        "eth0",
        "10.2.0.10/24",
        1500,
        vec![route("0.0.0.0/0", Some("10.2.0.1"))],
    );
    programmed(card, &PROGRAM)
}

/// A node with this card and what is programmed on it.
fn programmed(card: StackDevice, program: &[&str]) -> Result<Bench, String> {
    let mut bench = Bench::new(vec![stack(NODE.0, "b", vec![card])], &[]);
    bench.backend.ready().unwrap();
    let namespace = bench.backend.namespace_fd(NODE).unwrap();
    inside(Some(namespace), || {
        program.iter().try_for_each(|line| {
            let mut words = line.split(' ');
            let output = Command::new(words.next().unwrap()).args(words).output();
            let output = output.map_err(|error| format!("`{line}`: {error}"))?;
            match output.status.success() {
                true => Ok(()),
                false => Err(format!("`{line}`: {}", String::from_utf8_lossy(&output.stderr).trim())),
            }
        })
    })?;
    Ok(bench)
}

/// Our own end on a node.
fn ours(mac: MacAddr, local: impl Into<IpAddr>) -> Vxlan {
    Vxlan {
        vni: Vni::new(4096).unwrap(),
        port: 4789,
        mac,
        local: local.into(),
        wire: Wire::Linux,
    }
}

/// An echo request from pod A to node B's tunnel address, as pnet builds it.
fn echo(sequence: u16, length: usize, ecn: u8) -> Vec<u8> {
    let mut message = vec![0; length - 20];
    let mut icmp = MutableEchoRequestPacket::new(&mut message).unwrap();
    icmp.set_icmp_type(IcmpTypes::EchoRequest);
    icmp.set_identifier(7);
    icmp.set_sequence_number(sequence);
    let sum = pnet::util::checksum(&message, 1);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut bytes = [vec![0; 20], message].concat();
    let mut ip = MutableIpv4Packet::new(&mut bytes).unwrap();
    ip.set_version(4);
    ip.set_header_length(5);
    ip.set_ecn(ecn);
    ip.set_total_length(length as u16);
    ip.set_ttl(63);
    ip.set_next_level_protocol(IpNextHeaderProtocols::Icmp);
    ip.set_source(POD_A);
    ip.set_destination(TUNNEL_B);
    let sum = pnet::packet::ipv4::checksum(&ip.to_immutable());
    ip.set_checksum(sum);
    bytes
}

/// A packet in our tunnel from node A to node B.
fn tunnelled(inner: &[u8]) -> Packet {
    let end = ours(MAC_A, NODE_A);
    let mut packet = Packet::from_bytes(inner);
    end.push(&end.template(NODE_B.into(), MAC_B).unwrap(), &mut packet, 1)
        .unwrap();
    packet
}

/// What the kernel answers over IPv4, by sequence number: each whole tunnel packet that holds an echo reply.
fn answers(bench: &mut Bench, packets: &[Vec<u8>]) -> BTreeMap<u16, Vec<u8>> {
    carry(bench, packets);
    let sent = bench.packets.iter().filter(|(port, _)| *port == CARD);
    sent.filter_map(|(_, bytes)| Some((sequence_of(bytes)?, bytes.clone())))
        .collect()
}

/// Puts packets on the node's wire and waits for what it sends.
fn carry(bench: &mut Bench, packets: &[Vec<u8>]) {
    bench.packets.clear();
    for packet in packets {
        bench.backend.deliver(CARD, Packet::from_bytes(packet));
    }
    bench.run(Duration::from_millis(120));
}

fn sequence_of(bytes: &[u8]) -> Option<u16> {
    let outer = Ipv4Packet::new(bytes).filter(|outer| outer.get_next_level_protocol() == IpNextHeaderProtocols::Udp)?;
    let inner = Ipv4Packet::new(outer.payload().get(30..)?).filter(|inner| inner.get_destination() == POD_A)?;
    let icmp = IcmpPacket::new(inner.payload()).filter(|icmp| icmp.get_icmp_type() == IcmpTypes::EchoReply)?;
    Some(u16::from_be_bytes(*icmp.packet().get(6..)?.first_chunk()?))
}

/// A good packet with some bytes changed; without a UDP checksum unless it is the thing to be wrong.
fn changed(sequence: u16, at: usize, to: &[u8]) -> Vec<u8> {
    let mut bytes = tunnelled(&echo(sequence, 84, 0)).bytes().to_vec();
    bytes[26..28].fill(0);
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

fn the_kernel_takes_and_refuses_the_vxlan_packets_that_ours_does() -> Option<String> {
    let mut bench = match node_b() {
        Ok(bench) => bench,
        Err(reason) => return Some(reason),
    };
    let changes: [(&str, usize, &[u8]); 17] = [
        ("no UDP checksum", 26, &[0, 0]),
        ("a wrong UDP checksum", 26, &[0x12, 0x34]),
        ("no I flag", 28, &[0x00]),
        ("a reserved flag", 28, &[0x88]),
        ("reserved bits", 30, &[1]),
        ("the last octet", 35, &[1]),
        ("another VNI", 33, &[0x11]),
        ("another VNI and reserved bits", 33, &[0x11, 0, 1]),
        ("another port", 22, &[0x21, 0x18]),
        ("its own MAC as source", 42, &MAC_B.0),
        ("a multicast source", 42, &[1, 0, 0x5e, 0, 0, 1]),
        ("no source", 42, &[0; 6]),
        ("another destination", 41, &[0x0c]),
        ("a tag", 48, &[0x81, 0]),
        ("another version inside", 50, &[0x55]),
        ("a wrong checksum inside", 60, &[0, 0]),
        ("VXLAN cut short", 24, &[0, 15]),
    ];
    let inputs: Vec<(&str, u16, Vec<u8>)> = changes
        .into_iter()
        .zip(1..)
        .map(|((name, at, to), sequence)| (name, sequence, changed(sequence, at, to)))
        .collect();
    let good = tunnelled(&echo(100, 84, 0)).bytes().to_vec();
    let packets: Vec<Vec<u8>> = inputs.iter().map(|(.., bytes)| bytes.clone()).chain([good]).collect();
    let answers = answers(&mut bench, &packets);
    assert!(answers.contains_key(&100), "an untouched packet is answered");
    for (name, sequence, bytes) in inputs {
        let end = ours(MAC_B, NODE_B);
        let is_taken =
            end.recognises(&Ipv4View::unverified(&bytes).unwrap().into()) && end.pull(&mut Packet::from_bytes(&bytes)).is_ok();
        assert_eq!(answers.contains_key(&sequence), is_taken, "{name}");
    }
    None
}

fn the_kernel_does_with_ecn_in_all_cells_what_ours_does() -> Option<String> {
    let mut bench = match node_b() {
        Ok(bench) => bench,
        Err(reason) => return Some(reason),
    };
    let cells: Vec<(u8, u8)> = (0..4).flat_map(|inner| (0..4).map(move |outer| (inner, outer))).collect();
    let packets: Vec<Packet> = cells
        .iter()
        .zip(1..)
        .map(|((inner, outer), sequence)| {
            let mut packet = tunnelled(&echo(sequence, 84, *inner));
            let mut header = Ipv4Mut::new(packet.bytes_mut()).unwrap();
            header.set_ecn(Ecn::from_bits(*outer));
            packet
        })
        .collect();
    let bytes: Vec<Vec<u8>> = packets.iter().map(|packet| packet.bytes().to_vec()).collect();
    let answers = answers(&mut bench, &bytes);
    for ((cell, mut packet), sequence) in cells.into_iter().zip(packets).zip(1..) {
        let expected = ours(MAC_B, NODE_B)
            .pull(&mut packet)
            .ok()
            .map(|_| Ipv4View::parse(packet.bytes()).unwrap().ecn());
        let answer = answers.get(&sequence).map(|answer| (answer[51] & 3, answer[1] & 3));
        let ours = expected.map(|inner| (inner.bits(), inner.encapsulate().bits()));
        assert_eq!(answer, ours, "inner and outer {cell:?}: inner and outer of the answer");
    }
    None
}

fn ours_takes_what_the_kernel_encapsulates_and_knows_its_fields() -> Option<String> {
    let mut bench = match node_b() {
        Ok(bench) => bench,
        Err(reason) => return Some(reason),
    };
    let packets: Vec<Vec<u8>> = (1..20).map(|n| tunnelled(&echo(n, 84, 0)).bytes().to_vec()).collect();
    let answers = answers(&mut bench, &packets);
    assert_eq!(answers.len(), 19);
    let mut ports = BTreeMap::new();
    for bytes in answers.values() {
        let outer = Ipv4Packet::new(bytes).unwrap();
        assert_eq!((outer.get_ttl(), outer.get_flags(), bytes[1]), (64, 0, 0));
        let udp = UdpPacket::new(outer.payload()).unwrap();
        assert!((32768..60999).contains(&udp.get_source()));
        ports.insert(udp.get_source(), ());
        let mut packet = Packet::from_bytes(bytes);
        ours(MAC_A, NODE_A).pull(&mut packet).unwrap();
        let inner = packet.bytes().to_vec();
        // Encapsulated by ours, it is the same packet but for what is drawn: identification, source port and their checksums.
        let end = ours(MAC_B, NODE_B);
        end.push(
            &end.template(NODE_A.into(), MAC_A).unwrap(),
            &mut packet,
            outer.get_identification(),
        )
        .unwrap();
        let but_drawn = |bytes: &[u8]| [&bytes[..10], &bytes[12..20], &bytes[22..26], &bytes[28..]].concat();
        assert_eq!(but_drawn(packet.bytes()), but_drawn(bytes));
        assert_eq!(inner, bytes[50..]);
    }
    assert_eq!(ports.len(), 1, "one flow has one source port");
    None
}

fn the_kernel_joins_tunnel_packets_in_pieces() -> Option<String> {
    let mut bench = match node_b() {
        Ok(bench) => bench,
        Err(reason) => return Some(reason),
    };
    for (sequence, mtu) in (1..).zip([68, 100, 576]) {
        let mut pieces = Vec::new();
        let mut whole = tunnelled(&echo(sequence, 1000, 0));
        // What is left of the round before is another packet's.
        Ipv4Mut::new(whole.bytes_mut()).unwrap().set_identification(sequence);
        split(&whole, Mtu::new(mtu).unwrap(), 0, &mut pieces).unwrap();
        let mut bytes: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.bytes().to_vec()).collect();
        bytes.reverse();
        assert!(answers(&mut bench, &bytes).contains_key(&sequence), "{mtu}");
        bytes.pop();
        assert!(answers(&mut bench, &bytes).is_empty(), "one is missing");
    }
    None
}

fn the_kernel_learns_a_tunnel_s_path_from_as_much_as_ours_needs() -> Option<String> {
    for (quoted, is_learned) in [(28, false), (35, false), (36, true), (548, true)] {
        let mut bench = match node_b() {
            Ok(bench) => bench,
            Err(reason) => return Some(reason),
        };
        let long = tunnelled(&echo(1, 1450, 0)).bytes().to_vec();
        let whole = answers(&mut bench, std::slice::from_ref(&long)).remove(&1).unwrap();
        assert_eq!(whole.len(), 1500);
        let mut error = echo(0, 28 + quoted, 0);
        error[12..16].copy_from_slice(&[10, 2, 0, 1]);
        error[16..20].copy_from_slice(&NODE_B.octets());
        error[20..28].copy_from_slice(&[3, 4, 0, 0, 0, 0, 5, 0x78]);
        error[28..].copy_from_slice(&whole[..quoted]);
        let sum = pnet::util::checksum(&error[20..], 1);
        error[22..24].copy_from_slice(&sum.to_be_bytes());
        let mut ip = MutableIpv4Packet::new(&mut error).unwrap();
        let sum = pnet::packet::ipv4::checksum(&ip.to_immutable());
        ip.set_checksum(sum);
        answers(&mut bench, &[error]);
        answers(&mut bench, &[long]);
        let longest = bench.packets.iter().map(|(_, bytes)| bytes.len()).max().unwrap();
        assert_eq!(longest <= 1400, is_learned, "{quoted} B quoted: {longest}");
    }
    None
}

/// An echo request from pod A to node B's tunnel address over IPv6, as pnet builds it.
fn echo_v6(sequence: u16, ecn: u8) -> Vec<u8> {
    let (source, destination) = ("fd00:1::5".parse().unwrap(), "fd00:2::".parse().unwrap());
    let mut message = vec![0; 64];
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    let mut icmp = MutableIcmpv6Packet::new(&mut message).unwrap();
    icmp.set_icmpv6_type(Icmpv6Types::EchoRequest);
    let sum = icmpv6::checksum(&icmp.to_immutable(), &source, &destination);
    icmp.set_checksum(sum);
    let mut bytes = [vec![0; 40], message].concat();
    let mut ip = MutableIpv6Packet::new(&mut bytes).unwrap();
    ip.set_version(6);
    ip.set_traffic_class(ecn);
    ip.set_payload_length(64);
    ip.set_next_header(IpNextHeaderProtocols::Icmpv6);
    ip.set_hop_limit(63);
    ip.set_source(source);
    ip.set_destination(destination);
    bytes
}

/// The sequence number of the echo reply in a tunnel packet over IPv6.
fn sequence_of_v6(bytes: &[u8]) -> Option<u16> {
    let outer = Ipv6Packet::new(bytes).filter(|outer| outer.get_next_header() == IpNextHeaderProtocols::Udp)?;
    let inner = Ipv6Packet::new(outer.payload().get(30..)?)?;
    let is_reply = inner.get_next_header() == IpNextHeaderProtocols::Icmpv6 && inner.payload().first() == Some(&129);
    Some(u16::from_be_bytes(*inner.payload().get(6..)?.first_chunk()?)).filter(|_| is_reply)
}

fn over_ipv6_the_kernel_and_ours_take_one_another_s_packets() -> Option<String> {
    let card = device(CARD.0, "eth0", "fd02::10/64", 1500, vec![route("::/0", Some("fd02::1"))]);
    let mut bench = match programmed(card, &PROGRAM_V6) {
        Ok(bench) => bench,
        Err(reason) => return Some(reason),
    };
    let (node_a, node_b): (Ipv6Addr, Ipv6Addr) = ("fd01::10".parse().unwrap(), "fd02::10".parse().unwrap());
    let end = ours(MAC_A, node_a);
    let template = end.template(node_b.into(), MAC_B).unwrap();
    // Every pair of inner and outer ECN field, and one without a UDP checksum.
    let mut packets: Vec<Packet> = (0..17)
        .map(|number| {
            let mut packet = Packet::from_bytes(&echo_v6(u16::from(number), number % 4));
            end.push(&template, &mut packet, 1).unwrap();
            Ipv6Mut::new(packet.bytes_mut()).unwrap().set_ecn(Ecn::from_bits(number / 4));
            packet
        })
        .collect();
    packets[16].bytes_mut()[46..48].fill(0);
    let bytes: Vec<Vec<u8>> = packets.iter().map(|packet| packet.bytes().to_vec()).collect();
    carry(&mut bench, &bytes);
    let answers: BTreeMap<u16, &[u8]> = bench
        .packets
        .iter()
        .filter_map(|(_, bytes)| Some((sequence_of_v6(bytes)?, bytes.as_slice())))
        .collect();
    for (mut packet, sequence) in packets.into_iter().zip(0..) {
        let taken = ours(MAC_B, node_b).pull(&mut packet).ok();
        let expected = taken.map(|_| Ipv6View::parse(packet.bytes()).unwrap().ecn());
        let answer = answers.get(&sequence).map(|answer| {
            let outer = Ipv6Packet::new(answer).unwrap();
            assert_eq!((outer.get_hop_limit(), outer.get_flow_label()), (64, 0));
            let mut inside = Packet::from_bytes(answer);
            ours(MAC_A, node_a).pull(&mut inside).expect("its checksum is right");
            let inner = Ipv6Packet::new(inside.bytes()).unwrap();
            (inner.get_traffic_class(), outer.get_traffic_class())
        });
        let ours = expected.map(|inner| (inner.bits(), inner.encapsulate().bits()));
        assert_eq!(answer, ours, "{sequence}: the inner and the outer field of the answer");
    }
    None
}
