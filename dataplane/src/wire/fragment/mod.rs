//! Fragmentation and reassembly.
//!
//! Whether a packet may be fragmented (DF), and who reassembles, is decided by the caller. Both work on wire packets: a
//! super-packet is to be cut into those first.

mod queue;
mod split;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::{IpView, Malformed};
use crate::{Family, HEADROOM, Instant, Packet};

pub use split::split;

use queue::{Admission, Place, Queue};

/// How long fragments wait for the rest.
///
/// Source: Linux net/ipv4/ip_fragment.c, IP_FRAG_TIME (`net.ipv4.ipfrag_time`), where RFC 1122 section 3.3.2 asks for 60 s or
/// more; include/net/ipv6.h, IPV6_FRAG_TIMEOUT (`net.ipv6.ip6frag_time`), and RFC 8200 section 4.5.
pub const fn timeout(family: Family) -> Duration {
    match family {
        Family::V4 => Duration::from_secs(30),
        Family::V6 => Duration::from_secs(60),
    }
}

/// The memory that waiting fragments may take, in bytes.
///
/// Source: Linux net/ipv4/ip_fragment.c, ipv4_frags_init_net (`net.ipv4.ipfrag_high_thresh`), which IPv6 has beside it.
pub const MEMORY_MAX: usize = 4 << 20;

/// Why fragments were not joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReassemblyError {
    /// Some were still missing after the [`timeout`].
    #[error("fragments missing when the time ran out")]
    Timeout,
    /// Two cover the same bytes and are not the same; RFC 815 would take them, Linux drops all.
    #[error("fragments overlap")]
    Overlap,
    /// They disagree about where the packet ends, one is empty, or an IPv6 one that is not the last has no multiple of 8 bytes.
    #[error("fragments disagree about the packet's end")]
    Inconsistent,
    /// Joined they would be longer than 65535 B.
    #[error("fragments make up {0} B, more than an IP packet holds")]
    TooLong(usize),
    /// Some are Not-ECT and others not (RFC 3168 section 5.3).
    #[error("fragments mix Not-ECT with other ECN fields")]
    MixedEcn,
    /// The waiting fragments take up [`MEMORY_MAX`].
    #[error("reassembly memory of {MEMORY_MAX} B used up")]
    MemoryFull,
    /// The fragment is no IP packet.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// What became of a packet that was handed to a [`Reassembler`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reassembly {
    /// It waits for the rest, or was a duplicate of one that does.
    Pending,
    /// It was the last one missing, or no fragment at all: here is the whole packet.
    Complete(Packet),
    /// It was refused, and all that waited with it.
    Failed(Failure),
}

/// Fragments that were given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub reason: ReassemblyError,
    /// The fragments in the order of their offsets, the one that made them fail last. The sender is told about a timeout only if the
    /// first one has offset 0.
    pub fragments: Vec<Packet>,
}

/// Source, destination, protocol (of IPv4 alone) and identification: what fragments of one packet share.
type Key = (IpAddr, IpAddr, u8, u32);

fn key_of(view: &IpView<'_>) -> Key {
    let protocol = match view {
        IpView::V4(view) => view.protocol(),
        IpView::V6(_) => 0,
    };
    (view.source(), view.destination(), protocol, view.identification())
}

/// The bytes that a fragment brings.
fn data<'a>(view: &IpView<'a>) -> &'a [u8] {
    match view {
        IpView::V4(view) => view.payload(),
        IpView::V6(view) => view.data(),
    }
}

/// Joins fragments, as the host does that they are addressed to. Its clock is whoever calls it, with instants that never go back.
///
/// Source: RFC 815; Linux net/ipv4/ip_fragment.c, ip_frag_queue and ip_frag_reasm, net/ipv4/inet_fragment.c,
/// inet_frag_queue_insert; net/ipv6/reassembly.c, ip6_frag_queue and ip6_frag_reasm.
#[derive(Clone, Debug, Default)]
pub struct Reassembler {
    queues: BTreeMap<Key, Queue>,
    memory: usize,
}

impl Reassembler {
    /// Takes a packet. One that is no fragment is complete at once. Call [`Reassembler::expire`] for the same instant first.
    pub fn push(&mut self, now: Instant, mut packet: Packet) -> Reassembly {
        let view = match IpView::parse(packet.bytes()) {
            Ok(view) if view.is_fragment() => view,
            Ok(_) => return Reassembly::Complete(packet),
            Err(malformed) => return refuse(malformed.into(), packet),
        };
        let (key, place, family) = (key_of(&view), Place::of(&view), view.family());
        let length = view.total_len() - data(&view).len() + place.len;
        packet.truncate(length);
        if self.memory + memory_of(&packet) > MEMORY_MAX {
            return refuse(ReassemblyError::MemoryFull, packet);
        }
        let queue = self
            .queues
            .entry(key)
            .or_insert_with(|| Queue::new(now.saturating_add(timeout(family))));
        match queue.admit(place) {
            Ok(Admission::Duplicate) => Reassembly::Pending,
            Ok(Admission::New) => {
                self.memory += memory_of(&packet);
                queue.insert(place, packet);
                if !queue.is_complete() {
                    return Reassembly::Pending;
                }
                let queue = self.remove(key);
                match queue.join() {
                    Ok(whole) => Reassembly::Complete(whole),
                    Err(reason) => Reassembly::Failed(queue.fail(reason)),
                }
            }
            Err(reason) => {
                let mut failure = self.remove(key).fail(reason);
                failure.fragments.push(packet);
                Reassembly::Failed(failure)
            }
        }
    }

    /// Gives up all packets whose time has run out at `now`.
    pub fn expire(&mut self, now: Instant) -> Vec<Failure> {
        let late = |queue: &Queue| queue.deadline <= now;
        let keys: Vec<Key> = self
            .queues
            .iter()
            .filter(|(_, queue)| late(queue))
            .map(|(key, _)| *key)
            .collect();
        keys.into_iter()
            .map(|key| self.remove(key).fail(ReassemblyError::Timeout))
            .collect()
    }

    /// When [`Reassembler::expire`] has something to do next; none while nothing waits.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queues.values().map(|queue| queue.deadline).min()
    }

    fn remove(&mut self, key: Key) -> Queue {
        let queue = self.queues.remove(&key).unwrap_or_default();
        self.memory -= queue.pieces.values().map(|piece| memory_of(&piece.packet)).sum::<usize>();
        queue
    }
}

fn memory_of(packet: &Packet) -> usize {
    HEADROOM + packet.bytes().len()
}

fn refuse(reason: ReassemblyError, packet: Packet) -> Reassembly {
    Reassembly::Failed(Failure {
        reason,
        fragments: vec![packet],
    })
}
