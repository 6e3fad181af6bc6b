//! Agents through the run: when those of each node hear of a change, and when they are down. What they make of it is not here.

use std::time::Duration;

use overlab_dataplane::fields::{Fields, Refusal, Wrong};
use serde_json::Value;

use super::timeline::{Entry, What};
use super::versions::{Reader, find};
use crate::scenario::model::{AgentOutage, Rollout};
use crate::scenario::quantity::duration;

/// From Felix's end until it has its tables again. A round figure of ours, since it depends on the size of the cluster; the
/// rollout of an event may say another.
const AGENT_RESTART: Duration = Duration::from_millis(1500);

/// BIRD's rendering and its scan of the kernel's routes.
///
/// Source: BIRD proto/kernel, `scan time`, which Calico's templates set to two seconds.
const BIRD_DELAY: Duration = Duration::from_secs(2);

impl Reader<'_> {
    /// Every node in the order of names, all at once.
    pub(super) fn at_once(&self) -> Rollout {
        Rollout {
            turns: self.turns(&[]),
            stagger: Duration::ZERO,
            agent_restart: AGENT_RESTART,
            bird_delay: BIRD_DELAY,
        }
    }

    /// The turn of each node, where some come first: whoever is not among them comes after them by name.
    fn turns(&self, first: &[usize]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        order.sort_by_cached_key(|node| {
            let named = first.iter().position(|other| other == node);
            (named.unwrap_or(first.len()), self.nodes[*node].name.clone())
        });
        let mut turns = vec![0; order.len()];
        order.into_iter().enumerate().for_each(|(turn, node)| turns[node] = turn);
        turns
    }

    /// How an event comes to the nodes.
    pub(super) fn rollout(&self, entry: &Entry<'_>, refusals: &mut Vec<Refusal>) -> Rollout {
        let mut rollout = self.at_once();
        let Some(value) = entry.rollout else { return rollout };
        let mut fields = Fields::new(value, entry.at_key("rollout"), refusals);
        let mut order: Vec<usize> = Vec::new();
        for (field, value) in fields.items("order", refusals) {
            match find(value, self.nodes) {
                Ok(node) if order.contains(&node) => {
                    refusals.push(Refusal::new("E-EVENT", field, "a node learns of a change once").help("name each node once"));
                }
                Ok(node) => order.push(node),
                Err(wrong) => refusals.push(wrong.at(field, value)),
            }
        }
        rollout.turns = self.turns(&order);
        rollout.stagger = fields.parse("stagger", refusals, duration).unwrap_or_default();
        let slowest = (0..self.nodes.len()).max_by_key(|node| rollout.turns[*node]);
        let slowest = slowest.map(|node| (node, entry.at.saturating_add(rollout.delay(node))));
        if let Some((node, at)) = slowest.filter(|(_, at)| *at >= self.end && rollout.stagger > Duration::ZERO) {
            let text = format!(
                "{} would learn of it at {at}, and the run ends at {}",
                self.nodes[node].name, self.end
            );
            let refusal = Refusal::new("E-EVENT", fields.field("stagger"), text);
            refusals.push(refusal.help("take a shorter `stagger`, or a longer `duration`"));
        }
        rollout.agent_restart = fields.parse("agentRestart", refusals, duration).unwrap_or(AGENT_RESTART);
        rollout.bird_delay = fields.parse("birdDelay", refusals, duration).unwrap_or(BIRD_DELAY);
        fields.finish(refusals);
        rollout
    }

    /// When calico-node is down on which node.
    pub(super) fn outages(&self, refusals: &mut Vec<Refusal>) -> Vec<AgentOutage> {
        let mut outages = Vec::new();
        for entry in self.entries {
            let Some((What::Agent, value)) = entry.what else { continue };
            let mut fields = Fields::new(value, entry.at_key("agent"), refusals);
            let nodes = |value: &Value| match value.as_array() {
                Some(items) if items.is_empty() => Err(Wrong::expected("a node, or several")),
                Some(items) => items.iter().map(|item| find(item, self.nodes)).collect(),
                None => find(value, self.nodes).map(|node| vec![node]),
            };
            let before = refusals.len();
            let down = fields.parse("down", refusals, nodes);
            let restart = fields.parse("restart", refusals, nodes);
            let at = fields.at().clone();
            fields.finish(refusals);
            let (nodes, until) = match (down, restart) {
                (Some(nodes), None) => (nodes, entry.until),
                (None, Some(nodes)) => (nodes, Some(entry.until.unwrap_or(entry.at.saturating_add(AGENT_RESTART)))),
                // A node that there is none of was said, and is refused.
                _ if refusals.len() > before => continue,
                _ => {
                    let refusal = Refusal::new("E-EVENT", at, "it is not said what happens to which agents");
                    refusals.push(refusal.help("write `agent: {down: NODE}` with or without `for`, or `agent: {restart: NODE}`"));
                    continue;
                }
            };
            for node in nodes {
                let outage = AgentOutage {
                    name: entry.name.clone(),
                    node,
                    from: entry.at,
                    until,
                };
                if let Some(other) = outages.iter().find(|other: &&AgentOutage| other.overlaps(&outage)) {
                    let text = format!(
                        "calico-node of {} is down already, by `{}`",
                        self.nodes[node].name, other.name
                    );
                    let refusal = Refusal::new("E-EVENT", entry.place(), text).at_key();
                    refusals.push(refusal.help("let one event end before the other begins"));
                }
                outages.push(outage);
            }
        }
        outages
    }
}
