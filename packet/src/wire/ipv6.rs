//! The IPv6 header and its extension headers (RFC 8200).

use std::net::Ipv6Addr;

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Ecn;

/// The fixed IPv6 header, 40 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv6 {
    /// Version (4 bits), traffic class (8 bits) and flow label (20 bits).
    pub version_class_label: U32,
    /// Bytes after this header, extension headers included.
    pub payload_length: U16,
    /// What follows this header; see [`protocol`](super::protocol).
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
}

impl Ipv6 {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();

    /// The first four bytes for a traffic class, with version 6 and flow label 0.
    #[must_use]
    pub fn version_class(traffic_class: u8) -> U32 {
        U32::new(0x6000_0000 | (u32::from(traffic_class) << 20))
    }

    /// Version; 6 when this is IPv6.
    #[must_use]
    pub fn version(&self) -> u8 {
        (self.version_class_label.get() >> 28) as u8
    }

    /// Traffic class: DSCP (high 6 bits) and ECN (low 2 bits).
    #[must_use]
    pub fn traffic_class(&self) -> u8 {
        (self.version_class_label.get() >> 20) as u8
    }

    /// The ECN field.
    #[must_use]
    pub fn ecn(&self) -> Ecn {
        Ecn::from_traffic_class(self.traffic_class())
    }

    /// Flow label, 20 bits.
    #[must_use]
    pub fn flow_label(&self) -> u32 {
        self.version_class_label.get() & 0x000f_ffff
    }

    /// Source address.
    #[must_use]
    pub fn source(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.source)
    }

    /// Destination address.
    #[must_use]
    pub fn destination(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.destination)
    }
}

/// The start common to all extension headers but the fragment header, 2 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Extension {
    /// What follows this header.
    pub next_header: u8,
    /// Length, in units that depend on the header.
    pub length: u8,
}

impl Extension {
    /// Length in bytes of an extension header whose length counts 8 bytes without the first 8 (RFC 8200, section 4).
    #[must_use]
    pub const fn total_length(&self) -> usize {
        (self.length as usize + 1) << 3
    }

    /// Length in bytes of an authentication header, whose length counts 4 bytes without the first 8 (RFC 4302,
    /// section 2.2).
    #[must_use]
    pub const fn authentication_length(&self) -> usize {
        (self.length as usize + 2) << 2
    }
}

/// The fragment header, 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FragmentHeader {
    /// What the unfragmented packet carries after this header.
    pub next_header: u8,
    /// Ignored on receipt.
    pub reserved: u8,
    /// Offset in units of 8 bytes (high 13 bits), reserved (2 bits), "more fragments" (lowest bit).
    pub offset_flags: U16,
    /// Identification, shared by the fragments of a packet.
    pub identification: U32,
}

impl FragmentHeader {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();

    /// Where the payload belongs in the whole packet's fragmentable part, in bytes: 0..=65528.
    #[must_use]
    pub fn offset(&self) -> u16 {
        self.offset_flags.get() & 0xfff8
    }

    /// Whether more fragments follow.
    #[must_use]
    pub fn more_fragments(&self) -> bool {
        self.offset_flags.get() & 1 != 0
    }
}

/// The jumbo payload option's type (RFC 2675).
const JUMBO_PAYLOAD: u8 = 0xc2;

/// Whether the body of a hop-by-hop or destination options header (after its first two bytes) is well formed (RFC 8200,
/// section 4.2): each option fits. A jumbo payload option is refused: no frame here can be a jumbogram.
#[must_use]
pub fn options_are_valid(mut options: &[u8]) -> bool {
    loop {
        options = match options {
            [] => return true,
            [0, rest @ ..] => rest,
            [JUMBO_PAYLOAD, ..] => return false,
            [_, length, rest @ ..] => match rest.get(usize::from(*length)..) {
                Some(rest) => rest,
                None => return false,
            },
            _ => return false,
        };
    }
}
