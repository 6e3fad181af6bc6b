//! An Azure virtual network: layer 3 only, and not every protocol.

use std::time::Duration;

use overlab_dataplane::Mtu;

use super::{AddressCheck, DefaultGroup, FragmentPolicy, GroupMatch, IdleTimes, Knobs, L2, NoRoute, Security};

/// Sources: Azure virtual networks FAQ (no layer 2, no multicast; TCP, UDP and ICMP only, IP in IP and GRE are blocked; UDP source
/// port 65330 is reserved; five addresses of a subnet are), traffic routing (private ranges outside the network lead nowhere;
/// IP forwarding is the interface's address check), TCP/IP performance tuning (1500 B at the machine, pieces at 1400 B, those out
/// of order are dropped). That drops are silent is inferred. The security group is the default one: everything within the network.
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
        protocols: &[1, 6, 17, 58],
        reserved_source_ports: &[65330],
        splits_at: Mtu::new(1400),
        router_splits: true,
        router_tells_size: false,
        fragments: FragmentPolicy::InOrder,
        security: Security {
            default: DefaultGroup::Underlay(Vec::new()),
            group_match: GroupMatch::SourceAddress,
            idle: IdleTimes {
                tcp: Duration::from_secs(240),
                datagrams: Duration::from_secs(240),
                others: Duration::from_secs(600),
            },
            tracks_icmp_errors: true,
        },
        route_quota: None,
        largest_mtu: 9000,
        reserved_addresses: 4,
        prefix_lengths: (8, 29),
        mtu: Mtu::new(1500).unwrap_or(Mtu::MIN),
        first_node: 11,
        delay_same_subnet: Duration::from_micros(250),
        delay_cross_subnet: Duration::from_micros(500),
    }
}
