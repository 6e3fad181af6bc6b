//! `IPPool`: a range of workload addresses and how packets to it travel. Rules between pools are not here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use serde_json::Value;

use super::reading::{below, open};
use super::since::{Since, stated};
use super::{Selector, SelectorError};
use crate::encap::Encap;
use crate::fields::{FieldRef, Fields, Refusal, Wrong, boolean, integer, suggestion, text, word};
use crate::route::Mode;

/// A pool of workload addresses, valid by every rule that concerns it alone.
///
/// Source: Calico api/pkg/apis/projectcalico/v3/ippool.go, IPPoolSpec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpPool {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is declared: an IPPool object, an entry of an Installation, or the environment of calico-node.
    pub at: FieldRef,
    /// Its range.
    pub cidr: IpNet,
    /// When packets to it travel in IP-in-IP.
    pub ipip: Mode,
    /// When packets to it travel in VXLAN.
    pub vxlan: Mode,
    /// Whether traffic from it to addresses outside every pool is masqueraded.
    pub nat_outgoing: bool,
    /// Whether allocation from it has stopped. It routes as before.
    pub disabled: bool,
    /// Whether it is being deleted, which stops allocation as well.
    pub deleting: bool,
    /// The pool that was there first, where this one overlaps it and therefore hands out nothing.
    pub overlapped: Option<Arc<str>>,
    /// Whether BGP keeps its blocks to itself.
    pub disable_bgp_export: bool,
    /// The prefix length of its blocks: 20 to 32 for IPv4, 116 to 128 for IPv6.
    pub block_size: u8,
    /// The nodes that may allocate from it. Routes do not ask.
    pub node_selector: Selector,
    /// The namespaces whose workloads may allocate from it; empty for all.
    pub namespace_selector: Option<Selector>,
    /// What its addresses may be used for.
    pub allowed_uses: AllowedUses,
    /// Whether it is used without being named.
    pub assignment: Assignment,
    pub(super) declared: Declared,
    /// The range as it is written.
    pub(super) written: Arc<str>,
    pub(super) status: Status,
    /// When the object was made, in a form that sorts by age.
    pub(super) created: Option<Arc<str>>,
    pub(super) since: Vec<Since>,
}

/// The kind of object that a pool is declared in; it decides where its fields are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    /// An object that went through Calico's API.
    Manifest,
    /// A CRD, which is written past it.
    Crd,
    Installation,
    /// Variables of calico-node's environment; each field of an IPPool has a place.
    Environment(Arc<BTreeMap<&'static str, FieldRef>>),
}

/// The name of the IPv4 pool that an installation brings.
pub(super) const DEFAULT_V4: &str = "default-ipv4-ippool";
/// The name of the IPv6 pool that an installation brings.
pub(super) const DEFAULT_V6: &str = "default-ipv6-ippool";

/// Whether the pool controller has found that a pool may hand out addresses, in the order in which it looks at pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    Active,
    Terminating,
    #[default]
    New,
}

/// What the addresses of a pool may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedUses {
    /// For workloads.
    pub workload: bool,
    /// For tunnel devices.
    pub tunnel: bool,
    /// For services of type LoadBalancer.
    pub load_balancer: bool,
}

impl Default for AllowedUses {
    fn default() -> AllowedUses {
        AllowedUses {
            workload: true,
            tunnel: true,
            load_balancer: false,
        }
    }
}

/// Whether a pool is used by workloads that do not name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assignment {
    /// It is.
    #[default]
    Automatic,
    /// Only workloads that name it use it.
    Manual,
}

/// Fields that came after the oldest profile.
///
/// Source: Calico release notes of these versions; api/pkg/apis/projectcalico/v3/ippool.go.
const SINCE: [(&str, u8); 2] = [("assignmentMode", 30), ("namespaceSelector", 31)];

impl IpPool {
    /// A pool with every default.
    pub(super) fn with_defaults(name: Arc<str>, at: FieldRef, cidr: IpNet, declared: Declared) -> IpPool {
        IpPool {
            name,
            at,
            cidr,
            ipip: Mode::Never,
            vxlan: Mode::Never,
            nat_outgoing: false,
            disabled: false,
            deleting: false,
            overlapped: None,
            disable_bgp_export: false,
            block_size: default_block_size(cidr),
            node_selector: Selector::default(),
            namespace_selector: None,
            allowed_uses: AllowedUses::default(),
            assignment: Assignment::Automatic,
            declared,
            written: cidr.to_string().into(),
            status: Status::default(),
            created: None,
            since: Vec::new(),
        }
    }

    /// Reads and validates an IPPool object; none if it has no usable range.
    pub(super) fn read(value: &Value, at: FieldRef, declared: Declared, refusals: &mut Vec<Refusal>) -> Option<IpPool> {
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

    /// Whether it went through Calico's API and its rules between objects.
    pub(super) fn through_api(&self) -> bool {
        self.declared != Declared::Crd
    }

    /// Whether calico-node created it by its environment.
    pub(super) fn is_of_environment(&self) -> bool {
        matches!(self.declared, Declared::Environment(_))
    }

    /// Reads the fields that a pool has in either declaration.
    pub(super) fn read_common(&mut self, spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) {
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

    /// The field of this pool at a path of the IPPool object, as `spec.ipipMode`. For a pool that an Installation or
    /// calico-node's environment describes it is the field or the variable that stands for it.
    pub fn field(&self, path: &str) -> FieldRef {
        match (&self.declared, path.strip_prefix("spec.")) {
            (Declared::Manifest | Declared::Crd, _) => below(&self.at, path),
            (Declared::Environment(places), _) => places.get(path).unwrap_or(&self.at).clone(),
            (Declared::Installation, Some("ipipMode" | "vxlanMode")) => below(&self.at, "encapsulation"),
            (Declared::Installation, Some("disabled")) => below(&self.at, "disableNewAllocations"),
            (Declared::Installation, Some(key)) => below(&self.at, key),
            (Declared::Installation, None) => self.at.clone(),
        }
    }

    /// The encapsulation of its destinations. A pool for nothing but LoadBalancer has none, nor has it routes.
    ///
    /// Source: Calico felix/calc/l3_route_resolver.go, poolTypeForPool.
    pub fn encapsulation(&self) -> Encap {
        if self.vxlan != Mode::Never {
            Encap::Vxlan
        } else if self.ipip != Mode::Never {
            Encap::Ipip
        } else {
            Encap::None
        }
    }

    /// The mode of its encapsulation; `Never` without one.
    pub fn mode(&self) -> Mode {
        if self.vxlan == Mode::Never { self.ipip } else { self.vxlan }
    }

    /// Where its mode is declared; the whole spec if it has no encapsulation.
    pub fn mode_field(&self) -> FieldRef {
        self.field(match self.encapsulation() {
            Encap::Vxlan => "spec.vxlanMode",
            Encap::Ipip => "spec.ipipMode",
            Encap::None => "spec",
        })
    }

    /// Whether its addresses are destinations of workload routes.
    pub fn routes(&self) -> bool {
        self.allowed_uses.workload || self.allowed_uses.tunnel
    }

    /// Whether addresses are handed out from it.
    ///
    /// Source: Calico libcalico-go/lib/ipam/ipam.go, determinePools.
    pub fn allocates(&self) -> bool {
        self.closed().is_none()
    }

    /// Why no address is handed out from it, if that is so.
    pub(super) fn closed(&self) -> Option<String> {
        if self.disabled {
            Some("is disabled".to_owned())
        } else if self.deleting {
            Some("is being deleted".to_owned())
        } else {
            self.overlapped.as_ref().map(|first| format!("overlaps pool {first}"))
        }
    }

    /// The block of this pool that an address lies in.
    pub fn block_of(&self, address: IpAddr) -> Option<IpNet> {
        IpNet::new(address, self.block_size)
            .ok()
            .map(|net| net.trunc())
            .filter(|_| self.cidr.contains(&address))
    }
}

/// The prefix length of the blocks of a pool that states none.
pub(super) fn default_block_size(cidr: IpNet) -> u8 {
    if cidr.addr().is_ipv4() { 26 } else { 122 }
}

/// Reads the `cidr` that every pool must have.
pub(super) fn read_cidr(spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> Option<IpNet> {
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
