//! What encapsulation costs a month's traffic, in bytes and money, for each mode that the pools could have. Encapsulations and MTUs
//! are those of the tables that each mode leads to; prices are data. Nothing is sent, and whether packets arrive is not asked.

mod prices;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use overlab_dataplane::encap::Encap;
use overlab_dataplane::route::{Mode, NodeTables, RouteKind};
use overlab_dataplane::{Family, Mtu};

use crate::fabric::Preset;
use crate::scenario::{Demand, Diagnostic, Endpoint, Model, Traffic, Transport, Written};
use crate::world;

pub use prices::{Distance, Price, Prices};

/// The modes that pools can have; none at all is one of both encapsulations.
pub const MODES: [(Encap, Mode); 5] = [
    (Encap::None, Mode::Never),
    (Encap::Ipip, Mode::CrossSubnet),
    (Encap::Ipip, Mode::Always),
    (Encap::Vxlan, Mode::CrossSubnet),
    (Encap::Vxlan, Mode::Always),
];

/// What one mode costs.
#[derive(Clone, Debug)]
pub struct Row {
    /// The encapsulation.
    pub encap: Encap,
    /// Its mode.
    pub mode: Mode,
    /// Whether the pools have it as the scenario is written.
    pub present: bool,
    /// All that is sent.
    pub all: Sum,
    /// What crosses wires, by distance.
    pub distances: BTreeMap<Distance, Sum>,
    /// Clouds and distances that no price is known for.
    pub unpriced: BTreeSet<(Preset, Distance)>,
}

/// A sum of packets, their bytes, and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Packets.
    pub packets: u64,
    /// Of these, those in a tunnel.
    pub encapsulated: u64,
    /// Those that their sender's node has no route for; they cost nothing.
    pub unrouted: u64,
    /// Bytes of IP on the wire between nodes.
    pub wire_bytes: u128,
    /// Of these, the tunnels' headers.
    pub tunnel_bytes: u128,
    /// Billionths of the currency for 10^9 B, times bytes; none where no price is known for any of it.
    bill: Option<u128>,
    tunnel_bill: u128,
}

impl Sum {
    /// What it costs, in billionths of the currency; none if no price is known.
    pub fn cost(&self) -> Option<u128> {
        self.bill.map(per_gb)
    }

    /// What the tunnels' headers cost of it.
    pub fn tunnel_cost(&self) -> Option<u128> {
        self.bill.map(|_| per_gb(self.tunnel_bill))
    }

    fn add(&mut self, other: &Sum) {
        self.packets += other.packets;
        self.encapsulated += other.encapsulated;
        self.unrouted += other.unrouted;
        self.wire_bytes += other.wire_bytes;
        self.tunnel_bytes += other.tunnel_bytes;
        self.bill = match (self.bill, other.bill) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        self.tunnel_bill += other.tunnel_bill;
    }
}

/// Half and more is rounded up.
fn per_gb(bill: u128) -> u128 {
    (bill + 500_000_000) / 1_000_000_000
}

/// What each mode costs. Where something is sent over IPv6 there are no rows of IP in IP, which it has not.
///
/// # Errors
/// Everything that is wrong with the scenario under one of the modes.
pub fn rows(written: &Written, model: &Model, traffic: &Traffic, prices: &Prices) -> Result<Vec<Row>, Vec<Diagnostic>> {
    let v6 = traffic.demands.iter().any(|demand| demand.family == Family::V6);
    let modes = MODES.iter().filter(|(encap, _)| !v6 || *encap != Encap::Ipip);
    modes
        .map(|&(encap, mode)| {
            let set = written.clone().with_mode(encap, mode)?.resolve()?.model;
            let tables = world::tables(&set);
            let reckoner = Reckoner {
                model: &set,
                tables: tables.iter().map(|tables| tables.first().clone()).collect(),
                traffic,
                prices,
            };
            Ok(reckoner.row(encap, mode, has_mode(model, encap, mode)))
        })
        .collect()
}

/// Whether every pool has a mode, as far as its family allows it.
fn has_mode(model: &Model, encap: Encap, mode: Mode) -> bool {
    let of = |this: Encap| if encap == this { mode } else { Mode::Never };
    let pools = model.cluster.pools();
    pools.values().all(|pool| {
        let ipip = if pool.cidr.addr().is_ipv6() {
            Mode::Never
        } else {
            of(Encap::Ipip)
        };
        (pool.ipip, pool.vxlan) == (ipip, of(Encap::Vxlan))
    })
}

/// Reckons one mode.
struct Reckoner<'a> {
    model: &'a Model,
    tables: Vec<Arc<NodeTables>>,
    traffic: &'a Traffic,
    prices: &'a Prices,
}

/// How packets of a demand travel, and the largest that they can be.
struct Way {
    kind: RouteKind,
    largest: Mtu,
}

impl Reckoner<'_> {
    fn row(&self, encap: Encap, mode: Mode, present: bool) -> Row {
        let mut row = Row {
            encap,
            mode,
            present,
            all: Sum::default(),
            distances: BTreeMap::new(),
            unpriced: BTreeSet::new(),
        };
        for demand in &self.traffic.demands {
            let sum = self.sum(demand, &mut row.unpriced);
            row.all.add(&sum);
            if sum.wire_bytes > 0 {
                row.distances.entry(self.distance(demand)).or_default().add(&sum);
            }
        }
        row
    }

    fn sum(&self, demand: &Demand, unpriced: &mut BTreeSet<(Preset, Distance)>) -> Sum {
        let Some(way) = self.way(demand) else {
            let (packets, _) = packets(demand, Mtu::MAX);
            return Sum {
                packets,
                unrouted: packets,
                ..Sum::default()
            };
        };
        let (packets, bytes) = packets(demand, way.largest);
        let (from, to) = (self.model.machine_of(demand.from), self.model.machine_of(demand.to));
        if from == to {
            return Sum {
                packets,
                ..Sum::default()
            };
        }
        let encap = match way.kind {
            RouteKind::Ipip => Encap::Ipip,
            RouteKind::Vxlan => Encap::Vxlan,
            RouteKind::Local | RouteKind::Direct | RouteKind::Host | RouteKind::Blackhole => Encap::None,
        };
        let tunnel_bytes = u128::from(packets) * u128::from(encap.overhead(demand.family));
        let wire_bytes = bytes + tunnel_bytes;
        let price = self.price(demand, unpriced);
        Sum {
            packets,
            encapsulated: if encap == Encap::None { 0 } else { packets },
            unrouted: 0,
            wire_bytes,
            tunnel_bytes,
            bill: price.map(|price| price * wire_bytes),
            tunnel_bill: price.unwrap_or_default() * tunnel_bytes,
        }
    }

    /// The way that the sender's tables give; none if no route leads there.
    fn way(&self, demand: &Demand) -> Option<Way> {
        let address = self.model.address(demand.to, demand.family)?;
        let sender = &self.tables[self.model.machine_of(demand.from)];
        let (_, route) = sender
            .lookup(address)
            .filter(|(_, route)| route.kind != RouteKind::Blackhole)?;
        let ends = [demand.from, demand.to].map(|end| self.own_mtu(end));
        let route_mtu = sender.route_mtu(route).unwrap_or(Mtu::MAX);
        let on_the_way = match demand.from {
            Endpoint::Workload(_) => Mtu::MAX,
            Endpoint::Node(_) | Endpoint::Host(_) => route_mtu,
        };
        Some(Way {
            kind: route.kind,
            largest: ends.into_iter().fold(on_the_way, Mtu::min),
        })
    }

    /// The MTU of somebody's own card.
    fn own_mtu(&self, endpoint: Endpoint) -> Mtu {
        let place = self.model.machine_of(endpoint);
        match endpoint {
            Endpoint::Workload(w) => {
                let mut workloads = self.tables[place].workloads.iter();
                let name = &self.model.workloads[w].name;
                workloads.find(|w| w.name == *name).map_or(Mtu::MAX, |w| w.mtu)
            }
            Endpoint::Node(_) | Endpoint::Host(_) => self.model.machine(place).primary().mtu,
        }
    }

    fn distance(&self, demand: &Demand) -> Distance {
        let [from, to] = [demand.from, demand.to].map(|end| self.model.machine(self.model.machine_of(end)).primary());
        let region = |underlay: usize| self.traffic.regions.get(&*self.model.underlays[underlay].name);
        if region(from.underlay) != region(to.underlay) {
            return Distance::CrossRegion;
        }
        let zone = |underlay: usize, subnet: usize| {
            let name = &self.model.underlays[underlay].subnets[subnet].name;
            match self.traffic.zones.get(&**name) {
                Some(zone) => (None, &**zone),
                None => (Some(underlay), &**name),
            }
        };
        if zone(from.underlay, from.subnet) == zone(to.underlay, to.subnet) {
            Distance::SameZone
        } else {
            Distance::CrossZone
        }
    }

    /// What 10^9 B cost both ends together.
    fn price(&self, demand: &Demand, unpriced: &mut BTreeSet<(Preset, Distance)>) -> Option<u128> {
        let distance = self.distance(demand);
        let cloud = |end: Endpoint| {
            let card = self.model.machine(self.model.machine_of(end)).primary();
            self.model.underlays[card.underlay].preset
        };
        let mut price = |end| {
            let price = self.prices.price(cloud(end), distance);
            if price.is_none() {
                unpriced.insert((cloud(end), distance));
            }
            price
        };
        let (sender, receiver) = (price(demand.from), price(demand.to));
        Some(u128::from(sender?.sender) + u128::from(receiver?.receiver))
    }
}

/// How many packets carry a volume between ends of this MTU, and their bytes of IP.
fn packets(demand: &Demand, largest: Mtu) -> (u64, u128) {
    let ip: u64 = match demand.family {
        Family::V4 => 20,
        Family::V6 => 40,
    };
    let headers = match demand.transport {
        Transport::Tcp => ip + 20,
        Transport::Udp | Transport::Icmp => ip + 8,
    };
    let largest = u64::from(largest.bytes());
    let wanted = demand.size.map_or(largest, u64::from);
    let size = match demand.transport {
        Transport::Tcp => wanted.min(largest),
        Transport::Udp | Transport::Icmp => wanted,
    };
    let data = size.saturating_sub(headers).max(1);
    let (full, rest) = (demand.volume / data, demand.volume % data);
    let last = (rest > 0).then_some(rest + headers);
    let sizes = [Some((full, size)), last.map(|size| (1, size))];
    let split = |(count, size): (u64, u64)| {
        let (pieces, bytes) = pieces(size, largest, demand.family, ip);
        (count * pieces, u128::from(count) * u128::from(bytes))
    };
    let of_each = sizes.into_iter().flatten().map(split);
    of_each.fold((0, 0), |(packets, bytes), (more, longer)| (packets + more, bytes + longer))
}

/// The fragments of a packet, and their bytes: one packet, if it fits. Over IPv6 each has a fragment header.
///
/// Source: RFC 791 section 3.2; RFC 8200 section 4.5.
fn pieces(size: u64, largest: u64, family: Family, ip: u64) -> (u64, u64) {
    if size <= largest {
        return (1, size);
    }
    let header = match family {
        Family::V4 => ip,
        Family::V6 => ip + 8,
    };
    let room = (largest.saturating_sub(header) / 8 * 8).max(8);
    let data = size - ip;
    let pieces = data.div_ceil(room);
    (pieces, data + pieces * header)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn demand(transport: Transport, volume: u64, size: Option<u16>) -> Demand {
        Demand {
            from: Endpoint::Node(0),
            to: Endpoint::Node(1),
            family: Family::V4,
            transport,
            volume,
            size,
        }
    }

    /// 3,000 B in segments of 1,460 B: two full ones and one of 80 B. A datagram of 2,000 B is a fragment of 1,500 B and one of
    /// 520 B, and what is left of 3,000 B is one packet of 1,056 B.
    #[rstest]
    #[case::full_segments(Transport::Tcp, 3000, None, 3, 3000 + 3 * 40)]
    #[case::an_exact_fit(Transport::Tcp, 2920, None, 2, 2920 + 2 * 40)]
    #[case::small_packets(Transport::Tcp, 1000, Some(140), 10, 1000 + 10 * 40)]
    #[case::segments_never_exceed_the_mtu(Transport::Tcp, 1461, Some(2000), 2, 1461 + 2 * 40)]
    #[case::datagrams(Transport::Udp, 400, Some(228), 2, 400 + 2 * 28)]
    #[case::split_datagrams(Transport::Udp, 3000, Some(2000), 3, 1500 + 520 + 1056)]
    fn a_volume_is_so_many_packets_and_bytes(
        #[case] transport: Transport,
        #[case] volume: u64,
        #[case] size: Option<u16>,
        #[case] count: u64,
        #[case] bytes: u128,
    ) {
        let found = packets(&demand(transport, volume, size), Mtu::new(1500).unwrap());
        assert_eq!(found, (count, bytes));
    }

    #[test]
    fn ipv6_fragments_each_have_a_fragment_header() {
        // 2,000 B hold 1,960 B behind the header: 1,448 B and 512 B, each behind 48 B.
        assert_eq!(pieces(2000, 1500, Family::V6, 40), (2, 1960 + 2 * 48));
    }
}
