//! The UDP header (RFC 768).

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The UDP header, 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Udp {
    /// Source port.
    pub source_port: U16,
    /// Destination port.
    pub destination_port: U16,
    /// Length of header and data in bytes.
    pub length: U16,
    /// Checksum over pseudo-header, header and data; 0 when the sender made none.
    pub checksum: U16,
}

impl Udp {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();
}
