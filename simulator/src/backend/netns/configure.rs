//! Devices, addresses and routes of a stack, through netlink. It makes what it is told to; what a stack is to have follows from
//! the node's tables elsewhere.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteMetric, RouteScope, RouteType};
use rtnetlink::{AddressMessageBuilder, Handle, LinkUnspec, RouteMessageBuilder};

use super::failed;
use super::namespace::{self, Namespace};
use super::receiving::RouteNews;
use super::tun::Tun;
use crate::backend::{BackendError, Blackhole, PortConfig, PortId, Stack, StackDevice, StackRoute};

/// A stack that is made: its namespace and its devices.
pub(super) struct Made {
    pub(super) stack: Stack,
    pub(super) namespace: Namespace,
    pub(super) devices: Vec<(PortId, Tun)>,
}

/// Makes stacks, one after the other on one thread: the kernel makes namespaces under one lock, so that more threads do not help.
///
/// # Errors
/// If the kernel refuses any part of any stack; nothing is left of the others then.
pub(super) fn make(stacks: Vec<Stack>) -> Result<Vec<Made>, BackendError> {
    namespace::aside(|| runtime()?.block_on(make_all(stacks)))
}

/// Adds a device of a kernel type to the namespace of the calling thread.
///
/// # Errors
/// If the kernel refuses it: with `EOPNOTSUPP` if it does not know the type.
pub(super) fn add_link(link: rtnetlink::packet_route::link::LinkMessage) -> Result<(), BackendError> {
    runtime()?.block_on(async {
        let request = connect()?.link().add(link).execute();
        request.await.map_err(refused("add a device".into()))
    })
}

async fn make_all(stacks: Vec<Stack>) -> Result<Vec<Made>, BackendError> {
    let mut made = Vec::with_capacity(stacks.len());
    for stack in stacks {
        made.push(make_one(stack).await?);
    }
    Ok(made)
}

async fn make_one(stack: Stack) -> Result<Made, BackendError> {
    let namespace = Namespace::unshare().map_err(failed("make a network namespace"))?;
    let configs = || stack.devices.iter().map(|device| &device.config);
    let ipv6 = configs()
        .flat_map(|config| &config.addresses)
        .any(|address| address.addr().is_ipv6());
    namespace::settle(ipv6)?;
    let mut devices = Vec::with_capacity(stack.devices.len());
    for device in &stack.devices {
        let tun = Tun::open(&device.name).map_err(failed(format!("make device {} of {}", device.name, stack.name)))?;
        devices.push((device.port, tun));
    }
    let handle = connect()?;
    up(&handle, "lo", index("lo")?, None).await?;
    let mut indices = Vec::with_capacity(stack.devices.len());
    for device in &stack.devices {
        let index = index(&device.name)?;
        up(&handle, &device.name, index, Some(&device.config)).await?;
        indices.push((device, index));
    }
    let addresses = indices.iter().flat_map(|(device, index)| {
        device
            .config
            .addresses
            .iter()
            .map(|address| (&*device.name, *index, *address))
    });
    add_addresses(&handle, addresses.collect()).await?;
    add_routes(&handle, &indices).await?;
    for route in &stack.blackholes {
        add_route(&handle, blackhole(route), &format!("blackhole {}", route.destination), false).await?;
    }
    Ok(Made {
        stack,
        namespace,
        devices,
    })
}

/// Adds the routes of all devices, those without a gateway first: they are what other routes' gateways are found by.
async fn add_routes(handle: &Handle, devices: &[(&StackDevice, u32)]) -> Result<(), BackendError> {
    for with_gateway in [false, true] {
        for (device, index) in devices {
            for route in device.config.routes.iter().filter(|r| r.gateway.is_some() == with_gateway) {
                add_route(handle, message(route, *index), &describe(route, &device.name), false).await?;
            }
        }
    }
    Ok(())
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, BackendError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(failed("start a runtime for netlink"))
}

/// A netlink connection to the namespace that the calling thread is in; it ends with its handle.
pub(super) fn connect() -> Result<Handle, BackendError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(failed("open a netlink socket"))?;
    tokio::spawn(connection);
    Ok(handle)
}

pub(super) fn index(name: &str) -> Result<u32, BackendError> {
    if_nametoindex(name).map_err(failed(format!("find device {name}")))
}

pub(super) async fn up(handle: &Handle, name: &str, index: u32, config: Option<&PortConfig>) -> Result<(), BackendError> {
    let mut link = LinkUnspec::new_with_index(index).up();
    if let Some(config) = config {
        link = link.mtu(u32::from(config.mtu.bytes()));
    }
    let request = handle.link().set(link.build()).execute();
    request.await.map_err(refused(format!("set {name} up")))
}

/// Adds addresses to devices and waits until they take packets in.
pub(super) async fn add_addresses(handle: &Handle, addresses: Vec<(&str, u32, IpNet)>) -> Result<(), BackendError> {
    let ipv6 = addresses.iter().filter_map(|(_, _, address)| match address {
        IpNet::V4(_) => None,
        IpNet::V6(net) => Some(net.addr()),
    });
    let ipv6: Vec<_> = ipv6.collect();
    let listen = || RouteNews::listen().map_err(failed("listen to the routes of a namespace"));
    let news = (!ipv6.is_empty()).then(listen).transpose()?;
    for (name, index, address) in addresses {
        add_address(handle, name, index, address).await?;
    }
    match news {
        Some(news) => news
            .wait_for(&ipv6)
            .map_err(failed("wait for IPv6 addresses to take packets in")),
        None => Ok(()),
    }
}

async fn add_address(handle: &Handle, name: &str, index: u32, address: IpNet) -> Result<(), BackendError> {
    let mut request = handle.address().add(index, address.addr(), address.prefix_len());
    if address.addr().is_ipv6() {
        // Until the kernel has found nobody else with it, an address takes nothing in; there is nobody else.
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    }
    request
        .execute()
        .await
        .map_err(refused(format!("add address {address} to {name}")))
}

pub(super) async fn add_route(handle: &Handle, route: RouteMessage, what: &str, replace: bool) -> Result<(), BackendError> {
    let request = handle.route().add(route);
    let request = if replace { request.replace() } else { request };
    request.execute().await.map_err(refused(format!("add route {what}")))
}

pub(super) fn address_message(index: u32, address: IpNet) -> rtnetlink::packet_route::address::AddressMessage {
    match address {
        IpNet::V4(net) => AddressMessageBuilder::<std::net::Ipv4Addr>::new()
            .index(index)
            .address(net.addr(), net.prefix_len())
            .build(),
        IpNet::V6(net) => AddressMessageBuilder::<std::net::Ipv6Addr>::new()
            .index(index)
            .address(net.addr(), net.prefix_len())
            .build(),
    }
}

fn to(prefix: IpNet) -> RouteMessage {
    match prefix {
        IpNet::V4(net) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .build(),
        IpNet::V6(net) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .build(),
    }
}

pub(super) fn message(route: &StackRoute, index: u32) -> RouteMessage {
    let mut message = to(route.destination);
    message.header.protocol = route.protocol.0.into();
    message.attributes.push(RouteAttribute::Oif(index));
    match route.gateway {
        Some(IpAddr::V4(gateway)) => message.attributes.push(RouteAttribute::Gateway(gateway.into())),
        Some(IpAddr::V6(gateway)) => message.attributes.push(RouteAttribute::Gateway(gateway.into())),
        None => message.header.scope = RouteScope::Link,
    }
    if route.onlink {
        message.header.flags |= rtnetlink::packet_route::route::RouteFlags::Onlink;
    }
    if route.metric > 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    if let Some(mtu) = route.mtu {
        let metrics = vec![RouteMetric::Mtu(u32::from(mtu.bytes()))];
        message.attributes.push(RouteAttribute::Metrics(metrics));
    }
    message
}

pub(super) fn blackhole(route: &Blackhole) -> RouteMessage {
    let mut message = to(route.destination);
    message.header.protocol = route.protocol.0.into();
    message.header.kind = RouteType::BlackHole;
    if route.metric != 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    message
}

/// As `ip route` spells it, for messages.
pub(super) fn describe(route: &StackRoute, device: &str) -> String {
    let via = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
    let onlink = if route.onlink { " onlink" } else { "" };
    format!("{}{via} dev {device}{onlink}", route.destination)
}

/// A netlink refusal as the error number that it carries.
pub(super) fn refused(what: String) -> impl FnOnce(rtnetlink::Error) -> BackendError {
    move |error| BackendError::System {
        what,
        source: match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other @ (rtnetlink::Error::UnexpectedMessage(_)
            | rtnetlink::Error::RequestFailed
            | rtnetlink::Error::NamespaceError(_)
            | rtnetlink::Error::InvalidHardwareAddress(_)
            | rtnetlink::Error::InvalidIp(_)
            | rtnetlink::Error::InvalidAddress(..)
            | rtnetlink::Error::InvalidNla(_)) => std::io::Error::other(other),
        },
    }
}
