//! The same-subnet rule, which is all that CrossSubnet means. It reads records, never wires.

use std::net::IpAddr;

use ipnet::IpNet;

/// Whether a node holds another one to be in its subnet: its own recorded address, masked by its own prefix length, contains
/// the other's recorded address. Unknown means no.
///
/// Source: Calico felix/calc/l3_route_resolver.go, nodeInOurSubnet.
pub fn same_subnet(local: Option<IpNet>, remote: Option<IpAddr>) -> bool {
    local.zip(remote).is_some_and(|(local, remote)| local.contains(&remote))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::the_same_24("10.0.1.5/24", "10.0.1.6", true)]
    #[case::another_24("10.0.1.5/24", "10.0.2.7", false)]
    #[case::the_local_mask_is_wide("10.0.1.5/16", "10.0.2.5", true)]
    #[case::the_local_mask_is_narrow("10.0.2.5/24", "10.0.1.5", false)]
    #[case::a_32_has_no_neighbours("10.0.1.5/32", "10.0.1.6", false)]
    #[case::the_edge_below("10.0.1.5/25", "10.0.1.127", true)]
    #[case::the_edge_above("10.0.1.5/25", "10.0.1.128", false)]
    #[case::ipv6("fd00:1::5/64", "fd00:1::6", true)]
    #[case::another_64("fd00:1::5/64", "fd00:2::6", false)]
    #[case::a_128_has_no_neighbours("fd00:1::5/128", "fd00:1::6", false)]
    #[case::families_do_not_mix("10.0.1.5/0", "fd00:1::6", false)]
    fn only_the_local_mask_counts(#[case] local: &str, #[case] remote: &str, #[case] same: bool) {
        assert_eq!(same_subnet(local.parse().ok(), remote.parse().ok()), same);
    }

    #[test]
    fn an_unknown_record_is_never_in_the_subnet() {
        assert!(!same_subnet(None, "10.0.1.6".parse().ok()));
        assert!(!same_subnet("10.0.1.5/24".parse().ok(), None));
    }
}
