//! `FelixConfiguration`: settings of Calico's agent, global and per node, as far as they change results here.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::reading::{below, mtu_or_auto, not_modelled, open};
use crate::fields::{FieldRef, Fields, Refusal, Wrong, boolean, integer, text, word};
use crate::route::{EndpointToHostAction, RouteProtocol};
use crate::{Mtu, PerFamily, Vni};

/// What Felix does to the source/destination check of an EC2 instance's interface, once, when it starts.
///
/// Source: Calico felix/aws/ec2_srcdstcheck.go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AwsSrcDstCheck {
    /// Nothing.
    #[default]
    DoNothing,
    /// It turns the check on.
    Enable,
    /// It turns the check off.
    Disable,
}

/// Settings of Felix; what is none here is decided elsewhere.
///
/// Source: Calico api/pkg/apis/projectcalico/v3/felixconfig.go, FelixConfigurationSpec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FelixConfiguration {
    /// Its name: `default`, or `node.` and a node's name.
    pub name: Arc<str>,
    /// Where it is declared.
    pub at: FieldRef,
    /// Whether IPIP is on, whatever the pools say.
    pub ipip_enabled: Option<bool>,
    /// Whether VXLAN is on, whatever the pools say.
    pub vxlan_enabled: Option<bool>,
    /// The MTU of `tunl0`; none within stands for automatic.
    pub ipip_mtu: Option<Option<Mtu>>,
    /// The MTU of `vxlan.calico`; none within stands for automatic.
    pub vxlan_mtu: Option<Option<Mtu>>,
    /// The MTU of `vxlan-v6.calico`; none within stands for automatic.
    pub vxlan_mtu_v6: Option<Option<Mtu>>,
    /// The UDP port of VXLAN.
    pub vxlan_port: Option<u16>,
    /// The network identifier of VXLAN.
    pub vxlan_vni: Option<Vni>,
    /// What to do with workloads' packets for their own node.
    pub endpoint_to_host: Option<EndpointToHostAction>,
    /// Whether workloads may send UDP to the VXLAN port.
    pub allow_vxlan_from_workloads: Option<bool>,
    /// Whether workloads may send IP protocol 4.
    pub allow_ipip_from_workloads: Option<bool>,
    /// What to do with the source/destination check of AWS.
    pub aws_src_dst_check: Option<AwsSrcDstCheck>,
}

/// Which classes of routes to other nodes a component programs. Those of VXLAN pools are always Felix's.
///
/// Source: Calico design/cluster-route-programming/DESIGN.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterRoutes {
    /// Those of IPIP pools.
    pub ipip: bool,
    /// Those of pools without encapsulation.
    pub no_encap: bool,
}

/// What Felix makes routes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteSource {
    /// Blocks and borrowed addresses.
    #[default]
    CalicoIpam,
    /// The addresses of every workload.
    WorkloadIps,
}

/// The settings that hold on one node, after every default and override.
///
/// Source: Calico felix/config/config_params.go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether IPIP is on: `tunl0` is up and the allow-list exists.
    pub ipip: bool,
    /// Whether VXLAN is on, by family.
    pub vxlan: PerFamily<bool>,
    /// The MTU of `tunl0`; none for automatic.
    pub ipip_mtu: Option<Mtu>,
    /// The MTUs of `vxlan.calico` and `vxlan-v6.calico`; none for automatic.
    pub vxlan_mtu: PerFamily<Option<Mtu>>,
    /// Names of the cards whose MTUs count, as a regular expression; none for Calico's default.
    pub mtu_iface_pattern: Option<Arc<str>>,
    /// The MTU of workloads, if it is fixed by whoever installed Calico.
    pub workload_mtu: Option<Mtu>,
    /// The UDP port of VXLAN.
    pub vxlan_port: u16,
    /// The network identifier of VXLAN.
    pub vni: Vni,
    /// What happens to workloads' packets for their own node.
    pub endpoint_to_host: EndpointToHostAction,
    /// Whether workloads may send UDP to the VXLAN port.
    pub allow_vxlan_from_workloads: bool,
    /// Whether workloads may send IP protocol 4.
    pub allow_ipip_from_workloads: bool,
    /// What Felix does to the source/destination check of AWS.
    pub aws_src_dst_check: AwsSrcDstCheck,
    /// Ranges outside the cluster from which tunnel packets are let in.
    pub external_nodes: Arc<[IpNet]>,
    /// The source that outgoing packets are translated to, by family; that of the output device unless configured.
    pub nat_outgoing_address: PerFamily<Option<IpAddr>>,
    /// Source ports that TCP and UDP are translated to, first and last.
    pub nat_ports: Option<(u16, u16)>,
    /// Whether packets to nodes' addresses are exempt from translation (`natOutgoingExclusions: IPPoolsAndHostIPs`).
    pub nat_exempts_hosts: bool,
    /// The output device that translation is limited to.
    pub nat_interface: Option<Arc<str>>,
    /// What Felix makes routes from.
    pub route_source: RouteSource,
    /// The classes of routes that Felix programs.
    pub felix_routes: ClusterRoutes,
    /// The preferred source of Felix's routes that state none, by family.
    pub route_source_address: PerFamily<Option<IpAddr>>,
    /// The protocol number of Felix's routes; boot (3) leaves each kind its own.
    pub route_protocol: RouteProtocol,
    /// The metric of routes to local workloads.
    pub normal_route_metric: u32,
    /// Whether Felix programs no route at all.
    pub route_sync_disabled: bool,
    /// Whether workloads' wishes to use other sources are honoured (`workloadSourceSpoofing: Any`).
    pub honour_spoofing: bool,
}

/// Fields that cannot change any result here, whatever their value.
#[rustfmt::skip]
const HARMLESS: &[&str] = &[
    "cgroupV2Path", "chainInsertMode", "dataplaneDriver", "dataplaneWatchdogTimeout", "debugDisableLogDropping", "debugHost",
    "debugMemoryProfilePath", "debugPort", "debugSimulateCalcGraphHangAfter", "debugSimulateDataplaneApplyDelay",
    "debugSimulateDataplaneHangAfter", "endpointReportingDelay", "endpointReportingEnabled", "endpointStatusPathPrefix",
    "failsafeInboundHostPorts", "failsafeOutboundHostPorts", "floatingIPs", "genericXDPEnabled", "goGCThreshold",
    "goMaxProcs", "goMemoryLimitMB", "healthEnabled", "healthHost", "healthPort", "healthTimeoutOverrides",
    "interfaceRefreshInterval", "ipsetsRefreshInterval", "iptablesBackend", "iptablesLockFilePath",
    "iptablesLockProbeInterval", "iptablesLockTimeout", "iptablesMarkMask", "iptablesPostWriteCheckInterval",
    "iptablesRefreshInterval", "ipv6Support", "kubeNodePortRanges", "logActionRateLimit", "logDebugFilenameRegex",
    "logFilePath", "logPrefix", "logSeverityFile", "logSeverityScreen", "logSeveritySys", "maxIpsetSize", "metadataAddr",
    "metadataPort", "netlinkTimeout", "nftablesMarkMask", "nftablesMode", "nftablesRefreshInterval", "openstackRegion",
    "policySyncPathPrefix", "reportingInterval", "reportingTTL", "routeRefreshInterval", "routeTableRange",
    "routeTableRanges", "sidecarAccelerationEnabled", "windowsManageFirewallRules", "xdpEnabled",
    "xdpRefreshInterval",
];

/// Groups of fields that cannot either: those of eBPF and WireGuard as long as these are off, and what Felix tells others of
/// itself.
const HARMLESS_GROUPS: [&str; 5] = ["bpf", "flowLogs", "prometheus", "usageReporting", "wireguard"];

impl FelixConfiguration {
    /// Reads a configuration. Fields that Calico knows and that are not modelled are refused unless they hold their default.
    pub(super) fn read(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> FelixConfiguration {
        let mut object = open(value, &at, refusals);
        check_name(&object.name, &at, refusals);
        let spec = &mut object.spec;
        let mtu = |key, spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>| spec.parse(key, refusals, mtu_or_auto);
        let felix = FelixConfiguration {
            name: object.name,
            at,
            ipip_enabled: spec.parse("ipipEnabled", refusals, boolean),
            vxlan_enabled: spec.parse("vxlanEnabled", refusals, boolean),
            ipip_mtu: mtu("ipipMTU", spec, refusals),
            vxlan_mtu: mtu("vxlanMTU", spec, refusals),
            vxlan_mtu_v6: mtu("vxlanMTUV6", spec, refusals),
            vxlan_port: spec
                .parse("vxlanPort", refusals, |v| integer(v, 1, 65535))
                .and_then(|port| u16::try_from(port).ok()),
            vxlan_vni: spec.parse("vxlanVNI", refusals, vni),
            endpoint_to_host: spec.parse("defaultEndpointToHostAction", refusals, endpoint_to_host),
            allow_vxlan_from_workloads: spec.parse("allowVXLANPacketsFromWorkloads", refusals, boolean),
            allow_ipip_from_workloads: spec.parse("allowIPIPPacketsFromWorkloads", refusals, boolean),
            aws_src_dst_check: spec.parse("awsSrcDstCheck", refusals, aws_src_dst_check),
        };
        tolerate(spec, refusals);
        let mut unknown = Vec::new();
        object.spec.finish(&mut unknown);
        refusals.extend(unknown.into_iter().filter(|refusal| !in_harmless_group(&refusal.field)));
        object.root.finish(refusals);
        felix
    }

    /// The field at a path of the object, as `spec.vxlanMTU`.
    pub fn field(&self, path: &str) -> FieldRef {
        below(&self.at, path)
    }

    /// The node that it is for; none if it is for all.
    pub fn node(&self) -> Option<&str> {
        self.name.strip_prefix("node.")
    }
}

/// Fields that are modelled at these values only, which are their defaults.
fn modelled_at() -> Vec<(&'static str, Value)> {
    vec![
        ("bpfEnabled", json!(false)),
        ("deviceRouteProtocol", json!(3)),
        ("deviceRouteSourceAddress", json!("")),
        ("externalNodesList", json!([])),
        ("featureDetectOverride", json!("")),
        ("interfaceExclude", json!("kube-ipvs0")),
        ("interfacePrefix", json!("cali")),
        ("ipForwarding", json!("Enabled")),
        ("iptablesFilterAllowAction", json!("Accept")),
        ("iptablesMangleAllowAction", json!("Accept")),
        ("iptablesNATOutgoingInterfaceFilter", json!("")),
        ("ipv4ElevatedRoutePriority", json!(512)),
        ("ipv4NormalRoutePriority", json!(1024)),
        ("mtuIfacePattern", json!("^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)")),
        ("natOutgoingAddress", json!("")),
        ("natOutgoingExclusions", json!("IPPoolsOnly")),
        ("natPortRange", Value::Null),
        ("programClusterRoutes", json!("Disabled")),
        ("removeExternalRoutes", json!(true)),
        ("routeSource", json!("CalicoIPAM")),
        ("routeSyncDisabled", json!(false)),
        ("serviceLoopPrevention", json!("Drop")),
        ("wireguardEnabled", json!(false)),
        ("wireguardEnabledV6", json!(false)),
        ("wireguardHostEncryptionEnabled", json!(false)),
        ("workloadSourceSpoofing", json!("Disabled")),
    ]
}

fn tolerate(spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) {
    spec.ignore(HARMLESS);
    for (key, default) in modelled_at() {
        if spec.value(key).is_some_and(|value| *value != default) {
            let refusal = not_modelled(spec.field(key), format_args!("`{key}` other than its default"));
            refusals.push(refusal.help(format!("remove `{key}`")));
        }
    }
}

fn in_harmless_group(field: &FieldRef) -> bool {
    let key = field.path.to_string();
    let key = key.rsplit('.').next().unwrap_or_default();
    HARMLESS_GROUPS.iter().any(|group| key.starts_with(group))
}

fn check_name(name: &str, at: &FieldRef, refusals: &mut Vec<Refusal>) {
    if name != "default" && !name.starts_with("node.") && !name.is_empty() {
        refusals.push(
            Refusal::new(
                "K-VALUE",
                below(at, "metadata.name"),
                format!("Felix reads no configuration named {name:?}"),
            )
            .help("name it `default` for all nodes, or `node.` and a node's name for one"),
        );
    }
}

fn vni(value: &Value) -> Result<Vni, Wrong> {
    let wrong = || Wrong::expected("a whole number from 0 to 16777215");
    let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
    number.and_then(Vni::new).ok_or_else(wrong)
}

fn endpoint_to_host(value: &Value) -> Result<EndpointToHostAction, Wrong> {
    match text(value)?.to_lowercase().as_str() {
        "drop" => Ok(EndpointToHostAction::Drop),
        "accept" => Ok(EndpointToHostAction::Accept),
        "return" => Err(Wrong::rule("K-NOT-MODELLED", "`Return` is not modelled yet")
            .why("what then happens is the host's own firewall's affair")
            .help("write `Accept` or `Drop`")),
        _ => Err(Wrong::expected("`Drop` or `Accept`")),
    }
}

fn aws_src_dst_check(value: &Value) -> Result<AwsSrcDstCheck, Wrong> {
    word(
        value,
        &[
            ("DoNothing", AwsSrcDstCheck::DoNothing),
            ("Enable", AwsSrcDstCheck::Enable),
            ("Disable", AwsSrcDstCheck::Disable),
        ],
    )
}
