//! Rules of security groups and access lists, as values and in a few words.

use serde_json::{Value, json};

use super::table::{Keys, Shape};
use crate::fabric::{Acl, AclRule, GroupRule, Peers, SecurityGroup, Traffic};

/// The keys of a security group.
pub(super) const GROUP: Keys = &[
    ("name", Shape::Text),
    ("ingress", Shape::Row(RULE)),
    ("egress", Shape::Row(RULE)),
];

/// The keys of an access list.
pub(super) const ACL: Keys = &[("ingress", Shape::Row(RULE)), ("egress", Shape::Row(RULE))];

const RULE: Keys = &[
    ("action", Shape::Word(&["allow", "deny"])),
    ("peers", Shape::Text),
    ("protocols", Shape::Number),
    ("ports", Shape::Text),
];

/// A security group by its name.
pub fn group(name: &str, group: &SecurityGroup) -> Value {
    let rules = |rules: &[GroupRule]| -> Vec<Value> { rules.iter().map(group_rule).collect() };
    json!({ "name": name, "ingress": rules(&group.ingress), "egress": rules(&group.egress) })
}

/// An access list.
pub fn acl(acl: &Acl) -> Value {
    let rules = |rules: &[AclRule]| -> Vec<Value> { rules.iter().map(acl_rule).collect() };
    json!({ "ingress": rules(&acl.ingress), "egress": rules(&acl.egress) })
}

fn group_rule(of: &GroupRule) -> Value {
    let peers = match &of.peers {
        Peers::Anyone => "any".to_owned(),
        Peers::Range(range) => range.to_string(),
        Peers::Group(group) => group.to_string(),
    };
    rule("allow", &peers, &of.traffic)
}

fn acl_rule(of: &AclRule) -> Value {
    let action = if of.allow { "allow" } else { "deny" };
    rule(action, &of.range.to_string(), &of.traffic)
}

fn rule(action: &str, peers: &str, traffic: &Traffic) -> Value {
    let protocols = Some(&traffic.protocols).filter(|protocols| !protocols.is_empty());
    let ports = traffic.ports.as_ref().map(|ports| match ports.start() == ports.end() {
        true => ports.start().to_string(),
        false => format!("{}-{}", ports.start(), ports.end()),
    });
    json!({ "action": action, "peers": peers, "protocols": protocols, "ports": ports })
}

/// The rules of one direction in a few words: `allow nodes proto 4; allow any proto 17 port 4789`.
pub fn in_words(rules: &Value) -> String {
    let text = |rule: &Value| {
        let word = |key: &str| rule[key].as_str().unwrap_or_default();
        let protocols: Vec<_> = rule["protocols"]
            .as_array()
            .into_iter()
            .flatten()
            .map(Value::to_string)
            .collect();
        let protocols = match protocols.is_empty() {
            true => String::new(),
            false => format!(" proto {}", protocols.join(",")),
        };
        let ports = rule["ports"]
            .as_str()
            .map_or_else(String::new, |ports| format!(" port {ports}"));
        format!("{} {}{protocols}{ports}", word("action"), word("peers"))
    };
    let rules: Vec<_> = rules.as_array().into_iter().flatten().map(text).collect();
    if rules.is_empty() {
        "nothing".to_owned()
    } else {
        rules.join("; ")
    }
}
