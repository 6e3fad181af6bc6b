//! A node's tunnel devices, and whom they let in.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::devices::{self, tunnel_device};
use super::vtep::vtep;
use super::{AllowList, Device, DeviceId, DeviceKind, Index, IpipTunnel, Mtus, VxlanTunnel};
use crate::Family;
use crate::calico::{Node, Settings};

/// The card that carries the node's recorded address: the device under its tunnels, and of Felix's direct routes.
pub(super) fn parent(node: &Node, family: Family, cards: &[Device]) -> Option<DeviceId> {
    let address = node.resolver_address(family)?.net.addr();
    let carries = |card: &Device| card.addresses.iter().any(|net| net.addr() == address);
    let index = cards.iter().position(carries)?;
    u16::try_from(index).ok().map(DeviceId)
}

/// `tunl0`, and every node's address, this one's included.
///
/// Source: Calico felix/dataplane/linux/ipip_mgr.go; ipset_hosts_mgr.go.
pub(super) fn ipip(
    index: &Index,
    node: &Node,
    settings: &Settings,
    devices: &mut Vec<Device>,
    mtus: &Mtus,
) -> Option<IpipTunnel> {
    let address = node.ipip_tunnel.map(IpAddr::from);
    let device = devices::add(devices, tunnel_device("tunl0", DeviceKind::Ipip, address, mtus.ipip))?;
    Some(IpipTunnel {
        device,
        allowed: AllowList {
            hosts: index.all_hosts.v4.clone(),
            except: None,
            external: external(settings, Family::V4),
        },
    })
}

/// The VXLAN device of a family with the tunnel ends of the other nodes; none as long as this node has no end of its own.
///
/// Source: Calico felix/dataplane/linux/vxlan_mgr.go.
pub(super) fn vxlan(
    index: &Index,
    node: &Node,
    family: Family,
    settings: &Settings,
    devices: &mut Vec<Device>,
    mtus: &Mtus,
) -> Option<VxlanTunnel> {
    let own = vtep(node, family)?;
    let name = match family {
        Family::V4 => "vxlan.calico",
        Family::V6 => "vxlan-v6.calico",
    };
    let mtu = mtus.vxlan_over(family);
    let device = Device {
        parent: parent(node, family, devices),
        ..tunnel_device(name, DeviceKind::Vxlan, Some(own.address), mtu)
    };
    let device = devices::add(devices, device)?;
    Some(VxlanTunnel {
        device,
        vni: settings.vni,
        mac: own.mac,
        local: own.node_address,
        ends: index.ends.get(family).clone(),
    })
}

/// The nodes with a tunnel end in a family, but for this one, and ranges outside the cluster.
///
/// Source: Calico felix/dataplane/linux/vxlan_mgr.go, updateNeighborsAndAllowedSources.
pub(super) fn vxlan_allowed(index: &Index, node: &Node, settings: &Settings, family: Family) -> AllowList {
    AllowList {
        hosts: index.end_hosts.get(family).clone(),
        except: vtep(node, family).map(|own| own.node_address),
        external: external(settings, family),
    }
}

/// The ranges outside the cluster in a family.
fn external(settings: &Settings, family: Family) -> Arc<[IpNet]> {
    let all = &settings.external_nodes;
    if all.iter().all(|net| Family::of_net(*net) == family) {
        return all.clone();
    }
    all.iter().copied().filter(|net| Family::of_net(*net) == family).collect()
}
