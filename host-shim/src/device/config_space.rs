//! PCI configuration space: what a port is, its Access Control Services, a device's serial number. The bytes are a
//! device's, so trusted in nothing.

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

const STATUS: usize = 0x06;
const HAS_CAPABILITIES: u16 = 1 << 4;
const CAPABILITIES: usize = 0x34;
const EXPRESS: u8 = 0x10;
/// Where extended capabilities begin: past what the kernel shows to others than root.
const EXTENDED: usize = 0x100;
const ACCESS_CONTROL: u16 = 0x000d;
const SERIAL_NUMBER: u16 = 0x0003;
/// A capability is at least 4 bytes: more than these in a list are a loop.
const MOST: usize = 4096 / 4;

bitflags! {
    /// Access Control Services (PCI Express Base 6.12): of a port, what it redirects or blocks.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct AcsBits: u16 {
        /// Requests must come with an ID that is downstream.
        const SOURCE_VALIDATION = 1;
        /// Translated requests are blocked.
        const TRANSLATION_BLOCKING = 1 << 1;
        /// Requests between peers go upstream.
        const REQUEST_REDIRECT = 1 << 2;
        /// Completions between peers go upstream.
        const COMPLETION_REDIRECT = 1 << 3;
        /// Requests that were redirected go upstream, too.
        const UPSTREAM_FORWARDING = 1 << 4;
        /// A vector of bits controls peers.
        const EGRESS_CONTROL = 1 << 5;
        /// Translated requests go directly to the peer.
        const DIRECT_TRANSLATED = 1 << 6;
    }
}

impl AcsBits {
    /// What keeps functions behind a port apart: the bits that the kernel wants for separate IOMMU groups.
    pub const ISOLATION: Self = Self::SOURCE_VALIDATION
        .union(Self::REQUEST_REDIRECT)
        .union(Self::COMPLETION_REDIRECT)
        .union(Self::UPSTREAM_FORWARDING);
}

/// The state of a port's Access Control Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Acs {
    /// It has none.
    Missing,
    /// It has them, and some of those that isolate are off or not supported.
    Incomplete,
    /// All of those that isolate are on.
    Isolating,
    /// It cannot be read: extended configuration space is root's.
    Unreadable,
}

/// What a PCI Express function is in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExpressKind {
    /// A leaf.
    Endpoint,
    /// A port of a root complex.
    RootPort,
    /// The port of a switch towards the root.
    UpstreamPort,
    /// A port of a switch away from the root.
    DownstreamPort,
    /// Anything else: bridges to other buses, integrated endpoints.
    Other,
}

/// A function's configuration space.
#[derive(Clone, Copy, Debug)]
pub struct ConfigSpace<'a>(&'a [u8]);

impl<'a> ConfigSpace<'a> {
    /// Reads these bytes: 64 where the kernel shows no more, 256 or 4096.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn u8(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn u16(self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    fn u32(self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    /// Where a capability is.
    fn capability(self, id: u8) -> Option<usize> {
        if self.u16(STATUS)? & HAS_CAPABILITIES == 0 {
            return None;
        }
        let mut at = usize::from(self.u8(CAPABILITIES)? & !3);
        for _ in 0..MOST {
            if at < 0x40 {
                return None;
            }
            if self.u8(at)? == id {
                return Some(at);
            }
            at = usize::from(self.u8(at + 1)? & !3);
        }
        None
    }

    /// Where an extended capability is.
    fn extended_capability(self, id: u16) -> Option<usize> {
        let mut at = EXTENDED;
        for _ in 0..MOST {
            let header = self.u32(at)?;
            if header == 0 || header == u32::MAX {
                return None;
            }
            if header as u16 == id {
                return Some(at);
            }
            at = (header >> 20) as usize & !3;
            if at < EXTENDED {
                return None;
            }
        }
        None
    }

    /// What the function is in the tree; none for conventional PCI, or where it cannot be read.
    #[must_use]
    pub fn express_kind(self) -> Option<ExpressKind> {
        let flags = self.u16(self.capability(EXPRESS)? + 2)?;
        Some(match (flags >> 4) & 0xf {
            0 | 1 => ExpressKind::Endpoint,
            4 => ExpressKind::RootPort,
            5 => ExpressKind::UpstreamPort,
            6 => ExpressKind::DownstreamPort,
            _ => ExpressKind::Other,
        })
    }

    /// The state of Access Control Services.
    #[must_use]
    pub fn acs(self) -> Acs {
        if self.0.len() <= EXTENDED {
            return Acs::Unreadable;
        }
        let Some(at) = self.extended_capability(ACCESS_CONTROL) else { return Acs::Missing };
        match self.u16(at + 6).map(AcsBits::from_bits_retain) {
            Some(control) if control.contains(AcsBits::ISOLATION) => Acs::Isolating,
            _ => Acs::Incomplete,
        }
    }

    /// The Device Serial Number, as `lspci` writes it.
    #[must_use]
    pub fn device_serial_number(self) -> Option<String> {
        let at = self.extended_capability(SERIAL_NUMBER)?;
        let number = (u64::from(self.u32(at + 8)?) << 32) | u64::from(self.u32(at + 4)?);
        let octets = number.to_be_bytes().map(|octet| format!("{octet:02x}"));
        (number != 0 && number != u64::MAX).then(|| octets.join("-"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Configuration space of a PCI Express function of this kind, with these Access Control Services.
    pub(crate) fn config(kind: u16, acs: Option<AcsBits>) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[STATUS] = HAS_CAPABILITIES as u8;
        bytes[CAPABILITIES] = 0x40;
        // Power management first, so that the list is walked.
        bytes[0x40..0x42].copy_from_slice(&[0x01, 0x60]);
        bytes[0x60..0x62].copy_from_slice(&[EXPRESS, 0]);
        bytes[0x62..0x64].copy_from_slice(&(kind << 4 | 2).to_le_bytes());
        // Error reporting first, then a serial number, then perhaps ACS.
        bytes[0x100..0x104]
            .copy_from_slice(&(0x1482_0001_u32 & !0xf_0000 | 0x1_0000).to_le_bytes());
        let next: u32 = if acs.is_some() { 0x160 } else { 0 };
        bytes[0x148..0x14c].copy_from_slice(&(next << 20 | 0x1_0003).to_le_bytes());
        bytes[0x14c..0x154].copy_from_slice(&0xb83f_d203_0012_3456_u64.to_le_bytes());
        if let Some(bits) = acs {
            bytes[0x160..0x164].copy_from_slice(&0x1_000d_u32.to_le_bytes());
            bytes[0x164..0x166].copy_from_slice(&0x7f_u16.to_le_bytes());
            bytes[0x166..0x168].copy_from_slice(&bits.bits().to_le_bytes());
        }
        bytes
    }

    #[test]
    fn ports_and_their_services() {
        let bytes = config(6, Some(AcsBits::ISOLATION));
        let space = ConfigSpace::new(&bytes);
        assert_eq!(space.express_kind(), Some(ExpressKind::DownstreamPort));
        assert_eq!(space.acs(), Acs::Isolating);
        assert_eq!(space.device_serial_number().unwrap(), "b8-3f-d2-03-00-12-34-56");
        let bytes = config(4, Some(AcsBits::SOURCE_VALIDATION));
        assert_eq!(ConfigSpace::new(&bytes).acs(), Acs::Incomplete);
        let bytes = config(5, None);
        assert_eq!(ConfigSpace::new(&bytes).express_kind(), Some(ExpressKind::UpstreamPort));
        assert_eq!(ConfigSpace::new(&bytes).acs(), Acs::Missing);
        // What the kernel shows without root.
        assert_eq!(ConfigSpace::new(&bytes[..64]).acs(), Acs::Unreadable);
        assert_eq!(ConfigSpace::new(&bytes[..64]).express_kind(), None);
    }

    #[test]
    fn lists_that_never_end() {
        let mut bytes = config(6, None);
        bytes[0x41] = 0x40;
        bytes[0x100..0x104].copy_from_slice(&(0x100_u32 << 20 | 1).to_le_bytes());
        let space = ConfigSpace::new(&bytes);
        assert_eq!((space.express_kind(), space.acs()), (None, Acs::Missing));
    }

    proptest! {
        #[test]
        fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), has_capabilities: bool) {
            if has_capabilities && bytes.len() > STATUS {
                bytes[STATUS] |= HAS_CAPABILITIES as u8;
            }
            let space = ConfigSpace::new(&bytes);
            let _ = (space.express_kind(), space.acs(), space.device_serial_number());
        }
    }
}
