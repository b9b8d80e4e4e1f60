//! The VXLAN header (RFC 7348, section 5).

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Vni;

/// The UDP destination port of VXLAN.
pub const PORT: u16 = 4789;

/// The VXLAN header, 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Vxlan {
    /// Flags (high 8 bits) and reserved bits.
    pub flags: U32,
    /// VNI (high 24 bits) and 8 reserved bits.
    pub vni: U32,
}

impl Vxlan {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();
    /// The I flag in [`Self::flags`]: the VNI is valid.
    pub const VNI_VALID: u32 = 0x0800_0000;

    /// The header to send for a VNI: I flag set, all reserved bits 0.
    #[must_use]
    pub fn new(vni: Vni) -> Self {
        Self { flags: U32::new(Self::VNI_VALID), vni: U32::new(vni.get() << 8) }
    }

    /// The VNI, 0..=16777215, when the header says that it carries one. Reserved bits are ignored, as RFC 7348 asks.
    #[must_use]
    pub fn vni(&self) -> Option<u32> {
        (self.flags.get() & Self::VNI_VALID != 0).then_some(self.vni.get() >> 8)
    }
}
