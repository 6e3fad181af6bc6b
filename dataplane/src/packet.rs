//! The packet: one buffer with headroom, so that headers are pushed and pulled in place and the payload is never copied.
//!
//! A packet in memory may stand for several on the wire (a super-packet, as a kernel with segmentation offload hands it over):
//! whoever counts or measures asks [`Packet::wire_packets`] and [`Packet::wire_bytes`], never the buffer's length.

/// Free bytes in front of a packet that was made or read with room for headers.
pub const HEADROOM: usize = 128;

/// An opaque mark that travels with a packet through every node, as `skb->mark` does within one kernel. Fragments and
/// encapsulated forms of a packet keep its tag; packets that a node makes itself (ICMP errors) get none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u64);

impl Tag {
    /// The tag of a packet that nobody follows.
    pub const NONE: Tag = Tag(0);
}

/// How a super-packet is to be cut into wire packets: the payload after `header_len` bytes, in pieces of `size` bytes, each
/// behind its own copy of the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Bytes of the headers that every wire packet repeats, counted from the packet's present first byte.
    pub header_len: u16,
    /// Payload bytes of each wire packet but the last; at least 1.
    pub size: u16,
}

/// An IP packet (or, inside a VXLAN tunnel header, a frame) in a buffer with headroom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    buffer: Vec<u8>,
    start: usize,
    segmentation: Option<Segmentation>,
    tag: Tag,
}

impl Packet {
    /// A packet with these bytes, copied behind [`HEADROOM`] free ones.
    pub fn from_bytes(bytes: &[u8]) -> Packet {
        let mut packet = Packet::with_capacity(bytes.len());
        packet.fill(bytes);
        packet
    }

    /// An empty packet with room for `bytes` of payload behind [`HEADROOM`] free bytes.
    pub fn with_capacity(bytes: usize) -> Packet {
        let mut buffer = Vec::with_capacity(HEADROOM + bytes);
        buffer.resize(HEADROOM, 0);
        Packet {
            buffer,
            start: HEADROOM,
            segmentation: None,
            tag: Tag::NONE,
        }
    }

    /// Replaces the contents by these bytes and restores the headroom, keeping the allocation. Tag and segmentation are reset.
    pub fn fill(&mut self, bytes: &[u8]) {
        self.buffer.clear();
        self.buffer.resize(HEADROOM, 0);
        self.buffer.extend_from_slice(bytes);
        self.start = HEADROOM;
        self.segmentation = None;
        self.tag = Tag::NONE;
    }

    /// The packet's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// The packet's bytes, to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..).unwrap_or_default()
    }

    /// Makes room for a header of `length` bytes in front, and returns it together with what follows. It takes the headroom,
    /// and moves the payload only if the headroom is used up.
    pub fn push(&mut self, length: usize) -> (&mut [u8], &mut [u8]) {
        if self.start < length {
            let missing = length - self.start;
            self.buffer.splice(0..0, std::iter::repeat_n(0, missing + HEADROOM));
            self.start += missing + HEADROOM;
        }
        self.start -= length;
        if let Some(segmentation) = &mut self.segmentation {
            segmentation.header_len = segmentation
                .header_len
                .saturating_add(u16::try_from(length).unwrap_or(u16::MAX));
        }
        self.bytes_mut().split_at_mut_checked(length).unwrap_or_default()
    }

    /// Puts a header in front; see [`Packet::push`].
    pub fn prepend<const N: usize>(&mut self, header: [u8; N]) {
        if let Some(front) = self.push(N).0.first_chunk_mut() {
            *front = header;
        }
    }

    /// Drops `length` bytes from the front by moving an offset; false, with nothing changed, if there are fewer.
    pub fn pull(&mut self, length: usize) -> bool {
        if self.bytes().len() < length {
            return false;
        }
        self.start += length;
        if let Some(segmentation) = &mut self.segmentation {
            segmentation.header_len = segmentation
                .header_len
                .saturating_sub(u16::try_from(length).unwrap_or(u16::MAX));
        }
        true
    }

    /// Cuts the packet down to its first `length` bytes (link padding behind an IP packet); a longer `length` changes nothing.
    pub fn truncate(&mut self, length: usize) {
        self.buffer.truncate(self.start.saturating_add(length));
    }

    /// How the packet is to be cut for the wire; none if it is one wire packet.
    pub fn segmentation(&self) -> Option<Segmentation> {
        self.segmentation
    }

    /// Declares the packet a super-packet, or one wire packet.
    pub fn set_segmentation(&mut self, segmentation: Option<Segmentation>) {
        self.segmentation = segmentation.filter(|s| s.size > 0);
    }

    /// The packet's tag.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// Marks the packet.
    pub fn set_tag(&mut self, tag: Tag) {
        self.tag = tag;
    }

    /// How many packets this is on the wire; at least 1.
    pub fn wire_packets(&self) -> usize {
        self.segmentation.map_or(1, |s| {
            let payload = self.bytes().len().saturating_sub(usize::from(s.header_len));
            payload.div_ceil(usize::from(s.size)).max(1)
        })
    }

    /// How many bytes this is on the wire, the repeated headers counted.
    pub fn wire_bytes(&self) -> usize {
        let repeats = self.wire_packets() - 1;
        self.bytes().len() + repeats * self.segmentation.map_or(0, |s| usize::from(s.header_len))
    }

    /// The length of the longest wire packet: what an MTU is held against.
    pub fn longest_wire_packet(&self) -> usize {
        self.segmentation.map_or(self.bytes().len(), |s| {
            self.bytes().len().min(usize::from(s.header_len) + usize::from(s.size))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_within_the_headroom_leaves_the_payload_where_it_is() {
        let mut packet = Packet::from_bytes(&[1, 2, 3]);
        let before = packet.bytes().as_ptr();
        packet.push(20).0.fill(9);
        assert_eq!(packet.bytes().len(), 23);
        assert!(packet.pull(20));
        assert_eq!(packet.bytes(), [1, 2, 3]);
        assert_eq!(packet.bytes().as_ptr(), before);
    }

    #[test]
    fn a_push_beyond_the_headroom_keeps_the_bytes() {
        let mut packet = Packet::from_bytes(&[1, 2, 3]);
        packet.push(100).0.fill(7);
        packet.push(100).0.fill(8);
        assert_eq!(packet.bytes().len(), 203);
        assert!(packet.pull(200));
        assert_eq!(packet.bytes(), [1, 2, 3]);
    }

    #[test]
    fn a_pull_beyond_the_end_changes_nothing() {
        let mut packet = Packet::from_bytes(&[1, 2, 3]);
        assert!(!packet.pull(4));
        assert_eq!(packet.bytes(), [1, 2, 3]);
    }

    #[test]
    fn a_super_packet_counts_in_wire_packets_and_wire_bytes() {
        let mut packet = Packet::from_bytes(&[0; 40 + 2500]);
        packet.set_segmentation(Some(Segmentation {
            header_len: 40,
            size: 1000,
        }));
        assert_eq!(
            (packet.wire_packets(), packet.wire_bytes(), packet.longest_wire_packet()),
            (3, 2500 + 3 * 40, 1040)
        );
        packet.push(50);
        assert_eq!(
            (packet.wire_packets(), packet.wire_bytes(), packet.longest_wire_packet()),
            (3, 2500 + 3 * 90, 1090)
        );
    }
}
