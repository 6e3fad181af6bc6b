//! What made a packet offend, and what may help.

use std::net::IpAddr;

use overlab_dataplane::encap::Encap;
use overlab_dataplane::engine;
use overlab_dataplane::route::{Decision, Mode, NodeTables, RouteKind, RpFilter};

use super::tell::{changed, decided, missing, reasons, tell, unserved};
use super::{Disposition, DropReason, Hop, Place, Step, Trace};
use crate::fabric::{NicId, Preset, eni};
use crate::scenario::{Card, Loaded, Machine, Model, Underlay, Workload};

/// What may help with a packet that offends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What made it so, with its place.
    pub cause: Option<String>,
    /// The rule behind it.
    pub rule: Option<String>,
    /// What to try.
    pub remedy: Option<String>,
}

/// What made a packet end or look as it did, and what to try.
pub fn advice(trace: &Trace, loaded: &Loaded) -> Told {
    let turn = trace.hops.iter().find_map(turn);
    let causes = turn.as_ref().map(|turn| turn.causes(loaded)).unwrap_or_default();
    let spoiled = spoiler(trace, &loaded.model).map(|(cause, _)| cause);
    let mut causes = refused(trace).or(spoiled).into_iter().chain(causes);
    let since = turn.as_ref().and_then(|turn| {
        let (tables, since) = (turn.tables, changed(turn.hop, turn.tables, &loaded.model)?);
        Some(format!("tables of {} {since}", tables.node))
    });
    let cause = causes
        .next()
        .into_iter()
        .chain(since)
        .reduce(|cause, since| format!("{cause}; {since}"));
    let because: Vec<_> = causes.collect();
    match &trace.disposition {
        Disposition::Dropped { reason, place, .. } => Told {
            cause,
            rule: Some(format!("{place}: {}", reason.meaning())),
            remedy: remedy(*reason, place, trace, turn.as_ref(), &loaded.model),
        },
        Disposition::Delivered { .. } | Disposition::Unknown => Told {
            cause,
            rule: (!because.is_empty()).then(|| because.join("; ")),
            remedy: None,
        },
    }
}

/// The service without an endpoint that a packet was for.
fn refused(trace: &Trace) -> Option<String> {
    let mut steps = trace
        .hops
        .iter()
        .flat_map(|hop| hop.steps.iter().map(move |step| (step, hop)));
    let is_it = |step: &Step| matches!(step, Step::Engine(engine::Step::NoEndpoint { .. }));
    let (step, hop) = steps.find(|(step, _)| is_it(step))?;
    Some(tell(step, hop.tables.as_deref()))
}

/// Where a packet's way was decided.
struct Turn<'t> {
    hop: &'t Hop,
    tables: &'t NodeTables,
    by: By<'t>,
}

/// What decided.
enum By<'t> {
    /// A route that follows from the datastore.
    Cluster(&'t Decision),
    /// A route of the node's own, which knows nothing of the cluster, for want of a better one to this destination.
    Node(IpAddr),
}

/// The decision of a hop, if one was taken there.
fn turn(hop: &Hop) -> Option<Turn<'_>> {
    if let Some((_, decision, tables)) = decided(hop) {
        let by = By::Cluster(decision);
        return Some(Turn { hop, tables, by });
    }
    let tables = hop.tables.as_deref()?;
    hop.steps.iter().find_map(|step| match step {
        Step::Engine(engine::Step::Routed { route, destination }) => {
            let by = By::Node(*destination);
            (tables.route(*route)?.kind == RouteKind::Host).then_some(Turn { hop, tables, by })
        }
        Step::Engine(_) | Step::Fabric(_) | Step::Stack(_) | Step::Dropped(_) => None,
    })
}

impl Turn<'_> {
    fn causes(&self, loaded: &Loaded) -> Vec<String> {
        match self.by {
            By::Cluster(decision) => reasons(decision, self.tables, &loaded.sources),
            By::Node(destination) if self.tables.is_in_pool(destination) => missing(destination, self.tables, &loaded.sources),
            By::Node(destination) if unserved(destination, self.tables).is_some() => {
                unserved(destination, self.tables).into_iter().collect()
            }
            By::Node(destination) => {
                let told = |workload: &Workload| {
                    let name = &workload.name;
                    format!("{destination} of {name} lies in no pool: other nodes have no route to it")
                };
                self.outsider(&loaded.model).map(told).into_iter().collect()
            }
        }
    }

    /// The workload that the packet is for, if its address lies in no pool.
    fn outsider<'m>(&self, model: &'m Model) -> Option<&'m Workload> {
        let By::Node(destination) = self.by else { return None };
        let has_it = |workload: &&Workload| workload.addresses.iter().flatten().any(|own| *own == destination);
        let workload = model.workloads.iter().find(has_it);
        workload.filter(|_| !self.tables.is_in_pool(destination))
    }
}

fn remedy(reason: DropReason, place: &Place, trace: &Trace, turn: Option<&Turn<'_>>, model: &Model) -> Option<String> {
    let by = turn.map(|turn| &turn.by);
    let crosses = matches!(by, Some(By::Cluster(decision)) if decision.mode == Mode::CrossSubnet);
    let text = match (reason.name(), by) {
        ("sg_deny", _) => {
            return Some(format!(
                "a rule in the groups of {place} that admits {}",
                to_admit(trace, true)?
            ));
        }
        ("firewall_deny", _) => return Some(format!("a rule of {place} that admits {}", to_admit(trace, false)?)),
        ("nacl_deny", _) => {
            let what = to_admit(trace, false)?;
            return Some(format!(
                "a rule of the access list that admits {what}, ahead of what denies it, and one for the way back: it keeps no state"
            ));
        }
        ("rp_filter", _) => return Some(lift_filter(place, model)),
        ("bad_checksum", _) => return spoiler(trace, model).map(|(_, remedy)| remedy),
        ("src_dst_check", _) => {
            let instead = if crosses { "mode Always" } else { "an encapsulation" };
            return Some(format!("{}, or {instead}", lift_check(place, model)));
        }
        // No encapsulation is missing where the cluster has no route at all.
        ("fabric_no_route" | "neighbour_failed" | "no_route", Some(By::Node(destination)))
            if turn.is_some_and(|turn| unserved(*destination, turn.tables).is_some()) =>
        {
            "a `proto` and `dport` that the service has"
        }
        ("fabric_no_route" | "neighbour_failed", Some(By::Node(destination))) => {
            let outsider = turn.and_then(|turn| turn.outsider(model));
            return outsider.map(|workload| {
                format!(
                    "an IPPool that holds {destination}, or an address of a pool for {}",
                    workload.name
                )
            });
        }
        ("fabric_no_route", _) => "an encapsulation across subnets, CrossSubnet or Always",
        ("no_listener", _) if refused(trace).is_some() => "an EndpointSlice of the service with an endpoint that is ready",
        ("neighbour_failed", _) => "record the node's address with its subnet's own prefix length",
        ("too_big", _) => "an MTU of the underlay's less the overhead: leave ipipMTU and vxlanMTU at 0",
        ("tunnel_source_denied", _) => "the sender's node address in its Node resource, or externalNodesList",
        ("workload_encap_denied", _) => "allowVXLANPacketsFromWorkloads or allowIPIPPacketsFromWorkloads",
        ("policy_deny", _) => "defaultEndpointToHostAction: Accept in FelixConfiguration",
        _ => return None,
    };
    Some(text.to_owned())
}

/// How the check of a node's first interface is turned off on AWS.
const FELIX_LIFTS: &str = "awsSrcDstCheck: Disable in FelixConfiguration";

/// How a provider's check of a card's addresses is turned off.
fn lift_check(card: &Place, model: &Model) -> String {
    let at = |(nic, machine, _): &(NicId, &Machine, &Card)| *card.name == format!("{}/{}", machine.name, eni(nic.card.into()));
    let Some((nic, machine, own)) = model.cards().find(at) else {
        return FELIX_LIFTS.to_owned();
    };
    let underlay = &model.underlays[own.underlay];
    let name = match nic.card {
        0 => machine.name.to_string(),
        _ => format!("{}/{}", machine.name, own.name),
    };
    match underlay.knobs.check_key {
        _ if underlay.preset == Preset::Aws && nic.card == 0 => FELIX_LIFTS.to_owned(),
        Some((key, value)) if underlay.preset == Preset::Aws => {
            format!("`{key}: {value}` at {name}: awsSrcDstCheck is about the first interface alone")
        }
        Some((key, value)) => format!("`{key}: {value}` at {name}, and routes of the network to its workloads"),
        None => format!("`allowedAddresses` at {name}"),
    }
}

/// What a rule is to admit that is not there: from the group of all peers, or from this one.
fn to_admit(trace: &Trace, by_group: bool) -> Option<String> {
    let packet = trace.first_hop.first()?;
    let (protocol, source, destination) = (packet.outer.protocol, packet.outer.source, packet.outer.destination);
    let ends = match by_group {
        true => ", from the peers' group".to_owned(),
        false => format!(" from {source} to {destination}"),
    };
    Some(match (packet.encap, packet.ports) {
        (Encap::Ipip, _) => format!("protocol 4{ends}"),
        (Encap::Vxlan, Some((_, port))) => format!("UDP to port {port}{ends}"),
        (Encap::Vxlan | Encap::None, _) if by_group => format!("what is bare, protocol {protocol} from {source}"),
        (Encap::Vxlan | Encap::None, _) => format!("what is bare, protocol {protocol}{ends}"),
    })
}

/// How a packet passes the reverse-path filter of a node's device, or of a router.
fn lift_filter(place: &Place, model: &Model) -> String {
    let (name, device) = place.name.split_once('/').unwrap_or((&place.name, ""));
    let node = model.nodes.iter().find(|node| *node.name == *name);
    match node.map(|node| node.rp_filter) {
        Some(RpFilter::Strict) => format!(
            "`rpFilter: loose` at {name} (net.ipv4.conf.*.rp_filter=2), or routes by which what goes back leaves by {device} too"
        ),
        Some(RpFilter::Loose | RpFilter::Off) => format!("a route of {name} to the packet's source, by {device}"),
        None => format!("an encapsulation, or a route of {place} back to the packet's source"),
    }
}

/// What spoiled a packet's checksum, and what to try: a kernel that translates tunnel packets, or a network's cards.
fn spoiler(trace: &Trace, model: &Model) -> Option<(String, String)> {
    let spoils = |step: &Step| matches!(step, Step::Engine(engine::Step::ChecksumSpoiled));
    let at_node = trace.hops.iter().find(|hop| hop.steps.iter().any(spoils));
    if let Some(node) = at_node.map(|hop| &hop.place.name) {
        let machine = model.nodes.iter().find(|machine| machine.name == *node);
        let kernel = machine.and_then(|machine| machine.kernel)?;
        return Some((
            format!(
                "kernel {kernel} of {node}, with checksum offload left on (featureDetectOverride: ChecksumOffloadBroken=false)"
            ),
            format!("a kernel from 5.8 on at {node}, or featureDetectOverride: ChecksumOffloadBroken=true"),
        ));
    }
    let wears_vxlan = trace.first_hop.first().is_some_and(|packet| packet.encap == Encap::Vxlan);
    let dropped = matches!(&trace.disposition, Disposition::Dropped { reason, .. } if reason.name() == "bad_checksum");
    let breaks = |underlay: &&Underlay| underlay.knobs.breaks_inner_checksums;
    let underlay = model.underlays.iter().find(breaks).filter(|_| wears_vxlan && dropped)?;
    Some((
        format!("`breaksInnerChecksums` of underlay {}", underlay.name),
        "a `vxlanPort` that the cards do not offload, IP in IP, or cards with VXLAN offload off".to_owned(),
    ))
}
