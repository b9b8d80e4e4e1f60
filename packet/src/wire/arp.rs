//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ethernet;
use crate::Mac;

/// Operation code of a request.
pub const REQUEST: u16 = 1;
/// Operation code of a reply.
pub const REPLY: u16 = 2;

/// An ARP message with 6-byte hardware and 4-byte protocol addresses, 28 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Arp {
    /// Hardware type; 1 is Ethernet.
    pub hardware_type: U16,
    /// Protocol type, an EtherType; `0x0800` is IPv4.
    pub protocol_type: U16,
    /// Bytes of a hardware address; 6.
    pub hardware_length: u8,
    /// Bytes of a protocol address; 4.
    pub protocol_length: u8,
    /// [`REQUEST`] or [`REPLY`].
    pub operation: U16,
    /// Sender's MAC.
    pub sender_mac: Mac,
    /// Sender's IPv4 address.
    pub sender_ip: [u8; 4],
    /// Target's MAC; meaningless in a request.
    pub target_mac: Mac,
    /// Target's IPv4 address.
    pub target_ip: [u8; 4],
}

impl Arp {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();

    /// A message for IPv4 over Ethernet.
    #[must_use]
    pub fn new(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Self {
        Self {
            hardware_type: U16::new(1),
            protocol_type: U16::new(ethernet::IPV4),
            hardware_length: 6,
            protocol_length: 4,
            operation: U16::new(operation),
            sender_mac: sender.0,
            sender_ip: sender.1.octets(),
            target_mac: target.0,
            target_ip: target.1.octets(),
        }
    }

    /// Whether the message is for IPv4 over Ethernet, so that its addresses stand where this view has them.
    #[must_use]
    pub fn is_ipv4_over_ethernet(&self) -> bool {
        self.hardware_type.get() == 1
            && self.protocol_type.get() == ethernet::IPV4
            && self.hardware_length == 6
            && self.protocol_length == 4
    }

    /// Sender's IPv4 address.
    #[must_use]
    pub fn sender_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.sender_ip)
    }

    /// Target's IPv4 address.
    #[must_use]
    pub fn target_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.target_ip)
    }
}
