//! Segments: one subnet's wires, and who is on them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use overlab_dataplane::{Family, Mtu, PerFamily};

use super::router::Ingress;
use super::{Acl, L2, NicId};
use crate::observe::{Place, PlaceKind};
use crate::scenario::Model;

/// Something that takes packets off a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Station {
    Nic(NicId),
    Router {
        router: usize,
        from: Ingress,
    },
    /// A gateway, which takes it from the router of an underlay.
    Gateway {
        gateway: usize,
        from: usize,
    },
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) place: Place,
    pub(super) mtu: Mtu,
    pub(super) l2: L2,
    /// The size at which the fabric splits packets without DF that its cards send.
    pub(super) splits_at: Option<Mtu>,
    pub(super) acl: Option<Acl>,
    gateway: PerFamily<Option<IpAddr>>,
    /// Who answers for an address: ARP on a real segment, the fabric's own mapping in a cloud.
    pub(super) stations: BTreeMap<IpAddr, Station>,
    pub(super) delay_between_cards: Duration,
    /// Half the way between two cards of different subnets.
    pub(super) delay_to_router: Duration,
}

impl Segment {
    /// Where a packet goes whose frame's address means nothing: to the card that has its destination, else to the router.
    pub(super) fn next_device(&self, destination: IpAddr) -> IpAddr {
        match self.stations.contains_key(&destination) {
            true => destination,
            false => self.gateway.get(Family::of(destination)).unwrap_or(destination),
        }
    }
}

/// The place of a subnet among the segments: underlay by underlay.
pub(super) fn index(model: &Model, underlay: usize, subnet: usize) -> usize {
    let before: usize = model.underlays.iter().take(underlay).map(|u| u.subnets.len()).sum();
    before + subnet
}

/// Every segment, with its router on it.
pub(super) fn build(model: &Model) -> Vec<Segment> {
    let mut segments = Vec::new();
    for (router, underlay) in model.underlays.iter().enumerate() {
        for subnet in &underlay.subnets {
            let station = Station::Router {
                router,
                from: Ingress::Segment(segments.len()),
            };
            segments.push(Segment {
                place: Place {
                    kind: PlaceKind::Subnet,
                    name: Arc::from(format!("{}/{}", underlay.name, subnet.name)),
                },
                mtu: subnet.mtu,
                l2: underlay.knobs.l2,
                splits_at: underlay.knobs.splits_at,
                acl: subnet.acl.clone(),
                gateway: subnet.gateway,
                stations: subnet.gateway.iter().flatten().map(|gateway| (*gateway, station)).collect(),
                delay_between_cards: underlay.knobs.delay_same_subnet,
                delay_to_router: underlay.knobs.delay_cross_subnet / 2,
            });
        }
    }
    segments
}
