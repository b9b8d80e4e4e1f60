//! The pure datapath: packets and time in, packets and effects out. No I/O, no clock, no allocation per packet.
//!
//! A packet's way: [`from_vm`] or [`from_network`] up to the connection table, [`track`] from there on; what is
//! remembered lies in [`conntrack`], what intent says about a new connection in [`decide()`], and [`execute`] sends it.

pub mod anti_spoof;
mod arrival;
mod burst;
mod by_interface;
mod compose;
pub mod conntrack;
pub mod counters;
mod decide;
pub mod effects;
mod established;
mod execute;
mod fragments;
mod from_network;
mod from_vm;
mod memory;
mod outcome;
mod probe;
mod receivers;
mod recheck;
mod related;
pub mod responder;
pub mod settings;
mod shard;
#[cfg(test)]
mod test_frames;
mod time;
mod token_bucket;
pub mod too_big;
mod track;
mod tunnels;
pub mod underlay;

pub use burst::Incoming;
pub use conntrack::{ConnectionHandle, FlowDirection};
pub use decide::decide;
pub use execute::outer_header;
pub use outcome::{Outcome, Port, PortSyntax};
pub use probe::probe;
pub use shard::{Progress, Shard};
pub use time::Time;

use model::decision::DropReason;
use packet::ParseError;

const fn reason_of(error: ParseError) -> DropReason {
    match error {
        ParseError::Malformed => DropReason::Malformed,
        ParseError::UnsupportedEtherType => DropReason::UnsupportedEtherType,
    }
}
