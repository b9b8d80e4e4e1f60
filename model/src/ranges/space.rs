//! Key spaces.

/// All numbers of an unsigned type.
pub(crate) trait Space: Copy + Ord {
    /// The first key.
    const FIRST: Self;
    /// The last key.
    const LAST: Self;
    /// How many ranges are compared one after the other at the end of a look-up: about a cache line of them.
    const BUCKET: usize;

    /// The key behind this one.
    fn next(self) -> Option<Self>;

    /// How far this key is behind another one, in steps of `1 << shift` keys; `u64::MAX` where it is farther than that.
    /// `shift` is less than a key's bits, and the other key not behind this one.
    fn steps_behind(self, other: Self, shift: u32) -> u64;

    /// Bits that this key's distance behind another one takes.
    fn bits_behind(self, other: Self) -> u32;
}

macro_rules! space {
    ($type:ty, $bucket:literal) => {
        impl Space for $type {
            const FIRST: Self = 0;
            const LAST: Self = Self::MAX;
            const BUCKET: usize = $bucket;

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            #[inline]
            fn steps_behind(self, other: Self, shift: u32) -> u64 {
                u64::try_from(self.wrapping_sub(other) >> shift).unwrap_or(u64::MAX)
            }

            fn bits_behind(self, other: Self) -> u32 {
                Self::BITS - self.wrapping_sub(other).leading_zeros()
            }
        }
    };
}

space!(u32, 8);
space!(u128, 4);
