//! Scenarios of any number of nodes and events, as text: a workload on each node, five flows, and events of one kind.

use std::fmt::Write;

/// What an event of a long timeline does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Events {
    /// The pool goes between Always and CrossSubnet: a change of some routes that restarts nobody.
    Mode,
    /// The pool goes between VXLAN and IP in IP, which restarts every Felix.
    Switch,
    /// A workload moves to another node.
    Move,
}

/// Nodes in one subnet.
const OF_A_SUBNET: usize = 200;

/// The scenario; of each event the nodes hear one after the other.
pub(crate) fn scenario(nodes: usize, events: usize, kind: Events) -> String {
    let mut text = format!(
        "apiVersion: overlab.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: large}}\nspec:\n  duration: {}s\n  underlay:\n    \
         dc:\n      preset: onprem\n      cidr: 10.0.0.0/12\n      subnets:\n",
        10 + 5 * events
    );
    let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string takes all");
    for subnet in 0..nodes.div_ceil(OF_A_SUBNET) {
        line(format_args!("        s{subnet}: {{cidr: 10.0.{subnet}.0/24}}"));
    }
    line(format_args!("  nodes:"));
    for node in 0..nodes {
        let (subnet, host) = (node / OF_A_SUBNET, 10 + node % OF_A_SUBNET);
        line(format_args!("    n{node}: {{subnet: s{subnet}, ip: 10.0.{subnet}.{host}}}"));
    }
    line(format_args!("  workloads:"));
    for node in 0..nodes {
        line(format_args!("    w{node}: {{node: n{node}}}"));
    }
    line(format_args!("  flows:"));
    for flow in 0..5 {
        let to = nodes - 1 - flow;
        line(format_args!(
            "    f{flow}: {{from: w{flow}, to: w{to}, proto: udp, dport: 5000, rate: 1/s, reply: none}}"
        ));
    }
    line(format_args!("  timeline:"));
    for event in 0..events {
        let odd = event % 2 == 1;
        let pool = |spec: &str| format!("patch: {{kind: IPPool, name: pool, spec: {{{spec}}}}}, rollout: {{stagger: 1ms}}");
        let what = match kind {
            Events::Mode if odd => pool("vxlanMode: Always"),
            Events::Mode => pool("vxlanMode: CrossSubnet"),
            Events::Switch if odd => pool("vxlanMode: Always, ipipMode: Never"),
            Events::Switch => pool("vxlanMode: Never, ipipMode: Always"),
            Events::Move => {
                // Each time round, every workload goes one node further.
                let (workload, to) = (event % nodes, (event + 1 + event / nodes) % nodes);
                format!("workload: {{move: w{workload}, to: n{to}}}")
            }
        };
        line(format_args!("    - {{name: e{event}, at: {}s, {what}}}", 1 + 5 * event));
    }
    line(format_args!("  expect: [{{flow: f0, delivered: {{min: 1}}}}]"));
    text + "---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: pool}\nspec: {cidr: 10.128.0.0/12, vxlanMode: \
            Always, natOutgoing: true}\n"
}
