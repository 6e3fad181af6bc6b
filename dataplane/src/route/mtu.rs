//! MTUs: the host's, each tunnel's, the workloads'. What a packet that is too big meets is not here.

use super::HostNetwork;
use crate::Mtu;
use crate::calico::Settings;

/// The MTU that Felix assumes when it finds no network card.
const WITHOUT_CARDS: u16 = 1460;
/// What IP-in-IP adds: an IPv4 header.
const IPIP_OVERHEAD: u16 = 20;
/// What VXLAN over IPv4 adds: an IPv4, a UDP, a VXLAN and an Ethernet header.
const VXLAN_OVERHEAD: u16 = 50;

/// The MTUs of a node, in bytes of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mtus {
    /// The smallest of its network cards.
    pub host: Mtu,
    /// That of `tunl0` and of IPIP routes.
    pub ipip: Mtu,
    /// That of `vxlan.calico` and of VXLAN routes.
    pub vxlan: Mtu,
    /// That of both ends of a new workload's veth.
    pub workload: Mtu,
}

impl Mtus {
    /// The MTUs of a node. A configured tunnel MTU holds as it is, even above the host's; the workloads' is the smallest of
    /// every encapsulation that is on anywhere in the cluster.
    ///
    /// Source: Calico felix/dataplane/linux/int_dataplane.go, findHostMTU, ConfigureDefaultMTUs, determinePodMTU.
    pub fn of(settings: &Settings, host: &HostNetwork) -> Mtus {
        let smallest = host.nics.iter().map(|nic| nic.mtu).min();
        let host = smallest.or_else(|| Mtu::new(WITHOUT_CARDS)).unwrap_or(Mtu::MIN);
        let ipip = settings.ipip_mtu.unwrap_or_else(|| host.less(IPIP_OVERHEAD));
        let vxlan = settings.vxlan_mtu.unwrap_or_else(|| host.less(VXLAN_OVERHEAD));
        let tunnels = [settings.ipip.then_some(ipip), settings.vxlan.then_some(vxlan)];
        Mtus {
            host,
            ipip,
            vxlan,
            workload: settings
                .workload_mtu
                .or_else(|| tunnels.into_iter().flatten().min())
                .unwrap_or(host),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::calico::AwsSrcDstCheck;
    use crate::route::{EndpointToHostAction, Nic};
    use crate::units::Vni;

    fn mtus(cards: &[u16], ipip: Option<u16>, vxlan: Option<u16>) -> (u16, u16, u16) {
        let configured = |mtu: Option<u16>| mtu.and_then(Mtu::new);
        let settings = Settings {
            ipip: ipip.is_some(),
            vxlan: vxlan.is_some(),
            ipip_mtu: configured(ipip),
            vxlan_mtu: configured(vxlan),
            workload_mtu: None,
            vxlan_port: 4789,
            vni: Vni::CALICO,
            endpoint_to_host: EndpointToHostAction::Drop,
            allow_vxlan_from_workloads: false,
            allow_ipip_from_workloads: false,
            aws_src_dst_check: AwsSrcDstCheck::DoNothing,
        };
        let nics = cards.iter().enumerate().map(|(i, mtu)| Nic {
            name: format!("eth{i}").into(),
            address: "10.0.0.5/24".parse().unwrap(),
            mtu: Mtu::new(*mtu).unwrap(),
        });
        let host = HostNetwork {
            name: "a".into(),
            nics: nics.collect(),
            gateway: None,
        };
        let mtus = Mtus::of(&settings, &host);
        (mtus.ipip.bytes(), mtus.vxlan.bytes(), mtus.workload.bytes())
    }

    // On: Some(0) is automatic, Some(n) configured, None is off.
    #[rstest]
    #[case::nothing_on(&[1500], None, None, (1480, 1450, 1500))]
    #[case::ipip(&[1500], Some(0), None, (1480, 1450, 1480))]
    #[case::vxlan(&[1500], None, Some(0), (1480, 1450, 1450))]
    #[case::both(&[1500], Some(0), Some(0), (1480, 1450, 1450))]
    #[case::jumbo(&[9001], None, Some(0), (8981, 8951, 8951))]
    #[case::small(&[1362], None, Some(0), (1342, 1312, 1312))]
    #[case::the_smallest_card_counts(&[9001, 1500], Some(0), None, (1480, 1450, 1480))]
    #[case::no_card(&[], None, None, (1440, 1410, 1460))]
    #[case::configured_above_the_host(&[1500], None, Some(1500), (1480, 1500, 1500))]
    #[case::configured_below(&[1500], Some(1400), Some(0), (1400, 1450, 1400))]
    fn mtus_follow_cards_and_encapsulations(
        #[case] cards: &[u16],
        #[case] ipip: Option<u16>,
        #[case] vxlan: Option<u16>,
        #[case] expected: (u16, u16, u16),
    ) {
        assert_eq!(mtus(cards, ipip, vxlan), expected);
    }
}
