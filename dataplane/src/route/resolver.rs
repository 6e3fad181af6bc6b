//! The tables of many nodes, kept while the datastore changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::candidates::of_block;
use super::cluster::View;
use super::host::host_tables;
use super::outlook::Outlook;
use super::remote::Remote;
use super::shared::{Joints, Shared};
use super::{HostNetwork, Index, NodeTables};
use crate::calico::{Block, ClusterState, Settings};

/// A datastore with what follows from it for every node. Nodes that see the cluster alike share their routes to others, and
/// the change of a block costs what the block holds, not what the cluster does: as long as BIRD tells every node the same, as
/// in a mesh without peerings besides. Where peerings, reflectors or filters decide who learns what, and at every change of
/// anything but blocks, all is computed anew when it is next asked for.
#[derive(Clone, Debug)]
pub struct Resolver {
    cluster: ClusterState,
    index: Index,
    classes: BTreeMap<Outlook, Class>,
    /// The shared routes of an earlier state of the datastore, which are taken over where they are the same.
    earlier: BTreeMap<Outlook, Arc<Shared>>,
    joints: Joints,
}

/// The nodes of one outlook.
#[derive(Clone, Debug)]
struct Class {
    shared: Arc<Shared>,
    /// Destinations that have changed since.
    stale: BTreeSet<IpNet>,
}

impl Resolver {
    /// Starts from a datastore.
    pub fn new(cluster: ClusterState) -> Resolver {
        Resolver {
            index: Index::of(&cluster),
            cluster,
            classes: BTreeMap::new(),
            earlier: BTreeMap::new(),
            joints: Joints::default(),
        }
    }

    /// Starts from what a datastore has become; what is the same for every node is not held twice.
    #[must_use]
    pub fn succeed(&self, cluster: ClusterState) -> Resolver {
        let fresh = self.classes.iter().filter(|(_, class)| class.stale.is_empty());
        let fresh = fresh.map(|(outlook, class)| (outlook.clone(), class.shared.clone()));
        Resolver {
            earlier: fresh.collect(),
            ..Resolver::new(cluster)
        }
    }

    /// The datastore as it is now.
    pub fn cluster(&self) -> &ClusterState {
        &self.cluster
    }

    /// The datastore as it is now, alone.
    pub fn into_cluster(self) -> ClusterState {
        self.cluster
    }

    /// The tables of a machine: those of a node, or of a plain host if the datastore has no Node of its name. Tables that were
    /// handed out before stay as they were.
    pub fn tables(&mut self, host: &HostNetwork) -> NodeTables {
        self.tables_under(host, self.cluster.settings(&host.name))
    }

    /// The tables of a machine whose Felix still runs with the settings of its start.
    pub fn tables_under(&mut self, host: &HostNetwork, settings: Settings) -> NodeTables {
        let (cluster, index) = (&self.cluster, &self.index);
        let Some(view) = View::new(cluster, index, host, settings) else {
            return host_tables(host);
        };
        let outlook = view.outlook.clone();
        let class = self.classes.entry(outlook).or_insert_with_key(|outlook| {
            let shared = Shared::of(cluster, index, outlook);
            let earlier = self.earlier.remove(outlook).filter(|earlier| **earlier == shared);
            Class {
                shared: earlier.unwrap_or_else(|| Arc::new(shared)),
                stale: BTreeSet::new(),
            }
        });
        class.refresh(cluster, index, &view.outlook);
        view.tables(class.shared.clone())
    }

    /// Tables of a machine with the routes that its BIRD has here, as [`NodeTables::with_bird_of`] these ones.
    pub fn with_bird(&mut self, tables: NodeTables, host: &HostNetwork, settings: Settings) -> NodeTables {
        let birds = self.tables_under(host, settings);
        tables.with_bird(&birds, &mut self.joints)
    }

    /// Adds a block, or puts it in the place of the one with its range.
    pub fn set_block(&mut self, block: Block) {
        let range = block.cidr;
        let before = self.cluster.set_block(block);
        self.block_changed(range, before);
    }

    /// Takes a block out.
    pub fn remove_block(&mut self, range: IpNet) {
        let before = self.cluster.remove_block(range);
        self.block_changed(range, before);
    }

    /// Changes anything else; all is computed anew.
    pub fn change(&mut self, change: impl FnOnce(&mut ClusterState)) {
        change(&mut self.cluster);
        self.index = Index::of(&self.cluster);
        self.classes.clear();
    }

    fn block_changed(&mut self, range: IpNet, before: Option<Block>) {
        let after = self.cluster.blocks().get(&range);
        self.index.replace_block(&self.cluster, before.as_ref(), after);
        if self.index.ribs.is_some() {
            return self.classes.clear();
        }
        let of_blocks = before.as_ref().into_iter().chain(after).flat_map(of_block);
        // Whether a tunnel address has a route of its own depends on the block around it.
        let tunnels = self.index.tunnels.range(range.network()..=range.broadcast());
        let changed: Vec<_> = of_blocks.chain(tunnels.map(|(address, _)| IpNet::from(*address))).collect();
        for class in self.classes.values_mut() {
            class.stale.extend(&changed);
        }
    }
}

impl Class {
    fn refresh(&mut self, cluster: &ClusterState, index: &Index, outlook: &Outlook) {
        if self.stale.is_empty() {
            return;
        }
        let remote = Remote { cluster, index, outlook };
        let shared = Arc::make_mut(&mut self.shared);
        for destination in std::mem::take(&mut self.stale) {
            shared.update(&remote, destination);
        }
    }
}
