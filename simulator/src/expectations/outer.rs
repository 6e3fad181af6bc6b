//! `outer`: the outermost header of every encapsulated packet, as it left its sender's node.

use std::sync::Arc;

use overlab_dataplane::encap::Encap;
use overlab_dataplane::fields::{Fields, Wrong, boolean, integer, text};
use serde_json::Value;

use super::{Address, Expectation, Names, Scope, Selection, Verdict, address};
use crate::observe::{Direction, WirePacket};

/// The fields that are claimed; those left out may be anything.
#[derive(Clone, Debug, Default)]
struct Outer {
    source: Option<Address>,
    destination: Option<Address>,
    protocol: Option<u8>,
    destination_port: Option<u16>,
    vni: Option<u32>,
    ttl: Option<u8>,
    dont_fragment: Option<bool>,
    dscp: Option<u8>,
    ecn: Option<u8>,
    flow_label: Option<u32>,
}

pub(super) fn read(value: &Value, names: &dyn Names) -> Result<Arc<dyn Expectation>, Wrong> {
    let mut refusals = Vec::new();
    let mut fields = Fields::new(value, Default::default(), &mut refusals);
    let outer = Outer {
        source: fields.parse("src", &mut refusals, |v| address(text(v)?, names)),
        destination: fields.parse("dst", &mut refusals, |v| address(text(v)?, names)),
        protocol: fields.parse("proto", &mut refusals, protocol),
        destination_port: fields.parse("dport", &mut refusals, |v| small(v, 65535)),
        vni: fields.parse("vni", &mut refusals, |v| small(v, 0xff_ffff)),
        ttl: fields.parse("ttl", &mut refusals, |v| small(v, 255)),
        dont_fragment: fields.parse("df", &mut refusals, boolean),
        dscp: fields.parse("dscp", &mut refusals, |v| small(v, 63)),
        ecn: fields.parse("ecn", &mut refusals, |v| small(v, 3)),
        flow_label: fields.parse("flowLabel", &mut refusals, |v| small(v, 0xf_ffff)),
    };
    fields.finish(&mut refusals);
    match refusals.into_iter().next() {
        None if outer.show().is_empty() => Err(Wrong::expected(
            "at least one of src, dst, proto, dport, vni, ttl, df, dscp, ecn, flowLabel",
        )),
        None => Ok(Arc::new(outer)),
        Some(refusal) => {
            let wrong = Wrong::rule(refusal.code, format!("`{}`: {}", refusal.field.path, refusal.message));
            Err(match refusal.help {
                Some(help) => wrong.help(help),
                None => wrong,
            })
        }
    }
}

fn small<T: TryFrom<u64>>(value: &Value, max: u64) -> Result<T, Wrong> {
    let number = integer(value, 0, max)?;
    T::try_from(number).map_err(|_| Wrong::expected(format!("a whole number from 0 to {max}")))
}

fn protocol(value: &Value) -> Result<u8, Wrong> {
    match value.as_str() {
        Some("udp") => Ok(17),
        Some("ipip") => Err(Wrong::rule("K-VALUE", "`ipip` is ambiguous: IANA's name for protocol 94")
            .help("write 4 for IP in IP as Calico sends it")),
        Some(_) => Err(Wrong::expected("4 or `udp`")),
        None => small(value, 255),
    }
}

impl Outer {
    fn parts(&self) -> [(&'static str, Option<String>); 10] {
        [
            ("src", self.source.as_ref().map(Address::to_string)),
            ("dst", self.destination.as_ref().map(Address::to_string)),
            ("proto", self.protocol.map(|v| v.to_string())),
            ("dport", self.destination_port.map(|v| v.to_string())),
            ("vni", self.vni.map(|v| v.to_string())),
            ("ttl", self.ttl.map(|v| v.to_string())),
            ("df", self.dont_fragment.map(|v| v.to_string())),
            ("dscp", self.dscp.map(|v| v.to_string())),
            ("ecn", self.ecn.map(|v| v.to_string())),
            ("flowLabel", self.flow_label.map(|v| v.to_string())),
        ]
    }

    /// The claim about packets of the same family as this address.
    fn like(&self, address: std::net::IpAddr) -> Outer {
        Outer {
            source: self.source.as_ref().map(|source| source.like(address)),
            destination: self.destination.as_ref().map(|destination| destination.like(address)),
            ..self.clone()
        }
    }

    fn show(&self) -> String {
        let parts: Vec<_> = self
            .parts()
            .into_iter()
            .filter_map(|(k, v)| Some(format!("{k} {}", v?)))
            .collect();
        parts.join(", ")
    }

    /// The claimed fields that a packet has otherwise, with what it has.
    fn differences(&self, packet: &WirePacket, mirrored: bool) -> Vec<String> {
        let header = &packet.outer;
        let (source, destination) = if mirrored {
            (header.destination, header.source)
        } else {
            (header.source, header.destination)
        };
        let found = Outer {
            source: Some(Address(vec![source])),
            destination: Some(Address(vec![destination])),
            protocol: Some(header.protocol),
            destination_port: packet.ports.map(|(_, port)| port),
            vni: packet.vni,
            ttl: Some(header.ttl),
            dont_fragment: header.dont_fragment,
            dscp: Some(header.dscp),
            ecn: Some(header.ecn),
            flow_label: header.flow_label,
        };
        let wanted = self.like(source).parts().into_iter();
        wanted
            .zip(found.parts())
            .filter(|((_, wanted), (_, found))| wanted.is_some() && wanted != found)
            .map(|((key, _), (_, found))| format!("{key} {}", found.unwrap_or_else(|| "absent".to_owned())))
            .collect()
    }
}

impl Expectation for Outer {
    fn judge(&self, packets: &Selection<'_>) -> Verdict {
        let mut total = 0;
        let mut wrong = Vec::new();
        let mut shown = self.clone();
        for trace in packets.packets() {
            let mirrored = packets.scope() == Scope::Both && trace.key.direction == Direction::Reverse;
            for packet in trace
                .first_hop
                .iter()
                .filter(|p| p.encap != Encap::None && !p.outer.later_fragment)
            {
                if total == 0 {
                    shown = self.like(packet.outer.source);
                }
                total += 1;
                let differences = self.differences(packet, mirrored);
                if !differences.is_empty() {
                    wrong.push((trace, differences));
                }
            }
        }
        if total == 0 {
            return Verdict::never_evaluated(self.show(), "no packet was encapsulated");
        }
        match wrong.first() {
            None => Verdict::Pass {
                actual: format!("{total} of {total} have {}", shown.show()),
            },
            Some((trace, differences)) => Verdict::Fail {
                code: "E-OUT-01",
                expected: shown.show(),
                actual: format!(
                    "{} of {total} differ, first {} packet at {}: {}",
                    wrong.len(),
                    trace.key.direction,
                    trace.sent_at,
                    differences.join(", ")
                ),
                packet: Some(trace.key),
            },
        }
    }
}
