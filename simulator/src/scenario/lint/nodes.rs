//! Node records that decide otherwise than people think.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use overlab_dataplane::Family;
use overlab_dataplane::calico::Node;
use overlab_dataplane::fields::FieldRef;

use super::{Found, Lint, Subject};

pub(super) const NODE_ADDRESS_SLASH_32: Lint = Lint {
    id: "NODE_ADDRESS_SLASH_32",
    why: "the same-subnet test of CrossSubnet asks the recorded mask alone, and this one holds nobody else: packets to every other node are \
          encapsulated",
    remedy: "record the address with the mask of its interface, or let Calico detect it (`IP=autodetect`)",
    link: "https://github.com/projectcalico/calico/issues/2375",
    find: |subject, found| narrow(subject, 0, found),
};

pub(super) const NODE_ADDRESS_SLASH_31: Lint = Lint {
    id: "NODE_ADDRESS_SLASH_31",
    why: "the same-subnet test of CrossSubnet asks the recorded mask alone, and this one holds a single other address: packets to all but \
          one node are encapsulated",
    remedy: "if the node has more neighbours, record the mask of the subnet that they share",
    link: "https://github.com/projectcalico/calico/issues/6141",
    find: |subject, found| narrow(subject, 1, found),
};

pub(super) const NODE_MASKS_UNEQUAL: Lint = Lint {
    id: "NODE_MASKS_UNEQUAL",
    why: "each node asks the same-subnet test with its own mask, so that one direction is encapsulated and the other is not",
    remedy: "record the mask of the subnet that the nodes share on both",
    link: "https://github.com/projectcalico/calico/issues/7923",
    find: masks_unequal,
};

pub(super) const NODE_ADDRESS_NOT_ON_WIRE: Lint = Lint {
    id: "NODE_ADDRESS_NOT_ON_WIRE",
    why: "other nodes send tunnel packets and routes to the recorded address, and the machine has another",
    remedy: "record an address of the machine, or choose its interface (`IP_AUTODETECTION_METHOD`)",
    link: "https://github.com/projectcalico/calico/issues/6711",
    find: not_on_wire,
};

pub(super) const NODE_MASK_WIDER_THAN_WIRE: Lint = Lint {
    id: "NODE_MASK_WIDER_THAN_WIRE",
    why: "nodes of other subnets count as neighbours: CrossSubnet sends bare packets, which no neighbour takes",
    remedy: "record the mask of the wire",
    link: "https://github.com/projectcalico/calico/issues/7923",
    find: mask_too_wide,
};

/// The recorded addresses of nodes, each with its place.
fn records<'a>(subject: &Subject<'a>) -> impl Iterator<Item = (&'a Node, IpNet, FieldRef)> {
    let nodes = subject.cluster.nodes().values();
    nodes.flat_map(|node| {
        let of_family = move |family| node.bgp_address(family).map(|record| (node, record.net, record.at));
        Family::ALL.into_iter().filter_map(of_family)
    })
}

fn narrow(subject: &Subject<'_>, free_bits: u8, found: &mut Found) {
    if !subject.asks_for_subnets() {
        return;
    }
    let narrow = records(subject).filter(|(_, net, _)| net.max_prefix_len() - net.prefix_len() == free_bits);
    found.extend(narrow.map(|(node, net, at)| (at, format!("node {} is recorded as {net}", node.name))));
}

/// One finding for each pair of masks: clusters of thousands of nodes have few.
fn masks_unequal(subject: &Subject<'_>, found: &mut Found) {
    if !subject.asks_for_subnets() {
        return;
    }
    let mut subnets: BTreeMap<IpNet, Vec<(&Node, IpAddr, FieldRef)>> = BTreeMap::new();
    for (node, net, at) in records(subject) {
        // A mask that holds nobody else has a lint of its own.
        if net.prefix_len() < net.max_prefix_len() {
            subnets.entry(net.trunc()).or_default().push((node, net.addr(), at));
        }
    }
    for (narrow, inside) in &subnets {
        let wider = subnets.iter().filter(|(wide, _)| *wide != narrow && wide.contains(narrow));
        for (wide, around) in wider {
            let outside = around.iter().find(|(_, address, _)| !narrow.contains(address));
            if let (Some((other, ..)), Some((node, address, at))) = (outside, inside.first()) {
                let message = format!(
                    "node {} ({wide}) holds node {} to be in its subnet, but {address}/{} does not hold {} to be",
                    other.name,
                    node.name,
                    narrow.prefix_len(),
                    other.name
                );
                found.push((at.clone(), message));
            }
        }
    }
}

/// The records that differ from the wires, each with the machine's own address of that family: the recorded one if it has it, else its
/// first card's.
fn differing<'a>(subject: &Subject<'a>) -> impl Iterator<Item = (&'a Node, IpNet, FieldRef, Option<IpNet>)> {
    let machines: BTreeMap<&str, _> = subject.machines().map(|machine| (&*machine.name, machine)).collect();
    records(subject).filter_map(move |(node, net, at)| {
        let machine = machines.get(&*node.name)?;
        let card = &machine.cards[machine.card_with(Some(net.addr()))];
        let own = *card.addresses.get(Family::of_net(net));
        (own != Some(net)).then_some((node, net, at, own))
    })
}

fn not_on_wire(subject: &Subject<'_>, found: &mut Found) {
    let elsewhere = differing(subject).filter(|(_, net, _, own)| own.map(|own| own.addr()) != Some(net.addr()));
    found.extend(elsewhere.map(|(node, net, at, own)| {
        let has = own.map_or_else(|| "none of this family".to_owned(), |own| own.addr().to_string());
        (
            at,
            format!("node {} is recorded as {}, and its machine has {has}", node.name, net.addr()),
        )
    }));
}

fn mask_too_wide(subject: &Subject<'_>, found: &mut Found) {
    if !subject.asks_for_subnets() {
        return;
    }
    let wide = differing(subject).filter_map(|(node, net, at, own)| {
        let own = own.filter(|own| own.addr() == net.addr() && own.prefix_len() > net.prefix_len())?;
        Some((
            at,
            format!(
                "node {} is recorded with /{}, and its wire has /{}",
                node.name,
                net.prefix_len(),
                own.prefix_len()
            ),
        ))
    });
    found.extend(wide);
}
