//! Expectations: one file a claim. They judge what was observed, never what is inside.
//!
//! [`LIST`] holds the key and reader of every claim about packets; a new claim is one file and one line there. Claims about
//! tables and whole runs are apart: they are not made of flows.

mod connection;
mod delivered;
mod dropped;
mod encap;
mod fragments;
mod gap;
mod icmp;
mod invariant;
mod outer;
mod overhead;
mod path;
mod permute;
mod quantity;
mod selection;
mod source_seen;
mod table;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong};
use serde_json::Value;

pub(crate) use encap::worn;
pub(crate) use fragments::split;
pub use invariant::{Addresses, INVARIANT, read_invariant};
pub(crate) use overhead::added;
pub use permute::permuted;
pub use quantity::Quantity;
pub use selection::{Ground, Scope, Selection};
pub(crate) use table::show_row;
pub use table::{TABLE_CLAIMS, read_table_claims};

use crate::observe::PacketKey;

/// One claim of an expectation, with the place where it is written.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its key: `delivered`, `encap`, ...
    pub key: &'static str,
    /// Where it is written.
    pub field: FieldRef,
    /// What it holds packets against.
    pub expectation: Arc<dyn Expectation>,
}

/// A kind of claim.
pub trait Expectation: fmt::Debug + Send + Sync {
    /// Holds what is selected against the claim.
    fn judge(&self, packets: &Selection<'_>) -> Verdict;
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Pass {
        /// What was seen.
        actual: String,
    },
    /// It does not hold.
    Fail {
        /// A stable code: `E-DLV-01`, ...
        code: &'static str,
        /// What was claimed.
        expected: String,
        /// What was seen instead.
        actual: String,
        /// The first packet that offends.
        packet: Option<PacketKey>,
    },
    /// It cannot be told here.
    Inconclusive {
        /// Why, and what would help.
        reason: String,
    },
}

impl Verdict {
    /// The claim met no packet that it could speak of: an error, never a pass.
    fn never_evaluated(expected: impl Into<String>, actual: impl Into<String>) -> Verdict {
        Verdict::Fail {
            code: "E-EXP-02",
            expected: expected.into(),
            actual: actual.into(),
            packet: None,
        }
    }
}

/// Names that claims may use for addresses and places.
pub trait Names {
    /// The addresses of a node, workload or host, one of each family at most.
    fn addresses(&self, name: &str) -> Vec<IpAddr>;
    /// Every name that [`Names::addresses`] knows, for suggestions.
    fn names(&self) -> Vec<&str>;
    /// Every place that a path or a drop may name: workloads, nodes, hosts, `node/device`, `node/eni`, underlays,
    /// `underlay/subnet`.
    fn places(&self) -> Vec<&str>;
}

type Reader = fn(&Value, &dyn Names) -> Result<Arc<dyn Expectation>, Wrong>;

/// Every claim about the packets of flows: its key, and how its value is read.
pub const LIST: &[(&str, Reader)] = &[
    ("delivered", delivered::read),
    ("dropped", dropped::read),
    ("encap", encap::read),
    ("outer", outer::read),
    ("overhead", overhead::read),
    ("path", path::read),
    ("fragments", fragments::read),
    ("icmp", icmp::read),
    ("gap", gap::read),
    ("connection", connection::read),
    ("sourceSeen", source_seen::read),
];

/// Reads every claim among the keys of a mapping; keys that are no claims are left for the caller to ask for.
pub fn read_claims(fields: &mut Fields<'_>, names: &dyn Names, refusals: &mut Vec<Refusal>) -> Vec<Claim> {
    LIST.iter()
        .filter_map(|(key, read)| {
            let field = fields.field(key);
            let expectation = fields.parse(key, refusals, |value| read(value, names))?;
            Some(Claim { key, field, expectation })
        })
        .collect()
}

/// The address that a claim asks for: a name stands for its addresses of every family, and a packet can only have the one of its
/// own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address(Vec<IpAddr>);

impl Address {
    fn is(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// What is asked for of packets that have addresses of the same family as this one.
    fn like(&self, address: IpAddr) -> Address {
        let same = self.0.iter().copied().filter(|own| own.is_ipv4() == address.is_ipv4());
        let same: Vec<_> = same.collect();
        if same.is_empty() { self.clone() } else { Address(same) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(" or "))
    }
}

/// The address that a name stands for, or that is written out.
fn address(text: &str, names: &dyn Names) -> Result<Address, Wrong> {
    let named = names.addresses(text);
    if !named.is_empty() {
        return Ok(Address(named));
    }
    text.parse().map(|address| Address(vec![address])).map_err(|_| {
        let wrong = Wrong::expected("an address, or the name of a node, workload or host");
        match overlab_dataplane::fields::suggestion(text, names.names()) {
            Some(near) => wrong.help(format!("did you mean `{near}`?")),
            None => wrong,
        }
    })
}

#[cfg(test)]
mod tests {
    use overlab_dataplane::Instant;
    use overlab_dataplane::fields::FieldRef;
    use serde_json::json;

    use super::*;
    use crate::rows::Table;
    use crate::scenario::Window;

    struct Somebody;

    impl Names for Somebody {
        fn addresses(&self, name: &str) -> Vec<IpAddr> {
            Vec::from_iter((name == "a1").then_some(IpAddr::from([10, 0, 0, 1])))
        }

        fn names(&self) -> Vec<&str> {
            vec!["a1"]
        }

        fn places(&self) -> Vec<&str> {
            vec!["a1"]
        }
    }

    /// Every claim in every form, also those that would hold of nothing.
    fn claims() -> Vec<Claim> {
        let mut refusals = Vec::new();
        let mut claims = Vec::new();
        for (key, values) in [
            (
                "delivered",
                vec![json!("all"), json!("none"), json!(0), json!({"max": 3}), json!("0%")],
            ),
            ("dropped", vec![json!("none"), json!("blackhole"), json!({"any": 0})]),
            (
                "encap",
                vec![json!("none"), json!("vxlan"), json!({"none": 0, "ipip": {"max": 3}})],
            ),
            ("outer", vec![json!({"ttl": 64})]),
            ("overhead", vec![json!({"perPacket": "0B"}), json!({"total": "0B"})]),
            ("path", vec![json!(["...", "a1"])]),
            ("fragments", vec![json!("none"), json!("inner"), json!("outer")]),
            ("icmp", vec![json!("none"), json!({"count": 0})]),
            ("gap", vec![json!("1s"), json!({"max": "2s"})]),
            ("sourceSeen", vec![json!("a1")]),
            ("connection", vec![json!("survives"), json!("resets"), json!("stalls")]),
            ("invariant", vec![json!("no-loops"), json!("no-leak"), json!("outer-owned")]),
            ("has", vec![json!({"kind": "ipip"})]),
            ("lacks", vec![json!({"kind": "ipip"})]),
        ] {
            for value in values {
                let entry = json!({ key: value });
                let mut fields = Fields::new(&entry, FieldRef::default(), &mut refusals);
                let before = claims.len();
                claims.extend(read_claims(&mut fields, &Somebody, &mut refusals));
                claims.extend(read_invariant(&mut fields, &mut refusals));
                claims.extend(read_table_claims(&mut fields, Table::Routes, &mut refusals));
                assert_eq!((claims.len(), &refusals[..]), (before + 1, &[][..]), "{key}");
            }
        }
        let tried = |key: &str| claims.iter().any(|claim| claim.key == key);
        let known = LIST.iter().map(|(key, _)| *key).chain(TABLE_CLAIMS).chain([INVARIANT]);
        assert_eq!(known.filter(|key| !tried(key)).collect::<Vec<_>>(), Vec::<&str>::new());
        claims
    }

    #[test]
    fn a_claim_that_meets_nothing_was_never_evaluated_whatever_it_says() {
        let window = Window {
            label: "empty".into(),
            from: Instant::ZERO,
            to: Instant::from_nanos(1),
        };
        for claim in claims() {
            for ranges in [false, true] {
                let ground = Ground {
                    flows: &[],
                    connections: &crate::observe::Connections::new(),
                    addresses: Addresses::default(),
                    ranges,
                };
                for scope in [Scope::Both, Scope::Forward, Scope::Reverse] {
                    let nothing = Selection::of_packets(&ground, Vec::new(), &window, scope);
                    let verdict = claim.expectation.judge(&nothing);
                    let never = matches!(verdict, Verdict::Fail { code: "E-EXP-02", .. });
                    assert!(never, "{:?}: {verdict:?}", claim.expectation);
                }
            }
        }
    }
}
