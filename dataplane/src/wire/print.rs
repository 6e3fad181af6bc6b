//! A packet's header stack in one line, as traces and `explain` show it.
//!
//! ```text
//! IP 10.0.1.5 > 10.0.2.7 ttl 64 len 1078 | UDP 40000 > 4789 | VXLAN 4096 | Eth | IP 192.168.0.2 > 192.168.1.2 ttl 63 len 1028 DF | ICMP echo 7/1
//! IP6 fd00::5 > fd00::7 hlim 64 len 134 | UDP 40000 > 4789 | VXLAN 4096 | Eth | IP6 fd00:1::2 > fd00:2::2 hlim 63 len 104 | ICMP6 echo 7/1
//! ```
//!
//! It is for people; nothing parses it.

use std::fmt;

use super::ethernet::ether_type;
use super::icmp::{IcmpError, IcmpMessage};
use super::ipv4::protocol;
use super::{EthernetView, IpView, Ipv4View, Malformed, UdpView, vxlan};
use crate::Family;

/// The header stack of an IP packet, to be displayed.
#[derive(Clone, Copy, Debug)]
pub struct HeaderStack<'a> {
    /// The packet.
    pub packet: &'a [u8],
    /// The UDP destination port whose payload is read as VXLAN.
    pub vxlan_port: u16,
}

impl<'a> HeaderStack<'a> {
    /// The stack of a packet, VXLAN on its usual port.
    pub fn of(packet: &'a [u8]) -> HeaderStack<'a> {
        HeaderStack {
            packet,
            vxlan_port: vxlan::PORT,
        }
    }
}

impl fmt::Display for HeaderStack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = Context {
            vxlan_port: self.vxlan_port,
            depth: DEPTH_MAX,
        };
        ip(f, IpView::parse(self.packet), context)
    }
}

/// IP headers inside one another that are shown.
const DEPTH_MAX: u8 = 8;

/// What the reading of an inner header needs to know.
#[derive(Clone, Copy)]
struct Context {
    vxlan_port: u16,
    depth: u8,
}

fn ip(f: &mut fmt::Formatter<'_>, view: Result<IpView<'_>, Malformed>, context: Context) -> fmt::Result {
    let view = match view {
        Ok(view) => view,
        Err(malformed) => return write!(f, "malformed: {malformed}"),
    };
    let (name, ttl) = match view.family() {
        Family::V4 => ("IP", "ttl"),
        Family::V6 => ("IP6", "hlim"),
    };
    let (source, destination) = (view.source(), view.destination());
    write!(
        f,
        "{name} {source} > {destination} {ttl} {} len {}",
        view.ttl(),
        view.total_len()
    )?;
    if matches!(view, IpView::V4(view) if view.dont_fragment()) {
        f.write_str(" DF")?;
    }
    if view.is_fragment() {
        let more = if view.more_fragments() { "+" } else { "" };
        write!(f, " id {} frag {}{more}", view.identification(), view.fragment_offset())?;
    }
    if view.fragment_offset() > 0 {
        return Ok(());
    }
    f.write_str(" | ")?;
    let Some(depth) = context.depth.checked_sub(1) else {
        return f.write_str("...");
    };
    let context = Context { depth, ..context };
    match view.protocol() {
        protocol::IPIP => ip(f, Ipv4View::unverified(view.payload()).map(IpView::V4), context),
        protocol::UDP => udp(f, view.payload(), context),
        protocol::TCP => tcp(f, view.payload()),
        _ if view.is_icmp() => icmp(f, view.family(), view.payload(), context),
        other => write!(f, "protocol {other}"),
    }
}

fn udp(f: &mut fmt::Formatter<'_>, bytes: &[u8], context: Context) -> fmt::Result {
    let view = match UdpView::unverified(bytes) {
        Ok(view) => view,
        Err(malformed) => return write!(f, "malformed: {malformed}"),
    };
    write!(f, "UDP {} > {}", view.source_port(), view.destination_port())?;
    if view.destination_port() != context.vxlan_port {
        return Ok(());
    }
    match vxlan::parse(view.payload()) {
        Ok(vni) => write!(f, " | VXLAN {vni} | ")?,
        Err(refused) => return write!(f, " | malformed: {refused}"),
    }
    ethernet(f, view.payload().get(vxlan::HEADER_LEN..).unwrap_or_default(), context)
}

fn ethernet(f: &mut fmt::Formatter<'_>, bytes: &[u8], context: Context) -> fmt::Result {
    let view = match EthernetView::parse(bytes) {
        Ok(view) => view,
        Err(malformed) => return write!(f, "malformed: {malformed}"),
    };
    match view.ether_type() {
        ether_type::IPV4 | ether_type::IPV6 => {
            f.write_str("Eth | ")?;
            ip(f, IpView::unverified(view.payload()), context)
        }
        other => write!(f, "Eth type {other:#06x}"),
    }
}

fn tcp(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    match bytes.first_chunk() {
        Some(&[s0, s1, d0, d1]) => {
            let (source, destination) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
            write!(f, "TCP {source} > {destination}")
        }
        None => f.write_str("TCP cut short"),
    }
}

fn icmp(f: &mut fmt::Formatter<'_>, family: Family, bytes: &[u8], context: Context) -> fmt::Result {
    f.write_str(if family == Family::V4 { "ICMP " } else { "ICMP6 " })?;
    match IcmpMessage::unverified(family, bytes) {
        Ok(IcmpMessage::Echo {
            reply,
            identifier,
            sequence,
            ..
        }) => {
            let name = if reply { "echo reply" } else { "echo" };
            write!(f, "{name} {identifier}/{sequence}")
        }
        Ok(IcmpMessage::Error { error, quote }) => {
            icmp_error(f, family, error)?;
            f.write_str(", about ")?;
            ip(f, Ok(quote), context)
        }
        Ok(IcmpMessage::Other { kind, code }) => write!(f, "type {kind} code {code}"),
        Err(malformed) => write!(f, "malformed: {malformed}"),
    }
}

fn icmp_error(f: &mut fmt::Formatter<'_>, family: Family, error: IcmpError) -> fmt::Result {
    let of = |v4, v6| if family == Family::V4 { v4 } else { v6 };
    match error {
        IcmpError::NoRoute => f.write_str(of("net unreachable", "no route")),
        IcmpError::HostUnreachable => f.write_str(of("host unreachable", "address unreachable")),
        IcmpError::ProtocolUnreachable => f.write_str(of("protocol unreachable", "unknown next header")),
        IcmpError::PortUnreachable => f.write_str("port unreachable"),
        IcmpError::Prohibited => f.write_str("administratively prohibited"),
        IcmpError::TooBig { mtu } => write!(f, "{} mtu {mtu}", of("fragmentation needed", "packet too big")),
        IcmpError::TtlExpired => f.write_str(of("ttl exceeded", "hop limit exceeded")),
        IcmpError::ReassemblyTimeout => f.write_str("reassembly time exceeded"),
        IcmpError::Other { kind, code } => write!(f, "error type {kind} code {code}"),
    }
}
