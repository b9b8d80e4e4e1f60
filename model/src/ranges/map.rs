//! Look-ups in ranges.
//!
//! The ranges lie in one sorted list. Above it stands a tree: a node cuts a part of the keys into steps of equal length
//! and says for each step where in the list its ranges begin, or, where there are more than can be compared at once,
//! which node goes on. A node has about as many steps as ranges, so that a look-up among a million of ranges that are
//! spread evenly is one step and one comparison of a few neighbours, while crowds of ranges in few places make the tree
//! deeper only there: by at most a node for each 4 bits of the key, and a few for outliers.

use super::Space;

/// Steps of a node, at least.
const FEWEST_BITS: u32 = 4;
/// One in so many ranges, at each end, does not count when a node chooses its keys: few ranges far from the others must
/// not make its steps too long for those.
const OUTLIERS: usize = 64;

/// The key space cut into ranges without gaps, each with a value.
#[derive(Debug)]
pub(crate) struct RangeMap<K, V> {
    /// Each range's first key and its value, ascending; behind the last one, copies of its value to compare with.
    ranges: Box<[(K, V)]>,
    /// Where a look-up begins.
    root: Step,
    nodes: Box<[Node<K>]>,
    steps: Box<[Step]>,
}

/// What is below a part of the key space: a node, or a place in the list of ranges, where the range that a key is in is
/// this one or one of the [`Space::BUCKET`] behind it. One bit says which, so that more steps fit into a cache line.
#[derive(Clone, Copy, Debug)]
struct Step(u32);

impl Step {
    const IS_NODE: u32 = 1 << 31;

    /// More than 2^31 ranges have no room in memory.
    const fn ranges(first: usize) -> Self {
        Self(first as u32 & !Self::IS_NODE)
    }

    const fn node(number: usize) -> Self {
        Self(number as u32 | Self::IS_NODE)
    }

    const fn as_node(self) -> Option<usize> {
        if self.0 & Self::IS_NODE == 0 { None } else { Some((self.0 & !Self::IS_NODE) as usize) }
    }
}

/// See the module.
#[derive(Debug)]
struct Node<K> {
    /// Where its steps begin.
    first: K,
    /// A step is `1 << shift` keys.
    shift: u32,
    /// Its steps: `steps[start..start + count]`. Before and behind them stands what is below all keys before and behind.
    start: u32,
    count: u32,
}

impl<K: Space, V: Copy> RangeMap<K, V> {
    /// Indexes ranges, the first of which starts at the first key.
    pub(super) fn new(mut ranges: Vec<(K, V)>) -> Self {
        let mut tree = Tree { ranges: &ranges, nodes: Vec::new(), steps: Vec::new() };
        let root = tree.step(1, ranges.len());
        let Tree { nodes, steps, .. } = tree;
        if let Some((_, last)) = ranges.last().copied() {
            ranges.reserve_exact(K::BUCKET);
            ranges.extend(std::iter::repeat_n((K::LAST, last), K::BUCKET));
        }
        Self { ranges: ranges.into(), root, nodes: nodes.into(), steps: steps.into() }
    }

    /// The value of a key.
    #[inline]
    pub(crate) fn get(&self, key: K) -> Option<V> {
        let mut step = self.root;
        while let Some(node) = step.as_node() {
            step = *self.steps.get(self.nodes.get(node)?.place(key))?;
        }
        let first = step.0 as usize;
        let behind = self.ranges.get(first + 1..first + 1 + K::BUCKET)?;
        let passed: usize = behind.iter().map(|(start, _)| usize::from(*start <= key)).sum();
        self.ranges.get(first + passed).map(|(_, value)| *value)
    }

    /// Memory that it takes, bytes.
    #[cfg(test)]
    fn memory(&self) -> usize {
        size_of_val(&*self.ranges) + size_of_val(&*self.nodes) + size_of_val(&*self.steps)
    }
}

impl<K: Space> Node<K> {
    /// Place of the step that a key is in.
    #[inline]
    fn place(&self, key: K) -> usize {
        if key < self.first {
            return self.start as usize - 1;
        }
        let step = key.steps_behind(self.first, self.shift).min(self.count.into());
        self.start as usize + step as usize
    }
}

/// The tree while it grows.
struct Tree<'r, K, V> {
    ranges: &'r [(K, V)],
    nodes: Vec<Node<K>>,
    steps: Vec<Step>,
}

impl<K: Space, V> Tree<'_, K, V> {
    /// What is below a part of the key space in which the ranges from `from` on, before `to`, start.
    fn step(&mut self, from: usize, to: usize) -> Step {
        if to - from > K::BUCKET { Step::node(self.node(from, to)) } else { Step::ranges(from - 1) }
    }

    fn node(&mut self, from: usize, to: usize) -> usize {
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
        // Half a bucket in each step, where they are spread evenly.
        let wanted = ((inner_to - inner_from) / (K::BUCKET / 2)).next_power_of_two().ilog2();
        let shift = bits(inner_from, inner_to).saturating_sub(wanted.max(FEWEST_BITS));
        let count = ranges[inner_to - 1].0.steps_behind(first, shift) as usize + 1;

        let start = self.steps.len() + 1;
        self.steps.extend(std::iter::repeat_n(Step::ranges(0), count + 2));
        let node = self.nodes.len();
        self.nodes.push(Node { first, shift, start: start as u32, count: count as u32 });
        self.steps[start - 1] = self.step(from, inner_from);
        let mut from = inner_from;
        for number in 0..count {
            let is_inside = |start: K| start.steps_behind(first, shift) <= number as u64;
            let inside = ranges[from..to].iter().take_while(|(start, _)| is_inside(*start)).count();
            self.steps[start + number] = self.step(from, from + inside);
            from += inside;
        }
        self.steps[start + count] = self.step(from, to);
        node
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
        let map = RangeMap::new(starts.iter().map(|(start, value)| (*start, *value)).collect());
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
        }
    }

    /// Each half as long as the one before: the worst there is for steps of equal length.
    #[test]
    fn crowds_make_the_tree_deeper_only_where_they_are() {
        let starts = (0..128).map(|bit| 1u128 << bit).flat_map(|start| [start, start | 1]);
        let starts: std::collections::BTreeSet<u128> = starts.chain([0]).collect();
        let map = RangeMap::new(starts.iter().map(|start| (*start, *start)).collect());
        for start in &starts {
            assert_eq!(map.get(*start), Some(*start));
        }
        assert!(map.nodes.len() < 64, "{} nodes", map.nodes.len());
    }

    #[test]
    fn memory_grows_with_the_ranges_only() {
        let even: Vec<(u32, u32)> = (0..100_000).map(|n| (n << 12, n)).collect();
        let memory = RangeMap::new(even).memory();
        assert!(memory < 100_000 * 14, "{memory} bytes");
        // A thousand crowds of a hundred hosts.
        let crowds: Vec<(u32, u32)> =
            (0..100_000).map(|n| (n / 100 * 4_000_000 + n % 100 * 2, n)).collect();
        let memory = RangeMap::new(crowds).memory();
        assert!(memory < 100_000 * 20, "{memory} bytes");
    }
}
