//! The forwarding information base: longest-prefix match over both families.
//!
//! It holds one value a prefix and knows nothing of metrics or owners; whoever fills it decides which route wins a prefix.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

/// A table from prefix to value, looked up by longest match.
#[derive(Clone, Debug)]
pub struct Fib<T> {
    v4: PrefixMap<Ipv4Net, T>,
    v6: PrefixMap<Ipv6Net, T>,
}

impl<T> Default for Fib<T> {
    fn default() -> Self {
        Fib {
            v4: PrefixMap::new(),
            v6: PrefixMap::new(),
        }
    }
}

impl<T> Fib<T> {
    /// Sets the value of a prefix and returns the one it had.
    pub fn insert(&mut self, prefix: IpNet, value: T) -> Option<T> {
        match prefix {
            IpNet::V4(net) => self.v4.insert(net, value),
            IpNet::V6(net) => self.v6.insert(net, value),
        }
    }

    /// The value of exactly this prefix.
    pub fn get(&self, prefix: IpNet) -> Option<&T> {
        match prefix {
            IpNet::V4(net) => self.v4.get(&net),
            IpNet::V6(net) => self.v6.get(&net),
        }
    }

    /// Takes a prefix out and returns its value.
    pub fn remove(&mut self, prefix: IpNet) -> Option<T> {
        match prefix {
            IpNet::V4(net) => self.v4.remove(&net),
            IpNet::V6(net) => self.v6.remove(&net),
        }
    }

    /// The prefixes that contain this one, itself included, the shortest first, with their values.
    pub fn covers(&self, prefix: IpNet) -> impl Iterator<Item = (IpNet, &T)> {
        let (v4, v6) = match prefix {
            IpNet::V4(net) => (Some(self.v4.cover(&net)), None),
            IpNet::V6(net) => (None, Some(self.v6.cover(&net))),
        };
        let v4 = v4.into_iter().flatten().map(|(net, value)| (IpNet::V4(net), value));
        v4.chain(v6.into_iter().flatten().map(|(net, value)| (IpNet::V6(net), value)))
    }

    /// All prefixes in their order, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, &T)> {
        let v4 = self.v4.iter().map(|(net, value)| (IpNet::V4(net), value));
        v4.chain(self.v6.iter().map(|(net, value)| (IpNet::V6(net), value)))
    }

    /// The longest prefix that contains the address, and its value.
    pub fn lookup(&self, address: IpAddr) -> Option<(IpNet, &T)> {
        match address {
            IpAddr::V4(a) => self.v4.get_lpm(&Ipv4Net::from(a)).map(|(net, value)| (IpNet::V4(net), value)),
            IpAddr::V6(a) => self.v6.get_lpm(&Ipv6Net::from(a)).map(|(net, value)| (IpNet::V6(net), value)),
        }
    }

    /// The value of the longest prefix that contains this one.
    pub fn within(&self, prefix: IpNet) -> Option<&T> {
        match prefix {
            IpNet::V4(net) => self.v4.get_lpm(&net).map(|(_, value)| value),
            IpNet::V6(net) => self.v6.get_lpm(&net).map(|(_, value)| value),
        }
    }

    /// The value of the longest prefix that contains the address.
    pub fn best(&self, address: IpAddr) -> Option<&T> {
        self.lookup(address).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins() {
        let mut fib = Fib::default();
        for (net, value) in [
            ("0.0.0.0/0", 0),
            ("10.0.0.0/8", 8),
            ("10.1.2.0/26", 26),
            ("10.1.2.3/32", 32),
            ("::/0", 6),
        ] {
            fib.insert(net.parse().unwrap(), value);
        }
        for (address, value) in [
            ("11.0.0.1", 0),
            ("10.9.9.9", 8),
            ("10.1.2.4", 26),
            ("10.1.2.3", 32),
            ("2001:db8::1", 6),
        ] {
            assert_eq!(fib.best(address.parse().unwrap()), Some(&value), "{address}");
        }
    }
}
