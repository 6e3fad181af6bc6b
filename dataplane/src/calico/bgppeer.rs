//! `BGPPeer`: which nodes speak BGP with whom besides the mesh. What is said is not here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde_json::Value;

use super::node::as_number;
use super::reading::{below, not_modelled, open};
use super::{Node, Selector};
use crate::Family;
use crate::fields::{FieldRef, Fields, Refusal, Wrong, integer, text, word};

/// A peering.
///
/// Source: Calico api/pkg/apis/projectcalico/v3/bgppeer.go, BGPPeerSpec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpPeer {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is declared.
    pub at: FieldRef,
    /// The nodes that it is for.
    pub nodes: Nodes,
    /// Whom they peer with; none if it names nobody.
    pub peer: Option<Peer>,
    /// What becomes of the next hop of routes that the nodes pass on.
    pub next_hop: NextHopMode,
    /// Whether nodes that are peered with peer back by themselves.
    pub reverse: bool,
    /// How often the nodes' own AS may stand in the path of a route that they take.
    pub allowed_local_as: u8,
    /// The filters of the sessions, in order.
    pub filters: Vec<Arc<str>>,
}

/// The nodes that a peering is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// Every node.
    All,
    /// The node of this name.
    Named(Arc<str>),
    /// The nodes that a selector selects.
    Selected(Selector),
}

/// Whom a peering is with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Whoever has this address, and is of this AS.
    Address(IpAddr, u32),
    /// The nodes that a selector selects.
    Selected(Selector),
}

/// What becomes of the next hop of a route that is passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NextHopMode {
    /// BGP's own rule: the sender towards another AS, untouched within one.
    #[default]
    Auto,
    /// It becomes the sender.
    Own,
    /// It stays as it is.
    Keep,
}

/// Fields that cannot change any result here: sessions come up whatever they say.
const HARMLESS: [&str; 4] = ["failureDetectionMode", "maxRestartTime", "password", "restartMode"];

impl Nodes {
    /// Whether a node is one of them.
    pub fn contains(&self, node: &Node) -> bool {
        match self {
            Nodes::All => true,
            Nodes::Named(name) => *name == node.name,
            Nodes::Selected(selector) => selector.matches(&node.labels),
        }
    }
}

impl BgpPeer {
    /// Reads a peering.
    ///
    /// Source: Calico libcalico-go/lib/validator/v3/validator.go, validateBGPPeerSpec.
    pub(super) fn read(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> BgpPeer {
        let mut object = open(value, &at, refusals);
        let spec = &mut object.spec;
        for (first, second, why) in EXCLUSIVE {
            exclusive(spec, first, second, why, refusals);
        }
        spec.parse("sourceAddress", refusals, |v| word(v, &[("UseNodeIP", ()), ("None", ())]));
        spec.parse("ttlSecurity", refusals, |v| integer(v, 0, 255));
        let local_as = spec.parse("numAllowedLocalASNumbers", refusals, |v| integer(v, 0, 255));
        let reverse = spec.parse("reversePeering", refusals, |v| word(v, &[("Auto", true), ("Manual", false)]));
        let filters = spec.items("filters", refusals);
        let peering = BgpPeer {
            name: object.name,
            at,
            nodes: read_nodes(spec, refusals),
            peer: read_peer(spec, refusals),
            next_hop: read_next_hop(spec, refusals),
            reverse: reverse.unwrap_or(true),
            allowed_local_as: local_as.and_then(|n| u8::try_from(n).ok()).unwrap_or(0),
            filters: filters.iter().filter_map(|(_, v)| v.as_str().map(Arc::from)).collect(),
        };
        for (at, filter) in filters.iter().filter(|(_, v)| !v.is_string()) {
            refusals.push(Wrong::expected("the name of a BGPFilter").at(at.clone(), filter));
        }
        check_unmodelled(spec, refusals);
        spec.ignore(&HARMLESS);
        object.spec.finish(refusals);
        object.root.finish(refusals);
        peering
    }

    /// The field at a path of the object, as `spec.peerIP`.
    pub fn field(&self, path: &str) -> FieldRef {
        below(&self.at, path)
    }
}

/// Pairs of fields of which one at most may be there, and why.
const EXCLUSIVE: [(&str, &str, &str); 6] = [
    ("node", "nodeSelector", "a peering chooses its nodes by name or by selector"),
    (
        "peerIP",
        "peerSelector",
        "a peering chooses its peers by address or by selector",
    ),
    (
        "asNumber",
        "peerSelector",
        "selected peers are of the AS that their nodes are of",
    ),
    ("keepOriginalNextHop", "nextHopMode", "both say what becomes of the next hop"),
    ("peerIP", "localWorkloadSelector", "peers that are workloads are selected"),
    ("peerSelector", "localWorkloadSelector", "peers are workloads or nodes"),
];

/// Whether a field says something: an empty text, a zero and a false do not.
fn says(spec: &mut Fields<'_>, key: &'static str) -> bool {
    spec.value(key).is_some_and(|v| *v != "" && *v != 0 && *v != false)
}

fn exclusive(spec: &mut Fields<'_>, first: &'static str, second: &'static str, why: &str, refusals: &mut Vec<Refusal>) {
    if says(spec, first) && says(spec, second) {
        refusals.push(
            Refusal::new("BGP-EXCLUSIVE", spec.field(second), format!("`{second}` beside `{first}`"))
                .why(why)
                .help("remove one of them")
                .related(spec.field(first), "the other one"),
        );
    }
}

fn read_nodes(spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> Nodes {
    let named = spec.parse("node", refusals, text).filter(|name| !name.is_empty());
    let selected = spec.parse("nodeSelector", refusals, selector).filter(|s| !s.is_empty());
    match (named, selected) {
        (Some(name), _) => Nodes::Named(name.into()),
        (None, Some(selector)) => Nodes::Selected(selector),
        (None, None) => Nodes::All,
    }
}

fn read_peer(spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> Option<Peer> {
    let number = spec.parse("asNumber", refusals, as_number);
    let address = spec.parse("peerIP", refusals, peer_address).flatten();
    spec.withhold(&["reachableBy", "localWorkloadSelector"]);
    if let Some(gateway) = spec.parse("reachableBy", refusals, peer_address).flatten() {
        let fits = address.is_some_and(|address| Family::of(address) == Family::of(gateway));
        refusals.push(if fits {
            not_modelled(spec.field("reachableBy"), "a route to a peer by a gateway")
        } else {
            Refusal::new(
                "BGP-REACHABLE-BY",
                spec.field("reachableBy"),
                "`reachableBy` without a `peerIP` of its family",
            )
            .why("it is the gateway to that one peer")
            .help("remove `reachableBy`, or add `peerIP`")
        });
    }
    let selected = spec.parse("peerSelector", refusals, selector).filter(|s| !s.is_empty());
    match (address, selected) {
        (Some(address), selected) => {
            if number.is_none() && selected.is_none() {
                refusals.push(
                    Refusal::new("K-MISSING", spec.at().clone(), "`asNumber` is missing")
                        .why("BIRD opens no session with a peer whose AS it does not know")
                        .help("add `asNumber:` with the AS of the peer"),
                );
            }
            Some(Peer::Address(address, number?))
        }
        (None, Some(selector)) => Some(Peer::Selected(selector)),
        (None, None) => None,
    }
}

fn read_next_hop(spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> NextHopMode {
    const MODES: [(&str, NextHopMode); 3] = [
        ("Auto", NextHopMode::Auto),
        ("Self", NextHopMode::Own),
        ("Keep", NextHopMode::Keep),
    ];
    let keep = spec
        .parse("keepOriginalNextHop", refusals, crate::fields::boolean)
        .unwrap_or(false);
    let mode = spec.parse("nextHopMode", refusals, |v| word(v, &MODES)).unwrap_or_default();
    if keep { NextHopMode::Keep } else { mode }
}

/// Peers that are workloads.
fn check_unmodelled(spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) {
    if !says(spec, "localWorkloadSelector") {
        return;
    }
    refusals.push(if says(spec, "asNumber") {
        not_modelled(spec.field("localWorkloadSelector"), "BGP with workloads")
    } else {
        Refusal::new(
            "BGP-WORKLOADS",
            spec.field("localWorkloadSelector"),
            "`localWorkloadSelector` without `asNumber`",
        )
        .why("nothing else says which AS the workloads are of")
        .help("add `asNumber`")
    });
}

fn selector(value: &Value) -> Result<Selector, Wrong> {
    let text = text(value)?;
    text.parse().map_err(|error| {
        Wrong::rule("BGP-SELECTOR", format!("{text:?} is no selector: {error}")).help("write a selector, as zone == 'a'")
    })
}

/// Reads an address, or an address and a port, of which the port does not matter here; none if it is empty.
fn peer_address(value: &Value) -> Result<Option<IpAddr>, Wrong> {
    let text = text(value)?;
    if text.is_empty() {
        return Ok(None);
    }
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    let address = text.parse().ok().or_else(with_port);
    address
        .map(Some)
        .ok_or_else(|| Wrong::expected("an address with or without a port, as 10.0.0.1 or 10.0.0.1:179"))
}
