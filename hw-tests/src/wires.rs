//! The kernel's interfaces at the NIC's links and at the application's side of each port.

use std::time::{Duration, Instant};

use pcap::{Active, Capture, Direction};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;

use crate::place::Place;

/// Longest frame that is looked at, in bytes.
const LONGEST: i32 = 65535;

/// An interface for each place, once they are opened.
#[derive(Default)]
pub struct Wires {
    interfaces: Vec<(String, Capture<Active>)>,
}

/// What came out where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Where.
    pub place: Place,
    /// The frame.
    pub frame: Vec<u8>,
}

/// An interface does not do what it should.
#[derive(Debug, Error)]
#[error("interface {name}: {problem}")]
pub struct WireError {
    name: String,
    problem: pcap::Error,
}

impl Wires {
    /// Opens the interfaces, one for each of [`Place::ALL`].
    pub fn open(names: [String; Place::ALL.len()]) -> Result<Self, WireError> {
        let open = |name: &str| {
            let capture = Capture::from_device(name)?
                .promisc(true)
                .snaplen(LONGEST)
                .immediate_mode(true)
                .open()?
                .setnonblock()?;
            // Not what is sent here.
            capture.direction(Direction::In)?;
            Ok(capture)
        };
        let open = |name: String| match open(&name) {
            Ok(capture) => Ok((name, capture)),
            Err(problem) => Err(WireError { name, problem }),
        };
        Ok(Self { interfaces: names.into_iter().map(open).collect::<Result<_, _>>()? })
    }

    /// Sends a frame at a place.
    pub fn send(&mut self, place: Place, frame: &[u8]) -> Result<(), WireError> {
        let (name, capture) = &mut self.interfaces[place.index()];
        capture.sendpacket(frame).map_err(|problem| WireError { name: name.clone(), problem })
    }

    /// Takes what has come, waiting for something until `deadline`.
    pub fn receive(&mut self, deadline: Instant) -> Result<Vec<Arrival>, WireError> {
        self.wait(deadline.saturating_duration_since(Instant::now()));
        let mut arrivals = Vec::new();
        for (place, (name, capture)) in Place::ALL.into_iter().zip(&mut self.interfaces) {
            loop {
                match capture.next_packet() {
                    Ok(packet) => arrivals.push(Arrival { place, frame: packet.data.to_vec() }),
                    Err(pcap::Error::TimeoutExpired | pcap::Error::NoMorePackets) => break,
                    Err(problem) => return Err(WireError { name: name.clone(), problem }),
                }
            }
        }
        Ok(arrivals)
    }

    fn wait(&self, time: Duration) {
        let mut entries: Vec<PollFd<'_>> = self
            .interfaces
            .iter()
            .map(|(_, capture)| PollFd::new(capture, PollFlags::IN))
            .collect();
        let time = Timespec::try_from(time).ok();
        // Interrupted or not: the caller looks at what is there.
        let _ = poll(&mut entries, time.as_ref());
    }
}
