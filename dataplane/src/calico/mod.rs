//! The datastore.

/// The datastore of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterState;
