//! The closed list of reasons for which a packet is lost: the sum of what engines, fabric and stacks can give.

use std::fmt;

use overlab_dataplane::engine;

use crate::fabric;

/// Why a packet was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// In a node.
    Node(engine::DropReason),
    /// In the fabric.
    Fabric(fabric::DropReason),
    /// In a stack.
    Host(HostDropReason),
}

/// Why a stack threw a packet away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostDropReason {
    /// Nothing listens on that port or protocol.
    NoListener,
}

impl DropReason {
    /// Its spelling in scenarios and reports. A reason that two parts can give has the same name in both.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::Node(reason) => reason.name(),
            DropReason::Fabric(reason) => reason.name(),
            DropReason::Host(HostDropReason::NoListener) => "no_listener",
        }
    }

    /// What it means, and who says so.
    pub fn meaning(self) -> &'static str {
        match self {
            DropReason::Node(reason) => reason.meaning(),
            DropReason::Fabric(reason) => reason.meaning(),
            DropReason::Host(HostDropReason::NoListener) => {
                "Nothing listens on that port or protocol; ICMP 3/3 or 3/2. Source: RFC 1122 section 3.2.2.1."
            }
        }
    }

    /// Every spelling, sorted.
    pub fn names() -> Vec<&'static str> {
        let mut names: Vec<_> = engine::DropReason::ALL.iter().map(|r| r.name()).collect();
        names.extend(fabric::DropReason::ALL.iter().map(|r| r.name()));
        names.push("no_listener");
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
