//! `FelixConfiguration`: settings of Calico's agent, global and per node, as far as they change results here.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::RouteSource;
use super::felixvalues::{
    aws_src_dst_check, endpoint_to_host, exclusions, feature_overrides, ipv4_networks, metric, optional, port_range, protocol,
    route_source, spoofing, vni,
};
use super::reading::{below, ipv4, ipv6, mtu_or_auto, not_modelled, open};
use super::since::{Since, stated};
use crate::fields::{FieldRef, Fields, Refusal, Wrong, boolean, integer, text, word};
use crate::route::{EndpointToHostAction, RouteProtocol};
use crate::{Mtu, Vni};

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
    /// Names of the cards whose MTUs count, as a regular expression.
    pub mtu_iface_pattern: Option<Arc<str>>,
    /// Ranges outside the cluster from which tunnel packets are let in.
    pub external_nodes: Option<Arc<[IpNet]>>,
    /// The source that outgoing packets are translated to; none within stands for that of the output device.
    pub nat_outgoing_address: Option<Option<Ipv4Addr>>,
    /// Source ports that TCP and UDP are translated to, first and last.
    pub nat_ports: Option<(u16, u16)>,
    /// Whether packets to nodes' addresses are exempt from translation.
    pub nat_exempts_hosts: Option<bool>,
    /// The output device that translation is limited to; none within stands for all.
    pub nat_interface: Option<Option<Arc<str>>>,
    /// What routes are made from.
    pub route_source: Option<RouteSource>,
    /// The value of `programClusterRoutes`, whose meaning depends on the version.
    pub program_cluster_routes: Option<Arc<str>>,
    /// The preferred source of IPv4 routes that state none; none within stands for the kernel's choice.
    pub route_source_address: Option<Option<Ipv4Addr>>,
    /// The same for IPv6.
    pub route_source_address_v6: Option<Option<Ipv6Addr>>,
    /// The protocol number of routes.
    pub route_protocol: Option<RouteProtocol>,
    /// The metric of routes to local workloads.
    pub normal_route_metric: Option<u32>,
    /// Whether no route is programmed at all.
    pub route_sync_disabled: Option<bool>,
    /// Whether workloads' wishes to use other sources are honoured.
    pub honour_spoofing: Option<bool>,
    /// Whether checksum offload of tunnel devices counts as broken (`featureDetectOverride`); none within leaves that to Felix.
    pub checksum_offload_broken: Option<Option<bool>>,
    pub(super) since: Vec<Since>,
}

/// Fields that came after the oldest profile.
///
/// Source: Calico release notes of these versions; api/pkg/apis/projectcalico/v3/felixconfig.go.
const SINCE: [(&str, u8); 5] = [
    ("vxlanMTUV6", 23),
    ("natOutgoingExclusions", 31),
    ("programClusterRoutes", 31),
    ("ipv4ElevatedRoutePriority", 32),
    ("ipv4NormalRoutePriority", 32),
];

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

/// Groups of fields that cannot either: those of eBPF and WireGuard as long as these are off, of service meshes, and what Felix tells
/// others of itself.
const HARMLESS_GROUPS: [&str; 6] = ["bpf", "flowLogs", "istio", "prometheus", "usageReporting", "wireguard"];

impl FelixConfiguration {
    /// Reads a configuration. Fields that Calico knows and that are not modelled are refused unless they hold their default.
    pub(super) fn read(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> FelixConfiguration {
        let mut object = open(value, &at, refusals);
        check_name(&object.name, &at, refusals);
        let mut felix = FelixConfiguration {
            name: object.name,
            at,
            since: stated(&mut object.spec, &SINCE),
            ..FelixConfiguration::default()
        };
        felix.take(&mut object.spec, refusals);
        object.spec.ignore(HARMLESS);
        let mut unknown = Vec::new();
        object.spec.finish(&mut unknown);
        refusals.extend(unknown.into_iter().filter(|refusal| !in_harmless_group(&refusal.field)));
        object.root.finish(refusals);
        felix
    }

    /// Takes over every modelled field that is stated, and checks the others that matter.
    pub(super) fn take(&mut self, spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) {
        let mut from = From { spec, refusals };
        from.set(&mut self.ipip_enabled, "ipipEnabled", boolean);
        from.set(&mut self.vxlan_enabled, "vxlanEnabled", boolean);
        from.set(&mut self.ipip_mtu, "ipipMTU", mtu_or_auto);
        from.set(&mut self.vxlan_mtu, "vxlanMTU", mtu_or_auto);
        from.set(&mut self.vxlan_mtu_v6, "vxlanMTUV6", mtu_or_auto);
        from.set(&mut self.vxlan_port, "vxlanPort", vxlan_port);
        from.set(&mut self.vxlan_vni, "vxlanVNI", vni);
        from.set(&mut self.endpoint_to_host, "defaultEndpointToHostAction", endpoint_to_host);
        from.set(
            &mut self.allow_vxlan_from_workloads,
            "allowVXLANPacketsFromWorkloads",
            boolean,
        );
        from.set(&mut self.allow_ipip_from_workloads, "allowIPIPPacketsFromWorkloads", boolean);
        from.set(&mut self.aws_src_dst_check, "awsSrcDstCheck", aws_src_dst_check);
        from.set(&mut self.mtu_iface_pattern, "mtuIfacePattern", name);
        from.set(&mut self.external_nodes, "externalNodesList", ipv4_networks);
        from.set(&mut self.nat_outgoing_address, "natOutgoingAddress", |v| optional(v, ipv4));
        from.set(&mut self.nat_ports, "natPortRange", port_range);
        from.set(&mut self.nat_exempts_hosts, "natOutgoingExclusions", exclusions);
        from.set(&mut self.nat_interface, "iptablesNATOutgoingInterfaceFilter", |v| {
            optional(v, name)
        });
        from.set(&mut self.route_source, "routeSource", route_source);
        from.set(&mut self.program_cluster_routes, "programClusterRoutes", name);
        from.set(&mut self.route_source_address, "deviceRouteSourceAddress", |v| {
            optional(v, ipv4)
        });
        from.set(&mut self.route_source_address_v6, "deviceRouteSourceAddressIPv6", |v| {
            optional(v, ipv6)
        });
        from.set(&mut self.route_protocol, "deviceRouteProtocol", protocol);
        from.set(&mut self.normal_route_metric, "ipv4NormalRoutePriority", metric);
        from.set(&mut self.route_sync_disabled, "routeSyncDisabled", boolean);
        from.set(&mut self.honour_spoofing, "workloadSourceSpoofing", spoofing);
        from.set(&mut self.checksum_offload_broken, "featureDetectOverride", feature_overrides);
        from.check();
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

/// A spec that fields are taken over from.
struct From<'f, 'v> {
    spec: &'f mut Fields<'v>,
    refusals: &'f mut Vec<Refusal>,
}

impl From<'_, '_> {
    fn set<T>(&mut self, slot: &mut Option<T>, key: &'static str, read: fn(&Value) -> Result<T, Wrong>) {
        if let Some(value) = self.spec.parse(key, self.refusals, read) {
            *slot = Some(value);
        }
    }

    /// Fields whose values change nothing here as long as they are values at all (there are no foreign routes, no loops of
    /// services and no live migrations), and those of which one value is modelled.
    fn check(&mut self) {
        self.spec.parse("removeExternalRoutes", self.refusals, boolean);
        self.spec.parse("ipv4ElevatedRoutePriority", self.refusals, metric);
        let loops = [("Drop", ()), ("Reject", ()), ("Disabled", ())];
        self.spec.parse("serviceLoopPrevention", self.refusals, |v| word(v, &loops));
        for (key, default) in modelled_at() {
            if self.spec.value(key).is_some_and(|value| *value != default) {
                let refusal = not_modelled(self.spec.field(key), format_args!("`{key}` other than its default"));
                self.refusals.push(refusal.help(format!("remove `{key}`")));
            }
        }
    }
}

/// Fields that are modelled at these values only, which are their defaults.
fn modelled_at() -> Vec<(&'static str, Value)> {
    vec![
        ("bpfEnabled", json!(false)),
        ("interfaceExclude", json!("kube-ipvs0")),
        ("interfacePrefix", json!("cali")),
        ("ipForwarding", json!("Enabled")),
        ("iptablesFilterAllowAction", json!("Accept")),
        ("iptablesMangleAllowAction", json!("Accept")),
        ("wireguardEnabled", json!(false)),
        ("wireguardEnabledV6", json!(false)),
        ("wireguardHostEncryptionEnabled", json!(false)),
    ]
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

fn vxlan_port(value: &Value) -> Result<u16, Wrong> {
    let wrong = || Wrong::expected("a port from 1 to 65535");
    integer(value, 1, 65535).and_then(|port| u16::try_from(port).map_err(|_| wrong()))
}

fn name(value: &Value) -> Result<Arc<str>, Wrong> {
    text(value).map(Arc::from)
}
