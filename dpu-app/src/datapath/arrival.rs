//! A packet that may be looked up: what both ways into the datapath lead to.

use std::net::IpAddr;

use model::decision::{DropReason, Zone};
use model::snapshot::Interface;
use packet::IpPacket;

use super::Outcome;
use super::counters::Owner;

/// An IP packet at the connection table's door. The frame is its own Ethernet frame, without any tunnel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'s> {
    /// The interface whose VM sent it, or to which it is addressed.
    pub(crate) interface: &'s Interface,
    /// Its conntrack zone.
    pub(crate) zone: Zone,
    /// What it is.
    pub(crate) packet: IpPacket,
    /// The VTEP it came from, if it came from the network.
    pub(crate) vtep: Option<IpAddr>,
}

/// A frame that came in: who answers for it, and how it goes on.
#[derive(Debug)]
pub(crate) struct Received<'s> {
    pub(crate) owner: Owner,
    pub(crate) way: Way<'s>,
}

/// How a frame goes on, as far as the frame and intent alone say.
#[derive(Debug)]
pub(crate) enum Way<'s> {
    /// To the connection table.
    On(Arrival<'s>),
    /// It is for this node itself, not for an interface: neighbours' messages, and what is the kernel's beside us.
    ToTheNode,
    /// Nowhere: this became of it.
    Over(Outcome),
}

impl From<Outcome> for Way<'_> {
    fn from(outcome: Outcome) -> Self {
        Self::Over(outcome)
    }
}

impl From<DropReason> for Way<'_> {
    fn from(reason: DropReason) -> Self {
        Self::Over(Outcome::Drop(reason))
    }
}
