//! An `IPPool` as it is written: its fields read, each by its own rule.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use serde_json::Value;

use super::{AllowedUses, Assignment, Declared, IpPool, Status};
use crate::calico::reading::open;
use crate::calico::since::stated;
use crate::calico::{Selector, SelectorError};
use crate::fields::{FieldRef, Fields, Refusal, Wrong, boolean, integer, suggestion, text, word};
use crate::route::Mode;

/// Fields that came after the oldest profile.
///
/// Source: Calico release notes of these versions; api/pkg/apis/projectcalico/v3/ippool.go.
const SINCE: [(&str, u8); 2] = [("assignmentMode", 30), ("namespaceSelector", 31)];

impl IpPool {
    /// Reads and validates an IPPool object; none if it has no usable range.
    pub(in crate::calico) fn read(
        value: &Value,
        at: FieldRef,
        declared: Declared,
        refusals: &mut Vec<Refusal>,
    ) -> Option<IpPool> {
        let mut object = open(value, &at, refusals);
        let spec = &mut object.spec;
        let cidr = read_cidr(spec, refusals);
        let placeholder = IpNet::V4(Ipv4Net::default());
        let mut pool = IpPool::with_defaults(object.name, at, cidr.unwrap_or(placeholder), declared);
        pool.ipip = spec.parse("ipipMode", refusals, mode).unwrap_or_default();
        pool.vxlan = spec.parse("vxlanMode", refusals, mode).unwrap_or_default();
        pool.nat_outgoing = spec.parse("natOutgoing", refusals, boolean).unwrap_or(false);
        pool.disabled = spec.parse("disabled", refusals, boolean).unwrap_or(false);
        pool.since = stated(spec, &SINCE);
        pool.read_life(value);
        refuse_legacy(spec, refusals);
        pool.read_common(spec, refusals);
        object.spec.finish(refusals);
        object.root.finish(refusals);
        cidr?;
        pool.check(refusals);
        Some(pool)
    }

    /// Reads what its metadata and its status say of its age and its end.
    fn read_life(&mut self, value: &Value) {
        let metadata = |key: &str| value.pointer("/metadata")?.get(key)?.as_str();
        let conditions = value.pointer("/status/conditions").and_then(Value::as_array);
        let is_active = |c: &Value| c.get("type") == Some(&"Allocatable".into()) && c.get("status") == Some(&"True".into());
        self.created = metadata("creationTimestamp").map(Arc::from);
        self.deleting = metadata("deletionTimestamp").is_some();
        if conditions.is_some_and(|conditions| conditions.iter().any(is_active)) {
            self.status = Status::Active;
        }
        let cidr = value.pointer("/spec/cidr").and_then(Value::as_str);
        self.written = cidr.map_or_else(|| self.written.clone(), Arc::from);
    }

    /// Reads the fields that a pool has in either declaration.
    pub(in crate::calico) fn read_common(&mut self, spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) {
        self.disable_bgp_export = spec.parse("disableBGPExport", refusals, boolean).unwrap_or(false);
        if let Some(size) = spec
            .parse("blockSize", refusals, |v| integer(v, 0, 128))
            .filter(|size| *size != 0)
        {
            self.block_size = u8::try_from(size).unwrap_or(u8::MAX);
        }
        self.node_selector = spec.parse("nodeSelector", refusals, selector).unwrap_or_default();
        let uses = spec.parse("allowedUses", refusals, allowed_uses);
        self.allowed_uses = uses.unwrap_or_default();
        let namespaces = spec.parse("namespaceSelector", refusals, selector);
        self.namespace_selector = namespaces.filter(|selector| !selector.is_empty());
        let unasked = uses.is_none() && !self.through_api();
        if self.namespace_selector.is_some() && self.allowed_uses.tunnel && !unasked {
            refusals.push(
                Refusal::new(
                    "R15",
                    spec.field("namespaceSelector"),
                    "a pool for tunnel addresses cannot have a `namespaceSelector`",
                )
                .why("`allowedUses` holds `Tunnel` unless it says otherwise, and tunnel addresses have no namespace")
                .help("add `allowedUses: [Workload]`, or remove `namespaceSelector`"),
            );
        }
        self.assignment = spec
            .parse("assignmentMode", refusals, |v| {
                word(v, &[("Automatic", Assignment::Automatic), ("Manual", Assignment::Manual)])
            })
            .unwrap_or_default();
    }
}

/// Reads the `cidr` that every pool must have.
pub(in crate::calico) fn read_cidr(spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> Option<IpNet> {
    if spec.value("cidr").is_none() {
        refusals.push(
            Refusal::new("R1", spec.at().clone(), "the pool has no `cidr`")
                .help("add the pool's range, as `cidr: 192.168.0.0/16`"),
        );
    }
    spec.parse("cidr", refusals, cidr)
}

fn cidr(value: &Value) -> Result<IpNet, Wrong> {
    let text = text(value)?;
    let Ok(net) = text.parse::<IpNet>() else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => Wrong::rule("R2", format!("{address} has no prefix length"))
                .why("a bare address is not read as a range")
                .help(format!("write the range with its prefix length, as {}", IpNet::from(address))),
            Err(_) => Wrong::rule("R1", format!("{text:?} is not a valid subnet")).help("write a range, as 192.168.0.0/16"),
        });
    };
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(Wrong::rule("R3", format!("{net} is not strictly masked"))
            .why("a pool's range may not have bits set beyond its prefix length")
            .help(format!("write {}", net.trunc())))
    }
}

fn mode(value: &Value) -> Result<Mode, Wrong> {
    const MODES: [(&str, Mode); 3] = [
        ("Never", Mode::Never),
        ("Always", Mode::Always),
        ("CrossSubnet", Mode::CrossSubnet),
    ];
    let text = text(value)?;
    if text.is_empty() {
        return Ok(Mode::Never);
    }
    if let Some((_, mode)) = MODES.iter().find(|(name, _)| *name == text) {
        return Ok(*mode);
    }
    let wrong = Wrong::rule("R7", format!("{text:?} is no mode"))
        .why("the modes are `Never`, `Always` and `CrossSubnet`, in this exact spelling");
    Err(match suggestion(text, MODES.map(|(name, _)| name)) {
        Some(near) => wrong.help(format!("write `{near}`")),
        None => wrong.help("write one of them"),
    })
}

/// The characters that a selector may have.
const LONGEST_SELECTOR: usize = 1024;

/// Refuses what pools had in the API before v3.
///
/// Source: Calico api/pkg/apis/projectcalico/v3/ippool.go, IPPoolSpec of v3.31.
fn refuse_legacy(spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) {
    let legacy = [
        ("ipip", "write `ipipMode: Always`, `CrossSubnet` or `Never` instead"),
        ("nat-outgoing", "write `natOutgoing: true` or `false` instead"),
    ];
    for (key, help) in legacy {
        if spec.value(key).is_some() {
            let message = format!("`{key}` belongs to the API before v3");
            let refusal = Refusal::new("R-1.1.1", spec.field(key), message).at_key();
            refusals.push(refusal.why("Calico knows the field only to refuse it").help(help));
        }
    }
}

/// Source: Calico libcalico-go/lib/validator/v3/validator.go, validateIPPoolSpec.
fn selector(value: &Value) -> Result<Selector, Wrong> {
    let text = text(value)?;
    if text.len() > LONGEST_SELECTOR {
        return Err(Wrong::rule("R16", format!("a selector of {} characters", text.len()))
            .why(format!("a pool's selectors have at most {LONGEST_SELECTOR}"))
            .help("label the nodes so that fewer words choose them"));
    }
    if text.contains("global(") {
        return Err(Wrong::rule("R16", "`global()` is not allowed in a pool's selector").help("use `all()`"));
    }
    text.parse().map_err(|wrong: SelectorError| {
        Wrong::rule("R16", format!("{text:?} is no selector: {wrong}"))
            .why("a selector compares labels, as `zone == 'a' && !has(gpu)`")
            .help(format!("write {} there, or `all()` for the whole selector", wrong.expected))
    })
}

fn allowed_uses(value: &Value) -> Result<AllowedUses, Wrong> {
    const USES: [&str; 3] = ["Workload", "Tunnel", "LoadBalancer"];
    let wrong = |message: String| {
        Wrong::rule("R17", message).why("the uses are `Workload`, `Tunnel` and `LoadBalancer`, each at most once")
    };
    let list = value.as_array().ok_or_else(|| Wrong::expected("a list of uses"))?;
    let mut seen: Vec<&str> = Vec::new();
    for entry in list {
        let name = text(entry)?;
        if !USES.contains(&name) {
            let near = suggestion(name, USES).unwrap_or("Workload");
            return Err(wrong(format!("{name:?} is no use of a pool")).help(format!("did you mean `{near}`?")));
        }
        if seen.contains(&name) {
            return Err(wrong(format!("{name:?} stands there twice")).help("remove one of them"));
        }
        seen.push(name);
    }
    if seen.is_empty() {
        return Ok(AllowedUses::default());
    }
    Ok(AllowedUses {
        workload: seen.contains(&"Workload"),
        tunnel: seen.contains(&"Tunnel"),
        load_balancer: seen.contains(&"LoadBalancer"),
    })
}
