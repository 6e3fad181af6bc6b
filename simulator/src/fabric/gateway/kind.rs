//! The kinds of what joins underlays, as data.

use overlab_dataplane::Mtu;

/// What joins underlays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GatewayKind {
    /// Two virtual networks of a provider, side by side and no further.
    Peering,
    /// A provider's routed hub.
    TransitGateway,
    /// The way to the internet, for interfaces that have a public address.
    InternetGateway,
    /// The way to the internet, for many behind one public address.
    NatGateway,
    /// A router between networks whose routers tell each other all that they know.
    Router,
    /// Such a router that judges what it passes on.
    Firewall,
}

/// How a kind treats packets, unless the scenario says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayKnobs {
    /// The longest packet that it takes; none for what its underlays carry.
    pub mtu: Option<Mtu>,
    /// The protocols that it carries, by number; none for all.
    pub protocols: Vec<u8>,
    /// Whether it splits what is too long and has DF clear.
    pub splits: bool,
    /// Whether the sender is told of what was too long.
    pub tells_size: bool,
    /// Whether it takes one from the TTL.
    pub decrements_ttl: bool,
}

impl GatewayKind {
    /// Every kind with its name.
    pub const ALL: &[(&str, GatewayKind)] = &[
        ("peering", GatewayKind::Peering),
        ("transitGateway", GatewayKind::TransitGateway),
        ("internetGateway", GatewayKind::InternetGateway),
        ("natGateway", GatewayKind::NatGateway),
        ("router", GatewayKind::Router),
        ("firewall", GatewayKind::Firewall),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        let named = GatewayKind::ALL.iter().find(|(_, kind)| *kind == self);
        named.map_or("", |(name, _)| name)
    }

    /// Whether the routers that it joins tell each other their routes.
    pub fn exchanges_routes(self) -> bool {
        matches!(self, GatewayKind::Router | GatewayKind::Firewall)
    }

    /// Sources: AWS VPC user guide, "Internet gateways" (1500 B), "NAT gateways" (TCP, UDP and ICMP); AWS Transit Gateway guide
    /// (8500 B; too big packets are answered since November 2024); AWS EC2 user guide, "Network MTU"; RFC 1812. That a transit
    /// gateway does not split, and that an internet gateway carries no other protocols than a NAT gateway, is inferred.
    pub fn knobs(self) -> GatewayKnobs {
        let whole = GatewayKnobs {
            mtu: None,
            protocols: Vec::new(),
            splits: true,
            tells_size: true,
            decrements_ttl: false,
        };
        match self {
            GatewayKind::Peering => whole,
            GatewayKind::TransitGateway => GatewayKnobs {
                mtu: Mtu::new(8500),
                splits: false,
                ..whole
            },
            GatewayKind::InternetGateway | GatewayKind::NatGateway => GatewayKnobs {
                mtu: Mtu::new(1500),
                protocols: vec![1, 6, 17, 58],
                ..whole
            },
            GatewayKind::Router | GatewayKind::Firewall => GatewayKnobs {
                decrements_ttl: true,
                ..whole
            },
        }
    }
}
