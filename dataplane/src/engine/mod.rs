//! The engine of a node: what it does with one packet, from its tables alone.
//!
//! ```text
//!  device ─► spoofed? ─► track ─► for this node? ── yes ─► reassemble ─► filter ─► tunnel packet? ── yes ─► decapsulate ─┐
//!                  (translates the     │ no                                         │ no                               │
//!                     destination)     ▼                                            ▼       (again, by the inner header)◄┘
//!                                    route ─► TTL ─► size ─► filter                deliver
//!                                                              ▼
//!  own stack ─► track ─► route ─► size ──────────────────► translate the source ─► encapsulate ─► transmit, or deliver
//! ```
//!
//! It reads no clock, keeps no packet but fragments, and never fails: a lost packet is an answer with a reason. Its own replies
//! (ICMP errors) take the output path like any other packet of the node.

mod answer;
mod conntrack;
mod drop;
mod filter;
mod nat;
mod output;
mod path;
mod receive;
mod reply;
mod service;
mod step;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::encap::{Ipip, Template, Vxlan, Wire};
use crate::route::{DeviceId, NodeTables, Route, RouteId, RouteKind};
use crate::wire::fragment::ReassemblyError;
use crate::wire::{IcmpError, IpView, Reassembler};
use crate::{Family, Instant, Packet, PerFamily, Tag};
use answer::{Answers, Via};
use conntrack::{Conntrack, Track};
use path::Paths;

pub use drop::DropReason;
pub use step::{IcmpKind, Layer, NatRule, Step};

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingress {
    /// From outside, through a device: a workload's, or a network card.
    Device(DeviceId),
    /// From the node's own stack.
    Host,
}

/// A packet that leaves the engine.
#[derive(Clone, Debug)]
pub enum Out {
    /// To the stack behind a device.
    Deliver {
        /// The device that it appears on.
        device: DeviceId,
        /// Whether it is for the workload behind the device, rather than for the node's own stack.
        workload: bool,
        /// The packet.
        packet: Packet,
    },
    /// Onto the wire.
    Transmit {
        /// The network card.
        device: DeviceId,
        /// The next hop, which stands for its MAC address.
        next_hop: IpAddr,
        /// The packet.
        packet: Packet,
    },
}

impl Out {
    /// The packet.
    pub fn packet(&self) -> &Packet {
        match self {
            Out::Deliver { packet, .. } | Out::Transmit { packet, .. } => packet,
        }
    }
}

/// Why, and at which device if at one, a packet was thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drop {
    /// The reason.
    pub reason: DropReason,
    /// The device whose rule or size it was.
    pub device: Option<DeviceId>,
}

/// What came of a packet. It is reused from packet to packet, so that nothing is allocated.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What left, fragments in order; ICMP errors of the node's own are among it, without a tag.
    pub out: Vec<Out>,
    /// Why it was lost, if it was.
    pub drop: Option<Drop>,
    /// What was done, in order.
    pub steps: Vec<Step>,
}

impl Outcome {
    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.out.clear();
        self.drop = None;
        self.steps.clear();
    }
}

/// Traffic of a node as its wires carry it: a super-packet counts as the packets that it stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Wire packets that left a network card.
    pub transmitted_packets: u64,
    /// Their IP bytes.
    pub transmitted_bytes: u64,
    /// Of these, the bytes of tunnel headers.
    pub overhead_bytes: u64,
    /// Packets that were thrown away; fragments that waited in vain count as the one packet that they were of.
    pub dropped_packets: u64,
}

/// What a tunnel route needs to encapsulate, built when the route is first taken.
#[derive(Debug)]
struct Tunnel {
    template: Template,
    /// The device's own part; IPIP has none.
    vxlan: Option<Vxlan>,
    /// The route of the tunnel packets to the far end; it may not lead into a tunnel itself.
    outer: Result<Via, DropReason>,
}

/// The engine of one node.
#[derive(Debug)]
pub struct Engine {
    tables: Arc<NodeTables>,
    /// By route: its tunnel, if it leads into one whose far end is known. Only routes that were taken are here.
    tunnels: BTreeMap<RouteId, Tunnel>,
    answers: Answers,
    wire: Wire,
    vxlan: PerFamily<Option<Vxlan>>,
    reassembler: Reassembler,
    limiter: reply::Limiter,
    paths: Paths,
    conntrack: Conntrack,
    /// What connection tracking says of the packet in hand.
    tracked: Track,
    /// Whether the packet in hand has kube-proxy's mark (0x4000) as it leaves, which a tunnel hands on.
    mark: bool,
    identification: u32,
    counters: Counters,
}

impl Engine {
    /// An engine with these tables, which does as Linux does.
    pub fn new(tables: Arc<NodeTables>) -> Engine {
        Engine::following(Wire::Linux, tables)
    }

    /// An engine with these tables, whose tunnels follow these rules.
    pub fn following(wire: Wire, tables: Arc<NodeTables>) -> Engine {
        let vxlan = PerFamily::from_fn(|family| {
            tables.vxlan.get(family).as_ref().map(|tunnel| Vxlan {
                vni: tunnel.vni,
                port: tables.vxlan_port,
                mac: tunnel.mac,
                local: tunnel.local,
                wire,
            })
        });
        Engine {
            tables,
            tunnels: BTreeMap::new(),
            answers: Answers::default(),
            wire,
            vxlan,
            reassembler: Reassembler::default(),
            limiter: reply::Limiter::default(),
            paths: Paths::default(),
            conntrack: Conntrack::default(),
            tracked: Track::Untracked,
            mark: false,
            identification: 0,
            counters: Counters::default(),
        }
    }

    /// The tables that it works from.
    pub fn tables(&self) -> &Arc<NodeTables> {
        &self.tables
    }

    /// Works from other tables from here on; waiting fragments, limits and connections stay but for those that are masqueraded as
    /// an address that the node loses, and of UDP to endpoints that
    /// are gone, and what was learned of paths whose routes stay.
    pub fn set_tables(&mut self, tables: Arc<NodeTables>) {
        self.paths.follow(&self.tables, &tables);
        self.forget_masqueraded(&tables);
        self.forget_served(&tables);
        let next = Engine::following(self.wire, tables);
        (self.tables, self.tunnels, self.answers, self.vxlan) = (next.tables, next.tunnels, next.answers, next.vxlan);
    }

    /// What it has sent and thrown away.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Handles one packet; `outcome` is overwritten.
    pub fn handle(&mut self, now: Instant, from: Ingress, packet: Packet, outcome: &mut Outcome) {
        outcome.clear();
        match from {
            Ingress::Device(device) => self.receive(now, device, packet, outcome),
            Ingress::Host => self.originate(now, packet, outcome),
        }
        self.counters.dropped_packets += u64::from(outcome.drop.is_some());
    }

    /// When waiting fragments are next given up.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.reassembler.next_deadline()
    }

    /// Gives up fragments that have waited too long, and returns their tags; ICMP errors about them are in `outcome`, which is
    /// overwritten. Nobody is told where the first one is missing.
    ///
    /// Source: RFC 1122 section 3.3.2; RFC 8200 section 4.5.
    pub fn expire(&mut self, now: Instant, outcome: &mut Outcome) -> Vec<Tag> {
        outcome.clear();
        let mut tags = Vec::new();
        for failure in self.reassembler.expire(now) {
            self.counters.dropped_packets += 1;
            tags.extend(failure.fragments.iter().map(Packet::tag));
            if failure.reason == ReassemblyError::Timeout
                && let Some(first) = failure.fragments.first()
                && IpView::unverified(first.bytes()).is_ok_and(|view| view.fragment_offset() == 0)
            {
                self.reply(now, IcmpError::ReassemblyTimeout, first.bytes(), outcome);
            }
        }
        tags
    }

    /// The tunnel of a route is built if it is not there yet.
    fn open_tunnel(&mut self, id: RouteId) {
        if !self.tunnels.contains_key(&id)
            && let Some(route) = self.tables.route(id)
            && let Some((template, vxlan)) = tunnel(&self.tables, &self.vxlan, route)
        {
            let template = template.following(self.wire);
            let outer = self.outer_route(template.destination());
            self.tunnels.insert(id, Tunnel { template, vxlan, outer });
        }
    }

    fn drop_packet(outcome: &mut Outcome, reason: DropReason, device: Option<DeviceId>) {
        outcome.drop = Some(Drop { reason, device });
    }
}

fn tunnel(tables: &NodeTables, vxlan: &PerFamily<Option<Vxlan>>, route: &Route) -> Option<(Template, Option<Vxlan>)> {
    match (route.kind, route.gateway?) {
        (RouteKind::Ipip, IpAddr::V4(destination)) => match tables.source_for(IpAddr::V4(destination))? {
            IpAddr::V4(source) => Some((Ipip::template(source, destination), None)),
            IpAddr::V6(_) => None,
        },
        (RouteKind::Vxlan, gateway) => {
            let family = Family::of_net(route.destination);
            let vtep = tables.vxlan.get(family).as_ref()?.remote(gateway)?;
            let vxlan = (*vxlan.get(family))?;
            Some((vxlan.template(vtep.node_address, vtep.mac)?, Some(vxlan)))
        }
        _ => None,
    }
}
