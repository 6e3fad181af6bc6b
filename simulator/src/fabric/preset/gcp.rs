//! A Google Cloud VPC: layer 3 only, 1460 B, and a firewall that knows a few protocols.

use std::time::Duration;

use overlab_dataplane::Mtu;

use super::base::cloud;
use super::{DefaultGroup, IdleTimes, Knobs, L2, Security};

/// Sources: Google Cloud VPC routes (routes belong to the VPC, the next hop is chosen by address), MTU (1460 B by default, no
/// splitting), firewalls (implied deny of ingress; the default network admits TCP, UDP and ICMP from its own addresses; TCP, UDP,
/// ICMP and IP in IP are carried at all). IP forwarding is the instance's address check, off by default. The fixed protocol list
/// is that of the older documents.
pub(super) fn knobs() -> Knobs {
    Knobs {
        l2: L2::None,
        protocols: vec![1, 4, 6, 17, 58],
        router_splits: false,
        router_tells_size: false,
        security: Security {
            default: DefaultGroup::Underlay(vec![1, 6, 17, 58]),
            idle: IdleTimes {
                tcp: Duration::from_secs(600),
                datagrams: Duration::from_secs(600),
                others: Duration::from_secs(600),
            },
            ..cloud().security
        },
        provider_id: Some("gce"),
        check_key: Some(("canIpForward", true)),
        provides_routes: true,
        largest_mtu: 8896,
        reserved_addresses: 2,
        mtu: Mtu::new(1460).unwrap_or(Mtu::MIN),
        delay_same_subnet: Duration::from_micros(150),
        delay_cross_subnet: Duration::from_micros(400),
        ..cloud()
    }
}
