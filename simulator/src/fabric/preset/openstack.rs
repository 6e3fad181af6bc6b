//! Virtual machines on Neutron networks: segments and a router as in a data centre, with port security on every port.

use std::time::Duration;

use overlab_dataplane::Mtu;

use super::base::network;
use super::{AddressCheck, DefaultGroup, Knobs, Security};

/// Sources: OpenStack Neutron port security and allowed address pairs (a port sends with its own addresses only; the check is the
/// source's), security groups (the default group admits its members). Tenant networks are often VXLAN themselves, which leaves
/// 1450 B.
pub(super) fn knobs() -> Knobs {
    Knobs {
        address_check: AddressCheck {
            source: true,
            destination: false,
        },
        source_destination_check: true,
        security: Security {
            default: DefaultGroup::Members,
            ..network().security
        },
        largest_mtu: 9000,
        mtu: Mtu::new(1450).unwrap_or(Mtu::MIN),
        delay_same_subnet: Duration::from_micros(100),
        delay_cross_subnet: Duration::from_micros(200),
        provider_id: Some("openstack"),
        check_key: Some(("portSecurity", false)),
        ..network()
    }
}
