//! What a direction of a connection is known by.

use std::net::IpAddr;

/// Where a packet comes from: from an interface's VM, or from the network to that interface.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Zone {
    /// The interface.
    pub interface: u32,
    /// Whether from the network.
    pub from_network: bool,
}

/// Addresses, protocol and ports; of an ICMP echo the identifier and the message type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol.
    pub protocol: u8,
    /// Source port; 0 where there are none.
    pub source_port: u16,
    /// Destination port; 0 where there are none.
    pub destination_port: u16,
}

/// One direction of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// Where its packets come from.
    pub zone: Zone,
    /// What they carry.
    pub tuple: Tuple,
}
