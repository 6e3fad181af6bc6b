//! Routes by prefix, each with a number that stays while it is there.

use std::sync::Arc;

use ipnet::IpNet;

use super::Route;
use crate::Fib;

/// A table that holds one route a prefix. A copy shares its routes.
#[derive(Clone, Debug, Default)]
pub(super) struct RouteTable {
    routes: Vec<Option<Arc<Route>>>,
    free: Vec<u32>,
    fib: Fib<u32>,
}

impl RouteTable {
    /// Of routes to one prefix the best stays: a local workload's, else the one of the lowest metric, the first if they tie.
    ///
    /// Source: Calico felix/routetable/defs.go, RouteClass; Linux net/ipv4/fib_trie.c, fib_table_insert.
    pub(super) fn of(routes: impl IntoIterator<Item = Route>) -> RouteTable {
        let mut table = RouteTable::default();
        for route in routes {
            let better = |other: &Route| rank(&route) < rank(other);
            if table.to(route.destination).is_none_or(better) {
                table.set(route);
            }
        }
        table
    }

    /// Puts a route in the place of what its prefix had.
    pub(super) fn set(&mut self, route: Route) {
        let destination = route.destination;
        self.remove(destination);
        let id = self.free.pop().or_else(|| u32::try_from(self.routes.len()).ok());
        let Some(id) = id else { return };
        let route = Some(Arc::new(route));
        match self.routes.get_mut(place(id)) {
            Some(slot) => *slot = route,
            None => self.routes.push(route),
        }
        self.fib.insert(destination, id);
    }

    /// Takes the route to a prefix away.
    pub(super) fn remove(&mut self, destination: IpNet) {
        let Some(id) = self.fib.remove(destination) else { return };
        if let Some(slot) = self.routes.get_mut(place(id)) {
            *slot = None;
            self.free.push(id);
        }
    }

    /// A route by its number.
    pub(super) fn get(&self, id: u32) -> Option<&Route> {
        self.routes.get(place(id))?.as_deref()
    }

    /// The route to exactly this prefix, and its number.
    pub(super) fn find(&self, destination: IpNet) -> Option<(u32, &Route)> {
        let id = *self.fib.get(destination)?;
        Some((id, self.get(id)?))
    }

    /// The route to exactly this prefix.
    pub(super) fn to(&self, destination: IpNet) -> Option<&Route> {
        self.find(destination).map(|(_, route)| route)
    }

    /// The route of the longest prefix that holds this one, and its number.
    pub(super) fn lookup(&self, prefix: IpNet) -> Option<(u32, &Route)> {
        let id = *self.fib.within(prefix)?;
        Some((id, self.get(id)?))
    }

    /// The routes in the order of their prefixes.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.fib.iter().filter_map(|(_, id)| self.get(*id))
    }
}

/// Alike in their routes; the numbers of these do not matter.
impl PartialEq for RouteTable {
    fn eq(&self, other: &RouteTable) -> bool {
        self.iter().eq(other.iter())
    }
}

/// Of two routes to one prefix the lower one wins.
pub(super) fn rank(route: &Route) -> (bool, u32) {
    (route.kind != super::RouteKind::Local, route.metric)
}

fn place(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}
