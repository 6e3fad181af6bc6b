//! A data centre: L2 segments (racks) joined by a router that was told nothing about workloads.

use std::time::Duration;

use overlab_dataplane::Mtu;

use super::{AddressCheck, DefaultGroup, FragmentPolicy, GroupMatch, IdleTimes, Knobs, L2, NoRoute, Security};

/// Sources: RFC 1812 (TTL, net unreachable), RFC 894 (1500 B on Ethernet). The delays are typical of switches and routers in
/// one room.
pub(super) fn knobs() -> Knobs {
    Knobs {
        l2: L2::BroadcastDomain,
        no_route: NoRoute::NetUnreachable,
        router_decrements_ttl: true,
        address_check: AddressCheck {
            source: false,
            destination: false,
        },
        source_destination_check: false,
        protocols: &[],
        reserved_source_ports: &[],
        splits_at: None,
        router_splits: true,
        router_tells_size: true,
        fragments: FragmentPolicy::Pass,
        security: Security {
            default: DefaultGroup::Open,
            group_match: GroupMatch::SourceAddress,
            idle: IdleTimes {
                tcp: Duration::from_secs(432000),
                datagrams: Duration::from_secs(120),
                others: Duration::from_secs(600),
            },
            tracks_icmp_errors: true,
        },
        route_quota: None,
        largest_mtu: u16::MAX,
        reserved_addresses: 2,
        prefix_lengths: (8, 29),
        mtu: Mtu::new(1500).unwrap_or(Mtu::MIN),
        first_node: 11,
        delay_same_subnet: Duration::from_micros(50),
        delay_cross_subnet: Duration::from_micros(100),
    }
}
