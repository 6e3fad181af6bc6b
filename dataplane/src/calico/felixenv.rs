//! Felix's settings in the environment of calico-node: `FELIX_` and the name of a parameter, in any case.

use serde_json::{Value, json};

use super::FelixConfiguration;
use crate::fields::{FieldRef, Fields, Refusal};

/// How a variable's text stands for a value.
#[derive(Clone, Copy)]
enum Kind {
    Flag,
    Number,
    Text,
    List,
}

/// Variables, the fields that they set, and how their texts are read.
///
/// Source: Calico felix/config/config_params.go, Config.
#[rustfmt::skip]
const VARIABLES: [(&str, &str, Kind); 32] = [
    ("ALLOWIPIPPACKETSFROMWORKLOADS", "allowIPIPPacketsFromWorkloads", Kind::Flag),
    ("ALLOWVXLANPACKETSFROMWORKLOADS", "allowVXLANPacketsFromWorkloads", Kind::Flag),
    ("AWSSRCDSTCHECK", "awsSrcDstCheck", Kind::Text),
    ("BPFENABLED", "bpfEnabled", Kind::Flag),
    ("DEFAULTENDPOINTTOHOSTACTION", "defaultEndpointToHostAction", Kind::Text),
    ("DEVICEROUTEPROTOCOL", "deviceRouteProtocol", Kind::Number),
    ("DEVICEROUTESOURCEADDRESS", "deviceRouteSourceAddress", Kind::Text),
    ("DEVICEROUTESOURCEADDRESSIPV6", "deviceRouteSourceAddressIPv6", Kind::Text),
    ("EXTERNALNODESCIDRLIST", "externalNodesList", Kind::List),
    ("FEATUREDETECTOVERRIDE", "featureDetectOverride", Kind::Text),
    ("INTERFACEPREFIX", "interfacePrefix", Kind::Text),
    ("IPFORWARDING", "ipForwarding", Kind::Text),
    ("IPINIPENABLED", "ipipEnabled", Kind::Flag),
    ("IPINIPMTU", "ipipMTU", Kind::Number),
    ("IPTABLESNATOUTGOINGINTERFACEFILTER", "iptablesNATOutgoingInterfaceFilter", Kind::Text),
    ("IPV4NORMALROUTEPRIORITY", "ipv4NormalRoutePriority", Kind::Number),
    ("MTUIFACEPATTERN", "mtuIfacePattern", Kind::Text),
    ("NATOUTGOINGADDRESS", "natOutgoingAddress", Kind::Text),
    ("NATOUTGOINGEXCLUSIONS", "natOutgoingExclusions", Kind::Text),
    ("NATPORTRANGE", "natPortRange", Kind::Text),
    ("PROGRAMCLUSTERROUTES", "programClusterRoutes", Kind::Text),
    ("REMOVEEXTERNALROUTES", "removeExternalRoutes", Kind::Flag),
    ("ROUTESOURCE", "routeSource", Kind::Text),
    ("ROUTESYNCDISABLED", "routeSyncDisabled", Kind::Flag),
    ("SERVICELOOPPREVENTION", "serviceLoopPrevention", Kind::Text),
    ("VXLANENABLED", "vxlanEnabled", Kind::Flag),
    ("VXLANMTU", "vxlanMTU", Kind::Number),
    ("VXLANMTUV6", "vxlanMTUV6", Kind::Number),
    ("VXLANPORT", "vxlanPort", Kind::Number),
    ("VXLANVNI", "vxlanVNI", Kind::Number),
    ("WIREGUARDENABLED", "wireguardEnabled", Kind::Flag),
    ("WORKLOADSOURCESPOOFING", "workloadSourceSpoofing", Kind::Text),
];

impl FelixConfiguration {
    /// Makes a configuration of environment variables, each with its name, its text and its place. Variables that are not
    /// Felix's, that it does not know, or that are empty set nothing.
    ///
    /// Source: Calico felix/config/env_var_loader.go, LoadConfigFromEnvironment.
    pub fn from_environment<'e>(
        variables: impl IntoIterator<Item = (&'e str, &'e str, FieldRef)>,
        refusals: &mut Vec<Refusal>,
    ) -> FelixConfiguration {
        let mut felix = FelixConfiguration::default();
        for (name, text, at) in variables {
            let upper = name.to_ascii_uppercase();
            let known = upper
                .strip_prefix("FELIX_")
                .and_then(|name| VARIABLES.iter().find(|(variable, ..)| *variable == name));
            let Some((_, field, kind)) = known.filter(|_| !text.is_empty()) else {
                continue;
            };
            let spec = json!({ *field: kind.value(text) });
            let mut wrong = Vec::new();
            felix.take(&mut Fields::new(&spec, at.clone(), &mut wrong), &mut wrong);
            refusals.extend(wrong.into_iter().map(|refusal| Refusal {
                field: at.clone(),
                ..refusal
            }));
        }
        felix
    }
}

impl Kind {
    /// The value that a text stands for, or the text itself, which its reader will refuse.
    fn value(self, text: &str) -> Value {
        let zero = text.eq_ignore_ascii_case("none");
        match self {
            Kind::Flag => flag(text).map_or_else(|| json!(text), Value::from),
            Kind::Number if zero => json!(0),
            Kind::Number => text.parse::<u64>().map_or_else(|_| json!(text), Value::from),
            Kind::Text => json!(if zero { "" } else { text }),
            Kind::List if zero => json!([]),
            Kind::List => json!(text.split(',').map(str::trim).filter(|t| !t.is_empty()).collect::<Vec<_>>()),
        }
    }
}

/// Source: Calico felix/config/param_types.go, BoolParam.
fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "y" | "t" => Some(true),
        "false" | "0" | "no" | "n" | "f" | "none" => Some(false),
        _ => None,
    }
}
