//! What is sent, by whom and how.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use overlab_dataplane::Instant;
use overlab_dataplane::fields::FieldRef;

/// A flow, by its place in [`Model::flows`](super::Model::flows).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowId(pub u32);

/// Something that can send or be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// A workload, by its place in [`Model::workloads`](super::Model::workloads).
    Workload(usize),
    /// A node's own process, by its place in [`Model::nodes`](super::Model::nodes).
    Node(usize),
    /// A machine outside the cluster, by its place in [`Model::hosts`](super::Model::hosts).
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
    /// Those behind the address that is sent to, if it is a service's, at any time of the run: each with the port that it is sent to.
    pub served_by: Vec<(Endpoint, u16)>,
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
