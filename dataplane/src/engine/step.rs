//! What an engine says it did: every step with its reason, in terms of the node's own tables.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::encap::Encap;
use crate::route::{DeviceId, RouteId};
use crate::wire::translate::End;

/// Which header of an encapsulated packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The packet as the workload sent it.
    Inner,
    /// The tunnel packet around it.
    Outer,
}

/// An ICMP error that an engine sends, in the numbers of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IcmpKind {
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// The next-hop MTU of a "fragmentation needed" (3/4) or "packet too big" (ICMPv6 2/0).
    pub mtu: Option<u16>,
}

/// Which rule translates a connection.
///
/// Source: Calico felix/rules/nat.go, makeNATOutgoingRuleIPTables; felix/rules/static.go, StaticNATPostroutingChains; Kubernetes
/// pkg/proxy/iptables/proxier.go, syncProxyRules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NatRule {
    /// natOutgoing: it comes from this range of a pool, and goes to no pool.
    Outgoing {
        /// The range that holds the source.
        pool: IpNet,
    },
    /// It leaves by a tunnel with an address of the node that is not the tunnel's.
    TunnelSource,
    /// It goes to the cluster IP of a service, and is sent to one of its endpoints.
    Service,
    /// kube-proxy masquerades it: it went to a service, from an address in no pool or from the endpoint itself; or it is a tunnel
    /// packet around one such, which still has the mark.
    ServiceMasquerade,
}

/// One thing that an engine did with a packet. Routes and devices are those of the node's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The packet came in by a device.
    Received {
        /// The device.
        device: DeviceId,
    },
    /// The node itself sent the packet.
    Originated,
    /// Fragments were joined into this packet.
    Reassembled {
        /// Its length in bytes.
        length: u16,
    },
    /// The tunnel's source is on the allow-list.
    TunnelSourceAllowed {
        /// The outer source.
        source: IpAddr,
    },
    /// A tunnel header was removed.
    Decapsulated {
        /// Which.
        encap: Encap,
        /// The device that the inner packet appears on.
        device: DeviceId,
        /// The bytes removed.
        overhead: u16,
    },
    /// A route won for the destination.
    Routed {
        /// The destination that was looked up.
        destination: IpAddr,
        /// The route.
        route: RouteId,
    },
    /// The destination lies in a pool, yet no route of the cluster covers it: the host's own routes decide.
    NoClusterRoute,
    /// An address was replaced, and perhaps a port: the source as the connection's packets leave, the destination as answers
    /// come back; for services the other way round.
    Translated {
        /// Which end of the packet.
        end: End,
        /// The end before; the port is an echo's identifier for ICMP, and 0 for protocols without ports.
        from: SocketAddr,
        /// The end after.
        to: SocketAddr,
        /// The rule that decided it, on the connection's first packet.
        rule: NatRule,
    },
    /// It goes to the cluster IP of a service that has no endpoint, and is refused.
    NoEndpoint {
        /// The cluster IP and port.
        called: SocketAddr,
    },
    /// The kernel left the UDP checksum of a translated tunnel packet as it was, which is wrong now.
    ChecksumSpoiled,
    /// One was taken from the TTL.
    TtlDecremented {
        /// What is left.
        left: u8,
    },
    /// The packet was split.
    Fragmented {
        /// Before or after encapsulation.
        layer: Layer,
        /// Into how many.
        pieces: u16,
        /// To fit this MTU.
        mtu: u16,
    },
    /// A tunnel header was put in front.
    Encapsulated {
        /// Which.
        encap: Encap,
        /// The route that leads into the tunnel.
        route: RouteId,
        /// The outer source.
        source: IpAddr,
        /// The outer destination.
        destination: IpAddr,
        /// The bytes added.
        overhead: u16,
    },
    /// The node learned how much passes to a destination: the far end of a tunnel, from an ICMP error about a tunnel packet, or
    /// the inner destination, from a packet that did not fit into its tunnel.
    PathMtuLearned {
        /// The destination.
        destination: IpAddr,
        /// The largest packet that passes, in bytes of IP.
        mtu: u16,
    },
    /// The packet was handed to a workload or to the node's own stack, through a device.
    Delivered {
        /// The device.
        device: DeviceId,
        /// Whether it went to the workload behind it.
        workload: bool,
    },
    /// The packet left from a network card.
    Transmitted {
        /// The card.
        device: DeviceId,
        /// The next hop, which stands for its MAC.
        next_hop: IpAddr,
    },
    /// An ICMP error was sent about the packet.
    IcmpSent {
        /// Which.
        icmp: IcmpKind,
        /// To whom.
        to: IpAddr,
    },
    /// An ICMP error was due, but the limit of errors to this receiver was used up.
    IcmpSuppressed,
}
