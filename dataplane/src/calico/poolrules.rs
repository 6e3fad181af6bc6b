//! The rules that concern one pool alone, beyond the spelling of its fields. Rules between objects are not here.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::ippool::{IpPool, default_block_size};
use super::{Profile, since};
use crate::fields::Refusal;
use crate::route::Mode;

impl IpPool {
    /// Applies them all.
    ///
    /// Source: Calico libcalico-go/lib/validator/v3/validator.go, validateIPPoolSpec.
    pub(super) fn check(&self, refusals: &mut Vec<Refusal>) {
        self.check_range(refusals);
        self.check_modes(refusals);
        self.check_load_balancer(refusals);
    }

    /// Applies the rules that depend on the Calico version.
    ///
    /// Source: Calico libcalico-go/lib/validator/v3/validator.go, validateIPPoolSpec.
    pub(super) fn check_version(&self, profile: Profile, refusals: &mut Vec<Refusal>) {
        since::check(&self.since, profile, refusals);
        if self.cidr.addr().is_ipv6() && self.vxlan != Mode::Never && !profile.accepts_ipv6_vxlan() {
            refusals.push(
                Refusal::new(
                    "R10",
                    self.field("spec.vxlanMode"),
                    format!("VXLAN is not supported on IPv6 pools in {profile}"),
                )
                .why("Calico accepts it from v3.23")
                .help("choose a later profile, or set `vxlanMode` to `Never`"),
            );
        }
    }

    fn check_range(&self, refusals: &mut Vec<Refusal>) {
        let link_local = [
            IpNet::V4(Ipv4Net::new_assert([169, 254, 0, 0].into(), 16)),
            IpNet::V6(Ipv6Net::new_assert([0xfe80, 0, 0, 0, 0, 0, 0, 0].into(), 10)),
        ];
        if let Some(range) = link_local.into_iter().find(|range| overlap(*range, self.cidr)) {
            refusals.push(
                Refusal::new("R5", self.field("spec.cidr"), format!("{} overlaps {range}", self.cidr))
                    .why("link-local addresses are not routed")
                    .help("choose a private range, as 192.168.0.0/16"),
            );
        }
        let (min, max) = if self.cidr.addr().is_ipv4() { (20, 32) } else { (116, 128) };
        if !(min..=max).contains(&self.block_size) {
            refusals.push(
                Refusal::new(
                    "R11",
                    self.field("spec.blockSize"),
                    format!("block size {} is out of range", self.block_size),
                )
                .why(format!(
                    "a block of this family has a prefix length from {min} to {max}; 0 means {}",
                    default_block_size(self.cidr)
                ))
                .help(format!("write a `blockSize` from {min} to {max}")),
            );
        } else if self.cidr.prefix_len() > self.block_size && !self.disabled {
            refusals.push(
                Refusal::new("R12", self.field("spec.cidr"), format!("{} is too small", self.cidr))
                    .why(format!("it holds no whole block of /{}", self.block_size))
                    .help(format!(
                        "write a range of /{} or larger, or a `blockSize` of {} or more",
                        self.block_size,
                        self.cidr.prefix_len().max(min)
                    )),
            );
        }
    }

    fn check_modes(&self, refusals: &mut Vec<Refusal>) {
        if self.ipip != Mode::Never && self.vxlan != Mode::Never {
            refusals.push(
                Refusal::new(
                    "R8",
                    self.field("spec.vxlanMode"),
                    "`ipipMode` and `vxlanMode` cannot both be enabled",
                )
                .why("a pool has at most one encapsulation; two pools may have different ones")
                .help("set one of them to `Never`")
                .related(self.field("spec.ipipMode"), format!("`ipipMode` is {} here", self.ipip)),
            );
        }
        if self.ipip != Mode::Never && self.cidr.addr().is_ipv6() {
            refusals.push(
                Refusal::new("R9", self.field("spec.ipipMode"), "IP-in-IP is not supported on IPv6 pools")
                    .why("Calico has no IP-in-IP device and no node field for it in IPv6")
                    .help("remove `ipipMode`; `vxlanMode` is the overlay of IPv6")
                    .related(self.field("spec.cidr"), format!("{} is IPv6", self.cidr)),
            );
        }
    }

    fn check_load_balancer(&self, refusals: &mut Vec<Refusal>) {
        if !self.allowed_uses.load_balancer {
            return;
        }
        let mut refuse = |field: &str, message: &str, help: &str| {
            refusals.push(
                Refusal::new("R14", self.field(field), message)
                    .why("addresses of a LoadBalancer pool belong to no node")
                    .help(help),
            );
        };
        if self.routes() {
            refuse(
                "spec.allowedUses",
                "`LoadBalancer` stands beside another use",
                "make a pool of its own for `LoadBalancer`",
            );
        }
        if self.mode() != Mode::Never {
            refuse(
                if self.vxlan == Mode::Never {
                    "spec.ipipMode"
                } else {
                    "spec.vxlanMode"
                },
                "a LoadBalancer pool cannot have an encapsulation",
                "set it to `Never`",
            );
        }
        if self.disable_bgp_export {
            refuse(
                "spec.disableBGPExport",
                "a LoadBalancer pool cannot disable its BGP export",
                "remove `disableBGPExport`",
            );
        }
        if !self.node_selector.is_all() {
            refuse(
                "spec.nodeSelector",
                "a LoadBalancer pool cannot select nodes",
                "set `nodeSelector` to `all()`",
            );
        }
    }
}

/// Whether two ranges share an address; ranges either nest or are apart.
pub(super) fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}
