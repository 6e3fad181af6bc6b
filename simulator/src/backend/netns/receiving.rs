//! Waiting until a stack takes in what is for its IPv6 addresses: the kernel adds the routes that say so by a worker of its own,
//! which may come round much later than the request that gave the address returns.
//!
//! Source: Linux net/ipv6/addrconf.c, addrconf_dad_start and __ipv6_ifa_notify.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};

/// Milliseconds without any news, far beyond what the workers of a busy machine take.
const LONGEST: u16 = 5_000;

/// Routes of this machine's own addresses, in `/proc/net/ipv6_route` (Linux `RTF_LOCAL`).
const LOCAL: u32 = 0x8000_0000;

/// The news of the IPv6 routes of the namespace that the calling thread was in.
pub(super) struct RouteNews {
    socket: OwnedFd,
}

impl RouteNews {
    /// Listens from now on.
    pub(super) fn listen() -> io::Result<RouteNews> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        socket::bind(
            socket.as_raw_fd(),
            &NetlinkAddr::new(0, libc::RTMGRP_IPV6_ROUTE.cast_unsigned()),
        )?;
        Ok(RouteNews { socket })
    }

    /// Waits until the calling thread's namespace, which has not changed, takes in packets for all of these addresses.
    pub(super) fn wait_for(&self, addresses: &[Ipv6Addr]) -> io::Result<()> {
        while !are_local(&fs::read_to_string("/proc/thread-self/net/ipv6_route")?, addresses) {
            let mut news = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            if poll(&mut news, PollTimeout::from(LONGEST))? == 0 {
                return Err(ErrorKind::TimedOut.into());
            }
            self.discard()?;
        }
        Ok(())
    }

    /// What the news say is read from the table itself.
    fn discard(&self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match socket::recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                // More news than the socket holds are news as well.
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn are_local(table: &str, addresses: &[Ipv6Addr]) -> bool {
    let is_local = |address: &Ipv6Addr| {
        let start = format!("{:032x} 80 ", u128::from(*address));
        table.lines().filter(|line| line.starts_with(&start)).any(|line| {
            let flags = line
                .split_whitespace()
                .nth(8)
                .and_then(|flags| u32::from_str_radix(flags, 16).ok());
            flags.is_some_and(|flags| flags & LOCAL != 0)
        })
    };
    addresses.iter().all(is_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
fd000065000100000000000000000002 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
fd000065000100000000000000000003 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001     eth0
";

    #[test]
    fn an_address_is_taken_in_once_it_has_a_local_route() {
        let local = |address: &str| are_local(TABLE, &[address.parse().unwrap()]);
        assert!(!local("fd00:65:1::2"), "only the route to its prefix is there");
        assert!(local("fd00:65:1::3"));
        assert!(!local("fd00:65:1::4"));
    }
}
