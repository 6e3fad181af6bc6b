//! What no safe library offers: the ioctl that lets a TUN device outlive its descriptor, one socket option, and turning a
//! tun-tap device into an owned descriptor. It holds all unsafe code of the project and decides nothing.
#![expect(unsafe_code, reason = "ioctl, setsockopt and descriptor ownership have no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};

use nix::libc;
use overlab_dataplane::Family;
use tun_tap::Iface;

use crate::scenario::PathMtuDiscovery;

nix::ioctl_write_int!(
    /// Keeps a device when its descriptor closes, or no longer.
    tunsetpersist,
    b'T',
    203
);

/// Ties the device's life to its namespace instead of to its descriptor: closing the descriptor of a device that is not
/// persistent costs the kernel tens of milliseconds, one after the other; namespaces are reaped in batches.
///
/// Source: Linux drivers/net/tun.c, `__tun_chr_ioctl`, `TUNSETPERSIST`.
///
/// # Errors
/// If the descriptor is no attached TUN device.
pub(super) fn persist(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the borrow, and this ioctl takes an integer, so that the kernel reads
    // and writes no memory of ours.
    unsafe { tunsetpersist(device.as_raw_fd(), 1) }?;
    Ok(())
}

/// The device's descriptor, owned.
pub(super) fn into_file(device: Iface) -> File {
    // SAFETY: `into_raw_fd` gives up ownership of an open descriptor, and nothing else holds it.
    unsafe { File::from_raw_fd(device.into_raw_fd()) }
}

/// Sets `IP_MTU_DISCOVER`, or `IPV6_MTU_DISCOVER`, whose values are the same.
///
/// # Errors
/// If the descriptor is no socket of the family.
pub(super) fn set_path_mtu_discovery(socket: impl AsFd, family: Family, mode: PathMtuDiscovery) -> io::Result<()> {
    let (level, option) = match family {
        Family::V4 => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
        Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    };
    let value: libc::c_int = match mode {
        PathMtuDiscovery::Dont => libc::IP_PMTUDISC_DONT,
        PathMtuDiscovery::Want => libc::IP_PMTUDISC_WANT,
        PathMtuDiscovery::Do => libc::IP_PMTUDISC_DO,
        PathMtuDiscovery::Probe => libc::IP_PMTUDISC_PROBE,
    };
    // SAFETY: the pointer and the length name `value`, which lives across the call, and the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
