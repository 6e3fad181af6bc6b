//! What the tables say of an address, remembered: a packet asks it of both its ends, and packets of one flow ask the same.
//!
//! It decides nothing. An answer is a function of tables and address alone, and other tables come with an empty memory.
//!
//! Source: Linux net/core/dst_cache.c, for the idea.

use std::net::IpAddr;

use super::Engine;
use crate::route::{DeviceId, NodeTables, RouteId, RouteKind};
use crate::wire::ipv6;
use crate::{Family, Mtu};

/// Answers that are remembered at the same time; a power of two.
const SLOTS: usize = 64;

/// What a node's tables say of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The device that holds it, if it is the node's own.
    pub(super) own: Option<DeviceId>,
    /// The route that wins for it.
    pub(super) route: Option<Via>,
    /// Whether it lies in a pool, yet only the host's own routes cover it.
    pub(super) uncovered: bool,
}

/// A route, as far as packets that take it need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Via {
    pub(super) id: RouteId,
    pub(super) kind: RouteKind,
    pub(super) device: Option<DeviceId>,
    pub(super) gateway: Option<IpAddr>,
    /// What packets are held against: of IPv6 it is never less than the least.
    pub(super) mtu: Mtu,
}

impl Answer {
    fn of(tables: &NodeTables, address: IpAddr) -> Answer {
        let route = tables.lookup(address).map(|(id, route)| Via {
            id,
            kind: route.kind,
            device: route.device,
            gateway: route.gateway,
            mtu: tables.route_mtu(route).unwrap_or(Mtu::MAX).max(least(Family::of(address))),
        });
        Answer {
            own: tables.device_with(address),
            route,
            uncovered: route.is_some_and(|via| via.kind == RouteKind::Host) && tables.is_in_pool(address),
        }
    }
}

/// The MTU that no route falls below.
fn least(family: Family) -> Mtu {
    match family {
        Family::V4 => Mtu::MIN,
        Family::V6 => ipv6::MTU_MIN,
    }
}

/// The answers that were lately given, each in the one slot that its address has.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Empty until the first question.
    slots: Vec<Option<(IpAddr, Answer)>>,
}

impl Engine {
    /// What the tables say of an address.
    #[inline]
    pub(super) fn ask(&mut self, address: IpAddr) -> Answer {
        match self.answers.slots.get(slot(address)) {
            Some(Some((asked, answer))) if *asked == address => *answer,
            _ => self.look_up(address),
        }
    }

    #[cold]
    fn look_up(&mut self, address: IpAddr) -> Answer {
        let answer = Answer::of(&self.tables, address);
        self.answers.slots.resize(SLOTS, None);
        if let Some(place) = self.answers.slots.get_mut(slot(address)) {
            *place = Some((address, answer));
        }
        answer
    }
}

/// Neighbouring addresses have different slots.
fn slot(address: IpAddr) -> usize {
    let [high, low] = match address {
        IpAddr::V4(address) => [0, u64::from(u32::from(address))],
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            [(bits >> 64) as u64, bits as u64]
        }
    };
    let folded = high ^ low;
    (folded ^ folded >> 6 ^ folded >> 12 ^ folded >> 24) as usize % SLOTS
}
