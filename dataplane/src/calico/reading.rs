//! Readers that several kinds of resource share. They know values and places, no kind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::Value;

use crate::fields::{FieldPath, FieldRef, Fields, Refusal, Segment, Wrong, line, text};
use crate::{MacAddr, Mtu};

/// The code of everything that Calico knows and that is not modelled here.
pub(super) const NOT_MODELLED: &str = "K-NOT-MODELLED";
/// The code of two objects that claim the same name or address.
pub(super) const DUPLICATE: &str = "K-DUPLICATE";

/// The field at a dotted path below a place.
pub(super) fn below(at: &FieldRef, dotted: &str) -> FieldRef {
    let mut path = at.path.clone();
    path.0.extend(FieldPath::dotted(dotted).0);
    FieldRef { origin: at.origin, path }
}

/// The field at a list of keys below a place, for keys that hold dots themselves.
pub(super) fn below_keys(at: &FieldRef, keys: &[&str]) -> FieldRef {
    let mut path = at.path.clone();
    path.0.extend(keys.iter().map(|key| Segment::Key((*key).to_owned())));
    FieldRef { origin: at.origin, path }
}

/// The parts that every resource has: its name, and readers of the object and of its spec.
pub(super) struct Object<'v> {
    pub(super) name: Arc<str>,
    pub(super) root: Fields<'v>,
    pub(super) spec: Fields<'v>,
}

/// Opens an object. Its name must be there; the rest of its metadata, and its status, are tolerated.
pub(super) fn open<'v>(value: &'v Value, at: &FieldRef, refusals: &mut Vec<Refusal>) -> Object<'v> {
    let mut root = Fields::new(value, at.clone(), refusals);
    root.ignore(&["apiVersion", "kind", "status"]);
    let mut metadata = match root.value("metadata") {
        Some(metadata) => Fields::new(metadata, root.field("metadata"), refusals),
        None => Fields::new(&EMPTY, root.field("metadata"), refusals),
    };
    let name = metadata.require("name", refusals, line).unwrap_or_default();
    let spec = root.fields("spec", refusals);
    Object {
        name: name.into(),
        root,
        spec,
    }
}

static EMPTY: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| Value::Object(serde_json::Map::new()));

/// A refusal of a field that Calico knows and that is not modelled.
pub(super) fn not_modelled(field: FieldRef, what: impl std::fmt::Display) -> Refusal {
    Refusal::new(NOT_MODELLED, field, format!("{what} is not modelled"))
        .why("it may change which packets are encapsulated or delivered, and nothing is guessed")
}

/// Reads an IPv4 or IPv6 address with or without prefix length; a bare one means the single address.
pub(super) fn address_with_prefix(value: &Value) -> Result<IpNet, Wrong> {
    let text = text(value)?;
    text.parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
        .ok_or_else(|| Wrong::expected("an address with its prefix length, as 10.0.0.5/24"))
}

/// Reads an IPv4 address.
pub(super) fn ipv4(value: &Value) -> Result<Ipv4Addr, Wrong> {
    text(value)?
        .parse()
        .map_err(|_| Wrong::expected("an IPv4 address, as 192.168.10.0"))
}

/// Reads an IPv6 address.
pub(super) fn ipv6(value: &Value) -> Result<Ipv6Addr, Wrong> {
    text(value)?
        .parse()
        .map_err(|_| Wrong::expected("an IPv6 address, as fd00::1"))
}

/// Reads an Ethernet address.
pub(super) fn mac(value: &Value) -> Result<MacAddr, Wrong> {
    let wrong = || Wrong::expected("an Ethernet address, as 66:f9:37:c3:7e:94");
    let octets: Vec<u8> = text(value)?
        .split(':')
        .map(|octet| u8::from_str_radix(octet, 16))
        .collect::<Result<_, _>>()
        .map_err(|_| wrong())?;
    <[u8; 6]>::try_from(octets).map(MacAddr).map_err(|_| wrong())
}

/// Reads an MTU in bytes; 0 means automatic and reads as none.
pub(super) fn mtu_or_auto(value: &Value) -> Result<Option<Mtu>, Wrong> {
    match value.as_u64() {
        Some(0) => Ok(None),
        Some(bytes) => u16::try_from(bytes)
            .ok()
            .and_then(Mtu::new)
            .map(Some)
            .ok_or_else(|| Wrong::expected("an MTU from 68 to 65535, or 0 for automatic")),
        None => Err(Wrong::expected("an MTU in bytes, or 0 for automatic")),
    }
}
