//! Ranges with a value each, asked which of them share addresses with another one. Ranges either nest or are apart.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

/// A value for each range, both families.
pub(super) struct Ranges<T> {
    v4: PrefixMap<Ipv4Net, T>,
    v6: PrefixMap<Ipv6Net, T>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Ranges<T> {
        Ranges {
            v4: PrefixMap::new(),
            v6: PrefixMap::new(),
        }
    }
}

impl<T> Ranges<T> {
    /// Sets the value of a range.
    pub(super) fn insert(&mut self, range: IpNet, value: T) {
        match range {
            IpNet::V4(net) => drop(self.v4.insert(net, value)),
            IpNet::V6(net) => drop(self.v6.insert(net, value)),
        }
    }

    /// The value of a range that shares an address with this one: of the smallest around it, else of the first within it.
    pub(super) fn overlapping(&self, range: IpNet) -> Option<&T> {
        match range {
            IpNet::V4(net) => self
                .v4
                .get_lpm(&net)
                .or_else(|| self.v4.children(&net).next())
                .map(|(_, value)| value),
            IpNet::V6(net) => self
                .v6
                .get_lpm(&net)
                .or_else(|| self.v6.children(&net).next())
                .map(|(_, value)| value),
        }
    }

    /// The value of the smallest range that contains an address.
    pub(super) fn around(&self, address: IpAddr) -> Option<&T> {
        match address {
            IpAddr::V4(address) => self.v4.get_lpm(&address.into()).map(|(_, value)| value),
            IpAddr::V6(address) => self.v6.get_lpm(&address.into()).map(|(_, value)| value),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::calico::poolrules::overlap;

    fn net() -> impl Strategy<Value = IpNet> {
        let v4 = (0u8..4, 8u8..=32).prop_map(|(a, len)| IpNet::new([10, a, 0, 0].into(), len));
        let v6 = (0u16..4, 16u8..=128).prop_map(|(a, len)| IpNet::new([0xfd00, a, 0, 0, 0, 0, 0, 0].into(), len));
        prop_oneof![v4, v6].prop_map(|net| net.unwrap().trunc())
    }

    proptest! {
        #[test]
        fn ranges_know_their_overlaps_as_a_scan_would(ranges in proptest::collection::vec(net(), 0..6), asked in net()) {
            let mut known = Ranges::default();
            for range in &ranges {
                known.insert(*range, *range);
            }
            let scanned = ranges.iter().any(|range| overlap(*range, asked));
            prop_assert_eq!(known.overlapping(asked).is_some(), scanned);
            prop_assert!(known.overlapping(asked).is_none_or(|found| overlap(*found, asked)));
            let around = ranges.iter().filter(|range| range.contains(&asked.addr())).max_by_key(|range| range.prefix_len());
            prop_assert_eq!(known.around(asked.addr()), around);
        }
    }
}
