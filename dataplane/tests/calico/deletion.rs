//! Deletions: what goes with an object, what stays of it, and what Calico brings back.

use overlab_dataplane::calico::{ClusterState, Deletion, Profile, Resource, delete};
use overlab_dataplane::fields::Refusal;
use rstest::rstest;
use serde_json::{Value, json};

use crate::datastore::{calico_node, felix, installation, node, only, pool, read};

/// Deletes `KIND NAME`, and prints what is left by kind and name.
fn remains(manifests: &[Value], deletions: &[&str], profile: Profile) -> Result<Vec<Resource>, Vec<Refusal>> {
    let resources = read(manifests).unwrap();
    let deletion = |text: &&str| {
        let (kind, name) = text.split_once(' ').unwrap();
        Deletion {
            kind: kind.into(),
            name: name.into(),
            at: Default::default(),
        }
    };
    delete(&resources, &deletions.iter().map(deletion).collect::<Vec<_>>(), profile)
}

fn left(manifests: &[Value], deletion: &str) -> Vec<String> {
    let left = remains(manifests, &[deletion], Profile::V3_32).unwrap();
    let line = |resource: &Resource| {
        let Resource::IpamBlock(block) = resource else {
            return format!("{} {}", resource.kind(), resource.name());
        };
        let held: Vec<_> = block.block.allocations.keys().map(ToString::to_string).collect();
        let node = block.block.affinity.as_deref().unwrap_or("nobody");
        format!("block {} of {node}: {}", block.block.cidr, held.join(" "))
    };
    left.iter().map(line).collect()
}

fn crd(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "crd.projectcalico.org/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A block of a node, in which nodes hold the first addresses.
fn block(cidr: &str, owner: &str, holders: &[&str]) -> Value {
    let attributes: Vec<_> = holders
        .iter()
        .map(|node| json!({"handle_id": "h", "secondary": {"node": node}}))
        .collect();
    let allocations: Vec<usize> = (0..holders.len()).collect();
    let name = cidr.replace(['.', '/'], "-");
    crd(
        "IPAMBlock",
        &name,
        json!({"cidr": cidr, "affinity": format!("host:{owner}"), "allocations": allocations, "attributes": attributes}),
    )
}

fn claim(name: &str, cidr: &str, node: &str) -> Value {
    crd(
        "BlockAffinity",
        name,
        json!({"cidr": cidr, "node": node, "state": "confirmed"}),
    )
}

fn kubernetes_node(name: &str, address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "annotations": {"projectcalico.org/IPv4Address": address}}})
}

fn pod(name: &str, node: &str, address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
           "spec": {"nodeName": node}, "status": {"phase": "Running", "podIPs": [{"ip": address}]}})
}

/// 1.1.3 and B8: the pool goes, its blocks are nobody's, the empty ones go, and those of other pools stay.
#[test]
fn a_deleted_pool_leaves_its_blocks_to_nobody() {
    let manifests = [
        pool("p", json!({"cidr": "10.1.0.0/16"})),
        pool("q", json!({"cidr": "10.2.0.0/16"})),
        block("10.1.0.0/26", "a", &["a"]),
        block("10.1.0.64/26", "a", &[]),
        block("10.2.0.0/26", "a", &[]),
        claim("a-1", "10.1.0.0/26", "a"),
        claim("a-2", "10.2.0.0/26", "a"),
    ];
    assert_eq!(
        left(&manifests, "IPPool p"),
        [
            "IPPool q",
            "block 10.1.0.0/26 of nobody: 10.1.0.0",
            "block 10.2.0.0/26 of a: ",
            "BlockAffinity a-2"
        ]
    );
}

/// 1.1.3: where the pool controller watches, a CRD stays until its blocks have gone.
#[rstest]
#[case::blocks(Profile::V3_32, &[block("10.1.0.0/26", "a", &["a"])], Some(true))]
#[case::no_blocks(Profile::V3_32, &[], None)]
#[case::no_controller(Profile::V3_22, &[block("10.1.0.0/26", "a", &["a"])], None)]
fn a_pool_that_is_a_crd_waits_for_its_blocks(#[case] profile: Profile, #[case] blocks: &[Value], #[case] deleting: Option<bool>) {
    let manifests = [&[crd("IPPool", "p", json!({"cidr": "10.1.0.0/16"}))], blocks].concat();
    let left = remains(&manifests, &["IPPool p"], profile).unwrap();
    let pool = left.iter().find_map(|resource| {
        let Resource::IpPool(pool) = resource else { return None };
        Some(pool)
    });
    assert_eq!(pool.map(|pool| pool.deleting), deleting);
    if let Some(pool) = pool {
        assert!(!pool.allocates());
    }
}

/// 1.2: through Calico's API a Node takes along what is its own, and nothing of another node's.
#[test]
fn a_node_of_calicos_takes_along_what_is_its_own() {
    let peer = |name: &str, node: &str| {
        let spec = json!({"node": node, "peerIP": "172.16.0.9", "asNumber": 64999});
        json!({"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": name}, "spec": spec})
    };
    let manifests = [
        node("a", "172.16.0.1/24"),
        node("b", "172.16.0.2/24"),
        block("10.1.0.0/26", "a", &["a", "b"]),
        block("10.1.0.64/26", "a", &["a"]),
        block("10.1.0.128/26", "b", &["a", "b"]),
        claim("a-1", "10.1.0.0/26", "a"),
        claim("b-1", "10.1.0.128/26", "b"),
        felix("node.a", json!({})),
        felix("node.b", json!({})),
        peer("of-a", "a"),
        peer("of-b", "b"),
        pod("x", "a", "10.1.0.64"),
        pod("y", "b", "10.1.0.129"),
    ];
    assert_eq!(
        left(&manifests, "Node a"),
        [
            "Node b",
            "block 10.1.0.0/26 of nobody: 10.1.0.1",
            "block 10.1.0.128/26 of b: 10.1.0.129",
            "BlockAffinity b-1",
            "FelixConfiguration node.b",
            "BGPPeer of-b",
            "Pod default/y"
        ]
    );
}

/// X7: nobody tells Calico's address management of it; garbage collection comes later.
#[test]
fn a_kubernetes_node_takes_nothing_along() {
    let manifests = [
        kubernetes_node("a", "172.16.0.1/24"),
        kubernetes_node("b", "172.16.0.2/24"),
        block("10.1.0.0/26", "a", &["a"]),
        claim("a-1", "10.1.0.0/26", "a"),
        felix("node.a", json!({})),
    ];
    assert_eq!(
        left(&manifests, "Node a"),
        [
            "Node b",
            "block 10.1.0.0/26 of a: 10.1.0.0",
            "BlockAffinity a-1",
            "FelixConfiguration node.a"
        ]
    );
}

#[test]
fn a_pod_gives_its_address_back_to_the_end_of_the_free_ones() {
    let manifests = [block("10.1.0.0/30", "a", &["a", "a"]), pod("x", "a", "10.1.0.1")];
    assert_eq!(left(&manifests, "Pod default/x"), ["block 10.1.0.0/30 of a: 10.1.0.0"]);
    let left = remains(&manifests, &["Pod default/x"], Profile::V3_32).unwrap();
    let Resource::IpamBlock(block) = &left[0] else { panic!() };
    let order: Vec<_> = block.block.unallocated.iter().map(ToString::to_string).collect();
    assert_eq!(order, ["10.1.0.2", "10.1.0.3", "10.1.0.1"]);
}

#[rstest]
#[case::unknown_name("IPPool pp", "\"p\"")]
#[case::unknown_kind("NetworkPolicy p", "that is there")]
fn what_is_not_there_cannot_be_deleted(#[case] deletion: &str, #[case] help: &str) {
    let manifests = [pool("p", json!({"cidr": "10.1.0.0/16"}))];
    let refusal = only(remains(&manifests, &[deletion], Profile::V3_32));
    assert_eq!(refusal.code, "K-UNKNOWN");
    assert!(refusal.help.is_some_and(|h| h.contains(help)));
}

#[rstest]
#[case::environment(calico_node(&[]), "default-ipv4-ippool")]
#[case::installation(installation(json!({"ipPools": [{"cidr": "10.1.0.0/16", "name": "p"}]})), "p")]
fn a_pool_that_comes_back_is_refused(#[case] source: Value, #[case] name: &str) {
    let deletion = format!("IPPool {name}");
    let refusal = only(remains(&[source], &[&deletion], Profile::V3_32));
    assert_eq!(refusal.code, "K-RECREATED");
    assert!(refusal.related.is_some());
}

#[test]
fn the_environments_pool_goes_once_its_daemon_set_has_gone() {
    let left = remains(
        &[calico_node(&[])],
        &["DaemonSet calico-node", "IPPool default-ipv4-ippool"],
        Profile::V3_32,
    );
    assert_eq!(left.map(|left| left.len()), Ok(0));
}

#[test]
fn a_filter_that_a_peering_names_stays() {
    let manifests = [
        json!({"apiVersion": "projectcalico.org/v3", "kind": "BGPFilter", "metadata": {"name": "f"}, "spec": {}}),
        json!({"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": "p"},
               "spec": {"peerIP": "172.16.0.9", "asNumber": 64999, "filters": ["f"]}}),
    ];
    let refusal = only(remains(&manifests, &["BGPFilter f"], Profile::V3_32));
    assert_eq!(
        (refusal.code, refusal.field.path.to_string().as_str()),
        ("K-UNKNOWN", "spec.filters[0]")
    );
    assert_eq!(
        remains(&manifests, &["BGPPeer p", "BGPFilter f"], Profile::V3_32).map(|l| l.len()),
        Ok(0)
    );
}

/// B8: with the pool gone, the route of a living workload's block is gone from other nodes.
#[test]
fn what_is_left_is_a_datastore() {
    let manifests = [
        pool("p", json!({"cidr": "10.1.0.0/16", "vxlanMode": "Always"})),
        node("a", "172.16.0.1/24"),
        node("b", "172.16.0.2/24"),
        block("10.1.0.64/26", "b", &["b"]),
    ];
    let left = remains(&manifests, &["IPPool p"], Profile::V3_32).unwrap();
    let built = ClusterState::build(Profile::V3_32, left, Vec::new()).unwrap();
    let block = built.blocks().values().next().unwrap();
    assert_eq!((block.affinity.as_ref(), built.pools().len()), (None, 0));
}
