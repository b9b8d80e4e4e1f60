//! The internet checksum (RFC 1071) and its incremental update (RFC 1624).

use crate::Tuple;

/// A ones' complement sum in the making. Everything added starts at an even offset of the summed data, so only
/// the last slice may have an odd length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// Adds a 16-bit field (host byte order).
    #[must_use]
    pub const fn u16(self, value: u16) -> Self {
        self.word(value as u64)
    }

    /// Adds a 32-bit field (host byte order).
    #[must_use]
    pub const fn u32(self, value: u32) -> Self {
        self.word(value as u64)
    }

    /// Adds bytes as they stand in the packet; an odd last byte counts as if a zero followed it.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let sum = words.iter().fold(self, |sum, word| sum.word(u64::from_be_bytes(*word)));
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        sum.word(u64::from_be_bytes(last))
    }

    /// Adds the pseudo-header of TCP, UDP or ICMPv6 (RFC 9293, section 3.1; RFC 8200, section 8.1): the addresses
    /// and protocol of `tuple`, and the transport length in bytes, header included.
    #[must_use]
    pub fn pseudo_header(self, tuple: &Tuple, length: u32) -> Self {
        let (source, destination) = tuple.address_bytes();
        self.bytes(source).bytes(destination).u32(length).u16(u16::from(tuple.protocol()))
    }

    /// The ones' complement sum in 16 bits.
    #[must_use]
    pub const fn fold(self) -> u16 {
        let Self(sum) = self;
        let sum = (sum >> 32) + (sum & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        sum as u16
    }

    /// The checksum field for what was summed (with the field itself as zero).
    #[must_use]
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }

    /// The checksum field for UDP, where 0 says "no checksum" and a computed 0 is sent as `0xffff` (RFC 768).
    #[must_use]
    pub const fn udp_checksum(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            sum => sum,
        }
    }

    /// Whether what was summed, checksum field included, is intact.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }

    // 2^64 - 1 is a multiple of 2^16 - 1: words of 64 bits with end-around carry fold to the sum of 16-bit words.
    const fn word(self, word: u64) -> Self {
        let (sum, carry) = self.0.overflowing_add(word);
        Self(sum.wrapping_add(carry as u64))
    }
}
