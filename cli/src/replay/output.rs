//! OUT and EVENTS: what the ports sent and what happened, in the order in which it happened.

use std::collections::BTreeSet;

use dpu_app::datapath::{Port, Time};

use super::event::Event;
use super::input::Input;
use crate::pcapng::Writer;

/// A frame that left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// When: the time of the packet that caused it.
    pub time: Time,
    /// Through which port: what the VM or the wire there receives.
    pub port: Port,
    /// The frame.
    pub frame: Vec<u8>,
}

/// All that a replay gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// Frames, in the order of time.
    pub departures: Vec<Departure>,
    /// Events, in the order of time.
    pub events: Vec<Event>,
}

impl Output {
    /// The OUT file: the interfaces of IN in its order, then those that only OUT needs.
    #[must_use]
    pub fn capture(&self, input: &Input<'_>) -> Vec<u8> {
        let used: BTreeSet<Port> = self.departures.iter().map(|departure| departure.port).collect();
        let further = used.into_iter().filter(|port| !input.ports.contains(port));
        let ports: Vec<Port> = input.ports.iter().copied().chain(further).collect();

        let mut file = Writer::new(ports.iter().map(Port::to_string));
        for Departure { time, port, frame } in &self.departures {
            if let Some(interface) = (0..).zip(&ports).find(|(_, of)| *of == port) {
                file.packet(interface.0, input.start.saturating_add(time.0), frame);
            }
        }
        file.finish()
    }
}
