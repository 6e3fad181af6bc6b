//! `Installation`: the operator's description of a whole installation, as far as pools, BGP and MTUs follow from it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use serde_json::Value;

use super::ippool::{Declared, IpPool, read_cidr};
use super::reading::{NOT_MODELLED, below, mtu_or_auto, not_modelled, open};
use crate::Mtu;
use crate::encap::Encap;
use crate::fields::{FieldRef, Fields, Refusal, Wrong, boolean, kind_of, suggestion, text, word};
use crate::route::Mode;

/// More pools than this are refused.
const MOST_POOLS: usize = 25;

/// What the operator would set up.
///
/// Source: operator pkg/controller/ippool/defaults.go, fillDefaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Its name, which is `default`.
    pub name: Arc<str>,
    /// Where it is declared.
    pub at: FieldRef,
    /// Whether BGP runs.
    pub bgp: bool,
    /// The MTU for workloads and tunnels, if it fixes one.
    pub mtu: Option<Mtu>,
    /// Its pools; none if it leaves them to the operator.
    pub pools: Option<Vec<IpPool>>,
}

/// Fields of the spec that cannot change any result here.
#[rustfmt::skip]
const HARMLESS: &[&str] = &[
    "apiServerDeployment", "azure", "calicoKubeControllersDeployment", "calicoNodeDaemonSet", "calicoNodeWindowsDaemonSet",
    "calicoWindowsUpgradeDaemonSet", "certificateManagement", "componentResources", "controlPlaneNodeSelector", "controlPlaneReplicas",
    "controlPlaneTolerations", "csiNodeDriverDaemonSet", "fipsMode", "flexVolumePath", "imagePath", "imagePrefix", "imagePullSecrets",
    "kubeletVolumePluginPath", "logging", "nodeMetricsPort", "nodeUpdateStrategy", "nonPrivileged", "proxy", "registry",
    "serviceCIDRs", "tlsCipherSuites", "typhaAffinity", "typhaDeployment", "typhaMetricsPort", "typhaPodDisruptionBudget", "variant",
    "windowsNodes",
];

/// Fields of the network section that cannot either.
const HARMLESS_NETWORK: &[&str] = &[
    "bpfNetworkBootstrap",
    "containerIPForwarding",
    "hostPorts",
    "kubeProxyManagement",
    "linuxPolicySetupTimeoutSeconds",
    "multiInterfaceMode",
    "nodeAddressAutodetectionV4",
    "nodeAddressAutodetectionV6",
    "sysctl",
    "windowsDataplane",
];

impl Installation {
    /// Reads and validates an Installation.
    pub(super) fn read(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> Installation {
        let mut object = open(value, &at, refusals);
        if !["default", ""].contains(&&*object.name) {
            let message = format!("the operator reads no Installation named {:?}", object.name);
            refusals.push(Refusal::new("K-VALUE", below(&at, "metadata.name"), message).help("name it `default`"));
        }
        let spec = &mut object.spec;
        let mut network = spec.fields("calicoNetwork", refusals);
        let bgp = network.parse("bgp", refusals, enabled).unwrap_or(true);
        let mtu = network.parse("mtu", refusals, mtu_or_auto).flatten();
        let pools = network
            .value("ipPools")
            .map(|_| read_pools(network.items("ipPools", refusals), refusals));
        only(&mut network, "linuxDataplane", &["Iptables", "Nftables"], refusals);
        only(&mut network, "clusterRoutingMode", &["BIRD"], refusals);
        network.ignore(HARMLESS_NETWORK);
        network.finish(refusals);
        read_plugin(spec, refusals);
        spec.ignore(HARMLESS);
        object.spec.finish(refusals);
        object.root.finish(refusals);
        let installation = Installation {
            name: object.name,
            at,
            bgp,
            mtu,
            pools,
        };
        for pool in installation.pools.iter().flatten() {
            installation.check_bgp(pool, refusals);
        }
        installation
    }

    /// The field at a path of the object, as `spec.calicoNetwork.mtu`.
    pub fn field(&self, path: &str) -> FieldRef {
        below(&self.at, path)
    }

    /// The pool that the operator creates if it is told of none and finds none.
    ///
    /// Source: operator pkg/controller/ippool/defaults.go, fillDefaults.
    pub(super) fn default_pool(&self) -> IpPool {
        let cidr = IpNet::V4(Ipv4Net::new_assert([192, 168, 0, 0].into(), 16));
        let mut pool = IpPool::with_defaults(DEFAULT_V4.into(), self.at.clone(), cidr, Declared::Installation);
        pool.ipip = Mode::Always;
        pool.nat_outgoing = true;
        pool
    }

    /// Without BGP nobody programs the routes of pools that are not VXLAN's.
    ///
    /// Source: operator pkg/controller/ippool/validation.go, ValidatePools.
    pub(super) fn check_bgp(&self, pool: &IpPool, refusals: &mut Vec<Refusal>) {
        let encapsulation = pool.encapsulation();
        if self.bgp || encapsulation == Encap::Vxlan {
            return;
        }
        let name = if encapsulation == Encap::Ipip { "IPIP" } else { "None" };
        refusals.push(
            Refusal::new(
                "A3",
                pool.field("spec.ipipMode"),
                format!("encapsulation {name} of pool {} needs BGP, which is disabled", pool.name),
            )
            .why("without BGP nobody programs routes to such a pool on the other nodes")
            .help("set `encapsulation` to `VXLAN` or `VXLANCrossSubnet`, or `bgp` to `Enabled`")
            .related(self.field("spec.calicoNetwork.bgp"), "BGP is disabled here"),
        );
    }
}

const DEFAULT_V4: &str = "default-ipv4-ippool";
const DEFAULT_V6: &str = "default-ipv6-ippool";

fn read_pools(items: Vec<(FieldRef, &Value)>, refusals: &mut Vec<Refusal>) -> Vec<IpPool> {
    if let Some((at, _)) = items.get(MOST_POOLS) {
        refusals.push(
            Refusal::new("A1", at.clone(), format!("an Installation has at most {MOST_POOLS} pools"))
                .help("write the others as IPPool objects"),
        );
    }
    let mut pools: Vec<IpPool> = Vec::new();
    for (at, value) in items {
        let pool = read_pool(value, at, &pools, refusals);
        pools.extend(pool);
    }
    pools
}

fn read_pool(value: &Value, at: FieldRef, earlier: &[IpPool], refusals: &mut Vec<Refusal>) -> Option<IpPool> {
    let mut fields = Fields::new(value, at.clone(), refusals);
    let cidr = read_cidr(&mut fields, refusals);
    let is_v6 = cidr.is_some_and(|cidr| cidr.addr().is_ipv6());
    let name = fields.parse("name", refusals, text).map(Arc::from);
    let placeholder = IpNet::from(IpAddr::from([0, 0, 0, 0]));
    let mut pool = IpPool::with_defaults("".into(), at, cidr.unwrap_or(placeholder), Declared::Installation);
    let unstated = if is_v6 { NO_ENCAP } else { (Mode::Always, Mode::Never) };
    (pool.ipip, pool.vxlan) = fields.parse("encapsulation", refusals, encapsulation).unwrap_or(unstated);
    pool.nat_outgoing = fields.parse("natOutgoing", refusals, enabled).unwrap_or(!is_v6);
    pool.disabled = fields.parse("disableNewAllocations", refusals, boolean).unwrap_or(false);
    pool.read_common(&mut fields, refusals);
    fields.finish(refusals);
    pool.name = name.unwrap_or_else(|| default_name(cidr.unwrap_or(placeholder), earlier));
    cidr?;
    pool.check(refusals);
    Some(pool)
}

/// The name of a pool that is given none: the default one of its family, or one made from its range if that is taken.
fn default_name(cidr: IpNet, earlier: &[IpPool]) -> Arc<str> {
    let name = if cidr.addr().is_ipv4() { DEFAULT_V4 } else { DEFAULT_V6 };
    if earlier.iter().any(|pool| &*pool.name == name) {
        cidr.to_string().replace(['.', ':', '/'], "-").into()
    } else {
        name.into()
    }
}

const NO_ENCAP: (Mode, Mode) = (Mode::Never, Mode::Never);

/// Reads the operator's word for an encapsulation as `ipipMode` and `vxlanMode`.
fn encapsulation(value: &Value) -> Result<(Mode, Mode), Wrong> {
    let words = [
        ("IPIP", (Mode::Always, Mode::Never)),
        ("IPIPCrossSubnet", (Mode::CrossSubnet, Mode::Never)),
        ("VXLAN", (Mode::Never, Mode::Always)),
        ("VXLANCrossSubnet", (Mode::Never, Mode::CrossSubnet)),
        ("None", NO_ENCAP),
    ];
    if let Some((_, modes)) = words.iter().find(|(word, _)| value.as_str() == Some(*word)) {
        return Ok(*modes);
    }
    let names = words.map(|(word, _)| word);
    let list = names.map(|name| format!("`{name}`")).join(", ");
    let wrong = Wrong::rule("A1", format!("{} is no encapsulation", kind_of(value)))
        .why(format!("the operator knows {list}, in this exact spelling"));
    Err(match value.as_str().and_then(|text| suggestion(text, names)) {
        Some(near) => wrong.help(format!("write `{near}`")),
        None => wrong.help("write one of them"),
    })
}

fn enabled(value: &Value) -> Result<bool, Wrong> {
    word(value, &[("Enabled", true), ("Disabled", false)])
}

/// Refuses a field that holds anything but some of its values.
fn only(fields: &mut Fields<'_>, key: &'static str, modelled: &[&str], refusals: &mut Vec<Refusal>) {
    if let Some(value) = fields
        .value(key)
        .filter(|v| !v.as_str().is_some_and(|v| modelled.contains(&v)))
    {
        refusals.push(
            not_modelled(fields.field(key), format_args!("`{key}` with {}", kind_of(value)))
                .help(format!("write `{}`", modelled.join("` or `"))),
        );
    }
}

/// Calico's own network plugin and address management, outside EKS, are what is modelled.
fn read_plugin(spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) {
    if spec.value("kubernetesProvider").is_some_and(|provider| provider == "EKS") {
        refusals.push(
            Refusal::new(
                NOT_MODELLED,
                spec.field("kubernetesProvider"),
                "the provider EKS is not modelled yet",
            )
            .why("its defaults for pools and BGP are others")
            .help("leave `kubernetesProvider` out, and state `bgp` and `ipPools`"),
        );
    }
    let mut cni = spec.fields("cni", refusals);
    only(&mut cni, "type", &["Calico"], refusals);
    let mut ipam = cni.fields("ipam", refusals);
    only(&mut ipam, "type", &["Calico"], refusals);
    ipam.finish(refusals);
    cni.ignore(&["binDir", "confDir"]);
    cni.finish(refusals);
}
