//! `icmp`: the ICMP errors about packets that reached somebody, by default their sender.

use std::fmt;
use std::sync::Arc;

use overlab_dataplane::fields::{Wrong, integer, suggestion, text, word};
use serde_json::Value;

use super::quantity::NEEDS_RANGE;
use super::{Address, Expectation, Names, Quantity, Selection, Verdict, address};
use crate::observe::{IcmpSeen, PacketKey, Trace};

/// Type and code of an error.
type Code = (u8, u8);

/// Errors by name: what they are in ICMP, and in ICMPv6. It is apart from the table that errors are written by, so that a wrong
/// number there is seen here.
///
/// Source: RFC 792; RFC 1191 section 4; RFC 4443 section 3.
const ERRORS: [(&str, Code, Code); 8] = [
    ("net_unreachable", (3, 0), (1, 0)),
    ("host_unreachable", (3, 1), (1, 3)),
    ("protocol_unreachable", (3, 2), (4, 1)),
    ("port_unreachable", (3, 3), (1, 4)),
    ("fragmentation_needed", (3, 4), (2, 0)),
    ("prohibited", (3, 13), (1, 1)),
    ("ttl_expired", (11, 0), (3, 0)),
    ("reassembly_timeout", (11, 1), (3, 1)),
];

fn name(error: &IcmpSeen) -> Option<&'static str> {
    let found = (error.kind, error.code);
    let of_family = |v4, v6| if error.from.is_ipv4() { v4 } else { v6 };
    ERRORS
        .iter()
        .find(|(_, v4, v6)| of_family(*v4, *v6) == found)
        .map(|(name, ..)| *name)
}

#[derive(Debug)]
enum Icmp {
    None,
    Some(Wanted),
}

/// What an error has to be; a field that is absent admits everything.
#[derive(Debug)]
struct Wanted {
    error: Option<&'static str>,
    mtu: Option<u16>,
    from: Option<Address>,
    /// Who got it; the packet's sender where none.
    to: Option<String>,
    count: Option<Quantity>,
}

pub(super) fn read(value: &Value, names: &dyn Names) -> Result<Arc<dyn Expectation>, Wrong> {
    if value.as_str() == Some("none") {
        return Ok(Arc::new(Icmp::None));
    }
    let usage = || Wrong::expected("`none`, or a mapping such as `{error: fragmentation_needed, mtu: 1450}`");
    let map = value.as_object().filter(|map| !map.is_empty()).ok_or_else(usage)?;
    let mut wanted = Wanted {
        error: None,
        mtu: None,
        from: None,
        to: None,
        count: None,
    };
    for (key, value) in map {
        match key.as_str() {
            "error" => wanted.error = Some(word(value, &ERRORS.map(|(name, ..)| (name, name)))?),
            "mtu" => wanted.mtu = u16::try_from(integer(value, 0, 65535)?).ok(),
            "from" => wanted.from = Some(address(text(value)?, names)?),
            "to" => wanted.to = Some(receiver(text(value)?, names)?),
            "count" => wanted.count = Some(Quantity::read(value)?.that_can_fail()?),
            other => {
                let wrong = Wrong::rule("K-UNKNOWN", format!("unknown key `{other}` in `icmp`"));
                let known = ["error", "mtu", "from", "to", "count"];
                return Err(match suggestion(other, known) {
                    Some(near) => wrong.help(format!("did you mean `{near}`?")),
                    None => wrong.help(format!("known keys are {}", known.join(", "))),
                });
            }
        }
    }
    Ok(Arc::new(Icmp::Some(wanted)))
}

fn receiver(name: &str, names: &dyn Names) -> Result<String, Wrong> {
    if names.names().contains(&name) {
        return Ok(name.to_owned());
    }
    let wrong = Wrong::expected("the name of a workload, node or host");
    Err(match suggestion(name, names.names()) {
        Some(near) => wrong.help(format!("did you mean `{near}`?")),
        None => wrong,
    })
}

impl Wanted {
    fn admits(&self, trace: &Trace, error: &IcmpSeen) -> bool {
        let sender = || trace.hops.first().map(|hop| &*hop.place.name);
        self.error.is_none_or(|wanted| name(error) == Some(wanted))
            && self.mtu.is_none_or(|mtu| error.mtu == Some(mtu))
            && self.from.as_ref().is_none_or(|from| from.is(error.from))
            && self.to.as_deref().or_else(sender) == Some(&*error.to.name)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.error.unwrap_or("any error"))?;
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        if let Some(from) = &self.from {
            write!(f, " from {from}")?;
        }
        write!(f, " to {}", self.to.as_deref().unwrap_or("the sender"))
    }
}

fn show(error: &IcmpSeen) -> String {
    let what = name(error).map_or_else(|| format!("{}/{}", error.kind, error.code), str::to_owned);
    let mtu = error.mtu.map_or_else(String::new, |mtu| format!(" mtu {mtu}"));
    format!("{what}{mtu} from {} to {}", error.from, error.to)
}

impl Expectation for Icmp {
    fn judge(&self, packets: &Selection<'_>) -> Verdict {
        let traces: Vec<_> = packets.packets().collect();
        let seen: Vec<(&Trace, &IcmpSeen)> = traces
            .iter()
            .flat_map(|trace| trace.icmp_errors.iter().map(move |error| (*trace, error)))
            .collect();
        let (expected, holds, matching) = match self {
            Icmp::None => ("none".to_owned(), Some(seen.is_empty()), 0),
            Icmp::Some(wanted) => {
                let matching = seen.iter().filter(|(trace, error)| wanted.admits(trace, error)).count() as u64;
                let (count, holds) = match &wanted.count {
                    None => ("at least 1".to_owned(), Some(matching > 0)),
                    Some(quantity) => {
                        let sent = traces.len() as u64;
                        (
                            quantity.show(packets.ranges()),
                            quantity.admits(matching, sent, packets.ranges()),
                        )
                    }
                };
                (format!("{count}: {wanted}"), holds, matching)
            }
        };
        let actual = match seen.first() {
            None => "none".to_owned(),
            Some((_, first)) => format!("{matching} of {} errors, the first {}", seen.len(), show(first)),
        };
        if traces.is_empty() {
            return Verdict::never_evaluated(expected, packets.nothing_sent());
        }
        match holds {
            Some(true) => Verdict::Pass { actual },
            None => Verdict::Inconclusive {
                reason: NEEDS_RANGE.to_owned(),
            },
            Some(false) => {
                let offending = seen.first().map(|(trace, _)| *trace).or(traces.first().copied());
                let packet: Option<PacketKey> = offending.map(|trace| trace.key);
                Verdict::Fail {
                    code: "E-ICM-01",
                    expected,
                    actual,
                    packet,
                }
            }
        }
    }
}
