//! IN: what arrives, from where and when.

use std::collections::HashSet;

use dpu_app::datapath::settings::Settings;
use dpu_app::datapath::{Port, PortSyntax, Time};
use thiserror::Error;

use crate::pcapng::{PcapngError, Reader};

/// Why a capture cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InputError {
    /// The file itself is wrong.
    #[error(transparent)]
    Pcapng(#[from] PcapngError),
    /// An interface with packets is named otherwise than a port.
    #[error("capture interface {0}")]
    Port(#[from] PortSyntax),
    /// The kernel sends, and has no port.
    #[error(
        "capture interface `kernel` needs a kernel port; let --settings name a file that has [kernelPort]"
    )]
    NoKernelPort,
}

/// A capture, ready to be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input<'a> {
    /// The ports the file describes, each once, in its order.
    pub ports: Vec<Port>,
    /// The earliest packet's timestamp, nanoseconds since 1970: what virtual time counts from.
    pub start: u64,
    /// Its packets in the order of time, those of equal time in the file's.
    pub packets: Vec<Arrival<'a>>,
}

/// A packet that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// Its place in the file, from 0.
    pub number: usize,
    /// When.
    pub time: Time,
    /// From where.
    pub port: Port,
    /// The frame.
    pub frame: &'a [u8],
}

impl<'a> Input<'a> {
    /// Reads a pcapng file for a datapath with these settings.
    ///
    /// # Errors
    /// [`InputError`] when the file or an interface's name is wrong.
    pub fn read(file: &'a [u8], settings: &Settings) -> Result<Self, InputError> {
        let mut reader = Reader::new(file);
        let captured = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
        let has_packets: HashSet<usize> = captured.iter().map(|packet| packet.interface).collect();
        let port_of_interface = reader
            .interfaces()
            .iter()
            .enumerate()
            .map(|(number, interface)| {
                match interface.name.as_deref().unwrap_or_default().parse() {
                    // Some writers put an interface without a name or packets before all others.
                    Err(_) if !has_packets.contains(&number) => Ok(None),
                    port => port.map(Some),
                }
            })
            .collect::<Result<Vec<Option<Port>>, _>>()?;
        if settings.kernel_port.is_none() && port_of_interface.contains(&Some(Port::Kernel)) {
            return Err(InputError::NoKernelPort);
        }

        let mut seen = HashSet::new();
        let ports =
            port_of_interface.iter().copied().flatten().filter(|port| seen.insert(*port)).collect();
        let start = captured.iter().map(|packet| packet.time).min().unwrap_or(0);
        let mut packets: Vec<Arrival<'a>> = captured
            .iter()
            .enumerate()
            .filter_map(|(number, packet)| {
                Some(Arrival {
                    number,
                    time: Time(packet.time - start),
                    // The reader vouches for the index, and all that have packets are ports.
                    port: (*port_of_interface.get(packet.interface)?)?,
                    frame: packet.frame,
                })
            })
            .collect();
        packets.sort_by_key(|packet| packet.time);
        Ok(Self { ports, start, packets })
    }
}

#[cfg(test)]
mod tests {
    use dpu_app::datapath::settings::KernelPortSettings;
    use model::snapshot::VfIndex;

    use super::*;
    use crate::pcapng::Writer;

    #[test]
    fn packets_come_in_the_order_of_time_and_keep_their_numbers() {
        let mut file = Writer::new(["uplink", "vf3"]);
        for (interface, time, byte) in [(0, 2_000, 1), (1, 1_000, 2), (0, 1_000, 3)] {
            file.packet(interface, time, &[byte]);
        }
        let file = file.finish();
        let input = Input::read(&file, &Settings::default()).unwrap();
        let vf3 = Port::Vf(VfIndex(3));
        assert_eq!((input.ports, input.start), (vec![Port::Uplink, vf3], 1_000));
        let arrival = |number, time, port, frame| Arrival { number, time: Time(time), port, frame };
        assert_eq!(
            input.packets,
            [
                arrival(1, 0, vf3, &[2u8][..]),
                arrival(2, 0, Port::Uplink, &[3]),
                arrival(0, 1_000, Port::Uplink, &[1]),
            ]
        );
    }

    #[test]
    fn a_port_described_twice_is_one() {
        let mut file = Writer::new(["vf0"]).finish();
        file.extend(Writer::new(["vf1", "vf0"]).finish());
        let ports = Input::read(&file, &Settings::default()).unwrap().ports;
        assert_eq!(ports, [Port::Vf(VfIndex(0)), Port::Vf(VfIndex(1))]);
    }

    #[test]
    fn other_interfaces_are_refused_by_name() {
        let file = |interface| {
            let mut file = Writer::new(["eth0", "vf0"]);
            file.packet(interface, 0, &[1]);
            file.finish()
        };
        // Not where they have no packets.
        let ports = Input::read(&file(1), &Settings::default()).unwrap().ports;
        assert_eq!(ports, [Port::Vf(VfIndex(0))]);
        let error = Input::read(&file(0), &Settings::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "capture interface `eth0` names no port; ports are vf0, vf1, ..., uplink and kernel"
        );
    }

    #[test]
    fn the_kernel_sends_only_where_it_has_a_port() {
        let file = Writer::new(["uplink", "kernel"]).finish();
        let error = Input::read(&file, &Settings::default()).unwrap_err();
        assert_eq!(error, InputError::NoKernelPort);
        let settings =
            Settings { kernel_port: Some(KernelPortSettings::default()), ..Settings::default() };
        assert_eq!(Input::read(&file, &settings).unwrap().ports, [Port::Uplink, Port::Kernel]);
    }
}
