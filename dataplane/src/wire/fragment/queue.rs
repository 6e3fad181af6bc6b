//! The fragments of one packet that waits to be whole.

use std::collections::BTreeMap;

use super::{Failure, ReassemblyError, data};
use crate::wire::ipv6::HEADER_LEN;
use crate::wire::{Ecn, IpMut, IpView};
use crate::{Instant, Packet, Tag};

/// Where a fragment's payload belongs, in bytes of the whole packet's payload.
#[derive(Clone, Copy)]
pub(super) struct Place {
    offset: usize,
    pub(super) len: usize,
    is_last: bool,
    ecn: Ecn,
}

impl Place {
    /// Of an IPv4 fragment that is not the last, bytes beyond a multiple of 8 do not count.
    pub(super) fn of(view: &IpView<'_>) -> Place {
        let len = data(view).len();
        let is_cut = matches!(view, IpView::V4(_)) && view.more_fragments();
        Place {
            offset: view.fragment_offset(),
            len: if is_cut { len / 8 * 8 } else { len },
            is_last: !view.more_fragments(),
            ecn: view.ecn(),
        }
    }

    fn end(self) -> usize {
        self.offset + self.len
    }
}

pub(super) enum Admission {
    New,
    Duplicate,
}

#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) packet: Packet,
    len: usize,
    ecn: Ecn,
}

/// The fragments of one packet: they never overlap.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    pub(super) pieces: BTreeMap<usize, Piece>,
    received: usize,
    end: Option<usize>,
    pub(super) deadline: Instant,
}

impl Queue {
    pub(super) fn new(deadline: Instant) -> Queue {
        Queue {
            deadline,
            ..Queue::default()
        }
    }

    pub(super) fn admit(&self, place: Place) -> Result<Admission, ReassemblyError> {
        let highest = self.pieces.last_key_value().map_or(0, |(offset, piece)| offset + piece.len);
        let fits = match self.end {
            Some(end) if place.is_last => place.end() == end,
            Some(end) => place.end() <= end,
            None => !place.is_last || place.end() >= highest,
        };
        let is_ragged = !place.is_last && !place.len.is_multiple_of(8);
        if !fits || is_ragged || place.len == 0 {
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

    pub(super) fn insert(&mut self, place: Place, packet: Packet) {
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

    pub(super) fn is_complete(&self) -> bool {
        self.end == Some(self.received)
    }

    /// The whole packet, behind the header of its first fragment.
    pub(super) fn join(&self) -> Result<Packet, ReassemblyError> {
        let is_marked = self.is_marked()?;
        let mut bytes = Vec::new();
        let mut tag = Tag::NONE;
        for (&offset, piece) in &self.pieces {
            let view = IpView::unverified(piece.packet.bytes())?;
            if offset == 0 {
                bytes.extend(whole_header(&view));
                tag = piece.packet.tag();
            }
            bytes.extend_from_slice(data(&view));
        }
        let mut whole = Packet::from_bytes(&bytes);
        whole.set_tag(tag);
        let too_long = |_| ReassemblyError::TooLong(bytes.len());
        match IpMut::new(whole.bytes_mut()) {
            Some(IpMut::V4(mut fixed)) => {
                fixed.set_total_len(u16::try_from(bytes.len()).map_err(too_long)?);
                fixed.set_fragment(0, false);
            }
            Some(IpMut::V6(mut fixed)) => {
                fixed.set_payload_len(u16::try_from(bytes.len().saturating_sub(HEADER_LEN)).map_err(too_long)?);
            }
            None => {}
        }
        if let (true, Some(mut fixed)) = (is_marked, IpMut::new(whole.bytes_mut())) {
            fixed.set_ecn(Ecn::Ce);
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

    pub(super) fn fail(self, reason: ReassemblyError) -> Failure {
        Failure {
            reason,
            fragments: self.pieces.into_values().map(|piece| piece.packet).collect(),
        }
    }
}

/// The headers of a first fragment, those of IPv6 without the fragment header. Fields that say that it is one are left for later.
fn whole_header(first: &IpView<'_>) -> Vec<u8> {
    match first {
        IpView::V4(view) => view.header().to_vec(),
        IpView::V6(view) => {
            let (repeated, named_at) = view.repeated();
            let mut header = repeated.to_vec();
            if let Some((name, fragment)) = header.get_mut(named_at).zip(view.fragment()) {
                *name = fragment.next_header;
            }
            header
        }
    }
}
