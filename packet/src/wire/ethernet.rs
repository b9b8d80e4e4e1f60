//! Ethernet II and 802.1Q headers.

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Mac;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of a customer VLAN tag (802.1Q).
pub const VLAN: u16 = 0x8100;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of a service VLAN tag (802.1ad).
pub const SERVICE_VLAN: u16 = 0x88a8;
/// EtherType of an outer VLAN tag before 802.1ad.
pub const OLD_SERVICE_VLAN: u16 = 0x9100;

/// The header of an Ethernet II frame, 14 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ethernet {
    /// Destination MAC.
    pub destination: Mac,
    /// Source MAC.
    pub source: Mac,
    /// EtherType of what follows.
    pub ethertype: U16,
}

impl Ethernet {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();
}

/// An 802.1Q tag after its own EtherType, 4 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Vlan {
    /// Tag control information: priority (3 bits), drop eligible (1 bit), VLAN identifier (12 bits).
    pub control: U16,
    /// EtherType of what follows.
    pub ethertype: U16,
}

impl Vlan {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();

    /// VLAN identifier, 0..=4095.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.control.get() & 0x0fff
    }

    /// Priority code point, 0..=7.
    #[must_use]
    pub fn priority(&self) -> u8 {
        (self.control.get() >> 13) as u8
    }

    /// Drop eligible indicator.
    #[must_use]
    pub fn drop_eligible(&self) -> bool {
        self.control.get() & 0x1000 != 0
    }
}

/// Whether `ethertype` announces a VLAN tag.
#[must_use]
pub const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, VLAN | SERVICE_VLAN | OLD_SERVICE_VLAN)
}
