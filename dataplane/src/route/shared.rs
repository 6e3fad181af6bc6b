//! The routes to other nodes that all nodes with one outlook share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::candidates::destinations;
use super::outlook::Outlook;
use super::remote::Remote;
use super::table::{RouteTable, rank};
use super::{Absent, Index, Owner, Route};
use crate::calico::{ClusterState, RouteSource};

/// Routes to every node's destinations, those of the node that reads them included: it overlooks its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shared {
    pub(super) table: RouteTable,
    pub(super) absent: BTreeMap<IpNet, Arc<Absent>>,
}

impl Shared {
    pub(super) fn of(cluster: &ClusterState, index: &Index, outlook: &Outlook) -> Shared {
        let remote = Remote { cluster, index, outlook };
        let mut all: BTreeSet<IpNet> = destinations(cluster, RouteSource::CalicoIpam).into_iter().collect();
        if outlook.felix.candidates == RouteSource::WorkloadIps {
            all.extend(destinations(cluster, RouteSource::WorkloadIps));
        }
        let mut shared = Shared::default();
        all.into_iter().for_each(|destination| shared.update(&remote, destination));
        shared
    }

    /// Brings the route to one destination up to date.
    pub(super) fn update(&mut self, remote: &Remote<'_>, destination: IpNet) {
        self.table.remove(destination);
        self.absent.remove(&destination);
        match remote.route(destination) {
            Some(Ok(route)) => self.table.set(route),
            Some(Err(absent)) => drop(self.absent.insert(destination, Arc::new(absent))),
            None => {}
        }
    }
}

/// The shared routes of Felix and those of BIRD, from different states of a datastore, joined once for all nodes that have both.
#[derive(Clone, Debug, Default)]
pub(super) struct Joints(Vec<Arc<Joint>>);

#[derive(Debug)]
pub(super) struct Joint {
    felix: Arc<Shared>,
    bird: Arc<Shared>,
    /// Where the devices of BIRD's routes are among Felix's.
    devices: Vec<Option<usize>>,
    /// Both; of routes to one prefix the best, Felix's if they tie.
    pub(super) shared: Arc<Shared>,
    /// Routes that a better one to another node has beaten: that node itself overlooks the better one.
    pub(super) beaten: Vec<Route>,
}

impl Joints {
    /// What two have together; `here` puts a route of BIRD's on Felix's devices.
    pub(super) fn of(
        &mut self,
        (felix, bird): (&Arc<Shared>, &Arc<Shared>),
        devices: Vec<Option<usize>>,
        here: impl Fn(&Route) -> Option<Route>,
    ) -> Arc<Joint> {
        let is_it =
            |joint: &&Arc<Joint>| Arc::ptr_eq(&joint.felix, felix) && Arc::ptr_eq(&joint.bird, bird) && joint.devices == devices;
        if let Some(joint) = self.0.iter().find(is_it) {
            return joint.clone();
        }
        let joint = Arc::new(Joint::of(felix, bird, devices, here));
        self.0.push(joint.clone());
        joint
    }
}

impl Joint {
    fn of(felix: &Arc<Shared>, bird: &Arc<Shared>, devices: Vec<Option<usize>>, here: impl Fn(&Route) -> Option<Route>) -> Joint {
        let mut both = Shared::clone(felix);
        let of_bird = |route: &&Route| route.owner == Owner::Bird;
        felix
            .table
            .iter()
            .filter(of_bird)
            .for_each(|route| both.table.remove(route.destination));
        let mut beaten = Vec::new();
        for route in bird.table.iter().filter(of_bird).filter_map(here) {
            let worse = match both.table.to(route.destination).cloned() {
                Some(other) if rank(&other) <= rank(&route) => Some((route, other.node)),
                other => {
                    let node = route.node.clone();
                    both.table.set(route);
                    other.map(|other| (other, node))
                }
            };
            beaten.extend(worse.filter(|(route, node)| route.node != *node).map(|(route, _)| route));
        }
        Joint {
            shared: if both == **felix { felix.clone() } else { Arc::new(both) },
            felix: felix.clone(),
            bird: bird.clone(),
            devices,
            beaten,
        }
    }
}
