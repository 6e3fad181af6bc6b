//! VXLAN tunnel ends and the names that are hashes. Routes to them are not made here.

use sha1::{Digest, Sha1};

use super::Vtep;
use crate::calico::Node;
use crate::{Family, MacAddr};

/// The MAC of a node's `vxlan.calico`, unless its Node states another: 0x66 and the first five bytes of the SHA-1 of its name.
/// That of `vxlan-v6.calico` is the same of the name with `-v6` behind it.
///
/// Source: Calico felix/calc/vxlan_resolver.go, vtepMACForHost.
pub fn vtep_mac(node: &str) -> MacAddr {
    let digest: [u8; 20] = Sha1::digest(node.as_bytes()).into();
    let [a, b, c, d, e, ..] = digest;
    MacAddr([0x66, a, b, c, d, e])
}

/// A node's tunnel end in a family. It exists if the Node has both a BGP address and a tunnel address of that family.
///
/// Source: Calico felix/calc/vxlan_resolver.go, OnResourceUpdate.
pub fn vtep(node: &Node, family: Family) -> Option<Vtep> {
    let derived = || match family {
        Family::V4 => vtep_mac(&node.name),
        Family::V6 => vtep_mac(&format!("{}-v6", node.name)),
    };
    Some(Vtep {
        node: node.name.clone(),
        address: (*node.vxlan_tunnel.get(family))?,
        mac: node.vxlan_mac.get(family).unwrap_or_else(derived),
        node_address: node.bgp_net(family)?.addr(),
    })
}

/// The host side of a workload's veth: `cali` and the first 11 hex digits of the SHA-1 of its name. In that of a pod a point
/// stands between namespace and name.
///
/// Source: Calico libcalico-go/lib/backend/k8s/conversion/workload_endpoint_default.go, VethNameForWorkload.
pub(super) fn veth_name(workload: &str) -> String {
    let digest: [u8; 20] = Sha1::digest(workload.replacen('/', ".", 1).as_bytes()).into();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("cali{}", hex.get(..11).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("remotehostname", "66:3e:ca:a4:db:65")]
    #[case("remotehostname2", "66:40:18:59:1f:16")]
    #[case("localhostname", "66:48:f6:56:dc:f1")]
    #[case("remotehostname-v6", "66:a0:68:c9:4c:79")]
    #[case("node-1", "66:b3:68:28:39:8e")]
    #[case("node-2", "66:c0:93:2e:56:2c")]
    #[case("node-1-v6", "66:24:ac:63:df:6c")]
    #[case("node1", "66:f9:37:c3:7e:94")]
    #[case("host-0", "66:d8:40:dd:20:07")]
    fn the_mac_follows_from_the_name_as_in_calicos_own_vectors(#[case] node: &str, #[case] mac: &str) {
        assert_eq!(vtep_mac(node).to_string(), mac);
    }

    #[test]
    fn a_veth_is_named_after_its_workload() {
        // `printf web-a1 | sha1sum` begins with 6d5e629d76a2.
        assert_eq!(veth_name("web-a1"), "cali6d5e629d76a");
    }
}
