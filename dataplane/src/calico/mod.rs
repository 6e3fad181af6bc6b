//! The datastore: Calico's resources as values, its rules about them, and the state of a cluster that follows from them.
//!
//! It reads values, not files, and knows nothing of wires: what is here is what Calico believes. The way through it:
//! [`Resource::read`] takes one object and applies the rules that concern it alone; [`ClusterState::build`] applies the rules
//! between objects, fills what the operator and calico-node would create, and hands out blocks and addresses. [`crate::route`] reads the result.
//! What is there already changes by [`update`] and [`delete`], which have rules of their own.

mod addressing;
mod backend;
mod bgpconfiguration;
mod bgpfilter;
mod bgppeer;
mod blockaffinity;
mod cluster;
mod configmap;
mod daemonset;
mod deletion;
mod envpools;
mod felix;
mod felixenv;
mod felixvalues;
mod hostlocal;
mod installation;
mod inventory;
mod ipam;
mod ipamblock;
mod ipamconfiguration;
mod ippool;
mod node;
mod poolcreation;
mod poolrules;
mod profile;
mod ranges;
mod reading;
mod resource;
mod selector;
mod service;
mod settings;
mod since;
mod tunnels;
mod update;
mod workload;

pub use backend::NetworkingBackend;
pub use bgpconfiguration::{BgpConfiguration, BgpSettings};
pub use bgpfilter::{Announcement, BgpFilter, FilterRule, MatchOperator, PeerType, PrefixMatch};
pub use bgppeer::{BgpPeer, NextHopMode, Nodes, Peer};
pub use blockaffinity::{AffinityState, BlockAffinity};
pub use cluster::{ClusterState, Endpoint, WorkloadRequest};
pub use configmap::{CalicoConfig, KubeadmConfig};
pub use daemonset::{CalicoNode, Readiness};
pub use deletion::{Deletion, delete};
pub use felix::{AwsSrcDstCheck, FelixConfiguration};
pub use installation::{ClusterRoutingMode, Installation};
pub use ipam::{Allocation, Block};
pub use ipamblock::IpamBlock;
pub use ipamconfiguration::IpamConfiguration;
pub use ippool::{AllowedUses, Assignment, IpPool};
pub use node::{AddressKind, Node, NodeAddress, Recorded};
pub use profile::{Profile, UnknownProfile};
pub use resource::{Reading, Resource};
pub use selector::{Selector, SelectorError};
pub use service::{EndpointSlice, NamedPort, Service, ServiceEndpoint};
pub use settings::{ClusterRoutes, FelixStart, RouteSource, Settings};
pub use update::update;
pub use workload::WorkloadEndpoint;
