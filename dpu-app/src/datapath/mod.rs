//! The pure datapath: packets and time in, packets and effects out. No I/O, no clock, no allocation per packet.

pub mod anti_spoof;
mod compose;
mod outcome;
pub mod responder;
#[cfg(test)]
mod test_frames;
mod time;
pub mod too_big;
pub mod underlay;

pub use outcome::{Outcome, Port, PortSyntax};
pub use time::Time;
