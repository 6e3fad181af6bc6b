//! A Google Cloud VPC: layer 3 only, 1460 B, and a firewall that knows a few protocols.

use std::time::Duration;

use overlab_dataplane::Mtu;

use super::{AddressCheck, DefaultGroup, FragmentPolicy, GroupMatch, IdleTimes, Knobs, L2, NoRoute, Security};

/// Sources: Google Cloud VPC routes (routes belong to the VPC, the next hop is chosen by address), MTU (1460 B by default, no
/// splitting), firewalls (implied deny of ingress; the default network admits TCP, UDP and ICMP from its own addresses; TCP, UDP,
/// ICMP and IP in IP are carried at all). IP forwarding is the instance's address check, off by default. The fixed protocol list
/// is that of the older documents.
pub(super) fn knobs() -> Knobs {
    Knobs {
        l2: L2::None,
        no_route: NoRoute::Silent,
        router_decrements_ttl: false,
        address_check: AddressCheck {
            source: true,
            destination: true,
        },
        source_destination_check: true,
        protocols: &[1, 4, 6, 17, 58],
        reserved_source_ports: &[],
        splits_at: None,
        router_splits: false,
        router_tells_size: false,
        fragments: FragmentPolicy::Pass,
        security: Security {
            default: DefaultGroup::Underlay(vec![1, 6, 17, 58]),
            group_match: GroupMatch::SourceAddress,
            idle: IdleTimes {
                tcp: Duration::from_secs(600),
                datagrams: Duration::from_secs(600),
                others: Duration::from_secs(600),
            },
            tracks_icmp_errors: true,
        },
        route_quota: None,
        largest_mtu: 8896,
        reserved_addresses: 2,
        prefix_lengths: (8, 29),
        mtu: Mtu::new(1460).unwrap_or(Mtu::MIN),
        first_node: 11,
        delay_same_subnet: Duration::from_micros(150),
        delay_cross_subnet: Duration::from_micros(400),
    }
}
