//! The pools that calico-node creates by its environment when it starts and finds none. Their names, spellings and defaults are
//! others than those of IPPool objects.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::daemonset::Environment;
use super::inventory::Inventory;
use super::ippool::{DEFAULT_V4, DEFAULT_V6, Declared, IpPool};
use super::{Node, Selector, SelectorError};
use crate::Family;
use crate::fields::{FieldRef, Refusal};
use crate::route::Mode;

/// The pools that an environment creates beside those that are there already.
///
/// Source: Calico node/pkg/lifecycle/startup/startup.go, configureIPPools.
pub(super) fn pools(environment: &Environment, inventory: &Inventory, refusals: &mut Vec<Refusal>) -> Vec<IpPool> {
    let named = |family| environment.get(&variable(family, "CIDR"));
    let unwanted = environment.get("NO_DEFAULT_POOLS");
    if unwanted.is_some_and(|text| text.to_lowercase() == "true") {
        if let Some(family) = Family::ALL.into_iter().find(|family| named(*family).is_some()) {
            let name = variable(family, "CIDR");
            refusals.push(
                Refusal::new(
                    "E2",
                    environment.field(&name),
                    format!("NO_DEFAULT_POOLS is true, and {name} is set"),
                )
                .why("calico-node does not start if it is told of a pool and to create none")
                .help(format!("remove {name} or NO_DEFAULT_POOLS"))
                .related(environment.field("NO_DEFAULT_POOLS"), "no pool is to be created"),
            );
        }
        return Vec::new();
    }
    let has_v6 = || inventory.nodes.values().any(|node| addresses(node).any(|a| a.is_ipv6()));
    let attempted = |family: &Family| match family {
        Family::V4 => true,
        Family::V6 => environment.switch("FELIX_IPV6SUPPORT", true) && (named(Family::V6).is_some() || has_v6()),
    };
    Family::ALL
        .into_iter()
        .filter(attempted)
        .filter(|family| inventory.pools.values().all(|pool| Family::of_net(pool.cidr) != *family))
        .filter_map(|family| create(environment, inventory, family, refusals))
        .collect()
}

/// The name of a variable about the pool of a family.
fn variable(family: Family, key: &str) -> String {
    match family {
        Family::V4 => format!("CALICO_IPV4POOL_{key}"),
        Family::V6 => format!("CALICO_IPV6POOL_{key}"),
    }
}

/// The fields of an IPPool, and the variables that stand for them, by their ends.
const FIELDS: [(&str, &str); 7] = [
    ("spec.cidr", "CIDR"),
    ("spec.ipipMode", "IPIP"),
    ("spec.vxlanMode", "VXLAN"),
    ("spec.natOutgoing", "NAT_OUTGOING"),
    ("spec.disableBGPExport", "DISABLE_BGP_EXPORT"),
    ("spec.blockSize", "BLOCK_SIZE"),
    ("spec.nodeSelector", "NODE_SELECTOR"),
];

/// Creates the pool of a family; none if it is not wanted or cannot be.
///
/// Source: Calico node/pkg/lifecycle/startup/startup.go, createIPPool.
fn create(environment: &Environment, inventory: &Inventory, family: Family, refusals: &mut Vec<Refusal>) -> Option<IpPool> {
    let name = |key: &str| variable(family, key);
    let cidr = match environment.get(&name("CIDR")) {
        Some("none") => return None,
        Some(text) => stated_range(text, family, environment.field(&name("CIDR")), refusals)?,
        None => default_range(inventory, family),
    };
    let places: BTreeMap<&'static str, FieldRef> = FIELDS
        .into_iter()
        .map(|(field, key)| (field, environment.field(&name(key))))
        .collect();
    let declared = Declared::Environment(Arc::new(places));
    let pool_name = if family == Family::V4 { DEFAULT_V4 } else { DEFAULT_V6 };
    let mut pool = IpPool::with_defaults(pool_name.into(), environment.at.clone(), cidr, declared);
    let before = refusals.len();
    if family == Family::V4 {
        pool.ipip = mode(environment, &name("IPIP"), refusals);
    }
    pool.vxlan = mode(environment, &name("VXLAN"), refusals);
    if pool.ipip != Mode::Never && pool.vxlan != Mode::Never {
        let (ipip, vxlan) = (name("IPIP"), name("VXLAN"));
        refusals.push(
            Refusal::new(
                "R8",
                environment.field(&vxlan),
                format!("{ipip} and {vxlan} cannot both be enabled"),
            )
            .why("calico-node does not start if its default pool is refused, and a pool has at most one encapsulation")
            .help(format!(
                "set one of them to `Never`; the value `Always` of {ipip} in Calico's manifest counts"
            ))
            .related(environment.field(&ipip), format!("{ipip} is {} here", pool.ipip)),
        );
    }
    pool.nat_outgoing = environment.switch(&name("NAT_OUTGOING"), family == Family::V4);
    pool.disable_bgp_export = environment.switch(&name("DISABLE_BGP_EXPORT"), false);
    pool.block_size = block_size(environment, family, pool.block_size, refusals);
    pool.node_selector = selector(environment, &name("NODE_SELECTOR"), refusals);
    if refusals.len() > before {
        return None;
    }
    pool.check(refusals);
    for refusal in refusals.iter_mut().skip(before) {
        let key = FIELDS.iter().find(|(field, _)| pool.field(field) == refusal.field);
        let variable = key.map_or_else(|| name("CIDR"), |(_, key)| name(key));
        refusal.message = format!("{variable}: {}", refusal.message);
    }
    Some(pool)
}

/// The range that a variable names; host bits are dropped without a word.
fn stated_range(text: &str, family: Family, at: FieldRef, refusals: &mut Vec<Refusal>) -> Option<IpNet> {
    let range = text.parse::<IpNet>().ok().map(|range| range.trunc());
    let fitting = range.filter(|range| Family::of_net(*range) == family);
    if fitting.is_none() {
        let variable = variable(family, "CIDR");
        refusals.push(
            Refusal::new("E4", at, format!("{variable}: {text:?} is no range of {family}"))
                .why("calico-node does not start without a range for the pool that it is about to create")
                .help("write a range with its prefix length, as 192.168.0.0/16 or fd00:10:244::/48, or `none`"),
        );
    }
    fitting
}

/// The range of a pool that no variable names: kubeadm's, else one that holds no node. Where Calico draws the bits of an IPv6
/// range by lot, these spell a word.
///
/// Source: Calico node/pkg/lifecycle/startup/autodetection/ipv4/poolselector.go, GetDefaultIPv4Pool.
fn default_range(inventory: &Inventory, family: Family) -> IpNet {
    let like: IpAddr = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let kubeadm = inventory.kubeadm_config.as_ref();
    if let Some(range) = kubeadm.and_then(|config| config.pod_subnet(like)) {
        return range;
    }
    if family == Family::V6 {
        return IpNet::V6(Ipv6Net::new_assert([0xfd6f, 0x7665, 0x726c, 0, 0, 0, 0, 0].into(), 48));
    }
    let preferred = Ipv4Net::new_assert([192, 168, 0, 0].into(), 16);
    let others = (16..32).map(|second| Ipv4Net::new_assert([172, second, 0, 0].into(), 16));
    let hosts: Vec<IpAddr> = inventory.nodes.values().flat_map(addresses).collect();
    std::iter::once(preferred)
        .chain(others)
        .map(IpNet::V4)
        .find(|range| !hosts.iter().any(|host| range.contains(host)))
        .unwrap_or(IpNet::V4(preferred))
}

/// Every address of a node, by any record.
fn addresses(node: &Node) -> impl Iterator<Item = IpAddr> {
    let bgp = Family::ALL.into_iter().filter_map(|family| node.bgp_net(family));
    let others = node.addresses.iter().map(|other| other.address);
    bgp.chain(others).map(|net| net.addr())
}

fn mode(environment: &Environment, variable: &str, refusals: &mut Vec<Refusal>) -> Mode {
    let Some(text) = environment.get(variable) else {
        return Mode::Never;
    };
    match text.to_lowercase().as_str() {
        "off" | "never" => Mode::Never,
        "always" => Mode::Always,
        "crosssubnet" | "cross-subnet" => Mode::CrossSubnet,
        _ => {
            refusals.push(
                Refusal::new(
                    "E-MODE",
                    environment.field(variable),
                    format!("{variable}: {text:?} is no mode"),
                )
                .why("calico-node does not start with a mode that it cannot read, if it is about to create the pool")
                .help("write `Never`, `Always` or `CrossSubnet`"),
            );
            Mode::Never
        }
    }
}

fn block_size(environment: &Environment, family: Family, unset: u8, refusals: &mut Vec<Refusal>) -> u8 {
    let name = variable(family, "BLOCK_SIZE");
    let Some(text) = environment.get(&name) else {
        return unset;
    };
    let (min, max) = if family == Family::V4 { (20, 32) } else { (116, 128) };
    let size = text.parse().ok().filter(|size| (min..=max).contains(size));
    if size.is_none() {
        refusals.push(
            Refusal::new("E6", environment.field(&name), format!("{name}: {text:?} is no block size"))
                .why("calico-node ends if a block size cannot be")
                .help(format!("write a whole number from {min} to {max}")),
        );
    }
    size.unwrap_or(unset)
}

fn selector(environment: &Environment, variable: &str, refusals: &mut Vec<Refusal>) -> Selector {
    let Some(text) = environment.get(variable) else {
        return Selector::default();
    };
    text.parse().unwrap_or_else(|wrong: SelectorError| {
        refusals.push(
            Refusal::new(
                "E8",
                environment.field(variable),
                format!("{variable}: {text:?} is no selector: {wrong}"),
            )
            .why("calico-node does not start with a selector that it cannot read")
            .help(format!("write {} there, or `all()` for the whole selector", wrong.expected)),
        );
        Selector::default()
    })
}
