//! Encapsulations that an underlay does not carry, or that it does not carry enough of.

use std::collections::BTreeMap;

use overlab_dataplane::encap::Encap;
use overlab_dataplane::route::Mode;

use super::{Found, Lint, Subject};
use crate::scenario::model::Machine;

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

/// A node with a check, and a neighbour whose packets would meet it: under CrossSubnet one of its own subnet.
fn checked(subject: &Subject<'_>, mode: Mode, found: &mut Found) {
    let mut subnets: BTreeMap<(usize, usize), Vec<&Machine>> = BTreeMap::new();
    for (machine, _) in subject.machines() {
        let subnet = if mode == Mode::CrossSubnet { machine.subnet } else { 0 };
        subnets.entry((machine.underlay, subnet)).or_default().push(machine);
    }
    let neighbours = subnets.values().filter(|machines| machines.len() > 1);
    let checked: Vec<_> = neighbours
        .flatten()
        .filter(|machine| machine.source_destination_check)
        .collect();
    for pool in subject.pools().filter(|pool| pool.mode() == mode) {
        let allowed = |machine: &Machine| machine.allowed_addresses.iter().any(|net| net.contains(&pool.cidr));
        if let Some(machine) = checked.iter().find(|machine| !allowed(machine)) {
            let (pool_name, machine) = (&pool.name, &machine.name);
            let message = format!("pool {pool_name} sends bare packets past {machine}'s source/destination check");
            found.push((pool.mode_field(), message));
        }
    }
}

fn ipip(subject: &Subject<'_>, found: &mut Found) {
    const PROTOCOL: u8 = 4;
    let mut underlays = subject.machines().map(|(_, underlay)| underlay);
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
