//! `Installation`: the operator's description of a whole installation, as far as pools, BGP and MTUs follow from it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use serde_json::Value;

use super::ippool::{DEFAULT_V4, DEFAULT_V6, Declared, IpPool, read_cidr};
use super::reading::{below, mtu_or_auto, not_modelled, open};
use super::{ClusterRoutes, NetworkingBackend, Profile, Readiness};
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
    /// Who programs routes to other nodes, if it says.
    pub cluster_routing_mode: Option<ClusterRoutingMode>,
    platform: Platform,
}

/// Who programs which routes to other nodes.
///
/// Source: operator pkg/controller/installation/core_controller.go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterRoutingMode {
    /// BIRD all of them.
    Bird,
    /// Felix all of them.
    Felix,
    /// Felix those of IPIP pools, BIRD those of pools without encapsulation.
    FelixIpipOnly,
}

impl ClusterRoutingMode {
    /// The classes that Felix programs.
    pub fn felix_routes(self) -> ClusterRoutes {
        ClusterRoutes {
            ipip: self != ClusterRoutingMode::Bird,
            no_encap: self == ClusterRoutingMode::Felix,
        }
    }

    /// The classes that BIRD programs: the others.
    pub fn bird_routes(self) -> ClusterRoutes {
        let felix = self.felix_routes();
        ClusterRoutes {
            ipip: !felix.ipip,
            no_encap: !felix.no_encap,
        }
    }

    /// Whether a line of releases knows it.
    fn is_in(self, profile: Profile) -> bool {
        match self {
            ClusterRoutingMode::Bird | ClusterRoutingMode::Felix => profile > Profile::V3_22,
            ClusterRoutingMode::FelixIpipOnly => profile > Profile::V3_32,
        }
    }
}

/// Who provides what Calico does not have to provide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Platform {
    /// Amazon's Kubernetes service.
    eks: bool,
    /// Whether the network plugin is Calico's.
    calico_cni: bool,
    addresses: Addresses,
}

/// Who hands out addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addresses {
    Calico,
    HostLocal,
    Others,
}

impl Platform {
    /// The modes of an IPv4 pool that states no encapsulation.
    fn unstated(self) -> (Mode, Mode) {
        match self {
            Platform { calico_cni: false, .. } => NO_ENCAP,
            Platform { eks: true, .. } => (Mode::Never, Mode::Always),
            Platform { .. } => (Mode::Always, Mode::Never),
        }
    }
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
        let platform = read_platform(spec, refusals);
        let mut network = spec.fields("calicoNetwork", refusals);
        let unstated = platform.calico_cni && !platform.eks;
        let bgp = network.parse("bgp", refusals, enabled).unwrap_or(unstated);
        let mtu = network.parse("mtu", refusals, mtu_or_auto).flatten();
        let pools = network
            .value("ipPools")
            .map(|_| read_pools(network.items("ipPools", refusals), platform, refusals));
        only(&mut network, "linuxDataplane", &["Iptables", "Nftables"], refusals);
        let cluster_routing_mode = network.parse("clusterRoutingMode", refusals, |v| word(v, &ROUTING_MODES));
        network.ignore(HARMLESS_NETWORK);
        network.finish(refusals);
        spec.ignore(HARMLESS);
        object.spec.finish(refusals);
        object.root.finish(refusals);
        Installation {
            name: object.name,
            at,
            bgp,
            mtu,
            pools,
            cluster_routing_mode,
            platform,
        }
    }

    /// The field at a path of the object, as `spec.calicoNetwork.mtu`.
    pub fn field(&self, path: &str) -> FieldRef {
        below(&self.at, path)
    }

    /// The pool that the operator creates if it is told of none and finds none; none if Calico hands out no addresses.
    ///
    /// Source: operator pkg/controller/ippool/defaults.go, fillDefaults.
    pub(super) fn default_pool(&self) -> Option<IpPool> {
        let Platform { eks, addresses, .. } = self.platform;
        let network = if eks { [172, 16, 0, 0] } else { [192, 168, 0, 0] };
        let cidr = IpNet::V4(Ipv4Net::new_assert(network.into(), 16));
        let mut pool = IpPool::with_defaults(DEFAULT_V4.into(), self.at.clone(), cidr, Declared::Installation);
        (pool.ipip, pool.vxlan) = self.platform.unstated();
        pool.nat_outgoing = true;
        (addresses == Addresses::Calico).then_some(pool)
    }

    /// The networking backend that it sets up.
    pub(super) fn backend(&self) -> NetworkingBackend {
        match (self.bgp, self.platform.addresses) {
            (true, _) => NetworkingBackend::Bird,
            (false, Addresses::Calico) => NetworkingBackend::Vxlan,
            (false, Addresses::HostLocal | Addresses::Others) => NetworkingBackend::None,
        }
    }

    /// The readiness that it asks for.
    pub(super) fn readiness(&self) -> Readiness {
        Readiness {
            bird: self.bgp,
            bird6: false,
            felix: true,
            at: self.field("spec.calicoNetwork.bgp"),
        }
    }

    /// Whether addresses come from the ranges that Kubernetes gave to nodes.
    pub(super) fn host_local(&self) -> bool {
        self.platform.addresses == Addresses::HostLocal
    }

    /// Whether workloads are connected by Calico's own network plugin.
    pub(super) fn calico_cni(&self) -> bool {
        self.platform.calico_cni
    }

    /// The routing mode as a line of releases understands it: one that it does not know is as none.
    pub(super) fn routing_mode_in(&self, profile: Profile) -> Option<ClusterRoutingMode> {
        self.cluster_routing_mode.filter(|mode| mode.is_in(profile))
    }

    /// Refuses one of its pools whose encapsulation cannot work.
    ///
    /// Source: operator pkg/controller/ippool/validation.go, ValidatePools.
    pub(super) fn check(&self, pool: &IpPool, profile: Profile, refusals: &mut Vec<Refusal>) {
        let encapsulation = pool.encapsulation();
        let name = match encapsulation {
            Encap::Ipip => "IPIP",
            Encap::Vxlan => "VXLAN",
            Encap::None => "None",
        };
        let refuse = |message: String| Refusal::new("A3", pool.field("spec.ipipMode"), message);
        if !self.platform.calico_cni && encapsulation != Encap::None {
            refusals.push(
                refuse(format!(
                    "encapsulation {name} of pool {} needs Calico's network plugin",
                    pool.name
                ))
                .why("another plugin routes its packets itself")
                .help("set `encapsulation` to `None`")
                .related(self.field("spec.cni.type"), "the plugin is another one"),
            );
        } else if self.host_local() && encapsulation == Encap::Vxlan {
            refusals.push(
                refuse(format!(
                    "encapsulation {name} of pool {} needs Calico's address management",
                    pool.name
                ))
                .why("with host-local address management nodes have no address for VXLAN")
                .help("set `encapsulation` to `None` or `IPIP`, or `cni.ipam.type` to `Calico`")
                .related(self.field("spec.cni.ipam.type"), "host-local here"),
            );
        } else if !self.bgp && !self.felix_programs(encapsulation, profile) {
            refusals.push(
                refuse(format!(
                    "encapsulation {name} of pool {} needs BGP, which is disabled",
                    pool.name
                ))
                .why("without BGP nobody programs routes to such a pool on the other nodes")
                .help("set `encapsulation` to `VXLAN` or `VXLANCrossSubnet`, or `bgp` to `Enabled`")
                .related(self.field("spec.calicoNetwork.bgp"), "BGP is disabled here"),
            );
        }
    }

    /// Whether Felix programs the routes of an encapsulation's pools.
    fn felix_programs(&self, encapsulation: Encap, profile: Profile) -> bool {
        let mode = self.routing_mode_in(profile);
        let routes = mode.map_or_else(|| profile.felix_routes(), ClusterRoutingMode::felix_routes);
        match encapsulation {
            Encap::Vxlan => true,
            Encap::Ipip => routes.ipip,
            Encap::None => routes.no_encap,
        }
    }
}

const ROUTING_MODES: [(&str, ClusterRoutingMode); 3] = [
    ("BIRD", ClusterRoutingMode::Bird),
    ("Felix", ClusterRoutingMode::Felix),
    ("FelixIPIPOnly", ClusterRoutingMode::FelixIpipOnly),
];

fn read_pools(items: Vec<(FieldRef, &Value)>, platform: Platform, refusals: &mut Vec<Refusal>) -> Vec<IpPool> {
    if let Some((at, _)) = items.get(MOST_POOLS) {
        refusals.push(
            Refusal::new("A1", at.clone(), format!("an Installation has at most {MOST_POOLS} pools"))
                .help("write the others as IPPool objects"),
        );
    }
    let mut pools: Vec<IpPool> = Vec::new();
    for (at, value) in items {
        let pool = read_pool(value, at, &pools, platform, refusals);
        pools.extend(pool);
    }
    pools
}

fn read_pool(value: &Value, at: FieldRef, earlier: &[IpPool], platform: Platform, refusals: &mut Vec<Refusal>) -> Option<IpPool> {
    let mut fields = Fields::new(value, at.clone(), refusals);
    let cidr = read_cidr(&mut fields, refusals);
    let is_v6 = cidr.is_some_and(|cidr| cidr.addr().is_ipv6());
    let name = fields.parse("name", refusals, text).map(Arc::from);
    let placeholder = IpNet::from(IpAddr::from([0, 0, 0, 0]));
    let mut pool = IpPool::with_defaults("".into(), at, cidr.unwrap_or(placeholder), Declared::Installation);
    let unstated = if is_v6 { NO_ENCAP } else { platform.unstated() };
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

/// Reads the provider, the network plugin and the address management, each of which has its own defaults for the next.
///
/// Source: operator pkg/controller/installation/core_controller.go, fillDefaults.
fn read_platform(spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> Platform {
    const PLUGINS: [(&str, (bool, Addresses)); 4] = [
        ("Calico", (true, Addresses::Calico)),
        ("AmazonVPC", (false, Addresses::Others)),
        ("AzureVNET", (false, Addresses::Others)),
        ("GKE", (false, Addresses::HostLocal)),
    ];
    const IPAM: [(&str, Addresses); 4] = [
        ("Calico", Addresses::Calico),
        ("HostLocal", Addresses::HostLocal),
        ("AmazonVPC", Addresses::Others),
        ("AzureVNET", Addresses::Others),
    ];
    let eks = spec.value("kubernetesProvider").is_some_and(|provider| provider == "EKS");
    let mut cni = spec.fields("cni", refusals);
    let plugin = cni.parse("type", refusals, |v| word(v, &PLUGINS));
    let (calico_cni, usual) = plugin.unwrap_or((true, Addresses::Calico));
    let mut ipam = cni.fields("ipam", refusals);
    let addresses = ipam.parse("type", refusals, |v| word(v, &IPAM)).unwrap_or(usual);
    ipam.finish(refusals);
    cni.ignore(&["binDir", "confDir"]);
    cni.finish(refusals);
    Platform {
        eks,
        calico_cni,
        addresses,
    }
}
