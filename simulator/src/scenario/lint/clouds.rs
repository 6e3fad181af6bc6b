//! Encapsulations that an underlay does not carry, or that it does not carry enough of.

use std::collections::BTreeMap;

use ipnet::IpNet;
use overlab_dataplane::Family;
use overlab_dataplane::encap::Encap;
use overlab_dataplane::route::Mode;

use super::{Found, Lint, Subject};
use crate::scenario::model::{Card, Machine};

pub(super) const SRC_DST_CHECK_CROSS_SUBNET: Lint = Lint {
    id: "SRC_DST_CHECK_CROSS_SUBNET",
    why: "within a subnet CrossSubnet sends workloads' packets bare, and the cloud drops what does not carry an instance's own address",
    remedy: "turn the check off (on AWS `awsSrcDstCheck: Disable` in FelixConfiguration, elsewhere at the interface, with routes to the nodes' blocks), or use mode Always",
    link: "https://github.com/projectcalico/calico/issues/9138",
    find: |subject, found| checked(subject, Mode::CrossSubnet, found),
};

pub(super) const SRC_DST_CHECK_NO_ENCAPSULATION: Lint = Lint {
    id: "SRC_DST_CHECK_NO_ENCAPSULATION",
    why: "without encapsulation workloads' packets go bare, and the cloud drops what does not carry an instance's own address",
    remedy: "turn the check off and give the routers routes, or use mode Always",
    link: "https://github.com/projectcalico/calico/issues/8166",
    find: |subject, found| checked(subject, Mode::Never, found),
};

pub(super) const IPIP_IN_AZURE: Lint = Lint {
    id: "IPIP_IN_AZURE",
    why: "the network carries TCP, UDP and ICMP only: IP in IP is lost without a word",
    remedy: "use `vxlanMode: Always`",
    link: "https://docs.tigera.io/calico/latest/reference/public-cloud/azure",
    find: ipip,
};

/// A node with a check, and a neighbour whose packets would meet it: under CrossSubnet one of its own subnet. Of further cards those
/// count whose subnet holds a node's recorded address, since bare packets to that node leave by them.
fn checked(subject: &Subject<'_>, mode: Mode, found: &mut Found) {
    let nodes = subject.cluster.nodes().values();
    let recorded = |net: &IpNet| {
        let mut records = nodes.clone().filter_map(|node| node.bgp_address(Family::of_net(*net)));
        records.any(|record| net.contains(&record.net.addr()))
    };
    let carries =
        |machine: &Machine, card: &Card| card.name == machine.primary().name || card.addresses.iter().flatten().any(recorded);
    let mut subnets: BTreeMap<(usize, usize), Vec<(&Machine, &Card)>> = BTreeMap::new();
    for (machine, card, _) in subject.cards().filter(|(machine, card, _)| carries(machine, card)) {
        let subnet = if mode == Mode::CrossSubnet { card.subnet } else { 0 };
        subnets.entry((card.underlay, subnet)).or_default().push((machine, card));
    }
    let neighbours = subnets
        .values()
        .filter(|cards| cards.iter().any(|(machine, _)| machine.name != cards[0].0.name));
    let checked: Vec<_> = neighbours
        .flatten()
        .filter(|(_, card)| card.source_destination_check)
        .collect();
    for pool in subject.pools().filter(|pool| pool.mode() == mode) {
        let allowed = |card: &Card| card.allowed_addresses.iter().any(|net| net.contains(&pool.cidr));
        if let Some((machine, card)) = checked.iter().find(|(_, card)| !allowed(card)) {
            let machine = match card.name == machine.primary().name {
                true => machine.name.to_string(),
                false => format!("{}/{}", machine.name, card.name),
            };
            let pool_name = &pool.name;
            let message = format!("pool {pool_name} sends bare packets past {machine}'s source/destination check");
            found.push((pool.mode_field(), message));
        }
    }
}

fn ipip(subject: &Subject<'_>, found: &mut Found) {
    const PROTOCOL: u8 = 4;
    let mut underlays = subject.cards().map(|(_, _, underlay)| underlay);
    let Some(underlay) = underlays.find(|u| !u.knobs.protocols.is_empty() && !u.knobs.protocols.contains(&PROTOCOL)) else {
        return;
    };
    let ipip = subject.pools().filter(|pool| pool.encapsulation() == Encap::Ipip);
    found.extend(ipip.map(|pool| {
        let message = format!(
            "pool {} encapsulates in IP in IP, which {} does not carry",
            pool.name, underlay.name
        );
        (pool.mode_field(), message)
    }));
}
