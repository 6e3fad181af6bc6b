//! `IPAMConfiguration`, or `IPAMConfig` as its CRD is called: how freely nodes take blocks and addresses.

use std::sync::Arc;

use serde_json::Value;

use super::reading::{below, open};
use crate::fields::{FieldRef, Refusal, boolean, integer};

/// How freely nodes take blocks and addresses.
///
/// Source: Calico libcalico-go/lib/apis/internalapi/ipamconfig.go; libcalico-go/lib/ipam/ipam_types.go, IPAMConfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpamConfiguration {
    /// Its name, which is `default`.
    pub name: Arc<str>,
    /// Where it is declared.
    pub at: FieldRef,
    /// Whether nodes keep to their own blocks and never borrow.
    pub strict_affinity: bool,
    /// How many blocks a node may have.
    pub max_blocks_per_host: u32,
    /// Whether a node without a free address takes another block.
    pub auto_allocate_blocks: bool,
}

/// The limit of blocks that holds where none is set.
///
/// Source: Calico libcalico-go/lib/ipam/ipam.go, defaultMaxBlocksPerHost.
const MAX_BLOCKS: u32 = 20;

impl Default for IpamConfiguration {
    fn default() -> IpamConfiguration {
        IpamConfiguration {
            name: "default".into(),
            at: FieldRef::default(),
            strict_affinity: false,
            max_blocks_per_host: MAX_BLOCKS,
            auto_allocate_blocks: true,
        }
    }
}

impl IpamConfiguration {
    /// Reads and validates a configuration.
    ///
    /// Source: Calico libcalico-go/lib/ipam/ipam.go, SetIPAMConfig; libcalico-go/lib/validator/v3/validator.go.
    pub(super) fn read(value: &Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> IpamConfiguration {
        let mut object = open(value, &at, refusals);
        let spec = &mut object.spec;
        let strict_affinity = spec.parse("strictAffinity", refusals, boolean).unwrap_or(false);
        let stated = spec.parse("maxBlocksPerHost", refusals, |v| integer(v, 0, i32::MAX as u64));
        let auto_allocate_blocks = spec.parse("autoAllocateBlocks", refusals, boolean).unwrap_or(true);
        spec.ignore(&["kubeVirtVMAddressPersistence"]);
        let most = stated.filter(|most| *most > 0).and_then(|most| u32::try_from(most).ok());
        object.spec.finish(refusals);
        object.root.finish(refusals);
        let configuration = IpamConfiguration {
            name: object.name,
            at,
            strict_affinity,
            max_blocks_per_host: most.unwrap_or(MAX_BLOCKS),
            auto_allocate_blocks,
        };
        configuration.check(most.is_some(), refusals);
        configuration
    }

    fn check(&self, limited: bool, refusals: &mut Vec<Refusal>) {
        let field = |key: &str| below(&self.at, &format!("spec.{key}"));
        if !["default", ""].contains(&&*self.name) {
            let message = format!("Calico reads no IPAM configuration named {:?}", self.name);
            refusals.push(Refusal::new("K-VALUE", below(&self.at, "metadata.name"), message).help("name it `default`"));
        }
        if limited && !self.strict_affinity {
            refusals.push(
                Refusal::new(
                    "I-MAX-BLOCKS",
                    field("maxBlocksPerHost"),
                    "a limit of blocks needs `strictAffinity`",
                )
                .why("a node at its limit could otherwise still borrow from every other node")
                .help("set `strictAffinity` to true, or `maxBlocksPerHost` to 0"),
            );
        }
        if !self.strict_affinity && !self.auto_allocate_blocks {
            refusals.push(
                Refusal::new(
                    "I-AUTO-ALLOCATE",
                    field("autoAllocateBlocks"),
                    "blocks that are not taken automatically need `strictAffinity`",
                )
                .why("nodes without a block would live on addresses borrowed from others")
                .help("set `strictAffinity` to true, or `autoAllocateBlocks` to true"),
            );
        }
    }
}
