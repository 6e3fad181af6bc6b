//! MTUs: the host's, each tunnel's, the workloads'. What a packet that is too big meets is not here.

use std::sync::LazyLock;

use regex_lite::Regex;

use super::{HostNetwork, Nic};
use crate::calico::Settings;
use crate::{Family, Mtu};

/// The MTU that Felix assumes when it finds no network card.
const WITHOUT_CARDS: u16 = 1460;
/// The names of cards whose MTUs count, unless configured.
///
/// Source: Calico felix/config/config_params.go, MTUIfacePattern.
const CARDS: &str = "^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)";
/// What IP-in-IP adds: an IPv4 header.
const IPIP_OVERHEAD: u16 = 20;
/// What VXLAN over IPv4 adds: an IPv4, a UDP, a VXLAN and an Ethernet header.
const VXLAN_OVERHEAD: u16 = 50;
/// What VXLAN over IPv6 adds.
const VXLAN_V6_OVERHEAD: u16 = 70;

/// The MTUs of a node, in bytes of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mtus {
    /// The smallest of its network cards that count.
    pub host: Mtu,
    /// That of `tunl0` and of IPIP routes.
    pub ipip: Mtu,
    /// That of `vxlan.calico` and of VXLAN routes.
    pub vxlan: Mtu,
    /// That of `vxlan-v6.calico` and of its routes.
    pub vxlan_v6: Mtu,
    /// That of both ends of a new workload's veth.
    pub workload: Mtu,
}

impl Mtus {
    /// The MTUs of a machine without Calico: workloads would have the smallest card's.
    pub(super) fn of_cards(host: &HostNetwork) -> Mtus {
        let host = smallest(host.nics.iter());
        Mtus {
            host,
            ipip: host.less(IPIP_OVERHEAD),
            vxlan: host.less(VXLAN_OVERHEAD),
            vxlan_v6: host.less(VXLAN_V6_OVERHEAD),
            workload: host,
        }
    }

    /// The MTUs of a node. A configured tunnel MTU holds as it is, even above the host's; the workloads' is the smallest of
    /// every encapsulation that is on anywhere in the cluster.
    ///
    /// Source: Calico felix/dataplane/linux/int_dataplane.go, findHostMTU, ConfigureDefaultMTUs, determinePodMTU.
    pub fn of(settings: &Settings, host: &HostNetwork) -> Mtus {
        let pattern = settings.mtu_iface_pattern.as_deref();
        let host = smallest(host.nics.iter().filter(|nic| counts(pattern, &nic.name)));
        let ipip = settings.ipip_mtu.unwrap_or_else(|| host.less(IPIP_OVERHEAD));
        let vxlan = settings.vxlan_mtu.v4.unwrap_or_else(|| host.less(VXLAN_OVERHEAD));
        let vxlan_v6 = settings.vxlan_mtu.v6.unwrap_or_else(|| host.less(VXLAN_V6_OVERHEAD));
        let tunnels = [
            settings.ipip.then_some(ipip),
            settings.vxlan.v4.then_some(vxlan),
            settings.vxlan.v6.then_some(vxlan_v6),
        ];
        Mtus {
            host,
            ipip,
            vxlan,
            vxlan_v6,
            workload: settings
                .workload_mtu
                .or_else(|| tunnels.into_iter().flatten().min())
                .unwrap_or(host),
        }
    }
}

impl Mtus {
    /// That of the VXLAN device of a family and of its routes.
    pub fn vxlan_over(&self, family: Family) -> Mtu {
        match family {
            Family::V4 => self.vxlan,
            Family::V6 => self.vxlan_v6,
        }
    }
}

/// Whether a card's MTU counts by its name. A pattern that cannot be read leaves the default.
fn counts(pattern: Option<&str>, name: &str) -> bool {
    static DEFAULT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(CARDS).ok());
    match pattern.and_then(|pattern| Regex::new(pattern).ok()) {
        Some(pattern) => pattern.is_match(name),
        None => DEFAULT.as_ref().is_some_and(|pattern| pattern.is_match(name)),
    }
}

fn smallest<'a>(cards: impl Iterator<Item = &'a Nic>) -> Mtu {
    let smallest = cards.map(|nic| nic.mtu).min();
    smallest.or_else(|| Mtu::new(WITHOUT_CARDS)).unwrap_or(Mtu::MIN)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::PerFamily;
    use crate::calico::{ClusterState, Profile};
    use crate::route::Nic;

    fn mtus(cards: &[u16], ipip: Option<u16>, vxlan: Option<u16>, vxlan_v6: Option<u16>) -> (u16, u16, u16, u16) {
        let configured = |mtu: Option<u16>| mtu.and_then(Mtu::new);
        let cluster = ClusterState::build(Profile::default(), Vec::new(), Vec::new()).unwrap();
        let settings = Settings {
            ipip: ipip.is_some(),
            vxlan: PerFamily {
                v4: vxlan.is_some(),
                v6: vxlan_v6.is_some(),
            },
            ipip_mtu: configured(ipip),
            vxlan_mtu: PerFamily {
                v4: configured(vxlan),
                v6: configured(vxlan_v6),
            },
            ..cluster.settings("a")
        };
        let nics = cards.iter().enumerate().map(|(i, mtu)| Nic {
            name: format!("eth{i}").into(),
            addresses: vec!["10.0.0.5/24".parse().unwrap()],
            mtu: Mtu::new(*mtu).unwrap(),
        });
        let host = HostNetwork {
            name: "a".into(),
            nics: nics.collect(),
            gateways: PerFamily::default(),
            rp_filter: crate::route::RpFilter::Off,
            kernel: None,
        };
        let mtus = Mtus::of(&settings, &host);
        (
            mtus.ipip.bytes(),
            mtus.vxlan.bytes(),
            mtus.vxlan_v6.bytes(),
            mtus.workload.bytes(),
        )
    }

    // On: Some(0) is automatic, Some(n) configured, None is off.
    #[rstest]
    #[case::nothing_on(&[1500], None, None, None, (1480, 1450, 1430, 1500))]
    #[case::ipip(&[1500], Some(0), None, None, (1480, 1450, 1430, 1480))]
    #[case::vxlan(&[1500], None, Some(0), None, (1480, 1450, 1430, 1450))]
    #[case::vxlan_over_both(&[1500], None, Some(0), Some(0), (1480, 1450, 1430, 1430))]
    #[case::vxlan_over_ipv6_alone(&[1500], None, None, Some(0), (1480, 1450, 1430, 1430))]
    #[case::both(&[1500], Some(0), Some(0), None, (1480, 1450, 1430, 1450))]
    #[case::jumbo(&[9001], None, Some(0), None, (8981, 8951, 8931, 8951))]
    #[case::small(&[1362], None, Some(0), None, (1342, 1312, 1292, 1312))]
    #[case::the_smallest_card_counts(&[9001, 1500], Some(0), None, None, (1480, 1450, 1430, 1480))]
    #[case::no_card(&[], None, None, None, (1440, 1410, 1390, 1460))]
    #[case::configured_above_the_host(&[1500], None, Some(1500), None, (1480, 1500, 1430, 1500))]
    #[case::configured_below(&[1500], Some(1400), Some(0), None, (1400, 1450, 1430, 1400))]
    fn mtus_follow_cards_and_encapsulations(
        #[case] cards: &[u16],
        #[case] ipip: Option<u16>,
        #[case] vxlan: Option<u16>,
        #[case] vxlan_v6: Option<u16>,
        #[case] expected: (u16, u16, u16, u16),
    ) {
        assert_eq!(mtus(cards, ipip, vxlan, vxlan_v6), expected);
    }

    #[rstest]
    #[case::by_default(None, 1400)]
    #[case::one_of_them(Some("^ens5$"), 9001)]
    #[case::none_of_them(Some("^bond"), 1460)]
    #[case::no_pattern_at_all(Some("("), 1400)]
    fn cards_count_by_their_names(#[case] pattern: Option<&str>, #[case] host_mtu: u16) {
        let nics = [("ens5", 9001), ("eth1", 1400), ("docker0", 1300), ("eno1", 1500)].map(|(name, mtu)| Nic {
            name: name.into(),
            addresses: Vec::new(),
            mtu: Mtu::new(mtu).unwrap(),
        });
        let host = HostNetwork {
            name: "a".into(),
            nics: nics.into(),
            gateways: PerFamily::default(),
            rp_filter: crate::route::RpFilter::Off,
            kernel: None,
        };
        let cluster = ClusterState::build(Profile::default(), Vec::new(), Vec::new()).unwrap();
        let settings = Settings {
            mtu_iface_pattern: pattern.map(Into::into),
            ..cluster.settings("a")
        };
        assert_eq!(Mtus::of(&settings, &host).workload.bytes(), host_mtu);
    }
}
