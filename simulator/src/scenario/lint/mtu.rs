//! MTUs that are configured larger than what they run over.

use std::collections::BTreeMap;

use overlab_dataplane::calico::FelixConfiguration;
use overlab_dataplane::fields::FieldRef;
use overlab_dataplane::{Family, Mtu};

use super::{Found, Lint, Subject};

pub(super) const MTU_MISMATCH: Lint = Lint {
    id: "MTU_MISMATCH",
    why: "a packet that fills the tunnel does not fit the card with its outer header: it is split there, or lost",
    remedy: "leave the tunnel's MTU automatic, or subtract its header from the card's MTU",
    link: "https://docs.tigera.io/calico/latest/networking/configuring/mtu",
    find: tunnels,
};

/// A tunnel's MTU as configured, where it is configured, and the header that it adds.
struct Configured {
    name: &'static str,
    mtu: Option<Mtu>,
    header: u16,
    key: &'static str,
    stated: fn(&FelixConfiguration) -> bool,
}

fn tunnels(subject: &Subject<'_>, found: &mut Found) {
    let mut by_place: BTreeMap<FieldRef, String> = BTreeMap::new();
    for (machine, _) in subject.machines() {
        let settings = subject.cluster.settings(&machine.name);
        let vxlan = |family| *settings.vxlan_mtu.get(family);
        let configured = [
            Configured {
                name: "IPIP",
                mtu: settings.ipip_mtu.filter(|_| settings.ipip),
                header: 20,
                key: "spec.ipipMTU",
                stated: |felix| felix.ipip_mtu.is_some(),
            },
            Configured {
                name: "VXLAN",
                mtu: vxlan(Family::V4).filter(|_| settings.vxlan.v4),
                header: 50,
                key: "spec.vxlanMTU",
                stated: |felix| felix.vxlan_mtu.is_some(),
            },
            Configured {
                name: "VXLAN over IPv6",
                mtu: vxlan(Family::V6).filter(|_| settings.vxlan.v6),
                header: 70,
                key: "spec.vxlanMTUV6",
                stated: |felix| felix.vxlan_mtu_v6.is_some(),
            },
        ];
        for tunnel in configured {
            let room = machine.mtu.less(tunnel.header);
            if let Some(mtu) = tunnel.mtu.filter(|mtu| *mtu > room) {
                let (node, name, card, header) = (&machine.name, tunnel.name, machine.mtu, tunnel.header);
                let message =
                    format!("{name} takes {mtu} B on node {node}, and {mtu} + {header} B is more than the card's {card} B");
                by_place.entry(place(subject, &machine.name, &tunnel)).or_insert(message);
            }
        }
    }
    found.extend(by_place);
}

/// Where a tunnel's MTU is stated: by an Installation, else for the node, else for all.
fn place(subject: &Subject<'_>, node: &str, tunnel: &Configured) -> FieldRef {
    let cluster = subject.cluster;
    if let Some(installation) = cluster.installation().filter(|installation| installation.mtu.is_some()) {
        return installation.field("spec.calicoNetwork.mtu");
    }
    let named = [format!("node.{node}"), "default".to_owned()];
    let felix = named.iter().filter_map(|name| cluster.felix().get(name.as_str()));
    let stated = felix.into_iter().find(|felix| (tunnel.stated)(felix));
    stated.map_or_else(|| cluster.environment().at.clone(), |felix| felix.field(tunnel.key))
}
