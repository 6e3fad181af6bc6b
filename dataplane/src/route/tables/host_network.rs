//! What a machine is before Calico touches it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::{Mtu, PerFamily};

/// What a machine asks of the way back to the source of a packet that comes in by one of its network cards or tunnels, over IPv4.
///
/// Source: Linux Documentation/networking/ip-sysctl.rst, `rp_filter`; RFC 3704.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RpFilter {
    /// Nothing (0), the kernel's own default.
    #[default]
    Off,
    /// It leads through the device that the packet came in by (1).
    Strict,
    /// There is one (2).
    Loose,
}

/// The truth about a machine's kernel before Calico touches it: its network cards and its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostNetwork {
    /// The machine.
    pub name: Arc<str>,
    /// Its network cards.
    pub nics: Vec<Nic>,
    /// The gateways of its default routes.
    pub gateways: PerFamily<Option<IpAddr>>,
    /// Its reverse-path filter.
    pub rp_filter: RpFilter,
    /// Its kernel, if that is an old one.
    pub kernel: Option<Kernel>,
}

/// A version of Linux: major and minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel(pub u16, pub u16);

impl Kernel {
    /// Reads a version, or a release as `uname -r` prints it, of which the first two numbers count: `5.4`, `5.4.0-1103-aws`.
    pub fn read(release: &str) -> Option<Kernel> {
        let (major, rest) = release.split_once('.')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (minor, rest) = rest.split_at(end);
        let number = |digits: &str| digits.parse().ok().filter(|_| digits.bytes().all(|c| c.is_ascii_digit()));
        let ends = !rest.starts_with(char::is_alphabetic);
        Some(Kernel(number(major)?, number(minor)?)).filter(|_| ends)
    }

    /// Whether it spoils the UDP checksum of a VXLAN packet that it translates, where its device leaves checksums to the card (before
    /// 5.8).
    ///
    /// Source: Linux net/netfilter/nf_nat_proto.c, udp_manip_pkt; Calico felix/environment/feature_detect_linux.go,
    /// ChecksumOffloadBroken; kubernetes#88986.
    pub fn spoils_translated_vxlan(self) -> bool {
        self < Kernel(5, 8)
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A network card as its kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// `eth0`, `eth1`, ...
    pub name: Arc<str>,
    /// Its addresses, each with the prefix length of the subnet that it is on.
    pub addresses: Vec<IpNet>,
    /// Its MTU.
    pub mtu: Mtu,
}
