//! The scenario as meant: every default filled, every name resolved, every unit typed. Truth (the wires) and belief (what the
//! datastore holds) stay apart: the wires are here, the belief is [`Model::cluster`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use overlab_dataplane::calico::ClusterState;
use overlab_dataplane::encap::Wire;
use overlab_dataplane::fields::FieldRef;
use overlab_dataplane::route::{HostNetwork, Nic, NodeTables, RpFilter};
use overlab_dataplane::{Instant, Mtu, PerFamily};

use crate::expectations::Claim;
use crate::fabric::{Acl, Fault, Firewall, GatewayKnobs, Knobs, Preset, SecurityGroup};
use crate::rows::Table;

pub use crate::fabric::GatewayKind;

/// A backend, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackendKind {
    /// Virtual time, no privileges.
    Sim,
    /// Linux network namespaces, real time.
    Netns,
}

/// A flow, by its place in [`Model::flows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowId(pub u32);

/// Everything that a run needs to know.
#[derive(Clone, Debug)]
pub struct Model {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.title`.
    pub title: Option<String>,
    /// Root of all random streams.
    pub seed: u64,
    /// When sending ends.
    pub duration: Duration,
    /// Where the scenario may run.
    pub backends: BTreeSet<BackendKind>,
    /// The wires between machines.
    pub underlays: Vec<Underlay>,
    /// What joins them, in file order.
    pub gateways: Vec<Gateway>,
    /// Calico nodes, in file order.
    pub nodes: Vec<Machine>,
    /// Machines outside the cluster.
    pub hosts: Vec<Machine>,
    /// Workloads, in file order.
    pub workloads: Vec<Workload>,
    /// What happens to packets between cards, and when.
    pub faults: Vec<Fault>,
    /// Packets of flows that are lost by their number.
    pub flow_faults: Vec<FlowFault>,
    /// The wires as they are from certain instants on, in their order.
    pub rewirings: Vec<Rewiring>,
    /// The tables that machines have from certain instants on, in the order in which they change: by time, and at one instant as
    /// here. At 0s they have those of [`Model::cluster`].
    pub table_changes: Vec<TableChange>,
    /// What is sent. Flows of a matrix come last.
    pub flows: Vec<Flow>,
    /// What must be true.
    pub expectations: Vec<Expectation>,
    /// What the datastore holds at the start: given manifests and what was derived.
    pub cluster: ClusterState,
    /// The same, put together from the manifests in reverse order, if that is asked for.
    pub reversed: Option<ClusterState>,
    /// What it holds later, in the order of time.
    pub versions: Vec<Version>,
    /// Stretches in which calico-node is down on a node.
    pub outages: Vec<AgentOutage>,
    /// What was derived rather than written, one sentence each.
    pub notes: Vec<String>,
    /// Lints that are accepted or expected.
    pub accepted_lints: Vec<AcceptedLint>,
    /// Whose rules tunnels follow.
    pub wire: Wire,
}

/// A lint that the scenario knows of.
#[derive(Clone, Debug)]
pub struct AcceptedLint {
    /// Its id.
    pub lint: &'static str,
    /// Whether it must be there: an entry of `lints`, not of `allow`.
    pub expected: bool,
    /// Where it is named.
    pub field: FieldRef,
}

/// The datastore from an event on.
#[derive(Clone, Debug)]
pub struct Version {
    /// The event's name.
    pub name: Arc<str>,
    /// Where the event is written.
    pub field: FieldRef,
    /// When the datastore has it.
    pub at: Instant,
    /// What it holds.
    pub cluster: ClusterState,
    /// When nodes hear of it.
    pub rollout: Rollout,
    /// Workloads that are made anew then.
    pub renewed: BTreeSet<Arc<str>>,
}

impl AgentOutage {
    /// Whether both speak of one node at one time.
    pub fn overlaps(&self, other: &AgentOutage) -> bool {
        let before = |one: &AgentOutage, next: &AgentOutage| one.until.is_some_and(|until| until <= next.from);
        self.node == other.node && !before(self, other) && !before(other, self)
    }
}

/// How a change comes to the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Places in [`Model::nodes`], all of them: who hears of it first.
    pub order: Vec<usize>,
    /// From one node to the next.
    pub stagger: Duration,
    /// From the end of a Felix that has to restart until it has its tables again.
    pub agent_restart: Duration,
    /// From when a node hears of it until its BIRD has acted.
    pub bird_delay: Duration,
}

impl Rollout {
    /// How long after the change a node hears of it.
    pub fn delay(&self, node: usize) -> Duration {
        let place = self.order.iter().position(|other| *other == node).unwrap_or_default();
        self.stagger.saturating_mul(u32::try_from(place).unwrap_or(u32::MAX))
    }
}

/// A stretch in which calico-node is down on a node: the kernel goes on with what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentOutage {
    /// The event's name.
    pub name: Arc<str>,
    /// Place of the node in [`Model::nodes`].
    pub node: usize,
    /// From then on.
    pub from: Instant,
    /// Until then, when it has its tables again; none for the rest of the run.
    pub until: Option<Instant>,
}

/// The wires from some instant on: another underlay, other cards on it, the same machines.
#[derive(Clone, Debug)]
pub struct Rewiring {
    /// From then on.
    pub at: Instant,
    /// As [`Model::underlays`].
    pub underlays: Vec<Underlay>,
    /// As [`Model::gateways`].
    pub gateways: Vec<Gateway>,
    /// As [`Model::nodes`].
    pub nodes: Vec<Machine>,
    /// As [`Model::hosts`].
    pub hosts: Vec<Machine>,
    /// Places of nodes whose source/destination check is what the timeline sets, whatever Felix set it to.
    pub checks_set: BTreeSet<usize>,
}

/// The tables of a machine from some instant on.
#[derive(Clone, Debug)]
pub struct TableChange {
    /// From then on.
    pub at: Instant,
    /// A node's place in [`Model::nodes`], or behind all of them a host's in [`Model::hosts`].
    pub machine: usize,
    /// What the machine works from.
    pub tables: Arc<NodeTables>,
    /// What made it so, as it is told: the name of an entry of the timeline, and what the machine has done about it.
    pub cause: Arc<str>,
}

impl Model {
    /// What a machine's kernel knows before Calico touches it.
    pub fn host_network(&self, machine: &Machine) -> HostNetwork {
        let subnet = &self.underlays[machine.underlay].subnets[machine.subnet];
        HostNetwork {
            name: machine.name.clone(),
            nics: vec![Nic {
                name: Arc::from("eth0"),
                addresses: machine.addresses.iter().flatten().copied().collect(),
                mtu: machine.mtu,
            }],
            gateways: subnet.gateway,
            rp_filter: machine.rp_filter,
        }
    }

    /// The last change of a machine's tables until an instant; none if it has had the same since the start.
    pub fn last_table_change(&self, machine: &str, at: Instant) -> Option<&TableChange> {
        let until = |change: &&TableChange| change.at <= at && *change.tables.node == *machine;
        self.table_changes.iter().rev().find(until)
    }

    /// What the datastore holds at an instant.
    pub fn cluster_at(&self, at: Instant) -> &ClusterState {
        let version = self.versions.iter().rev().find(|version| version.at <= at);
        version.map_or(&self.cluster, |version| &version.cluster)
    }

    /// The wires as an event has left them at an instant; none if they are as at the start.
    pub fn rewiring_at(&self, at: Instant) -> Option<&Rewiring> {
        self.rewirings.iter().rev().find(|wires| wires.at <= at)
    }

    /// The model with the first of its flows alone, and only what the timeline does to that one.
    #[must_use]
    pub fn with_first_flow_only(mut self) -> Model {
        self.flows.truncate(1);
        self.flow_faults.retain(|fault| fault.flow == FlowId(0));
        self
    }

    /// The model with other wires.
    #[must_use]
    pub fn rewired(&self, wires: &Rewiring) -> Model {
        Model {
            underlays: wires.underlays.clone(),
            gateways: wires.gateways.clone(),
            nodes: wires.nodes.clone(),
            hosts: wires.hosts.clone(),
            ..self.clone()
        }
    }
}

/// Packets of a flow that are lost as they leave their sender's node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowFault {
    /// Its name, which is the place of what it takes.
    pub name: Arc<str>,
    /// From then on.
    pub from: Instant,
    /// Until then; none for the rest of the run.
    pub until: Option<Instant>,
    /// The flow.
    pub flow: FlowId,
    /// Whether it is about answers rather than requests.
    pub reverse: bool,
    /// Which packets, counted from 1 from its beginning on.
    pub numbers: BTreeSet<u32>,
}

/// One underlay network.
#[derive(Clone, Debug)]
pub struct Underlay {
    /// Its name; its router goes by it too.
    pub name: Arc<str>,
    /// The preset that it was made from.
    pub preset: Preset,
    /// How it treats packets.
    pub knobs: Knobs,
    /// Its addresses, of each family that it has and bounds.
    pub cidr: PerFamily<Option<IpNet>>,
    /// Its security groups, by name.
    pub security_groups: BTreeMap<Arc<str>, SecurityGroup>,
    /// Routes that its router learned from others, which its own routes go before.
    pub learned: Vec<UnderlayRoute>,
    /// Routes of its main route table besides those to its subnets.
    pub routes: Vec<UnderlayRoute>,
    /// Its subnets, in file order.
    pub subnets: Vec<Subnet>,
}

/// A route of an underlay's router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderlayRoute {
    /// The prefix.
    pub destination: IpNet,
    /// Where it leads.
    pub via: Via,
}

/// Where a route of an underlay's router leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// To a machine's card: a node's place in [`Model::nodes`], or behind all of them a host's in [`Model::hosts`].
    Machine(usize),
    /// To what joins this underlay with others, by its place in [`Model::gateways`].
    Gateway(usize),
    /// Nowhere.
    Nowhere,
}

/// A subnet of an underlay: one L2 segment, or what a cloud makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its name within the underlay.
    pub name: Arc<str>,
    /// Its addresses, of each family that it has.
    pub cidr: PerFamily<Option<IpNet>>,
    /// The router's addresses in it.
    pub gateway: PerFamily<Option<IpAddr>>,
    /// The MTU of the segment.
    pub mtu: Mtu,
    /// What may enter and leave it; none for everything.
    pub acl: Option<Acl>,
    /// The routes of its own route table, in place of the underlay's main one; none if it has none.
    pub routes: Option<Vec<UnderlayRoute>>,
}

impl Subnet {
    /// Whether an address is one of its own.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.cidr.iter().flatten().any(|net| net.contains(&address))
    }

    /// Its prefixes as text, IPv4 first.
    pub fn cidrs(&self) -> String {
        let cidrs: Vec<_> = self.cidr.iter().flatten().map(IpNet::to_string).collect();
        cidrs.join(" and ")
    }
}

/// What joins underlays.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub kind: GatewayKind,
    /// The underlays that it joins, by their places in [`Model::underlays`]; of an internet gateway the network comes first, then
    /// the internet. A NAT gateway has the one that it stands in.
    pub joins: Vec<usize>,
    /// The subnet that a NAT gateway stands in, and whose route table its packets take.
    pub subnet: Option<usize>,
    /// How it treats packets.
    pub knobs: GatewayKnobs,
    /// How long a packet takes to it, one way.
    pub delay: Duration,
    /// The address that its ICMP errors come from; none for that of the router in front of it.
    pub address: Option<IpAddr>,
    /// A NAT gateway's public address.
    pub public_address: Option<Ipv4Addr>,
    /// What a firewall lets pass.
    pub firewall: Option<Firewall>,
    /// Which underlay is the way to which addresses.
    pub routes: Vec<(IpNet, usize)>,
    /// Where it is declared.
    pub field: FieldRef,
}

/// A machine on the wires: a Calico node, or a host outside the cluster.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its name.
    pub name: Arc<str>,
    /// Place of its underlay in [`Model::underlays`].
    pub underlay: usize,
    /// Place of its subnet in [`Underlay::subnets`].
    pub subnet: usize,
    /// Its addresses, each with the subnet's prefix length.
    pub addresses: PerFamily<Option<IpNet>>,
    /// The MTU of its network card.
    pub mtu: Mtu,
    /// Whether the fabric checks that packets of this card carry its own address.
    pub source_destination_check: bool,
    /// Addresses besides its own that pass that check.
    pub allowed_addresses: Vec<IpNet>,
    /// The security groups that its card is in.
    pub groups: Vec<Arc<str>>,
    /// The address that the internet knows it by.
    pub public_address: Option<Ipv4Addr>,
    /// Its reverse-path filter.
    pub rp_filter: RpFilter,
    /// Where it is declared.
    pub field: FieldRef,
}

impl Machine {
    /// Whether an address is the machine's.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().flatten().any(|own| own.addr() == address)
    }
}

/// A workload (a pod).
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its name.
    pub name: Arc<str>,
    /// Place of its node in [`Model::nodes`].
    pub node: usize,
    /// Its addresses.
    pub addresses: PerFamily<Option<IpAddr>>,
    /// Where it is declared.
    pub field: FieldRef,
}

/// Something that can send or be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// A workload, by its place in [`Model::workloads`].
    Workload(usize),
    /// A node's own process, by its place in [`Model::nodes`].
    Node(usize),
    /// A machine outside the cluster, by its place in [`Model::hosts`].
    Host(usize),
}

/// A flow's transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// ICMP echo.
    Icmp,
    /// UDP datagrams.
    Udp,
    /// One TCP connection.
    Tcp,
}

/// What the sending socket does about path MTUs: Linux's `IP_MTU_DISCOVER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathMtuDiscovery {
    /// `want`: DF set, fragments what is known to be too long (Linux's default).
    #[default]
    Want,
    /// `dont`: DF clear.
    Dont,
    /// `do`: DF set, refuses to send what is known to be too long.
    Do,
    /// `probe`: DF set, ignores what was learned about the path.
    Probe,
}

/// What the receiver does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    /// Sends the payload back.
    #[default]
    Echo,
    /// Only listens.
    None,
}

/// One flow.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its name; for a matrix's probes `FROM->TO`.
    pub name: Arc<str>,
    /// The sender.
    pub from: Endpoint,
    /// The receiver, where the destination address is a machine's or workload's of the scenario.
    pub to: Option<Endpoint>,
    /// The source address of requests, the sender's own or a false one; the choice of the sender's stack if none.
    pub source: Option<IpAddr>,
    /// The address that is sent to.
    pub destination: IpAddr,
    /// What carries its data.
    pub transport: Transport,
    /// TCP or UDP source port, or ICMP identifier; unique among the flows of a scenario.
    pub source_port: u16,
    /// TCP or UDP destination port; 0 for ICMP.
    pub destination_port: u16,
    /// Whether the receiver has a socket on the destination port.
    pub listens: bool,
    /// Bytes after the UDP or ICMP header, or of a TCP request; at least 8, since the first 8 carry the sequence number.
    pub payload: usize,
    /// Bytes of the reply to a TCP request. All other replies are as long as what they reply to.
    pub reply_payload: usize,
    /// When the first packet is sent; when a TCP connection is opened.
    pub start: Instant,
    /// Between two packets. A TCP request begins at the next multiple of it, counted from the start, after the reply to the one before.
    pub interval: Duration,
    /// How many packets are sent; at how many instants a TCP request may begin.
    pub count: u32,
    /// What the sending socket does about path MTUs. The answering socket of a UDP flow does the same. TCP sets DF and obeys.
    pub path_mtu_discovery: PathMtuDiscovery,
    /// The TTL that requests are sent with; 64 if not said.
    pub ttl: u8,
    /// The six DSCP bits of requests.
    pub dscp: u8,
    /// The two ECN bits of requests.
    pub ecn: u8,
    /// What the receiver does.
    pub reply: Reply,
    /// Whether it is a probe that a matrix expectation made.
    pub probe: bool,
    /// Where it is declared.
    pub field: FieldRef,
}

/// A stretch of time, `from` included and `to` not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// As it is printed: the name of a phase, or `[0.000,1.000)`.
    pub label: Arc<str>,
    /// Its start.
    pub from: Instant,
    /// Its end.
    pub to: Instant,
}

/// How two machines or workloads lie to each other, by the wires and never by the datastore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// On one node.
    SameNode,
    /// On two nodes of one subnet.
    SameSubnet,
    /// On two nodes of different subnets.
    CrossSubnet,
}

/// What an expectation speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The packets of these flows, which are in ascending order.
    Flows(Vec<FlowId>),
    /// The packets of every flow, a matrix's probes too.
    EveryFlow,
    /// The rows of a table.
    Table {
        /// Which.
        table: Table,
        /// Whose: a node's place in [`Model::nodes`], or behind all of them a host's; none where the table is no node's.
        machine: Option<usize>,
    },
    /// The tables of every node, with the objects of the datastore delivered in another order.
    Permuted(Order),
}

/// In which order the objects of the datastore are delivered. Any gives the same tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the last manifest and object to the first.
    Reverse,
    /// One by one.
    Split,
    /// All at once.
    Squash,
}

impl Subject {
    /// Whether it speaks of a flow's packets.
    pub fn includes(&self, flow: FlowId) -> bool {
        match self {
            Subject::Flows(flows) => flows.binary_search(&flow).is_ok(),
            Subject::EveryFlow => true,
            Subject::Table { .. } | Subject::Permuted(_) => false,
        }
    }

    /// The flows that it names.
    pub fn flows(&self) -> &[FlowId] {
        match self {
            Subject::Flows(flows) => flows,
            Subject::EveryFlow | Subject::Table { .. } | Subject::Permuted(_) => &[],
        }
    }
}

/// One entry of `expect`: of what, and what is claimed of it.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// What was selected, as it is printed: `az`, `[a, b]`, `matrix same-subnet`, `routes of n1`.
    pub label: Arc<str>,
    /// What it speaks of.
    pub subject: Subject,
    /// When the packets were sent. Of a table it has only the one instant, which is its start.
    pub window: Window,
    /// Claims about both directions, or, if `reverse` is there, about forward packets only.
    pub claims: Vec<Claim>,
    /// Claims about packets of the reverse direction.
    pub reverse: Option<Vec<Claim>>,
    /// Where it is written.
    pub field: FieldRef,
}
