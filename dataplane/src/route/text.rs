//! Routes as `ip route` prints them.

use std::fmt;

use super::{NodeTables, Route, RouteKind, RouteProtocol};

/// A route in the words of `ip route`, or of `ip -6 route` less the `pref medium` that ends every line of it.
///
/// Source: iproute2 ip/iproute.c, print_route.
pub struct RouteText<'a> {
    tables: &'a NodeTables,
    route: &'a Route,
}

impl NodeTables {
    /// A route of these tables, as `ip route` on the node would print it.
    pub fn text<'a>(&'a self, route: &'a Route) -> RouteText<'a> {
        RouteText { tables: self, route }
    }
}

impl fmt::Display for RouteText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let route = self.route;
        if route.kind == RouteKind::Blackhole {
            f.write_str("blackhole ")?;
        }
        self.destination(f)?;
        if let Some(gateway) = route.gateway {
            write!(f, " via {gateway}")?;
        }
        let device = route.device.and_then(|id| self.tables.device(id));
        if let Some(device) = device {
            write!(f, " dev {}", device.name)?;
        } else if route.destination.addr().is_ipv6() {
            f.write_str(" dev lo")?;
        }
        write!(f, "{}", Proto(route.protocol))?;
        if route.gateway.is_none() && device.is_some() && route.destination.addr().is_ipv4() {
            f.write_str(" scope link")?;
        }
        if let Some(source) = route.source {
            write!(f, " src {source}")?;
        }
        if route.metric != 0 {
            write!(f, " metric {}", route.metric)?;
        }
        if route.onlink {
            f.write_str(" onlink")?;
        }
        if let Some(mtu) = route.mtu {
            write!(f, " mtu {mtu}")?;
        }
        Ok(())
    }
}

impl RouteText<'_> {
    fn destination(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let net = self.route.destination;
        if net.prefix_len() == 0 {
            f.write_str("default")
        } else if net.prefix_len() == net.max_prefix_len() {
            write!(f, "{}", net.addr())
        } else {
            write!(f, "{net}")
        }
    }
}

/// ` proto NAME`; nothing for boot, which is not shown.
struct Proto(RouteProtocol);

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            RouteProtocol::BOOT => Ok(()),
            RouteProtocol::KERNEL => f.write_str(" proto kernel"),
            RouteProtocol::BIRD => f.write_str(" proto bird"),
            RouteProtocol(number) => write!(f, " proto {number}"),
        }
    }
}
