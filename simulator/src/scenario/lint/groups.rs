//! Security groups that do not fit what nodes send.

use std::collections::BTreeSet;

use overlab_dataplane::Family;
use overlab_dataplane::calico::{ClusterState, IpPool};
use overlab_dataplane::encap::Encap;
use overlab_dataplane::route::{Mode, same_subnet};
use overlab_dataplane::wire::FlowKey;
use overlab_dataplane::wire::ipv4::protocol;

use super::{Found, Lint, Subject};
use crate::fabric::{DEFAULT_GROUP, Groups, NicId};
use crate::scenario::model::Machine;

/// One of the ports that VXLAN is sent from, which no rule asks for.
const SOURCE_PORT: u16 = 49_152;

pub(super) const TUNNEL_NOT_ADMITTED: Lint = Lint {
    id: "TUNNEL_NOT_ADMITTED",
    why: "groups ask the outer header: VXLAN that no rule admits is lost, and IP in IP passes only while the other side has sent some, \
          so that a single flow is lost where probes both ways pass",
    remedy: "admit protocol 4 for IP in IP, or UDP to the `vxlanPort` for VXLAN, from the nodes' own group",
    link: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html",
    find: not_admitted,
};

pub(super) const GROUP_ON_NO_CARD: Lint = Lint {
    id: "GROUP_ON_NO_CARD",
    why: "rules of a group hold for the cards that are in it, and cards that the scenario puts into none are in the default group",
    remedy: "put nodes into it (`groups: [NAME]`), or name the group `default`",
    link: "https://docs.aws.amazon.com/vpc/latest/userguide/default-security-group.html",
    find: on_no_card,
};

/// Groups of underlays none of whose cards is ever in a group.
fn on_no_card(subject: &Subject<'_>, found: &mut Found) {
    let Some(model) = subject.wires.map(|wires| wires.model) else {
        return;
    };
    let later = model
        .rewirings
        .iter()
        .flat_map(|wires| wires.nodes.iter().chain(&wires.hosts));
    let machines: Vec<&Machine> = model.nodes.iter().chain(&model.hosts).chain(later).collect();
    for (place, underlay) in model.underlays.iter().enumerate() {
        let mut cards = machines.iter().filter(|machine| machine.underlay == place).peekable();
        let Some(first) = cards.peek().map(|machine| machine.field.clone()) else {
            continue;
        };
        if cards.any(|machine| !machine.groups.is_empty()) {
            continue;
        }
        let groups = underlay.security_groups.keys().filter(|group| ***group != *DEFAULT_GROUP);
        found.extend(groups.map(|group| {
            let message = format!(
                "group {group} of {} is on no card: all of them are in the default one",
                underlay.name
            );
            (first.clone(), message)
        }));
    }
}

/// The first pair of nodes of each pool whose tunnel packets no rule lets pass.
fn not_admitted(subject: &Subject<'_>, found: &mut Found) {
    let Some(model) = subject.wires.map(|wires| wires.model) else {
        return;
    };
    let groups = Groups::new(model);
    let cards = model.nodes.iter().zip((0..).map(NicId));
    let cards: Vec<_> = cards
        .filter(|(node, _)| subject.cluster.nodes().contains_key(&node.name))
        .collect();
    for pool in subject.pools().filter(|pool| pool.encapsulation() != Encap::None) {
        let blocks = subject.cluster.blocks().values();
        let blocks = blocks.filter(|block| {
            subject
                .cluster
                .pool_of(block.cidr.addr())
                .is_some_and(|of| of.name == pool.name)
        });
        let owners: BTreeSet<&str> = blocks.filter_map(|block| block.affinity.as_deref()).collect();
        let receivers = cards.iter().filter(|(node, _)| owners.contains(&*node.name));
        let pairs = receivers.flat_map(|receiver| cards.iter().map(move |sender| (sender, receiver)));
        let denied = pairs.filter(|(sender, receiver)| sender.1 != receiver.1);
        let denied = denied.filter_map(|(sender, receiver)| denied_between(subject.cluster, &groups, pool, (sender, receiver)));
        found.extend(denied.take(1).map(|message| (pool.mode_field(), message)));
    }
}

/// What stops the tunnel packets of a pool from one node to another, if something does.
fn denied_between(
    cluster: &ClusterState,
    groups: &Groups,
    pool: &IpPool,
    ((sender, from), (receiver, to)): (&(&Machine, NicId), &(&Machine, NicId)),
) -> Option<String> {
    let family = Family::of_net(pool.cidr);
    let recorded = |name: &str| cluster.nodes().get(name)?.host_address(family, cluster.profile());
    let local = recorded(&sender.name).map(|record| record.net);
    let remote = recorded(&receiver.name).map(|record| record.net.addr());
    if pool.mode() == Mode::CrossSubnet && same_subnet(local, remote) {
        return None;
    }
    let (protocol, ports, what) = match pool.encapsulation() {
        Encap::None => return None,
        Encap::Ipip => (protocol::IPIP, None, "protocol 4".to_owned()),
        Encap::Vxlan => {
            let port = cluster.settings(&sender.name).vxlan_port;
            (protocol::UDP, Some((SOURCE_PORT, port)), format!("UDP to port {port}"))
        }
    };
    let address = |machine: &Machine| machine.addresses.get(family).map(|net| net.addr());
    let flow = FlowKey {
        source: address(sender)?,
        destination: address(receiver)?,
        protocol,
        ports,
    };
    let (card, way) = if !groups.let_out(*from, &flow) {
        (*from, "out")
    } else if !groups.let_in(*to, *from, &flow) {
        (*to, "in")
    } else {
        return None;
    };
    let (pool, sender, receiver, names) = (&pool.name, &sender.name, &receiver.name, groups.names(card));
    Some(format!(
        "pool {pool} sends {what} from {sender} to {receiver}, and no rule of group {names} lets it {way}"
    ))
}
