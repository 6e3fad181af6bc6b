//! The kinds of tables, the keys of their rows, and what each key can hold.

use std::fmt;

use clap::ValueEnum;

use super::firewall::{ACL, GROUP};
use crate::fabric::Preset;

/// A kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Table {
    /// The underlays.
    Underlays,
    /// The cluster's pools.
    Pools,
    /// The cluster's blocks.
    Blocks,
    /// The cluster IPs of services.
    Services,
    /// A node's devices.
    Devices,
    /// A node's routes.
    Routes,
    /// The tunnel ends of other nodes.
    Vteps,
    /// Who may send a node tunnel packets.
    Allow,
    /// A node's MTUs.
    Mtu,
    /// What a node translates.
    Nat,
}

/// What a key of a row holds: one such value, a list of them, or null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Any text.
    Text,
    /// An address.
    Address,
    /// An address with a prefix length, which may be that of a range around it.
    Net,
    /// A range. A single address has the longest prefix length.
    Range,
    /// A range. A single address has no prefix length.
    Source,
    /// A whole number.
    Number,
    /// True or false.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A row of its own.
    Row(Keys),
    /// A mapping from knobs of an underlay to their values.
    Knobs,
}

/// The keys of a row, and what each holds.
pub type Keys = &'static [(&'static str, Shape)];

use Shape::{Address, Flag, Knobs, Net, Number, Range, Row, Source, Text, Word};

const MODE: Shape = Word(&["Never", "Always", "CrossSubnet"]);
const FAMILY: Shape = Word(&["ipv4", "ipv6"]);

const UNDERLAY: Keys = &[
    ("name", Text),
    ("preset", Word(Preset::NAMES)),
    ("cidrs", Range),
    (
        "subnets",
        Row(&[("name", Text), ("cidrs", Range), ("mtu", Number), ("acl", Row(ACL))]),
    ),
    ("securityGroups", Row(GROUP)),
    ("knobs", Knobs),
    ("changed", Text),
];

const POOL: Keys = &[
    ("name", Text),
    ("cidr", Range),
    ("ipipMode", MODE),
    ("vxlanMode", MODE),
    ("natOutgoing", Flag),
    ("disabled", Flag),
    ("disableBGPExport", Flag),
    ("blockSize", Number),
    ("nodeSelector", Text),
    ("namespaceSelector", Text),
    ("allowedUses", Word(&["Workload", "Tunnel", "LoadBalancer"])),
    ("assignmentMode", Word(&["Automatic", "Manual"])),
    ("declaredAt", Text),
];

const DEVICE: Keys = &[
    ("name", Text),
    ("mtu", Number),
    ("addresses", Net),
    ("workload", Text),
    ("parent", Text),
];

const ROUTE: Keys = &[
    ("destination", Range),
    (
        "kind",
        Word(&["local", "direct", "ipip", "vxlan", "blackhole", "host", "none"]),
    ),
    ("gateway", Address),
    ("device", Text),
    ("node", Text),
    ("sameSubnet", Flag),
    ("owner", Word(&["kernel", "felix", "bird"])),
    ("protocol", Number),
    ("onlink", Flag),
    ("metric", Number),
    ("mtu", Number),
    ("decision", Row(DECISION)),
    ("reason", Text),
    ("declaredAt", Text),
];

const DECISION: Keys = &[
    ("pool", Text),
    ("encapsulation", Word(&["none", "ipip", "vxlan"])),
    ("mode", MODE),
    ("declaredAt", Text),
    (
        "subnetTest",
        Row(&[
            ("local", Row(&[("node", Text), ("address", Net)])),
            ("remote", Row(&[("node", Text), ("address", Address)])),
            ("nextHop", Flag),
            ("same", Flag),
        ]),
    ),
];

const VTEP: Keys = &[
    ("node", Text),
    ("address", Address),
    ("mac", Text),
    ("nodeAddress", Address),
    ("family", FAMILY),
    ("device", Text),
];

const SERVICE: Keys = &[
    ("service", Text),
    ("address", Address),
    ("protocol", Word(&["tcp", "udp"])),
    ("port", Number),
    ("endpoints", Text),
    ("byClient", Flag),
];

const MTU: Keys = &[
    ("host", Number),
    ("ipip", Number),
    ("vxlan", Number),
    ("vxlanV6", Number),
    ("workload", Number),
    ("devices", Row(&[("name", Text), ("mtu", Number)])),
];

const NAT: Keys = &[
    ("family", FAMILY),
    ("masquerade", Range),
    ("pools", Range),
    ("exempt", Address),
    ("address", Address),
    ("ports", Number),
    ("interface", Text),
    ("tunnelPorts", Number),
];

impl Table {
    /// Every kind by its name.
    pub const ALL: [(&'static str, Table); 10] = [
        ("underlays", Table::Underlays),
        ("pools", Table::Pools),
        ("blocks", Table::Blocks),
        ("services", Table::Services),
        ("devices", Table::Devices),
        ("routes", Table::Routes),
        ("vteps", Table::Vteps),
        ("allow", Table::Allow),
        ("mtu", Table::Mtu),
        ("nat", Table::Nat),
    ];

    /// Whether every node has its own.
    pub fn is_of_node(self) -> bool {
        !matches!(self, Table::Underlays | Table::Pools | Table::Blocks | Table::Services)
    }

    /// The keys of its rows.
    pub fn keys(self) -> Keys {
        match self {
            Table::Underlays => UNDERLAY,
            Table::Pools => POOL,
            Table::Blocks => &[("cidr", Range), ("node", Text)],
            Table::Services => SERVICE,
            Table::Devices => DEVICE,
            Table::Routes => ROUTE,
            Table::Vteps => VTEP,
            Table::Allow => &[("ipip", Source), ("vxlan", Source), ("vxlanV6", Source)],
            Table::Mtu => MTU,
            Table::Nat => NAT,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Table::ALL.iter().find(|(_, table)| table == self);
        f.pad(name.map_or("", |(name, _)| name))
    }
}
