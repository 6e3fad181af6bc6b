//! The trace of a packet: every hop that it took, every step of every hop, and how it ended.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use overlab_dataplane::Instant;
use overlab_dataplane::encap::Encap;
use overlab_dataplane::engine;
use overlab_dataplane::route::NodeTables;

use super::DropReason;
use crate::scenario::FlowId;

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the flow's sender.
    Forward,
    /// From the flow's receiver.
    Reverse,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Direction::Forward => "forward",
            Direction::Reverse => "reverse",
        })
    }
}

/// The identity of a packet that an application sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PacketKey {
    /// Its flow.
    pub flow: FlowId,
    /// Which way it goes.
    pub direction: Direction,
    /// Its number within the flow and direction, from 0. A reply has the number of its request.
    pub sequence: u32,
}

/// Everything that is known of one packet.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Which packet.
    pub key: PacketKey,
    /// When it was sent; for a reply too, its own time.
    pub sent_at: Instant,
    /// The send time of the request that it belongs to; its own for a forward packet. It decides the window.
    pub window_at: Instant,
    /// Its IP length as sent, in bytes.
    pub size: usize,
    /// Where it was, in order.
    pub hops: Vec<Hop>,
    /// The wire packets of its first hop: as they left the network card of the sender's node, before the fabric judged them.
    pub first_hop: Vec<WirePacket>,
    /// ICMP errors about it that reached a stack.
    pub icmp_errors: Vec<IcmpSeen>,
    /// The source address that the destination saw.
    pub source_seen: Option<IpAddr>,
    /// How it ended.
    pub disposition: Disposition,
}

/// How a packet ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Its destination socket got it whole.
    Delivered {
        /// When.
        at: Instant,
    },
    /// It was lost.
    Dropped {
        /// Why.
        reason: DropReason,
        /// Where.
        place: Place,
        /// When.
        at: Instant,
    },
    /// Nothing tells: it reached a stack outside what is simulated, which never said what it did with it.
    Unknown,
}

/// The kind of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlaceKind {
    /// A workload's stack.
    Workload,
    /// A node's engine or own stack.
    Node,
    /// A host outside the cluster.
    Host,
    /// A device of a node: `node/device`.
    Device,
    /// The fabric's port of a node's network card: `node/eni`.
    Eni,
    /// A subnet of an underlay: `underlay/subnet`.
    Subnet,
    /// The router of an underlay.
    Router,
    /// A fault of the timeline.
    Fault,
}

/// Where something happened, in the spelling that scenarios use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// What it is.
    pub kind: PlaceKind,
    /// Its name.
    pub name: Arc<str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

/// One place that a packet was at, and what happened to it there.
#[derive(Clone, Debug)]
pub struct Hop {
    /// When it came.
    pub at: Instant,
    /// Where.
    pub place: Place,
    /// Whether it came as a fragment other than the first.
    pub later_fragment: bool,
    /// What happened, in order.
    pub steps: Vec<Step>,
    /// The outermost header as the fabric had it there; none where it is no place of the fabric, and [`Hop::left`] tells.
    pub outer: Option<IpHeader>,
    /// The tables that the steps of a node refer to.
    pub tables: Option<Arc<NodeTables>>,
    /// The packet or packets as they left, outermost header first.
    pub left: Vec<WirePacket>,
}

impl Hop {
    /// A whole packet at a place where nothing has happened to it yet.
    pub fn at(at: Instant, place: Place) -> Hop {
        Hop {
            at,
            place,
            later_fragment: false,
            steps: Vec::new(),
            outer: None,
            tables: None,
            left: Vec::new(),
        }
    }
}

/// One thing that happened to a packet.
#[derive(Clone, Debug)]
pub enum Step {
    /// In a node's engine; it refers to [`Hop::tables`].
    Engine(engine::Step),
    /// In the fabric, as a sentence fragment: `switched to a2`, `routed to az-b`.
    Fabric(String),
    /// In a stack outside what is simulated: `echo request answered`.
    Stack(String),
    /// It was lost here.
    Dropped(DropReason),
}

/// The headers of one wire packet, as an independent reader found them in its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WirePacket {
    /// IP bytes.
    pub length: usize,
    /// How it is encapsulated.
    pub encap: Encap,
    /// The outermost IP header.
    pub outer: IpHeader,
    /// The ports of the outermost UDP header, if there is one.
    pub ports: Option<(u16, u16)>,
    /// The VXLAN network identifier.
    pub vni: Option<u32>,
    /// The inner IP header, if it is encapsulated.
    pub inner: Option<IpHeader>,
    /// The whole header stack as one line.
    pub line: String,
}

/// The fields of an IP header that expectations speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The protocol number.
    pub protocol: u8,
    /// The TTL or hop limit.
    pub ttl: u8,
    /// The don't-fragment bit, which IPv6 has not.
    pub dont_fragment: Option<bool>,
    /// The six DSCP bits.
    pub dscp: u8,
    /// The two ECN bits.
    pub ecn: u8,
    /// The flow label of IPv6.
    pub flow_label: Option<u32>,
    /// Whether it is a fragment, and not the first one.
    pub later_fragment: bool,
    /// Whether it is a fragment at all.
    pub fragment: bool,
}

/// An ICMP error that reached a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpSeen {
    /// When.
    pub at: Instant,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// The next-hop MTU of a "fragmentation needed".
    pub mtu: Option<u16>,
    /// The error's source address.
    pub from: IpAddr,
    /// The stack that it reached.
    pub to: Place,
}

impl Trace {
    /// Whether nothing tells how it ended because it was on the wires when the run did: it last left a place, or is at one where
    /// packets only pass.
    pub fn is_under_way(&self) -> bool {
        let passes = |hop: &Hop| {
            !hop.left.is_empty() || !matches!(hop.place.kind, PlaceKind::Workload | PlaceKind::Node | PlaceKind::Host)
        };
        self.disposition == Disposition::Unknown && self.hops.last().is_some_and(passes)
    }

    /// The workloads, machines, subnets and routers that the packet passed, in order. Of a packet that was split, the first
    /// fragment tells.
    pub fn path(&self) -> Vec<&str> {
        let mut path: Vec<&str> = Vec::new();
        for hop in self.hops.iter().filter(|hop| !hop.later_fragment) {
            let counts = !matches!(hop.place.kind, PlaceKind::Device | PlaceKind::Eni | PlaceKind::Fault);
            if counts && path.last() != Some(&&*hop.place.name) {
                path.push(&hop.place.name);
            }
        }
        path
    }
}
