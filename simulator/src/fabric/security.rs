//! What cloud firewalls admit: security groups at a card's port, which are stateful and only allow, and access lists at a
//! subnet's edge, which are stateless and ordered. Both judge the outermost header, as fabrics do; which card or subnet a packet
//! passes is not asked here.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use overlab_dataplane::wire::FlowKey;
use overlab_dataplane::wire::ipv4::protocol;

/// Whom a rule speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Everybody.
    Anyone,
    /// Addresses of a range.
    Range(IpNet),
    /// The cards that are in a group.
    Group(Arc<str>),
}

/// What a rule speaks of: packets of some protocols, and of TCP and UDP those to some ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Protocol numbers; empty for every protocol.
    pub protocols: Vec<u8>,
    /// Destination ports, first and last; none for every port.
    pub ports: Option<RangeInclusive<u16>>,
}

impl Traffic {
    /// Every packet.
    pub const ALL: Traffic = Traffic {
        protocols: Vec::new(),
        ports: None,
    };

    /// A fragment shows no ports, and is held to be of those that are asked for.
    pub(super) fn holds(&self, flow: &FlowKey) -> bool {
        let protocol = self.protocols.is_empty() || self.protocols.contains(&flow.protocol);
        let port = flow
            .ports
            .is_none_or(|(_, port)| self.ports.as_ref().is_none_or(|ports| ports.contains(&port)));
        protocol && port
    }
}

/// A rule of a security group: it lets packets pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRule {
    /// From whom, or to whom.
    pub peers: Peers,
    /// What.
    pub traffic: Traffic,
}

/// A security group: what its members' cards may receive and send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroup {
    /// What comes in.
    pub ingress: Vec<GroupRule>,
    /// What goes out.
    pub egress: Vec<GroupRule>,
}

/// A rule of an access list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclRule {
    /// Whether it lets packets pass, or drops them.
    pub allow: bool,
    /// Sources on the way in, destinations on the way out.
    pub range: IpNet,
    /// What.
    pub traffic: Traffic,
}

/// The access list of a subnet. What no rule names is dropped.
///
/// Source: AWS VPC user guide, "Network ACLs".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// For packets that enter the subnet.
    pub ingress: Vec<AclRule>,
    /// For packets that leave it.
    pub egress: Vec<AclRule>,
}

impl Acl {
    /// Whether a packet may enter the subnet.
    pub fn lets_in(&self, flow: &FlowKey) -> bool {
        first_match(&self.ingress, flow, flow.source)
    }

    /// Whether a packet may leave the subnet.
    pub fn lets_out(&self, flow: &FlowKey) -> bool {
        first_match(&self.egress, flow, flow.destination)
    }
}

fn first_match(rules: &[AclRule], flow: &FlowKey, peer: IpAddr) -> bool {
    let rule = rules
        .iter()
        .find(|rule| rule.range.contains(&peer) && rule.traffic.holds(flow));
    rule.is_some_and(|rule| rule.allow)
}

impl Peers {
    fn is_everybody(&self) -> bool {
        match self {
            Peers::Anyone => true,
            Peers::Range(range) => range.prefix_len() == 0,
            Peers::Group(_) => false,
        }
    }
}

/// Whether rules admit a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// No rule does.
    None,
    /// A rule does.
    ByRule,
    /// TCP or UDP of which rules of both directions speak to everybody, those of the other direction whatever the port.
    Open,
}

/// Whether some rule of its direction admits a packet, with those of the other direction beside them. `is_member` tells whether the
/// other side is in a group, `peer` is its address.
///
/// Source: AWS EC2 user guide, "Security group connection tracking", untracked connections.
pub(super) fn admission(
    (rules, opposite): (&[GroupRule], &[GroupRule]),
    flow: &FlowKey,
    peer: IpAddr,
    is_member: impl Fn(&str) -> bool,
) -> Admission {
    let admits = |rule: &&GroupRule| {
        let named = match &rule.peers {
            Peers::Anyone => true,
            Peers::Range(range) => range.contains(&peer),
            Peers::Group(group) => is_member(group),
        };
        named && rule.traffic.holds(flow)
    };
    let mut admitting = rules.iter().filter(admits).peekable();
    if admitting.peek().is_none() {
        return Admission::None;
    }
    let open = |rule: &GroupRule| rule.peers.is_everybody();
    let has_ports = matches!(flow.protocol, protocol::TCP | protocol::UDP);
    let answers = |rule: &GroupRule| open(rule) && rule.traffic.ports.is_none() && rule.traffic.holds(flow);
    match has_ports && admitting.any(open) && opposite.iter().any(answers) {
        true => Admission::Open,
        false => Admission::ByRule,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(source: &str, destination: &str, protocol: u8, ports: Option<(u16, u16)>) -> FlowKey {
        FlowKey {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol,
            ports,
        }
    }

    #[test]
    fn a_rule_admits_its_peers_protocols_and_ports_only() {
        let rule = |peers, protocols: &[u8], ports: Option<RangeInclusive<u16>>| GroupRule {
            peers,
            traffic: Traffic {
                protocols: protocols.to_vec(),
                ports,
            },
        };
        let udp = flow("10.0.0.1", "10.0.0.2", protocol::UDP, Some((40000, 4789)));
        let admitted = |rule| admission((&[rule], &[]), &udp, udp.source, |group| group == "nodes") == Admission::ByRule;
        assert!(admitted(rule(Peers::Anyone, &[], None)));
        assert!(admitted(rule(
            Peers::Range("10.0.0.0/24".parse().unwrap()),
            &[17],
            Some(4789..=4789)
        )));
        assert!(admitted(rule(Peers::Group("nodes".into()), &[4, 17], None)));
        assert!(!admitted(rule(Peers::Group("others".into()), &[17], None)));
        assert!(!admitted(rule(Peers::Anyone, &[4], None)), "94, 4 and 17 are three protocols");
        assert!(!admitted(rule(Peers::Anyone, &[17], Some(8472..=8472))));
        assert!(!admitted(rule(Peers::Range("10.0.1.0/24".parse().unwrap()), &[], None)));
    }

    #[test]
    fn what_both_directions_open_to_everybody_is_open() {
        let rule = |peers, ports| GroupRule {
            peers,
            traffic: Traffic {
                protocols: Vec::new(),
                ports,
            },
        };
        let udp = flow("10.0.0.1", "10.0.0.2", protocol::UDP, Some((40000, 4789)));
        let icmp = flow("10.0.0.1", "10.0.0.2", protocol::ICMP, None);
        let everybody = || rule(Peers::Range("0.0.0.0/0".parse().unwrap()), None);
        let judged = |ingress, egress, flow: &FlowKey| admission((&[ingress], &[egress]), flow, flow.source, |_| true);
        assert_eq!(
            judged(rule(Peers::Anyone, Some(4789..=4789)), everybody(), &udp),
            Admission::Open
        );
        assert_eq!(
            judged(everybody(), rule(Peers::Anyone, Some(4789..=4789)), &udp),
            Admission::ByRule
        );
        assert_eq!(
            judged(rule(Peers::Group("nodes".into()), None), everybody(), &udp),
            Admission::ByRule
        );
        assert_eq!(
            judged(everybody(), everybody(), &icmp),
            Admission::ByRule,
            "ICMP is always tracked"
        );
    }

    #[test]
    fn the_first_rule_of_an_access_list_decides_and_none_means_no() {
        let rule = |allow, range: &str, protocols: &[u8]| AclRule {
            allow,
            range: range.parse().unwrap(),
            traffic: Traffic {
                protocols: protocols.to_vec(),
                ports: None,
            },
        };
        let acl = Acl {
            ingress: vec![rule(false, "10.0.1.0/24", &[]), rule(true, "10.0.0.0/8", &[6, 17])],
            egress: vec![rule(true, "0.0.0.0/0", &[])],
        };
        let from = |source: &str, protocol| flow(source, "10.0.0.2", protocol, None);
        assert!(acl.lets_in(&from("10.0.2.1", 17)));
        assert!(!acl.lets_in(&from("10.0.1.1", 17)));
        assert!(!acl.lets_in(&from("10.0.2.1", 4)));
        assert!(acl.lets_out(&from("10.0.2.1", 4)));
    }
}
