//! Netlink as a stranger: what a namespace really holds, and veth pairs to look into namespaces with.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "netlink has many messages, and these tests read few of them"
)]

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;

use ipnet::IpNet;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteType,
};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) destination: IpNet,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) device: Option<String>,
    pub(crate) protocol: u8,
    pub(crate) onlink: bool,
    pub(crate) metric: u32,
    pub(crate) mtu: Option<u32>,
}

/// Runs something on a thread in the namespace; in a new one if none is given.
pub(crate) fn inside<T: Send>(namespace: Option<BorrowedFd<'_>>, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let entered = scope.spawn(|| {
            match namespace {
                Some(namespace) => setns(namespace, CloneFlags::CLONE_NEWNET).unwrap(),
                None => unshare(CloneFlags::CLONE_NEWNET).unwrap(),
            }
            work()
        });
        entered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The IPv4 routes of a namespace's main table, sorted.
pub(crate) fn routes(namespace: BorrowedFd<'_>) -> Vec<Seen> {
    inside(Some(namespace), || {
        let mut all = RouteMessage::default();
        all.header.address_family = rtnetlink::packet_route::AddressFamily::Inet;
        let answers = talk(&connect(), RouteNetlinkMessage::GetRoute(all), NLM_F_DUMP);
        let mut seen: Vec<Seen> = answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewRoute(route) if route.header.table == RouteHeader::RT_TABLE_MAIN => Some(see(&route)),
                _ => None,
            })
            .collect();
        seen.sort();
        seen
    })
}

fn see(route: &RouteMessage) -> Seen {
    let mut address = IpAddr::from([0, 0, 0, 0]);
    let mut seen = Seen {
        destination: IpNet::new(address, 0).unwrap(),
        gateway: None,
        device: None,
        protocol: route.header.protocol.into(),
        onlink: route.header.flags.contains(RouteFlags::Onlink),
        metric: 0,
        mtu: None,
    };
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(found)) => address = IpAddr::V4(*found),
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => seen.gateway = Some(IpAddr::V4(*gateway)),
            RouteAttribute::Oif(index) => {
                let names = nix::net::if_::if_nameindex().unwrap();
                let device = names.iter().find(|device| device.index() == *index).unwrap();
                seen.device = Some(device.name().to_string_lossy().into_owned());
            }
            RouteAttribute::Priority(metric) => seen.metric = *metric,
            RouteAttribute::Metrics(metrics) => {
                seen.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    assert_eq!(route.header.kind == RouteType::BlackHole, seen.device.is_none());
    seen.destination = IpNet::new(address, route.header.destination_prefix_length).unwrap();
    seen
}

/// A netlink socket of the calling thread's namespace.
pub(crate) fn connect() -> Socket {
    let mut socket = Socket::new(NETLINK_ROUTE).unwrap();
    socket.bind_auto().unwrap();
    socket.connect(&SocketAddr::new(0, 0)).unwrap();
    socket
}

/// Makes a device, or changes it.
pub(crate) fn make_link(socket: &Socket, link: LinkMessage) {
    talk(
        socket,
        RouteNetlinkMessage::NewLink(link),
        NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
    );
}

/// Moves a device of the calling thread's namespace into another one.
pub(crate) fn move_link(socket: &Socket, name: &str, namespace: impl AsFd) {
    use std::os::fd::AsRawFd;
    let link = rtnetlink::LinkUnspec::new_with_name(name).setns_by_fd(namespace.as_fd().as_raw_fd());
    talk(socket, RouteNetlinkMessage::SetLink(link.build()), NLM_F_ACK);
}

/// Sends a request and collects the answers until the last one; it panics on a refusal.
fn talk(socket: &Socket, request: RouteNetlinkMessage, flags: u16) -> Vec<RouteNetlinkMessage> {
    let mut message = NetlinkMessage::from(request);
    message.header.flags = NLM_F_REQUEST | flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).unwrap();
    let mut answers = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full().unwrap();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).unwrap();
            rest = rest
                .get((answer.header.length as usize).next_multiple_of(4)..)
                .unwrap_or_default();
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                NetlinkPayload::Error(error) if error.code.is_some() => panic!("{}", error.to_io()),
                _ => return answers,
            }
        }
    }
}
