//! Values of Felix's settings: how each is spelt, and what each may be.

use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use serde_json::Value;

use super::{AwsSrcDstCheck, RouteSource};
use crate::Vni;
use crate::fields::{Wrong, integer, suggestion, text, word};
use crate::route::{EndpointToHostAction, RouteProtocol};

/// Reads a text that may be empty, which stands for none.
pub(super) fn optional<T>(value: &Value, read: fn(&Value) -> Result<T, Wrong>) -> Result<Option<T>, Wrong> {
    if value == "" { Ok(None) } else { read(value).map(Some) }
}

pub(super) fn vni(value: &Value) -> Result<Vni, Wrong> {
    let wrong = || Wrong::expected("a whole number from 0 to 16777215");
    let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
    number.and_then(Vni::new).ok_or_else(wrong)
}

pub(super) fn endpoint_to_host(value: &Value) -> Result<EndpointToHostAction, Wrong> {
    match text(value)?.to_lowercase().as_str() {
        "drop" => Ok(EndpointToHostAction::Drop),
        "accept" => Ok(EndpointToHostAction::Accept),
        "return" => Err(Wrong::rule("K-NOT-MODELLED", "`Return` is not modelled")
            .why("what then happens is the host's own firewall's affair")
            .help("write `Accept` or `Drop`")),
        _ => Err(Wrong::expected("`Drop` or `Accept`")),
    }
}

pub(super) fn aws_src_dst_check(value: &Value) -> Result<AwsSrcDstCheck, Wrong> {
    word(
        value,
        &[
            ("DoNothing", AwsSrcDstCheck::DoNothing),
            ("Enable", AwsSrcDstCheck::Enable),
            ("Disable", AwsSrcDstCheck::Disable),
        ],
    )
}

/// Reads a list of IPv4 addresses and ranges.
pub(super) fn ipv4_networks(value: &Value) -> Result<Arc<[IpNet]>, Wrong> {
    let wrong = || Wrong::expected("a list of IPv4 addresses and ranges, as [10.9.0.0/16, 192.0.2.7]");
    let network = |entry: &Value| {
        let text = entry.as_str()?;
        let net = text
            .parse::<Ipv4Net>()
            .ok()
            .or_else(|| text.parse().ok().map(|a| Ipv4Net::new_assert(a, 32)));
        net.map(|net| IpNet::V4(net.trunc()))
    };
    let entries = value.as_array().ok_or_else(wrong)?;
    entries.iter().map(network).collect::<Option<_>>().ok_or_else(wrong)
}

/// Reads a port, or the first and the last of a range, as `32768:65535`.
///
/// Source: Calico api/pkg/lib/numorstring/port.go.
pub(super) fn port_range(value: &Value) -> Result<(u16, u16), Wrong> {
    let wrong = || Wrong::expected("a port, or a range of ports as 32768:65535");
    if let Some(port) = value.as_u64() {
        return u16::try_from(port).map(|port| (port, port)).map_err(|_| wrong());
    }
    let text = value.as_str().ok_or_else(wrong)?;
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        _ => Err(wrong()),
    }
}

/// Reads whether nodes' addresses are exempt from translation beside the pools.
pub(super) fn exclusions(value: &Value) -> Result<bool, Wrong> {
    word(value, &[("IPPoolsOnly", false), ("IPPoolsAndHostIPs", true)])
}

/// Reads what routes are made from, in any case of its letters.
pub(super) fn route_source(value: &Value) -> Result<RouteSource, Wrong> {
    const SOURCES: [(&str, RouteSource); 2] = [
        ("CalicoIPAM", RouteSource::CalicoIpam),
        ("WorkloadIPs", RouteSource::WorkloadIps),
    ];
    let text = text(value)?;
    let found = SOURCES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, source)| *source).ok_or_else(|| {
        let wrong = Wrong::expected("`CalicoIPAM` or `WorkloadIPs`");
        match suggestion(text, SOURCES.map(|(name, _)| name)) {
            Some(near) => wrong.help(format!("did you mean `{near}`?")),
            None => wrong,
        }
    })
}

pub(super) fn protocol(value: &Value) -> Result<RouteProtocol, Wrong> {
    let wrong = || Wrong::expected("a protocol number from 0 to 255");
    let number = integer(value, 0, 255).map_err(|_| wrong())?;
    u8::try_from(number).map(RouteProtocol).map_err(|_| wrong())
}

/// Reads the metric of a route.
///
/// Source: Calico api/pkg/apis/projectcalico/v3/felixconfig.go, IPv4NormalRoutePriority.
pub(super) fn metric(value: &Value) -> Result<u32, Wrong> {
    let wrong = || Wrong::expected("a metric from 1 to 2147483646");
    let number = integer(value, 1, 2_147_483_646).map_err(|_| wrong())?;
    u32::try_from(number).map_err(|_| wrong())
}

/// Reads whether workloads may use other sources than their own.
pub(super) fn spoofing(value: &Value) -> Result<bool, Wrong> {
    word(value, &[("Disabled", false), ("Any", true)])
}

/// Reads a list of features and whether each is there, as `ChecksumOffloadBroken=true`, of which only this one matters here; none
/// leaves it to Felix, and so does an empty state.
///
/// Source: Calico libcalico-go/lib/validator/v3/validator.go, validateFeatureDetectOverride.
pub(super) fn feature_overrides(value: &Value) -> Result<Option<bool>, Wrong> {
    let is_override = |entry: &str| {
        let (name, state) = entry.split_once('=')?;
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        (is_name && ["", "true", "false"].contains(&state)).then_some(())
    };
    let text = text(value)?;
    let entries = text.strip_suffix(',').unwrap_or(text);
    let valid = text.is_empty() || entries.split(',').all(|entry| is_override(entry.trim()).is_some());
    let wrong = || Wrong::expected("features and their states, as ChecksumOffloadBroken=true");
    let mut states = entries.split(',').filter_map(|entry| entry.trim().split_once('='));
    let broken = states.rfind(|(name, _)| *name == "ChecksumOffloadBroken");
    valid
        .then(|| broken.and_then(|(_, state)| state.parse().ok()))
        .ok_or_else(wrong)
}
