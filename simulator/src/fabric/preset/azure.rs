//! An Azure virtual network: layer 3 only, and not every protocol.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use overlab_dataplane::Mtu;

use super::base::cloud;
use super::{DefaultGroup, FragmentPolicy, IdleTimes, Knobs, L2, Security};

/// Sources: Azure virtual networks FAQ (no layer 2, no multicast; TCP, UDP and ICMP only, IP in IP and GRE are blocked; UDP source
/// port 65330 is reserved; five addresses of a subnet are), traffic routing (private ranges outside the network lead nowhere;
/// IP forwarding is the interface's address check), TCP/IP performance tuning (1500 B at the machine, fragments at 1400 B, those out
/// of order are dropped). That drops are silent is inferred. The security group is the default one: everything within
/// the network, which by the page on service tags includes what is peered and what user-defined routes lead to.
pub(super) fn knobs() -> Knobs {
    Knobs {
        l2: L2::None,
        protocols: vec![1, 6, 17, 58],
        reserved_source_ports: vec![65330],
        splits_at: Mtu::new(1400),
        router_tells_size: false,
        fragment_policy: FragmentPolicy::InOrder,
        security: Security {
            default: DefaultGroup::Underlay(Vec::new()),
            covers_routes: true,
            idle: IdleTimes {
                tcp: Duration::from_secs(240),
                datagrams: Duration::from_secs(240),
                others: Duration::from_secs(600),
            },
            ..cloud().security
        },
        provider_id: Some("azure"),
        check_key: Some(("ipForwarding", true)),
        subnet_route_tables: true,
        provides_routes: true,
        leads_nowhere: vec![
            Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
            Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
            Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
            Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
        ],
        delay_same_subnet: Duration::from_micros(250),
        delay_cross_subnet: Duration::from_micros(500),
        ..cloud()
    }
}
