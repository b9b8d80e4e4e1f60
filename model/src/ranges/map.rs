//! Look-ups in ranges.
//!
//! The starts of ranges and their values lie in lines of one or two cache lines. A node cuts a part of the keys into
//! steps of equal length and has a line for each; where too many ranges start in a step, its line names the node that goes on.
//! A node has about as many lines as its ranges fill by half, so that a look-up among a million of ranges that
//! are spread evenly is one place in memory, while crowds of ranges in few places make the tree deeper only there: by at most
//! a node for each 2 bits of the key, and a few for outliers.

use std::fmt::Debug;

use super::Space;
use super::space::Line as _;

/// Steps of a node, at least.
const FEWEST_STEPS: u64 = 4;
/// One in so many ranges, at each end, does not count when a node chooses its keys: few ranges far from the others must
/// not make its steps too long for those.
const OUTLIERS: usize = 64;

/// The key space cut into ranges without gaps, each with a value.
#[derive(Debug)]
pub(crate) struct RangeMap<K: Space, V: Copy + Debug> {
    /// First the one where a look-up begins; none where all ranges are in one line.
    nodes: Vec<Node<K>>,
    lines: Vec<K::Line<V>>,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
struct Node<K> {
    /// Where its steps begin.
    first: K,
    /// Its lines count keys behind `first` by `1 << unit`.
    unit: u32,
    /// Its lines: `lines[start..start + count]`. Before and behind them stands what is below all keys before and behind.
    start: u32,
    count: u64,
    /// 2^64 units have so many steps.
    density: u64,
}

impl<K: Space, V: Copy + Debug + PartialEq> RangeMap<K, V> {
    /// Indexes ranges, the first of which starts at the first key.
    pub(super) fn new(ranges: &[(K, V)]) -> Self {
        // A few more than there are steps: where their memory grows, it is copied.
        let lines = Vec::with_capacity(ranges.len() / K::RANGES_OF_A_STEP * 9 / 8 + 1);
        let mut tree = Tree { ranges, nodes: Vec::new(), lines };
        if let Some(line) = tree.line(1, ranges.len(), K::FIRST, K::UNIT_OF_ALL) {
            tree.lines.push(line);
        } else {
            tree.node(1, ranges.len());
        }
        let Tree { nodes, mut lines, .. } = tree;
        if lines.len() < lines.capacity() / 8 * 7 {
            lines.shrink_to_fit();
        }
        Self { nodes, lines }
    }
}

impl<K: Space, V: Copy + Debug> RangeMap<K, V> {
    /// The value of a key.
    #[inline]
    pub(crate) fn get(&self, key: K) -> Option<V> {
        let Some(mut node) = self.nodes.first() else {
            let offset = key.units_behind(K::FIRST, K::UNIT_OF_ALL);
            return Some(self.lines.first()?.value(offset));
        };
        loop {
            let (place, offset) = node.place(key);
            let line = self.lines.get(place)?;
            match line.node() {
                None => return Some(line.value(offset)),
                Some(below) => node = self.nodes.get(below as usize)?,
            }
        }
    }

    /// Memory that it takes, bytes.
    #[cfg(test)]
    fn memory(&self) -> usize {
        self.lines.capacity() * size_of::<K::Line<V>>() + size_of_val(&*self.nodes)
    }
}

impl<K: Space> Node<K> {
    /// Place of the line that a key is in, and where in it to look.
    #[inline]
    fn place(&self, key: K) -> (usize, K::Offset) {
        let start = self.start as usize;
        if key < self.first {
            return (start - 1, K::Offset::default());
        }
        let offset = key.units_behind(self.first, self.unit);
        (start + self.step(offset).min(self.count) as usize, offset)
    }

    /// The step that a distance is in, if it is in any.
    #[inline]
    fn step(&self, offset: K::Offset) -> u64 {
        ((u128::from(offset.into()) * u128::from(self.density)) >> 64) as u64
    }
}

/// The tree while it grows.
struct Tree<'r, K: Space, V: Copy + Debug> {
    ranges: &'r [(K, V)],
    nodes: Vec<Node<K>>,
    lines: Vec<K::Line<V>>,
}

impl<K: Space, V: Copy + Debug + PartialEq> Tree<'_, K, V> {
    /// The line of the ranges from `from` on, before `to`, counted from a key on in units, if they fit.
    fn line(&self, from: usize, to: usize, first: K, unit: u32) -> Option<K::Line<V>> {
        let starts = &self.ranges[from..to];
        let fits = starts.len() <= K::STARTS
            && starts.iter().all(|(start, _)| start.is_whole_units_behind(first, unit));
        let offset = |(start, value): &(K, V)| (start.units_behind(first, unit), *value);
        fits.then(|| K::Line::new(self.ranges[from - 1].1, starts.iter().map(offset)))
    }

    /// What is below a part of the key space in which these ranges start, where it has no unit.
    fn part(&mut self, from: usize, to: usize) -> K::Line<V> {
        let before = self.ranges[from - 1].1;
        if from == to {
            return K::Line::new(before, std::iter::empty());
        }
        K::Line::leading_to(self.node(from, to), before)
    }

    fn node(&mut self, from: usize, to: usize) -> u32 {
        let ranges = self.ranges;
        let bits = |from: usize, to: usize| ranges[to - 1].0.bits_behind(ranges[from].0);
        let outliers = (to - from) / OUTLIERS;
        let (inner_from, inner_to) = (from + outliers, to - outliers);
        let (inner_from, inner_to) = if bits(inner_from, inner_to) < bits(from, to) {
            (inner_from, inner_to)
        } else {
            (from, to)
        };
        let first = ranges[inner_from].0;
        let unit = bits(inner_from, inner_to).saturating_sub(K::DISTANCE_BITS);
        let offset = |at: usize| ranges[at].0.units_behind(first, unit);
        let distance: u64 = offset(inner_to - 1).into();
        let cut = |count: u64| {
            let count = count.max(FEWEST_STEPS).min(distance).max(1);
            let density = ((u128::from(count) << 64) / (u128::from(distance) + 1)) as u64;
            Node { first, unit, start: self.lines.len() as u32 + 1, count, density }
        };
        let mut node = cut((inner_to - inner_from).div_ceil(K::RANGES_OF_A_STEP) as u64);
        // Of ranges in crowds most steps would be empty.
        let steps = (inner_from..inner_to).map(|at| node.step(offset(at)));
        let (occupied, _) = steps.fold((0, u64::MAX), |(occupied, last), step| {
            (occupied + u64::from(step != last), step)
        });
        if occupied < node.count / 4 {
            node = cut(2 * occupied);
        }
        let Node { start, count, .. } = node;
        let start = start as usize;

        let number = self.nodes.len();
        self.nodes.push(node);
        let empty = K::Line::new(ranges[from - 1].1, std::iter::empty());
        self.lines.extend(std::iter::repeat_n(empty, count as usize + 2));
        self.lines[start - 1] = self.part(from, inner_from);
        let mut from = inner_from;
        for step in 0..count {
            let is_inside = |start: K| node.step(start.units_behind(first, unit)) <= step;
            let inside = ranges[from..to].iter().take_while(|(start, _)| is_inside(*start)).count();
            self.lines[start + step as usize] = match self.line(from, from + inside, first, unit) {
                Some(line) => line,
                None => self.part(from, from + inside),
            };
            from += inside;
        }
        self.lines[start + count as usize] = self.part(from, to);
        number as u32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Keys in crowds: far from each other, and beside each other.
    fn keys() -> impl Strategy<Value = Vec<u32>> {
        let crowd = (any::<u32>(), 0u32..30, 1u32..200).prop_map(|(base, shift, count)| {
            (0..count).map(|n| base.wrapping_add(n.wrapping_mul(n) << shift)).collect::<Vec<_>>()
        });
        prop::collection::vec(crowd, 0..5).prop_map(|crowds| crowds.concat())
    }

    fn finds<K: Space + std::fmt::Debug>(
        keys: impl Iterator<Item = K>,
        near: impl Fn(K) -> [K; 4],
    ) -> Result<(), TestCaseError> {
        let mut starts: BTreeMap<K, u32> = keys.zip(1..).collect();
        starts.insert(K::FIRST, 0);
        let map = RangeMap::new(
            &starts.iter().map(|(start, value)| (*start, *value)).collect::<Vec<_>>(),
        );
        for key in starts.keys().flat_map(|start| near(*start)).chain([K::FIRST, K::LAST]) {
            let expected = starts.range(..=key).next_back().map(|(_, value)| *value);
            prop_assert_eq!(map.get(key), expected, "{:?}", key);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn each_key_has_the_value_of_its_range(keys in keys(), shift in 0u32..97) {
            // Beside each start, and far from all.
            finds(keys.iter().copied(), |key| {
                [key.wrapping_sub(1), key, key.wrapping_add(1), key ^ 1 << 30]
            })?;
            finds(
                keys.iter().map(|key| u128::from(*key) << shift),
                |key| [key.wrapping_sub(1), key, key.wrapping_add(1), key ^ 1 << 126],
            )?;
            // Far and near at once: hosts among prefixes, which do not count in one unit.
            finds(
                keys.iter().map(|key| u128::from(*key) << 90 | u128::from(*key >> 28)),
                |key| [key.wrapping_sub(1), key, key.wrapping_add(1), key ^ 1 << 63],
            )?;
        }
    }

    /// Each half as long as the one before: the worst there is for steps of equal length.
    #[test]
    fn crowds_make_the_tree_deeper_only_where_they_are() {
        let starts = (0..128).map(|bit| 1u128 << bit).flat_map(|start| [start, start | 1]);
        let starts: std::collections::BTreeSet<u128> = starts.chain([0]).collect();
        let map = RangeMap::new(&starts.iter().map(|start| (*start, *start)).collect::<Vec<_>>());
        for start in &starts {
            assert_eq!(map.get(*start), Some(*start));
        }
        assert!(map.nodes.len() < 128, "{} nodes", map.nodes.len());
    }

    #[test]
    fn memory_grows_with_the_ranges_only() {
        let even: Vec<(u32, u32)> = (0..100_000).map(|n| (n << 12, n)).collect();
        let memory = RangeMap::new(&even).memory();
        assert!(memory < 100_000 * 32, "{memory} bytes");
        // A thousand crowds of a hundred hosts.
        let crowds: Vec<(u32, u32)> =
            (0..100_000).map(|n| (n / 100 * 4_000_000 + n % 100 * 2, n)).collect();
        let memory = RangeMap::new(&crowds).memory();
        assert!(memory < 100_000 * 40, "{memory} bytes");
    }
}
