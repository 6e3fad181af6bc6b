//! A small host stack for the sim backend, of both families. It does what Linux was seen to do: echo, UDP sockets, "port unreachable", path
//! MTU discovery by `IP_MTU_DISCOVER` and `IPV6_MTU_DISCOVER`, fragmentation and reassembly, and TCP by smoltcp.

mod icmp;
mod tcp;
mod udp;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use overlab_dataplane::route::RouteKind;
use overlab_dataplane::wire::fragment::{Reassembly, split};
use overlab_dataplane::wire::ipv4::protocol;
use overlab_dataplane::wire::{IcmpError, IpView, Reassembler};
use overlab_dataplane::{Family, Fib, Instant, Mtu, Packet};

use super::probe::{self, Addresses, Header};
use crate::host::{FlowEvent, HostEvent, SendError, Stack};
use crate::observe::Direction;
use crate::scenario::{Flow, FlowId, PathMtuDiscovery, Transport};

/// `net.ipv4.ip_default_ttl`, and `net.ipv6.conf.all.hop_limit`.
const DEFAULT_TTL: u8 = 64;

/// Packets that leave, and what sockets saw; the caller empties it.
pub type Output = Vec<HostEvent>;

/// A flow's end in a stack.
#[derive(Clone, Debug)]
pub struct Socket {
    /// The flow.
    pub id: FlowId,
    /// What it sends.
    pub flow: Flow,
    /// Whether this is the sender's end.
    pub sender: bool,
    /// Where its chances come from.
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Device {
        index: usize,
        gateway: Option<IpAddr>,
        mtu: Option<Mtu>,
    },
    Blackhole,
}

/// One stack: a workload's, a node's own, a host's.
#[derive(Debug)]
pub struct HostStack {
    stack: Stack,
    /// The routes that are not those of its tables.
    fib: Fib<Target>,
    sockets: Vec<Socket>,
    /// Path MTUs learned from ICMP, by destination.
    path_mtus: BTreeMap<IpAddr, Mtu>,
    reassembler: Reassembler,
    identification: u16,
    tcp: tcp::Tcp,
}

/// The way that packets take to a destination.
struct Path {
    /// The place of the device that they leave by.
    device: usize,
    /// Their source address.
    source: IpAddr,
    /// How long they may be.
    mtu: Mtu,
}

/// What is asked of the IP layer for one packet.
struct Request {
    source: Option<IpAddr>,
    destination: IpAddr,
    protocol: u8,
    ttl: u8,
    dscp: u8,
    ecn: u8,
    discovery: PathMtuDiscovery,
}

impl HostStack {
    /// A stack with its devices.
    pub fn new(stack: Stack) -> HostStack {
        let mut host = HostStack {
            stack,
            fib: Fib::default(),
            sockets: Vec::new(),
            path_mtus: BTreeMap::new(),
            reassembler: Reassembler::default(),
            identification: 0,
            tcp: tcp::Tcp::default(),
        };
        host.rebuild();
        host
    }

    /// Gives devices other addresses, MTUs and routes, and the stack other blackholes. What was learned of a path is forgotten with
    /// the route that led to it.
    ///
    /// Source: Linux net/ipv4/route.c, find_exception, for exceptions that hang on a route's next hop.
    pub fn configure(&mut self, stack: Stack) {
        let learned = std::mem::take(&mut self.path_mtus).into_iter();
        let learned: Vec<_> = learned.map(|path| (path, self.lookup(path.0))).collect();
        self.stack = stack;
        self.rebuild();
        let stay = learned
            .into_iter()
            .filter(|((destination, _), route)| self.lookup(*destination) == *route);
        self.path_mtus = stay.map(|(path, _)| path).collect();
    }

    /// Opens a flow's socket.
    pub fn open(&mut self, socket: Socket) {
        match socket.flow.transport {
            Transport::Tcp if socket.sender => {}
            Transport::Tcp => self.tcp.listen(&socket.flow, socket.seed),
            Transport::Icmp | Transport::Udp => self.sockets.push(socket),
        }
    }

    fn rebuild(&mut self) {
        self.fib = Fib::default();
        if self.stack.tables.is_some() {
            return;
        }
        for blackhole in &self.stack.blackholes {
            self.fib.insert(blackhole.destination, Target::Blackhole);
        }
        for (index, device) in self.stack.devices.iter().enumerate() {
            for address in device
                .config
                .addresses
                .iter()
                .filter(|net| net.prefix_len() < net.max_prefix_len())
            {
                let (gateway, mtu) = (None, None);
                self.fib.insert(address.trunc(), Target::Device { index, gateway, mtu });
            }
            for route in &device.config.routes {
                let (gateway, mtu) = (route.gateway, route.mtu);
                self.fib.insert(route.destination, Target::Device { index, gateway, mtu });
            }
        }
    }

    /// The route that wins for a destination.
    fn lookup(&self, destination: IpAddr) -> Option<(IpNet, Target)> {
        let Some(tables) = &self.stack.tables else {
            return self.fib.lookup(destination).map(|(net, target)| (net, *target));
        };
        let (_, route) = tables.lookup(destination)?;
        let target = match route.kind {
            RouteKind::Blackhole => Target::Blackhole,
            RouteKind::Local | RouteKind::Direct | RouteKind::Ipip | RouteKind::Vxlan | RouteKind::Host => Target::Device {
                index: self.stack.place_of(tables, route)?,
                gateway: route.gateway,
                mtu: route.mtu,
            },
        };
        Some((route.destination, target))
    }

    fn owns(&self, address: IpAddr) -> bool {
        self.addresses().any(|own| own == address)
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let nets = self.stack.devices.iter().flat_map(|device| device.config.addresses.iter());
        nets.map(|net| net.addr())
    }

    /// The application sends packet `sequence` of a flow.
    pub fn send(&mut self, now: Instant, id: FlowId, flow: &Flow, sequence: u32, out: &mut Output) {
        out.push(HostEvent::Flow {
            flow: id,
            at: now,
            event: FlowEvent::Sent { sequence },
        });
        let request = Request {
            source: flow.source,
            destination: flow.destination,
            protocol: probe::protocol_of(flow.transport, Family::of(flow.destination)),
            ttl: flow.ttl,
            dscp: flow.dscp,
            ecn: flow.ecn,
            discovery: flow.path_mtu_discovery,
        };
        let data = probe::payload(flow.source_port, sequence, flow.payload);
        let sent = self.send_ip(&request, out, |addresses| match flow.transport {
            Transport::Icmp => probe::echo_request(addresses, flow.source_port, sequence as u16, &data),
            Transport::Udp | Transport::Tcp => probe::datagram(addresses, (flow.source_port, flow.destination_port), &data),
        });
        if let Err(reason) = sent {
            let event = FlowEvent::SendRefused {
                direction: Direction::Forward,
                sequence,
                reason,
            };
            out.push(HostEvent::Flow {
                flow: id,
                at: now,
                event,
            });
        }
    }

    /// The device, source address and length of packets to a destination.
    fn path(&self, source: Option<IpAddr>, destination: IpAddr, discovery: PathMtuDiscovery) -> Result<Path, SendError> {
        let Some((_, Target::Device { index, mtu, .. })) = self.lookup(destination) else {
            return Err(SendError::NoRoute);
        };
        let device = self.stack.devices.get(index).ok_or(SendError::NoRoute)?;
        let same_family = |address: &IpAddr| address.is_ipv4() == destination.is_ipv4();
        let own = device.config.addresses.iter().map(|net| net.addr()).find(same_family);
        let source = source
            .or(own)
            .or_else(|| self.addresses().find(same_family))
            .ok_or(SendError::NoRoute)?;
        let link = device.config.mtu;
        let learned = self.path_mtus.get(&destination).copied();
        let path = [mtu, learned].into_iter().flatten().fold(link, Mtu::min);
        let mtu = if discovery == PathMtuDiscovery::Probe { link } else { path };
        Ok(Path {
            device: index,
            source,
            mtu,
        })
    }

    /// The IP output path: route, source address, size, fragments.
    fn send_ip(
        &mut self,
        request: &Request,
        out: &mut Output,
        transport: impl FnOnce(Addresses) -> Vec<u8>,
    ) -> Result<(), SendError> {
        let path = self.path(request.source, request.destination, request.discovery)?;
        let addresses = Addresses::new(path.source, request.destination).ok_or(SendError::NoRoute)?;
        let port = self.stack.devices.get(path.device).ok_or(SendError::NoRoute)?.port;
        let path = path.mtu;
        let transport = transport(addresses);
        let fits = path.fits(addresses.header_len() + transport.len());
        let dont_fragment = match request.discovery {
            PathMtuDiscovery::Dont => false,
            PathMtuDiscovery::Want => fits,
            PathMtuDiscovery::Do | PathMtuDiscovery::Probe if fits => true,
            PathMtuDiscovery::Do | PathMtuDiscovery::Probe => return Err(SendError::TooBig),
        };
        self.identification = self.identification.wrapping_add(1);
        let header = Header {
            protocol: request.protocol,
            ttl: request.ttl,
            dscp: request.dscp,
            ecn: request.ecn,
            dont_fragment,
            identification: self.identification,
        };
        let packet = Packet::from_bytes(&probe::packet(addresses, header, &transport));
        let mut pieces = Vec::new();
        if fits {
            pieces.push(packet);
        } else if split(&packet, path, self.identification.into(), &mut pieces).is_err() {
            return Err(SendError::TooBig);
        }
        out.extend(pieces.into_iter().map(|packet| HostEvent::Packet { port, packet }));
        Ok(())
    }

    /// A packet came in by one of the stack's devices.
    pub fn receive(&mut self, now: Instant, packet: Packet, out: &mut Output) {
        let Ok(ip) = IpView::parse(packet.bytes()) else { return };
        if !self.owns(ip.destination()) {
            return;
        }
        if !ip.is_fragment() {
            return self.deliver(now, &packet, out);
        }
        if let Reassembly::Complete(whole) = self.reassembler.push(now, packet) {
            self.deliver(now, &whole, out);
        }
    }

    fn deliver(&mut self, now: Instant, packet: &Packet, out: &mut Output) {
        let Ok(ip) = IpView::parse(packet.bytes()) else { return };
        match ip.protocol() {
            _ if ip.is_icmp() => self.receive_icmp(now, &ip, out),
            protocol::UDP => self.receive_udp(now, &ip, packet, out),
            protocol::TCP => self.receive_tcp(now, &ip, out),
            _ => self.answer_error(IcmpError::ProtocolUnreachable, &ip, packet, out),
        }
    }
}
