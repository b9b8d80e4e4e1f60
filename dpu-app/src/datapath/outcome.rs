//! What became of a packet.

use model::decision::DropReason;
use model::snapshot::VfIndex;

/// A port of the datapath.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Port {
    /// The wire.
    Uplink,
    /// A VF's representor: frames its VM sends come from here, frames for it go there.
    Vf(VfIndex),
}

/// What the caller does with the frame, which was changed in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The packet goes on, out of `port`.
    Forward {
        /// Where to.
        port: Port,
    },
    /// The frame now holds an answer to the packet; it goes back out of `port`.
    Reply {
        /// Where to (the port the packet came from).
        port: Port,
    },
    /// The packet is dropped, and the frame now holds the message that tells its sender so (ICMP too-big).
    DropAndReply {
        /// Why.
        reason: DropReason,
        /// Where the message goes.
        port: Port,
    },
    /// The packet is dropped.
    Drop(DropReason),
}
