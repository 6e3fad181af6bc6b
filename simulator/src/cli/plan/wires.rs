//! The wires that bare manifests are planned over, since they say nothing of any: one card a node, with what is recorded of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use overlab_dataplane::calico::{Node, Profile};
use overlab_dataplane::route::{HostNetwork, Nic, RpFilter};
use overlab_dataplane::{Family, Mtu, PerFamily};

/// The gateways of a card whose address stands alone, as clouds that give out such addresses have them: on the link all the same.
const ON_LINK: PerFamily<IpAddr> = PerFamily {
    v4: IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)),
    v6: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
};

/// What is assumed, in a sentence.
pub(super) fn assumption(mtu: Mtu) -> String {
    format!(
        "without a scenario nothing is known of the wires: each node has one card, eth0, of {mtu} B with its recorded addresses (its \
         internal ones where Calico recorded none), and a default route by the first other address of the recorded subnet; where \
         the record is a single address, by {} or {} on the link",
        ON_LINK.v4, ON_LINK.v6
    )
}

/// The machine that a Node seems to describe.
pub(super) fn host(node: &Node, mtu: Mtu) -> HostNetwork {
    let recorded = PerFamily::from_fn(|family| node.host_address(family, Profile::V3_32).map(|record| record.net));
    HostNetwork {
        name: node.name.clone(),
        nics: vec![Nic {
            name: Arc::from("eth0"),
            addresses: recorded.iter().flatten().copied().collect(),
            mtu,
        }],
        gateways: PerFamily::from_fn(|family| recorded.get(family).map(gateway)),
        rp_filter: RpFilter::Off,
        kernel: None,
    }
}

fn gateway(own: IpNet) -> IpAddr {
    let first = own.hosts().find(|address| *address != own.addr());
    first.unwrap_or(*ON_LINK.get(Family::of_net(own)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10.0.1.5/24", "10.0.1.1")]
    #[case("10.0.1.1/24", "10.0.1.2")]
    #[case("10.0.1.5/31", "10.0.1.4")]
    #[case("10.0.1.5/32", "169.254.1.1")]
    #[case("fd00::5/128", "fe80::1")]
    fn the_gateway_is_the_first_other_address_of_the_subnet(#[case] own: IpNet, #[case] expected: IpAddr) {
        assert_eq!(gateway(own), expected);
    }
}
