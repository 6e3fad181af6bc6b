//! The vocabulary of the waist: network stacks outside what is simulated, the ports that lead to them, what they are asked, and
//! what they do. It says nothing of how a backend supplies them, so that everything above may speak of it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use overlab_dataplane::route::{NodeTables, Owner, Route, RouteKind, RouteProtocol};
use overlab_dataplane::{Instant, Mtu, Packet};

use crate::observe::{ConnectionEvent, Direction};
use crate::scenario::{Flow, FlowId};

/// A place where packets leave what is simulated: a device of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortId(pub u32);

/// A network stack outside what is simulated: a workload's, a node's own, a host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StackId(pub u32);

/// What is asked of a backend.
#[derive(Clone, Debug)]
pub enum HostAction {
    /// Make a stack with its devices.
    Attach(Stack),
    /// Give the devices of a stack these addresses, MTUs and routes, and the stack these blackholes, before it sends or takes in
    /// anything more. The devices are those that it was attached with.
    Configure(Stack),
    /// Remove a stack.
    Detach {
        /// Which.
        stack: StackId,
    },
    /// Open the flow's sockets, answer in the receiver, and send at the flow's times. All stacks are ready before the first
    /// packet is sent; the run's clock starts with the first `Start`.
    Start(FlowStart),
    /// Send no more packets of a flow; what is under way is still answered.
    Stop {
        /// Which.
        flow: FlowId,
    },
}

/// A flow to be started.
#[derive(Clone, Debug)]
pub struct FlowStart {
    /// Its identity.
    pub id: FlowId,
    /// What is sent when.
    pub flow: Flow,
    /// The sender's stack.
    pub from: StackId,
    /// The receiver's stack and port, of a service each that it may be sent to; none if nobody of ours owns the destination, or
    /// listens there.
    pub to: Vec<(StackId, u16)>,
    /// Where its chances come from, such as the initial sequence numbers of TCP.
    pub seed: u64,
}

/// A network stack with its devices.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Its identity.
    pub id: StackId,
    /// The name of the workload or machine that it belongs to.
    pub name: Arc<str>,
    /// Its devices.
    pub devices: Vec<StackDevice>,
    /// Prefixes that it drops.
    pub blackholes: Vec<Blackhole>,
    /// The tables that it has its routes and blackholes from, besides those that are listed: those of the machine that it is the
    /// own stack of. They are not copied, since machines of a large cluster share most of them.
    pub tables: Option<Arc<NodeTables>>,
}

impl Stack {
    /// The same stack with the routes and blackholes of its tables listed. Routes to connected subnets are left out: a kernel makes
    /// them by itself.
    #[must_use]
    pub fn listed(mut self) -> Stack {
        let Some(tables) = self.tables.take() else { return self };
        for route in tables.routes() {
            if route.kind == RouteKind::Blackhole {
                self.blackholes.push(Blackhole::of(route));
            } else if (route.owner != Owner::Kernel || route.gateway.is_some())
                && let Some(place) = self.place_of(&tables, route)
            {
                self.devices[place].config.routes.push(StackRoute::of(route));
            }
        }
        self
    }

    /// The place of the device of a route of the stack's tables.
    pub fn place_of(&self, tables: &NodeTables, route: &Route) -> Option<usize> {
        let name = &tables.device(route.device?)?.name;
        self.devices.iter().position(|device| device.name == *name)
    }
}

/// A route that swallows packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blackhole {
    /// The prefix.
    pub destination: IpNet,
    /// The routing protocol number.
    pub protocol: RouteProtocol,
    /// The metric; 0 for none.
    pub metric: u32,
}

impl Blackhole {
    fn of(route: &Route) -> Blackhole {
        Blackhole {
            destination: route.destination,
            protocol: route.protocol,
            metric: route.metric,
        }
    }
}

/// A device of a stack.
#[derive(Clone, Debug)]
pub struct StackDevice {
    /// Its identity.
    pub port: PortId,
    /// Its name: `eth0`, `tunl0`, ...
    pub name: Arc<str>,
    /// What it has.
    pub config: PortConfig,
}

/// Addresses, MTU and routes of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Addresses with prefix lengths.
    pub addresses: Vec<IpNet>,
    /// The MTU.
    pub mtu: Mtu,
    /// Routes through the device, connected ones left out.
    pub routes: Vec<StackRoute>,
}

/// A route of a stack through one of its devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackRoute {
    /// The prefix.
    pub destination: IpNet,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// Whether the gateway is taken to be on the link.
    pub onlink: bool,
    /// The routing protocol number.
    pub protocol: RouteProtocol,
    /// The metric; 0 for none.
    pub metric: u32,
    /// The route's own MTU.
    pub mtu: Option<Mtu>,
}

impl StackRoute {
    fn of(route: &Route) -> StackRoute {
        StackRoute {
            destination: route.destination,
            gateway: route.gateway,
            onlink: route.onlink,
            protocol: route.protocol,
            metric: route.metric,
            mtu: route.mtu,
        }
    }
}

/// What a stack did.
#[derive(Clone, Debug)]
pub enum HostEvent {
    /// It sent a packet through a device.
    Packet {
        /// The device.
        port: PortId,
        /// The packet.
        packet: Packet,
    },
    /// A flow's socket did something.
    Flow {
        /// The flow.
        flow: FlowId,
        /// When, on the run's clock.
        at: Instant,
        /// What.
        event: FlowEvent,
    },
}

/// What a flow's socket did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEvent {
    /// The application handed packet `sequence` (from 0) of the forward direction to its socket. It comes before the packet.
    Sent {
        /// Which.
        sequence: u32,
    },
    /// The answering application handed the answer to packet `sequence` to its socket (UDP; a kernel answers ICMP by itself).
    Answered {
        /// Which.
        sequence: u32,
    },
    /// The stack would not send it.
    SendRefused {
        /// Forward for a request, reverse for an answer.
        direction: Direction,
        /// Which.
        sequence: u32,
        /// Why.
        reason: SendError,
    },
    /// A socket got a packet whole: a UDP socket, or the ICMP socket of the sender that got its reply.
    Received {
        /// Forward if the receiver got it, reverse if the sender got the reply.
        direction: Direction,
        /// Which.
        sequence: u32,
        /// The source address that the socket saw.
        from: IpAddr,
        /// Bytes after the UDP or ICMP header.
        payload: usize,
    },
    /// The sender's TCP connection did something.
    Connection(ConnectionEvent),
}

/// Why a stack would not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// `EMSGSIZE`: longer than the path is known to take, and not to be fragmented.
    TooBig,
    /// `ENETUNREACH` or `EHOSTUNREACH`: no route.
    NoRoute,
    /// Any other error number.
    Other(i32),
}
