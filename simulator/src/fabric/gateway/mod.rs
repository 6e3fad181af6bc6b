//! What joins underlays: peerings, hubs, the ways to the internet, routers and firewalls between networks. A packet comes from one
//! underlay's router and goes on to another one's, or back to the same, with another address.

mod firewall;
mod kind;
mod nat;

use std::net::{IpAddr, Ipv4Addr};

use overlab_dataplane::wire::{IcmpError, IpMut, IpView};
use overlab_dataplane::{Fib, Instant, Mtu, Packet};

pub use firewall::{Firewall, FirewallRule};
pub use kind::{GatewayKind, GatewayKnobs};

use super::port::Refused;
use super::router::{Ingress, fragments};
use super::segment::Station;
use super::{DropReason, Fabric, Journey, Output, Transit};
use crate::observe::{Place, PlaceKind};
use crate::scenario::{self, Model};
use firewall::FirewallState;
use nat::{NatTable, PublicAddresses};

/// Gateways that a packet passes before it is held to go round; clouds take nothing from its TTL.
const CROSSINGS_MAX: u8 = 64;

/// What joins underlays, by its place in the model.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) place: Place,
    knobs: GatewayKnobs,
    mtu: Mtu,
    pub(super) delay: std::time::Duration,
    address: Option<IpAddr>,
    /// The underlay that a destination is behind.
    fib: Fib<usize>,
    firewall: Option<FirewallState>,
    public_addresses: Option<PublicAddresses>,
    nat: Option<NatTable>,
}

/// The gateways of a model.
pub(super) fn build(model: &Model) -> Vec<Gateway> {
    model.gateways.iter().map(|gateway| one(gateway, model)).collect()
}

fn one(gateway: &scenario::Gateway, model: &Model) -> Gateway {
    let mut fib = Fib::default();
    for (destination, underlay) in &gateway.routes {
        fib.insert(*destination, *underlay);
    }
    Gateway {
        place: Place {
            kind: PlaceKind::Router,
            name: gateway.name.clone(),
        },
        mtu: gateway.knobs.mtu.unwrap_or(Mtu::MAX),
        knobs: gateway.knobs.clone(),
        delay: gateway.delay,
        address: gateway.address,
        fib,
        firewall: gateway.firewall.clone().map(FirewallState::new),
        public_addresses: (gateway.kind == GatewayKind::InternetGateway).then(|| public_addresses(gateway, model)),
        nat: gateway.public_address.map(NatTable::new),
    }
}

/// The public addresses behind an internet gateway: those of machines, and those of NAT gateways.
fn public_addresses(gateway: &scenario::Gateway, model: &Model) -> PublicAddresses {
    let inside = |underlay: usize| gateway.joins.first() == Some(&underlay);
    let cards = model.cards().filter(|(_, _, card)| inside(card.underlay));
    let own = cards.filter_map(|(_, _, card)| match card.addresses.v4?.addr() {
        IpAddr::V4(private) => Some((private, card.public_address?)),
        IpAddr::V6(_) => None,
    });
    let others = model
        .gateways
        .iter()
        .filter(|other| other.joins.first().is_some_and(|u| inside(*u)));
    let nat_gateways: Vec<Ipv4Addr> = others.filter_map(|other| other.public_address).collect();
    PublicAddresses::new(own, nat_gateways)
}

impl Gateway {
    /// Takes over what the same gateway remembered before the wires were changed.
    pub(super) fn succeed(&mut self, earlier: Gateway) {
        if let (Some(firewall), Some(earlier)) = (&mut self.firewall, earlier.firewall) {
            firewall.succeed(earlier);
        }
        if let (Some(nat), Some(earlier)) = (&mut self.nat, earlier.nat) {
            nat.succeed(earlier);
        }
    }

    /// Why a packet does not pass as it came, if it does not, and what the sender is told.
    fn refused(&mut self, now: Instant, packet: &Packet) -> Option<(Refused, Option<IcmpError>)> {
        let header = match IpView::parse(packet.bytes()) {
            Ok(header) => header,
            Err(malformed) => return Some(((DropReason::Malformed, malformed.to_string()), None)),
        };
        let number = header.protocol();
        if !self.knobs.protocols.is_empty() && !self.knobs.protocols.contains(&number) {
            let text = format!("{} does not carry protocol {number}", self.place.name);
            return Some(((DropReason::FabricBlocked, text), None));
        }
        if self.knobs.decrements_ttl && header.ttl() <= 1 {
            let refused = (DropReason::TtlExpired, "the TTL ran out".to_owned());
            return Some((refused, Some(IcmpError::TtlExpired)));
        }
        if let Some(refused) = self.firewall.as_mut().and_then(|firewall| firewall.refused(now, &header)) {
            return Some((refused, None));
        }
        let length = packet.longest_wire_packet();
        if !self.mtu.fits(length) && (header.dont_fragment() || !self.knobs.splits) {
            let text = format!("{length} B is more than the {} B that {} takes", self.mtu, self.place.name);
            let error = IcmpError::TooBig { mtu: self.mtu.bytes() };
            return Some(((DropReason::TooBig, text), Some(error).filter(|_| self.knobs.tells_size)));
        }
        None
    }

    /// Gives a packet the addresses that it has on the other side, and says so.
    fn translate(&mut self, now: Instant, packet: &mut Packet) -> Result<Option<String>, Refused> {
        if let Some(public_addresses) = &self.public_addresses {
            return public_addresses.translate(packet);
        }
        match &mut self.nat {
            Some(nat) => nat.translate(now, packet),
            None => Ok(None),
        }
    }
}

impl Fabric {
    /// A gateway got a packet from the router of an underlay.
    pub(super) fn across(
        &mut self,
        now: Instant,
        (gateway, from): (usize, usize),
        (mut journey, mut packet): (Journey, Packet),
        out: &mut Output,
    ) {
        let hop = &mut self.gateways[gateway];
        let place = hop.place.clone();
        journey.crossings += 1;
        if journey.crossings > CROSSINGS_MAX {
            let text = "it goes round between gateways".to_owned();
            return out.record(&packet, &place, Some(DropReason::TtlExpired), || text);
        }
        if let Some(((reason, text), error)) = hop.refused(now, &packet) {
            out.record(&packet, &place, Some(reason), || text);
            if let Some(error) = error {
                let source = hop.address;
                self.tell_sender(now, from, error, source, &packet, out);
            }
            return;
        }
        let changed = match hop.translate(now, &mut packet) {
            Ok(changed) => changed,
            Err((reason, text)) => return out.record(&packet, &place, Some(reason), || text),
        };
        if let Some(text) = changed {
            out.record(&packet, &place, None, || text);
        }
        let Ok(destination) = IpView::unverified(packet.bytes()).map(|header| header.destination()) else {
            return;
        };
        // What a NAT gateway has translated goes back to the router that it came from.
        let to = match &hop.nat {
            Some(_) => Some(from),
            None => hop.fib.best(destination).copied(),
        };
        let Some(router) = to else {
            let text = format!("{} has no route to {destination}", place.name);
            return out.record(&packet, &place, Some(DropReason::FabricNoRoute), || text);
        };
        if hop.knobs.decrements_ttl
            && let Some(mut header) = IpMut::new(packet.bytes_mut())
        {
            header.decrement_ttl();
        }
        let next = self.routers[router].place.clone();
        for packet in fragments(packet, self.gateways[gateway].mtu) {
            out.record(&packet, &place, None, || format!("on to {next}"));
            out.transits.push(Transit {
                at: now,
                to: Station::Router {
                    router,
                    from: Ingress::Gateway(gateway),
                },
                journey,
                packet,
            });
        }
    }
}
