//! A packet that may be looked up: what both ways into the datapath lead to.

use std::net::IpAddr;

use model::decision::Zone;
use model::snapshot::Interface;
use packet::IpPacket;

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
