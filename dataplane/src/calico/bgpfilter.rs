//! `BGPFilter`: which routes a peer is told, and which of its routes are taken. Sessions are not here.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::Value;

use super::node::as_number;
use super::reading::{below, not_modelled, open};
use crate::fields::{FieldRef, Fields, Refusal, Wrong, integer, text, word};
use crate::{Family, PerFamily};

/// Rules for the routes that pass a session.
///
/// Source: Calico api/pkg/apis/projectcalico/v3/bgpfilter.go, BGPFilterSpec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpFilter {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is declared.
    pub at: FieldRef,
    /// What the peer is told.
    pub export: PerFamily<Vec<FilterRule>>,
    /// What is taken from the peer.
    pub import: PerFamily<Vec<FilterRule>>,
}

/// A rule of a filter. The first rule whose conditions all hold decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterRule {
    /// What the prefix must be.
    pub prefix: Option<PrefixMatch>,
    /// Whether the route must have come from a BGP peer.
    pub from_peers: bool,
    /// The kind of session that it must be.
    pub peer: Option<PeerType>,
    /// The numbers that the AS path must begin with.
    pub as_path: Vec<u32>,
    /// The metric that the route must have.
    pub metric: Option<u32>,
    /// Whether the route passes.
    pub accept: bool,
}

/// Whether two BGP speakers are of one AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerType {
    /// They are not.
    Ebgp,
    /// They are.
    Ibgp,
}

/// A condition on a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixMatch {
    /// The range to compare with.
    pub cidr: IpNet,
    /// How.
    pub operator: MatchOperator,
    /// The least and the greatest length of a prefix that is in the range.
    pub lengths: (u8, u8),
}

/// How a prefix is compared with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchOperator {
    /// It is the range.
    Equal,
    /// It is not.
    NotEqual,
    /// It is in the range.
    In,
    /// It is not.
    NotIn,
}

/// What a filter looks at of a route that is announced.
#[derive(Clone, Copy, Debug)]
pub struct Announcement<'a> {
    /// The prefix.
    pub prefix: IpNet,
    /// Whether it came from a BGP peer.
    pub from_peer: bool,
    /// The kind of the session that it is about to pass.
    pub peer: PeerType,
    /// Its AS path, nearest first.
    pub as_path: &'a [u32],
    /// Its metric.
    pub metric: u32,
}

impl PrefixMatch {
    fn holds(&self, prefix: IpNet) -> bool {
        let (least, greatest) = self.lengths;
        let within = self.cidr.contains(&prefix) && (least..=greatest).contains(&prefix.prefix_len());
        match self.operator {
            MatchOperator::Equal => prefix == self.cidr,
            MatchOperator::NotEqual => prefix != self.cidr,
            MatchOperator::In => within,
            MatchOperator::NotIn => !within,
        }
    }
}

impl FilterRule {
    /// Whether all its conditions hold.
    ///
    /// Source: Calico confd/pkg/backends/calico/bgp_processor.go, the statements of BGPFilter rules.
    pub fn matches(&self, route: &Announcement<'_>) -> bool {
        self.prefix.is_none_or(|prefix| prefix.holds(route.prefix))
            && (!self.from_peers || route.from_peer)
            && self.peer.is_none_or(|peer| peer == route.peer)
            && route.as_path.starts_with(&self.as_path)
            && self.metric.is_none_or(|metric| metric == route.metric)
    }
}

impl BgpFilter {
    /// Reads a filter.
    pub(super) fn read(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> BgpFilter {
        let mut object = open(value, &at, refusals);
        let spec = &mut object.spec;
        let mut rules = |key: &'static str, family: Family| {
            let items = spec.items(key, refusals);
            items.into_iter().map(|(at, v)| read_rule(v, at, family, refusals)).collect()
        };
        let export = PerFamily {
            v4: rules("exportV4", Family::V4),
            v6: rules("exportV6", Family::V6),
        };
        let import = PerFamily {
            v4: rules("importV4", Family::V4),
            v6: rules("importV6", Family::V6),
        };
        object.spec.finish(refusals);
        object.root.finish(refusals);
        BgpFilter {
            name: object.name,
            at,
            export,
            import,
        }
    }

    /// The field at a path of the object, as `spec.exportV4`.
    pub fn field(&self, path: &str) -> FieldRef {
        below(&self.at, path)
    }
}

fn read_rule(value: &Value, at: FieldRef, family: Family, refusals: &mut Vec<Refusal>) -> FilterRule {
    let mut fields = Fields::new(value, at, refusals);
    let from_peers = fields.parse("source", refusals, |v| word(v, &[("RemotePeers", ())]));
    let peer = fields.parse("peerType", refusals, |v| {
        word(v, &[("eBGP", PeerType::Ebgp), ("iBGP", PeerType::Ibgp)])
    });
    let action = fields.require("action", refusals, |v| word(v, &[("Accept", true), ("Reject", false)]));
    let metric = fields.parse("priority", refusals, |v| integer(v, 1, i32::MAX.unsigned_abs().into()));
    let rule = FilterRule {
        prefix: read_prefix(&mut fields, family, refusals),
        from_peers: from_peers.is_some(),
        peer,
        as_path: fields.parse("asPathPrefix", refusals, as_path).unwrap_or_default(),
        metric: metric.and_then(|metric| u32::try_from(metric).ok()),
        accept: action.unwrap_or_default(),
    };
    fields.withhold(&["communities", "interface", "operations"]);
    for (key, what) in [("communities", "a match on communities"), ("interface", "a match on devices")] {
        if fields.value(key).is_some() {
            refusals.push(not_modelled(fields.field(key), what));
        }
    }
    if fields.value("operations").is_some() {
        refusals.push(if rule.accept {
            not_modelled(fields.field("operations"), "changing routes in a filter")
        } else {
            Refusal::new(
                "BGP-OPERATIONS",
                fields.field("operations"),
                "`operations` in a rule that rejects",
            )
            .why("what is rejected is not changed")
            .help("remove `operations`, or set `action` to `Accept`")
        });
    }
    fields.finish(refusals);
    rule
}

const OPERATORS: [(&str, MatchOperator); 4] = [
    ("Equal", MatchOperator::Equal),
    ("NotEqual", MatchOperator::NotEqual),
    ("In", MatchOperator::In),
    ("NotIn", MatchOperator::NotIn),
];

/// The conditions on the prefix, which come together or not at all.
///
/// Source: Calico libcalico-go/lib/validator/v3/validator.go, validateBGPFilterRule.
fn read_prefix(fields: &mut Fields<'_>, family: Family, refusals: &mut Vec<Refusal>) -> Option<PrefixMatch> {
    let cidr = fields.parse("cidr", refusals, |v| range(v, family));
    let operator = fields.parse("matchOperator", refusals, |v| word(v, &OPERATORS));
    let stated = |fields: &mut Fields<'_>, key| fields.value(key).is_some();
    for (key, needed) in [("cidr", "matchOperator"), ("matchOperator", "cidr"), ("prefixLength", "cidr")] {
        if stated(fields, key) && !stated(fields, needed) {
            refusals.push(
                Refusal::new("BGP-CIDR", fields.field(key), format!("`{key}` without `{needed}`"))
                    .why("a rule compares a prefix only if it says with what and how")
                    .help(format!("add `{needed}`, or remove `{key}`")),
            );
        }
    }
    let at = fields.field("prefixLength");
    let limited = stated(fields, "prefixLength");
    let mut lengths = fields.fields("prefixLength", refusals);
    let (cidr, operator) = cidr.zip(operator)?;
    let longest = cidr.max_prefix_len();
    let mut length = |key, default| {
        let read = lengths.parse(key, refusals, |v| integer(v, 0, longest.into()));
        read.and_then(|length| u8::try_from(length).ok()).unwrap_or(default)
    };
    let bounds = (length("min", cidr.prefix_len()), length("max", longest));
    lengths.finish(refusals);
    if limited && matches!(operator, MatchOperator::Equal | MatchOperator::NotEqual) {
        refusals.push(not_modelled(
            at,
            "`prefixLength` with an operator other than `In` and `NotIn`",
        ));
    }
    Some(PrefixMatch {
        cidr,
        operator,
        lengths: bounds,
    })
}

fn range(value: &Value, family: Family) -> Result<IpNet, Wrong> {
    let wrong = || {
        Wrong::expected(match family {
            Family::V4 => "an IPv4 range, as 10.0.0.0/16",
            Family::V6 => "an IPv6 range, as fd00::/64",
        })
    };
    let text = text(value)?;
    let bare = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let net = text.parse::<IpNet>().ok().or_else(bare).ok_or_else(wrong)?;
    (Family::of_net(net) == family).then(|| net.trunc()).ok_or_else(wrong)
}

fn as_path(value: &Value) -> Result<Vec<u32>, Wrong> {
    let list = value.as_array().ok_or_else(|| Wrong::expected("a list of AS numbers"))?;
    list.iter().map(as_number).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(MatchOperator::Equal, [true, false, false])]
    #[case(MatchOperator::NotEqual, [false, true, true])]
    #[case(MatchOperator::In, [false, true, false])]
    #[case(MatchOperator::NotIn, [true, false, true])]
    fn a_prefix_is_compared_by_operator_and_length(#[case] operator: MatchOperator, #[case] expected: [bool; 3]) {
        let prefix = PrefixMatch {
            cidr: "10.0.0.0/16".parse().unwrap(),
            operator,
            lengths: (24, 32),
        };
        let found = ["10.0.0.0/16", "10.0.1.0/24", "10.1.0.0/24"].map(|net| prefix.holds(net.parse().unwrap()));
        assert_eq!(found, expected);
    }
}
