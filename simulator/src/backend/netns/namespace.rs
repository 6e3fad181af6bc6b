//! Anonymous network namespaces: held by descriptor, never by name, so that they vanish with the process however it ends.
//! What is inside them is made by [`super::configure`].

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, getgid, getuid};

use super::failed;
use crate::backend::BackendError;

/// A network namespace.
#[derive(Debug)]
pub(super) struct Namespace(OwnedFd);

impl Namespace {
    /// Makes a namespace; the calling thread is in it afterwards.
    ///
    /// # Errors
    /// If the thread has no CAP_SYS_ADMIN, or the kernel allows no more namespaces.
    pub(super) fn unshare() -> io::Result<Namespace> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Ok(Namespace(File::open("/proc/thread-self/ns/net")?.into()))
    }

    /// Moves the calling thread into the namespace.
    ///
    /// # Errors
    /// If the thread has no CAP_SYS_ADMIN.
    pub(super) fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.0, CloneFlags::CLONE_NEWNET)?)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Runs `work` on a thread of its own, so that the caller's thread stays in its namespace whatever happens in there.
///
/// # Errors
/// Those of `work`, and if no thread can be made.
pub(super) fn aside<T: Send>(work: impl FnOnce() -> Result<T, BackendError> + Send) -> Result<T, BackendError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("namespaces".into())
            .spawn_scoped(scope, work)
            .map_err(failed("start a thread"))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Sets what a stack needs whatever its devices are; the calling thread is in its namespace, which has no device but `lo`.
/// Hosts pass their own settings on to new namespaces, so that nothing here can be left to a default.
///
/// `ipv6` says whether the stack has IPv6 at all.
///
/// # Errors
/// If a setting is refused.
pub(super) fn settle(ipv6: bool) -> Result<(), BackendError> {
    let group = getegid();
    let disable = if ipv6 { "0" } else { "1" };
    let settings = [
        // IPv6 sends router solicitations and multicast reports as soon as a device comes up: no stack has it that does not need
        // it, and none has addresses or routes but those that it is given.
        ("ipv6/conf/all/disable_ipv6", disable.to_owned()),
        ("ipv6/conf/default/disable_ipv6", disable.to_owned()),
        ("ipv6/conf/default/accept_ra", "0".to_owned()),
        ("ipv6/conf/default/autoconf", "0".to_owned()),
        ("ipv6/conf/default/router_solicitations", "0".to_owned()),
        ("ipv6/conf/default/dad_transmits", "0".to_owned()),
        // No link-local address is made.
        ("ipv6/conf/default/addr_gen_mode", "1".to_owned()),
        ("ipv6/conf/all/forwarding", "0".to_owned()),
        // Echo sockets without raw rights; only this group, since a user namespace knows no other.
        ("ipv4/ping_group_range", format!("{group} {group}")),
        // A stack does not forward: the engine does.
        ("ipv4/ip_forward", "0".to_owned()),
        // What nobody takes is known by the error that its stack sends: all are to be sent, not one a second.
        ("ipv4/icmp_ratelimit", "0".to_owned()),
        ("ipv6/icmp/ratelimit", "0".to_owned()),
        // Calico's devices of one node carry one another's replies; source validation is the engine's.
        ("ipv4/conf/all/rp_filter", "0".to_owned()),
        ("ipv4/conf/default/rp_filter", "0".to_owned()),
    ];
    for (name, value) in settings {
        let path = Path::new("/proc/sys/net").join(name);
        match fs::write(&path, value) {
            Err(error) if error.kind() == ErrorKind::NotFound && name.starts_with("ipv6/") => {}
            result => result.map_err(failed(format!("set {}", path.display())))?,
        }
    }
    Ok(())
}

/// Gives IPv6 to the stack that the calling thread is in, if it was settled without.
///
/// # Errors
/// If the setting is refused.
pub(super) fn allow_ipv6() -> Result<(), BackendError> {
    let path = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
    fs::write(path, "0").map_err(failed(format!("set {path}")))
}

/// Makes the process root of a user namespace of its own, so that an ordinary user may make network namespaces. It has to come
/// first in `main`: Linux refuses a process that has a second thread. A no-op for root.
///
/// # Errors
/// [`BackendError::Unavailable`] if the host forbids user namespaces or a second thread runs.
pub fn enter_user_namespace() -> Result<(), BackendError> {
    let (user, group) = (getuid(), getgid());
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| BackendError::Unavailable {
        reason: format!("this user may not make a user namespace ({error})"),
        remedy: "run as root, or allow unprivileged user namespaces (user.max_user_namespaces, kernel.unprivileged_userns_clone)"
            .into(),
    })?;
    // The order is the kernel's: groups are mapped only after setgroups is given up (user_namespaces(7)).
    for (file, content) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{user} {user} 1")),
        ("gid_map", format!("{group} {group} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), content).map_err(failed(format!("write /proc/self/{file}")))?;
    }
    Ok(())
}
