//! What a direction of a connection is known by.

/// Where a packet comes from: from an interface's VM, or from the network to that interface.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Zone {
    /// The interface.
    pub interface: u32,
    /// Whether from the network.
    pub from_network: bool,
}

/// Addresses (IPv4 as `::ffff:a.b.c.d`), protocol and ports; of an ICMP echo the identifier and the message type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tuple {
    /// Source address.
    pub source: u128,
    /// Destination address.
    pub destination: u128,
    /// IP protocol.
    pub protocol: u8,
    /// Source port; 0 where there are none.
    pub source_port: u16,
    /// Destination port; 0 where there are none.
    pub destination_port: u16,
}

impl Tuple {
    /// Whether it is of IPv4, whose addresses are written as `::ffff:a.b.c.d`.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.source >> 32 == 0xffff
    }
}

/// One direction of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// Where its packets come from.
    pub zone: Zone,
    /// What they carry.
    pub tuple: Tuple,
}
