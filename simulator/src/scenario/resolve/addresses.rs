//! Addresses of both families: the pairs of keys that they are written under, and counting within a prefix.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong};
use overlab_dataplane::{Family, PerFamily};
use serde_json::Value;

use crate::scenario::quantity;

/// What is written under a pair of keys such as `ip` and `ip6`: one value of each family at most, and where it is written.
#[derive(Clone)]
pub(super) struct Pair<T> {
    pub(super) values: PerFamily<Option<T>>,
    pub(super) fields: PerFamily<FieldRef>,
    /// Whether anything is written for a family, be it refused.
    pub(super) written: PerFamily<bool>,
}

/// Reads `ip` and `ip6`.
pub(super) fn ips(fields: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> Pair<IpAddr> {
    let read = |value: &Value| {
        let address = quantity::address(value)?;
        match unroutable(address) {
            None => Ok((Family::of(address), address)),
            Some(what) => Err(Wrong::rule("E-ADDR", format!("{address} is {what}"))
                .why("no kernel takes packets from it, or forwards packets to it")
                .help("use the unicast address of one machine")),
        }
    };
    pair(fields, ["ip", "ip6"], refusals, read)
}

/// What an address is that packets cannot come from: Linux holds such a source to be a martian.
///
/// Source: Linux net/ipv4/fib_frontend.c and route.c, ip_route_input_slow; net/ipv6/addrconf.c, ipv6_add_addr.
pub(super) fn unroutable(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("no address"),
        _ if address.is_loopback() => Some("a loopback address"),
        _ if address.is_multicast() => Some("a multicast address"),
        IpAddr::V4(address) if address.is_broadcast() => Some("the broadcast address"),
        IpAddr::V6(address) if address.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Reads `cidr` and `cidr6`, and holds each against `allowed`.
pub(super) fn cidrs(
    fields: &mut Fields<'_>,
    refusals: &mut Vec<Refusal>,
    allowed: impl Fn(IpNet) -> Result<IpNet, Wrong>,
) -> Pair<IpNet> {
    let read = |value: &Value| {
        let net = quantity::cidr(value).and_then(&allowed)?;
        if let (Some(what), Some(_)) = (unroutable(net.network()), unroutable(net.broadcast())) {
            let wrong =
                Wrong::rule("E-CIDR", format!("{net} begins with {what}")).why("no kernel takes packets from such a range");
            return Err(wrong.help("use a range of unicast addresses"));
        }
        Ok((Family::of_net(net), net))
    };
    pair(fields, ["cidr", "cidr6"], refusals, read)
}

/// The first key takes either family, the second one IPv6 beside an IPv4.
fn pair<T>(
    fields: &mut Fields<'_>,
    [first, second]: [&'static str; 2],
    refusals: &mut Vec<Refusal>,
    read: impl Fn(&Value) -> Result<(Family, T), Wrong>,
) -> Pair<T> {
    let mut pair = Pair {
        values: PerFamily::default(),
        fields: PerFamily {
            v4: fields.field(first),
            v6: fields.field(second),
        },
        written: PerFamily {
            v4: fields.value(first).is_some(),
            v6: fields.value(second).is_some(),
        },
    };
    let given = fields.parse(first, refusals, &read);
    let alone = matches!(given, Some((Family::V6, _)));
    let beside = fields.parse(second, refusals, |value| match read(value)? {
        (Family::V4, _) => Err(Wrong::rule("K-VALUE", format!("`{second}` is of IPv6")).help(format!("write it as `{first}`"))),
        (Family::V6, _) if alone => Err(Wrong::rule("K-VALUE", format!("`{first}` is of IPv6 already"))
            .help(format!("remove `{second}`, or make `{first}` of IPv4"))),
        (Family::V6, value) => Ok(value),
    });
    pair.values.v6 = beside;
    match given {
        Some((Family::V4, value)) => pair.values.v4 = Some(value),
        Some((Family::V6, value)) => {
            pair.values.v6 = Some(value);
            pair.fields.v6 = fields.field(first);
            pair.written = PerFamily { v4: false, v6: true };
        }
        None => {}
    }
    pair
}

/// The place of an address within a prefix, from 0.
pub(super) fn number(address: IpAddr, within: IpNet) -> u128 {
    let bits = |address| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    };
    bits(address).wrapping_sub(bits(within.network()))
}

/// The address at a place within a prefix; none beyond its end.
pub(super) fn at(number: u128, within: IpNet) -> Option<IpAddr> {
    let address = match within.network() {
        IpAddr::V4(network) => {
            let address = u32::from(network).checked_add(u32::try_from(number).ok()?)?;
            IpAddr::V4(Ipv4Addr::from(address))
        }
        IpAddr::V6(network) => IpAddr::V6(Ipv6Addr::from(u128::from(network).checked_add(number)?)),
    };
    within.contains(&address).then_some(address)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(11, "10.0.1.0/24", "10.0.1.11")]
    #[case(256, "10.0.1.0/24", "")]
    #[case(0x11, "fd00:1::/64", "fd00:1::11")]
    #[case(1 << 64, "fd00:1::/64", "")]
    #[case(2, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127", "")]
    fn an_address_has_its_place_in_its_prefix(#[case] place: u128, #[case] within: IpNet, #[case] address: &str) {
        let address = address.parse().ok();
        assert_eq!(at(place, within), address);
        assert!(address.is_none_or(|address| number(address, within) == place));
    }
}
