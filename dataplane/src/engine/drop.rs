//! Why a node throws a packet away.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// Why a node threw a packet away. The list is closed, and each reason has one spelling.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum DropReason {
            $($(#[doc = $doc])* $variant,)*
        }

        impl DropReason {
            /// Every reason.
            pub const ALL: &[DropReason] = &[$(DropReason::$variant,)*];

            /// Its spelling in scenarios and reports.
            pub fn name(self) -> &'static str {
                match self {
                    $(DropReason::$variant => $name,)*
                }
            }

            /// What it means, and who says so.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(DropReason::$variant => concat!($($doc),*).trim_ascii(),)*
                }
            }
        }
    };
}

reasons! {
    /// No route matches, not even a default one; ICMP 3/0. Source: RFC 1812 section 4.3.3.1.
    NoRoute = "no_route",
    /// A blackhole route won: an unallocated address of a local block. Source: Calico felix, blackhole routes of local blocks.
    Blackhole = "blackhole",
    /// The VXLAN device has no entry for the next hop. Source: RFC 7348 section 4.2, with no flooding configured.
    NoVtep = "no_vtep",
    /// Longer than the route, device or segment allows, and not to be split there. Source: RFC 1191 section 4.
    TooBig = "too_big",
    /// The TTL of the outermost header ran out; ICMP 11/0. Source: RFC 1812 section 5.3.1.
    TtlExpired = "ttl_expired",
    /// The outer packet's own route leads into the same tunnel device. Source: Linux ip_tunnel_xmit.
    TunnelRecursion = "tunnel_recursion",
    /// The source is not routed back through the device that it came in by. Source: Linux net/ipv4/fib_frontend.c, fib_validate_source.
    RpFilter = "rp_filter",
    /// No source port is left to translate to. Source: Linux net/netfilter/nf_nat_core.c, get_unique_tuple.
    NoNatMapping = "no_nat_mapping",
    /// An address that may not be on the wire. Source: RFC 1812 section 5.3.7.
    Martian = "martian",
    /// Version, header length, total length, truncation or header checksum is wrong. Source: RFC 1812 section 5.2.2.
    Malformed = "malformed",
    /// The UDP, TCP or ICMP checksum is wrong. Source: RFC 768.
    BadChecksum = "bad_checksum",
    /// The I flag is clear, or reserved bits are set. Source: Linux vxlan_rcv.
    VxlanBadHeader = "vxlan_bad_header",
    /// No device has this VNI. Source: RFC 7348 section 4.1.
    VxlanUnknownVni = "vxlan_unknown_vni",
    /// The inner frame is not for the device's MAC, comes from that MAC itself, or is tagged. Source: Linux vxlan_set_mac.
    WrongInnerMac = "wrong_inner_mac",
    /// Outer CE on an inner packet that is not ECN-capable. Source: RFC 6040 section 4.2.
    TunnelEcn = "tunnel_ecn",
    /// The outer source is not on the node's allow-list. Source: Calico felix/rules/static.go, filterInputChain.
    TunnelSourceDenied = "tunnel_source_denied",
    /// Protocol 4, or UDP to the node's VXLAN port, and no device for it; ICMP 3/2 or 3/3. Source: RFC 1122 section 3.2.2.1.
    NoDecap = "no_decap",
    /// A workload itself sent protocol 4 or UDP to the VXLAN port. Source: Calico felix/rules/endpoints.go.
    WorkloadEncapDenied = "workload_encap_denied",
    /// A workload sent with a source that is not its own. Source: Calico felix/rules/static.go, RPFilter.
    WorkloadSpoof = "workload_spoof",
    /// Another rule of Calico's: the endpoint-to-host action. Source: Calico felix/rules/static.go.
    PolicyDeny = "policy_deny",
    /// Fragments came but could not be joined. Source: RFC 791 section 3.2, RFC 3168 section 5.3.
    ReassemblyFailed = "reassembly_failed",
    /// It is for a service without endpoints; ICMP 3/3. Source: Kubernetes pkg/proxy/iptables/proxier.go, syncProxyRules.
    NoListener = "no_listener",
    /// It reached a machine that neither owns the address nor forwards. Source: RFC 1122 section 3.3.1.1.
    NotForwarding = "not_forwarding",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
