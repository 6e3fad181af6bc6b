//! The routes to other nodes that all nodes with one outlook share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::candidates::destinations;
use super::outlook::Outlook;
use super::remote::Remote;
use super::table::RouteTable;
use super::{Absent, Index};
use crate::calico::{ClusterState, RouteSource};

/// Routes to every node's destinations, those of the node that reads them included: it overlooks its own.
#[derive(Clone, Debug, Default)]
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
