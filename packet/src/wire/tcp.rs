//! The TCP header (RFC 9293).

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::TcpFlags;

/// The TCP header without options, 20 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Tcp {
    /// Source port.
    pub source_port: U16,
    /// Destination port.
    pub destination_port: U16,
    /// Sequence number.
    pub sequence: U32,
    /// Acknowledgement number.
    pub acknowledgement: U32,
    /// Header length in 32-bit words (high 4 bits), reserved (low 4 bits).
    pub data_offset: u8,
    /// Control bits.
    pub flags: u8,
    /// Window, unscaled.
    pub window: U16,
    /// Checksum over pseudo-header, header and data.
    pub checksum: U16,
    /// Urgent pointer.
    pub urgent: U16,
}

impl Tcp {
    /// Length in bytes, without options.
    pub const LENGTH: usize = size_of::<Self>();

    /// Header length in bytes as the header says, options included: 0..=60.
    #[must_use]
    pub const fn header_length(&self) -> usize {
        ((self.data_offset >> 4) as usize) << 2
    }

    /// The control bits.
    #[must_use]
    pub const fn flags(&self) -> TcpFlags {
        TcpFlags::from_bits_retain(self.flags)
    }
}
