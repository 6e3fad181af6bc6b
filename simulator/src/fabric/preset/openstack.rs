//! Virtual machines on Neutron networks: segments and a router as in a data centre, with port security on every port.

use std::time::Duration;

use overlab_dataplane::Mtu;

use super::{AddressCheck, DefaultGroup, FragmentPolicy, GroupMatch, IdleTimes, Knobs, L2, NoRoute, Security};

/// Sources: OpenStack Neutron port security and allowed address pairs (a port sends with its own addresses only; the check is the
/// source's), security groups (the default group admits its members). Tenant networks are often VXLAN themselves, which leaves
/// 1450 B.
pub(super) fn knobs() -> Knobs {
    Knobs {
        l2: L2::BroadcastDomain,
        no_route: NoRoute::NetUnreachable,
        router_decrements_ttl: true,
        address_check: AddressCheck {
            source: true,
            destination: false,
        },
        source_destination_check: true,
        protocols: &[],
        reserved_source_ports: &[],
        splits_at: None,
        router_splits: true,
        router_tells_size: true,
        fragments: FragmentPolicy::Pass,
        security: Security {
            default: DefaultGroup::Members,
            group_match: GroupMatch::SourceAddress,
            idle: IdleTimes {
                tcp: Duration::from_secs(432000),
                datagrams: Duration::from_secs(120),
                others: Duration::from_secs(600),
            },
            tracks_icmp_errors: true,
        },
        route_quota: None,
        largest_mtu: 9000,
        reserved_addresses: 2,
        prefix_lengths: (8, 29),
        mtu: Mtu::new(1450).unwrap_or(Mtu::MIN),
        first_node: 11,
        delay_same_subnet: Duration::from_micros(100),
        delay_cross_subnet: Duration::from_micros(200),
    }
}
