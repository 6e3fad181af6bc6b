//! A node's routes: its own, over those that it shares with other nodes.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::shared::{Joints, Shared};
use super::table::{RouteTable, rank};
use super::{Absent, DeviceId, NodeTables, Owner, Route, RouteId};

/// The bit of a route's number that says whether it is shared.
const SHARED: u32 = 1 << 31;

/// Two tables as one. Of the shared routes those to the node itself do not count.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    node: Arc<str>,
    own: RouteTable,
    shared: Arc<Shared>,
}

impl Routes {
    /// The node's own routes and the shared ones; of those to one prefix the best stays, a shared one if they tie.
    pub(super) fn new(node: &Arc<str>, own: impl IntoIterator<Item = Route>, shared: Arc<Shared>) -> Routes {
        let wins = |route: &Route| {
            let other = shared.table.to(route.destination).filter(|other| counts(other, node));
            other.is_none_or(|other| rank(route) < rank(other))
        };
        let own = RouteTable::of(own.into_iter().filter(wins));
        let node = node.clone();
        Routes { node, own, shared }
    }

    /// All that count, in the order of their prefixes.
    fn iter(&self) -> impl Iterator<Item = &Route> {
        let mut own = self.own.iter().peekable();
        let hidden = |route: &&Route| !counts(route, &self.node) || self.own.to(route.destination).is_some();
        let mut shared = self.shared.table.iter().filter(move |route| !hidden(route)).peekable();
        std::iter::from_fn(move || match (own.peek(), shared.peek()) {
            (Some(mine), Some(other)) if mine.destination > other.destination => shared.next(),
            (None, _) => shared.next(),
            _ => own.next(),
        })
    }

    /// The shared route to exactly this prefix, if it counts.
    fn shared_to(&self, prefix: IpNet) -> Option<&Route> {
        self.shared.table.to(prefix).filter(|route| counts(route, &self.node))
    }

    /// The route that wins exactly this prefix.
    fn to(&self, prefix: IpNet) -> Option<&Route> {
        self.own.to(prefix).or_else(|| self.shared_to(prefix))
    }

    fn absent(&self) -> impl Iterator<Item = &Absent> {
        let absent = self.shared.absent.values().map(|absent| &**absent);
        absent.filter(|absent| *absent.node != *self.node && self.to(absent.destination).is_none())
    }
}

/// Alike in what they say; which of it is shared with other nodes does not matter.
impl PartialEq for Routes {
    fn eq(&self, other: &Routes) -> bool {
        let one = Arc::ptr_eq(&self.shared, &other.shared) && self.node == other.node;
        (one && self.own.iter().eq(other.own.iter())) || self.iter().eq(other.iter()) && self.absent().eq(other.absent())
    }
}

fn counts(route: &Route, node: &str) -> bool {
    route.node.as_deref() != Some(node)
}

impl NodeTables {
    /// The same tables with other routes; of those to one prefix the best stays.
    #[must_use]
    pub fn with_routes(self, routes: impl IntoIterator<Item = Route>) -> NodeTables {
        let routes = Routes::new(&self.node, routes, Arc::default());
        NodeTables { routes, ..self }
    }

    /// The same tables with the routes that BIRD has in others of this node, as when it has heard of a change before or after
    /// Felix. A route through a device that is not here falls away with it.
    #[must_use]
    pub fn with_bird_of(self, other: &NodeTables) -> NodeTables {
        self.with_bird(other, &mut Joints::default())
    }

    pub(super) fn with_bird(self, other: &NodeTables, joints: &mut Joints) -> NodeTables {
        let here = |route: &Route| {
            let Some(device) = route.device else {
                return Some(route.clone());
            };
            let name = &other.device(device)?.name;
            let place = self.devices.iter().position(|device| device.name == *name)?;
            let device = u16::try_from(place).ok().map(DeviceId);
            Some(Route { device, ..route.clone() })
        };
        let common = other.devices.iter().take_while(|device| device.workload.is_none());
        let devices = common.map(|device| self.devices.iter().position(|here| here.name == device.name));
        let (felix, bird) = (&self.routes, &other.routes);
        let joint = joints.of((&felix.shared, &bird.shared), devices.collect(), here);
        let mut routes = Routes {
            node: self.node.clone(),
            own: RouteTable::default(),
            shared: joint.shared.clone(),
        };
        let felix = felix.own.iter().filter(|route| route.owner != Owner::Bird).cloned();
        let felix = felix.filter(|route| {
            routes
                .shared_to(route.destination)
                .is_none_or(|other| rank(route) <= rank(other))
        });
        let bird = bird.own.iter().filter(|route| route.owner == Owner::Bird).filter_map(here);
        let beaten = joint.beaten.iter().filter(|route| counts(route, &self.node)).cloned();
        let bird = bird.chain(beaten).filter(|route| {
            routes
                .shared_to(route.destination)
                .is_none_or(|other| rank(route) < rank(other))
        });
        routes.own = RouteTable::of(felix.chain(bird).collect::<Vec<_>>());
        NodeTables { routes, ..self }
    }

    /// Its routes, in the order of their prefixes.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    /// A route.
    pub fn route(&self, id: RouteId) -> Option<&Route> {
        match id.0 & SHARED {
            0 => self.routes.own.get(id.0),
            _ => self.routes.shared.table.get(id.0 & !SHARED),
        }
    }

    /// The route that wins exactly this prefix.
    pub fn route_to(&self, prefix: IpNet) -> Option<&Route> {
        self.routes.to(prefix)
    }

    /// The route that wins for a destination.
    pub fn lookup(&self, destination: IpAddr) -> Option<(RouteId, &Route)> {
        let own = self.routes.own.lookup(IpNet::from(destination));
        let length = own.map(|(_, route)| route.destination.prefix_len());
        match self.shared_lookup(destination, length) {
            Some((id, route)) => Some((RouteId(id | SHARED), route)),
            None => own.map(|(id, route)| (RouteId(id), route)),
        }
    }

    /// The shared route of the longest prefix that counts, if it is longer than this.
    fn shared_lookup(&self, destination: IpAddr, length: Option<u8>) -> Option<(u32, &Route)> {
        let mut within = IpNet::from(destination);
        while length.is_none_or(|length| length < within.prefix_len()) {
            let (id, route) = self.routes.shared.table.lookup(within)?;
            if length.is_some_and(|length| length >= route.destination.prefix_len()) {
                return None;
            }
            if counts(route, &self.node) {
                return Some((id, route));
            }
            within = route.destination.supernet()?;
        }
        None
    }

    /// Destinations on other nodes that have no route, by prefix.
    pub fn absent(&self) -> impl Iterator<Item = &Absent> {
        self.routes.absent()
    }
}
