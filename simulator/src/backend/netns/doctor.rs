//! What this host offers for runs in real namespaces, and what would help where it does not. It looks and tries in namespaces
//! that are thrown away; it changes nothing.

use std::fs;
use std::io;
use std::path::Path;

use nix::libc;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{LinkIpIp, LinkVxlan};

use super::namespace::{Namespace, aside};
use super::tun::Tun;
use super::{configure, failed};
use crate::backend::BackendError;

/// Something that runs need or profit from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What it is.
    pub name: &'static str,
    /// Whether it is there.
    pub available: bool,
    /// What was found, or why it is not there.
    pub detail: String,
    /// What would help; empty if it is there.
    pub remedy: String,
}

const TRIED: &str = "one was made and thrown away";

const AS_ROOT: &str = "run as root, or allow unprivileged user namespaces";

/// Tries whether this process can make a network namespace with a TUN device in it.
///
/// # Errors
/// [`BackendError::Unavailable`] if it cannot.
pub(super) fn probe() -> Result<(), BackendError> {
    aside(|| {
        Namespace::unshare().map_err(|error| unavailable("make a network namespace", &error, AS_ROOT))?;
        Tun::open("probe").map_err(|error| unavailable("make a TUN device", &error, tun_remedy(&error)))?;
        Ok(())
    })
}

/// Everything that `overlab doctor` speaks of, needs first and helpers last.
pub fn capabilities() -> Vec<Capability> {
    let mut list = vec![namespaces(), tun(), user_namespaces()];
    list.push(device_type(
        "vxlan device type",
        LinkVxlan::new("probe", 1).port(4789).build(),
    ));
    list.push(device_type("ipip device type", LinkIpIp::new("probe").build()));
    list.extend(["tshark", "ping", "ip"].map(helper));
    list
}

fn namespaces() -> Capability {
    const NAME: &str = "network namespaces";
    match aside(|| Namespace::unshare().map_err(failed("make a network namespace"))) {
        Ok(_) => found(NAME, TRIED.into()),
        Err(error) => missing(NAME, error.to_string(), AS_ROOT),
    }
}

fn tun() -> Capability {
    const NAME: &str = "/dev/net/tun";
    let result = aside(|| {
        Namespace::unshare().map_err(failed("make a network namespace"))?;
        Ok(Tun::open("probe"))
    });
    match result {
        Ok(Ok(_)) => found(NAME, TRIED.into()),
        Ok(Err(error)) => missing(NAME, format!("failed to make a TUN device: {error}"), tun_remedy(&error)),
        Err(error) => missing(NAME, error.to_string(), AS_ROOT),
    }
}

/// Whether ordinary users may make user namespaces, by the settings that decide it: trying needs a process with one thread.
fn user_namespaces() -> Capability {
    const NAME: &str = "user namespaces";
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).map(|text| text.trim().to_owned());
    if !Path::new("/proc/self/ns/user").exists() {
        return missing(NAME, "this kernel has none".into(), "run as root");
    }
    let forbidding = [
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
        (
            "kernel/unprivileged_userns_clone",
            "0",
            "sysctl kernel.unprivileged_userns_clone=1",
        ),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    for (name, forbidden, remedy) in forbidding {
        if read(name).is_ok_and(|value| value == forbidden) {
            return missing(NAME, format!("{} is {forbidden}", name.replace('/', ".")), remedy);
        }
    }
    found(NAME, "no setting forbids them".into())
}

/// Whether the kernel makes a device of a type.
fn device_type(name: &'static str, link: LinkMessage) -> Capability {
    let result = aside(|| {
        Namespace::unshare().map_err(failed("make a network namespace"))?;
        configure::add_link(link)
    });
    match result {
        Ok(()) => found(name, TRIED.into()),
        Err(BackendError::System { source, .. }) if source.raw_os_error() == Some(libc::EOPNOTSUPP) => missing(
            name,
            "this kernel has no such type, which no run needs".into(),
            "load its module where tunnels are to be compared with the kernel's own",
        ),
        Err(error) => missing(name, error.to_string(), AS_ROOT),
    }
}

/// Whether an optional program is in PATH.
fn helper(name: &'static str) -> Capability {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let at = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    match at {
        Some(file) => found(name, file.display().to_string()),
        None => missing(
            name,
            "not in PATH (optional)".into(),
            "install it to look into captures and namespaces",
        ),
    }
}

/// What helps against a refusal to make a TUN device.
fn tun_remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "load the kernel module tun (modprobe tun), or give the container the device /dev/net/tun"
        }
        Some(libc::EACCES) => "let this user read and write /dev/net/tun (usually mode 0666), or run as root",
        _ => "run with CAP_NET_ADMIN, as root or in a user namespace",
    }
}

fn unavailable(what: &str, error: &io::Error, remedy: &str) -> BackendError {
    BackendError::Unavailable {
        reason: format!("this process cannot {what} ({error})"),
        remedy: remedy.into(),
    }
}

fn found(name: &'static str, detail: String) -> Capability {
    Capability {
        name,
        available: true,
        detail,
        remedy: String::new(),
    }
}

fn missing(name: &'static str, detail: String, remedy: &str) -> Capability {
    Capability {
        name,
        available: false,
        detail,
        remedy: remedy.into(),
    }
}
