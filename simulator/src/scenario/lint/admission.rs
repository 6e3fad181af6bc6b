//! What stands between nodes and does not let their tunnels begin: security groups, access lists, firewalls.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use overlab_dataplane::Family;
use overlab_dataplane::calico::{ClusterState, IpPool};
use overlab_dataplane::encap::Encap;
use overlab_dataplane::route::{Mode, same_subnet};
use overlab_dataplane::wire::FlowKey;
use overlab_dataplane::wire::ipv4::protocol;

use super::{Found, Lint, Subject};
use crate::fabric::{Groups, NicId};
use crate::scenario::model::{Card, Gateway, Machine, Model, Underlay, UnderlayRoute, Via, cards};

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

/// The first pair of nodes of each pool whose tunnel packets no rule lets pass, and how many more there are.
fn not_admitted(subject: &Subject<'_>, found: &mut Found) {
    let Some(model) = subject.wires.map(|wires| wires.model) else {
        return;
    };
    let groups = Groups::new(model);
    let mut subnets = model.underlays.iter().flat_map(|underlay| &underlay.subnets);
    let asks = cards(&model.nodes, &[]).any(|(nic, ..)| groups.is_guarded(nic)) || subnets.any(|subnet| subnet.acl.is_some());
    if !asks && model.gateways.iter().all(|gateway| gateway.firewall.is_none()) {
        return;
    }
    for pool in subject.pools().filter(|pool| pool.encapsulation() != Encap::None) {
        let blocks = subject.cluster.blocks().values();
        let blocks = blocks.filter(|block| {
            subject
                .cluster
                .pool_of(block.cidr.addr())
                .is_some_and(|of| of.name == pool.name)
        });
        let owners: BTreeSet<&str> = blocks.filter_map(|block| block.affinity.as_deref()).collect();
        let nodes = model.nodes.iter().zip(0..);
        let ends: Vec<End<'_>> = nodes.filter_map(|node| End::new(subject.cluster, pool, node)).collect();
        let receivers = ends.iter().filter(|end| owners.contains(&*end.node.name));
        let pairs = receivers.flat_map(|receiver| ends.iter().map(move |sender| (sender, receiver)));
        let pairs = pairs.filter(|(sender, receiver)| sender.place != receiver.place);
        let mut denied = pairs.filter_map(|pair| denied_between((model, &groups), pool, pair));
        if let Some(first) = denied.next() {
            let others = match denied.count() {
                0 => String::new(),
                1 => "; so it is between 1 more pair".to_owned(),
                more => format!("; so it is between {more} more pairs"),
            };
            found.push((pool.mode_field(), format!("{first}{others}")));
        }
    }
}

/// A node, with what the outer headers of a pool have from it.
struct End<'a> {
    node: &'a Machine,
    place: u32,
    /// The number of the card with its recorded address.
    card: usize,
    recorded: Option<IpNet>,
    address: Option<IpAddr>,
    vxlan_port: u16,
}

impl<'a> End<'a> {
    fn new(cluster: &ClusterState, pool: &IpPool, (node, place): (&'a Machine, u32)) -> Option<End<'a>> {
        let family = Family::of_net(pool.cidr);
        let record = cluster.nodes().get(&node.name)?;
        let recorded = record.host_address(family, cluster.profile()).map(|record| record.net);
        let card = node.card_with(recorded.map(|net| net.addr()));
        Some(End {
            node,
            place,
            card,
            recorded,
            address: node.cards[card].address(family),
            vxlan_port: cluster.settings(&node.name).vxlan_port,
        })
    }

    fn nic(&self, card: usize) -> NicId {
        NicId {
            machine: self.place,
            card: card as u16,
        }
    }
}

/// What stops the tunnel packets of a pool from one node to another, if something does.
fn denied_between((model, groups): (&Model, &Groups), pool: &IpPool, (sender, receiver): (&End<'_>, &End<'_>)) -> Option<String> {
    let remote = receiver.recorded.map(|net| net.addr());
    if pool.mode() == Mode::CrossSubnet && same_subnet(sender.recorded, remote) {
        return None;
    }
    let (protocol, ports) = match pool.encapsulation() {
        Encap::None => return None,
        Encap::Ipip => (protocol::IPIP, None),
        Encap::Vxlan => (protocol::UDP, Some((SOURCE_PORT, sender.vxlan_port))),
    };
    let flow = FlowKey {
        source: sender.address?,
        destination: receiver.address?,
        protocol,
        ports,
    };
    let exit = sender.node.card_towards(flow.destination);
    let way = (&sender.node.cards[exit], &receiver.node.cards[receiver.card]);
    let (from, to) = (sender.nic(exit), receiver.nic(receiver.card));
    let denial = if !groups.let_out(from, &flow) {
        format!("no rule of group {} lets it out", groups.names(from))
    } else if let Some(text) = denied_on_the_way(model, way, &flow) {
        text
    } else if !groups.let_in(to, from, &flow) {
        format!("no rule of group {} lets it in", groups.names(to))
    } else {
        return None;
    };
    let what = match ports {
        Some((_, port)) => format!("UDP to port {port}"),
        None => "protocol 4".to_owned(),
    };
    let (pool, sender, receiver) = (&pool.name, &sender.node.name, &receiver.node.name);
    Some(format!("pool {pool} sends {what} from {sender} to {receiver}, and {denial}"))
}

/// What stops a packet between two cards, if something does: the access list of a subnet that it leaves or enters by the router, or a
/// firewall that the routes lead to.
fn denied_on_the_way(model: &Model, (sender, receiver): (&Card, &Card), flow: &FlowKey) -> Option<String> {
    let place = |card: &Card| (card.underlay, card.subnet);
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
        return Some(format!("the access list of {name} does not let it out"));
    }
    let mut firewalls = gateways_between(model, sender, (receiver.underlay, flow.destination)).into_iter();
    let denies = |gateway: &&Gateway| gateway.firewall.as_ref().is_some_and(|firewall| !firewall.admits(flow));
    if let Some(gateway) = firewalls.find(denies) {
        return Some(format!("no rule of firewall {} lets it pass", gateway.name));
    }
    let (_, name) = acl(place(receiver)).filter(|(acl, _)| !acl.lets_in(flow))?;
    Some(format!("the access list of {name} does not let it in"))
}

/// The gateways that routes lead a packet by, from a card's subnet to an underlay or as far as there are routes.
fn gateways_between<'m>(model: &'m Model, sender: &Card, (receiver, destination): (usize, IpAddr)) -> Vec<&'m Gateway> {
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
