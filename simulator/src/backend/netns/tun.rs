//! A stack's device: a TUN device whose descriptor is ours. It reads and writes IP packets and knows no addresses or routes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

use overlab_dataplane::Packet;
use tun_tap::{Iface, Mode};

use super::sys;

/// Packets that wait for a device which takes no more; what comes beyond that is lost, as at any full transmit queue.
const HELD: usize = 512;

/// The longest name that Linux gives a device: IFNAMSIZ less the final zero.
const LONGEST_NAME: usize = 15;

/// An open TUN device.
#[derive(Debug)]
pub(super) struct Tun {
    file: File,
    held: VecDeque<Packet>,
}

/// What became of a written packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// The stack has it.
    Taken,
    /// It waits in a queue until the device takes more.
    Held,
    /// The queue is full, or the stack refuses the packet.
    Lost,
}

impl Tun {
    /// Makes a device in the network namespace of the calling thread. It carries bare IP packets, lives as long as its
    /// namespace, and never blocks.
    ///
    /// # Errors
    /// If the name is empty or longer than 15 bytes, or the kernel refuses.
    pub(super) fn open(name: &str) -> io::Result<Tun> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            let message = format!("a device name has 1 to {LONGEST_NAME} bytes, {name:?} has {}", name.len());
            return Err(io::Error::new(ErrorKind::InvalidInput, message));
        }
        let device = Iface::without_packet_info(name, Mode::Tun)?;
        device.set_non_blocking()?;
        let file = sys::into_file(device);
        sys::persist(file.as_fd())?;
        Ok(Tun {
            file,
            held: VecDeque::new(),
        })
    }

    /// Reads the next packet that the stack sent; none if there is none.
    ///
    /// # Errors
    /// If the device is gone.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match (&self.file).read(buffer) {
                Ok(length) => return Ok(Some(length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the stack a packet behind those that are held; the second value is the packet's buffer if it is free again.
    pub(super) fn write(&mut self, packet: Packet) -> (Written, Option<Packet>) {
        if self.held.is_empty() {
            match self.write_bytes(packet.bytes()) {
                Written::Held => {}
                done @ (Written::Taken | Written::Lost) => return (done, Some(packet)),
            }
        }
        if self.held.len() >= HELD {
            return (Written::Lost, Some(packet));
        }
        self.held.push_back(packet);
        (Written::Held, None)
    }

    /// Writes what is held, as far as the device takes it; says how many packets were lost.
    pub(super) fn flush(&mut self) -> u64 {
        let mut lost = 0;
        while let Some(packet) = self.held.front() {
            match self.write_bytes(packet.bytes()) {
                Written::Held => break,
                Written::Taken => {}
                Written::Lost => lost += 1,
            }
            self.held.pop_front();
        }
        lost
    }

    /// Whether packets wait for the device.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    fn write_bytes(&self, bytes: &[u8]) -> Written {
        loop {
            match (&self.file).write(bytes) {
                Ok(length) if length == bytes.len() => return Written::Taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Written::Held,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return Written::Lost,
            }
        }
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether a stack sent this packet for a flow or a person, rather than unasked: only unicast counts, and no neighbour discovery.
/// Linux sends router solicitations and multicast reports through every device that it finds.
pub(super) fn is_asked_for(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet
            .get(16..20)
            .and_then(<[u8]>::first_chunk)
            .is_some_and(|destination: &[u8; 4]| {
                let destination = Ipv4Addr::from(*destination);
                !destination.is_multicast() && !destination.is_broadcast()
            }),
        Some(6) => packet
            .get(24..40)
            .and_then(<[u8]>::first_chunk)
            .is_some_and(|destination: &[u8; 16]| {
                let destination = Ipv6Addr::from(*destination);
                !destination.is_multicast() && !destination.is_unicast_link_local() && !is_neighbour_discovery(packet)
            }),
        Some(_) | None => false,
    }
}

/// Router and neighbour solicitations and advertisements, and redirects (RFC 4861 section 4).
fn is_neighbour_discovery(packet: &[u8]) -> bool {
    const ICMPV6: u8 = 58;
    packet.get(6) == Some(&ICMPV6) && packet.get(40).is_some_and(|kind| (133..=137).contains(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet_to(destination: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0x45; 1];
        packet.resize(16, 0);
        packet.extend(destination);
        packet
    }

    fn packet_to_v6(destination: &str, kind: u8) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 8, 58, 64];
        packet.resize(24, 0);
        packet.extend(destination.parse::<Ipv6Addr>().unwrap().octets());
        packet.push(kind);
        packet
    }

    #[test]
    fn only_unicast_is_asked_for() {
        assert!(is_asked_for(&packet_to([10, 65, 1, 2])));
        assert!(!is_asked_for(&packet_to([224, 0, 0, 22])));
        assert!(!is_asked_for(&packet_to([255, 255, 255, 255])));
        assert!(!is_asked_for(&[0x45; 19]));
        assert!(is_asked_for(&packet_to_v6("fd00:1::11", 128)));
        assert!(!is_asked_for(&packet_to_v6("ff02::16", 143)));
        assert!(!is_asked_for(&packet_to_v6("fd00:1::11", 135)), "a neighbour solicitation");
        assert!(!is_asked_for(&packet_to_v6("fe80::1", 128)));
        assert!(!is_asked_for(&[0x60; 39]));
    }

    #[test]
    fn a_name_that_linux_would_cut_is_refused() {
        assert_eq!(Tun::open("sixteen-bytes-xx").unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(Tun::open("").unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
