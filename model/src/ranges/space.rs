//! Key spaces.

use std::fmt::Debug;

/// All numbers of an unsigned type.
pub(crate) trait Space: Copy + Ord + Debug {
    /// The first key.
    const FIRST: Self;
    /// The last key.
    const LAST: Self;
    /// How many ranges may start in a line.
    const STARTS: usize;
    /// How many ranges start in a step on average, where they are spread evenly: few enough that few steps have too many for a line.
    const RANGES_OF_A_STEP: usize;
    /// Bits of the distances that a node's lines are made for: an offset has room for greater ones, or for all.
    const DISTANCE_BITS: u32;
    /// The unit in which an offset has room for every key's distance from the first one: `1 << UNIT_OF_ALL` keys.
    const UNIT_OF_ALL: u32;
    /// A key's distance behind the first one of a node, as lines have it.
    type Offset: Copy + Ord + Default + Debug + Into<u64>;
    /// A line.
    type Line<V: Copy + Debug>: Line<Self::Offset, V> + Copy + Debug;

    /// The key behind this one.
    fn next(self) -> Option<Self>;

    /// How far this key is behind another one, which is not behind it, in units of `1 << unit` keys; the greatest offset where it
    /// is farther than that.
    fn units_behind(self, other: Self, unit: u32) -> Self::Offset;

    /// Whether that distance is a whole number of units.
    fn is_whole_units_behind(self, other: Self, unit: u32) -> bool;

    /// Bits that this key's distance behind another one takes.
    fn bits_behind(self, other: Self) -> u32;
}

/// Ranges that follow each other.
pub(crate) trait Line<O, V> {
    /// Of the value before the first start, and of at most [`Space::STARTS`] starts, ascending, with the values behind them.
    fn new(before: V, starts: impl Iterator<Item = (O, V)>) -> Self;

    /// Of none: a node goes on. Its number is not 0.
    fn leading_to(node: u32, any: V) -> Self;

    /// The node that goes on, if one does.
    fn node(&self) -> Option<u32>;

    /// The value at an offset.
    fn value(&self, offset: O) -> V;
}

macro_rules! space {
    ($type:ty, $line:ident of $starts:literal $offset:ty, $in_a_step:literal in a step, $distance:literal bits) => {
        /// See [`Line`]. What is not needed repeats the last range's value from the last key on.
        #[derive(Clone, Copy, Debug)]
        #[repr(align(64))]
        pub(crate) struct $line<V> {
            starts: [$offset; $starts],
            values: [V; $starts + 1],
            /// 0: none.
            node: u32,
        }

        impl<V: Copy> Line<$offset, V> for $line<V> {
            fn new(before: V, starts: impl Iterator<Item = ($offset, V)>) -> Self {
                let mut line = Self::leading_to(0, before);
                let (mut last, mut behind) = (before, 1);
                for (place, (start, value)) in line.starts.iter_mut().zip(starts) {
                    (*place, line.values[behind]) = (start, value);
                    (last, behind) = (value, behind + 1);
                }
                line.values[behind..].fill(last);
                line
            }

            fn leading_to(node: u32, any: V) -> Self {
                Self { starts: [<$offset>::MAX; $starts], values: [any; $starts + 1], node }
            }

            #[inline]
            fn node(&self) -> Option<u32> {
                (self.node != 0).then_some(self.node)
            }

            #[inline]
            fn value(&self, offset: $offset) -> V {
                let passed: usize =
                    self.starts.iter().map(|start| usize::from(*start <= offset)).sum();
                self.values.get(passed).copied().unwrap_or(self.values[0])
            }
        }

        impl Space for $type {
            const FIRST: Self = 0;
            const LAST: Self = Self::MAX;
            const STARTS: usize = $starts;
            const RANGES_OF_A_STEP: usize = $in_a_step;
            const DISTANCE_BITS: u32 = $distance;
            const UNIT_OF_ALL: u32 = <$type>::BITS - <$offset>::BITS;
            type Offset = $offset;
            type Line<V: Copy + Debug> = $line<V>;

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            #[inline]
            fn units_behind(self, other: Self, unit: u32) -> Self::Offset {
                <$offset>::try_from(self.wrapping_sub(other) >> unit).unwrap_or(<$offset>::MAX)
            }

            fn is_whole_units_behind(self, other: Self, unit: u32) -> bool {
                let distance = self.wrapping_sub(other);
                distance >> unit << unit == distance
            }

            fn bits_behind(self, other: Self) -> u32 {
                Self::BITS - self.wrapping_sub(other).leading_zeros()
            }
        }
    };
}

space!(u32, ShortLine of 7 u32, 3 in a step, 32 bits);
space!(u128, LongLine of 10 u64, 4 in a step, 63 bits);
