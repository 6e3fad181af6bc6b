//! Captures: pcapng files with one interface a workload and network card, readable by Wireshark and tshark. The run's clock
//! starts at the epoch, so that the same run gives the same bytes.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

use overlab_dataplane::Instant;
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};

/// An interface of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapId(u32);

/// Packets as they pass interfaces; nothing is kept while it is off.
#[derive(Debug, Default)]
pub struct Capture {
    on: bool,
    interfaces: Vec<(String, String)>,
    packets: Vec<(TapId, Instant, Vec<u8>)>,
}

impl Capture {
    /// A capture that keeps nothing.
    pub fn off() -> Capture {
        Capture::default()
    }

    /// A capture that keeps every packet.
    pub fn on() -> Capture {
        Capture {
            on: true,
            ..Capture::default()
        }
    }

    /// Adds an interface.
    pub fn interface(&mut self, name: &str, description: &str) -> TapId {
        self.interfaces.push((name.to_owned(), description.to_owned()));
        TapId(self.interfaces.len() as u32 - 1)
    }

    /// A packet passes an interface.
    pub fn packet(&mut self, tap: TapId, at: Instant, bytes: &[u8]) {
        if self.on {
            self.packets.push((tap, at, bytes.to_vec()));
        }
    }

    /// Writes the capture as pcapng.
    ///
    /// # Errors
    /// If the writer fails.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        let mut writer = PcapNgWriter::new(to).map_err(io::Error::other)?;
        for (name, description) in &self.interfaces {
            let block = InterfaceDescriptionBlock {
                linktype: DataLink::RAW,
                snaplen: 0,
                options: vec![
                    InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                    InterfaceDescriptionOption::IfDescription(Cow::Borrowed(description)),
                    InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
                ],
            };
            writer.write_pcapng_block(block).map_err(io::Error::other)?;
        }
        for (tap, at, bytes) in &self.packets {
            let block = EnhancedPacketBlock {
                interface_id: tap.0,
                timestamp: Duration::from_nanos(at.as_nanos()),
                original_len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                data: Cow::Borrowed(bytes),
                options: vec![],
            };
            writer.write_pcapng_block(block).map_err(io::Error::other)?;
        }
        Ok(())
    }
}
