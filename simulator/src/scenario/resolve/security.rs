//! Security groups, access lists and rules of firewalls, as scenarios write them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, boolean, suggestion, text, word};
use serde_json::Value;

use crate::fabric::{Acl, AclRule, Firewall, FirewallRule, GroupRule, IdleTimes, Peers, SecurityGroup, Traffic};

/// Protocols that have a name here. Not among them is `ipip`: /etc/protocols gives it the number 94, and tunnels use 4.
const PROTOCOLS: [(&str, u8); 4] = [("icmp", 1), ("tcp", 6), ("udp", 17), ("icmpv6", 58)];

/// Reads `securityGroups` of an underlay.
pub(super) fn groups(fields: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> BTreeMap<Arc<str>, SecurityGroup> {
    let entries = fields.entries("securityGroups", refusals);
    let names: Vec<&str> = entries.iter().map(|(name, ..)| *name).collect();
    let mut groups = BTreeMap::new();
    for (name, field, value) in entries {
        let mut group = Fields::new(value, field, refusals);
        let ingress = rules(&mut group, ("ingress", "from"), &names, refusals).unwrap_or_default();
        let anything = GroupRule {
            peers: Peers::Anyone,
            traffic: Traffic::ALL,
        };
        let egress = rules(&mut group, ("egress", "to"), &names, refusals).unwrap_or_else(|| vec![anything]);
        group.finish(refusals);
        groups.insert(name.into(), SecurityGroup { ingress, egress });
    }
    groups
}

/// The rules of one direction; none if the key is not there.
fn rules(
    group: &mut Fields<'_>,
    (direction, side): (&'static str, &'static str),
    groups: &[&str],
    refusals: &mut Vec<Refusal>,
) -> Option<Vec<GroupRule>> {
    group.value(direction)?;
    let items = group.items(direction, refusals);
    let rule = |(field, value): (FieldRef, &Value)| {
        let mut rule = Fields::new(value, field, refusals);
        let peers = rule.parse(side, refusals, |v| peers(v, groups));
        let traffic = traffic(&mut rule, refusals);
        rule.finish(refusals);
        GroupRule {
            peers: peers.unwrap_or(Peers::Anyone),
            traffic,
        }
    };
    Some(items.into_iter().map(rule).collect())
}

fn peers(value: &Value, groups: &[&str]) -> Result<Peers, Wrong> {
    let name = text(value)?;
    if name == "any" {
        return Ok(Peers::Anyone);
    }
    if groups.contains(&name) || name == "default" {
        return Ok(Peers::Group(name.into()));
    }
    if let Some(range) = range(name) {
        return Ok(Peers::Range(range));
    }
    let wrong = Wrong::expected("a security group, a range such as `10.0.0.0/16`, or `any`");
    Err(match suggestion(name, groups.iter().copied()) {
        Some(near) => wrong.help(format!("did you mean `{near}`?")),
        None => wrong,
    })
}

fn range(text: &str) -> Option<IpNet> {
    let bare = || text.parse().ok().map(|address: std::net::IpAddr| IpNet::from(address));
    text.parse().ok().or_else(bare)
}

/// Reads `acl` of a subnet: rules in their order, `allow` or `deny`.
pub(super) fn acl(subnet: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> Option<Acl> {
    subnet.value("acl")?;
    let mut acl = subnet.fields("acl", refusals);
    let ingress = acl_rules(&mut acl, ("ingress", "from"), refusals);
    let egress = acl_rules(&mut acl, ("egress", "to"), refusals);
    acl.finish(refusals);
    Some(Acl { ingress, egress })
}

/// A direction without rules lets everything pass, as the default access list does.
fn acl_rules(acl: &mut Fields<'_>, (direction, side): (&'static str, &'static str), refusals: &mut Vec<Refusal>) -> Vec<AclRule> {
    let everything = |range: &str| AclRule {
        allow: true,
        range: range.parse().unwrap_or_default(),
        traffic: Traffic::ALL,
    };
    if acl.value(direction).is_none() {
        return vec![everything("0.0.0.0/0"), everything("::/0")];
    }
    let mut rules = Vec::new();
    for (field, value) in acl.items(direction, refusals) {
        let mut rule = Fields::new(value, field, refusals);
        let action = rule.require("action", refusals, |v| word(v, &[("allow", true), ("deny", false)]));
        let range = rule.parse(side, refusals, |v| {
            range(text(v)?).ok_or_else(|| Wrong::expected("a range such as `10.0.0.0/16`"))
        });
        let traffic = traffic(&mut rule, refusals);
        rule.finish(refusals);
        let ranges = match range {
            Some(range) => vec![range],
            None => ["0.0.0.0/0", "::/0"].map(|range| range.parse().unwrap_or_default()).into(),
        };
        rules.extend(ranges.into_iter().map(|range| AclRule {
            allow: action.unwrap_or(true),
            range,
            traffic: traffic.clone(),
        }));
    }
    rules
}

/// Reads `rules` and `stateful` of a firewall. Without rules it lets everything pass.
pub(super) fn firewall(fields: &mut Fields<'_>, idle: Duration, refusals: &mut Vec<Refusal>) -> Firewall {
    let written = fields.value("rules").is_some();
    let mut rules = Vec::new();
    for (field, value) in fields.items("rules", refusals) {
        let mut rule = Fields::new(value, field, refusals);
        let mut side = |key| {
            rule.parse(key, refusals, |v| {
                let range = range(text(v)?);
                range.ok_or_else(|| Wrong::expected("a range such as `10.0.0.0/16`"))
            })
        };
        let (from, to) = (side("from"), side("to"));
        let traffic = traffic(&mut rule, refusals);
        rule.finish(refusals);
        rules.push(FirewallRule { from, to, traffic });
    }
    Firewall {
        rules: written.then_some(rules),
        stateful: fields.parse("stateful", refusals, boolean).unwrap_or(true),
        idle: IdleTimes {
            tcp: idle,
            datagrams: idle,
            others: idle,
        },
    }
}

/// Reads `proto` and `ports` of a rule; without them it speaks of everything.
fn traffic(rule: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> Traffic {
    let protocols = rule.parse("proto", refusals, |value| match value {
        Value::Array(items) if !items.is_empty() => items.iter().map(protocol).collect::<Result<Vec<_>, _>>(),
        Value::String(text) if text == "all" => Ok(Vec::new()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Ok(vec![protocol(value)?])
        }
    });
    let protocols = protocols.unwrap_or_default();
    let field = rule.field("ports");
    let ports = rule.parse("ports", refusals, ports);
    if ports.is_some() && !protocols.iter().any(|number| [6, 17].contains(number)) {
        refusals.push(
            Refusal::new("E-PORTS", field, "ports of a protocol that has none")
                .at_key()
                .help("write `proto: udp` or `proto: tcp` beside `ports`"),
        );
    }
    Traffic { protocols, ports }
}

fn protocol(value: &Value) -> Result<u8, Wrong> {
    if let Some(number) = value.as_u64() {
        return u8::try_from(number).map_err(|_| Wrong::expected("a protocol number from 0 to 255"));
    }
    match text(value)? {
        "ipip" | "ipencap" | "ip-in-ip" => Err(Wrong::rule("E-PROTO", "the name of a protocol that means two numbers")
            .why("`ipip` is 94 in /etc/protocols and 4 to everybody who tunnels; clusters have broken over it")
            .help("write the number: 4 for IP in IP")),
        _ => word(value, &PROTOCOLS).map_err(|wrong| wrong.help("write `tcp`, `udp`, `icmp`, `icmpv6` or a number")),
    }
}

fn ports(value: &Value) -> Result<RangeInclusive<u16>, Wrong> {
    let wrong = || Wrong::expected("a port such as 4789, or a range such as `30000-32767`");
    if let Some(port) = value.as_u64() {
        let port = u16::try_from(port).map_err(|_| wrong())?;
        return Ok(port..=port);
    }
    let (low, high) = value.as_str().and_then(|text| text.split_once('-')).ok_or_else(wrong)?;
    let bound = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
    let (low, high) = (bound(low)?, bound(high)?);
    (low <= high).then_some(low..=high).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(groups_value: Value) -> (BTreeMap<Arc<str>, SecurityGroup>, Vec<String>) {
        let value = json!({ "securityGroups": groups_value });
        let mut refusals = Vec::new();
        let mut fields = Fields::new(&value, FieldRef::default(), &mut refusals);
        let groups = groups(&mut fields, &mut refusals);
        fields.finish(&mut refusals);
        (
            groups,
            refusals.iter().map(|r| format!("{} {}", r.code, r.field.path)).collect(),
        )
    }

    #[test]
    fn a_group_lets_everything_out_unless_it_says_otherwise() {
        let (groups, refused) =
            read(json!({"nodes": {"ingress": [{"from": "nodes", "proto": [4, "udp"]}]}, "mute": {"egress": []}}));
        assert_eq!(refused, Vec::<String>::new());
        assert_eq!(groups["nodes"].egress.len(), 1);
        assert_eq!(groups["nodes"].ingress[0].traffic.protocols, [4, 17]);
        assert_eq!((groups["mute"].ingress.len(), groups["mute"].egress.len()), (0, 0));
    }

    #[test]
    fn a_protocol_that_has_two_numbers_must_be_written_as_one() {
        let (_, refused) = read(json!({"nodes": {"ingress": [{"from": "any", "proto": "ipip"}]}}));
        assert_eq!(refused, ["E-PROTO securityGroups.nodes.ingress[0].proto"]);
    }

    #[test]
    fn rules_about_nobody_and_ports_of_nothing_are_refused() {
        let rule = json!([{"from": "node"}, {"proto": 4, "ports": 4789}, {"proto": "udp", "ports": "9-1"}, {"proto": 256}, {"form": "any"}]);
        let (_, refused) = read(json!({"nodes": {"ingress": rule}}));
        let at = |i: usize, code: &str, key: &str| format!("{code} securityGroups.nodes.ingress[{i}].{key}");
        assert_eq!(
            refused,
            [
                at(0, "K-VALUE", "from"),
                at(1, "E-PORTS", "ports"),
                at(2, "K-VALUE", "ports"),
                at(3, "K-VALUE", "proto"),
                at(4, "K-UNKNOWN", "form"),
            ]
        );
    }
}
