//! IPv4 fragmentation and reassembly.
//!
//! Whether a packet may be fragmented (DF), and who reassembles, is decided by the caller. Both work on wire packets: a
//! super-packet is to be cut into those first.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::ipv4::{HEADER_LEN, length_field};
use super::{Ecn, Ipv4Mut, Ipv4View, Malformed, checksum};
use crate::{HEADROOM, Instant, Mtu, Packet, Tag};

/// How long fragments wait for the rest.
///
/// Source: Linux net/ipv4/ip_fragment.c, IP_FRAG_TIME (`net.ipv4.ipfrag_time`); RFC 1122 section 3.3.2 asks for 60 s or more.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The memory that waiting fragments may take, in bytes.
///
/// Source: Linux net/ipv4/ip_fragment.c, ipv4_frags_init_net (`net.ipv4.ipfrag_high_thresh`).
pub const MEMORY_MAX: usize = 4 << 20;

/// Splits a packet into fragments that fit the MTU, appended to `out` in order and as few as possible, with the packet's tag and
/// identification. A packet that fits is appended as it is.
///
/// The DF flag is not looked at, and kept. Options that do not belong into later fragments are overwritten there by
/// no-operations, as Linux does, so that all headers are equally long.
///
/// # Errors
/// If the packet is malformed.
///
/// Source: RFC 791 section 3.2; Linux net/ipv4/ip_output.c, ip_do_fragment.
pub fn split(packet: &Packet, mtu: Mtu, out: &mut Vec<Packet>) -> Result<(), Malformed> {
    let view = Ipv4View::parse(packet.bytes())?;
    if mtu.fits(view.total_len()) {
        out.push(packet.clone());
        return Ok(());
    }
    let size = (usize::from(mtu.bytes()).saturating_sub(view.header_len()) / 8).max(1) * 8;
    let mut header = view.header().to_vec();
    for (index, piece) in view.payload().chunks(size).enumerate() {
        let offset = index * size;
        let is_last = offset + piece.len() == view.payload().len();
        let mut fragment = Packet::from_bytes(&[&header, piece].concat());
        if let Some(mut fixed) = Ipv4Mut::new(fragment.bytes_mut()) {
            fixed.set_total_len(length_field(header.len() + piece.len()));
            fixed.set_fragment(view.fragment_offset() + offset, view.more_fragments() || !is_last);
        }
        fragment.set_tag(packet.tag());
        out.push(fragment);
        if index == 0 {
            blank_uncopied_options(&mut header);
        }
    }
    Ok(())
}

/// Overwrites the options whose copied flag is clear by no-operations.
///
/// Source: RFC 791 section 3.1; Linux net/ipv4/ip_options.c, ip_options_fragment.
fn blank_uncopied_options(header: &mut [u8]) {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;
    let mut at = HEADER_LEN;
    while let Some(&[kind, length]) = header.get(at..).and_then(<[u8]>::first_chunk) {
        let length = match kind {
            END => break,
            NO_OPERATION => 1,
            _ => usize::from(length).max(2),
        };
        match header.get_mut(at..at + length) {
            Some(option) if kind & COPIED == 0 => option.fill(NO_OPERATION),
            Some(_) => {}
            None => break,
        }
        at += length;
    }
    if let Some(field) = header.get_mut(10..12) {
        field.fill(0);
    }
    let checksum = checksum::of(header);
    if let Some(field) = header.get_mut(10..).and_then(<[u8]>::first_chunk_mut) {
        *field = checksum.to_be_bytes();
    }
}

/// Why fragments were not joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReassemblyError {
    /// Some were still missing after [`TIMEOUT`].
    #[error("fragments missing after {} s", TIMEOUT.as_secs())]
    Timeout,
    /// Two cover the same bytes and are not the same; RFC 815 would take them, Linux drops all.
    #[error("fragments overlap")]
    Overlap,
    /// They disagree about where the packet ends, or one is empty.
    #[error("fragments disagree about the packet's end")]
    Inconsistent,
    /// Joined they would be longer than 65535 B.
    #[error("fragments make up {0} B, more than an IPv4 packet holds")]
    TooLong(usize),
    /// Some are Not-ECT and others not (RFC 3168 section 5.3).
    #[error("fragments mix Not-ECT with other ECN fields")]
    MixedEcn,
    /// The waiting fragments take up [`MEMORY_MAX`].
    #[error("reassembly memory of {MEMORY_MAX} B used up")]
    MemoryFull,
    /// The fragment is no IPv4 packet.
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

/// Source, destination, protocol and identification: what fragments of one packet share.
type Key = (Ipv4Addr, Ipv4Addr, u8, u16);

/// Joins fragments, as the host does that they are addressed to. Its clock is whoever calls it, with instants that never go back.
///
/// Source: RFC 815; Linux net/ipv4/ip_fragment.c, ip_frag_queue and ip_frag_reasm, net/ipv4/inet_fragment.c,
/// inet_frag_queue_insert.
#[derive(Clone, Debug, Default)]
pub struct Reassembler {
    queues: BTreeMap<Key, Queue>,
    memory: usize,
}

impl Reassembler {
    /// Takes a packet. One that is no fragment is complete at once. Call [`Reassembler::expire`] for the same instant first.
    pub fn push(&mut self, now: Instant, mut packet: Packet) -> Reassembly {
        let view = match Ipv4View::parse(packet.bytes()) {
            Ok(view) if view.is_fragment() => view,
            Ok(_) => return Reassembly::Complete(packet),
            Err(malformed) => return refuse(malformed.into(), packet),
        };
        let key = (view.source(), view.destination(), view.protocol(), view.identification());
        let place = Place::of(&view);
        let length = view.header_len() + place.len;
        packet.truncate(length);
        if self.memory + memory_of(&packet) > MEMORY_MAX {
            return refuse(ReassemblyError::MemoryFull, packet);
        }
        let queue = self
            .queues
            .entry(key)
            .or_insert_with(|| Queue::new(now.saturating_add(TIMEOUT)));
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

/// Where a fragment's payload belongs, in bytes of the whole packet's payload.
#[derive(Clone, Copy)]
struct Place {
    offset: usize,
    len: usize,
    is_last: bool,
    ecn: Ecn,
}

impl Place {
    /// Of a fragment that is not the last, bytes beyond a multiple of 8 do not count.
    fn of(view: &Ipv4View<'_>) -> Place {
        let len = view.payload().len();
        Place {
            offset: view.fragment_offset(),
            len: if view.more_fragments() { len / 8 * 8 } else { len },
            is_last: !view.more_fragments(),
            ecn: view.ecn(),
        }
    }

    fn end(self) -> usize {
        self.offset + self.len
    }
}

enum Admission {
    New,
    Duplicate,
}

#[derive(Clone, Debug)]
struct Piece {
    packet: Packet,
    len: usize,
    ecn: Ecn,
}

/// The fragments of one packet: they never overlap.
#[derive(Clone, Debug, Default)]
struct Queue {
    pieces: BTreeMap<usize, Piece>,
    received: usize,
    end: Option<usize>,
    deadline: Instant,
}

impl Queue {
    fn new(deadline: Instant) -> Queue {
        Queue {
            deadline,
            ..Queue::default()
        }
    }

    fn admit(&self, place: Place) -> Result<Admission, ReassemblyError> {
        let highest = self.pieces.last_key_value().map_or(0, |(offset, piece)| offset + piece.len);
        let fits = match self.end {
            Some(end) if place.is_last => place.end() == end,
            Some(end) => place.end() <= end,
            None => !place.is_last || place.end() >= highest,
        };
        if !fits || place.len == 0 {
            return Err(ReassemblyError::Inconsistent);
        }
        let covered: usize = self
            .pieces
            .range(..place.end())
            .rev()
            .map(|(&offset, piece)| (offset + piece.len).min(place.end()).saturating_sub(offset.max(place.offset)))
            .take_while(|&shared| shared > 0)
            .sum();
        match covered {
            0 => Ok(Admission::New),
            covered if covered == place.len => Ok(Admission::Duplicate),
            _ => Err(ReassemblyError::Overlap),
        }
    }

    fn insert(&mut self, place: Place, packet: Packet) {
        if place.is_last {
            self.end = Some(place.end());
        }
        self.received += place.len;
        let piece = Piece {
            packet,
            len: place.len,
            ecn: place.ecn,
        };
        self.pieces.insert(place.offset, piece);
    }

    fn is_complete(&self) -> bool {
        self.end == Some(self.received)
    }

    /// The whole packet, behind the header of its first fragment.
    fn join(&self) -> Result<Packet, ReassemblyError> {
        let is_marked = self.is_marked()?;
        let mut bytes = Vec::new();
        let mut tag = Tag::NONE;
        for (&offset, piece) in &self.pieces {
            let view = Ipv4View::unverified(piece.packet.bytes())?;
            if offset == 0 {
                bytes.extend_from_slice(view.header());
                tag = piece.packet.tag();
            }
            bytes.extend_from_slice(view.payload());
        }
        let total_len = u16::try_from(bytes.len()).map_err(|_| ReassemblyError::TooLong(bytes.len()))?;
        let mut whole = Packet::from_bytes(&bytes);
        whole.set_tag(tag);
        if let Some(mut fixed) = Ipv4Mut::new(whole.bytes_mut()) {
            fixed.set_total_len(total_len);
            fixed.set_fragment(0, false);
            if is_marked {
                fixed.set_ecn(Ecn::Ce);
            }
        }
        Ok(whole)
    }

    /// Whether any fragment has CE, and with it the whole packet.
    ///
    /// Source: RFC 3168 section 5.3; Linux net/ipv4/inet_fragment.c, ip_frag_ecn_table.
    fn is_marked(&self) -> Result<bool, ReassemblyError> {
        let with = |ecn| self.pieces.values().filter(|piece| piece.ecn == ecn).count();
        if ![0, self.pieces.len()].contains(&with(Ecn::NotEct)) {
            return Err(ReassemblyError::MixedEcn);
        }
        Ok(with(Ecn::Ce) > 0)
    }

    fn fail(self, reason: ReassemblyError) -> Failure {
        Failure {
            reason,
            fragments: self.pieces.into_values().map(|piece| piece.packet).collect(),
        }
    }
}
