//! MTUs that are configured larger than what they run over: tunnels on cards, workloads on tunnels.

use std::collections::BTreeMap;

use overlab_dataplane::calico::{FelixConfiguration, Settings};
use overlab_dataplane::encap::Encap;
use overlab_dataplane::fields::FieldRef;
use overlab_dataplane::{Family, Mtu};

use super::{Found, Lint, Subject};
use crate::scenario::model::Machine;

pub(super) const MTU_MISMATCH: Lint = Lint {
    id: "MTU_MISMATCH",
    why: "a packet that fills the tunnel does not fit the card with its outer header: it is split there, or lost",
    remedy: "leave the tunnel's MTU automatic, or subtract its header from the card's MTU",
    link: "https://docs.tigera.io/calico/latest/networking/configuring/mtu",
    find: tunnels,
};

pub(super) const CARD_MTU_ABOVE_SEGMENT: Lint = Lint {
    id: "CARD_MTU_ABOVE_SEGMENT",
    why: "a card that sends longer packets than its segment carries loses them without a word",
    remedy: "give the card the segment's MTU, or raise the `mtu` of the subnet or underlay",
    link: "https://github.com/cloudfoundry/bosh-google-cpi-release/issues/124",
    find: cards,
};

fn cards(subject: &Subject<'_>, found: &mut Found) {
    let mut by_place: BTreeMap<FieldRef, String> = BTreeMap::new();
    for (machine, card, underlay) in subject.cards() {
        let Some(subnet) = underlay.subnets.get(card.subnet).filter(|subnet| card.mtu > subnet.mtu) else {
            continue;
        };
        let (name, mtu, segment) = (&machine.name, card.mtu, subnet.mtu);
        let place = FieldRef {
            origin: card.field.origin,
            path: card.field.path.key("mtu"),
        };
        by_place.insert(
            place,
            format!("{name} sends up to {mtu} B, and {} carries {segment} B", subnet.name),
        );
    }
    found.extend(by_place);
}

pub(super) const WORKLOAD_MTU_FIXED: Lint = Lint {
    id: "WORKLOAD_MTU_FIXED",
    why: "workloads send packets of the full size of their interface, which the tunnel does not take: small ones pass and large transfers hang",
    remedy: "set `veth_mtu` to \"0\", and workloads get what the smallest tunnel takes",
    link: "https://github.com/projectcalico/calico/issues/4522",
    find: workloads,
};

/// A tunnel that is on: its MTU, where that is configured, and the header that it adds.
struct Tunnel {
    name: &'static str,
    mtu: Option<Mtu>,
    header: u16,
    key: &'static str,
    stated: fn(&FelixConfiguration) -> bool,
}

impl Tunnel {
    /// What it takes on a card of this MTU.
    fn takes(&self, card: Mtu) -> Mtu {
        self.mtu.unwrap_or_else(|| card.less(self.header))
    }
}

/// The tunnels that are on.
fn tunnels_of(settings: &Settings) -> impl Iterator<Item = Tunnel> {
    let vxlan = |family| *settings.vxlan_mtu.get(family);
    let ipip = Tunnel {
        name: "IPIP",
        mtu: settings.ipip_mtu,
        header: Encap::Ipip.overhead(Family::V4),
        key: "spec.ipipMTU",
        stated: |felix| felix.ipip_mtu.is_some(),
    };
    let vxlan_v4 = Tunnel {
        name: "VXLAN",
        mtu: vxlan(Family::V4),
        header: Encap::Vxlan.overhead(Family::V4),
        key: "spec.vxlanMTU",
        stated: |felix| felix.vxlan_mtu.is_some(),
    };
    let vxlan_v6 = Tunnel {
        name: "VXLAN over IPv6",
        mtu: vxlan(Family::V6),
        header: Encap::Vxlan.overhead(Family::V6),
        key: "spec.vxlanMTUV6",
        stated: |felix| felix.vxlan_mtu_v6.is_some(),
    };
    let all = [
        settings.ipip.then_some(ipip),
        settings.vxlan.v4.then_some(vxlan_v4),
        settings.vxlan.v6.then_some(vxlan_v6),
    ];
    all.into_iter().flatten()
}

fn tunnels(subject: &Subject<'_>, found: &mut Found) {
    let mut by_place: BTreeMap<FieldRef, String> = BTreeMap::new();
    for machine in subject.machines() {
        for tunnel in tunnels_of(&subject.cluster.settings(&machine.name)) {
            let card = smallest(machine);
            if let Some(mtu) = tunnel.mtu.filter(|mtu| *mtu > card.less(tunnel.header)) {
                let (node, name, header) = (&machine.name, tunnel.name, tunnel.header);
                let message =
                    format!("{name} takes {mtu} B on node {node}, and {mtu} + {header} B is more than the card's {card} B");
                by_place.entry(place(subject, &machine.name, &tunnel)).or_insert(message);
            }
        }
    }
    found.extend(by_place);
}

/// The MTU that Felix reckons with: the smallest card's.
fn smallest(machine: &Machine) -> Mtu {
    let smallest = machine.cards.iter().map(|card| card.mtu).min();
    smallest.unwrap_or(machine.primary().mtu)
}

/// The first node with a tunnel that is too small stands for all.
fn workloads(subject: &Subject<'_>, found: &mut Found) {
    let Some(at) = subject.cluster.fixed_workload_mtu() else {
        return;
    };
    let message = subject.machines().find_map(|machine| {
        let settings = subject.cluster.settings(&machine.name);
        let mtu = settings.workload_mtu?;
        let mut tunnels = tunnels_of(&settings);
        let card = smallest(machine);
        let small = tunnels.find(|tunnel| tunnel.takes(card) < mtu)?;
        let (name, takes) = (small.name, small.takes(card));
        Some(format!(
            "workloads have {mtu} B, and {name} takes {takes} B on node {}",
            machine.name
        ))
    });
    found.extend(message.map(|message| (at.clone(), message)));
}

/// Where a tunnel's MTU is stated: by an Installation, else for the node, else for all.
fn place(subject: &Subject<'_>, node: &str, tunnel: &Tunnel) -> FieldRef {
    let cluster = subject.cluster;
    if let Some(installation) = cluster.installation().filter(|installation| installation.mtu.is_some()) {
        return installation.field("spec.calicoNetwork.mtu");
    }
    let named = [format!("node.{node}"), "default".to_owned()];
    let felix = named.iter().filter_map(|name| cluster.felix().get(name.as_str()));
    let stated = felix.into_iter().find(|felix| (tunnel.stated)(felix));
    stated.map_or_else(|| cluster.environment().at.clone(), |felix| felix.field(tunnel.key))
}
