//! What stands between nodes and does not let their tunnels begin: security groups, access lists, firewalls.

use std::collections::BTreeSet;
use std::net::IpAddr;

use overlab_dataplane::Family;
use overlab_dataplane::calico::{ClusterState, IpPool};
use overlab_dataplane::encap::Encap;
use overlab_dataplane::route::{Mode, same_subnet};
use overlab_dataplane::wire::FlowKey;
use overlab_dataplane::wire::ipv4::protocol;

use super::{Found, Lint, Subject};
use crate::fabric::{Groups, NicId};
use crate::scenario::model::{Gateway, Machine, Model, Underlay, UnderlayRoute, Via};

/// One of the ports that VXLAN is sent from, which no rule asks for.
const SOURCE_PORT: u16 = 49_152;

pub(super) const TUNNEL_NOT_ADMITTED: Lint = Lint {
    id: "TUNNEL_NOT_ADMITTED",
    why: "groups, access lists and firewalls ask the outer header: VXLAN that no rule admits is lost, and so is IP in IP, unless what tracks \
          connections has seen some the other way",
    remedy: "admit protocol 4 for IP in IP, or UDP to the `vxlanPort` for VXLAN, from each node to each other one",
    link: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html",
    find: not_admitted,
};

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
        let denied =
            denied.filter_map(|(sender, receiver)| denied_between(subject.cluster, (model, &groups), pool, (sender, receiver)));
        found.extend(denied.take(1).map(|message| (pool.mode_field(), message)));
    }
}

/// What stops the tunnel packets of a pool from one node to another, if something does.
fn denied_between(
    cluster: &ClusterState,
    (model, groups): (&Model, &Groups),
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
    let admits = if !groups.let_out(*from, &flow) {
        format!("no rule of group {} lets it out", groups.names(*from))
    } else if let Some(text) = denied_on_the_way(model, (sender, receiver), &flow) {
        text
    } else if !groups.let_in(*to, *from, &flow) {
        format!("no rule of group {} lets it in", groups.names(*to))
    } else {
        return None;
    };
    let (pool, sender, receiver) = (&pool.name, &sender.name, &receiver.name);
    Some(format!("pool {pool} sends {what} from {sender} to {receiver}, and {admits}"))
}

/// What stops a packet between two cards, if something does: the access list of a subnet that it leaves or enters by the router, or a
/// firewall that the routes lead to.
fn denied_on_the_way(model: &Model, (sender, receiver): (&Machine, &Machine), flow: &FlowKey) -> Option<String> {
    let place = |machine: &Machine| (machine.underlay, machine.subnet);
    if place(sender) == place(receiver) {
        return None;
    }
    let acl = |(underlay, subnet): (usize, usize)| {
        let underlay = &model.underlays[underlay];
        let subnet = &underlay.subnets[subnet];
        let name = format!("{}/{}", underlay.name, subnet.name);
        subnet.acl.as_ref().map(|acl| (acl, name))
    };
    if let Some((_, name)) = acl(place(sender)).filter(|(acl, _)| !acl.lets_out(flow)) {
        return Some(format!("the access list of {name} lets it not out"));
    }
    let mut firewalls = gateways_between(model, sender, (receiver.underlay, flow.destination)).into_iter();
    let denies = |gateway: &&Gateway| gateway.firewall.as_ref().is_some_and(|firewall| !firewall.admits(flow));
    if let Some(gateway) = firewalls.find(denies) {
        return Some(format!("no rule of firewall {} lets it pass", gateway.name));
    }
    let (_, name) = acl(place(receiver)).filter(|(acl, _)| !acl.lets_in(flow))?;
    Some(format!("the access list of {name} lets it not in"))
}

/// The gateways that routes lead a packet by, from a machine's subnet to an underlay or as far as there are routes.
fn gateways_between<'m>(model: &'m Model, sender: &Machine, (receiver, destination): (usize, IpAddr)) -> Vec<&'m Gateway> {
    let (mut here, mut passed) = (sender.underlay, Vec::new());
    let mut table = model.underlays[here].subnets[sender.subnet].routes.as_deref();
    while here != receiver && passed.len() <= model.gateways.len() {
        let Some(Via::Gateway(gateway)) = best_route(&model.underlays[here], table.take(), destination) else {
            break;
        };
        let gateway = &model.gateways[gateway];
        passed.push(gateway);
        let leads = gateway.routes.iter().filter(|(net, _)| net.contains(&destination));
        let Some((_, next)) = leads.max_by_key(|(net, _)| net.prefix_len()) else {
            break;
        };
        here = *next;
    }
    passed
}

/// Where a router sends a packet, by a subnet's own table or its main one: the longest prefix, and its own routes before those that it learned.
fn best_route(underlay: &Underlay, table: Option<&[UnderlayRoute]>, destination: IpAddr) -> Option<Via> {
    let own = table.unwrap_or(&underlay.routes);
    let routes = underlay.learned.iter().chain(own);
    let leads = routes.filter(|route| route.destination.contains(&destination));
    leads
        .max_by_key(|route| route.destination.prefix_len())
        .map(|route| route.via)
}
