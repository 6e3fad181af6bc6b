//! A data centre: L2 segments (racks) joined by a router that was told nothing about workloads.
//!
//! Not here: several routers, BGP to the top of the rack, firewalls.

use std::time::Duration;

use overlab_dataplane::Mtu;

use super::{Knobs, L2, NoRoute};

/// Sources: RFC 1812 (TTL, net unreachable), RFC 894 (1500 B on Ethernet). The delays are typical of switches and routers in
/// one room.
pub(super) fn knobs() -> Knobs {
    Knobs {
        l2: L2::BroadcastDomain,
        no_route: NoRoute::NetUnreachable,
        router_decrements_ttl: true,
        source_destination_check: false,
        mtu: Mtu::new(1500).unwrap_or(Mtu::MIN),
        first_node: 11,
        delay_same_subnet: Duration::from_micros(50),
        delay_cross_subnet: Duration::from_micros(100),
    }
}
