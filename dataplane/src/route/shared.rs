//! The routes to other nodes that all nodes with one outlook share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::bgp::{self, Learned};
use super::candidates::destinations;
use super::outlook::Outlook;
use super::remote::Remote;
use super::table::RouteTable;
use super::{Absent, AbsentReason, Index};
use crate::PerFamily;
use crate::calico::{ClusterState, RouteSource};

/// Routes to every node's destinations, those of the node that reads them included: it overlooks its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    pub(super) table: RouteTable,
    pub(super) absent: BTreeMap<IpNet, Arc<Absent>>,
}

/// What a node learns that learns other things than the rest.
pub(super) type OwnLearned = PerFamily<BTreeMap<IpNet, Result<Learned, AbsentReason>>>;

impl Shared {
    pub(super) fn of(cluster: &ClusterState, index: &Index, outlook: &Outlook) -> Shared {
        let learned = own_learned(cluster, index, outlook);
        let remote = Remote {
            cluster,
            index,
            outlook,
            learned: learned.as_ref(),
        };
        let mut all: BTreeSet<IpNet> = destinations(cluster, RouteSource::CalicoIpam).into_iter().collect();
        if outlook.felix.candidates == RouteSource::WorkloadIps {
            all.extend(destinations(cluster, RouteSource::WorkloadIps));
        }
        all.extend(learned.iter().flat_map(PerFamily::iter).flat_map(BTreeMap::keys));
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

fn own_learned(cluster: &ClusterState, index: &Index, outlook: &Outlook) -> Option<OwnLearned> {
    let name = outlook.bird.iter().flatten().find_map(|bird| bird.apart.as_ref())?;
    let node = cluster.nodes().get(name)?;
    Some(PerFamily::from_fn(|family| bgp::learned(cluster, index, node, family)))
}
