//! Small quantities that must not be mistaken for one another.
//!
//! Lengths are bytes in `usize`; time spans are [`std::time::Duration`].

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

/// An address family: the version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, IPv4 first.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The family of a range.
    pub fn of_net(net: IpNet) -> Family {
        Family::of(net.addr())
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        })
    }
}

/// One thing of each address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerFamily<T> {
    /// That of IPv4.
    pub v4: T,
    /// That of IPv6.
    pub v6: T,
}

impl<T> PerFamily<T> {
    /// Makes one thing for each family.
    pub fn from_fn(mut make: impl FnMut(Family) -> T) -> PerFamily<T> {
        PerFamily {
            v4: make(Family::V4),
            v6: make(Family::V6),
        }
    }

    /// That of a family.
    pub fn get(&self, family: Family) -> &T {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// That of a family, to change.
    pub fn get_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// Both, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        [&self.v4, &self.v6].into_iter()
    }
}

/// Nanoseconds since the start of a run. It comes from whoever drives the run; nothing here reads a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The start of the run.
    pub const ZERO: Instant = Instant(0);

    /// The instant this many nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This instant, `span` later; at the end of time it stays there.
    pub fn saturating_add(self, span: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Seconds with three decimals, as `13.500 s`; finer parts are cut off, never rounded up.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1_000_000_000, self.0 / 1_000_000 % 1_000)
    }
}

/// The largest IP packet that a device or route takes, in bytes, without any link header. 68 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtu(u16);

impl Mtu {
    /// The smallest MTU of IPv4 (RFC 791 section 3.2).
    pub const MIN: Mtu = Mtu(68);

    /// The largest MTU: the longest IPv4 packet.
    pub const MAX: Mtu = Mtu(u16::MAX);

    /// An MTU, if it is at least 68 B.
    pub const fn new(bytes: u16) -> Option<Mtu> {
        if bytes >= Mtu::MIN.0 { Some(Mtu(bytes)) } else { None }
    }

    /// This MTU less an overhead, never below 68 B.
    pub fn less(self, overhead: u16) -> Mtu {
        Mtu(self.0.saturating_sub(overhead).max(Mtu::MIN.0))
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u16 {
        self.0
    }

    /// Whether an IP packet of this many bytes fits.
    pub fn fits(self, bytes: usize) -> bool {
        bytes <= usize::from(self.0)
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

/// As `66:f9:37:c3:7e:94`.
impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A VXLAN network identifier: 24 bits (RFC 7348 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vni(u32);

impl Vni {
    /// Calico's default (felix/config/config_params.go, VXLANVNI).
    pub const CALICO: Vni = Vni(4096);

    /// An identifier, if it fits into 24 bits.
    pub fn new(value: u32) -> Option<Vni> {
        (value < 1 << 24).then_some(Vni(value))
    }

    /// The identifier of these three bytes, as the wire has them.
    pub const fn from_bytes([a, b, c]: [u8; 3]) -> Vni {
        Vni(u32::from_be_bytes([0, a, b, c]))
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
