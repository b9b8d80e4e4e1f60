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
    #[inline]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut sum = words.iter().fold(self, |sum, word| sum.word(u64::from_be_bytes(*word)));
        let (words, rest) = rest.as_chunks::<4>();
        if let [word] = words {
            sum = sum.u32(u32::from_be_bytes(*word));
        }
        match *rest {
            [a] => sum.u16(u16::from_be_bytes([a, 0])),
            [a, b] => sum.u16(u16::from_be_bytes([a, b])),
            [a, b, c] => sum.u32(u32::from_be_bytes([a, b, c, 0])),
            _ => sum,
        }
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
    #[inline]
    pub const fn is_valid(self) -> bool {
        // Folding keeps the remainder, and gives 0 for 0 alone: one multiplication instead.
        self.0 != 0 && self.0.is_multiple_of(0xffff)
    }

    // 2^64 - 1 is a multiple of 2^16 - 1: words of 64 bits with end-around carry fold to the sum of 16-bit words.
    const fn word(self, word: u64) -> Self {
        let (sum, carry) = self.0.overflowing_add(word);
        Self(sum.wrapping_add(carry as u64))
    }
}

/// What a change of summed fields does to a checksum (RFC 1624, equation 3). It can be made once and applied to many
/// packets that change alike. Fields start at even offsets of the summed data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Delta(Sum);

impl Delta {
    /// No change.
    pub const NONE: Self = Self(Sum::ZERO);

    /// A 16-bit field changes (host byte order).
    #[must_use]
    pub const fn u16(self, old: u16, new: u16) -> Self {
        Self(self.0.u16(!old).u16(new))
    }

    /// A 32-bit field changes (host byte order).
    #[must_use]
    pub const fn u32(self, old: u32, new: u32) -> Self {
        Self(self.0.u32(!old).u32(new))
    }

    /// An address changes: 4 or 16 bytes as they stand in the packet.
    #[must_use]
    pub fn address<const N: usize>(self, old: &[u8; N], new: &[u8; N]) -> Self {
        Self(self.0.u16(Sum::ZERO.bytes(old).checksum()).bytes(new))
    }

    /// The checksum field after the change.
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        self.0.u16(!checksum).checksum()
    }

    /// The UDP checksum field after the change: 0, which says "no checksum", stays; a computed 0 becomes `0xffff`.
    #[must_use]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        match checksum {
            0 => 0,
            _ => self.0.u16(!checksum).udp_checksum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071, section 4.1, word by word.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0_u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !(sum as u16)
    }

    /// Bytes that often make the corner cases of ones' complement.
    fn byte() -> impl Strategy<Value = u8> {
        prop_oneof![Just(0), Just(0xff), any::<u8>()]
    }

    /// 4 to 40 bytes of data that start with something other than zero, as every header does.
    fn data() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(byte(), 36)
            .prop_map(|rest| [&[0x45, 0, 0, 1], &rest[..]].concat())
    }

    #[test]
    fn rfc_1071_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::ZERO.bytes(&bytes).fold(), 0xddf2);
        assert_eq!(Sum::ZERO.checksum(), 0xffff);
        assert_eq!(Sum::ZERO.bytes(&[0xff; 64]).fold(), 0xffff);
    }

    #[test]
    fn rfc_1624_example() {
        // Section 4: a checksum of 0xdd2f, a field from 0x5555 to 0x3285, gives 0x0000 and not 0xffff.
        assert_eq!(Delta::NONE.u16(0x5555, 0x3285).apply(0xdd2f), 0x0000);
        assert_eq!(Delta::NONE.u16(0x5555, 0x3285).apply_udp(0xdd2f), 0xffff);
        assert_eq!(Delta::NONE.u16(1, 2).apply_udp(0), 0);
    }

    #[test]
    fn pseudo_headers() {
        let v4 = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 17, 7, 9);
        let bytes = [10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 0, 12];
        assert_eq!(Sum::ZERO.pseudo_header(&v4, 12).checksum(), reference(&bytes));
        let v6 = Tuple::v6([0x2a; 16], [0xfe; 16], 58, 7, 9);
        let bytes = [&[0x2a; 16][..], &[0xfe; 16], &[0, 1, 0, 2, 0, 0, 0, 58]].concat();
        assert_eq!(Sum::ZERO.pseudo_header(&v6, 0x0001_0002).checksum(), reference(&bytes));
    }

    proptest! {
        #[test]
        fn same_as_word_by_word(
            bytes in proptest::collection::vec(byte(), 0..80), value: u32, split in 0_usize..40,
        ) {
            let expected = reference(&bytes);
            prop_assert_eq!(Sum::ZERO.bytes(&bytes).checksum(), expected);
            let (head, tail) = bytes.split_at((2 * split).min(bytes.len()));
            prop_assert_eq!(Sum::ZERO.bytes(head).bytes(tail).checksum(), expected);
            let with_value = [&value.to_be_bytes(), &bytes[..]].concat();
            prop_assert_eq!(Sum::ZERO.u32(value).bytes(&bytes).checksum(), reference(&with_value));
        }

        #[test]
        fn intact_when_the_field_is_filled_in(mut data in data()) {
            let sum = Sum::ZERO.bytes(&data).checksum();
            data.extend(sum.to_be_bytes());
            prop_assert!(Sum::ZERO.bytes(&data).is_valid());
        }

        #[test]
        fn updates_equal_recomputation(old in data(), field in proptest::array::uniform16(byte())) {
            fn write<const N: usize>(old: &[u8], field: [u8; 16]) -> ([u8; N], [u8; N], Vec<u8>) {
                let (before, after) = (*old[4..].first_chunk().unwrap(), *field.first_chunk().unwrap());
                let mut new = old.to_vec();
                new[4..4 + N].copy_from_slice(&after);
                (before, after, new)
            }
            let sum = reference(&old);
            let (before, after, new) = write::<2>(&old, field);
            let delta = Delta::NONE.u16(u16::from_be_bytes(before), u16::from_be_bytes(after));
            prop_assert_eq!(delta.apply(sum), reference(&new));
            let (before, after, new) = write::<4>(&old, field);
            let delta = Delta::NONE.u32(u32::from_be_bytes(before), u32::from_be_bytes(after));
            prop_assert_eq!(delta.apply(sum), reference(&new));
            let delta = Delta::NONE.address(&before, &after);
            prop_assert_eq!(delta.apply(sum), reference(&new));
            let (before, after, new) = write::<16>(&old, field);
            let delta = Delta::NONE.address(&before, &after);
            prop_assert_eq!(delta.apply(sum), reference(&new));
            let udp = |sum: u16| if sum == 0 { 0xffff } else { sum };
            prop_assert_eq!(delta.apply_udp(udp(sum)), udp(reference(&new)));
        }
    }
}
