//! Translation of ICMP: errors about translated packets, with what they quote, and echoes.

use std::net::Ipv4Addr;

use pnet::packet::Packet as _;
use pnet::packet::icmp::{IcmpPacket, IcmpTypes, echo_reply, echo_request};
use pnet::packet::ipv4::Ipv4Packet;
use serde_json::json;

use super::cluster::Udp;
use super::nat::{NODE, OUTSIDE, POD, answer, ends, outgoing};
use super::{delivered, fix_checksum, wire};

#[test]
fn a_router_s_error_about_a_translated_packet_reaches_the_pod_as_if_about_its_own() {
    let [mut a, ..] = outgoing(json!({}));
    let sent = wire(a.pod_sends(&Udp::new(POD, OUTSIDE).build()));
    let outcome = a.wire_brings(&error("10.0.9.1", NODE, &sent));
    let [(true, told)] = &delivered(outcome)[..] else {
        panic!("{outcome:?}")
    };
    assert_eq!(quoted(told), (format!("{POD}:40000"), format!("{OUTSIDE}:5000")));
    let ip = Ipv4Packet::new(told).unwrap();
    assert_eq!(
        (ip.get_source().to_string(), ip.get_destination().to_string()),
        ("10.0.9.1".into(), POD.into())
    );
}

#[test]
fn a_pod_s_error_about_an_answer_leaves_as_the_node_s_about_what_came_to_the_node() {
    let [mut a, ..] = outgoing(json!({}));
    let sent = wire(a.pod_sends(&Udp::new(POD, OUTSIDE).build()));
    let back = delivered(a.wire_brings(&answer(&sent)))[0].1.clone();
    let told = wire(a.pod_sends(&error(POD, OUTSIDE, &back)));
    assert_eq!(quoted(&told), (format!("{OUTSIDE}:5000"), format!("{NODE}:40000")));
    let ip = Ipv4Packet::new(&told).unwrap();
    assert_eq!(
        (ip.get_source().to_string(), ip.get_destination().to_string()),
        (NODE.into(), OUTSIDE.into())
    );
}

/// An ICMP 3/3 about a packet.
fn error(from: &str, to: &str, about: &[u8]) -> Vec<u8> {
    let mut icmp = vec![3, 3, 0, 0, 0, 0, 0, 0];
    icmp.extend(about);
    let sum = pnet::packet::icmp::checksum(&IcmpPacket::new(&icmp).unwrap());
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    with_header(from, to, &icmp)
}

fn with_header(from: &str, to: &str, icmp: &[u8]) -> Vec<u8> {
    let mut bytes = Udp::new(from, to).build()[..20].to_vec();
    bytes.extend(icmp);
    bytes[2..4].copy_from_slice(&(20 + icmp.len() as u16).to_be_bytes());
    bytes[9] = 1;
    fix_checksum(&mut bytes);
    bytes
}

/// The ends of the packet that an ICMP error quotes, once pnet has found the error's checksum right.
fn quoted(bytes: &[u8]) -> (String, String) {
    let ip = Ipv4Packet::new(bytes).unwrap();
    assert_eq!(pnet::packet::ipv4::checksum(&ip), ip.get_checksum());
    let icmp = IcmpPacket::new(ip.payload()).unwrap();
    assert_eq!(pnet::packet::icmp::checksum(&icmp), icmp.get_checksum());
    ends(&ip.payload()[8..])
}

#[test]
fn an_echo_and_its_reply_are_translated_by_the_identifier() {
    let [mut a, ..] = outgoing(json!({"natPortRange": "5000:5000"}));
    let mut request = vec![0; 16];
    let mut echo = echo_request::MutableEchoRequestPacket::new(&mut request).unwrap();
    echo.set_icmp_type(IcmpTypes::EchoRequest);
    echo.set_identifier(777);
    let sum = pnet::packet::icmp::checksum(&IcmpPacket::new(&request).unwrap());
    request[2..4].copy_from_slice(&sum.to_be_bytes());
    let sent = wire(a.pod_sends(&with_header(POD, OUTSIDE, &request)));
    let ip = Ipv4Packet::new(&sent).unwrap();
    assert_eq!(ip.get_source(), NODE.parse::<Ipv4Addr>().unwrap());
    let mut reply = ip.payload().to_vec();
    let mut echo = echo_reply::MutableEchoReplyPacket::new(&mut reply).unwrap();
    assert_eq!(echo.get_identifier(), 777, "the range is for ports");
    echo.set_icmp_type(IcmpTypes::EchoReply);
    echo.set_checksum(0);
    let sum = pnet::packet::icmp::checksum(&IcmpPacket::new(&reply).unwrap());
    reply[2..4].copy_from_slice(&sum.to_be_bytes());
    let outcome = a.wire_brings(&with_header(OUTSIDE, NODE, &reply));
    let [(true, back)] = &delivered(outcome)[..] else {
        panic!("{outcome:?}")
    };
    let ip = Ipv4Packet::new(back).unwrap();
    assert_eq!(ip.get_destination(), POD.parse::<Ipv4Addr>().unwrap());
    let icmp = IcmpPacket::new(ip.payload()).unwrap();
    assert_eq!(pnet::packet::icmp::checksum(&icmp), icmp.get_checksum());
}
