//! What the presets have in common; a preset is what it does otherwise.

use std::time::Duration;

use overlab_dataplane::Mtu;

use super::{AddressCheck, DefaultGroup, FragmentPolicy, GroupMatch, IdleTimes, Knobs, L2, NoRoute, RpFilter, Security};

/// An ordinary IP network: Ethernet segments, a router that follows RFC 1812, nobody who inspects a packet.
///
/// Sources: RFC 1812 (TTL, net unreachable, fragmentation), RFC 894 (1500 B on Ethernet). The delays are typical of switches and
/// routers in one room, the times of idle connections those of Linux.
pub(super) fn network() -> Knobs {
    Knobs {
        l2: L2::BroadcastDomain,
        no_route: NoRoute::NetUnreachable,
        rp_filter: RpFilter::Off,
        router_decrements_ttl: true,
        address_check: AddressCheck {
            source: false,
            destination: false,
        },
        source_destination_check: false,
        protocols: Vec::new(),
        reserved_source_ports: Vec::new(),
        blocked_udp_ports: Vec::new(),
        splits_at: None,
        drops_df_above: None,
        router_splits: true,
        router_tells_size: true,
        icmp_quote: None,
        clears_dscp: false,
        breaks_inner_checksums: false,
        fragment_policy: FragmentPolicy::Pass,
        fragment_rate: None,
        flow_rate: None,
        security: Security {
            default: DefaultGroup::Open,
            covers_routes: false,
            group_match: GroupMatch::SourceAddress,
            idle: IdleTimes {
                tcp: Duration::from_secs(432_000),
                datagrams: Duration::from_secs(120),
                others: Duration::from_secs(600),
            },
            tracks_icmp_errors: true,
            leaves_open_flows_untracked: false,
            connections: None,
        },
        provider_id: None,
        check_key: None,
        known_as_a_whole: false,
        subnet_route_tables: false,
        provides_routes: false,
        leads_nowhere: Vec::new(),
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

/// A cloud's virtual network: routed by the provider, unseen and without a word, and every interface held to its own addresses.
pub(super) fn cloud() -> Knobs {
    Knobs {
        no_route: NoRoute::Silent,
        router_decrements_ttl: false,
        address_check: AddressCheck {
            source: true,
            destination: true,
        },
        source_destination_check: true,
        known_as_a_whole: true,
        largest_mtu: 9000,
        reserved_addresses: 4,
        ..network()
    }
}
