//! Opening the sockets of flows, of either family, and sending from an address of choice. When they send is not decided here.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{
    self, AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType,
    SockaddrStorage, sockopt,
};
use overlab_dataplane::Family;

use super::sys;
use crate::scenario::{Flow, PathMtuDiscovery, Transport};

/// Bytes that a socket may hold in either direction: several batches of the longest packets, so that no packet is lost or
/// held up in a socket while the packet loop is elsewhere.
const SOCKET_BUFFER: usize = 16 << 20;

/// An unprivileged echo socket or a UDP socket, on the flow's own identifier or port.
///
/// Source: icmp(7), "ping_group_range", which holds for both families; the bound port is the echo identifier.
pub(super) fn sender(flow: &Flow) -> io::Result<UdpSocket> {
    let family = Family::of(flow.destination);
    let protocol = match (flow.transport, family) {
        (Transport::Udp | Transport::Tcp, _) => SockProtocol::Udp,
        (Transport::Icmp, Family::V4) => SockProtocol::Icmp,
        (Transport::Icmp, Family::V6) => SockProtocol::IcmpV6,
    };
    let socket = datagrams(family, protocol, flow.source, flow.source_port)?;
    mark(&socket, family, flow)?;
    sys::set_path_mtu_discovery(&socket, family, flow.path_mtu_discovery)?;
    Ok(socket)
}

/// A TCP socket that is not connected yet, on the flow's own port.
pub(super) fn stream(flow: &Flow) -> io::Result<TcpStream> {
    let family = Family::of(flow.destination);
    let socket = streams(family, flow.source, flow.source_port)?;
    mark(&socket, family, flow)?;
    Ok(TcpStream::from(socket))
}

/// A TCP socket that listens on a port of every address of a family.
pub(super) fn stream_listener(family: Family, port: u16) -> io::Result<TcpListener> {
    let socket = streams(family, None, port)?;
    socket::listen(&socket, Backlog::MAXCONN)?;
    Ok(TcpListener::from(socket))
}

/// A TCP socket with Reno, which every Linux has, so that no result depends on the host's own `tcp_congestion_control`.
fn streams(family: Family, source: Option<IpAddr>, port: u16) -> io::Result<OwnedFd> {
    let socket = bound(family, (SockType::Stream, SockProtocol::Tcp), source, port)?;
    socket::setsockopt(&socket, sockopt::TcpCongestion, &OsString::from("reno"))?;
    Ok(socket)
}

/// Sets what a flow says of its IP headers.
fn mark(socket: &impl AsFd, family: Family, flow: &Flow) -> io::Result<()> {
    let class = i32::from(flow.dscp << 2 | flow.ecn & 3);
    match family {
        Family::V4 => {
            socket::setsockopt(socket, sockopt::Ipv4Ttl, &i32::from(flow.ttl))?;
            socket::setsockopt(socket, sockopt::Ipv4Tos, &class)?;
        }
        Family::V6 => {
            socket::setsockopt(socket, sockopt::Ipv6Ttl, &i32::from(flow.ttl))?;
            socket::setsockopt(socket, sockopt::Ipv6TClass, &class)?;
        }
    }
    Ok(())
}

/// A UDP socket on a port of every address of a family, which tells what address each datagram was sent to.
pub(super) fn listener(family: Family, port: u16) -> io::Result<UdpSocket> {
    let socket = datagrams(family, SockProtocol::Udp, None, port)?;
    match family {
        Family::V4 => socket::setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
        Family::V6 => socket::setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
    }
    sys::set_path_mtu_discovery(&socket, family, PathMtuDiscovery::Want)?;
    Ok(socket)
}

fn datagrams(family: Family, protocol: SockProtocol, source: Option<IpAddr>, port: u16) -> io::Result<UdpSocket> {
    let socket = bound(family, (SockType::Datagram, protocol), source, port)?;
    enlarge(&socket)?;
    Ok(UdpSocket::from(socket))
}

/// A socket that never blocks, on all addresses unless one is given, which over IPv4 need not be the stack's own. An IPv6 one leaves the
/// port free for IPv4.
fn bound(family: Family, (kind, protocol): (SockType, SockProtocol), source: Option<IpAddr>, port: u16) -> io::Result<OwnedFd> {
    let (domain, any) = match family {
        Family::V4 => (AddressFamily::Inet, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        Family::V6 => (AddressFamily::Inet6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(domain, kind, flags, protocol)?;
    if family == Family::V6 {
        socket::setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    if family == Family::V4 && source.is_some() {
        socket::setsockopt(&socket, sockopt::IpTransparent, &true)?;
    }
    let address = SocketAddr::new(source.unwrap_or(any), port);
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket)
}

/// Enlarges the buffers, beyond the host's limits where the rights allow it.
fn enlarge(socket: impl AsFd) -> io::Result<()> {
    if socket::setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER).is_err() {
        socket::setsockopt(&socket, sockopt::SndBuf, &SOCKET_BUFFER)?;
    }
    if socket::setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
        socket::setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER)?;
    }
    Ok(())
}

/// Room for what a listener is told beside a datagram.
pub(super) fn control() -> Vec<u8> {
    nix::cmsg_space!(libc::in6_pktinfo)
}

/// The next datagram's length, source, and the address that it was sent to.
pub(super) fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    control: &mut [u8],
) -> io::Result<Option<(usize, SocketAddr, IpAddr)>> {
    let mut parts = [IoSliceMut::new(buffer)];
    let message = socket::recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(control), MsgFlags::empty())?;
    let mut to = None;
    for told in message.cmsgs()? {
        if let ControlMessageOwned::Ipv4PacketInfo(info) = told {
            to = Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr))));
        } else if let ControlMessageOwned::Ipv6PacketInfo(info) = told {
            to = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
        }
    }
    Ok(message
        .address
        .and_then(address)
        .zip(to)
        .map(|(from, to)| (message.bytes, from, to)))
}

fn address(storage: SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into())))
}

/// Sends a payload from one of the stack's addresses.
pub(super) fn send_from(socket: &UdpSocket, payload: &[u8], from: IpAddr, to: SocketAddr) -> io::Result<()> {
    let (v4, v6);
    let control = match from {
        IpAddr::V4(from) => {
            v4 = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from(from).to_be(),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            [ControlMessage::Ipv4PacketInfo(&v4)]
        }
        IpAddr::V6(from) => {
            v6 = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: from.octets() },
                ipi6_ifindex: 0,
            };
            [ControlMessage::Ipv6PacketInfo(&v6)]
        }
    };
    let parts = [IoSlice::new(payload)];
    let to = SockaddrStorage::from(to);
    socket::sendmsg(socket.as_raw_fd(), &parts, &control, MsgFlags::empty(), Some(&to))?;
    Ok(())
}
