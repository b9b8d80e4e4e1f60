//! `bit<N>`: unsigned numbers of a fixed width that wrap, or saturate where the operator says so.

use ethnum::U256;

/// The widest `bit<N>`: an IPv6 address twice.
pub const MAX_WIDTH: u32 = 256;

/// A number of a fixed width. Bits above the width are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Bits {
    width: u32,
    value: U256,
}

impl Bits {
    /// The lowest bits of a number.
    ///
    /// # Panics
    /// When the width is 0 or over [`MAX_WIDTH`]: the checker admits no such type.
    #[must_use]
    pub fn truncate(width: u32, value: impl Into<U256>) -> Self {
        assert!((1..=MAX_WIDTH).contains(&width), "bit<{width}> does not exist");
        Self { width, value: value.into() & mask(width) }
    }

    /// A number, if it fits.
    #[must_use]
    pub fn exact(width: u32, value: impl Into<U256>) -> Option<Self> {
        let value = value.into();
        let bits = Self::truncate(width, value);
        (bits.value == value).then_some(bits)
    }

    /// All bits one.
    #[must_use]
    pub fn ones(width: u32) -> Self {
        Self::truncate(width, U256::MAX)
    }

    /// A mask whose first bits are one: a prefix of this length.
    #[must_use]
    pub fn prefix_mask(width: u32, length: u32) -> Self {
        Self::truncate(width, mask(width) ^ mask(width.saturating_sub(length)))
    }

    /// N.
    #[must_use]
    pub const fn width(self) -> u32 {
        self.width
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> U256 {
        self.value
    }

    /// The number's lowest 64 bits.
    #[must_use]
    pub const fn low_u64(self) -> u64 {
        self.value.as_u64()
    }

    /// The number, or the largest shift and index there is.
    #[must_use]
    pub fn to_count(self) -> u32 {
        u32::try_from(self.value).unwrap_or(u32::MAX)
    }

    /// The same number in another width: upper bits are zero, or lost.
    #[must_use]
    pub fn resize(self, width: u32) -> Self {
        Self::truncate(width, self.value)
    }

    fn with(self, value: U256) -> Self {
        Self::truncate(self.width, value)
    }

    /// `+`
    #[must_use]
    pub fn add_wrapping(self, other: Self) -> Self {
        self.with(self.value.wrapping_add(other.value))
    }

    /// `-`
    #[must_use]
    pub fn subtract_wrapping(self, other: Self) -> Self {
        self.with(self.value.wrapping_sub(other.value))
    }

    /// `*`
    #[must_use]
    pub fn multiply_wrapping(self, other: Self) -> Self {
        self.with(self.value.wrapping_mul(other.value))
    }

    /// `|+|`
    #[must_use]
    pub fn add_saturating(self, other: Self) -> Self {
        let sum = self.value.saturating_add(other.value);
        if sum > mask(self.width) { Self::ones(self.width) } else { self.with(sum) }
    }

    /// `|-|`
    #[must_use]
    pub fn subtract_saturating(self, other: Self) -> Self {
        self.with(self.value.saturating_sub(other.value))
    }

    /// `<<`: zeros come in; a shift by the width or more leaves none of the bits.
    #[must_use]
    pub fn shift_left(self, count: u32) -> Self {
        if count >= self.width { self.with(U256::ZERO) } else { self.with(self.value << count) }
    }

    /// `>>`
    #[must_use]
    pub fn shift_right(self, count: u32) -> Self {
        if count >= self.width { self.with(U256::ZERO) } else { self.with(self.value >> count) }
    }

    /// `&`
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.with(self.value & other.value)
    }

    /// `|`
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.with(self.value | other.value)
    }

    /// `^`
    #[must_use]
    pub fn exclusive_or(self, other: Self) -> Self {
        self.with(self.value ^ other.value)
    }

    /// `~`
    #[must_use]
    pub fn complement(self) -> Self {
        self.with(!self.value)
    }

    /// `-`: the two's complement.
    #[must_use]
    pub fn negate(self) -> Self {
        self.with(U256::ZERO.wrapping_sub(self.value))
    }

    /// `++`: the other's bits behind these.
    ///
    /// # Panics
    /// When both together are wider than [`MAX_WIDTH`], which the checker refuses.
    #[must_use]
    pub fn concatenate(self, other: Self) -> Self {
        let width = self.width + other.width;
        let high = if other.width >= MAX_WIDTH { U256::ZERO } else { self.value << other.width };
        Self::truncate(width, high | other.value)
    }

    /// `[high:low]`
    #[must_use]
    pub fn slice(self, high: u32, low: u32) -> Self {
        Self::truncate(high - low + 1, self.value >> low)
    }

    /// The same with other bits at `[high:low]`.
    #[must_use]
    pub fn with_slice(self, high: u32, low: u32, part: Self) -> Self {
        let hole = mask(high - low + 1) << low;
        self.with((self.value & !hole) | (part.resize(high - low + 1).value << low))
    }
}

fn mask(width: u32) -> U256 {
    if width >= MAX_WIDTH { U256::MAX } else { (U256::ONE << width) - 1 }
}

impl std::fmt::Display for Bits {
    /// Hexadecimal, with all digits of the width.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = self.width.div_ceil(4) as usize;
        write!(f, "0x{:0>digits$}", format!("{:x}", self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What fits into 64 bits is compared with the machine's own arithmetic.
    fn pair() -> impl Strategy<Value = (u32, u64, u64)> {
        (1_u32..=63).prop_flat_map(|width| (Just(width), 0..1_u64 << width, 0..1_u64 << width))
    }

    proptest! {
        #[test]
        fn arithmetic_is_modulo_two_to_the_width((width, a, b) in pair()) {
            let modulo = |value: u128| Bits::truncate(width, value & ((1 << width) - 1));
            let (x, y) = (Bits::truncate(width, a), Bits::truncate(width, b));
            prop_assert_eq!(x.add_wrapping(y), modulo(u128::from(a) + u128::from(b)));
            prop_assert_eq!(x.subtract_wrapping(y), modulo(u128::from(a) + (1 << width) - u128::from(b)));
            prop_assert_eq!(x.multiply_wrapping(y), modulo(u128::from(a) * u128::from(b)));
            prop_assert_eq!(x.negate().add_wrapping(x), modulo(0));
            prop_assert_eq!(x.complement().add_wrapping(x), Bits::ones(width));
        }

        #[test]
        fn saturation_stops_at_the_ends((width, a, b) in pair()) {
            let (x, y) = (Bits::truncate(width, a), Bits::truncate(width, b));
            prop_assert_eq!(x.add_saturating(y).low_u64(), (a + b).min((1 << width) - 1));
            prop_assert_eq!(x.subtract_saturating(y).low_u64(), a.saturating_sub(b));
        }

        #[test]
        fn slices_and_concatenation_are_inverse(high in any::<u128>(), low in any::<u128>()) {
            let both = Bits::truncate(128, high).concatenate(Bits::truncate(128, low));
            prop_assert_eq!(both.slice(255, 128), Bits::truncate(128, high));
            prop_assert_eq!(both.slice(127, 0), Bits::truncate(128, low));
            prop_assert_eq!(
                both.with_slice(191, 64, Bits::truncate(128, 0_u8)).slice(191, 64),
                Bits::truncate(128, 0_u8)
            );
        }
    }

    #[test]
    fn shifts_of_the_width_and_more_leave_nothing() {
        let ones = Bits::ones(256);
        assert_eq!(ones.shift_left(256), Bits::truncate(256, 0_u8));
        assert_eq!(ones.shift_right(u32::MAX), Bits::truncate(256, 0_u8));
        assert_eq!(ones.shift_right(255), Bits::truncate(256, 1_u8));
    }

    #[test]
    fn prefixes() {
        assert_eq!(Bits::prefix_mask(32, 8), Bits::truncate(32, 0xff00_0000_u32));
        assert_eq!(Bits::prefix_mask(32, 0), Bits::truncate(32, 0_u8));
        assert_eq!(Bits::prefix_mask(128, 128), Bits::ones(128));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(Bits::exact(4, 16_u8), None);
        assert_eq!(Bits::exact(4, 15_u8), Some(Bits::ones(4)));
    }

    #[test]
    fn shown_with_all_digits() {
        assert_eq!(Bits::truncate(12, 0xa_u8).to_string(), "0x00a");
    }
}
