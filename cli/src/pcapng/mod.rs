//! Capture files in the pcapng format (draft-ietf-opsawg-pcapng): what replay reads and writes of it.

mod read;
mod write;

#[cfg(test)]
mod tests;

pub use read::{Interface, Packet, PcapngError, PcapngErrorKind, Reader};
pub use write::Writer;

/// Block types, as in the format's section 11.1.
mod block {
    pub const SECTION_HEADER: u32 = 0x0A0D_0D0A;
    pub const INTERFACE_DESCRIPTION: u32 = 1;
    pub const OBSOLETE_PACKET: u32 = 2;
    pub const SIMPLE_PACKET: u32 = 3;
    pub const ENHANCED_PACKET: u32 = 6;
}

/// Option codes of an interface description block.
mod option {
    pub const END: u16 = 0;
    pub const IF_NAME: u16 = 2;
    pub const IF_TSRESOL: u16 = 9;
    pub const IF_TSOFFSET: u16 = 14;
}

/// The byte-order magic that starts a section header's body.
const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;

/// Link type of Ethernet frames without a frame check sequence.
const LINKTYPE_ETHERNET: u16 = 1;
