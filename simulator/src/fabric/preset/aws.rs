//! An AWS VPC: an implicit router, subnets switched by MAC, a source/destination check and security groups on every interface.

use std::time::Duration;

use overlab_dataplane::Mtu;

use super::base::cloud;
use super::{DefaultGroup, GroupMatch, IdleTimes, Knobs, L2, Security};

/// Sources: AWS VPC user guide, "Subnet sizing" (the router is the subnet's first address, /16 to /28), "Network MTU" (9001 B
/// inside a VPC), "Elastic network interfaces" (source/destination checking, on by default), "Security groups" (stateful, by
/// protocol number; the default group admits its own members), "Security group connection tracking" (600 s for other protocols;
/// what both sides open to everybody is not tracked), "Quotas" (50 routes). That the implicit router does not show as a hop, and
/// drops in silence what it has no route for, is field experience. That a rule which names a group means the sending interface is
/// inferred from the notes on appliances. The allowance of fragments is documented and its number is not: 1024 is a placeholder.
/// Delays are half of the usual round-trip times of 0.25 ms within a zone and 0.9 ms between zones.
pub(super) fn knobs() -> Knobs {
    Knobs {
        l2: L2::MacSwitchedUnicast,
        fragment_rate: Some(1024),
        security: Security {
            default: DefaultGroup::Members,
            covers_routes: false,
            group_match: GroupMatch::SenderCard,
            idle: IdleTimes {
                tcp: Duration::from_secs(350),
                datagrams: Duration::from_secs(180),
                others: Duration::from_secs(600),
            },
            tracks_icmp_errors: false,
            leaves_open_flows_untracked: true,
            connections: None,
        },
        provider_id: Some("aws"),
        check_key: Some(("sourceDestCheck", false)),
        subnet_route_tables: true,
        route_quota: Some(50),
        largest_mtu: 9001,
        prefix_lengths: (16, 28),
        mtu: Mtu::new(9001).unwrap_or(Mtu::MIN),
        delay_same_subnet: Duration::from_micros(125),
        delay_cross_subnet: Duration::from_micros(450),
        ..cloud()
    }
}
