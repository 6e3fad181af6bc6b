//! Invariants: what holds of every packet of a run, whatever its flow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use overlab_dataplane::Instant;
use overlab_dataplane::encap::Encap;
use overlab_dataplane::fields::{Fields, Refusal, word};
use overlab_dataplane::route::{DeviceKind, NodeTables};

use super::{Claim, Expectation, Selection, Verdict};
use crate::observe::{History, Hop, IpHeader, PlaceKind, Trace};

/// The key of an invariant, which selects every packet and claims something of it at once.
pub const INVARIANT: &str = "invariant";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invariant {
    /// No packet passes a forwarder twice under the same outermost addresses.
    NoLoops,
    /// No underlay router gets a packet whose outermost addresses are a workload's or a tunnel's.
    NoLeak,
    /// The outer addresses of every encapsulated packet are those of nodes' cards.
    OuterOwned,
}

const WORDS: [(&str, Invariant); 3] = [
    ("no-loops", Invariant::NoLoops),
    ("no-leak", Invariant::NoLeak),
    ("outer-owned", Invariant::OuterOwned),
];

/// Reads the invariant among the keys of a mapping.
pub fn read_invariant(fields: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> Option<Claim> {
    let field = fields.field(INVARIANT);
    let invariant = fields.parse(INVARIANT, refusals, |value| word(value, &WORDS))?;
    Some(Claim {
        key: INVARIANT,
        field,
        expectation: Arc::new(invariant),
    })
}

/// Whose the addresses of a run are: those that some machine had at any time.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    overlay: BTreeMap<IpAddr, &'static str>,
    cards: BTreeSet<IpAddr>,
}

impl Addresses {
    /// The addresses in the tables of all machines.
    pub fn of(machines: &[History<Arc<NodeTables>>]) -> Addresses {
        let mut addresses = Addresses::default();
        for tables in machines.iter().flat_map(History::iter).map(|(_, tables)| tables) {
            for device in &tables.devices {
                let own = device.addresses.iter().map(|net| net.addr());
                match device.kind {
                    // A host outside the cluster does not forward.
                    DeviceKind::Nic if tables.forwarding => addresses.cards.extend(own),
                    DeviceKind::Ipip | DeviceKind::Vxlan => {
                        addresses.overlay.extend(own.map(|address| (address, "a tunnel's")));
                    }
                    DeviceKind::Nic | DeviceKind::Workload => {}
                }
            }
            let workloads = tables.workloads.iter().flat_map(|workload| &workload.addresses);
            addresses.overlay.extend(workloads.map(|address| (*address, "a workload's")));
        }
        addresses
    }
}

/// Where and when a packet first breaks an invariant.
struct Offence {
    at: Instant,
    text: String,
}

/// The forwarders that a packet passed, with the headers under which it did: the outermost, and the TTL of the inner one.
fn passed(trace: &Trace) -> impl Iterator<Item = (&Hop, IpHeader, Option<u8>)> {
    trace.hops.iter().flat_map(|hop| {
        let of_node = matches!(hop.place.kind, PlaceKind::Node | PlaceKind::Host);
        let left = hop.left.iter().filter(move |_| of_node);
        let left = left.map(|packet| (packet.outer, packet.inner.map(|inner| inner.ttl)));
        let routed = hop.outer.filter(|_| hop.place.kind == PlaceKind::Router);
        left.chain(routed.map(|outer| (outer, None)))
            .filter(|(outer, _)| !outer.later_fragment)
            .map(move |(outer, inner)| (hop, outer, inner))
    })
}

/// Fragments of one packet pass a forwarder one after another with the same TTLs; a packet that comes back has lower ones.
fn loops(trace: &Trace) -> Option<Offence> {
    let mut seen = BTreeMap::new();
    for (hop, outer, inner) in passed(trace) {
        let ttls = (outer.ttl, inner);
        let first = *seen.entry((&hop.place.name, outer.source, outer.destination)).or_insert(ttls);
        if first != ttls {
            let text = format!(
                "passed {} again at {} as {} > {}",
                hop.place, hop.at, outer.source, outer.destination
            );
            return Some(Offence { at: hop.at, text });
        }
    }
    None
}

fn leaks(trace: &Trace, addresses: &Addresses) -> Option<Offence> {
    let routers = trace.hops.iter().filter(|hop| hop.place.kind == PlaceKind::Router);
    routers
        .filter_map(|hop| Some((hop, hop.outer?)))
        .find_map(|(hop, IpHeader { source, destination, .. })| {
            let (address, whose) = [source, destination]
                .into_iter()
                .find_map(|address| Some((address, addresses.overlay.get(&address)?)))?;
            let text = format!(
                "came to {} at {} as {source} > {destination}: {address} is {whose}",
                hop.place, hop.at
            );
            Some(Offence { at: hop.at, text })
        })
}

/// The outer headers that a packet wore, wherever it left.
fn worn(trace: &Trace) -> impl Iterator<Item = (&Hop, IpHeader)> {
    trace.hops.iter().flat_map(|hop| {
        let encapsulated = hop.left.iter().filter(|packet| packet.encap != Encap::None);
        encapsulated.map(move |packet| (hop, packet.outer))
    })
}

fn not_owned(trace: &Trace, addresses: &Addresses) -> Option<Offence> {
    worn(trace).find_map(|(hop, IpHeader { source, destination, .. })| {
        let address = [source, destination]
            .into_iter()
            .find(|address| !addresses.cards.contains(address))?;
        let text = format!(
            "left {} at {} as {source} > {destination}: {address} is no node card's",
            hop.place, hop.at
        );
        Some(Offence { at: hop.at, text })
    })
}

impl Expectation for Invariant {
    fn judge(&self, packets: &Selection<'_>) -> Verdict {
        let addresses = packets.addresses();
        let (code, expected) = match self {
            Invariant::NoLoops => (
                "E-INV-01",
                "no packet passes a forwarder twice under the same outermost addresses",
            ),
            Invariant::NoLeak => ("E-INV-02", "no workload's or tunnel's address comes to an underlay router"),
            Invariant::OuterOwned => ("E-INV-03", "outer addresses are those of nodes' cards"),
        };
        let concerned = |trace: &&Trace| *self != Invariant::OuterOwned || worn(trace).next().is_some();
        let total = packets.packets().filter(concerned).count();
        if total == 0 {
            let what = match self {
                Invariant::NoLoops | Invariant::NoLeak => "no packet was sent",
                Invariant::OuterOwned => "no packet was encapsulated",
            };
            return Verdict::never_evaluated(expected, what);
        }
        let offence = |trace| match self {
            Invariant::NoLoops => loops(trace),
            Invariant::NoLeak => leaks(trace, addresses),
            Invariant::OuterOwned => not_owned(trace, addresses),
        };
        let offences: Vec<_> = packets.packets().filter_map(|trace| Some((trace, offence(trace)?))).collect();
        match offences.iter().min_by_key(|(_, offence)| offence.at) {
            None => Verdict::Pass {
                actual: format!("{total} packets, none otherwise"),
            },
            Some((trace, Offence { text, .. })) => {
                let flow = packets.flow(trace).map_or("", |flow| &flow.name);
                let (direction, sent) = (trace.key.direction, trace.sent_at);
                Verdict::Fail {
                    code,
                    expected: expected.to_owned(),
                    actual: format!(
                        "{} of {total} packets: the {direction} packet of {flow} sent at {sent} {text}",
                        offences.len()
                    ),
                    packet: Some(trace.key),
                }
            }
        }
    }
}
