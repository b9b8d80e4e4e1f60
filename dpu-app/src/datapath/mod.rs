//! The pure datapath: packets and time in, packets and effects out. No I/O, no clock, no allocation per packet.

mod outcome;
mod time;

pub use outcome::{Outcome, Port, PortSyntax};
pub use time::Time;
