//! The internet: hosts with public addresses, and nobody who knows a private one.

use std::time::Duration;

use super::base::network;
use super::{Knobs, NoRoute};

/// Sources: RFC 1918 (private addresses are not routed), RFC 2474 section 2 (a DSCP means something within one domain only). The
/// delays are those of a continent.
pub(super) fn knobs() -> Knobs {
    Knobs {
        no_route: NoRoute::Silent,
        clears_dscp: true,
        delay_same_subnet: Duration::from_millis(5),
        delay_cross_subnet: Duration::from_millis(20),
        ..network()
    }
}
