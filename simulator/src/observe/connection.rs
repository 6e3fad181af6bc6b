//! What the TCP connections of flows did, as their senders' sockets tell it.

use std::collections::BTreeMap;

use overlab_dataplane::Instant;

use crate::scenario::FlowId;

/// Something that a flow's connection did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// The handshake is over.
    Opened,
    /// A reply is whole.
    Exchanged,
    /// The other end reset it, or refused it.
    Reset,
    /// It was given up for another reason.
    Failed,
}

/// What every TCP flow's connection did, in order.
pub type Connections = BTreeMap<FlowId, Vec<(Instant, ConnectionEvent)>>;
