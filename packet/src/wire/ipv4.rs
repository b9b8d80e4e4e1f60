//! The IPv4 header (RFC 791) and its options.

use std::net::Ipv4Addr;

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Ecn;

/// The IPv4 header without options, 20 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv4 {
    /// Version (high 4 bits) and header length in 32-bit words (low 4 bits).
    pub version_ihl: u8,
    /// DSCP (high 6 bits) and ECN (low 2 bits).
    pub traffic_class: u8,
    /// Length of header and payload in bytes.
    pub total_length: U16,
    /// Identification, shared by the fragments of a packet.
    pub identification: U16,
    /// Flags (high 3 bits) and fragment offset in units of 8 bytes (low 13 bits).
    pub flags_offset: U16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload; see [`protocol`](super::protocol).
    pub protocol: u8,
    /// Header checksum.
    pub checksum: U16,
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
}

impl Ipv4 {
    /// Length in bytes, without options.
    pub const LENGTH: usize = size_of::<Self>();
    /// [`Self::version_ihl`] of a header without options.
    pub const VERSION_IHL: u8 = 0x45;
    /// "Don't fragment" in [`Self::flags_offset`].
    pub const DONT_FRAGMENT: u16 = 0x4000;
    /// "More fragments" in [`Self::flags_offset`].
    pub const MORE_FRAGMENTS: u16 = 0x2000;

    /// Version; 4 when this is IPv4.
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version_ihl >> 4
    }

    /// Header length in bytes as the header says, options included: 0..=60.
    #[must_use]
    pub const fn header_length(&self) -> usize {
        ((self.version_ihl & 0x0f) as usize) << 2
    }

    /// The ECN field.
    #[must_use]
    pub const fn ecn(&self) -> Ecn {
        Ecn::from_traffic_class(self.traffic_class)
    }

    /// Whether the packet may not be fragmented.
    #[must_use]
    pub fn dont_fragment(&self) -> bool {
        self.flags_offset.get() & Self::DONT_FRAGMENT != 0
    }

    /// Whether more fragments follow.
    #[must_use]
    pub fn more_fragments(&self) -> bool {
        self.flags_offset.get() & Self::MORE_FRAGMENTS != 0
    }

    /// Where the payload belongs in the whole packet's payload, in bytes: 0..=65528.
    #[must_use]
    pub fn fragment_offset(&self) -> u16 {
        (self.flags_offset.get() & 0x1fff) << 3
    }

    /// Source address.
    #[must_use]
    pub fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.source)
    }

    /// Destination address.
    #[must_use]
    pub fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.destination)
    }
}

/// Whether the bytes after the fixed header are well-formed options (RFC 791, section 3.1): each with a length of at
/// least 2 that fits, up to the end-of-list option or the end.
#[must_use]
pub fn options_are_valid(mut options: &[u8]) -> bool {
    loop {
        options = match options {
            [] | [0, ..] => return true,
            [1, rest @ ..] => rest,
            [_, length, ..] if *length >= 2 => match options.get(usize::from(*length)..) {
                Some(rest) => rest,
                None => return false,
            },
            _ => return false,
        };
    }
}
