//! Changes of what a stack has, through netlink: addresses, MTUs, routes and blackholes, all of one stack in one go. The kernel is
//! asked for no more than what differs, since it forgets what it has learned about a route that it is given anew.

use nix::libc;
use rtnetlink::Handle;
use rtnetlink::packet_route::route::RouteMessage;

use super::configure::{
    add_addresses, add_route, address_message, blackhole, connect, describe, index, message, refused, runtime, up,
};
use super::failed;
use super::namespace::{self, Namespace};
use crate::backend::{BackendError, Blackhole, PortConfig, StackRoute};

/// What a device has and what it is to have.
pub(super) struct DeviceChange<'a> {
    pub(super) name: &'a str,
    pub(super) old: &'a PortConfig,
    pub(super) new: &'a PortConfig,
}

/// Turns what a stack's devices and its blackholes, old and new, are into what they are to be.
///
/// # Errors
/// If the kernel refuses any part of it.
pub(super) fn apply(
    namespace: &Namespace,
    changes: &[DeviceChange<'_>],
    blackholes: (&[Blackhole], &[Blackhole]),
) -> Result<(), BackendError> {
    namespace::aside(|| {
        namespace.enter().map_err(failed("enter a network namespace"))?;
        runtime()?.block_on(async {
            let handle = connect()?;
            let devices = changes.iter().map(|change| Ok((change, index(change.name)?)));
            let devices = devices.collect::<Result<Vec<_>, BackendError>>()?;
            change_addresses(&handle, &devices).await?;
            remove_routes(&handle, &devices, blackholes).await?;
            add_routes(&handle, &devices, blackholes).await
        })
    })
}

/// New addresses come before old ones go: a device that loses its last address loses all its routes.
async fn change_addresses(handle: &Handle, devices: &[(&DeviceChange<'_>, u32)]) -> Result<(), BackendError> {
    let mut added = Vec::new();
    for (change, index) in devices {
        if change.old.mtu != change.new.mtu {
            up(handle, change.name, *index, Some(change.new)).await?;
        }
        let new = change.new.addresses.iter().filter(|a| !change.old.addresses.contains(a));
        added.extend(new.map(|address| (change.name, *index, *address)));
    }
    if added.iter().any(|(_, _, address)| address.addr().is_ipv6()) {
        namespace::allow_ipv6()?;
    }
    add_addresses(handle, added).await?;
    for (change, index) in devices {
        for address in change.old.addresses.iter().filter(|a| !change.new.addresses.contains(a)) {
            let request = handle.address().del(address_message(*index, *address)).execute();
            let what = format!("remove address {address} from {}", change.name);
            request.await.map_err(refused(what))?;
        }
    }
    Ok(())
}

async fn remove_routes(
    handle: &Handle,
    devices: &[(&DeviceChange<'_>, u32)],
    (old, new): (&[Blackhole], &[Blackhole]),
) -> Result<(), BackendError> {
    for (change, index) in devices {
        let replaced = |route: &&StackRoute| change.new.routes.iter().any(|new| same_place(new, route));
        for route in change.old.routes.iter().filter(|route| !replaced(route)) {
            remove_route(handle, message(route, *index), &describe(route, change.name)).await?;
        }
    }
    for route in old.iter().filter(|route| !new.contains(route)) {
        remove_route(handle, blackhole(route), &format!("blackhole {}", route.destination)).await?;
    }
    Ok(())
}

async fn remove_route(handle: &Handle, route: RouteMessage, what: &str) -> Result<(), BackendError> {
    let removed = handle.route().del(route).execute().await;
    match removed.map_err(refused(format!("remove route {what}"))) {
        // It went with an address.
        Err(BackendError::System { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        result => result,
    }
}

/// Adds the routes of all devices, those without a gateway first: they are what other routes' gateways are found by. Of a device
/// whose addresses have changed all are added, since some may have gone with one.
async fn add_routes(
    handle: &Handle,
    devices: &[(&DeviceChange<'_>, u32)],
    (old, new): (&[Blackhole], &[Blackhole]),
) -> Result<(), BackendError> {
    for with_gateway in [false, true] {
        for (change, index) in devices {
            let moved = change.old.addresses != change.new.addresses;
            let is_there = |route: &StackRoute| !moved && change.old.routes.contains(route);
            let routes = change.new.routes.iter().filter(|route| !is_there(route));
            for route in routes.filter(|route| route.gateway.is_some() == with_gateway) {
                add_route(handle, message(route, *index), &describe(route, change.name), true).await?;
            }
        }
    }
    for route in new.iter().filter(|route| !old.contains(route)) {
        add_route(handle, blackhole(route), &format!("blackhole {}", route.destination), true).await?;
    }
    Ok(())
}

/// Whether the kernel holds two routes to be the same one, so that either replaces the other.
fn same_place(a: &StackRoute, b: &StackRoute) -> bool {
    (a.destination, a.metric) == (b.destination, b.metric)
}
