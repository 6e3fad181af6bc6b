//! `fragments`: whether packets were split, and on which side of the encapsulation. Who splits, and to which size, is not asked.

use std::fmt;
use std::sync::Arc;

use overlab_dataplane::encap::Encap;
use overlab_dataplane::engine::{Layer, Step as EngineStep};
use overlab_dataplane::fields::{Wrong, word};
use serde_json::Value;

use super::{Expectation, Names, Selection, Verdict};
use crate::observe::{Step, Trace};

/// Where a packet was split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Split {
    /// Before encapsulation, or bare.
    inner: bool,
    /// After encapsulation: at the node, or on the way.
    outer: bool,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.inner, self.outer) {
            (false, false) => "none",
            (true, false) => "inner",
            (false, true) => "outer",
            (true, true) => "inner and outer",
        })
    }
}

#[derive(Debug)]
struct Fragments {
    wanted: Split,
}

pub(super) fn read(value: &Value, _names: &dyn Names) -> Result<Arc<dyn Expectation>, Wrong> {
    let split = |inner, outer| Split { inner, outer };
    let words = [
        ("none", split(false, false)),
        ("inner", split(true, false)),
        ("outer", split(false, true)),
    ];
    let wanted = word(value, &words)?;
    Ok(Arc::new(Fragments { wanted }))
}

impl Split {
    fn of(trace: &Trace) -> Split {
        let mut split = Split::default();
        for step in trace.hops.iter().flat_map(|hop| &hop.steps) {
            if let Step::Engine(EngineStep::Fragmented { layer, .. }) = step {
                split.inner |= *layer == Layer::Inner;
                split.outer |= *layer == Layer::Outer;
            }
        }
        let encapsulated = trace.first_hop.iter().any(|packet| packet.encap != Encap::None);
        let left_in_pieces = trace.first_hop.iter().any(|packet| packet.outer.fragment);
        // A stack that splits its own packets leaves no step behind: only their headers tell.
        split.inner |= trace
            .first_hop
            .iter()
            .any(|packet| packet.inner.is_some_and(|inner| inner.fragment));
        split.inner |= left_in_pieces && !encapsulated;
        // So does a router on the way.
        let on_the_way = !left_in_pieces && trace.hops.iter().any(|hop| hop.later_fragment && hop.tables.is_none());
        split.outer |= on_the_way && encapsulated && !split.inner;
        split.inner |= on_the_way && !encapsulated;
        split
    }
}

/// Where a packet was split, in the claim's words: `none`, `inner`, `outer`, or `inner and outer`.
pub(crate) fn split(trace: &Trace) -> String {
    Split::of(trace).to_string()
}

impl Expectation for Fragments {
    fn judge(&self, packets: &Selection<'_>) -> Verdict {
        let split: Vec<_> = packets.packets().map(|trace| (trace, Split::of(trace))).collect();
        let total = split.len();
        let expected = format!("{} on every packet", self.wanted);
        if total == 0 {
            return Verdict::never_evaluated(expected, packets.nothing_sent());
        }
        match split.iter().find(|(_, split)| *split != self.wanted) {
            None => Verdict::Pass {
                actual: format!("{total} of {total}: {}", self.wanted),
            },
            Some((trace, found)) => Verdict::Fail {
                code: "E-FRG-01",
                expected,
                actual: format!("the {} packet at {}: {found}", trace.key.direction, trace.sent_at),
                packet: Some(trace.key),
            },
        }
    }
}
