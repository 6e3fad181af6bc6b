//! Cluster IPs of services, as kube-proxy has the kernel translate them in its iptables mode: to which endpoint the first packet
//! of a connection goes, whether it is marked to be masqueraded, and what becomes of the mark in a tunnel.
//!
//! Source: Kubernetes pkg/proxy/iptables/proxier.go, syncProxyRules.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::answer::Via;
use super::conntrack::{First, Track, Tuple};
use super::nat::{draw, port_of};
use super::{DropReason, Engine, NatRule, Outcome, Step};
use crate::route::{NodeTables, ServicePort, ServiceProtocol};
use crate::wire::ipv4::protocol;
use crate::wire::translate::{End, set_end, transport_checksum};
use crate::wire::{IcmpError, IpView};
use crate::{Family, Instant, Packet};

impl Engine {
    /// Sends the first packet of a connection to an endpoint, if it is for a service. False if the service has none: the packet is
    /// lost then, and its sender told.
    #[inline]
    pub(super) fn serve(&mut self, now: Instant, packet: &mut Packet, outcome: &mut Outcome) -> bool {
        if let Track::New(first) = self.tracked
            && !self.tables.services.is_empty()
        {
            return self.serve_first(now, first, packet, outcome);
        }
        true
    }

    fn serve_first(&mut self, now: Instant, first: First, packet: &mut Packet, outcome: &mut Outcome) -> bool {
        let Some(port) = self.service_port(first.tuple) else {
            return true;
        };
        let called = SocketAddr::new(first.tuple.destination, first.tuple.ports.1);
        let Some(endpoint) = choose(port, first.tuple) else {
            outcome.steps.push(Step::NoEndpoint { called });
            Engine::drop_packet(outcome, DropReason::NoListener, None);
            self.reply(now, IcmpError::PortUnreachable, packet.bytes(), outcome);
            return false;
        };
        let tuple = Tuple {
            destination: endpoint.ip(),
            ports: (first.tuple.ports.0, endpoint.port()),
            ..first.tuple
        };
        // Without its `--cluster-cidr` the pools stand for the addresses of pods.
        let marked = tuple.source == tuple.destination || !self.tables.is_in_pool(tuple.source);
        self.tracked = Track::New(First { tuple, marked, ..first });
        set_end(
            packet.bytes_mut(),
            End::Destination,
            endpoint.ip(),
            port_of(tuple, endpoint.port()),
        );
        outcome.steps.push(Step::Translated {
            end: End::Destination,
            from: called,
            to: endpoint,
            rule: NatRule::Service,
        });
        true
    }

    /// Gives the first packet of a connection that is not to begin the cluster IP back.
    pub(super) fn give_cluster_ip_back(&self, packet: &mut Packet) {
        if let Track::New(First { original, .. }) = self.tracked {
            let port = port_of(original, original.ports.1);
            set_end(packet.bytes_mut(), End::Destination, original.destination, port);
        }
    }

    fn service_port(&self, tuple: Tuple) -> Option<&ServicePort> {
        let protocol = match tuple.protocol {
            protocol::TCP => ServiceProtocol::Tcp,
            protocol::UDP => ServiceProtocol::Udp,
            _ => return None,
        };
        self.tables.services.at(tuple.destination, protocol, tuple.ports.1)
    }

    /// Forgets UDP connections to endpoints that their service does not have by these tables. TCP goes on to where it went.
    ///
    /// Source: Kubernetes pkg/proxy/conntrack/cleanup.go.
    pub(super) fn forget_served(&mut self, after: &NodeTables) {
        if Arc::ptr_eq(&self.tables.services, &after.services) {
            return;
        }
        self.conntrack.retain(|connection| {
            let (called, serves) = (connection.original, connection.reply);
            let endpoint = SocketAddr::new(serves.source, serves.ports.0);
            let is_sent_on = (called.destination, called.ports.1) != (endpoint.ip(), endpoint.port());
            let at = after.services.at(called.destination, ServiceProtocol::Udp, called.ports.1);
            !is_sent_on || called.protocol != protocol::UDP || at.is_some_and(|port| port.endpoints.contains(&endpoint))
        });
    }

    /// Whether the node's own VXLAN packets may be translated: they are tracked, and there are services, for whose sake packets are
    /// marked.
    pub(super) fn may_translate_vxlan(&self, family: Family) -> bool {
        !self.tables.services.is_empty() && !*self.tables.vxlan_untracked.get(family)
    }

    /// Takes a VXLAN packet through the rules for what the node sends. It has the mark of the packet inside, and is the first of a
    /// connection of its own. False if it is lost.
    ///
    /// Source: Linux net/ipv4/ip_tunnel_core.c, iptunnel_xmit, which keeps the mark within a namespace.
    pub(super) fn translate_vxlan(&mut self, now: Instant, outer: Via, packet: &mut Packet, outcome: &mut Outcome) -> bool {
        let Some(device) = outer.device else { return true };
        let inner = (self.tracked, self.mark);
        self.tracked = match IpView::unverified(packet.bytes()).map(|view| self.conntrack.find(now, &view)) {
            Ok(Track::New(first)) => Track::New(First {
                marked: self.mark,
                ..first
            }),
            Ok(track) => track,
            Err(_) => Track::Untracked,
        };
        let (checksum, steps) = (transport_checksum(packet.bytes_mut()).map(|sum| *sum), outcome.steps.len());
        let passed = self.postrouting(now, device, outer.gateway, packet, outcome);
        (self.tracked, self.mark) = inner;
        let translated = outcome.steps.len() > steps;
        if translated && self.tables.spoils_translated_vxlan && packet.segmentation().is_none() {
            spoil(packet, checksum);
            outcome.steps.push(Step::ChecksumSpoiled);
        }
        passed
    }
}

/// Leaves the checksum as it was before the port changed. One that said that there is none becomes one.
///
/// Source: Linux net/netfilter/nf_nat_proto.c, udp_manip_pkt, and net/core/utils.c, inet_proto_csum_replace4, for a packet whose inner
/// checksum is left to the card.
fn spoil(packet: &mut Packet, before: Option<[u8; 2]>) {
    if let Some((sum, before)) = transport_checksum(packet.bytes_mut()).zip(before) {
        *sum = if before == [0, 0] { [0xff, 0xff] } else { before };
    }
}

/// The endpoint that a connection goes to: always the same, where Linux draws.
fn choose(port: &ServicePort, tuple: Tuple) -> Option<SocketAddr> {
    let of = if port.by_client {
        Tuple::of_client(tuple.source)
    } else {
        tuple
    };
    let count = u32::try_from(port.endpoints.len()).unwrap_or(u32::MAX);
    port.endpoints.get(draw(of, count) as usize).copied()
}

impl Tuple {
    /// What all connections of a client have in common.
    fn of_client(client: IpAddr) -> Tuple {
        Tuple {
            source: client,
            destination: client,
            protocol: 0,
            ports: (0, 0),
        }
    }
}
