//! The number types that fields of header and metadata structures have, and how each lies in memory.

use std::fmt;

use bitflags::bitflags;

/// A 24-bit number: a VNI, an ageing timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct U24(u32);

impl U24 {
    /// The largest value; as a mask, all bits.
    pub const MAX: Self = Self(0x00ff_ffff);

    /// The number, if it fits 24 bits.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// The low 24 bits of a number.
    #[must_use]
    pub const fn truncate(number: u32) -> Self {
        Self(number & Self::MAX.0)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl From<packet::Vni> for U24 {
    fn from(vni: packet::Vni) -> Self {
        Self::truncate(vni.get())
    }
}

impl fmt::Display for U24 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

bitflags! {
    /// What the item INTEGRITY asks of a packet (DPDK guide, `rte_flow_item_integrity`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct IntegrityBits: u64 {
        /// The packet is valid after all checks of the device.
        const PACKET_OK = 1;
        /// The L2 header is valid.
        const L2_OK = 1 << 1;
        /// The L3 header is valid.
        const L3_OK = 1 << 2;
        /// The L4 header is valid.
        const L4_OK = 1 << 3;
        /// The L2 CRC is valid.
        const L2_CRC_OK = 1 << 4;
        /// The IPv4 header checksum is valid.
        const IPV4_CHECKSUM_OK = 1 << 5;
        /// The L4 checksum is valid.
        const L4_CHECKSUM_OK = 1 << 6;
        /// The L3 length does not exceed the packet's.
        const L3_LENGTH_OK = 1 << 7;
    }
}

bitflags! {
    /// Which extension headers an IPv6 packet has (`has_*_ext` of `rte_flow_item_ipv6`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Ipv6Extensions: u32 {
        /// Hop-by-hop options.
        const HOP_BY_HOP = 1;
        /// Routing.
        const ROUTING = 1 << 1;
        /// Fragment.
        const FRAGMENT = 1 << 2;
        /// Authentication.
        const AUTHENTICATION = 1 << 3;
        /// Encapsulating security payload.
        const ESP = 1 << 4;
        /// Destination options.
        const DESTINATION = 1 << 5;
        /// Mobility.
        const MOBILITY = 1 << 6;
        /// Host identity protocol.
        const HIP = 1 << 7;
        /// Shim6.
        const SHIM6 = 1 << 8;
    }
}

bitflags! {
    /// What connection tracking found of a packet (`RTE_FLOW_CONNTRACK_PKT_STATE_*`); none of it for packets that no
    /// rule tracked.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct PacketState: u32 {
        /// It belongs to its connection.
        const VALID = 1;
        /// It changed the connection's state.
        const CHANGED = 1 << 1;
        /// It does not belong to its connection.
        const INVALID = 1 << 2;
        /// Tracking is switched off, by the application or because of an invalid state.
        const DISABLED = 1 << 3;
        /// It contradicts itself and was not tracked.
        const BAD = 1 << 4;
    }
}

/// A field's type: a number of at most 128 bits that can be masked, compared, and stored.
///
/// `wire` is network byte order, `host` that of the C bit fields and host-order integers on little-endian machines,
/// the only ones DPUs have.
pub trait Field: Copy + PartialEq {
    /// The width in bits.
    const BITS: u32;
    /// The value with every bit set, as a mask.
    const ONES: Self;

    /// The value as a number.
    fn to_bits(self) -> u128;
    /// The value of a number's low bits.
    fn from_bits(bits: u128) -> Self;

    /// Writes the value in network byte order; `out` has `BITS` / 8 bytes, rounded up.
    fn store_wire(self, out: &mut [u8]) {
        let bytes = self.to_bits().to_be_bytes();
        let skip = bytes.len().saturating_sub(out.len());
        out.copy_from_slice(bytes.get(skip..).unwrap_or_default());
    }
    /// Reads what [`Field::store_wire`] writes.
    #[must_use]
    fn load_wire(bytes: &[u8]) -> Self {
        Self::from_bits(bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
    }
    /// Writes the value in host byte order.
    fn store_host(self, out: &mut [u8]) {
        let bytes = self.to_bits().to_le_bytes();
        let len = out.len().min(bytes.len());
        out.copy_from_slice(bytes.get(..len).unwrap_or_default());
    }
    /// Reads what [`Field::store_host`] writes.
    #[must_use]
    fn load_host(bytes: &[u8]) -> Self {
        Self::from_bits(bytes.iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte)))
    }

    /// Whether `actual` is what `spec`, `last` and `mask` ask for: equal under the mask, or in the masked range where
    /// `last` is given and not zero (`struct rte_flow_item`).
    fn admits(spec: Self, last: Option<Self>, mask: Self, actual: Self) -> bool {
        let mask = mask.to_bits();
        let (spec, actual) = (spec.to_bits() & mask, actual.to_bits() & mask);
        match last.map(Self::to_bits) {
            None | Some(0) => spec == actual,
            Some(last) => (spec..=(last & mask).max(spec)).contains(&actual),
        }
    }
}

macro_rules! integer_field {
    ($($integer:ty),*) => {$(
        impl Field for $integer {
            const BITS: u32 = <$integer>::BITS;
            const ONES: Self = <$integer>::MAX;

            fn to_bits(self) -> u128 {
                u128::from(self)
            }
            fn from_bits(bits: u128) -> Self {
                bits as Self
            }
        }
    )*};
}
integer_field!(u8, u16, u32, u128);

impl Field for U24 {
    const BITS: u32 = 24;
    const ONES: Self = Self::MAX;

    fn to_bits(self) -> u128 {
        u128::from(self.0)
    }
    fn from_bits(bits: u128) -> Self {
        Self::truncate(bits as u32)
    }
}

impl Field for bool {
    const BITS: u32 = 1;
    const ONES: Self = true;

    fn to_bits(self) -> u128 {
        u128::from(self)
    }
    fn from_bits(bits: u128) -> Self {
        bits & 1 == 1
    }
}

impl Field for [u8; 6] {
    const BITS: u32 = 48;
    const ONES: Self = [0xff; 6];

    fn to_bits(self) -> u128 {
        self.iter().fold(0, |number, octet| number << 8 | u128::from(*octet))
    }
    fn from_bits(bits: u128) -> Self {
        let mut octets = [0; 6];
        for (to, from) in octets.iter_mut().zip(bits.to_be_bytes().into_iter().skip(10)) {
            *to = from;
        }
        octets
    }
}

impl Field for IntegrityBits {
    const BITS: u32 = 64;
    const ONES: Self = Self::all();

    fn to_bits(self) -> u128 {
        u128::from(self.bits())
    }
    fn from_bits(bits: u128) -> Self {
        Self::from_bits_retain(bits as u64)
    }
}

impl Field for Ipv6Extensions {
    const BITS: u32 = 32;
    const ONES: Self = Self::all();

    fn to_bits(self) -> u128 {
        u128::from(self.bits())
    }
    fn from_bits(bits: u128) -> Self {
        Self::from_bits_truncate(bits as u32)
    }
}

impl Field for PacketState {
    const BITS: u32 = 32;
    const ONES: Self = Self::from_bits_retain(u32::MAX);

    fn to_bits(self) -> u128 {
        u128::from(self.bits())
    }
    fn from_bits(bits: u128) -> Self {
        Self::from_bits_retain(bits as u32)
    }
}
