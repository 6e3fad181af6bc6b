//! Splitting: what a router does to an IPv4 packet, and only the origin to an IPv6 one.

use crate::wire::ipv4::{HEADER_LEN, length_field};
use crate::wire::ipv6::{FRAGMENT_LEN, FragmentHeader, extension};
use crate::wire::{IpView, Ipv4Mut, Ipv4View, Ipv6Mut, Ipv6View, Malformed, checksum};
use crate::{Mtu, Packet};

/// Splits a packet into fragments that fit the MTU, appended to `out` in order and as few as possible, with the packet's tag. A
/// packet that fits is appended as it is.
///
/// The DF flag is not looked at, and kept. Options that do not belong into later fragments are overwritten there by
/// no-operations, as Linux does, so that all headers are equally long. An IPv4 packet keeps its identification; an IPv6 one, which
/// is for its origin to split, gets this one. An IPv6 fragment is not split again.
///
/// # Errors
/// If the packet is malformed.
///
/// Source: RFC 791 section 3.2; Linux net/ipv4/ip_output.c, ip_do_fragment. RFC 8200 section 4.5; Linux net/ipv6/ip6_output.c,
/// ip6_fragment.
pub fn split(packet: &Packet, mtu: Mtu, identification: u32, out: &mut Vec<Packet>) -> Result<(), Malformed> {
    match IpView::parse(packet.bytes())? {
        IpView::V4(view) if !mtu.fits(view.total_len()) => split_v4(packet, &view, mtu, out),
        IpView::V6(view) if !mtu.fits(view.total_len()) && view.fragment().is_none() => {
            split_v6(packet, &view, mtu, identification, out);
        }
        IpView::V4(_) | IpView::V6(_) => out.push(packet.clone()),
    }
    Ok(())
}

fn split_v4(packet: &Packet, view: &Ipv4View<'_>, mtu: Mtu, out: &mut Vec<Packet>) {
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
}

fn split_v6(packet: &Packet, view: &Ipv6View<'_>, mtu: Mtu, identification: u32, out: &mut Vec<Packet>) {
    let (repeated, named_at) = view.repeated();
    let mut header = repeated.to_vec();
    let next_header = header
        .get_mut(named_at)
        .map_or(0, |name| std::mem::replace(name, extension::FRAGMENT));
    let size = (usize::from(mtu.bytes()).saturating_sub(header.len() + FRAGMENT_LEN) / 8).max(1) * 8;
    let data = view.data();
    for (index, piece) in data.chunks(size).enumerate() {
        let offset = index * size;
        let own = FragmentHeader {
            next_header,
            offset,
            more_fragments: offset + piece.len() < data.len(),
            identification,
        };
        let mut fragment = Packet::from_bytes(&[&header, &own.to_bytes()[..], piece].concat());
        let payload_len = fragment.bytes().len().saturating_sub(crate::wire::ipv6::HEADER_LEN);
        if let Some(mut fixed) = Ipv6Mut::new(fragment.bytes_mut()) {
            fixed.set_payload_len(length_field(payload_len));
        }
        fragment.set_tag(packet.tag());
        out.push(fragment);
    }
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
