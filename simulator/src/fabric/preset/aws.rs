//! An AWS VPC: an implicit router, subnets switched by MAC, and a source/destination check on every interface.
//!
//! Not here: security groups other than the default one, network ACLs, peering, gateways.

use std::time::Duration;

use overlab_dataplane::Mtu;

use super::{Knobs, L2, NoRoute};

/// Sources: AWS VPC user guide, "Subnet sizing" (the router is the subnet's first address), "Network MTU" (9001 B inside a VPC),
/// "Elastic network interfaces" (source/destination checking, on by default). That the implicit router does not show as a hop,
/// and drops in silence what it has no route for, is field experience. Delays are half of the usual round-trip times of 0.25 ms
/// within a zone and 0.9 ms between zones.
pub(super) fn knobs() -> Knobs {
    Knobs {
        l2: L2::MacSwitchedUnicast,
        no_route: NoRoute::Silent,
        router_decrements_ttl: false,
        source_destination_check: true,
        mtu: Mtu::new(9001).unwrap_or(Mtu::MIN),
        first_node: 11,
        delay_same_subnet: Duration::from_micros(125),
        delay_cross_subnet: Duration::from_micros(450),
    }
}
